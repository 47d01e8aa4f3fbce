"""Write the worked example of docs/lstm.md: docs/lstm-numbers.json, and the tables on the page.

The numbers are those of examples/lstm_by_hand.py, for two units, three characters and a window of two steps.
"""

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).parent
PAGE, JSON = DOCS / "lstm.md", DOCS / "lstm-numbers.json"
H, V = 2, 3
DIGITS = 12  # after the decimal point; further ones may depend on the machine
_BEGIN, _END = "<!-- numbers: make docs -->\n", "<!-- end of numbers -->"


def pattern(rows: int, columns: int, a: int, b: int) -> Any:
    """Return weights from -0.5 to 0.5 that are easy to type."""
    r, k = np.indices((rows, columns))
    return ((a * r + b * k) % 11 - 5) / 10


def numbers() -> dict[str, Any]:
    """Return the example: what goes in, every value of both steps, the loss and the gradients."""
    program = runpy.run_path(str(DOCS.parent / "examples" / "lstm_by_hand.py"))
    params = {
        "w_x": pattern(4 * H, V, 5, 3),
        "w_h": pattern(4 * H, H, 3, 7),
        "b": np.array([0.1, -0.1, 0.2, -0.2, 1.0, 0.9, 0.0, 0.3]),
        "w_out": pattern(V, H, 2, 5),
        "b_out": np.array([0.1, 0.0, -0.1]),
    }
    x, y = np.array([0, 1]), np.array([1, 2])
    state = np.array([0.1, -0.2]), np.array([0.3, -0.4])
    loss, steps, after = program["forward"](params, x, y, state)
    grads = program["backward"](params, x, y, steps)
    values = []
    for t, (h_prev, _, g, i, f, o, c, h, p) in enumerate(steps):
        z = params["w_x"][:, x[t]] + params["w_h"] @ h_prev + params["b"]
        z_g, z_i, z_f, z_o = z.reshape(4, H)
        step = {"z_g": z_g, "z_i": z_i, "z_f": z_f, "z_o": z_o, "g": g, "i": i, "f": f, "o": o, "c": c, "h": h}
        values.append(step | {"logits": params["w_out"] @ h + params["b_out"], "p": p, "loss": -np.log(p[y[t]])})
    example = {"params": params, "x": x, "y": y, "h": state[0], "c": state[1], "steps": values, "loss": loss}
    result: dict[str, Any] = _to_lists(example | {"h_after": after[0], "c_after": after[1], "grads": grads})
    return result


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
