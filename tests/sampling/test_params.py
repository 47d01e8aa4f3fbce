"""SamplingParams: values are checked when it is built."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from charlstm import SamplingParams
from charlstm.errors import UsageError
from charlstm.sampling.filters import distribution


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("length", -1),
        ("length", 1.5),
        ("length", "10"),
        ("lines", True),
        ("temperature", -1.0),
        ("temperature", np.nan),
        ("temperature", np.inf),
        ("temperature", None),
        ("temperature_at_start", -0.1),
        ("top_k", -1),
        ("top_p", 0.0),
        ("typical", 1.5),
        ("min_p", -0.1),
        ("repetition_penalty", -1.0),
        ("repetition_free", 0),
        ("no_copy", -1),
        ("stop", ("a", "")),
        ("pattern", ""),
        ("keep_stop", 1),
    ],
)
def test_invalid_value_is_rejected_by_name(name, value):
    with pytest.raises(UsageError, match=f"^{name}: .* is not ") as caught:
        SamplingParams(**{name: value})
    assert caught.value.argument == name


def test_changed_copy_is_checked():
    with pytest.raises(UsageError, match="top_k: -1 is not an integer from 0"):
        dataclasses.replace(SamplingParams(), top_k=-1)


@pytest.mark.parametrize(
    ("params", "max_length"),
    [
        ({}, 500),
        ({"pattern": "a"}, 500),
        ({"stop": ("a",)}, 10_000),
        ({"lines": 3}, 10_000),
        ({"lines": 20}, 20_000),
        ({"lines": 20, "length": 7}, 7),
        ({"stop": ("a",), "length": 0}, 0),
    ],
    ids=str,
)
def test_default_length_leaves_room_for_lines_and_stop_strings(params, max_length):
    assert SamplingParams(**params).max_length == max_length


def test_params_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SamplingParams().length = 3  # type: ignore[misc]


def test_integers_are_accepted_as_numbers():
    logits = np.array([1.0, 0.0, -1.0])
    whole = SamplingParams(temperature=2, temperature_at_start=3, top_p=1, typical=1, min_p=0)
    real = SamplingParams(temperature=2.0, temperature_at_start=3.0, top_p=1.0, typical=1.0, min_p=0.0)
    for at_start in (False, True):
        np.testing.assert_array_equal(distribution(whole, logits, at_start), distribution(real, logits, at_start))


def test_default_params_drop_the_least_likely_twentieth():
    logits = np.array([1.0, 0.0, -1.0, -2.0])
    weights = np.exp(logits / 0.9)
    weights[3] = 0  # the others have 0.976 of the sum
    np.testing.assert_allclose(distribution(SamplingParams(), logits), weights / weights.sum())


def test_one_stop_string_may_be_given_without_a_tuple():
    stop: Any = "is"
    assert SamplingParams(stop=stop).stop == ("is",)


@pytest.mark.parametrize(("name", "value"), [("stop", None), ("stop", 5), ("pattern", 5)])
def test_value_of_the_wrong_type_is_refused_with_its_argument(name, value):
    values: dict[str, Any] = {name: value}
    with pytest.raises(UsageError, match=f"^{name}: "):
        SamplingParams(**values)
