"""Filters: each keeps what it says, in order, and never nothing; what is drawn follows the distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import CharlstmError
from charlstm.filters import Choice, drawn, min_p, softmax, top_k, top_p, typical

LOGITS = np.array([1.0, 0.0, -1.0, 3.0, 0.5, -6.0], np.float32)

logits = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=9).map(np.float32)
ordinary = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=9).map(np.float32)
shares = st.floats(1e-300, 1)
choices = st.builds(
    Choice,
    temperature=st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 0.5, 1.0, 1e9, 1e300, 1.7e308]),
    temperature_at_start=st.none() | st.sampled_from([0.0, 0.5, 1e300]),
    top_k=st.integers(0, 12),
    typical=shares,
    top_p=shares,
    min_p=st.floats(0, 1),
)


@given(logits, choices, st.booleans())
def test_no_setting_leaves_nothing(logits, choice, at_start):
    p = choice.distribution(logits, at_start)
    assert p.min() >= 0
    assert p.sum() == pytest.approx(1)


@given(ordinary, st.sampled_from([0.1, 0.5, 1.0, 2.0, 100.0]))
def test_temperature_keeps_the_order(logits, temperature):
    by_logit = np.argsort(logits, kind="stable")
    assert (np.diff(softmax(logits, temperature)[by_logit]) >= 0).all()


def test_temperature_zero_takes_the_first_of_the_likeliest():
    assert softmax(np.array([1.0, 3.0, 3.0]), 0.0).tolist() == [0, 1, 0]
    assert softmax(LOGITS, 1e-300).tolist() == [0, 0, 0, 1, 0, 0]
    np.testing.assert_allclose(softmax(LOGITS, 1e300), 1 / 6)


@given(ordinary, st.integers(1, 12))
def test_top_k_leaves_k(logits, k):
    p = softmax(logits)
    kept = top_k(p, k)
    assert np.count_nonzero(kept) == min(k, len(p))
    assert p[kept > 0].min() >= p[kept == 0].max(initial=0)


@given(ordinary, shares)
def test_top_p_leaves_the_least_set_that_reaches_p(logits, mass):
    p = softmax(logits)
    kept = p[top_p(p, mass) > 0]
    assert kept.sum() >= mass - 1e-12
    assert kept.sum() - kept.min() < mass
    assert kept.min() >= p[top_p(p, mass) == 0].max(initial=0)


@given(ordinary, st.floats(0, 1))
def test_min_p_leaves_those_that_are_likely_enough(logits, share):
    p = softmax(logits)
    assert ((min_p(p, share) > 0) == ((p >= share * p.max()) & (p > 0))).all()


@given(ordinary, shares)
def test_typical_leaves_those_of_usual_surprise(logits, mass):
    p = softmax(logits)
    surprise = np.abs(-np.log(p) + (p * np.log(p)).sum())
    kept = typical(p, mass) > 0
    assert p[kept].sum() >= mass - 1e-12
    assert surprise[kept].max() <= surprise[~kept].min(initial=np.inf) + 1e-9


@given(ordinary, st.integers(1, 12), shares, st.floats(0, 1))
def test_the_likeliest_stays(logits, k, mass, share):
    p = softmax(logits)
    for kept in (top_k(p, k), top_p(p, mass), min_p(p, share)):
        assert kept[p.argmax()] > 0


FILTERS = {
    "none": Choice(),
    "temperature": Choice(0.6),
    "temperature at start": Choice(0.6, temperature_at_start=2.0),
    "top-k": Choice(top_k=3),
    "typical": Choice(typical=0.7),
    "top-p": Choice(top_p=0.9),
    "min-p": Choice(min_p=0.05),
    "all": Choice(1.3, None, 5, 0.95, 0.95, 0.01),
}


@pytest.mark.parametrize("name", FILTERS)
def test_what_is_drawn_follows_the_distribution(name, rng):
    draws = 100_000
    p = FILTERS[name].distribution(LOGITS, at_start=True)
    rows = np.broadcast_to(LOGITS, (draws, len(p)))
    counts = np.bincount(FILTERS[name].draw(rows, np.ones(draws, bool), rng.random(draws)), minlength=len(p))
    assert (counts[p == 0] == 0).all()
    expected = draws * p[p > 0]
    chi_squared = ((counts[p > 0] - expected) ** 2 / expected).sum()
    assert chi_squared < 20.6  # 5 degrees of freedom at most, one in a thousand


def test_rows_are_filtered_each_for_itself(rng):
    logits = rng.standard_normal((7, 20))
    at_start = rng.random(7) < 0.5
    choice = Choice(0.8, 1.7, 9, 0.9, 0.8, 0.05)
    rows = [choice.distribution(row, start) for row, start in zip(logits, at_start, strict=True)]
    np.testing.assert_array_equal(choice.distribution(logits, at_start), rows)


def test_the_last_character_is_never_overrun():
    for p in (softmax(LOGITS), np.full(7, 1 / 7), np.array([0.3, 0.7, 0.0])):
        highest = drawn(p, np.nextafter(1.0, 0.0))
        assert p[highest] > 0
        assert p[drawn(p, 0.0)] > 0
    assert drawn(np.array([0.0, 1.0]), 0.0) == 1


@pytest.mark.parametrize(
    "values",
    [{"top_p": 0.0}, {"typical": 1.5}, {"min_p": -0.1}, {"top_k": -1}, {"temperature": -1.0}, {"temperature": np.nan}],
)
def test_python_values_are_checked(values):
    with pytest.raises(CharlstmError, match="from"):
        Choice(**values)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad):
    with pytest.raises(CharlstmError, match="broken"):
        softmax(np.array([0.0, bad]))
    with pytest.raises(CharlstmError, match="broken"):
        softmax(np.array([[0.0, 1.0], [-np.inf, -np.inf]]))
