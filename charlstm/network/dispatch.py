"""The kernel of a network: which one to use, its compilation, and its step of sampling."""

import warnings

import numpy as np

from charlstm.config.settings import ModelConfig
from charlstm.errors import UsageError
from charlstm.network.char_lstm import CharLSTM, init_network
from charlstm.network.kernels import can_compile, is_compiled
from charlstm.network.recurrence import COMPILED_MULTIPLE
from charlstm.network.stepper import NumpyStepper, Stepper, StepWeights
from charlstm.text.batches import Window


def choose_kernel(wanted: str, hidden_size: int) -> str:
    """Return "numpy" or "numba", the kernel to use. Numba's is compiled first, or read from its cache.

    Args:
        wanted: "numpy", "numba", or "auto" for Numba where it works.
        hidden_size: of the network. Where Numba's kernel cannot compute it, NumPy's does, also with "numba".

    Raises:
        UsageError: "numba" is wanted, but does not work.
    """
    if wanted == "numpy" or (wanted == "auto" and not can_compile(hidden_size)):
        return "numpy"
    try:
        _compile()
    except Exception as error:  # a broken or old Numba, a cache that cannot be written: whatever it raises
        reason = " ".join(str(error).split()) or type(error).__name__
        if wanted == "numba":
            message = f"numba does not work here ({reason}); install it with pip install numba"
            raise UsageError(message, "kernel") from None
        if not isinstance(error, ModuleNotFoundError):
            warnings.warn(f"numba does not work here ({reason}); continuing with NumPy", stacklevel=2)
        return "numpy"
    return "numba"


def _compile() -> None:
    """Use everything that is compiled once: two layers, which read ids and vectors, an update, and a step."""
    from charlstm.network.compiled import adam_step

    rng, ids = np.random.default_rng(0), np.zeros((1, 1), np.intp)
    network = init_network(ModelConfig(hidden_size=COMPILED_MULTIPLE, num_layers=2), 1, rng)
    network.kernel = "numba"
    state = network.zero_state(1)
    network.loss_and_grads(Window(ids, ids), state, clip_error=1.0)
    adam_step(*np.zeros((3, 1), np.float32), *np.zeros(4, np.float32))
    make_stepper(network).step(ids[0], state)


def make_stepper(network: CharLSTM, batch_size: int = 1, never: int | None = None) -> Stepper:
    """Return the step of a network's kernel, for up to B streams.

    Args:
        network: later changes of its weights have no effect.
        batch_size: B.
        never: an id that is never predicted: its logits are minus infinity.
    """
    weights = StepWeights.of(network, never)
    if is_compiled(network.kernel, network.config.hidden_size, weights.b_out.dtype):
        from charlstm.network.compiled_step import CompiledStepper

        return CompiledStepper(weights)
    return NumpyStepper(weights, batch_size)
