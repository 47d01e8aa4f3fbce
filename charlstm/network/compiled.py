"""The loops over time, compiled by Numba: the same equations as in `recurrence`, for float32.

The weights of a window are packed once into panels of a few columns, so that a product reads them in order. The
product of a few rows and one panel is a tile of vectors, which stay in registers: `_tile` emits it, since loops in
Python do not compile to that. Sums are in another order than in NumPy, so results agree to rounding. The number of
streams does not change the sums of a row. `compiled_step` has the step of sampling.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from charlstm.arrays import Floats
from charlstm.network.matmul import aligned
from charlstm.network.recurrence import LayerArrays, LoadedInputs

_HAS_AVX512 = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
_LANES = 16 if _HAS_AVX512 else 8  # floats in a vector
_TILE_ROWS = 12 if _HAS_AVX512 else 6  # with two vectors each, they leave room for weights in 32 or 16 registers
PANEL = 2 * _LANES  # columns
OPTIONS: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy", "nogil": True}
_NO_RESETS = np.empty((0, 0, 1), np.float32)
_HALF, _ONE = np.float32(0.5), np.float32(1)

# Rational approximation of tanh with an error below 3e-7, with the coefficients of the Eigen library (ptanh_float).
_TANH_LIMIT = np.float32(7.90531110763549805)
_P0, _P1, _P2, _P3, _P4, _P5, _P6 = (
    np.float32(coefficient)
    for coefficient in (
        4.89352455891786e-03,
        6.37261928875436e-04,
        1.48572235717979e-05,
        5.12229709037114e-08,
        -8.60467152213735e-11,
        2.00018790482477e-13,
        -2.76076847742355e-16,
    )
)
_Q0, _Q1, _Q2, _Q3 = (
    np.float32(coefficient)
    for coefficient in (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
)


class CompiledRecurrence:
    """The loops over time, compiled; see `recurrence.Recurrence`."""

    def __init__(self, arrays: LayerArrays) -> None:
        _, _, B, H = arrays.gates.shape
        self._arrays = arrays
        self._forward_panels = aligned(np.float32, 4, H // PANEL, H, PANEL)
        self._backward_panels = aligned(np.float32, 4, H // PANEL, H, PANEL)
        self._dh_next, self._dc = aligned(np.float32, B, H), aligned(np.float32, B, H)

    def forward(self, w_h: Floats, inputs: LoadedInputs, keep: Floats | None) -> None:
        H = w_h.shape[1]
        keep = _NO_RESETS if keep is None else keep
        _pack(w_h.reshape(4, H, H), self._forward_panels, self._backward_panels)
        if inputs.lookup is None:
            _forward(self._forward_panels, *self._arrays, keep)
        else:
            _forward_ids(*inputs.lookup, self._forward_panels, *self._arrays, keep)

    def backward(self, w_h: Floats, dh_above: Floats, clip_error: float, keep: Floats | None) -> None:
        gates, _, c_prev, _, c = self._arrays
        limit, keep = np.float32(clip_error), _NO_RESETS if keep is None else keep
        _backward(self._backward_panels, dh_above, gates, c_prev, c, self._dh_next, self._dc, limit, keep)


# ---- products


def _tile(max_rows: int, panels: int = 1) -> Callable[..., None]:
    """Return a function that adds the product of 1 to `max_rows` rows [rows, K] and panels [panels, K, PANEL] to out.

    Its arguments are the number of rows, then addresses and row lengths in floats: of the rows, of the panels, K, and
    of out. Each sum is taken in the order of K, so that it does not depend on the number of rows.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, *operands = arguments
        for count in range(1, max_rows + 1):
            with builder.if_then(builder.icmp_signed("==", rows, ir.Constant(rows.type, count))):
                _emit_tile(builder, count, panels, *operands)
        return context.get_dummy_value()

    @intrinsic
    def tile(typingctx, rows, rows_at, row_length, panel, K, out, out_length):
        return types.void(*[types.intp] * 7), codegen

    return tile


def _emit_tile(
    builder: Any, rows: int, panels: int, rows_at: Any, row_length: Any, panel: Any, K: Any, out: Any, out_length: Any
) -> None:
    """Emit a loop over K with all sums in registers."""
    i64, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), _LANES)

    def bytes_of(floats: Any) -> Any:
        return builder.mul(floats, ir.Constant(i64, 4))

    def pointer(address: Any, offset: Any, kind: Any) -> Any:
        return builder.inttoptr(builder.add(address, offset), kind.as_pointer())

    def splat(value: Any) -> Any:
        single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), zeros)

    vectors = range(panels * PANEL // _LANES)
    offsets = [ir.Constant(i64, 4 * _LANES * v) for v in vectors]
    panel_size = bytes_of(builder.mul(K, ir.Constant(i64, PANEL)))
    bases = [builder.add(panel, builder.mul(panel_size, ir.Constant(i64, n))) for n in range(panels)]
    starts = [builder.add(rows_at, builder.mul(bytes_of(row_length), ir.Constant(i64, r))) for r in range(rows)]
    outs = [builder.add(out, builder.mul(bytes_of(out_length), ir.Constant(i64, r))) for r in range(rows)]
    cells = [[pointer(start, offset, vector) for offset in offsets] for start in outs]
    sums = [[cgutils.alloca_once(builder, vector) for _ in vectors] for _ in range(rows)]
    for r in range(rows):
        for v in vectors:
            builder.store(builder.load(cells[r][v], align=4), sums[r][v])
    with cgutils.for_range(builder, K) as loop:
        at = builder.mul(loop.index, ir.Constant(i64, 4 * PANEL))
        weights = [
            builder.load(pointer(builder.add(base, at), offset, vector), align=4)
            for base in bases
            for offset in offsets[: PANEL // _LANES]
        ]
        for r in range(rows):
            x = splat(builder.load(pointer(starts[r], bytes_of(loop.index), ir.FloatType())))
            for v in vectors:
                product = builder.fmul(x, weights[v], flags=("contract",))
                builder.store(builder.fadd(builder.load(sums[r][v]), product, flags=("contract",)), sums[r][v])
    for r in range(rows):
        for v in vectors:
            builder.store(builder.load(sums[r][v]), cells[r][v], align=4)


_tile_of_rows, _tile_of_1, _tile_of_2 = _tile(_TILE_ROWS), _tile(1, panels=4), _tile(2, panels=2)


@njit(cache=True, **OPTIONS)
def add_product(rows, B, K, panels, N, out):
    """Add `rows @ w` to out [B, N], given rows [B, K] and the panels of w [N / PANEL, K, PANEL], by their addresses."""
    panel, last = 0, N // PANEL
    while panel < last:
        w, z = panels + 4 * panel * K * PANEL, out + 4 * panel * PANEL
        if B == 1 and panel + 4 <= last:  # one panel has too few sums to keep a core busy
            _tile_of_1(1, rows, K, w, K, z, N)
            panel += 4
        elif B == 2 and panel + 2 <= last:
            _tile_of_2(2, rows, K, w, K, z, N)
            panel += 2
        else:
            b = 0
            for tiles in range((B + _TILE_ROWS - 1) // _TILE_ROWS, 0, -1):  # of equal height, as far as possible
                height = (B - b + tiles - 1) // tiles
                _tile_of_rows(height, rows + 4 * b * K, K, w, K, z + 4 * b * N, N)
                b += height
            panel += 1


@njit(cache=True, **OPTIONS)
def _pack(w_h, forward, backward):
    """Copy w_h [4, H, H] to panels [4, H / PANEL, H, PANEL], transposed and halved for i, f and o in `forward`."""
    _, H, _ = w_h.shape
    for gate in range(4):
        scale = _ONE if gate == 0 else _HALF
        for panel in range(H // PANEL):
            for first in range(0, H, PANEL):  # square blocks stay in the cache
                for column in range(PANEL):
                    for k in range(first, first + PANEL):
                        forward[gate, panel, k, column] = scale * w_h[gate, panel * PANEL + column, k]
            for k in range(H):
                for column in range(PANEL):
                    backward[gate, panel, k, column] = w_h[gate, k, panel * PANEL + column]


# ---- the cell


@njit(inline="always", **OPTIONS)
def _tanh(x):
    x = _TANH_LIMIT if x > _TANH_LIMIT else x  # not min, which may drop a NaN
    x = -_TANH_LIMIT if x < -_TANH_LIMIT else x
    s = x * x
    p = ((((((_P6 * s + _P5) * s + _P4) * s + _P3) * s + _P2) * s + _P1) * s + _P0) * x
    return p / (((_Q3 * s + _Q2) * s + _Q1) * s + _Q0)


@njit(cache=True, **OPTIONS)
def activate(g, i, f, o, c_prev, c, h):
    """Replace pre-activations, halved for i, f and o, by gates; write c and h. See `recurrence.cell`."""
    for n in range(len(g)):
        g_n = _tanh(g[n])
        i_n, f_n, o_n = _tanh(i[n]) * _HALF + _HALF, _tanh(f[n]) * _HALF + _HALF, _tanh(o[n]) * _HALF + _HALF
        c_n = f_n * c_prev[n] + i_n * g_n
        g[n], i[n], f[n], o[n], c[n] = g_n, i_n, f_n, o_n, c_n
        h[n] = o_n * _tanh(c_n)


@njit(cache=True, **OPTIONS)
def _propagate(g, i, f, o, c_prev, c, dh_above, dh_next, dc):
    """Replace gates by dz and dc by dc_next, and set dh_next to zero. See `LSTMLayer.backward`."""
    for n in range(len(g)):
        g_n, i_n, f_n, o_n = g[n], i[n], f[n], o[n]
        tanh_c = _tanh(c[n])
        dh = dh_above[n] + dh_next[n]
        dc_n = dc[n] + dh * o_n * (_ONE - tanh_c * tanh_c)
        g[n] = dc_n * i_n * (_ONE - g_n * g_n)
        i[n] = dc_n * g_n * i_n * (_ONE - i_n)
        f[n] = dc_n * c_prev[n] * f_n * (_ONE - f_n)
        o[n] = dh * tanh_c * o_n * (_ONE - o_n)
        dc[n] = dc_n * f_n
        dh_next[n] = 0


@njit(cache=True, **OPTIONS)
def _clip(values, limit):
    for n in range(len(values)):
        values[n] = max(min(values[n], limit), -limit)


@njit(cache=True, **OPTIONS)
def _scale_rows(rows, factors, out):
    """Write rows [B, H], each multiplied by its factor [B, 1]."""
    for b in range(len(rows)):
        for n in range(rows.shape[1]):
            out[b, n] = factors[b, 0] * rows[b, n]


# ---- the loops


@njit(cache=True, **OPTIONS)
def _step(t, panels, gates, h_prev, c_prev, h, c, keep):
    """Compute step t, whose gates hold `x[t] @ w_x.T + b`."""
    _, T, B, H = gates.shape
    if len(keep) and t:
        _scale_rows(h[t - 1], keep[t], h_prev[t])
        _scale_rows(c[t - 1], keep[t], c_prev[t])
    for gate in range(4):
        w, z = panels.ctypes.data + 4 * gate * H * H, gates.ctypes.data + 4 * (gate * T + t) * B * H
        add_product(h_prev.ctypes.data + 4 * t * B * H, B, H, w, H, z)
    g, i, f, o = gates[0, t], gates[1, t], gates[2, t], gates[3, t]
    activate(g.ravel(), i.ravel(), f.ravel(), o.ravel(), c_prev[t].ravel(), c[t].ravel(), h[t].ravel())


@njit(cache=True, **OPTIONS)
def _forward(panels, gates, h_prev, c_prev, h, c, keep):
    for t in range(gates.shape[1]):
        _step(t, panels, gates, h_prev, c_prev, h, c, keep)


@njit(cache=True, **OPTIONS)
def _forward_ids(by_id, ids, panels, gates, h_prev, c_prev, h, c, keep):
    _, T, B, _ = gates.shape
    for t in range(T):
        for gate in range(4):
            for b in range(B):
                gates[gate, t, b] = by_id[gate, ids[t, b]]
        _step(t, panels, gates, h_prev, c_prev, h, c, keep)


@njit(cache=True, **OPTIONS)
def _backward(panels, dh_above, gates, c_prev, c, dh_next, dc, clip_error, keep):
    _, T, B, H = gates.shape
    dh_next[:] = 0
    dc[:] = 0
    for t in range(T - 1, -1, -1):
        g, i, f, o = gates[0, t].ravel(), gates[1, t].ravel(), gates[2, t].ravel(), gates[3, t].ravel()
        before, after, dh = c_prev[t].ravel(), c[t].ravel(), dh_above[t].ravel()
        _propagate(g, i, f, o, before, after, dh, dh_next.ravel(), dc.ravel())
        for gate in range(4):
            w, dz = panels.ctypes.data + 4 * gate * H * H, gates.ctypes.data + 4 * (gate * T + t) * B * H
            add_product(dz, B, H, w, H, dh_next.ctypes.data)
        if clip_error:
            _clip(dh_next.ravel(), clip_error)
            _clip(dc.ravel(), clip_error)
        if len(keep):
            _scale_rows(dh_next, keep[t], dh_next)
            _scale_rows(dc, keep[t], dc)


# ---- the optimiser


@njit(cache=True, **OPTIONS)
def adam_step(grad, m, v, beta1, beta2, epsilon, scale):
    """Update the moments of Adam, and return the step before the learning rate; see `optim`."""
    step = np.empty_like(grad)
    for n in range(len(grad)):
        m[n] = beta1 * m[n] + (_ONE - beta1) * grad[n]
        v[n] = beta2 * v[n] + (_ONE - beta2) * grad[n] * grad[n]
        step[n] = scale * m[n] / (np.sqrt(v[n]) + epsilon)
    return step
