"""The step of sampling, compiled by Numba: the same equations as in `stepper.NumpyStepper`, for float32."""

import numpy as np
from numba import njit

from charlstm.arrays import Floats, IntArray
from charlstm.network.char_lstm import State
from charlstm.network.compiled import OPTIONS, PANEL, activate, add_product
from charlstm.network.matmul import aligned
from charlstm.network.stepper import StepWeights, reset_at_boundaries

_OUTPUT_MULTIPLE = 4 * PANEL  # columns that the product of one row takes at a time


class CompiledStepper:
    """The step as one compiled call; see `stepper.Stepper`. Any number of streams."""

    def __init__(self, weights: StepWeights) -> None:
        H, V = weights.w_out.shape
        padded = -(-V // _OUTPUT_MULTIPLE) * _OUTPUT_MULTIPLE
        self._V, self._by_id, self._boundary_id = V, weights.by_id, weights.boundary_id
        self._w_h = _pack(weights.w_h, H, 4 * H)
        self._w_x = _pack(weights.w_x, H, 4 * H)
        self._b = np.array(weights.b, np.float32).reshape(-1, 4 * H)
        self._w_out = _pack([np.pad(weights.w_out, ((0, 0), (0, padded - V)))], H, padded)[0]
        self._b_out = np.pad(weights.b_out, (0, padded - V))

    def step(self, ids: IntArray, state: State) -> tuple[Floats, State]:
        h, c = map(np.ascontiguousarray, reset_at_boundaries(ids, state, self._boundary_id))  # selected streams are not
        after = State(np.empty_like(h), np.empty_like(c))
        _step(ids.astype(np.intp), self._by_id, self._w_h, self._w_x, self._b, h, c, *after)
        return self.logits(after), after

    def logits(self, state: State) -> Floats:
        top = np.ascontiguousarray(state.h[-1])
        logits = np.empty((len(top), len(self._b_out)), np.float32)
        _predict(top, self._w_out, self._b_out, logits)
        return logits[:, : self._V]


def _pack(matrices: list[Floats], K: int, N: int) -> Floats:
    """Return matrices [K, N] each as panels [len(matrices), N / PANEL, K, PANEL]."""
    panels = aligned(np.float32, len(matrices), N // PANEL, K, PANEL)
    for matrix, packed in zip(matrices, panels, strict=True):
        packed[...] = matrix.reshape(K, N // PANEL, PANEL).swapaxes(0, 1)
    return panels


@njit(cache=True, **OPTIONS)
def _step(ids, by_id, w_h, w_x, b, h, c, h_after, c_after):
    """Read ids [B] in the state h, c [L, B, H]; write the state after them."""
    L, B, H = h.shape
    z = np.empty((B, 4 * H), np.float32)
    for layer in range(L):
        for stream in range(B):
            z[stream] = by_id[ids[stream]] if layer == 0 else b[layer - 1]
        if layer > 0:
            add_product(h_after[layer - 1].ctypes.data, B, H, w_x[layer - 1].ctypes.data, 4 * H, z.ctypes.data)
        add_product(h[layer].ctypes.data, B, H, w_h[layer].ctypes.data, 4 * H, z.ctypes.data)
        for stream in range(B):
            row = z[stream]
            g, i, f, o = row[:H], row[H : 2 * H], row[2 * H : 3 * H], row[3 * H :]
            activate(g, i, f, o, c[layer, stream], c_after[layer, stream], h_after[layer, stream])


@njit(cache=True, **OPTIONS)
def _predict(h, w_out, b_out, logits):
    """Write the logits of the next characters [B, N], given h of the top layer [B, H]."""
    B, H = h.shape
    for stream in range(B):
        logits[stream] = b_out
    add_product(h.ctypes.data, B, H, w_out.ctypes.data, len(b_out), logits.ctypes.data)
