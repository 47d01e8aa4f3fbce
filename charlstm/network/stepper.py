"""The network one character at a time, for sampling, where every microsecond of a step counts."""

import numpy as np

from charlstm.arrays import Floats, IntArray
from charlstm.network.char_lstm import CharLSTM, State
from charlstm.network.matmul import batch_invariant_matmul
from charlstm.network.recurrence import Gates, cell


class Stepper:
    """Reads one character per stream and predicts the next. The result of a stream does not depend on the others.

    The weights are copied into the layout that is fastest for few streams: the biases of the first layer are added to
    its input columns, the weights of both inputs of a layer are joined, and those of the gates i, f, o are halved, as
    `cell` expects.

    Args:
        network: later changes of its weights have no effect.
        batch_size: B.
        never: an id that is never predicted: its logits are minus infinity.
    """

    def __init__(self, network: CharLSTM, batch_size: int = 1, never: int | None = None) -> None:
        params, H = network.params, network.config.hidden_size
        gate_scale = np.where(np.arange(4 * H) < H, 1, 0.5).astype(params["b_out"].dtype)
        self._by_id = np.multiply(params["layer0.w_x"].T + params["layer0.b"], gate_scale, order="C")  # [V, 4H]
        self._products = [batch_invariant_matmul(params["layer0.w_h"].T * gate_scale, batch_size)]
        self._biases = []
        for layer in range(1, network.config.num_layers):
            both = np.concatenate([params[f"layer{layer}.w_x"], params[f"layer{layer}.w_h"]], axis=1).T  # [2H, 4H]
            self._products.append(batch_invariant_matmul(both * gate_scale, batch_size))
            self._biases.append(params[f"layer{layer}.b"] * gate_scale)
        self._output = batch_invariant_matmul(params["w_out"].T, batch_size)
        self._b_out = params["b_out"].copy()
        if never is not None:
            self._b_out[never] = -np.inf
        self._use_streams(batch_size)

    def step(self, ids: IntArray, state: State) -> tuple[Floats, State]:
        """Read ids [B]; return the logits of the next characters [B, V] and the new state."""
        if len(ids) != len(self._z[0]):
            self._use_streams(len(ids))
        after = State(np.empty_like(state.h), np.empty_like(state.c))
        for layer, (product, z, gates) in enumerate(zip(self._products, self._z, self._gates, strict=True)):
            if layer == 0:
                product(state.h[0])  # writes z
                z += self._by_id[ids]
            else:
                product(np.concatenate([after.h[layer - 1], state.h[layer]], axis=1))
                z += self._biases[layer - 1]
            cell(gates.all, gates, state.c[layer], after.c[layer], after.h[layer], scratch=gates.g)
        return self.logits(after), after

    def logits(self, state: State) -> Floats:
        """Return the logits of the next characters [B, V] in a state."""
        top = state.h[-1]
        self._output(top)
        return self._output.out[: len(top)] + self._b_out

    def _use_streams(self, B: int) -> None:
        """Create the views of the pre-activations of B streams. The gates replace the sums in place."""
        self._z = [product.out[:B] for product in self._products]  # [B, 4H] each
        self._gates = [Gates.of(z.reshape(B, 4, -1).swapaxes(0, 1)) for z in self._z]
