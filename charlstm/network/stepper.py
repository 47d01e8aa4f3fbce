"""The network one character at a time, for sampling, where every microsecond of a step counts."""

import numpy as np

from charlstm.arrays import Floats, IntArray
from charlstm.network.char_lstm import CharLSTM, State
from charlstm.network.matmul import BatchInvariantMatmul


class Stepper:
    """Reads one character per stream and predicts the next. The result of a stream does not depend on the others.

    The weights are copied into the layout that is fastest for few rows: the biases of the first layer are added to its
    input columns, the weights of both inputs of a layer are joined, and those of the gates i, f, o are halved, since
    `sigmoid(z) = tanh(z / 2) / 2 + 1 / 2`.

    Args:
        network: later changes of its weights have no effect.
        batch_size: B.
    """

    def __init__(self, network: CharLSTM, batch_size: int = 1) -> None:
        params, H = network.params, network.config.hidden_size
        scale = np.where(np.arange(4 * H) < H, 1, 0.5).astype(params["b_out"].dtype)
        self._by_id = np.multiply(params["layer0.w_x"].T + params["layer0.b"], scale, order="C")  # [V, 4H]
        self._products = [BatchInvariantMatmul(params["layer0.w_h"].T * scale, batch_size)]
        self._biases = []
        for layer in range(1, network.config.num_layers):
            both = np.concatenate([params[f"layer{layer}.w_x"], params[f"layer{layer}.w_h"]], axis=1).T  # [2H, 4H]
            self._products.append(BatchInvariantMatmul(both * scale, batch_size))
            self._biases.append(params[f"layer{layer}.b"] * scale)
        self._out, self._b_out = BatchInvariantMatmul(params["w_out"].T, batch_size), params["b_out"]

    def step(self, ids: IntArray, state: State) -> tuple[Floats, State]:
        """Read ids [B]; return the logits of the next characters [B, V] and the new state."""
        after = State(np.empty_like(state.h), np.empty_like(state.c))
        z = self._products[0](state.h[0])  # [B, 4H]
        z += self._by_id[ids]
        _activate(z, state.c[0], after.h[0], after.c[0])
        for layer, bias in enumerate(self._biases, start=1):
            z = self._products[layer](np.concatenate([after.h[layer - 1], state.h[layer]], axis=1))
            z += bias
            _activate(z, state.c[layer], after.h[layer], after.c[layer])
        return self.logits(after), after

    def logits(self, state: State) -> Floats:
        """Return the logits of the next characters [B, V] in a state."""
        return self._out(state.h[-1]) + self._b_out


def _activate(z: Floats, c: Floats, h_after: Floats, c_after: Floats) -> None:
    """Write h and c after a step [B, H]. Overwrites z [B, 4H], where those of i, f, o are halved."""
    H = c.shape[-1]
    np.tanh(z, out=z)
    g, sigmoids = z[:, :H], z[:, H:]
    sigmoids *= 0.5
    sigmoids += 0.5
    np.multiply(z[:, 2 * H : 3 * H], c, out=c_after)
    g *= z[:, H : 2 * H]
    c_after += g
    np.tanh(c_after, out=h_after)
    h_after *= z[:, 3 * H :]
