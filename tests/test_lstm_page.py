"""docs/lstm.md is true: its code is the program's, its numbers and figures are those that programs give."""

import json
import re

import figures
import gallery
import numpy as np
import pytest
import reference
import worked_example
from helpers import ROOT

from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import State, init_network
from charlstm.text.batches import Window

PAGE = (ROOT / "docs" / "lstm.md").read_text(encoding="utf-8")
NUMBERS = json.loads((ROOT / "docs" / "lstm-numbers.json").read_text(encoding="utf-8"))


def lines_of(code: str) -> str:
    """Return the lines of code without indentation or blank lines."""
    return "".join(f"{line.strip()}\n" for line in code.splitlines() if line.strip())


def test_every_quoted_block_is_in_the_program():
    program, blocks = "\n" + lines_of(gallery.program()), re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) > 12
    for block in blocks:
        assert "\n" + lines_of(block) in program, block


def test_every_equation_of_the_program_is_quoted():
    quoted = lines_of("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))).splitlines()
    program = gallery.program()
    for start, end in (
        ("    z = ", "    return h, c"),
        ("        dlogits", "    return grads"),
        ("        m[name]", "\n\n\ndef train"),
    ):
        part = program[program.index(start) :]
        for line in lines_of(part[: part.index(end)]).splitlines():
            assert line in quoted


def test_worked_numbers_are_those_of_the_program():
    def compare(value, expected):
        if isinstance(expected, dict):
            assert value.keys() == expected.keys()
            for name in expected:
                compare(value[name], expected[name])
        elif isinstance(expected, list) and expected and isinstance(expected[0], dict):
            assert len(value) == len(expected)
            for pair in zip(value, expected, strict=True):
                compare(*pair)
        else:
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)

    compare(NUMBERS, worked_example.numbers())
    assert worked_example.fill(PAGE, NUMBERS) == PAGE, "run `make docs`"


def test_worked_numbers_are_those_of_the_reference():
    params = {name: np.array(param) for name, param in NUMBERS["params"].items()}
    w_x, w_h, b, w_out, b_out = params.values()
    losses, (h,), (c,) = reference.losses(
        {"layer0.w_x": w_x, "layer0.w_h": w_h, "layer0.b": b, "w_out": w_out, "b_out": b_out},
        1,
        [*NUMBERS["x"], NUMBERS["y"][-1]],
        [NUMBERS["h"]],
        [NUMBERS["c"]],
    )
    np.testing.assert_allclose(losses, [step["loss"] for step in NUMBERS["steps"]], rtol=0, atol=1e-12)
    np.testing.assert_allclose([h, c], [NUMBERS["h_after"], NUMBERS["c_after"]], rtol=0, atol=1e-12)
    dlogits = [(np.array(step["p"]) - np.eye(3)[y]) / 2 for step, y in zip(NUMBERS["steps"], NUMBERS["y"], strict=True)]
    grads = reference.lstm_gradients(
        w_x, w_h, b, np.eye(3)[NUMBERS["x"]], [d @ w_out for d in dlogits], NUMBERS["h"], NUMBERS["c"]
    )
    for name, grad in zip(("w_x", "w_h", "b"), grads, strict=False):
        np.testing.assert_allclose(NUMBERS["grads"][name], grad, rtol=0, atol=1e-12)
    np.testing.assert_allclose(NUMBERS["grads"]["b_out"], sum(dlogits), rtol=0, atol=1e-12)
    dw_out = sum(np.outer(d, step["h"]) for d, step in zip(dlogits, NUMBERS["steps"], strict=True))
    np.testing.assert_allclose(NUMBERS["grads"]["w_out"], dw_out, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", figures.FIGURES)
def test_figures_are_up_to_date(name):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == figures.FIGURES[name](), "run `make docs`"
    assert f"]({name})" in PAGE


def test_lines_for_two_layers_give_the_gradients_of_the_package():
    lines = re.findall(r"(?:    .*\n){3}", PAGE[PAGE.index("## Two layers") :])[0]
    z_line, w_x_line, dx_line = lines_of(lines).splitlines(keepends=True)
    forward = compile(z_line, "lstm.md", "exec")
    backward = compile(w_x_line + dx_line, "lstm.md", "exec")
    names = {"w_x": "w_x", "w_h": "w_h", "b": "b"}
    network = init_network(ModelConfig(hidden_size=4, num_layers=2), 5, np.random.default_rng(0), np.float64)
    layers = [{name: network.params[f"layer{n}.{name}"] for name in names} for n in range(2)]
    x, y = np.array([0, 3, 1, 4, 0]), np.array([3, 1, 4, 0, 2])
    hs, cs = np.random.default_rng(1).standard_normal((2, 2, 4))
    _, expected, _ = network.loss_and_grads(
        Window(x[:, None], y[:, None]), State(hs[:, None].copy(), cs[:, None].copy())
    )

    caches = []  # by step, then by layer
    for t in range(len(x)):
        below, caches_of_step = np.eye(5)[x[t]], []
        for n, params in enumerate(layers):
            scope = {"params": params, "x": below, "h_prev": hs[n].copy()}
            exec(forward, scope)
            z_g, z_i, z_f, z_o = scope["z"].reshape(4, -1)
            g, (i, f, o) = np.tanh(z_g), (1 / (1 + np.exp(-z)) for z in (z_i, z_f, z_o))
            c_prev, cs[n] = cs[n].copy(), f * cs[n] + i * g
            hs[n] = below = o * np.tanh(cs[n])
            caches_of_step.append((scope, c_prev, g, i, f, o, cs[n].copy()))
        logits = network.params["w_out"] @ below + network.params["b_out"]
        p = np.exp(logits) / np.exp(logits).sum()
        caches.append((caches_of_step, (p - np.eye(5)[y[t]]) / len(x)))
    grads = [{name: np.zeros_like(param) for name, param in params.items()} for params in layers]
    dh_next, dc_next = np.zeros((2, 2, 4))
    for caches_of_step, dlogits in reversed(caches):
        dx = dlogits @ network.params["w_out"]
        for n in (1, 0):
            scope, c_prev, g, i, f, o, c = caches_of_step[n]
            dh = dx + dh_next[n]
            dc = dh * o * (1 - np.tanh(c) ** 2) + dc_next[n]
            dz = np.concatenate(
                [dc * i * (1 - g**2), dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dh * np.tanh(c) * o * (1 - o)]
            )
            outcome: dict[str, np.ndarray] = {}
            exec(backward, scope | {"np": np, "dz": dz, "grads": grads[n]}, outcome)
            dx = outcome["dx"]
            grads[n]["w_h"] += np.outer(dz, scope["h_prev"])
            grads[n]["b"] += dz
            dh_next[n], dc_next[n] = dz @ layers[n]["w_h"], dc * f
    for n, of_layer in enumerate(grads):
        for name, grad in of_layer.items():
            np.testing.assert_allclose(grad, expected[f"layer{n}.{name}"], rtol=0, atol=1e-12)
