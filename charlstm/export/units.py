"""Interpretable units: those that track features of a text, such as quotation marks or indentation.

After Karpathy, Johnson and Li, "Visualizing and understanding recurrent networks" (2015), who found such units by eye.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from charlstm.arrays import Floats, IntArray
from charlstm.sampling.language_model import LanguageModel

_WINDOW = 256
_LONGEST_LINE, _DEEPEST = 120, 3
_RAREST = 0.005  # features with a smaller standard deviation, relative to their range, are too rare
_SHIFTS = 8  # circular shifts of a feature, to estimate the chance level


@dataclass(frozen=True)
class Activations:
    """The activations of a network over a text of n characters."""

    cells: Floats  # tanh(c) of all units of all layers, after each character [n, L H]
    closed: Floats  # fraction of the time in which each gate i, f, o is below 0.1, by layer [L, 3, H]
    open: Floats  # and above 0.9


@dataclass(frozen=True)
class Tracker:
    """The unit that tracks a feature best."""

    feature: str
    unit: int  # among all units of all layers
    correlation: float  # on the second half of the text; the unit was selected on the first
    chance: float  # largest absolute correlation found with the feature shifted along the text


def record_activations(model: LanguageModel, ids: IntArray) -> Activations:
    """Return the activations of all units while the model reads a text."""
    network = model.network
    H, state, cells = network.config.hidden_size, model.read().state, []
    closed, open_ = np.zeros((2, network.config.num_layers, 3, H))
    for start in range(0, len(ids), _WINDOW):
        window = ids[start : start + _WINDOW].astype(np.intp)[:, None]
        layers, state = network.activations(window, state)
        cells.append(np.concatenate([np.tanh(c[:, 0]) for _, c in layers], axis=1))
        for layer, (gates, _) in enumerate(layers):
            closed[layer] += (gates[1:, :, 0] < 0.1).sum(axis=1)
            open_[layer] += (gates[1:, :, 0] > 0.9).sum(axis=1)
    return Activations(np.concatenate(cells), closed / len(ids), open_ / len(ids))


def find_trackers(cells: Floats, text: str) -> list[Tracker]:
    """Return the unit that tracks each feature of a text best, strongest correlation first.

    The unit with the largest correlation in absolute value on the first half of the text is reported with its
    correlation on the second half. Features that hardly occur in either half are left out.

    Args:
        cells: of all units after each character [n, units].
        text: n characters.
    """
    half = len(text) // 2
    first, second = _standardize(cells[:half]), _standardize(cells[half : 2 * half])
    found = []
    for name, feature_of in FEATURES.items():
        feature = feature_of(text)[: 2 * half]
        if min(_spread(feature[:half]), _spread(feature[half:])) < _RAREST:
            continue
        unit, correlation = _best_unit(first, second, feature)
        shifts = np.linspace(0, 2 * half, _SHIFTS + 2).astype(int)[1:-1]
        chance = max(abs(_best_unit(first, second, np.roll(feature, shift))[1]) for shift in shifts)
        found.append(Tracker(name, unit, correlation, chance))
    return sorted(found, key=lambda tracker: -abs(tracker.correlation))


def _best_unit(first: Floats, second: Floats, feature: Floats) -> tuple[int, float]:
    half = len(first)
    unit = int(np.abs(_standardize(feature[:half]) @ first).argmax())
    return unit, float(_standardize(feature[half:]) @ second[:, unit]) / half


def _standardize(values: Floats) -> Floats:
    """Return values with mean 0 and standard deviation 1 along the first axis; 0 where they are constant."""
    centred = values - values.mean(axis=0)
    deviation = centred.std(axis=0)
    scaled: Floats = centred / np.where(deviation > 1e-6, deviation, np.inf)
    return scaled


def _spread(feature: Floats) -> float:
    return float(feature.std() / max(np.ptp(feature), 1e-9))


# ---- features: a number for each character, from the text up to it


def _position_in_line(text: str) -> Floats:
    return _count(text, lambda n, c: 0 if c == "\n" else min(n + 1, _LONGEST_LINE))


def _indentation(text: str) -> Floats:
    found, width, leading = [], 0, True
    for c in text:
        width, leading = (0, True) if c == "\n" else (width + leading * (c == " ") + 4 * leading * (c == "\t"), leading)
        leading = leading and c in "\n \t"
        found.append(min(width, _LONGEST_LINE))
    return np.array(found, float)


def _inside_quotes(text: str) -> Floats:
    """1 from an opening quotation mark until the closing one or a blank line."""
    found, inside, previous = [], False, ""
    for c in text:
        if c == '"':
            inside = not inside
        elif c in "“”«»":
            inside = c in "“«"
        elif c == previous == "\n":
            inside = False
        found.append(inside)
        previous = c
    return np.array(found, float)


def _inside_brackets(text: str) -> Floats:
    return _count(text, lambda n, c: min(max(n + (c in "([{") - (c in ")]}"), 0), _DEEPEST))


def _word_length(text: str) -> Floats:
    return _count(text, lambda n, c: n + 1 if c.isalnum() else 0)


def _count(text: str, update: Callable[[int, str], int]) -> Floats:
    """Return a count after each character, given how a character changes it."""
    counts, n = [], 0
    for c in text:
        n = update(n, c)
        counts.append(n)
    return np.array(counts, float)


def _matches(pattern: str) -> Callable[[str], Floats]:
    """Return a feature that is 1 for characters in matches of a pattern."""

    def feature(text: str) -> Floats:
        found = np.zeros(len(text))
        for match in re.finditer(pattern, text):
            found[match.start() : match.end()] = 1
        return found

    return feature


FEATURES: Mapping[str, Callable[[str], Floats]] = {
    "position in the line": _position_in_line,
    "indentation": _indentation,
    "inside quotation marks": _inside_quotes,
    "inside brackets": _inside_brackets,
    "position in the word": _word_length,
    "first letter of a word": _matches(r"\b[^\W\d_]"),
    "upper-case letter": _matches(r"[A-ZÀ-ÖØ-Þ]"),
    "digit": _matches(r"\d"),
    "after # on the line": _matches(r"#.*"),
}
