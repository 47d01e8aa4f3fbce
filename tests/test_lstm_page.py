"""docs/lstm.md is true: its code is the program's, its numbers and figures are those that programs give."""

import json
import re
from typing import Any

import figures
import gallery
import numpy as np
import pytest
import reference
import worked_example
from helpers import ROOT

from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import CharLSTM, State, init_network
from charlstm.text.batches import Window

PAGE = (ROOT / "docs" / "lstm.md").read_text(encoding="utf-8")
NUMBERS = json.loads((ROOT / "docs" / "lstm-numbers.json").read_text(encoding="utf-8"))


LAYER, OUTPUT = ("w_x", "w_h", "b"), ("w_out", "b_out")


def lines_of(code: str) -> str:
    """Return the lines of code without indentation or blank lines."""
    return "".join(f"{line.strip()}\n" for line in code.splitlines() if line.strip())


def test_every_quoted_block_is_in_a_program():
    layers = (ROOT / "docs" / "worked_example.py").read_text(encoding="utf-8")
    program, blocks = "\n" + lines_of(gallery.program() + layers), re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
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


def package(params: dict[str, np.ndarray], num_layers: int = 1) -> CharLSTM:
    """Return charlstm's network with these weights."""
    return CharLSTM(ModelConfig(hidden_size=params["layer0.w_h"].shape[1], num_layers=num_layers), params)


def assert_gradients(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], atol: float = 1e-12) -> None:
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        np.testing.assert_allclose(grad, expected[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_lines_for_several_layers_give_the_gradients_of_the_package(num_layers):
    network = init_network(
        ModelConfig(hidden_size=4, num_layers=num_layers), 5, np.random.default_rng(0), dtype=np.float64
    )
    layers = [{name: network.params[f"layer{n}.{name}"] for name in ("w_x", "w_h", "b")} for n in range(num_layers)]
    output = {name: network.params[name] for name in ("w_out", "b_out")}
    x, y = np.array([0, 3, 1, 4, 0]), np.array([3, 1, 4, 0, 2])
    h, c = np.random.default_rng(1).standard_normal((2, num_layers, 4))
    expected_loss, expected, after = network.loss_and_grads(
        Window(x[:, None], y[:, None]), State(h[:, None].copy(), c[:, None].copy())
    )
    loss, steps, state = worked_example.forward_layers(layers, output, x, y, list(zip(h, c, strict=True)))
    grads, output_grads = worked_example.backward_layers(layers, output, y, steps)
    assert abs(loss - expected_loss) < 1e-12
    np.testing.assert_allclose(state, np.stack([after.h[:, 0], after.c[:, 0]], axis=1), rtol=0, atol=1e-12)
    assert_gradients(named(grads) | output_grads, expected)


def named(layers: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of several layers by the names of the package."""
    return {f"layer{n}.{name}": np.array(array) for n, layer in enumerate(layers) for name, array in layer.items()}


def test_worked_numbers_of_two_layers_are_those_of_the_package():
    two = NUMBERS["two_layers"]
    first, output = ({name: np.array(NUMBERS["params"][name]) for name in part} for part in (LAYER, OUTPUT))
    h, c = np.array(two["state"]).swapaxes(0, 1)[:, :, None]
    x, y = (np.array(NUMBERS[name])[:, None] for name in "xy")
    network = package(named([first, two["second_layer"]]) | output, num_layers=2)
    loss, expected, after = network.loss_and_grads(Window(x, y), State(h, c))
    assert abs(loss - two["loss"]) < 1e-12
    np.testing.assert_allclose(np.stack([after.h, after.c])[:, :, 0].swapaxes(0, 1), two["state_after"], atol=1e-12)
    grads = named(two["grads"]["layers"]) | {name: np.array(two["grads"][name]) for name in OUTPUT}
    assert_gradients(grads, expected)


def test_changes_for_many_streams_give_the_gradients_of_the_package():
    rows = re.findall(r"^\| `(.+)` \| `(.+)` \|$", PAGE[PAGE.index("| one stream | B streams |") :], re.MULTILINE)
    assert len(rows) == 14
    program: Any = gallery.load(gallery.change(gallery.program(), *rows))
    program.B, program.V = 3, 5
    rng = np.random.default_rng(0)
    shapes = {"w_x": (16, 5), "w_h": (16, 4), "b": (16,), "w_out": (5, 4), "b_out": (5,)}
    params = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    text = rng.integers(5, size=(7, 3))
    text[2] = 4  # the streams read the same character
    h, c = rng.standard_normal((2, 3, 4))
    network = package({f"layer0.{name}": params[name] for name in LAYER} | {name: params[name] for name in OUTPUT})
    expected_loss, expected, after = network.loss_and_grads(
        Window(text[:-1], text[1:]), State(h[None].copy(), c[None].copy())
    )
    loss, grads, state = program.loss_and_grads(params, text[:-1], text[1:], (h, c))
    assert abs(loss - expected_loss) < 1e-12
    np.testing.assert_allclose(state, [after.h[0], after.c[0]], rtol=0, atol=1e-12)
    assert_gradients(named([{name: grads[name] for name in LAYER}]) | {name: grads[name] for name in OUTPUT}, expected)


def test_random_output_bias_raises_the_first_loss_and_random_gate_biases_do_not():
    program: Any = gallery.load(gallery.program())
    x, y = next(program.windows(program.ids))
    rng = np.random.default_rng(0)

    def rise(name: str) -> float:
        """Return by how much N(0, 1) for a bias raises the first loss, on average."""
        losses = []
        for _ in range(100):
            biases = {name: rng.normal(size=len(program.params[name]))}
            losses.append(program.forward(program.params | biases, x, y, program.zero_state())[0])
        right = program.forward(program.params, x, y, program.zero_state())[0]
        return float(np.mean(losses) - right)

    assert rise("b_out") == pytest.approx(0.5, abs=0.1)
    assert rise("b") == pytest.approx(0, abs=0.02)
