"""The loops over the time steps of a window, and the cell in them, in NumPy.

`compiled` has the same loops in Numba, and `kernels` chooses. Both halve the pre-activations of i, f and o, as `layers`
explains.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from charlstm.arrays import Floats, IntArray
from charlstm.network.matmul import aligned, recurrent_matmul

COMPILED_MULTIPLE = 32  # units: the compiled loops take whole panels of weights
_CHUNK_FLOATS = 1 << 18  # in the gates of a chunk of steps: 1 MB of float32, for the L2 cache


class Gates(NamedTuple):
    """The activated gates of one step, as views of one array. They are created once, because that is slow."""

    all: Floats  # [4, B, H]
    sigmoids: Floats  # i, f, o [3, B, H]
    g: Floats  # [B, H]
    i: Floats
    f: Floats
    o: Floats

    @classmethod
    def of(cls, gates: Floats) -> "Gates":
        """Return the views of gates [4, B, H]."""
        return cls(gates, gates[1:], *gates)


def cell(z: Floats, gates: Gates, c_prev: Floats, c: Floats, h: Floats, scratch: Floats) -> None:
    """Compute one time step of an LSTM layer.

    ::

        g = tanh(z_g);  i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)
        c = f * c_prev + i * g
        h = o * tanh(c)

    Args:
        z: pre-activations [4, B, H], halved for i, f and o.
        gates: written. May be views of `z`.
        c_prev: cell state before the step [B, H].
        c: written, cell state after the step [B, H].
        h: written, hidden state after the step [B, H].
        scratch: overwritten [B, H]. May be `gates.g`, which is then lost.
    """
    _, sigmoids, g, i, f, o = gates
    np.tanh(z, out=gates.all)
    sigmoids *= 0.5  # tanh(z / 2) / 2 + 1 / 2
    sigmoids += 0.5
    np.multiply(f, c_prev, out=c)
    np.multiply(i, g, out=scratch)
    c += scratch  # c = f * c_prev + i * g
    np.tanh(c, out=h)
    h *= o  # h = o * tanh(c)


class LayerArrays(NamedTuple):
    """The arrays of a layer for a window of T steps."""

    gates: Floats  # the sums of a dense input, then g, i, f, o, then dz [4, T, B, H]
    h_prev: Floats  # before each step [T, B, H]
    c_prev: Floats
    h: Floats  # after each step [T, B, H]
    c: Floats

    @classmethod
    def allocate(cls, dtype: npt.DTypeLike, T: int, B: int, H: int, *, resets: bool) -> "LayerArrays":
        """Return arrays for a window. Without resets, the state before a step is that after the previous one."""
        gates = aligned(dtype, 4, T, B, H)
        if resets:
            return cls(gates, *(aligned(dtype, T, B, H) for _ in range(4)))
        h, c = aligned(dtype, T + 1, B, H), aligned(dtype, T + 1, B, H)
        return cls(gates, h[:-1], c[:-1], h[1:], c[1:])


class LoadedInputs(Protocol):
    """The inputs of a window."""

    @property
    def lookup(self) -> tuple[Floats, IntArray] | None:
        """Rows by id [4, E + 1, H] and ids [T, B], whose sums are to be added; None if the gates hold the sums."""

    def add_to(self, z: Floats, t: int) -> None:
        """Add `x[t] @ w_x.T + b`, halved for i, f and o, to z [4, B, H]."""


class Recurrence(Protocol):
    """The loops over the time steps of a window, which take most of the time.

    They work on the arrays of a layer, see `LayerArrays`. `keep` [T, B, 1] is 0 where the state of a stream is reset
    before a step, else 1; None without resets.
    """

    def forward(self, w_h: Floats, inputs: LoadedInputs, keep: Floats | None) -> None:
        """Write the gates and states of a window, given h_prev[0], c_prev[0] and inputs that have loaded it."""

    def backward(self, w_h: Floats, dh_above: Floats, clip_error: float, keep: Floats | None) -> None:
        """Replace the gates by dz, given the gradient of h after each step [T, B, H]."""


class NumpyRecurrence:
    """The loops over time as NumPy calls."""

    def __init__(self, arrays: LayerArrays) -> None:
        gates = arrays.gates
        _, T, B, H = gates.shape
        self._gates, self._arrays = gates, arrays
        self._scratch = aligned(gates.dtype, B, H)
        self._steps = [Gates.of(gates[:, t]) for t in range(T)]
        self._matmul = recurrent_matmul(B, H, gates.dtype)

    def forward(self, w_h: Floats, inputs: LoadedInputs, keep: Floats | None) -> None:
        _, h_prev, c_prev, h, c = self._arrays
        self._matmul.load(w_h)
        for t, gates in enumerate(self._steps):
            if keep is not None and t:  # otherwise they share memory
                np.multiply(h[t - 1], keep[t], out=h_prev[t])
                np.multiply(c[t - 1], keep[t], out=c_prev[t])
            z = self._matmul.forward(h_prev[t])  # h_prev @ w_h.T, halved for i, f and o
            inputs.add_to(z, t)  # x[t] @ w_x.T + b, halved alike
            cell(z, gates, c_prev[t], c[t], h[t], self._scratch)

    def backward(self, w_h: Floats, dh_above: Floats, clip_error: float, keep: Floats | None) -> None:
        dz = self._gates
        dh, dh_next, dc, dc_next, via_h = self._step_gradients
        dh_next[...] = 0
        dc[...] = 0
        self._matmul.load_backward(w_h)
        for chunk in self._chunks_backwards():
            dh_dc, dc_dz, dh_dzo = self._derivatives(chunk)
            for t in reversed(range(chunk.start, chunk.stop)):
                k = t - chunk.start
                np.add(dh_above[t], dh_next, out=dh)
                np.multiply(dh, dh_dc[k], out=via_h)
                dc += via_h  # dc holds dc_next; now dc_next + dh * o (1 - tanh(c)^2)
                np.multiply(dc, self._steps[t].f, out=dc_next)  # reads f, which dz overwrites next
                np.multiply(dc, dc_dz[:, k], out=dz[:3, t])  # g, i, f
                np.multiply(dh, dh_dzo[k], out=dz[3, t])  # o
                self._matmul.backward(dz[:, t], out=dh_next)  # dz @ w_h
                if clip_error:
                    np.clip(dh_next, -clip_error, clip_error, out=dh_next)
                    np.clip(dc_next, -clip_error, clip_error, out=dc_next)
                if keep is not None:
                    dh_next *= keep[t]
                    dc_next *= keep[t]
                dc, dc_next = dc_next, dc

    def _derivatives(self, steps: slice) -> tuple[Floats, Floats, Floats]:
        """Return the local derivatives of a chunk of steps, which do not depend on the incoming gradient.

        Returns:
            dh_dc [N, B, H]; dc_dz, for the pre-activations of g, i and f [3, N, B, H]; dh_dzo [N, B, H].
        """
        gates, c_prev, c = self._gates[:, steps], self._arrays.c_prev[steps], self._arrays.c[steps]
        g, i, _, o = gates
        d, tanh_c = self._chunk_buffers[0][:, : len(c)], self._chunk_buffers[1][: len(c)]
        np.tanh(c, out=tanh_c)
        np.multiply(g, g, out=d[0])
        np.subtract(1, d[0], out=d[0])  # d tanh(z) / dz = 1 - g^2
        np.subtract(1, gates[1:], out=d[1:])
        d[1:] *= gates[1:]  # d sigmoid(z) / dz = s (1 - s), for i, f and o
        d[0] *= i  # dc / dz_g = i (1 - g^2)
        d[1] *= g  # dc / dz_i = g i (1 - i)
        d[2] *= c_prev  # dc / dz_f = c_prev f (1 - f)
        d[3] *= tanh_c  # dh / dz_o = tanh(c) o (1 - o)
        dh_dc = np.multiply(tanh_c, tanh_c, out=tanh_c)
        np.subtract(1, dh_dc, out=dh_dc)
        dh_dc *= o  # dh / dc = o (1 - tanh(c)^2)
        return dh_dc, d[:3], d[3]

    def _chunks_backwards(self) -> Iterator[slice]:
        """Yield the steps in chunks whose derivatives fit into a core's cache, last chunk first."""
        for stop in range(self._gates.shape[1], 0, -self._chunk_length):
            yield slice(max(stop - self._chunk_length, 0), stop)

    @property
    def _chunk_length(self) -> int:
        _, T, B, H = self._gates.shape
        return int(min(max(_CHUNK_FLOATS // (4 * B * H), 1), T))

    @cached_property
    def _chunk_buffers(self) -> tuple[Floats, Floats]:
        _, _, B, H = self._gates.shape
        dtype, N = self._gates.dtype, self._chunk_length
        return aligned(dtype, 4, N, B, H), aligned(dtype, N, B, H)

    @cached_property
    def _step_gradients(self) -> list[Floats]:
        return [np.empty_like(self._scratch) for _ in range(5)]
