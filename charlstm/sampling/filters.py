"""Logits -> the distribution of the next character: pure functions of arrays [..., V].

Each filter sets some probabilities to 0 and scales the others up to a sum of 1. It keeps their order, and at least one
of them. `distribution` applies the filters in the order in which they are defined here.
"""

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


def top_k(p: Float64s, k: int) -> Float64s:
    """Keep the k most likely characters; of equals, those of lower ids. Fan, Lewis and Dauphin, 2018."""
    return _renormalise(p, _rank(-p) < k)


def typical(p: Float64s, mass: float) -> Float64s:
    """Keep the characters whose `-log p` is nearest to the entropy, up to a total probability of `mass`.

    Meister, Pimentel, Wiher and Cotterell, "Locally typical sampling", 2023.
    """
    nats = -np.log(np.maximum(p, np.finfo(p.dtype).tiny))
    entropy = (p * nats).sum(-1, keepdims=True)
    return _renormalise(p, _select_mass(p, np.where(p > 0, np.abs(nats - entropy), np.inf), mass))


def top_p(p: Float64s, mass: float) -> Float64s:
    """Keep the fewest most likely characters whose total probability is `mass`. Holtzman et al., 2020."""
    return _renormalise(p, _select_mass(p, -p, mass))


def min_p(p: Float64s, share: float) -> Float64s:
    """Keep the characters of at least `share` times the top probability. Nguyen et al., "Min-p sampling", 2024."""
    return _renormalise(p, p >= share * p.max(-1, keepdims=True))


def _renormalise(p: Float64s, kept: Bools) -> Float64s:
    left: Float64s = np.where(kept, p, 0)
    left /= left.sum(-1, keepdims=True)
    return left


def _rank(keys: Float64s) -> IntArray:
    """Return the rank of each in ascending order; of equals, the first comes first."""
    order = np.argsort(keys, axis=-1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(keys.shape[-1]), axis=-1)
    return rank


def _select_mass(p: Float64s, keys: Float64s, mass: float) -> Bools:
    """Select by ascending keys until the total is `mass`, including the one that reaches it."""
    order = np.argsort(keys, axis=-1, kind="stable")
    ordered = np.take_along_axis(p, order, -1)
    before = np.cumsum(ordered, -1) - ordered
    kept = np.empty(p.shape, bool)
    np.put_along_axis(kept, order, before < mass, axis=-1)
    return kept


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
    p = softmax(logits, _temperature(params, at_start))
    if params.top_k:
        p = top_k(p, params.top_k)
    if params.typical < 1:
        p = typical(p, params.typical)
    if params.top_p < 1:
        p = top_p(p, params.top_p)
    if params.min_p > 0:
        p = min_p(p, params.min_p)
    return p


def choose(params: SamplingParams, logits: Floats, at_start: Bools | bool, u: Floats | float) -> IntArray:
    """Return the ids [...] at the quantiles u, from 0 to below 1, of the distribution."""
    filtered = params.top_k or params.typical < 1 or params.top_p < 1 or params.min_p > 0
    if filtered:
        return draw(distribution(params, logits, at_start), u)
    return draw(_weights(logits, _temperature(params, at_start)), u)


def draw(weights: Float64s, u: Floats | float) -> IntArray:
    """Return the ids [...] at the quantiles u, from 0 to below 1, given unnormalised probabilities [..., V]."""
    cumulative = weights.cumsum(-1)
    ids: IntArray = (cumulative > np.asarray(u)[..., None] * cumulative[..., -1:]).argmax(-1)
    return ids


def _temperature(params: SamplingParams, at_start: Bools | bool) -> Floats | float:
    if params.temperature_at_start is None:
        return float(params.temperature)
    return np.where(at_start, params.temperature_at_start, params.temperature)[..., None]
