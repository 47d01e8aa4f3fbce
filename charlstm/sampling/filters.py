"""Logits -> the distribution of the next character: pure functions of arrays [..., V].

Each filter takes weights, which are probabilities but for their scale, and sets some of them to 0, but at least one
not. `distribution` applies the filters in the order in which they are defined here.
"""

import functools
import math

import numpy as np

from charlstm.arrays import Bools, Float64s, Floats, IntArray
from charlstm.errors import CharlstmError
from charlstm.sampling.params import SamplingParams

_MIN_TEMPERATURE = 1e-200  # with which no quotient overflows


def softmax(logits: Floats, temperature: Floats | float = 1.0) -> Float64s:
    """Return `exp(logits / temperature)`, scaled to a sum of 1, in float64 and without overflow.

    Args:
        logits: [..., V].
        temperature: 0 or more, a scalar or [..., 1]. At 0, the most likely character gets 1, the first of several.

    Raises:
        CharlstmError: the logits are not finite.
    """
    p = _weights(logits, temperature)
    p /= p.sum(-1, keepdims=True)
    return p


def log_softmax(logits: Floats) -> Floats:
    """Return the logarithms of `softmax(logits)`, in float64: finite, where the logits are."""
    scores: Floats = np.subtract(logits, logits.max(-1, keepdims=True), dtype=np.float64)
    scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
    return scores


def _weights(logits: Floats, temperature: Floats | float) -> Float64s:
    """Return `softmax`, but scaled so that the largest is 1."""
    largest = np.maximum.reduce(logits, axis=-1, keepdims=True)
    if not all(map(math.isfinite, largest.ravel().tolist())):
        raise CharlstmError("the weights have overflowed; predictions are not finite")
    scores = logits.astype(np.float64)
    scores -= largest  # the largest is 0, whatever it is divided by
    if isinstance(temperature, float):
        if temperature == 0:
            return _only_first_of_largest(scores)
        if temperature != 1:
            scores /= max(temperature, _MIN_TEMPERATURE)
        return np.exp(scores, out=scores)
    p = np.exp(scores / np.maximum(temperature, _MIN_TEMPERATURE))
    return np.where(temperature == 0, _only_first_of_largest(scores), p)


def top_k(weights: Float64s, k: int) -> Float64s:
    """Keep the k most likely characters; of equals, those of lower ids. Fan, Lewis and Dauphin, 2018."""
    V = weights.shape[-1]
    if k >= V:
        return weights
    least = np.partition(weights, V - k, axis=-1)[..., V - k, None]
    kept = weights >= least
    if np.count_nonzero(kept) * V > k * weights.size:  # of equals at the limit, too many
        kept = _ranks(weights) < k
    return np.where(kept, weights, 0)


def typical(weights: Float64s, mass: float) -> Float64s:
    """Keep the characters whose `-log p` is nearest to the entropy, up to a total probability of `mass`.

    Meister, Pimentel, Wiher and Cotterell, "Locally typical sampling", 2023.
    """
    logs = np.log(np.maximum(weights, np.finfo(weights.dtype).tiny))  # log p, but for a constant
    total = weights.sum(-1, keepdims=True)
    distances = np.abs(logs - (weights * logs).sum(-1, keepdims=True) / total)  # of -log p from the entropy
    distances[weights == 0] = np.inf
    order = np.argsort(distances, axis=-1, kind="stable") + _row_starts(weights.shape)
    ordered = weights.ravel()[order]
    kept = np.zeros(weights.size, bool)
    kept[order] = ordered.cumsum(-1) - ordered < mass * total
    return np.where(kept.reshape(weights.shape), weights, 0)


def top_p(weights: Float64s, mass: float) -> Float64s:
    """Keep the fewest most likely characters whose total probability is `mass`. Holtzman et al., 2020."""
    ascending = np.sort(weights, axis=-1)
    totals = ascending.cumsum(-1)
    dropped = totals <= (1 - mass) * totals[..., -1:]
    dropped[..., -1] = False
    kept = weights > (ascending * dropped).max(-1, keepdims=True)
    if np.count_nonzero(kept) + np.count_nonzero(dropped) < weights.size:  # of equals at the limit, too few
        kept = _ranks(weights) < (~dropped).sum(-1, keepdims=True)
    return np.where(kept, weights, 0)


def min_p(weights: Float64s, share: float) -> Float64s:
    """Keep the characters of at least `share` times the top probability. Nguyen et al., "Min-p sampling", 2024."""
    return np.where(weights >= share * weights.max(-1, keepdims=True), weights, 0)


def _ranks(weights: Float64s) -> IntArray:
    """Return the rank of each, from the largest; of equals, the first comes first."""
    order = np.argsort(-weights, axis=-1, kind="stable") + _row_starts(weights.shape)
    ranks = np.empty(weights.size, np.intp)
    ranks[order] = np.arange(weights.shape[-1])
    return ranks.reshape(weights.shape)


@functools.lru_cache(maxsize=4)
def _row_starts(shape: tuple[int, ...]) -> IntArray:
    """Return the flat index at which each row [..., V] starts [..., 1]."""
    return np.arange(0, math.prod(shape), shape[-1]).reshape(*shape[:-1], 1)


def _only_first_of_largest(scores: Float64s) -> Float64s:
    largest: Float64s = (np.arange(scores.shape[-1]) == scores.argmax(-1)[..., None]).astype(np.float64)
    return largest


def distribution(params: SamplingParams, logits: Floats, at_start: Bools | bool = False) -> Float64s:
    """Return the probabilities of the next characters [..., V].

    Args:
        params: the temperature and the filters.
        logits: [..., V].
        at_start: whether a word starts here, a scalar or [...].
    """
    weights = _filter(params, _weights(logits, _temperature(params, at_start)))
    p: Float64s = weights / weights.sum(-1, keepdims=True)
    return p


def choose(params: SamplingParams, logits: Floats, at_start: Bools | bool, u: Floats | float) -> IntArray:
    """Return the ids [...] at the quantiles u, from 0 to below 1, of the distribution."""
    return draw(_filter(params, _weights(logits, _temperature(params, at_start))), u)


def _filter(params: SamplingParams, weights: Float64s) -> Float64s:
    if params.top_k:
        weights = top_k(weights, params.top_k)
    if params.typical < 1:
        weights = typical(weights, params.typical)
    if params.top_p < 1:
        weights = top_p(weights, params.top_p)
    if params.min_p > 0:
        weights = min_p(weights, params.min_p)
    return weights


def draw(weights: Float64s, u: Floats | float) -> IntArray:
    """Return the ids [...] at the quantiles u, from 0 to below 1, given unnormalised probabilities [..., V]."""
    cumulative = weights.cumsum(-1)
    ids: IntArray = (cumulative > np.asarray(u)[..., None] * cumulative[..., -1:]).argmax(-1)
    return ids


def _temperature(params: SamplingParams, at_start: Bools | bool) -> Floats | float:
    if params.temperature_at_start is None:
        return float(params.temperature)
    return np.where(at_start, params.temperature_at_start, params.temperature)[..., None]
