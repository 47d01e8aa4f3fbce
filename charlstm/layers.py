"""The LSTM layer, the output layer and the loss, each a `*_forward` / `*_backward` pair.

The key, here and everywhere: **T** time steps in a window, **B** parallel streams, **V** vocabulary size, **H** hidden
units per layer, **L** layers. Arrays are time-major and columns are streams, so that a line of code reads as the
equation. The four gates of a layer are stacked in the order g, i, f, o (candidate, input, forget, output).

Everything computes in the type of the parameters: float32 for work, float64 for checks. The large arrays of a window
lie in a `Workspace`, because memory that is fresh for every window costs a third of the time.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from charlstm.batches import IntArray

Floats = npt.NDArray[np.floating[Any]]
Inputs = Floats | IntArray  # [T, E, B], or ids [T, B], each of which stands for a one-hot vector
Params = Mapping[str, Floats]
Grads = dict[str, Floats]
_CACHE_FLOATS = 1 << 17  # what a chunk of steps may hold of each gate array


class Workspace:
    """Memory that is allocated once and used for every window: arrays by name, which grow where they must."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._memory: dict[str, Floats] = {}

    def array(self, name: str, *shape: int) -> Floats:
        """Return an array of this shape, with anything in it. It overwrites the one that last had its name."""
        size = math.prod(shape)
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = np.empty(size, self._dtype)
        return self._memory[name][:size].reshape(shape)

    def columns(self, name: str, window: Floats) -> Floats:
        """Return a window [T, N, B] as one matrix [N, T B], as a product over all of its columns needs it."""
        T, N, B = window.shape
        matrix = self.array(name, N, T, B)
        matrix[...] = window.swapaxes(0, 1)
        return matrix.reshape(N, T * B)


class LSTMCache(NamedTuple):
    """What `lstm_forward` keeps for `lstm_backward`, in the workspace."""

    x: Inputs
    gates: Floats  # [T, 4, H, B], activated
    h: Floats  # [T + 1, H, B], from the state before the first step on
    c: Floats  # [T + 1, H, B]
    tanh_c: Floats  # [T, H, B]


class LossCache(NamedTuple):
    """What `loss_forward` keeps for `loss_backward`, in the workspace."""

    h: Floats  # [H, T B]
    y: IntArray  # [T, B]
    p: Floats  # [V, T B], the predicted probabilities


def lstm_forward(
    params: Params, x: Inputs, h: Floats, c: Floats, work: Workspace
) -> tuple[Floats, Floats, Floats, LSTMCache]:
    """Run one LSTM layer over a window.

    At each step, with the four gates stacked in `gates`, in order g, i, f, o::

        gates = w_x @ x[t] + w_h @ h + b               # [4H, B]
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)

    Hochreiter and Schmidhuber, "Long short-term memory" (1997), with the forget gate of Gers, Schmidhuber and Cummins,
    "Learning to forget" (2000). Forward and backward cost 24 H^2 FLOP per character, 48 H^2 where E = H, and 7 H floats
    per character are kept for the way back.

    Args:
        params: `w_x` [4H, E], `w_h` [4H, H], `b` [4H].
        x: inputs [T, E, B]; or ids [T, B], each selects a column of `w_x`: a one-hot input without the product.
        h: hidden state before the window [H, B].
        c: cell state before the window [H, B].
        work: holds what is returned, until the next window.

    Returns:
        h after each step [T, H, B]; h and c after the window [H, B] (copies); the cache.
    """
    w_h = params["w_h"]
    T, (H, B) = len(x), h.shape
    gates = _project(params["w_x"], params["b"], x, work)  # [T, 4H, B]
    hs, cs = work.array("h", T + 1, H, B), work.array("c", T + 1, H, B)
    tanh_c = work.array("tanh_c", T, H, B)
    product, added = work.array("product", 4 * H, B), work.array("added", H, B)
    hs[0], cs[0] = h, c
    for t in range(T):
        np.matmul(w_h, hs[t], out=product)
        gates[t] += product
        g, i, f, o = _activate(gates[t])
        np.multiply(i, g, out=added)
        np.multiply(f, cs[t], out=cs[t + 1])
        cs[t + 1] += added
        np.tanh(cs[t + 1], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=hs[t + 1])
    return hs[1:], hs[-1].copy(), cs[-1].copy(), LSTMCache(x, gates.reshape(T, 4, H, B), hs, cs, tanh_c)


def lstm_backward(
    params: Params, dh: Floats, cache: LSTMCache, work: Workspace, clip_error: float = 0.0
) -> tuple[Floats | None, Grads]:
    """Carry the error of a window back through one LSTM layer.

    What reaches the gates is the error of c (of h, for the output gate) times a factor that does not depend on the
    error. So the factors are computed for many steps at once, and a step back is::

        dh = dh[t] + w_h.T @ dgates[t + 1]             # [H, B]
        dc = dc * f[t + 1] + dh * o * (1 - tanh(c)^2)
        dgates[t] = dc * [i (1 - g^2), g i (1 - i), c_before f (1 - f)], dh * tanh(c) o (1 - o)

    The error that enters from the window behind is zero: back-propagation is truncated (Williams and Peng, 1990).

    Args:
        params: as for `lstm_forward`.
        dh: error of h after each step [T, H, B].
        cache: from `lstm_forward`.
        work: holds what is returned, until the next window.
        clip_error: clip the error that goes from a step to the one before, elementwise, to +- this. 0 is off.

    Returns:
        The error of x [T, E, B] (None where x are ids); the gradients of `params`, summed over the window.
    """
    w_h = params["w_h"]
    T, H, B = dh.shape
    dgates = work.array("dgates", T, 4, H, B)
    dh_t, dh_next, dc = (work.array(name, H, B) for name in ("dh_t", "dh_next", "dc"))
    w_h_transposed = _transposed(w_h, work.array("w_h.T", H, 4 * H))  # BLAS is up to a third slower with a mere view
    dh_next[...] = 0
    dc[...] = 0
    f = cache.gates[:, 2]
    for chunk in _chunks_backwards(T, 4 * H * B):
        factors, to_c = _error_factors(cache, chunk, work)
        for t in reversed(range(T)[chunk]):
            np.add(dh[t], dh_next, out=dh_t)
            to_c[t - chunk.start] *= dh_t
            dc += to_c[t - chunk.start]
            np.multiply(factors[t - chunk.start, :3], dc, out=dgates[t, :3])
            np.multiply(factors[t - chunk.start, 3], dh_t, out=dgates[t, 3])
            np.matmul(w_h_transposed, dgates[t].reshape(4 * H, B), out=dh_next)
            dc *= f[t]
            if clip_error:
                np.clip(dh_next, -clip_error, clip_error, out=dh_next)
                np.clip(dc, -clip_error, clip_error, out=dc)

    dz = work.columns("dgates by column", dgates.reshape(T, 4 * H, B))  # [4H, T B]
    dx, x = _project_backward(params["w_x"], dz, cache.x, work)  # x [E, T B]
    grads = {
        "w_x": np.matmul(dz, x.T, out=work.array("dw_x", *params["w_x"].shape)),
        "w_h": np.matmul(dz, work.columns("h by column", cache.h[:-1]).T, out=work.array("dw_h", *w_h.shape)),
        "b": dz.sum(1),
    }
    return dx, grads


def logits_forward(params: Params, h: Floats) -> Floats:
    """Return the scores of every character [V, B] for h [H, B]: `w_out @ h + b_out`."""
    return params["w_out"] @ h + params["b_out"][:, None]


def loss_forward(params: Params, h: Floats, y: IntArray, work: Workspace) -> tuple[float, LossCache]:
    """Compare the predictions with what came: the cross entropy, through log-sum-exp.

    Args:
        params: `w_out` [V, H], `b_out` [V].
        h: the top layer's output [T, H, B].
        y: ids of the characters that came [T, B].
        work: holds the cache, until the next window.

    Returns:
        The loss in nats, summed over the characters; the cache for `loss_backward`.
    """
    columns = work.columns("top h by column", h)  # [H, T B]
    logits = np.matmul(params["w_out"], columns, out=work.array("logits", len(params["b_out"]), y.size))
    logits += params["b_out"][:, None]
    logits -= logits.max(0)
    of_y = logits[y.ravel(), np.arange(y.size)]  # [T B]
    p = np.exp(logits, out=logits)
    total = p.sum(0)
    loss = np.sum(np.log(total) - of_y, dtype=np.float64)
    p /= total
    return float(loss), LossCache(columns, y, p)


def loss_backward(params: Params, cache: LossCache, chars: int, work: Workspace) -> tuple[Floats, Grads]:
    """Carry the error of the mean loss back through the output layer. Overwrites the cache.

    Args:
        params: as for `loss_forward`.
        cache: from `loss_forward`.
        chars: how many characters the mean is over.
        work: holds what is returned, until the next window.

    Returns:
        The error of h [T, H, B]; the gradients of `params`.
    """
    (T, B), (H, _) = cache.y.shape, cache.h.shape
    dlogits = cache.p  # [V, T B]
    dlogits[cache.y.ravel(), np.arange(T * B)] -= 1
    dlogits /= chars
    w_out = params["w_out"]
    dh = np.matmul(w_out.T, dlogits, out=work.array("top dh", H, T * B))
    dw_out = np.matmul(dlogits, cache.h.T, out=work.array("dw_out", *w_out.shape))
    return dh.reshape(H, T, B).swapaxes(0, 1), {"w_out": dw_out, "b_out": dlogits.sum(1)}


def _activate(gates: Floats) -> Floats:
    """Apply tanh to g and the sigmoid to i, f, o, in place; return the four [4, H, B].

    The sigmoid is half a tanh, which NumPy computes fast and without overflow: `sigmoid(z) = tanh(z / 2) / 2 + 1 / 2`.
    """
    H = len(gates) // 4
    sigmoids = gates[H:]
    sigmoids *= 0.5
    np.tanh(gates, out=gates)
    sigmoids *= 0.5
    sigmoids += 0.5
    return gates.reshape(4, H, -1)


def _transposed(matrix: Floats, out: Floats) -> Floats:
    """Write the transpose of a matrix into `out` in strips, which is some times faster than at once; return it."""
    for start in range(0, len(matrix), 64):
        out[:, start : start + 64] = matrix[start : start + 64].T
    return out


def _error_factors(cache: LSTMCache, steps: slice, work: Workspace) -> tuple[Floats, Floats]:
    """Return what the errors of some steps are multiplied with.

    Returns:
        From the error of c (of h, for the last) to that of g, i, f, o [N, 4, H, B]; from the error of h to that of c
        [N, H, B].
    """
    gates, tanh_c = cache.gates[steps], cache.tanh_c[steps]
    g, i, o = gates[:, 0], gates[:, 1], gates[:, 3]
    factors, to_c = work.array("factors", *gates.shape), work.array("to c", *tanh_c.shape)
    np.multiply(g, g, out=factors[:, 0])
    np.subtract(1, gates[:, 1:], out=factors[:, 1:])
    np.subtract(1, factors[:, 0], out=factors[:, 0])
    factors[:, 1:] *= gates[:, 1:]  # s (1 - s), of i, f and o
    factors[:, 0] *= i
    factors[:, 1] *= g
    factors[:, 2] *= cache.c[steps]  # before the step
    factors[:, 3] *= tanh_c
    np.multiply(tanh_c, tanh_c, out=to_c)
    np.subtract(1, to_c, out=to_c)
    to_c *= o
    return factors, to_c


def _chunks_backwards(T: int, floats_per_step: int) -> Iterator[slice]:
    """Cut T steps into pieces that fit into a core's cache, the last one first."""
    length = max(_CACHE_FLOATS // floats_per_step, 1)
    for stop in range(T, 0, -length):
        yield slice(max(stop - length, 0), stop)


def _project(w_x: Floats, b: Floats, x: Inputs, work: Workspace) -> Floats:
    """`w_x @ x + b` for the whole window [T, 4H, B]; where x are ids, columns of `w_x`."""
    gates = work.array("gates", len(x), len(b), x.shape[-1])
    if x.ndim == 3:
        np.matmul(w_x, x, out=gates)
        gates += b[:, None]
    else:
        columns = w_x + b[:, None]
        for ids, into in zip(x, gates, strict=True):
            np.take(columns, ids, axis=1, out=into, mode="clip")
    return gates


def _project_backward(w_x: Floats, dz: Floats, x: Inputs, work: Workspace) -> tuple[Floats | None, Floats]:
    """Return the error of x [T, E, B], and x by column [E, T B]; where x are ids, None, and one-hot columns."""
    T, E, B = len(x), w_x.shape[1], x.shape[-1]
    if x.ndim == 3:
        dx = np.matmul(w_x.T, dz, out=work.array("dx", E, T * B))
        return dx.reshape(E, T, B).swapaxes(0, 1), work.columns("x by column", cast(Floats, x))
    one_hot = work.array("x by column", E, T * B)
    one_hot[...] = 0
    one_hot[x.ravel(), np.arange(T * B)] = 1
    return None, one_hot
