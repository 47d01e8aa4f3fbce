"""The equations of docs/lstm.md, line by line, and the lines that people write instead.

A line is text, so that a message can quote the line that a program appears to have. Each is evaluated with the values
of one step: arrays with a row for each stream.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import CodeType
from typing import Any

import numpy as np

from charlstm.arrays import Floats
from charlstm.diagnosis.layout import GATES, Weights
from charlstm.text.batches import Window

Lines = Mapping[str, str]  # by the name that a line assigns

FORWARD: Lines = {
    "g": "tanh(z_g)",
    "i": "sigmoid(z_i)",
    "f": "sigmoid(z_f)",
    "o": "sigmoid(z_o)",
    "c": "f * c_prev + i * g",
    "h": "o * tanh(c)",
}
BACKWARD: Lines = {
    "dh": "dlogits @ w_out + dh_next",
    "dc": "dh * o * (1 - tanh(c)**2) + dc_next",
    "dz_g": "dc * i * (1 - g**2)",
    "dz_i": "dc * g * i * (1 - i)",
    "dz_f": "dc * c_prev * f * (1 - f)",
    "dz_o": "dh * tanh(c) * o * (1 - o)",
    "dh_next": "dz @ w_h",
    "dc_next": "dc * f",
}
FORWARD_MISTAKES: Mapping[str, tuple[str, ...]] = {
    "state": ("c, h",),
    "h": ("o * c", "o * sigmoid(c)", "tanh(c)", "o * tanh(g)"),
    "c": (
        "f * c_prev + g",
        "f * c_prev + i",
        "c_prev + i * g",
        "i * g",
        "f * h_prev + i * g",
        "i * c_prev + f * g",
        "(1 - f) * c_prev + i * g",
        "f * c_prev + (1 - f) * g",
        "tanh(f * c_prev + i * g)",
    ),
    "g": ("sigmoid(z_g)", "z_g", "maximum(z_g, 0)"),
    "i": ("tanh(z_i)", "z_i"),
    "f": ("tanh(z_f)", "z_f"),
    "o": ("tanh(z_o)", "z_o"),
}
_DERIVATIVES = ("", " * {0}", " * (1 - {0})", " * (1 - {0}**2)", " * sigmoid({0}) * (1 - sigmoid({0}))")
_GATE_ERRORS = {  # the factors before the derivative of the gate, right ones first
    "g": ("dc * i", "dc", "dh * i", "dc * f", "dc * o", "dc * g", "dh", "dc_next * i"),
    "i": ("dc * g", "dc", "dh * g", "dc * c_prev", "dc * c", "dh", "dc_next * g"),
    "f": ("dc * c_prev", "dc * c", "dc", "dh * c_prev", "dc * g", "dc * h_prev", "dh", "dc_next * c_prev"),
    "o": ("dh * tanh(c)", "dh * c", "dh", "dc * tanh(c)", "dh * h", "dc", "dh * tanh(c_prev)", "dh * g"),
}
_DERIVATIVE_OF = {
    "g": " * (1 - {0}**2)",
    "i": " * {0} * (1 - {0})",
    "f": " * {0} * (1 - {0})",
    "o": " * {0} * (1 - {0})",
}
CELL_ERRORS = (
    "dh * o + dc_next",
    "dh * (1 - tanh(c)**2) + dc_next",
    "dh * o * (1 - c**2) + dc_next",
    "dh * o * (1 - tanh(tanh(c))**2) + dc_next",
    "dh * o * (1 - h**2) + dc_next",
    "dh * o * tanh(c) + dc_next",
    "dh * o * (1 - tanh(c)) + dc_next",
    "dh * o * (1 - tanh(c)) * tanh(c) + dc_next",
    "dh * o * (1 - tanh(c_prev)**2) + dc_next",
    "dh + dc_next",
)
_AS_GATES = {gate: f"dz_{gate} @ w_h{gate}" for gate in GATES}  # their sum is dz @ w_h
TIME_MISTAKES: Mapping[str, tuple[str, ...]] = {
    "dh": ("dlogits @ w_out", "dh_next"),
    "dh_next": (
        *(" + ".join(_AS_GATES[other] for other in GATES if other != gate) for gate in GATES),
        *_AS_GATES.values(),
        " + ".join(f"{term}.T" for term in _AS_GATES.values()),
        "dz @ w_h + dh",
        "hstack((dz @ w_h, dz @ w_x))[:, -H:]",  # [h, x] split as [x, h]
        "hstack((dz @ w_x, dz @ w_h))[:, :H]",
    ),
    "dc_next": ("dc", "dc * f_next", "dc * i", "dc * o", "dc + dc * f", "dh * f", "dc_next * f", "dc * f * (1 - f)"),
}


def errors_of_another(gate: str, other: str) -> tuple[str, str]:
    """Return the lines for the error of a gate that are another's: before the derivative, and with it."""
    return _GATE_ERRORS[other][0] + _DERIVATIVE_OF[gate].format(gate), BACKWARD[f"dz_{other}"]


def gate_mistakes(gate: str) -> Iterator[str]:
    """Yield wrong lines for the error of a gate before activation, those with one mistake first."""
    right = _DERIVATIVE_OF[gate]
    errors = _GATE_ERRORS[gate]
    derivatives = [*_DERIVATIVES, " * {0} * (1 - {0})", " * (1 - tanh({0})**2)"]
    yield from (error + right.format(gate) for error in errors[1:])
    yield from (line for other in GATES if other != gate for line in errors_of_another(gate, other))
    yield from (errors[0] + each.format(gate) for each in derivatives if each != right)
    yield from (error + each.format(gate) for error in errors[1:] for each in derivatives if each != right)


def evaluate(line: str, values: Mapping[str, Any]) -> Any:
    """Return the value of a line."""
    return eval(_compiled(line), {"__builtins__": {}}, values)


@cache
def _compiled(line: str) -> CodeType:
    return compile(line, line, "eval")


def sigmoid(z: Floats) -> Floats:
    """Return the logistic function of z."""
    half: Floats = 0.5 * np.tanh(0.5 * z) + 0.5
    return half


_FUNCTIONS: Mapping[str, Callable[..., Floats]] = {
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "maximum": np.maximum,
    "hstack": np.hstack,
}


def forward(
    weights: Weights,
    window: Window,
    h: Floats,
    c: Floats,
    mistakes: Lines = {},  # noqa: B006
) -> tuple[Floats, list[dict[str, Any]]]:
    """Return the loss of each prediction [T, B], and the values of each step.

    Args:
        weights: of the network.
        window: x and y [T, B].
        h: before the window [B, H].
        c: before the window [B, H].
        mistakes: lines in place of those of `FORWARD`; "state" swaps h and c before each step.
    """
    lines, losses, steps = {**FORWARD, **mistakes}, [], []
    for x, y in zip(*window, strict=True):
        h_prev, c_prev = (c, h) if "state" in mistakes else (h, c)
        z = [weights.w_x[k][:, x].T + h_prev @ weights.w_h[k].T + weights.b[k] for k in range(4)]  # [B, H] each
        values: dict[str, Any] = {"h_prev": h_prev, "c_prev": c_prev, **_FUNCTIONS}
        values |= {f"z_{gate}": z[k] for k, gate in enumerate(GATES)}
        for name in FORWARD:
            values[name] = evaluate(lines[name], values)
        h, c = values["h"], values["c"]
        logits = h @ weights.w_out.T + weights.b_out  # [B, V]
        logits -= logits.max(1, keepdims=True)
        p = np.exp(logits)
        p /= p.sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(len(y)), y]))
        values["dlogits"] = p - (np.arange(p.shape[1]) == y[:, None])
        steps.append(values)
    return np.array(losses), steps


def errors(weights: Weights, steps: list[dict[str, Any]], mistakes: Lines = {}) -> list[Floats]:  # noqa: B006
    """Return dz of each step [4, B, H], for the sum of the losses.

    Args:
        weights: of the network.
        steps: from `forward`.
        mistakes: lines in place of those of `BACKWARD`.
    """
    lines = {**BACKWARD, **mistakes}
    dh_next = dc_next = np.zeros_like(steps[0]["h"])
    f_next, result = np.ones_like(dh_next), []
    matrices: dict[str, Any] = {"w_out": weights.w_out, "H": weights.w_out.shape[1]}
    matrices |= {"w_x": np.concatenate(weights.w_x), "w_h": np.concatenate(weights.w_h)}
    matrices |= {f"w_h{gate}": weights.w_h[k] for k, gate in enumerate(GATES)}
    for step in reversed(steps):
        values = step | matrices | {"dh_next": dh_next, "dc_next": dc_next, "f_next": f_next}
        for name in ("dh", "dc", *(f"dz_{gate}" for gate in GATES)):
            values[name] = evaluate(lines[name], values)
        dz = np.array([values[f"dz_{gate}"] for gate in GATES])  # [4, B, H]
        values["dz"] = np.concatenate(dz, axis=1)  # [B, 4H]
        dh_next, dc_next = evaluate(lines["dh_next"], values), evaluate(lines["dc_next"], values)
        f_next = values["f"]
        result.append(dz)
    return result[::-1]
