"""LSTM programs of other hands: right ones, in every layout."""

from dataclasses import dataclass
from typing import Any

import numpy as np

V, H, B = 7, 8, 3
INPUTS = {"x": V, "h": H, "b": 1}


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@dataclass(frozen=True)
class Style:
    """How a program keeps its parameters, and what it computes.

    Attributes:
        order: of the gates.
        inputs: what the weights of the gates are multiplied by; several letters are one matrix, as in ("hx", "b").
        apart: whether each gate has parameters of its own.
        columns: whether the gates are columns.
        mean: whether the loss is a mean.
        batch: whether x and y are [T, B].
        dtype: of the numbers.
        reads_globals: whether the argument params is ignored in favour of a global variable.
    """

    order: str = "ifgo"
    inputs: tuple[str, ...] = ("hx", "b")
    apart: bool = False
    columns: bool = False
    mean: bool = False
    batch: bool = False
    dtype: type = np.float64
    reads_globals: bool = False

    def __str__(self) -> str:
        flags = [name for name in ("apart", "columns", "mean", "batch", "reads_globals") if getattr(self, name)]
        return "-".join([self.order, *self.inputs, *flags, self.dtype.__name__])


def build(style: Style = Style(), **lines: Any) -> dict[str, Any]:
    """Return a program as a dict of its names.

    Args:
        style: of the program.
        lines: functions in place of lines of the backward pass, by the name that they assign.
    """
    gates = list(style.order) if style.apart else [style.order]
    places = [(group, letters) for group in gates for letters in style.inputs]
    rng = np.random.default_rng(3)

    params: dict[str, np.ndarray] = {}
    for group, letters in places:
        shape = (H * len(group), sum(INPUTS[letter] for letter in letters))
        values = rng.uniform(-0.4, 0.4, shape) if letters != "b" else np.zeros(shape)
        values = values[:, 0] if letters == "b" else values
        params[f"W_{letters}_{group}"] = np.ascontiguousarray(values.T if style.columns else values, style.dtype)
    w_out = rng.uniform(-0.4, 0.4, (V, H))
    params["Why"] = np.ascontiguousarray(w_out.T if style.columns else w_out, style.dtype)
    params["by"] = np.zeros(V, style.dtype)

    def blocks(arrays):
        """Yield the gate, the letter and a view [H, size] of each block."""
        for group, letters in places:
            array = arrays[f"W_{letters}_{group}"]
            rows = array.reshape(-1, 1) if letters == "b" else array.T if style.columns else array
            start = 0
            for letter in letters:
                for k, gate in enumerate(group):
                    yield gate, letter, rows[k * H : (k + 1) * H, start : start + INPUTS[letter]]
                start += INPUTS[letter]

    def loss_and_grads(given, x, y, state):
        p = params if style.reads_globals else given
        x, y = (ids.reshape(len(ids), -1) for ids in (x, y))
        h, c = (each.reshape(x.shape[1], H) for each in state)
        w = {(gate, letter): view for gate, letter, view in blocks(p)}
        w_out = p["Why"].T if style.columns else p["Why"]
        loss, steps = style.dtype(0), []
        for t in range(len(x)):
            inputs = {"x": np.eye(V, dtype=style.dtype)[x[t]], "h": h, "b": np.ones((len(h), 1), style.dtype)}
            z = {k: sum(inputs[letter] @ w[k, letter].T for letter in "xhb") for k in "gifo"}
            g, i, f, o = np.tanh(z["g"]), *(sigmoid(z[k]) for k in "ifo")
            before, c = c, f * c + i * g
            h = o * np.tanh(c)
            logits = h @ w_out.T + p["by"]
            logits = logits - logits.max(1, keepdims=True)
            q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            loss -= np.log(q[np.arange(len(h)), y[t]]).sum()
            steps.append((inputs, before, g, i, f, o, c, h, q))
        n = x.size if style.mean else 1
        grads = {name: np.zeros_like(param) for name, param in p.items()}
        views = {(gate, letter): view for gate, letter, view in blocks(grads)}
        dh_next = dc_next = np.zeros_like(h)
        for t in reversed(range(len(x))):
            inputs, c_prev, g, i, f, o, c, h, q = steps[t]
            dlogits = (q - np.eye(V, dtype=style.dtype)[y[t]]) / style.dtype(n)
            names = {"g": g, "i": i, "f": f, "o": o, "c": c, "h": h, "c_prev": c_prev, "dc_next": dc_next}
            names |= {"dh_next": dh_next, "t": t, "first": t == len(x) - 1}
            right = {
                "dh": lambda dlogits, dh_next, **_: dlogits @ w_out + dh_next,
                "dc": lambda dh, o, c, dc_next, **_: dh * o * (1 - np.tanh(c) ** 2) + dc_next,
                "dz_g": lambda dc, i, g, **_: dc * i * (1 - g**2),
                "dz_i": lambda dc, i, g, **_: dc * g * i * (1 - i),
                "dz_f": lambda dc, c_prev, f, **_: dc * c_prev * f * (1 - f),
                "dz_o": lambda dh, c, o, **_: dh * np.tanh(c) * o * (1 - o),
                "dc_next": lambda dc, f, **_: dc * f,
            }
            names["dlogits"] = dlogits
            for name, line in (right | lines).items():
                names[name] = line(**names)
            dh_next, dc_next = sum(names[f"dz_{k}"] @ w[k, "h"] for k in "gifo"), names["dc_next"]
            for (gate, letter), view in views.items():
                view += names[f"dz_{gate}"].T @ inputs[letter]
            grads["by"] += dlogits.sum(0)
            grads["Why"] += h.T @ dlogits if style.columns else dlogits.T @ h
        shape = (B, H) if style.batch else H
        return loss / style.dtype(n), grads, (steps[-1][-2].reshape(shape), steps[-1][-3].reshape(shape))

    def zero_state():
        zero: np.ndarray = np.zeros((B, H) if style.batch else H, style.dtype)
        return zero, zero.copy()

    program = {"vocab_size": V, "params": params, "zero_state": zero_state, "loss_and_grads": loss_and_grads}
    return program | ({"batch_size": B} if style.batch else {})
