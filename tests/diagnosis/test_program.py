"""Programs that do not keep to what is expected: each gets a sentence."""

import types

import numpy as np
import pytest
from diagnosis.programs import H, Style, V, build

from charlstm import UsageError, check
from charlstm.diagnosis.checks import check_source, iter_results


def first_failure(program):
    return next(result for result in iter_results(program) if result.passed is False)


def changed(change, style=Style()):  # noqa: B008
    """Return a program whose `loss_and_grads` returns `change(loss, grads, state)`."""
    program = build(style)
    inner = program["loss_and_grads"]
    return program | {"loss_and_grads": lambda *arguments: change(*inner(*arguments))}


def scaled(grads, name="Why"):
    return grads | {name: grads[name].T}


RESULTS = {  # the function, what is measured, and what the cause says
    "no state": (lambda loss, grads, state: (loss, grads), "a tuple of 2", "Return loss, grads, state"),
    "nothing": (lambda loss, grads, state: None, "returns None", "Return loss, grads, state"),
    "list of gradients": (lambda loss, grads, state: (loss, list(grads.values()), state), "grads is a list", "a dict"),
    "missing gradient": (
        lambda loss, grads, state: (loss, {k: v for k, v in grads.items() if k != "by"}, state),
        "grads has no by",
        "",
    ),
    "wrong shape": (lambda loss, grads, state: (loss, scaled(grads), state), f"has the shape ({H}, {V})", "transposed"),
    "text": (lambda loss, grads, state: (loss, grads | {"by": "none"}, state), "grads['by'] is a str", ""),
    "losses": (
        lambda loss, grads, state: (np.full(5, loss), grads, state),
        "an array of shape (5,)",
        "sum or the mean",
    ),
    "loss of None": (lambda loss, grads, state: (None, grads, state), "the loss is n", ""),
    "NaN": (lambda loss, grads, state: (np.nan, grads, state), "the loss is nan", "log(0)"),
    "infinite": (lambda loss, grads, state: (np.inf, grads, state), "the loss is inf", "infinite"),
    "NaN in gradients": (
        lambda loss, grads, state: (loss, grads | {"by": grads["by"] * np.nan}, state),
        "gradient of by has NaN",
        "",
    ),
    "state of one array": (
        lambda loss, grads, state: (loss, grads, state[0]),
        "zero_state() has arrays",
        "form of zero_state",
    ),
    "state of None": (lambda loss, grads, state: (loss, grads, None), "zero_state() has arrays", "form of zero_state"),
    "bits": (lambda loss, grads, state: (loss / np.log(2), grads, state), "nats per character", "bits"),
    "half the gradients": (
        lambda loss, grads, state: (loss, {k: v / 2 for k, v in grads.items()}, state),
        "blocks are wrong",
        "0.5 times",
    ),
    "wrong sign": (
        lambda loss, grads, state: (loss, {k: -v for k, v in grads.items()}, state),
        "blocks are wrong",
        "wrong sign",
    ),
    "clipped": (
        lambda loss, grads, state: (loss, {k: np.clip(v, -0.1, 0.1) for k, v in grads.items()}, state),
        "wrong",
        "clipped",
    ),
    "no bias gradient": (lambda loss, grads, state: (loss, grads | {"by": 0 * grads["by"]}, state), "by", "by"),
    "swapped state": (lambda loss, grads, state: (loss, grads, state[::-1]), "halves", "order"),
    "first state": (
        lambda loss, grads, state: (loss, grads, tuple(0.5 * each for each in state)),
        "halves",
        "last step",
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_unexpected_result_gets_a_sentence(name):
    change, measured, cause = RESULTS[name]
    result = first_failure(changed(change))
    assert measured in result.measured, result
    assert cause in result.cause, result


def test_list_of_three_is_accepted():
    assert next(iter_results(changed(lambda *result: list(result)))).passed


def test_printing_is_hidden(capfd):
    def chatty(*result):
        print("loss", result[0])
        return result

    assert next(iter_results(changed(chatty))).passed
    assert capfd.readouterr() == ("", "")


def test_parameters_changed_in_the_call_are_named():
    program = build()
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        loss, grads, state = inner(params, x, y, state)
        params["by"] -= 0.1 * grads["by"]
        return loss, grads, state

    result = first_failure(program | {"loss_and_grads": loss_and_grads})
    assert result.measured == "loss_and_grads changes params['by']"
    assert "update" in result.cause


def test_parameters_replaced_in_the_call_are_named():
    program = build()
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        result = inner(params, x, y, state)
        params["by"] = params["by"] - 0.1
        return result

    before = program["params"]["by"]
    assert "changes params['by']" in first_failure(program | {"loss_and_grads": loss_and_grads}).measured
    assert program["params"]["by"] is before


def test_random_numbers_are_named():
    result = first_failure(changed(lambda loss, grads, state: (loss * (1 + 0.1 * np.random.rand()), grads, state)))
    assert result.name == "repeats"
    assert "dropout" in result.cause


def test_state_kept_in_a_global_variable_is_named():
    kept = []

    def add(loss, grads, state):
        kept.append(loss)
        return loss + 1e-3 * len(kept), grads, state

    result = first_failure(changed(add))
    assert result.name == "repeats"
    assert "kept" in result.cause


def test_gradients_that_accumulate_are_named():
    total: dict[str, np.ndarray] = {}

    def add(loss, grads, state):
        for name, grad in grads.items():
            total[name] = total.get(name, np.zeros_like(grad)) + grad
        return loss, dict(total), state

    result = first_failure(changed(add))
    assert result.name == "repeats"
    assert "earlier calls" not in result.cause


def test_parameters_that_are_not_read_are_named():
    program = build()
    params = {name: array.copy() for name, array in program["params"].items()}
    inner = program["loss_and_grads"]
    result = first_failure(program | {"loss_and_grads": lambda _, x, y, state: inner(params, x, y, state)})
    assert "does not depend on params" in result.cause


def test_future_inputs_are_noticed():
    program = build()
    inner = program["loss_and_grads"]
    result = first_failure(program | {"loss_and_grads": lambda p, x, y, s: inner(p, x[::-1], y, s)})
    assert result.name == "inputs"
    assert "prediction" in result.measured


def test_missing_memory_is_noticed():
    program = build(Style(mean=True))
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        parts = [inner(params, x[t : t + 1], y[t : t + 1], state) for t in range(len(x))]
        grads = {name: sum(part[1][name] for part in parts) / len(x) for name in params}
        return sum(part[0] for part in parts) / len(x), grads, parts[-1][2]

    result = first_failure(program | {"loss_and_grads": loss_and_grads})
    assert "no memory" in result.cause


def test_hidden_state_without_tanh_is_noticed():
    program = build()
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        loss, grads, (_, c) = inner(params, x, y, (np.clip(state[0], -1, 1), state[1]))
        return loss, grads, (c.copy(), c)

    results = {result.name: result for result in iter_results(program | {"loss_and_grads": loss_and_grads})}
    assert "tanh" in results["|h| < 1"].cause


# ---- crashes


def test_crash_shows_file_line_and_message():
    source = "vocab_size = 5\nparams = {}\n\n\nparams['w'] = missing_name\n"
    result = check_source(source, "mine.py")["runs"]
    assert result.measured.split("\n") == [
        "mine.py, line 5, in <module>:",
        "    params['w'] = missing_name",
        "NameError: name 'missing_name' is not defined",
    ]


def test_crash_in_a_call_shows_the_line_of_the_program():
    source = (
        "import numpy as np\nvocab_size = 5\nparams = {'w': np.zeros((3, 4))}\ndef zero_state():\n    return np.zeros(3)\n"
        "def loss_and_grads(params, x, y, state):\n    return helper(params['w'], state)\n"
        "def helper(w, h):\n    return w @ h\n"
    )
    result = check_source(source, "mine.py")["runs"]
    assert result.measured.startswith("mine.py, line 9, in helper:\n    return w @ h\nValueError: matmul")


def test_syntax_error_shows_the_line():
    result = check_source("x = 1\ny = = 2\n", "mine.py")["runs"]
    assert result.measured.split("\n") == ["mine.py, line 2:", "    y = = 2", "SyntaxError: invalid syntax"]


def test_program_that_exits_is_told_where_training_belongs():
    result = check_source("import sys\nsys.exit(3)\n", "mine.py")["runs"]
    assert "line 2" in result.measured
    assert '__name__ == "__main__"' in result.cause


def test_crash_in_windows_and_update_is_shown():
    def fail(*_):
        raise ValueError("no such thing")

    results = {result.name: result for result in iter_results(build() | {"windows": fail, "update": fail})}
    for name in ("windows", "update"):
        assert "ValueError: no such thing" in results[name].measured


def test_windows_without_end_are_stopped():
    def windows(ids):
        while True:
            yield ids[:5], ids[1:6]

    results = {result.name: result for result in iter_results(build() | {"windows": windows})}
    assert "does not end" in results["windows"].measured


def test_windows_that_overlap_or_skip_are_noticed():
    def windows(ids):
        for start in range(0, len(ids) - 6, 4):
            yield ids[start : start + 5], ids[start + 1 : start + 6]

    results = {result.name: result for result in iter_results(build() | {"windows": windows})}
    assert "does not begin with the last target" in results["windows"].measured


# ---- what a program must define


@pytest.mark.parametrize("name", ["vocab_size", "params", "zero_state", "loss_and_grads"])
def test_missing_name_is_a_usage_error_that_says_what_is_expected(name):
    program = build()
    del program[name]
    with pytest.raises(UsageError, match=f"does not define {name}: "):
        check(program)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 1}, "an integer of at least 2"),
        ({"vocab_size": True}, "vocab_size must be"),
        ({"vocab_size": "65"}, "got '65'"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"params": {}}, "params must be a dict of arrays"),
        ({"params": [1]}, "got a list of 1"),
        ({"params": {"w": [1.0]}}, "params['w'] is a list of 1"),
        ({"params": {"w": np.zeros(3, int)}}, "an array of int64"),
        ({"params": {"w": np.full(3, np.nan)}}, "not finite"),
        ({"params": {"w": np.zeros(0)}}, "is empty"),
        ({"params": {1: np.zeros(3)}}, "is not a string"),
        ({"zero_state": (0, 0)}, "zero_state must be a function"),
        ({"loss_and_grads": 3}, "loss_and_grads must be a function"),
        ({"windows": 3}, "windows must be a function"),
        ({"layout": "rows"}, "layout must be a dict"),
        ({"layout": {"W": "rows i f g o"}}, "names 'W', which params does not have"),
        ({"layout": {"by": "rows q"}}, "expected rows and columns"),
        ({"layout": {"by": ""}}, "is empty"),
        ({"layout": {"by": "rows i f g o"}}, "does not fit an axis of 7"),
        ({"layout": {"Why": "rows x; columns h"}}, "one axis has gates or y"),
    ],
)
def test_wrong_value_is_a_usage_error(change, message):
    with pytest.raises(UsageError) as error:
        check(build() | change)
    assert message in str(error.value)


def test_module_can_be_checked():
    module = types.ModuleType("mine")
    vars(module).update(build())
    assert next(iter_results(module)).passed


def test_other_objects_are_refused():
    with pytest.raises(UsageError, match="expected a path, a module or a dict"):
        check(3)  # type: ignore[arg-type]


def test_state_as_dict_in_either_order_is_understood():
    program = build()
    inner = program["loss_and_grads"]

    def loss_and_grads(params, x, y, state):
        loss, grads, (h, c) = inner(params, x, y, (state["h"], state["c"]))
        return loss, grads, {"c": c, "h": h}

    results = [
        *iter_results(
            program | {"loss_and_grads": loss_and_grads, "zero_state": lambda: {"c": np.zeros(H), "h": np.zeros(H)}}
        )
    ]
    assert [str(result) for result in results[:-1] if not result.passed] == []
