"""Units: features of a text, and the unit that tracks each, against chance."""

import numpy as np
import pytest
from helpers import TEXT

from charlstm.export.units import FEATURES, find_trackers, record_activations

CASES = {
    "position in the line": ("ab\nc", [1, 2, 0, 1]),
    "indentation": ("  a b\n\tc", [1, 2, 2, 2, 2, 0, 4, 4]),
    "inside quotation marks": ('a "b" “c”\n', [0, 0, 1, 1, 0, 0, 1, 1, 0, 0]),
    "inside brackets": ("a(b[c])d)", [0, 1, 1, 2, 2, 1, 0, 0, 0]),
    "position in the word": ("ab, c1", [1, 2, 0, 0, 1, 2]),
    "first letter of a word": ("ab cd 1e", [1, 0, 0, 1, 0, 0, 0, 0]),
    "upper-case letter": ("aBÉ1", [0, 1, 1, 0]),
    "digit": ("a12 b", [0, 1, 1, 0, 0]),
    "after # on the line": ("a #b\nc", [0, 0, 1, 1, 0, 0]),
}


@pytest.mark.parametrize("name", FEATURES)
def test_features_match_worked_examples(name):
    text, expected = CASES[name]
    assert FEATURES[name](text).tolist() == expected


def test_unclosed_quotation_ends_at_a_blank_line():
    assert FEATURES["inside quotation marks"]('"a\nb\n\nc').tolist() == [1, 1, 1, 1, 1, 0, 0]


def make_text(rng, n=4000):
    return "".join(rng.choice(list('ab "\n'), n, p=[0.4, 0.3, 0.2, 0.05, 0.05]))


def test_unit_that_tracks_a_feature_is_found(rng):
    text = make_text(rng)
    cells = rng.standard_normal((len(text), 30))
    cells[:, 17] -= 2 * FEATURES["inside quotation marks"](text)
    best = find_trackers(cells, text)[0]
    assert (best.feature, best.unit) == ("inside quotation marks", 17)
    assert best.correlation < -0.5
    assert best.chance < 0.2


def test_noise_has_low_correlations(rng):
    text = make_text(rng)
    trackers = find_trackers(rng.standard_normal((len(text), 300)), text)
    assert trackers
    assert all(abs(tracker.correlation) < 0.1 for tracker in trackers)


def test_correlation_is_measured_on_the_second_half(rng):
    """A unit that follows the feature on the first half alone."""
    text = make_text(rng)
    cells = rng.standard_normal((len(text), 5))
    half = len(text) // 2
    cells[:half, 3] = FEATURES["inside quotation marks"](text)[:half]
    found = next(t for t in find_trackers(cells, text) if t.feature == "inside quotation marks")
    assert found.unit == 3
    assert abs(found.correlation) < 0.1


def test_rare_features_are_omitted():
    text = "abc " * 500 + "(1)"
    names = [tracker.feature for tracker in find_trackers(np.random.default_rng(0).random((len(text), 3)), text)]
    assert "digit" not in names
    assert "inside brackets" not in names


def test_constant_units_are_never_selected(rng):
    text = make_text(rng)
    cells = np.ones((len(text), 2))
    cells[:, 1] = rng.standard_normal(len(text))
    assert all(tracker.unit == 1 for tracker in find_trackers(cells, text))


def test_activations_match_single_steps(trained):
    model, text = trained.model, TEXT[:600]
    H, params = model.network.config.hidden_size, model.network.params
    found = record_activations(model, model.vocab.encode(text))
    state, closed, opened = model.read().state, np.zeros((3, H)), np.zeros((3, H))
    h, c = state.h[0, 0], state.c[0, 0]
    for n, id in enumerate(model.vocab.encode(text)):
        z = params["layer0.w_x"][:, id] + params["layer0.w_h"] @ h + params["layer0.b"]
        g, (i, f, o) = np.tanh(z[:H]), 1 / (1 + np.exp(-z[H:].reshape(3, H)))
        c = f * c + i * g
        h = o * np.tanh(c)
        closed += np.array([i, f, o]) < 0.1
        opened += np.array([i, f, o]) > 0.9
        np.testing.assert_allclose(found.cells[n], np.tanh(c), atol=1e-4)
    np.testing.assert_allclose(found.closed[0], closed / len(text), atol=0.01)
    np.testing.assert_allclose(found.open[0], opened / len(text), atol=0.01)
