"""Filters: each keeps the characters it promises, never none of them, and choices follow the distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import CharlstmError, SamplingParams
from charlstm.sampling.filters import choose, distribution, draw, log_softmax, min_p, softmax, top_k, top_p, typical

LOGITS = np.array([1.0, 0.0, -1.0, 3.0, 0.5, -6.0], np.float32)

any_logits = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=9).map(
    lambda values: np.array(values, np.float32)
)
usual_logits = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=9).map(
    lambda values: np.array(values, np.float32)
)
masses = st.floats(1e-300, 1)
any_params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 0.5, 1.0, 1e9, 1e300, 1.7e308]),
    temperature_at_start=st.none() | st.sampled_from([0.0, 0.5, 1e300]),
    top_k=st.integers(0, 12),
    typical=masses,
    top_p=masses,
    min_p=st.floats(0, 1),
)


@given(any_logits, any_params, st.booleans())
def test_distribution_sums_to_one_for_all_params(logits, params, at_start):
    p = distribution(params, logits, at_start)
    assert p.min() >= 0
    assert p.sum() == pytest.approx(1)


# ---- temperature


@given(usual_logits, st.sampled_from([0.1, 0.5, 1.0, 2.0, 100.0]))
def test_temperature_keeps_order_of_probabilities(logits, temperature):
    by_logit = np.argsort(logits, kind="stable")
    assert (np.diff(softmax(logits, temperature)[by_logit]) >= 0).all()


def test_temperature_zero_selects_first_of_most_likely():
    assert softmax(np.array([1.0, 3.0, 3.0]), 0.0).tolist() == [0, 1, 0]


def test_tiny_temperature_selects_most_likely():
    assert softmax(LOGITS, 1e-300).tolist() == [0, 0, 0, 1, 0, 0]


def test_huge_temperature_is_uniform():
    np.testing.assert_allclose(softmax(LOGITS, 1e300), 1 / 6)


def test_temperature_at_start_replaces_temperature_at_start_only():
    params = SamplingParams(temperature=0.5, temperature_at_start=2.0, top_p=1)
    at_start, elsewhere = distribution(params, np.array([LOGITS, LOGITS]), np.array([True, False]))
    np.testing.assert_allclose(at_start, softmax(LOGITS, 2.0))
    np.testing.assert_allclose(elsewhere, softmax(LOGITS, 0.5))


@given(usual_logits)
def test_log_softmax_is_logarithm_of_softmax(logits):
    np.testing.assert_allclose(np.exp(log_softmax(logits)), softmax(logits), rtol=1e-12)


# ---- filters


@given(usual_logits, st.integers(1, 12))
def test_top_k_keeps_k_most_likely(logits, k):
    p = softmax(logits)
    kept = top_k(p, k)
    assert np.count_nonzero(kept) == min(k, len(p))
    assert p[kept > 0].min() >= p[kept == 0].max(initial=0)


def test_top_k_keeps_lower_ids_of_equals():
    p = np.array([[0.1, 0.2, 0.2, 0.2, 0.3], [0.3, 0.2, 0.2, 0.2, 0.1]])
    assert (top_k(p, 2) > 0).tolist() == [[False, True, False, False, True], [True, True, False, False, False]]


def test_top_p_keeps_lower_ids_of_equals():
    assert (top_p(np.full((2, 4), 0.25), 0.5) > 0).tolist() == [[True, True, False, False]] * 2


@given(usual_logits, masses)
def test_top_p_keeps_smallest_set_that_reaches_mass(logits, mass):
    p = softmax(logits)
    kept = p[top_p(p, mass) > 0]
    assert kept.sum() >= mass - 1e-12
    assert kept.sum() - kept.min() < mass
    assert kept.min() >= p[top_p(p, mass) == 0].max(initial=0)


@given(usual_logits, st.floats(0, 1))
def test_min_p_keeps_probabilities_above_share_of_top(logits, share):
    p = softmax(logits)
    assert ((min_p(p, share) > 0) == ((p >= share * p.max()) & (p > 0))).all()


@given(usual_logits, masses)
def test_typical_keeps_losses_nearest_to_entropy(logits, mass):
    p = softmax(logits)
    distance = np.abs(-np.log(p) + (p * np.log(p)).sum())
    kept = typical(p, mass) > 0
    assert p[kept].sum() >= mass - 1e-12
    assert distance[kept].max() <= distance[~kept].min(initial=np.inf) + 1e-9


@given(usual_logits, st.integers(1, 12), masses, st.floats(0, 1))
def test_filters_keep_most_likely_character(logits, k, mass, share):
    p = softmax(logits)
    for kept in (top_k(p, k), top_p(p, mass), min_p(p, share)):
        assert kept[p.argmax()] > 0


def test_rows_are_filtered_independently(rng):
    logits = rng.standard_normal((7, 20))
    at_start = rng.random(7) < 0.5
    params = SamplingParams(temperature=0.8, temperature_at_start=1.7, top_k=9, typical=0.9, top_p=0.8, min_p=0.05)
    rows = [distribution(params, row, start) for row, start in zip(logits, at_start, strict=True)]
    np.testing.assert_array_equal(distribution(params, logits, at_start), rows)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_logits_are_rejected(bad):
    with pytest.raises(CharlstmError, match="predictions are not finite"):
        softmax(np.array([0.0, bad]))


def test_row_without_any_finite_logit_is_rejected():
    with pytest.raises(CharlstmError, match="predictions are not finite"):
        softmax(np.array([[0.0, 1.0], [-np.inf, -np.inf]]))


# ---- choices

FILTERS = {
    "none": SamplingParams(temperature=1),
    "temperature": SamplingParams(temperature=0.6),
    "temperature at start": SamplingParams(temperature=0.6, temperature_at_start=2.0),
    "top-k": SamplingParams(temperature=1, top_k=3),
    "typical": SamplingParams(temperature=1, typical=0.7),
    "top-p": SamplingParams(temperature=1, top_p=0.9),
    "min-p": SamplingParams(temperature=1, min_p=0.05),
    "all": SamplingParams(temperature=1.3, top_k=5, typical=0.95, top_p=0.95, min_p=0.01),
}


@pytest.mark.parametrize("name", FILTERS)
def test_choices_follow_distribution(name, rng):
    draws = 100_000
    p = distribution(FILTERS[name], LOGITS, at_start=True)
    rows = np.broadcast_to(LOGITS, (draws, len(p)))
    ids = choose(FILTERS[name], rows, np.ones(draws, bool), rng.random(draws))
    counts = np.bincount(ids, minlength=len(p))
    assert (counts[p == 0] == 0).all()
    expected = draws * p[p > 0]
    chi_squared = ((counts[p > 0] - expected) ** 2 / expected).sum()
    assert chi_squared < 20.6  # 5 degrees of freedom at most, one in a thousand


@pytest.mark.parametrize("p", [softmax(LOGITS), np.full(7, 1 / 7), np.array([0.3, 0.7, 0.0]), np.array([0.0, 1.0])])
@pytest.mark.parametrize("quantile", [0.0, np.nextafter(1.0, 0.0)])
def test_extreme_quantiles_draw_possible_characters(p, quantile):
    assert p[draw(p, quantile)] > 0
