"""The kernels that compute the loops over time: NumPy's, which is always there, and Numba's."""

import warnings

import numpy as np

from charlstm.arrays import Floats
from charlstm.errors import UsageError
from charlstm.network.recurrence import PANEL, NumpyRecurrence, Recurrence


def choose_kernel(wanted: str, hidden_size: int) -> str:
    """Return "numpy" or "numba", the kernel that a run is to use. Numba's is compiled first, or read from its cache.

    Args:
        wanted: "numpy", "numba", or "auto" for Numba where it works.
        hidden_size: of the network. Where Numba's kernel cannot compute it, NumPy's does, also with "numba".

    Raises:
        UsageError: "numba" is wanted, but does not work.
    """
    if wanted == "numpy" or (wanted == "auto" and not can_compile(hidden_size)):
        return "numpy"
    try:
        from charlstm.network.compiled import warm_up

        warm_up()
    except Exception as error:  # a broken or old Numba, a cache that cannot be written: whatever it raises
        reason = " ".join(str(error).split()) or type(error).__name__
        if wanted == "numba":
            message = f"numba does not work here ({reason}); install it with pip install numba"
            raise UsageError(message, "kernel") from None
        if not isinstance(error, ModuleNotFoundError):
            warnings.warn(f"numba does not work here ({reason}); continuing with NumPy", stacklevel=2)
        return "numpy"
    return "numba"


def recurrence(gates: Floats, h: Floats, c: Floats, kernel: str) -> Recurrence:
    """Return the loops over time of a kernel; NumPy's where the compiled ones do not fit."""
    if kernel == "numba" and gates.dtype == np.float32 and can_compile(gates.shape[3]):
        from charlstm.network.compiled import CompiledRecurrence

        return CompiledRecurrence(gates, h, c)
    return NumpyRecurrence(gates, h, c)


def can_compile(hidden_size: int) -> bool:
    """Return whether the compiled loops can compute a layer of this size: it consists of whole panels."""
    return hidden_size % PANEL == 0
