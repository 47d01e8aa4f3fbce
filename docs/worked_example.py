"""Write the worked example of docs/lstm.md: docs/lstm-numbers.json, and the tables on the page.

The numbers are those of examples/lstm_by_hand.py, for two units, three characters and a window of two steps. The
functions `forward_layers` and `backward_layers` are the same for several layers.
"""

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).parent
PROGRAM = runpy.run_path(str(DOCS.parent / "examples" / "lstm_by_hand.py"))
sigmoid, softmax = PROGRAM["sigmoid"], PROGRAM["softmax"]
PAGE, JSON = DOCS / "lstm.md", DOCS / "lstm-numbers.json"
H, V = 2, 3
DIGITS = 12  # after the decimal point; further ones may depend on the machine
_BEGIN, _END = "<!-- numbers: make docs -->\n", "<!-- end of numbers -->"


def pattern(rows: int, columns: int, a: int, b: int) -> Any:
    """Return weights from -0.5 to 0.5 that are easy to type."""
    r, k = np.indices((rows, columns))
    return ((a * r + b * k) % 11 - 5) / 10


def forward_layers(layers: Any, params: Any, x: Any, y: Any, state: Any) -> Any:
    """Read a window with several layers: return the mean loss, the values of each step, and the state after it.

    Args:
        layers: `w_x`, `w_h` and `b` of each layer, from the bottom to the top.
        params: `w_out` and `b_out`.
        x: [T].
        y: [T].
        state: h and c of each layer.
    """
    loss, steps, state = 0.0, [], list(state)
    for t in range(len(x)):
        values = []
        inputs = np.eye(params["b_out"].size)[x[t]]  # one_hot(x), for the bottom layer
        for n, layer in enumerate(layers):  # from the bottom to the top
            h_prev, c_prev = state[n]
            z = layer["w_x"] @ inputs + layer["w_h"] @ h_prev + layer["b"]  # [4H]
            z_g, z_i, z_f, z_o = z.reshape(4, -1)
            g, i, f, o = np.tanh(z_g), sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)
            c = f * c_prev + i * g
            h = o * np.tanh(c)
            values.append((inputs, h_prev, c_prev, g, i, f, o, c))
            state[n] = h, c
            inputs = h  # of this step, for the layer above
        p = softmax(params["w_out"] @ h + params["b_out"])
        loss -= np.log(p[y[t]])
        steps.append((values, h, p))
    return loss / len(x), steps, state


def backward_layers(layers: Any, params: Any, y: Any, steps: Any) -> Any:
    """Return the gradients of the mean loss: those of each layer, and of the output layer."""
    grads = [{name: np.zeros_like(param) for name, param in layer.items()} for layer in layers]
    output_grads = {name: np.zeros_like(param) for name, param in params.items()}
    dh_next = [np.zeros_like(layer["w_h"][0]) for layer in layers]
    dc_next = [np.zeros_like(layer["w_h"][0]) for layer in layers]
    for t in reversed(range(len(y))):
        values, h, p = steps[t]
        dlogits = (p - (np.arange(len(p)) == y[t])) / len(y)
        output_grads["w_out"] += np.outer(dlogits, h)
        output_grads["b_out"] += dlogits
        dx = dlogits @ params["w_out"]  # [H]; for the top layer
        for n in reversed(range(len(layers))):  # from the top to the bottom
            inputs, h_prev, c_prev, g, i, f, o, c = values[n]
            dh = dx + dh_next[n]  # [H]; h reaches the layer above and the next step
            dc = dh * o * (1 - np.tanh(c) ** 2) + dc_next[n]
            dz_g = dc * i * (1 - g**2)
            dz_i = dc * g * i * (1 - i)
            dz_f = dc * c_prev * f * (1 - f)
            dz_o = dh * np.tanh(c) * o * (1 - o)
            dz = np.concatenate([dz_g, dz_i, dz_f, dz_o])  # [4H]
            dh_next[n] = dz @ layers[n]["w_h"]
            dc_next[n] = dc * f
            grads[n]["w_x"] += np.outer(dz, inputs)
            grads[n]["w_h"] += np.outer(dz, h_prev)
            grads[n]["b"] += dz
            dx = dz @ layers[n]["w_x"]  # [H]; for the layer below
    return grads, output_grads


def numbers() -> dict[str, Any]:
    """Return the example: what goes in, every value of both steps, the loss and the gradients."""
    params = {
        "w_x": pattern(4 * H, V, 5, 3),
        "w_h": pattern(4 * H, H, 3, 7),
        "b": np.array([0.1, -0.1, 0.2, -0.2, 1.0, 0.9, 0.0, 0.3]),
        "w_out": pattern(V, H, 2, 5),
        "b_out": np.array([0.1, 0.0, -0.1]),
    }
    x, y = np.array([0, 1]), np.array([1, 2])
    state = np.array([0.1, -0.2]), np.array([0.3, -0.4])
    loss, steps, after = PROGRAM["forward"](params, x, y, state)
    grads = PROGRAM["backward"](params, x, y, steps)
    values = []
    for t, (h_prev, _, g, i, f, o, c, h, p) in enumerate(steps):
        z = params["w_x"][:, x[t]] + params["w_h"] @ h_prev + params["b"]
        z_g, z_i, z_f, z_o = z.reshape(4, H)
        step = {"z_g": z_g, "z_i": z_i, "z_f": z_f, "z_o": z_o, "g": g, "i": i, "f": f, "o": o, "c": c, "h": h}
        values.append(step | {"logits": params["w_out"] @ h + params["b_out"], "p": p, "loss": -np.log(p[y[t]])})
    example = {"params": params, "x": x, "y": y, "h": state[0], "c": state[1], "steps": values, "loss": loss}
    example |= {"h_after": after[0], "c_after": after[1], "grads": grads}
    result: dict[str, Any] = _to_lists(example | {"two_layers": two_layers(params, x, y, state)})
    return result


def two_layers(params: dict[str, Any], x: Any, y: Any, state: Any) -> dict[str, Any]:
    """Return the example with a second layer between the first and the output."""
    second = {
        "w_x": pattern(4 * H, H, 7, 2),
        "w_h": pattern(4 * H, H, 2, 9),
        "b": np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
    }
    layers = [{name: params[name] for name in second}, second]
    states = [state, (np.array([-0.3, 0.1]), np.array([-0.5, 0.2]))]
    output = {name: params[name] for name in ("w_out", "b_out")}
    loss, steps, after = forward_layers(layers, output, x, y, states)
    grads, output_grads = backward_layers(layers, output, y, steps)
    all_grads = {"layers": grads, **output_grads}
    return {"second_layer": second, "state": states, "loss": loss, "state_after": after, "grads": all_grads}


def _to_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _to_lists(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_to_lists(part) for part in value]
    return np.round(value, DIGITS).tolist()


def tables(example: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the page."""
    yield "| input | value |\n|---|---|"
    yield f"| x, y | {example['x']}, {example['y']} |"
    yield f"| h, c before the window | {example['h']}, {example['c']} |"
    for name, param in example["params"].items():
        yield f"| {name} | {'<br>'.join(map(_short, param)) if name.startswith('w') else _short(param)} |"
    yield "\n| value | step 0 | step 1 |\n|---|---|---|"
    for name in example["steps"][0]:
        yield f"| {name} | {' | '.join(_exact(step[name]) for step in example['steps'])} |"
    yield f"\nThe loss of the window is the mean, {example['loss']:.6f}. Its gradients:\n"
    yield "| gradient of | value |\n|---|---|"
    for name, grad in example["grads"].items():
        yield f"| {name} | {'<br>'.join(map(_exact, grad)) if name.startswith('w') else _exact(grad)} |"
    two = example["two_layers"]
    yield f"\nWith a second layer, which is `two_layers` in the JSON, the loss is {two['loss']:.6f}:\n"
    yield "| layer | gradient of b |\n|---|---|"
    for n, grads in enumerate(two["grads"]["layers"], 1):
        yield f"| {n} | {_exact(grads['b'])} |"


def _short(row: list[float]) -> str:
    return " ".join(f"{value:.1f}" for value in row)


def _exact(row: list[float] | float) -> str:
    return " ".join(f"{value + 0:.6f}" for value in (row if isinstance(row, list) else [row]))


def fill(page: str, example: dict[str, Any]) -> str:
    """Return the page with the tables of the example."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n{chr(10).join(tables(example))}\n\n{_END}{rest.partition(_END)[2]}"


if __name__ == "__main__":
    JSON.write_text(json.dumps(numbers(), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), numbers()), encoding="utf-8")
