"""Right programs pass in every layout; wrong ones fail with the likely cause."""

import dataclasses
import itertools
import re
from typing import Any
from unittest import mock

import gallery
import numpy as np
import pytest
from diagnosis.programs import H, Style, build, sigmoid

from charlstm import check
from charlstm.diagnosis.checks import check_source, iter_results
from charlstm.diagnosis.probe import Probe
from charlstm.diagnosis.recognition import recognize
from charlstm.diagnosis.source import load_program


def without_overfitting():
    """Leave out the slowest check."""
    return mock.patch("charlstm.diagnosis.checks.check_overfitting", return_value="left out")


def results_of(program):
    """Return the results by name."""
    with without_overfitting():
        return {result.name: result for result in iter_results(program)}


def first_failure(program):
    return next(result for result in iter_results(program) if result.passed is False)


# ---- right programs

STYLES = [
    Style(),
    Style(columns=True, batch=True, mean=True),
    Style(inputs=("xh", "b"), apart=True),
    Style(inputs=("xh", "b"), apart=True, columns=True, batch=True),
    Style(inputs=("x", "h", "b"), order="fiog", mean=True),
    Style(inputs=("x", "h", "b"), apart=True, columns=True, order="gfoi"),
    Style(inputs=("hxb",), columns=True),
    Style(inputs=("bxh",), apart=True, batch=True),
    Style(dtype=np.float32),
    Style(dtype=np.float32, batch=True, mean=True, inputs=("x", "h", "b"), apart=True),
    Style(reads_globals=True),
]
MORE_STYLES = [
    Style(inputs=inputs, apart=apart, columns=columns, mean=mean, batch=batch)
    for inputs in (("hx", "b"), ("xh", "b"), ("x", "h", "b"), ("hxb",), ("bxh",))
    for apart, columns, mean, batch in itertools.product((False, True), repeat=4)
]


@pytest.mark.parametrize(
    "style", [*STYLES, *(pytest.param(each, marks=pytest.mark.slow) for each in MORE_STYLES)], ids=str
)
def test_right_program_passes_in_every_layout(style):
    results = results_of(build(style))
    assert [str(result) for result in results.values() if not result.passed] == []
    assert "recognised" in results["same as charlstm"].measured


@pytest.mark.parametrize("order", ["".join(order) for order in itertools.permutations("gifo")])
def test_every_order_of_the_gates_is_recognized(order):
    recognized = recognize(Probe(load_program(build(Style(order=order)))))
    assert recognized is not None
    assert recognized.layout[f"W_hx_{order}"] == f"rows {' '.join(order)}; columns h x"
    assert not recognized.mistakes


def test_right_program_overfits():
    results = check(build(Style(mean=True)))
    assert results[-1].name == "overfitting"
    assert results[-1].passed
    assert "Wrong gradients can pass" in results[-1].measured


def test_float32_is_named():
    assert "float32" in results_of(build(Style(dtype=np.float32)))["runs"].measured


def test_hidden_float32_is_noticed():
    program = build()
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        loss, grads, state = inner(params, x, y, state)
        return float(np.float32(loss)), grads, state

    results = results_of(program | {"loss_and_grads": loss_and_grads})
    assert "float32" in results["runs"].measured
    assert [str(result) for result in results.values() if not result.passed] == []


def test_program_and_random_states_are_left_as_they_were():
    program = build()
    before = {name: array.copy() for name, array in program["params"].items()}
    state = np.random.get_state(legacy=False)["state"]["key"].copy()
    list(iter_results(program))
    assert all(np.array_equal(before[name], array) for name, array in program["params"].items())
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], state)


def test_given_layout_is_used():
    style = Style(order="fgio", inputs=("hx", "b"))
    layout = {
        "W_hx_fgio": "rows f g i o; columns h x",
        "W_b_fgio": "rows f g i o",
        "Why": "rows y; columns h",
        "by": "rows y",
    }
    results = results_of(build(style) | {"layout": layout})
    assert [str(result) for result in results.values() if not result.passed] == []
    assert "recognised" not in results["same as charlstm"].measured


def test_wrong_layout_fails_at_the_first_step():
    layout = {
        "W_hx_ifgo": "rows g f i o; columns h x",
        "W_b_ifgo": "rows i f g o",
        "Why": "rows y; columns h",
        "by": "rows y",
    }
    result = results_of(build() | {"layout": layout})["same as charlstm"]
    assert result.passed is False
    assert "step 1: c differs" in result.measured


# ---- wrong lines, in several layouts

LINES = {
    "dz_g": (lambda dc, g, **_: dc * (1 - g**2), "`dz_g = dc * (1 - g**2)`"),
    "dz_i": (lambda dc, g, i, **_: dc * g * sigmoid(i) * (1 - sigmoid(i)), "already activated"),
    "dz_f": (lambda dc, c, f, **_: dc * c * f * (1 - f), "`dz_f = dc * c * f * (1 - f)`"),
    "dz_o": (lambda dh, o, **_: dh * o * (1 - o), "`dz_o = dh * o * (1 - o)`"),
    "dc": (lambda dh, o, c, **_: dh * o * (1 - np.tanh(c) ** 2), "The error of c does not reach the previous step"),
    "dc_next": (lambda dc, **_: dc, "`dc_next = dc`"),
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize(
    "style",
    [Style(), Style(apart=True, batch=True, columns=True, mean=True), Style(inputs=("x", "h", "b"), dtype=np.float32)],
    ids=str,
)
def test_wrong_line_is_quoted(name, style):
    line, expected = LINES[name]
    result = first_failure(build(style, **{name: line}))
    assert result.name.startswith("gradients")
    assert expected in result.cause


def test_last_cell_state_in_place_of_the_one_before_the_window_is_explained():
    last: dict[str, np.ndarray] = {}

    def dz_f(dc, c, c_prev, f, t, first, **_):
        last.setdefault("c", c) if first else None
        return dc * (last.pop("c") if t == 0 else c_prev) * f * (1 - f)

    for style in (Style(), Style(apart=True)):
        result = first_failure(build(style, dz_f=dz_f))
        assert "Only forget gate f is wrong" in result.cause
        assert "c[-1]" in result.cause


def test_value_under_the_name_of_c_prev_is_suspected():
    result = first_failure(build(dz_f=LINES["dz_f"][0]))
    assert "Or the variable that it uses for c_prev" in result.cause


SWAPS = {
    "errors": {
        "dz_f": lambda dh, c, f, **_: dh * np.tanh(c) * f * (1 - f),
        "dz_o": lambda dc, c_prev, o, **_: dc * c_prev * o * (1 - o),
    },
    "errors with derivatives": {
        "dz_f": lambda dh, c, o, **_: dh * np.tanh(c) * o * (1 - o),
        "dz_o": lambda dc, c_prev, f, **_: dc * c_prev * f * (1 - f),
    },
}


@pytest.mark.parametrize("lines", SWAPS.values(), ids=SWAPS)
@pytest.mark.parametrize("style", [Style(), Style(batch=True, mean=True, dtype=np.float32)], ids=str)
def test_swapped_gates_are_named(style, lines):
    result = first_failure(build(style, **lines))
    assert result.cause == "The gradients of f and o are swapped: look at the order in which they are stacked."


def test_two_wrong_gates_are_not_taken_for_swapped_ones():
    result = first_failure(build(dz_f=SWAPS["errors"]["dz_f"], dz_o=LINES["dz_o"][0]))
    assert "swapped" not in result.cause


def test_unexplained_gates_are_named():
    wrong: dict[str, Any] = {"dz_f": lambda dc, f, **_: 1.7 * dc * f, "dz_o": lambda dh, o, **_: 1.3 * dh * o}
    expected = "compare the lines that compute the forget gate f and the output gate o with docs/lstm.md of charlstm."
    assert expected in first_failure(build(**wrong)).cause


def test_parameter_without_effect_is_named():
    program = build(Style(inputs=("x", "h", "b"), apart=True))
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        return inner({**params, "W_h_o": params["W_h_f"]}, x, y, state)

    results = results_of(program | {"loss_and_grads": loss_and_grads})
    causes = {result.cause for result in results.values() if result.name.startswith("gradients")}
    assert causes == {"W_h_o has no effect on the loss: the forward pass does not use it."}
    assert "its forward pass is wrong" in results["same as charlstm"].measured


@pytest.mark.slow
def test_first_step_that_is_left_out_is_named():
    loop = ("for t in reversed(range(len(x))):", "for t in range(len(x) - 1, 0, -1):")
    results = check_source(small(gallery.change(gallery.program(), loop)), str(gallery.PROGRAM))
    assert "leaves out the first step. Does its range end at 0" in results["gradients, one step"].cause


@pytest.mark.parametrize("style", [Style(inputs=("x", "h", "b"), apart=True), Style(inputs=("x", "h", "b"))], ids=str)
def test_gradient_from_another_gate_in_one_parameter_is_explained(style):
    program = build(style)
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        loss, grads, state = inner(params, x, y, state)
        name = "W_h_o" if style.apart else "W_h_ifgo"
        grads[name][-H:] *= 1.5
        return loss, grads, state

    result = first_failure(program | {"loss_and_grads": loss_and_grads})
    assert "the errors dz of the gates are right" in result.cause


def test_state_of_another_step_is_explained():
    program = build()
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        loss, grads, (h, c) = inner(params, x, y, state)
        return loss, grads, (h, 0.5 * c)

    result = results_of(program | {"loss_and_grads": loss_and_grads})["same as charlstm"]
    assert "the state that is returned is not" in result.cause


def test_error_of_a_thousandth_is_found():
    result = first_failure(build(dz_f=lambda dc, c_prev, f, **_: 1.001 * dc * c_prev * f * (1 - f)))
    assert "W_hx_ifgo from h (f)" in result.measured


def test_error_of_two_streams_divided_by_the_window_only_is_a_factor():
    program = build(Style(batch=True))
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        loss, grads, state = inner(params, x, y, state)
        return loss / x.size, grads, state

    assert "T B times" in first_failure(program | {"loss_and_grads": loss_and_grads}).cause


def test_error_that_is_not_divided_by_the_window_is_a_sum_over_its_steps():
    program = build(Style(batch=True, mean=True))
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        loss, grads, state = inner(params, x, y, state)
        return loss, {name: len(x) * grad for name, grad in grads.items()}, state

    cause = first_failure(program | {"loss_and_grads": loss_and_grads}).cause
    assert cause.endswith("the gradients are those of a sum over the T steps.")


def test_without_layout_rows_are_named():
    program = build(dz_g=lambda dc, g, **_: dc * (1 - g**2))
    program["params"]["extra"] = np.zeros((2, 3))  # not an LSTM that can be recognized
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        loss, grads, state = inner({k: v for k, v in params.items() if k != "extra"}, x, y, state)
        loss = loss + (params["extra"] ** 3).sum()
        return loss, grads | {"extra": 3 * params["extra"] ** 2}, state

    result = first_failure(program | {"loss_and_grads": loss_and_grads})
    assert re.search(rf"rows {2 * H} to {3 * H - 1}", result.measured)


# ---- the gallery of mistakes

FOUND = {
    "positions": ("inputs", "", "positions"),
    "swapped-state": ("gradients, one step", "w_h (g i f o)", "h and c are swapped"),
    "candidate-error": ("gradients, one step", "w_x (g); w_h (g); b (g)", "`dz_g = dc * (1 - g**2)`"),
    "sigmoid-twice": ("gradients, one step", "w_x (i f o)", "already activated"),
    "error-carried": ("repeats", "w_x", "the error of one window is carried into the next"),
    "tanh-twice": ("gradients, one step", "w_x (g i f)", "already activated"),
    "no-path-c": ("gradients, first window", "w_x (g i f o)", "error of c does not reach"),
    "no-path-h": ("gradients, first window", "w_x (g i f o)", "error of h does not reach"),
    "forwards": ("gradients, one step", "w_out", "leaves out the last step. Did you write `[:-1]`"),
    "empty-loop": ("gradients, one step", "w_out", "All gradients are zero"),
    "last-step-only": ("gradients, first window", "w_x (g i f o)", "one step"),
    "bias-copied": ("gradients, one step", "b (f)", "equals that of b, input gate i"),
    "split-swapped": ("gradients, first window", "w_x (g i f o)", "split in the wrong order"),
    "sum-for-mean": ("gradients, first window", "w_out", "Every gradient is T times too large"),
    "no-forget-factor": ("gradients, first window", "w_x (g i f o)", "`dc_next = dc`"),
    "c-for-c-prev": ("gradients, one step", "w_x (f)", "`dz_f = dc * c * f * (1 - f)`"),
    "h-for-h-prev": ("gradients, one step", "w_h (g i f o)", "before the step"),
    "softmax-overflow": ("large weights", "", "subtract the largest logit"),
    "state-ignored": ("halves of a window", "", "The state is not used"),
    "targets-not-shifted": ("windows", "", "targets are not shifted"),
    "adam-no-root": ("update", "", "root of v"),
    "ascent": ("update", "", "Subtract"),
    "biases-normal": ("initial loss", "", "N(0, 1)"),
}
NOT_FOUND = {"adam-from-0", "state-not-carried", "state-not-reset"}  # in the training loop, which is not run


def small(source):
    """Return the program of the gallery with fewer units, which is faster."""
    return gallery.change(source, ("H, T, RATE, STEPS, SEED = 64,", "H, T, RATE, STEPS, SEED = 16,"))


def test_every_mistake_of_the_gallery_is_listed():
    names = {mistake.name for mistake in gallery.MISTAKES}
    assert names == FOUND.keys() | NOT_FOUND
    assert {m.name for m in gallery.MISTAKES if m.where == "training loop"} == NOT_FOUND


@pytest.mark.parametrize("name", FOUND)
def test_mistake_of_the_gallery_is_found_with_its_place_and_cause(name):
    check_name, measured, cause = FOUND[name]
    with without_overfitting():
        results = check_source(small(gallery.source_of(name)), str(gallery.PROGRAM))
    failed = [result for result in results.values() if result.passed is False]
    assert failed[0].name == check_name, list(map(str, failed))
    assert measured in failed[0].measured
    assert cause in failed[0].cause


@pytest.mark.parametrize("name", sorted(NOT_FOUND))
def test_mistake_in_the_training_loop_is_not_found(name):
    results = check_source(small(gallery.source_of(name)), str(gallery.PROGRAM))
    assert all(result.passed for result in results.values())


def test_program_of_the_gallery_passes():
    results = check_source(gallery.program(), str(gallery.PROGRAM))
    assert all(result.passed for result in results.values()), list(map(str, results.values()))
    assert {"windows", "update"} <= results.keys()


def test_results_are_plain_values():
    result = next(iter_results(build()))
    assert dataclasses.asdict(result).keys() == {"name", "passed", "measured", "cause"}
    assert str(result).startswith("ok      runs")
