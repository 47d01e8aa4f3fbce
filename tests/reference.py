"""A reference implementation: one gate, one step, one character at a time, straight from the equations.

It shares no code with the package.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

GATES = ("g", "i", "f", "o")


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def gate_rows(hidden_size: int) -> dict[str, range]:
    return {gate: range(k * hidden_size, (k + 1) * hidden_size) for k, gate in enumerate(GATES)}


def cell(w_x, w_h, b, x, h, c):
    """Return h and c after one step of one layer, for one stream; all are lists of floats."""
    H = len(h)
    rows = gate_rows(H)
    z = [
        sum(w_x[row][k] * x[k] for k in range(len(x))) + sum(w_h[row][k] * h[k] for k in range(H)) + b[row]
        for row in range(4 * H)
    ]
    g = [math.tanh(z[row]) for row in rows["g"]]
    i = [sigmoid(z[row]) for row in rows["i"]]
    f = [sigmoid(z[row]) for row in rows["f"]]
    o = [sigmoid(z[row]) for row in rows["o"]]
    c = [f[k] * c[k] + i[k] * g[k] for k in range(H)]
    h = [o[k] * math.tanh(c[k]) for k in range(H)]
    return h, c


def losses(params, num_layers, ids, h0, c0):
    """Return the loss of each next character of one stream in nats, and the final h and c by layer."""
    V = len(params["b_out"])
    h = [list(map(float, h0[layer])) for layer in range(num_layers)]
    c = [list(map(float, c0[layer])) for layer in range(num_layers)]
    result = []
    for now, later in itertools.pairwise(ids):
        x = [1.0 if k == now else 0.0 for k in range(V)]
        for layer in range(num_layers):
            w_x, w_h, b = (params[f"layer{layer}.{name}"].tolist() for name in ("w_x", "w_h", "b"))
            h[layer], c[layer] = cell(w_x, w_h, b, x, h[layer], c[layer])
            x = h[layer]
        logits = [
            float(params["b_out"][v]) + sum(float(w) * a for w, a in zip(params["w_out"][v], x, strict=True))
            for v in range(V)
        ]
        highest = max(logits)
        log_sum = highest + math.log(sum(math.exp(z - highest) for z in logits))
        result.append(log_sum - logits[later])
    return result, h, c


def lstm_gradients(w_x, w_h, b, xs, dhs, h0, c0, clip_error=0.0):
    """Return the gradients of sum(dhs[t] * h[t]) for one layer and one stream, gate by gate and step by step.

    Args:
        w_x: [4H, E].
        w_h: [4H, H].
        b: [4H].
        xs: [T, E].
        dhs: [T, H].
        h0: [H].
        c0: [H].
        clip_error: clips the gradients of h and c at each step; 0 turns it off.

    Returns:
        dw_x, dw_h, db, dxs.
    """
    H, T = len(h0), len(xs)
    rows = {gate: np.array(list(r)) for gate, r in gate_rows(H).items()}
    steps, h, c = [], np.array(h0), np.array(c0)
    for t in range(T):
        z = w_x @ xs[t] + w_h @ h + b
        g, o = np.tanh(z[rows["g"]]), np.array([sigmoid(v) for v in z[rows["o"]]])
        i, f = (np.array([sigmoid(v) for v in z[rows[gate]]]) for gate in "if")
        new_c = f * c + i * g
        steps.append((h, c, g, i, f, o, new_c))
        h, c = o * np.tanh(new_c), new_c
    dw_x, dw_h, db, dxs = np.zeros_like(w_x), np.zeros_like(w_h), np.zeros_like(b), np.zeros_like(xs)
    dh_after, dc_after = np.zeros(H), np.zeros(H)
    for t in reversed(range(T)):
        h_before, c_before, g, i, f, o, c = steps[t]
        dh = dhs[t] + dh_after
        dc = dc_after + dh * o * (1 - np.tanh(c) ** 2)
        dz = np.empty(4 * H)
        dz[rows["g"]] = dc * i * (1 - g**2)
        dz[rows["i"]] = dc * g * i * (1 - i)
        dz[rows["f"]] = dc * c_before * f * (1 - f)
        dz[rows["o"]] = dh * np.tanh(c) * o * (1 - o)
        dw_x += np.outer(dz, xs[t])
        dw_h += np.outer(dz, h_before)
        db += dz
        dxs[t] = w_x.T @ dz
        dh_after, dc_after = w_h.T @ dz, dc * f
        if clip_error:
            dh_after, dc_after = np.clip(dh_after, -clip_error, clip_error), np.clip(dc_after, -clip_error, clip_error)
    return dw_x, dw_h, db, dxs


@dataclass
class Weight:
    """One trainable number and its moments."""

    value: float
    m: float = 0.0
    v: float = 0.0


def update(weight, grad, n, rate, *, optimizer, beta1, beta2, epsilon, momentum, nesterov, l2, weight_decay, **_):
    """Apply update number n, from 1, to one weight, by the rule as published."""
    grad += l2 * weight.value
    if optimizer == "adam":
        weight.m = beta1 * weight.m + (1 - beta1) * grad
        weight.v = beta2 * weight.v + (1 - beta2) * grad**2
        m_hat, v_hat = weight.m / (1 - beta1**n), weight.v / (1 - beta2**n)
        step = m_hat / (math.sqrt(v_hat) + epsilon)
    elif optimizer == "rmsprop":
        weight.v = beta2 * weight.v + (1 - beta2) * grad**2
        step = grad / (math.sqrt(weight.v) + epsilon)
    else:
        weight.m = momentum * weight.m + grad
        step = grad + momentum * weight.m if nesterov else weight.m
    weight.value = weight.value - rate * weight_decay * weight.value - rate * step
