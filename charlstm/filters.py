"""From logits to the distribution that the next character is drawn from. Pure functions of arrays [..., V].

Each filter takes probabilities and returns them with some at 0 and the others scaled up to a sum of 1; the order of
what is left stays, and something always is. `Choice.distribution` applies them in the order in which they stand here.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charlstm.batches import IntArray
from charlstm.errors import CharlstmError, UsageError
from charlstm.workspace import Floats

Probabilities = npt.NDArray[np.float64]  # [..., V]
Kept = npt.NDArray[np.bool_]  # [..., V]

_LEAST_TEMPERATURE = 1e-200  # at which no quotient overflows


def softmax(logits: Floats, temperature: Floats | float = 1.0) -> Probabilities:
    """Return `exp(logits / temperature)`, scaled to a sum of 1, in float64; neither tiny nor huge ones overflow.

    Args:
        logits: [..., V].
        temperature: 0 or more, one or [..., 1]; at 0, the likeliest gets all (the first of several).

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


def _weights(logits: Floats, temperature: Floats | float) -> Probabilities:
    """Return `softmax`, but scaled so that the likeliest has 1."""
    likeliest = np.maximum.reduce(logits, axis=-1, keepdims=True)
    if not all(map(math.isfinite, likeliest.ravel().tolist())):
        raise CharlstmError("the model is broken: its weights are so large that its predictions are not numbers")
    scores = logits.astype(np.float64)
    scores -= likeliest  # so that the likeliest has 0, whatever it is divided by
    if isinstance(temperature, float):
        if temperature == 0:
            return _only_first_of_likeliest(scores)
        if temperature != 1:
            scores /= max(temperature, _LEAST_TEMPERATURE)
        return np.exp(scores, out=scores)
    p = np.exp(scores / np.maximum(temperature, _LEAST_TEMPERATURE))
    return np.where(temperature == 0, _only_first_of_likeliest(scores), p)


def top_k(p: Probabilities, k: int) -> Probabilities:
    """Keep the k likeliest; of equally likely ones, those of lower ids. Fan, Lewis and Dauphin, 2018."""
    return _renormalised(p, _rank(-p) < k)


def typical(p: Probabilities, mass: float) -> Probabilities:
    """Keep those whose surprise, `-log p`, is nearest to the expected one, until they have a mass together.

    Meister, Pimentel, Wiher and Cotterell, "Locally typical sampling", 2023.
    """
    surprise = -np.log(np.maximum(p, np.finfo(p.dtype).tiny))
    expected = (p * surprise).sum(-1, keepdims=True)
    return _renormalised(p, _until(p, np.where(p > 0, np.abs(surprise - expected), np.inf), mass))


def top_p(p: Probabilities, mass: float) -> Probabilities:
    """Keep the likeliest, as few as have a mass together. Holtzman et al., "Neural text degeneration", 2020."""
    return _renormalised(p, _until(p, -p, mass))


def min_p(p: Probabilities, share: float) -> Probabilities:
    """Keep those at least as likely as a share of the likeliest. Nguyen et al., "Min-p sampling", 2024."""
    return _renormalised(p, p >= share * p.max(-1, keepdims=True))


def _renormalised(p: Probabilities, kept: Kept) -> Probabilities:
    left: Probabilities = np.where(kept, p, 0)
    left /= left.sum(-1, keepdims=True)
    return left


def _rank(keys: Probabilities) -> npt.NDArray[np.intp]:
    """Return the place of each in ascending order; of equals, the first comes first."""
    order = np.argsort(keys, axis=-1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(keys.shape[-1]), axis=-1)
    return rank


def _until(p: Probabilities, keys: Probabilities, mass: float) -> Kept:
    """Return which ones have a mass together, taken by ascending keys: the one that reaches it is the last."""
    order = np.argsort(keys, axis=-1, kind="stable")
    ordered = np.take_along_axis(p, order, -1)
    before = np.cumsum(ordered, -1) - ordered
    kept = np.empty(p.shape, bool)
    np.put_along_axis(kept, order, before < mass, axis=-1)
    return kept


def _only_first_of_likeliest(scores: Probabilities) -> Probabilities:
    likeliest: Probabilities = (np.arange(scores.shape[-1]) == scores.argmax(-1)[..., None]).astype(np.float64)
    return likeliest


@dataclass(frozen=True)
class Choice:
    """How the next character is chosen; by default, as the model learnt.

    Attributes:
        temperature: below 1 keeps to what is likely, above 1 dares more; 0 always takes the likeliest.
        temperature_at_start: that of the first character of a line or word; None for the same.
        top_k: see the functions of these names; 0 is off.
        typical: 1 is off.
        top_p: 1 is off.
        min_p: 0 is off.
    """

    temperature: float = 1.0
    temperature_at_start: float | None = None
    top_k: int = 0
    typical: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.typical, self.top_p)
        if not (self.top_k >= 0 <= self.min_p <= 1 and all(0 < share <= 1 for share in shares)):
            raise UsageError("top_k from 0, min_p from 0 to 1, typical and top_p above 0 to 1")
        if not all(0 <= t < math.inf for t in (self.temperature, self.temperature_at_start or 0.0)):
            raise UsageError("temperatures from 0")

    def distribution(self, logits: Floats, at_start: Kept | bool = False) -> Probabilities:
        """Return the probabilities of the next characters [..., V].

        Args:
            logits: [..., V].
            at_start: whether a word starts here, one or [...].
        """
        p = softmax(logits, self._temperature(at_start))
        if self.top_k:
            p = top_k(p, self.top_k)
        if self.typical < 1:
            p = typical(p, self.typical)
        if self.top_p < 1:
            p = top_p(p, self.top_p)
        if self.min_p > 0:
            p = min_p(p, self.min_p)
        return p

    def draw(self, logits: Floats, at_start: Kept | bool, u: Floats | float) -> IntArray:
        """Return the ids [...] that numbers u from 0 to below 1 stand for in the distribution."""
        filtered = self.top_k or self.typical < 1 or self.top_p < 1 or self.min_p > 0
        return drawn(
            self.distribution(logits, at_start) if filtered else _weights(logits, self._temperature(at_start)), u
        )

    def _temperature(self, at_start: Kept | bool) -> Floats | float:
        if self.temperature_at_start is None:
            return self.temperature
        return np.where(at_start, self.temperature_at_start, self.temperature)[..., None]


def drawn(weights: Probabilities, u: Floats | float) -> IntArray:
    """Return the ids [...] that numbers u from 0 to below 1 stand for, among such weights [..., V]."""
    cumulated = weights.cumsum(-1)
    ids: IntArray = (cumulated > np.asarray(u)[..., None] * cumulated[..., -1:]).argmax(-1)
    return ids
