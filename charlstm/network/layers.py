"""The LSTM layer, the output layer and the loss, each a `*_forward` / `*_backward` pair.

The key, here and everywhere: **T** time steps in a window, **B** parallel streams, **V** vocabulary size, **H** hidden
units per layer, **L** layers. Arrays are time-major and each row is a stream. The four gates of a layer are in the
order g, i, f, o (candidate, input, forget, output): stacked in the weights, the first axis of activations.

All computation is in the type of the parameters: float32 in use, float64 in checks.
"""

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np

from charlstm.arrays import Floats, Grads, IntArray, Params
from charlstm.network.matmul import RecurrentMatmul
from charlstm.network.workspace import Workspace

Inputs = Floats | IntArray  # [T, B, E]; or ids [T, B], which select one-hot vectors, or zeros for the id E
_CACHE_FLOATS = 1 << 18  # gates of a chunk of steps
_ID_ROWS = 128  # rows that are summed by id at a time


class LSTMCache(NamedTuple):
    """What `lstm_forward` keeps for `lstm_backward`, in the workspace."""

    x: Inputs
    gates: Floats  # [4, T, B, H], activated
    h: Floats  # [T + 1, B, H], from the state before the first step on
    c: Floats  # [T + 1, B, H]
    products: RecurrentMatmul


class LossCache(NamedTuple):
    """What `loss_forward` keeps for `loss_backward`, in the workspace."""

    h: Floats  # [T B, H]
    y: IntArray  # [T B]
    p: Floats  # [T B, V], the predicted probabilities
    nats: Floats  # [T B], the loss of each character


def lstm_forward(
    params: Params, x: Inputs, h: Floats, c: Floats, work: Workspace, *, backwards: bool = True
) -> tuple[Floats, Floats, Floats, LSTMCache]:
    """Run one LSTM layer over a window.

    At each step, for each gate::

        z = x[t] @ w_x.T + h @ w_h.T + b               # [4, B, H]
        g, i, f, o = tanh(z[0]), sigmoid(z[1:])
        c = f * c + i * g
        h = o * tanh(c)

    Hochreiter and Schmidhuber, "Long short-term memory" (1997), with the forget gate of Gers, Schmidhuber and Cummins,
    "Learning to forget" (2000). Forward and backward cost 24 H^2 FLOP per character, 48 H^2 where E = H, and 6 H floats
    per character are kept for the way back.

    Args:
        params: `w_x` [4H, E], `w_h` [4H, H], `b` [4H].
        x: inputs [T, B, E]; or ids [T, B], each selects a column of `w_x`: a one-hot input without the product. The id
            E selects none: an input of zeros.
        h: hidden state before the window [B, H].
        c: cell state before the window [B, H].
        work: holds the result, until the next window.
        backwards: whether `lstm_backward` will follow.

    Returns:
        h after each step [T, B, H]; h and c after the window [B, H] (copies); the cache.
    """
    T, (B, H) = len(x), h.shape
    gates = work.array("gates", 4, T, B, H)
    hs, cs = work.array("h", T + 1, B, H), work.array("c", T + 1, B, H)
    products = RecurrentMatmul(params["w_h"], B, work, backwards)
    from_x = _Projection(params, x, gates, work)
    added, tanh_c = work.array("added", B, H), work.array("tanh_c", B, H)
    hs[0], cs[0] = h, c
    for t in range(T):
        z = products.forward(hs[t])
        z += from_x[t]
        g, i, f, o = _activate(z, out=gates[:, t])
        np.multiply(i, g, out=added)
        np.multiply(f, cs[t], out=cs[t + 1])
        cs[t + 1] += added
        np.tanh(cs[t + 1], out=tanh_c)
        np.multiply(o, tanh_c, out=hs[t + 1])
    return hs[1:], hs[-1].copy(), cs[-1].copy(), LSTMCache(x, gates, hs, cs, products)


def lstm_backward(
    params: Params, dh: Floats, cache: LSTMCache, grads: Grads, work: Workspace, clip_error: float = 0.0
) -> Floats | None:
    """Propagate the gradient of a window back through one LSTM layer. Overwrites the cache.

    The gradient of each gate is the gradient of c (of h, for the output gate) times a factor that does not depend on
    the gradient. So the factors are computed for many steps at once, and each step is::

        dh = dh[t] + dz[t + 1] @ w_h                   # [B, H]
        dc = dc * f[t + 1] + dh * o * (1 - tanh(c)^2)
        dz[t] = dc * [i (1 - g^2), g i (1 - i), c_before f (1 - f)], dh * tanh(c) o (1 - o)

    The gradient from the next window is taken as zero: back-propagation is truncated (Williams and Peng, 1990).

    Args:
        params: as for `lstm_forward`.
        dh: gradient of h after each step [T, B, H].
        cache: from `lstm_forward`.
        grads: the gradients of `params`, summed over the window; written.
        work: holds the result, until the next window.
        clip_error: clip the gradients of h and c at each step, elementwise, to +- this. 0 turns it off.

    Returns:
        The gradient of x [T, B, E]; None where x are ids.
    """
    T, B, H = dh.shape
    dz, f = cache.gates, cache.gates[2]  # the gradient replaces the gates, step by step
    dh_t, dh_next, dc, dc_next = (work.array(name, B, H) for name in ("dh_t", "dh_next", "dc", "dc_next"))
    dh_next[...] = 0
    dc[...] = 0
    for chunk in _chunks_backwards(T, 4 * B * H):
        factors, to_c = _gradient_factors(cache, chunk, work)
        for k, t in reversed(list(enumerate(range(T)[chunk]))):
            np.add(dh[t], dh_next, out=dh_t)
            to_c[k] *= dh_t
            dc += to_c[k]
            np.multiply(dc, f[t], out=dc_next)
            np.multiply(factors[:3, k], dc, out=dz[:3, t])
            np.multiply(factors[3, k], dh_t, out=dz[3, t])
            cache.products.backward(dz[:, t], out=dh_next)
            dc, dc_next = dc_next, dc
            if clip_error:
                np.clip(dh_next, -clip_error, clip_error, out=dh_next)
                np.clip(dc, -clip_error, clip_error, out=dc)

    rows = dz.reshape(4, T * B, H)
    np.matmul(rows.swapaxes(1, 2), cache.h[:-1].reshape(T * B, H), out=grads["w_h"].reshape(4, H, H))
    return _projection_backward(params["w_x"], rows, cache.x, grads, work)


def loss_forward(params: Params, h: Floats, y: IntArray, work: Workspace) -> tuple[float, LossCache]:
    """Return the cross entropy of the predictions, through log-sum-exp.

    Args:
        params: `w_out` [V, H], `b_out` [V].
        h: the top layer's output [T, B, H].
        y: ids of the next characters [T, B].
        work: holds the cache, until the next window.

    Returns:
        The loss in nats, summed over the characters; the cache for `loss_backward`.
    """
    h, y = h.reshape(y.size, -1), y.reshape(-1)
    logits = np.matmul(h, params["w_out"].T, out=work.array("logits", len(y), len(params["b_out"])))  # [T B, V]
    logits += params["b_out"]
    logits -= logits.max(1, keepdims=True)
    of_y = logits[np.arange(len(y)), y]  # [T B]
    p = np.exp(logits, out=logits)
    total = p.sum(1)
    nats = np.log(total) - of_y  # [T B]
    p /= total[:, None]
    return float(np.sum(nats, dtype=np.float64)), LossCache(h, y, p, nats)


def loss_backward(params: Params, cache: LossCache, chars: int, grads: Grads, work: Workspace) -> Floats:
    """Propagate the gradient of the mean loss back through the output layer. Overwrites the cache.

    Args:
        params: as for `loss_forward`.
        cache: from `loss_forward`.
        chars: the number of characters that the mean is over.
        grads: the gradients of `params`; written.
        work: holds the result, until the next window.

    Returns:
        The gradient of h [T B, H].
    """
    dlogits = cache.p  # [T B, V]
    dlogits[np.arange(len(cache.y)), cache.y] -= 1
    dlogits /= chars
    np.matmul(dlogits.T, cache.h, out=grads["w_out"])
    np.sum(dlogits, axis=0, out=grads["b_out"])
    return np.matmul(dlogits, params["w_out"], out=work.array("top dh", *cache.h.shape))


def _activate(z: Floats, out: Floats) -> Floats:
    """Apply tanh to g and the sigmoid to i, f, o [4, B, H], and return `out`. Overwrites z.

    The sigmoid is half a tanh, which NumPy computes fast and without overflow: `sigmoid(z) = tanh(z / 2) / 2 + 1 / 2`.
    """
    z[1:] *= 0.5
    np.tanh(z, out=out)
    sigmoids = out[1:]
    sigmoids *= 0.5
    sigmoids += 0.5
    return out


def _gradient_factors(cache: LSTMCache, steps: slice, work: Workspace) -> tuple[Floats, Floats]:
    """Return the factors by which the gradients of some steps are multiplied.

    Returns:
        From the gradient of c (of h, for the last) to those of g, i, f, o [4, N, B, H]; from that of h to that of c
        [N, B, H].
    """
    gates, c_before, c = cache.gates[:, steps], cache.c[:-1][steps], cache.c[1:][steps]
    g, i, _, o = gates
    factors = work.array("factors", *gates.shape)
    tanh_c = np.tanh(c, out=work.array("tanh_c", *c.shape))
    np.multiply(g, g, out=factors[0])
    np.subtract(1, gates[1:], out=factors[1:])
    np.subtract(1, factors[0], out=factors[0])
    factors[1:] *= gates[1:]  # s (1 - s), of i, f and o
    factors[0] *= i
    factors[1] *= g
    factors[2] *= c_before
    factors[3] *= tanh_c
    to_c = np.multiply(tanh_c, tanh_c, out=tanh_c)
    np.subtract(1, to_c, out=to_c)
    to_c *= o
    return factors, to_c


def _chunks_backwards(T: int, floats_per_step: int) -> Iterator[slice]:
    """Cut T steps into pieces that fit into a core's cache, last piece first."""
    length = max(_CACHE_FLOATS // floats_per_step, 1)
    for stop in range(T, 0, -length):
        yield slice(max(stop - length, 0), stop)


class _Projection:
    """`x @ w_x.T + b` for each step of a window, by gate [4, B, H]."""

    def __init__(self, params: Params, x: Inputs, gates: Floats, work: Workspace) -> None:
        E = params["w_x"].shape[1]
        _, T, B, H = gates.shape
        w_x, b = params["w_x"].reshape(4, H, E).swapaxes(1, 2), params["b"].reshape(4, 1, H)
        self._ids = x if x.ndim == 2 else None
        if self._ids is None:  # one product for the whole window, in the memory of the activated gates
            projected = np.matmul(x.reshape(T * B, E), w_x, out=gates.reshape(4, T * B, H))
            projected += b
            self._by_step = gates
        else:
            self._by_id = work.array("projection by id", 4, E + 1, H)
            np.add(w_x, b, out=self._by_id[:, :E])
            self._by_id[:, E:] = b
            self._row = work.array("projection", 4, B, H)

    def __getitem__(self, t: int) -> Floats:
        if self._ids is None:
            return self._by_step[:, t]
        return np.take(self._by_id, self._ids[t], axis=1, out=self._row, mode="clip")


def _projection_backward(w_x: Floats, dz: Floats, x: Inputs, grads: Grads, work: Workspace) -> Floats | None:
    """Write the gradients of `w_x` [4H, E] and `b` [4H]; return that of x [T, B, E], or None where x are ids.

    Args:
        w_x: [4H, E].
        dz: gradient of the raw gates [4, T B, H].
        x: [T, B, E], or ids [T, B].
        grads: written.
        work: holds the result.
    """
    (_, N, H), E = dz.shape, w_x.shape[1]
    dw_x, db = grads["w_x"].reshape(4, H, E), grads["b"].reshape(4, H)
    if x.ndim == 2:
        sums = _sums_by_id(dz, cast(IntArray, x).reshape(-1), E + 1, work)
        dw_x[...] = sums[:, :E].swapaxes(1, 2)
        np.sum(sums, axis=1, out=db)  # each row of dz is part of one of them
        return None
    np.matmul(dz.swapaxes(1, 2), x.reshape(N, E), out=dw_x)
    np.sum(dz, axis=1, out=db)
    by_gate = np.matmul(dz, w_x.reshape(4, H, E), out=work.array("dx by gate", 4, N, E))
    return np.add.reduce(by_gate, axis=0, out=work.array("dx", N, E)).reshape(x.shape)


def _sums_by_id(rows: Floats, ids: IntArray, count: int, work: Workspace) -> Floats:
    """Return the sum of the rows with each id [4, count, H]: `one_hot(ids).T @ rows`, in a fraction of the time.

    Sorted by id, a chunk of rows has only a few distinct ids, so that the product with its part of the one-hot matrix
    is small.

    Args:
        rows: [4, N, H].
        ids: [N].
        count: the number of ids.
        work: holds the result.
    """
    sums = work.array("sums by id", 4, count, rows.shape[2])
    sums[...] = 0
    order = np.argsort(ids, kind="stable")
    for start in range(0, len(ids), _ID_ROWS):
        at = order[start : start + _ID_ROWS]
        first, last = ids[at[0]], ids[at[-1]]
        one_hot = (ids[at] == np.arange(first, last + 1)[:, None]).astype(rows.dtype)
        sums[:, first : last + 1] += one_hot @ np.take(rows, at, axis=1)
    return sums
