"""The network one character at a time, as sampling needs it: every microsecond of a step counts."""

import numpy as np

from charlstm.batches import IntArray
from charlstm.model import CharLSTM, State
from charlstm.workspace import PADDING, Floats


class Stepper:
    """Reads one character per stream, and predicts the next.

    The weights are copied, in the form that is fastest for few rows: the biases are added beforehand to what an id
    selects, the weights of both inputs of a layer stand side by side, and those of the gates i, f, o are halved, since
    `sigmoid(z) = tanh(z / 2) / 2 + 1 / 2`.

    Args:
        model: predicts as its weights are now.
        batch_size: B. Without it there is one stream, and no array has an axis for it, which is faster than B = 1.
    """

    def __init__(self, model: CharLSTM, batch_size: int | None = None) -> None:
        params, H = model.params, model.config.hidden_size
        B = () if batch_size is None else (batch_size,)
        scale = np.where(np.arange(4 * H) < H, 1, 0.5).astype(params["b_out"].dtype)
        self._by_id = np.multiply(params["layer0.w_x"].T + params["layer0.b"], scale, order="C")  # [V, 4H]
        self._weights = [_factor(params["layer0.w_h"].T * scale, B)]
        self._biases = []
        for layer in range(1, model.config.num_layers):
            both = np.concatenate([params[f"layer{layer}.w_x"], params[f"layer{layer}.w_h"]], axis=1).T  # [2H, 4H]
            self._weights.append(_factor(both * scale, B))
            self._biases.append(params[f"layer{layer}.b"] * scale)
        self._w_out, self._b_out = _factor(params["w_out"].T, B), params["b_out"]
        self._both, self._z = np.empty((*B, 2 * H), scale.dtype), np.empty((*B, 4 * H), scale.dtype)

    def step(self, ids: IntArray | int, state: State) -> tuple[Floats, State]:
        """Read ids [B]; return the logits of the next characters [B, V], and the new state."""
        after = State(np.empty_like(state.h), np.empty_like(state.c))
        z = np.matmul(state.h[0], self._weights[0], out=self._z)  # [B, 4H]
        z += self._by_id[ids]
        _activate(z, state.c[0], after.h[0], after.c[0])
        for layer, bias in enumerate(self._biases, start=1):
            both = np.concatenate([after.h[layer - 1], state.h[layer]], axis=-1, out=self._both)
            np.matmul(both, self._weights[layer], out=z)
            z += bias
            _activate(z, state.c[layer], after.h[layer], after.c[layer])
        return self.logits(after), after

    def logits(self, state: State) -> Floats:
        """Return the logits of the next characters [B, V] in a state."""
        logits: Floats = state.h[-1] @ self._w_out
        logits += self._b_out
        return logits


def _activate(z: Floats, c: Floats, h_after: Floats, c_after: Floats) -> None:
    """Write h and c after a step [B, H]; overwrites z [B, 4H], in which those of i, f, o are halved."""
    H = c.shape[-1]
    np.tanh(z, out=z)
    g, sigmoids = z[..., :H], z[..., H:]
    sigmoids *= 0.5
    sigmoids += 0.5
    np.multiply(z[..., 2 * H : 3 * H], c, out=c_after)
    g *= z[..., H : 2 * H]
    c_after += g
    np.tanh(c_after, out=h_after)
    h_after *= z[..., 3 * H :]


def _factor(matrix: Floats, batch: tuple[int, ...]) -> Floats:
    """Return a matrix [K, N] laid out so that products with it are fast."""
    if not batch:
        return np.ascontiguousarray(matrix.T).T  # a product with one row reads along K
    padded = np.empty((len(matrix), matrix.shape[1] + PADDING), matrix.dtype)[:, : matrix.shape[1]]
    padded[...] = matrix
    return padded
