"""The LSTM layer and the output layer, forward and backward.

The key, here and everywhere: **T** time steps in a window, **B** parallel streams, **V** vocabulary size, **H** hidden
units per layer, **L** layers; **E** size of a layer's input. Arrays are time-major and each row is a stream. The four
gates are in the order g, i, f, o (candidate, input, forget, output): stacked along the rows of the weights, the first
axis of activations. `z` are pre-activations; g, i, f and o are activated gates.

`sigmoid(z) = tanh(z / 2) / 2 + 1 / 2`, so one tanh activates all gates if z is halved for i, f and o. Halving is exact,
so the weights and biases are halved instead, once per window. `dz` is the gradient of the full sums: the backward pass
has no halves.

All computation is in the dtype of the parameters: float32 in use, float64 in checks.
"""

from typing import cast

import numpy as np
import numpy.typing as npt

from charlstm.arrays import Floats, Grads, IntArray, Params
from charlstm.network.kernels import recurrence
from charlstm.network.matmul import aligned
from charlstm.network.recurrence import LayerArrays

Inputs = Floats | IntArray  # [T, B, E]; or ids [T, B], which select one-hot vectors, or zeros for the id E
_ID_ROWS = 128  # rows per product in `_sum_by_id`


class LSTMLayer:
    """One LSTM layer, for windows of T steps and B streams. It owns the buffers for one window.

    Hochreiter and Schmidhuber, "Long short-term memory" (1997), with the forget gate of Gers, Schmidhuber and Cummins,
    "Learning to forget" (2000). Forward and backward cost 24 H^2 FLOP per character, 48 H^2 where E = H, and keep 6 H
    floats per character, 11 H where E = H; with resets, 2 H more.

    Args:
        T, B, E, H: sizes; E is that of the input.
        one_hot: whether the inputs are ids.
        dtype: of the parameters.
        kernel: computes the loops over time, "numpy" or "numba"; see `recurrence`.
        resets: whether windows may reset the state of streams.
    """

    def __init__(
        self,
        T: int,
        B: int,
        E: int,
        H: int,
        *,
        one_hot: bool,
        dtype: npt.DTypeLike,
        kernel: str = "numpy",
        resets: bool = False,
    ) -> None:
        self._arrays = LayerArrays.allocate(dtype, T, B, H, resets=resets)
        self._input = OneHotInput(B, E, H, dtype) if one_hot else DenseInput(self._arrays.gates, E)
        self._recurrence = recurrence(self._arrays, kernel)

    def forward(
        self, params: Params, x: Inputs, h: Floats, c: Floats, keep: Floats | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Run the layer over a window.

        At each step::

            h_prev, c_prev = keep[t] * h, keep[t] * c
            z = x[t] @ w_x.T + b + h_prev @ w_h.T
            g, i, f, o, c, h as in `cell`

        Args:
            params: `w_x` [4H, E], `w_h` [4H, H], `b` [4H].
            x: inputs [T, B, E]; or ids [T, B], each of which selects a column of `w_x`: a one-hot input without the
                product. The id E selects none: an input of zeros.
            h: hidden state before the window [B, H].
            c: cell state before the window [B, H].
            keep: 0 where the state of a stream is reset to zero before a step, else 1 [T, B, 1]; a layer with `resets`
                needs it.

        Returns:
            h after each step [T, B, H], valid until the next window; h and c after the window [B, H] (copies).
        """
        _, h_prev, c_prev, h_after, c_after = self._arrays
        self._keep = keep
        h_prev[0], c_prev[0] = (h, c) if keep is None else (h * keep[0], c * keep[0])
        self._input.load(params, x)
        self._recurrence.forward(params["w_h"], self._input, keep)
        return h_after, h_after[-1].copy(), c_after[-1].copy()

    @property
    def activations(self) -> tuple[Floats, Floats]:
        """The gates [4, T, B, H] and cell states [T, B, H] after each step of the last window (views).

        They are valid until the next window, or `backward`.
        """
        return self._arrays.gates, self._arrays.c

    def backward(self, params: Params, dh_above: Floats, grads: Grads, clip_error: float = 0.0) -> Floats | None:
        """Propagate the gradient of the last window back. Call once after `forward`; overwrites its gates.

        At each step, last to first, with dh_next and dc_next zero at the end of the window::

            dh = dh_above[t] + dh_next
            dc = dc_next + dh * o (1 - tanh(c)^2)
            dz = dc * i (1 - g^2), dc * g i (1 - i), dc * c_prev f (1 - f), dh * tanh(c) o (1 - o)
            dh_next, dc_next = keep[t] * (dz @ w_h), keep[t] * dc * f

        The gradient from the next window is taken as zero: back-propagation is truncated (Williams and Peng, 1990).

        Args:
            params: as for `forward`.
            dh_above: gradient of h after each step, from the layer above [T, B, H].
            grads: the gradients of `params`, summed over the window; written.
            clip_error: clip dh_next and dc_next elementwise to +- this. 0 turns it off.

        Returns:
            The gradient of x [T, B, E], valid until the next window; None where x are ids.
        """
        T, B, H = dh_above.shape
        self._recurrence.backward(params["w_h"], dh_above, clip_error, self._keep)
        rows = self._arrays.gates.reshape(4, T * B, H)  # dz
        h_prev = self._arrays.h_prev.reshape(T * B, H)
        np.matmul(rows.swapaxes(1, 2), h_prev, out=grads["w_h"].reshape(4, H, H))  # dw_h = sum of dz[t].T @ h_prev[t]
        return self._input.backward(params, rows, grads)


class OneHotInput:
    """`x @ w_x.T + b` for ids x: each selects a column of `w_x`."""

    def __init__(self, B: int, E: int, H: int, dtype: npt.DTypeLike) -> None:
        self._by_id = aligned(dtype, 4, E + 1, H)  # w_x.T + b, halved for i, f and o; row E is b alone
        self._dz_by_id = aligned(dtype, 4, E + 1, H)
        self._row = aligned(dtype, 4, B, H)

    def load(self, params: Params, ids: Inputs) -> None:
        """Prepare the window with these weights and ids [T, B]."""
        H = self._by_id.shape[2]
        w_x_t, b = params["w_x"].reshape(4, H, -1).swapaxes(1, 2), params["b"].reshape(4, 1, H)
        np.add(w_x_t, b, out=self._by_id[:, :-1])
        self._by_id[:, -1:] = b
        self._by_id[1:] *= 0.5
        self._ids = cast(IntArray, ids)

    @property
    def lookup(self) -> tuple[Floats, IntArray]:
        """The rows `x @ w_x.T + b` of each id [4, E + 1, H], halved for i, f and o, and the ids [T, B]."""
        return self._by_id, self._ids

    def add_to(self, z: Floats, t: int) -> None:
        """Add `x[t] @ w_x.T + b`, halved for i, f and o, to z [4, B, H]."""
        np.take(self._by_id, self._ids[t], axis=1, out=self._row, mode="clip")  # "raise" would copy; ids are valid
        z += self._row

    def backward(self, params: Params, dz: Floats, grads: Grads) -> None:
        """Write the gradients of `w_x` and `b`, given dz [4, T B, H]."""
        H = dz.shape[2]
        self._sum_by_id(dz)
        grads["w_x"].reshape(4, H, -1)[...] = self._dz_by_id[:, :-1].swapaxes(1, 2)
        np.sum(self._dz_by_id, axis=1, out=grads["b"].reshape(4, H))  # every row of dz is in exactly one of the sums

    def _sum_by_id(self, dz: Floats) -> None:
        """Write the sum of the rows of dz with each id: `one_hot(ids).T @ dz`, in a fraction of the time.

        Sorted by id, a chunk of rows spans a narrow range of ids, so that its one-hot matrix has few rows.
        """
        ids = self._ids.reshape(-1)
        order = np.argsort(ids, kind="stable")
        self._dz_by_id[...] = 0
        for start in range(0, len(ids), _ID_ROWS):
            rows = order[start : start + _ID_ROWS]
            first, last = ids[rows[0]], ids[rows[-1]]
            one_hot = (ids[rows] == np.arange(first, last + 1)[:, None]).astype(dz.dtype)
            self._dz_by_id[:, first : last + 1] += one_hot @ np.take(dz, rows, axis=1)


class DenseInput:
    """`x @ w_x.T + b` for vectors x, in one product for the whole window.

    Args:
        sums: filled by `load` [4, T, B, H]. The layer overwrites each step with its gates after `add_to`.
        E: size of x.
    """

    def __init__(self, sums: Floats, E: int) -> None:
        _, T, B, _ = sums.shape
        self._sums = sums
        self._dx_by_gate, self._dx = aligned(sums.dtype, 4, T * B, E), aligned(sums.dtype, T * B, E)

    def load(self, params: Params, x: Inputs) -> None:
        """Prepare the window with these weights and inputs [T, B, E]."""
        _, T, B, H = self._sums.shape
        w_x_t = params["w_x"].reshape(4, H, -1).swapaxes(1, 2)
        sums = np.matmul(x.reshape(T * B, -1), w_x_t, out=self._sums.reshape(4, T * B, H))
        sums += params["b"].reshape(4, 1, H)
        sums[1:] *= 0.5
        self._x = cast(Floats, x)

    lookup = None  # the sums are in the gates

    def add_to(self, z: Floats, t: int) -> None:
        """Add `x[t] @ w_x.T + b`, halved for i, f and o, to z [4, B, H]."""
        z += self._sums[:, t]

    def backward(self, params: Params, dz: Floats, grads: Grads) -> Floats:
        """Write the gradients of `w_x` and `b`, given dz [4, T B, H]; return the gradient of x [T, B, E]."""
        _, rows, H = dz.shape
        np.matmul(dz.swapaxes(1, 2), self._x.reshape(rows, -1), out=grads["w_x"].reshape(4, H, -1))
        np.sum(dz, axis=1, out=grads["b"].reshape(4, H))
        np.matmul(dz, params["w_x"].reshape(4, H, -1), out=self._dx_by_gate)
        return np.add.reduce(self._dx_by_gate, axis=0, out=self._dx).reshape(self._x.shape)


class OutputLayer:
    """Logits and cross entropy, for windows of T steps and B streams. It owns the buffers for one window."""

    def __init__(self, T: int, B: int, H: int, V: int, dtype: npt.DTypeLike) -> None:
        self._p = aligned(dtype, T * B, V)  # logits, then the predicted probabilities
        self._dh = aligned(dtype, T * B, H)

    def forward(self, params: Params, h: Floats, y: IntArray) -> Floats:
        """Return the loss of each prediction in nats [T, B], computed by log-sum-exp.

        Args:
            params: `w_out` [V, H], `b_out` [V].
            h: output of the top layer [T, B, H].
            y: ids of the next characters [T, B].
        """
        self._h, self._y = h.reshape(y.size, -1), y.reshape(-1)
        logits = np.matmul(self._h, params["w_out"].T, out=self._p)  # [T B, V]
        logits += params["b_out"]
        logits -= logits.max(1, keepdims=True)  # exp cannot overflow; the loss is unchanged
        logit_of_y = logits[np.arange(y.size), self._y]
        p = np.exp(logits, out=logits)
        sum_exp = p.sum(1)
        p /= sum_exp[:, None]
        losses: Floats = np.log(sum_exp) - logit_of_y
        return losses.reshape(y.shape)

    def backward(self, params: Params, chars: int, grads: Grads) -> Floats:
        """Propagate the gradient of the mean loss back. Call once after `forward`; overwrites its probabilities.

        Args:
            params: as for `forward`.
            chars: the number of characters to average over.
            grads: the gradients of `params`; written.

        Returns:
            The gradient of h [T B, H], valid until the next window.
        """
        dlogits = self._p
        dlogits[np.arange(len(self._y)), self._y] -= 1  # p - one_hot(y)
        dlogits /= chars
        np.matmul(dlogits.T, self._h, out=grads["w_out"])
        np.sum(dlogits, axis=0, out=grads["b_out"])
        return np.matmul(dlogits, params["w_out"], out=self._dh)
