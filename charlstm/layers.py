"""The LSTM layer, the output layer and the loss, each a `*_forward` / `*_backward` pair.

The key, here and everywhere: **T** time steps in a window, **B** parallel streams, **V** vocabulary size, **H** hidden
units per layer, **L** layers. Arrays are time-major and columns are streams, so that a line of code reads as the
equation. The four gates of a layer are stacked in the order g, i, f, o (candidate, input, forget, output).

Everything computes in the type of the parameters: float32 for work, float64 for checks.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlstm.batches import IntArray

Floats = npt.NDArray[np.floating[Any]]
Inputs = Floats | IntArray  # [T, E, B], or ids [T, B], each of which stands for a one-hot vector
Params = Mapping[str, Floats]
Grads = dict[str, Floats]


class LSTMCache(NamedTuple):
    """What `lstm_forward` keeps for `lstm_backward`."""

    x: Inputs  # [T, E, B] or ids [T, B]
    gates: Floats  # [T, 4H, B], activated
    h: Floats  # [T + 1, H, B], from the state before the first step on
    c: Floats  # [T + 1, H, B]
    tanh_c: Floats  # [T, H, B]


class LossCache(NamedTuple):
    """What `loss_forward` keeps for `loss_backward`."""

    h: Floats  # [T, H, B]
    y: IntArray  # [T, B]
    p: Floats  # [T, V, B], the predicted probabilities


def lstm_forward(params: Params, x: Inputs, h: Floats, c: Floats) -> tuple[Floats, Floats, Floats, LSTMCache]:
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

    Returns:
        h after each step [T, H, B] (a view into the cache); h and c after the window (copies); the cache.
    """
    w_h = params["w_h"]
    T, H = len(x), w_h.shape[1]
    gates = _project(params["w_x"], x)  # [T, 4H, B]
    gates += params["b"][:, None]
    hs, cs = (np.empty((T + 1, *h.shape), w_h.dtype) for _ in "hc")
    tanh_c = np.empty((T, *h.shape), w_h.dtype)
    hs[0], cs[0] = h, c
    for t in range(T):
        gates[t] += w_h @ hs[t]
        g, i, f, o = _activate(gates[t])
        cs[t + 1] = f * cs[t] + i * g
        np.tanh(cs[t + 1], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=hs[t + 1])
    assert gates.shape[1] == 4 * H
    return hs[1:], hs[-1].copy(), cs[-1].copy(), LSTMCache(x, gates, hs, cs, tanh_c)


def lstm_backward(params: Params, dh: Floats, cache: LSTMCache, clip_error: float = 0.0) -> tuple[Floats | None, Grads]:
    """Carry the error of a window back through one LSTM layer.

    What reaches the gates is the error of c (of h, for the output gate) times a factor that does not depend on the
    error. So the factors are computed for the whole window at once, and a step back is::

        dh = dh[t] + w_h.T @ dgates[t + 1]             # [H, B]
        dc = dc * f[t + 1] + dh * o * (1 - tanh(c)^2)
        dgates[t] = dc * [i (1 - g^2), g i (1 - i), c_before f (1 - f)], dh * tanh(c) o (1 - o)

    The error that enters from the window behind is zero: back-propagation is truncated (Williams and Peng, 1990).

    Args:
        params: as for `lstm_forward`.
        dh: error of h after each step [T, H, B].
        cache: from `lstm_forward`.
        clip_error: clip the error that goes from a step to the one before, elementwise, to +- this. 0 is off.

    Returns:
        The error of x [T, E, B] (None where x are ids); the gradients of `params`, summed over the window.
    """
    w_h = params["w_h"]
    T, H, B = dh.shape
    g, i, f, o = (cache.gates.reshape(T, 4, H, B)[:, k] for k in range(4))
    to_c = o * (1 - cache.tanh_c**2)  # [T, H, B], from the error of h to that of c
    factors = np.empty((T, 4, H, B), w_h.dtype)  # from the error of c or h to that of the gates
    factors[:, 0] = i * (1 - g * g)
    factors[:, 1] = g * i * (1 - i)
    factors[:, 2] = cache.c[:-1] * f * (1 - f)
    factors[:, 3] = cache.tanh_c * o * (1 - o)

    dgates = np.empty((T, 4, H, B), w_h.dtype)
    dh_next, dc_next = np.zeros((H, B), w_h.dtype), np.zeros((H, B), w_h.dtype)
    for t in reversed(range(T)):
        dh_t = dh[t] + dh_next
        dc = dc_next + dh_t * to_c[t]
        np.multiply(factors[t, :3], dc, out=dgates[t, :3])
        np.multiply(factors[t, 3], dh_t, out=dgates[t, 3])
        dh_next = w_h.T @ dgates[t].reshape(4 * H, B)
        dc_next = dc * f[t]
        if clip_error:
            np.clip(dh_next, -clip_error, clip_error, out=dh_next)
            np.clip(dc_next, -clip_error, clip_error, out=dc_next)

    dz = dgates.reshape(T, 4 * H, B)
    dx, dw_x = _project_backward(params["w_x"], dz, cache.x)
    return dx, {"w_x": dw_x, "w_h": _outer(dz, cache.h[:-1]), "b": dz.sum((0, 2))}


def logits_forward(params: Params, h: Floats) -> Floats:
    """Return the scores of every character: `w_out @ h + b_out`.

    Args:
        params: `w_out` [V, H], `b_out` [V].
        h: the top layer's output [..., H, B].

    Returns:
        logits [..., V, B].
    """
    return params["w_out"] @ h + params["b_out"][:, None]


def loss_forward(params: Params, h: Floats, y: IntArray) -> tuple[float, LossCache]:
    """Compare the predictions with what came: the cross entropy, through log-sum-exp.

    Args:
        params: `w_out` [V, H], `b_out` [V].
        h: the top layer's output [T, H, B].
        y: ids of the characters that came [T, B].

    Returns:
        The mean loss in nats per character; the cache for `loss_backward`.
    """
    logits = logits_forward(params, h)  # [T, V, B]
    logits -= logits.max(1, keepdims=True)
    of_y = np.take_along_axis(logits, y[:, None], 1)[:, 0]  # [T, B]
    p = np.exp(logits, out=logits)
    total = p.sum(1)  # [T, B]
    loss = np.mean(np.log(total) - of_y, dtype=np.float64)
    p /= total[:, None]
    return float(loss), LossCache(h, y, p)


def loss_backward(params: Params, cache: LossCache) -> tuple[Floats, Grads]:
    """Return the error of h [T, H, B], and the gradients of `w_out` and `b_out`. Overwrites the cache."""
    dlogits = cache.p  # [T, V, B]
    T, B = cache.y.shape
    dlogits[np.arange(T)[:, None], cache.y, np.arange(B)] -= 1
    dlogits /= T * B
    dh = params["w_out"].T @ dlogits
    return dh, {"w_out": _outer(dlogits, cache.h), "b_out": dlogits.sum((0, 2))}


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


def _project(w_x: Floats, x: Inputs) -> Floats:
    """`w_x @ x` for the whole window [T, 4H, B]; where x are ids, columns of `w_x`."""
    if x.ndim == 3:
        return w_x @ x
    return np.ascontiguousarray(w_x.T[x].swapaxes(1, 2))


def _project_backward(w_x: Floats, dgates: Floats, x: Inputs) -> tuple[Floats | None, Floats]:
    if x.ndim == 3:
        return w_x.T @ dgates, _outer(dgates, x)
    one_hot = x[:, None] == np.arange(w_x.shape[1])[:, None]  # [T, V, B]
    return None, _outer(dgates, one_hot.astype(w_x.dtype))


def _outer(a: Floats, b: npt.NDArray[Any]) -> Floats:
    """Sum `a[t] @ b[t].T` over the window: one product over all T B columns. [T, M, B], [T, N, B] -> [M, N]."""
    return np.tensordot(a, b, ((0, 2), (0, 2)))
