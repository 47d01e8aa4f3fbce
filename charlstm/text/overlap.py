"""How much of one text occurs, character for character, in another: whether a model generates or copies."""

from collections.abc import Iterator

import numpy as np

from charlstm.arrays import Bools, Hashes, Ids, IntArray

OVERLAP_CHARS = 20  # longer than what two texts of the same kind share by chance
_CHUNK = 1 << 20  # characters of the text that are searched at a time
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)


def measure_overlap(sample: Ids, text: Ids, n: int = OVERLAP_CHARS) -> float:
    """Return the fraction of the n-grams of a sample that occur in a text; 0 if the sample is too short for one.

    N-grams of a single repeated character do not count.
    """
    wanted = SubstringHashes(sample).of_length(n)
    if n > 1:
        changes = np.cumsum(np.diff(sample.astype(np.int64), prepend=sample[:1]) != 0)
        wanted = wanted[changes[n - 1 :] > changes[: len(wanted)]]
    if not len(wanted):
        return 0.0
    found = np.zeros(len(wanted), bool)
    for chunk in _chunks(text, n):
        hashes = SubstringHashes(chunk).of_length(n)
        found |= np.isin(wanted, hashes[_is_among(hashes, wanted)], kind="sort")
    return float(found.mean())


def find_longest_overlap(sample: Ids, text: Ids) -> tuple[int, int]:
    """Return the start and the length of the longest substring of a sample that occurs in a text.

    Args:
        sample: ids; memory and time suit some thousands.
        text: ids in the same vocabulary.
    """
    best_start, best = 0, 0
    ours = SubstringHashes(sample)
    for chunk in _chunks(text, len(sample)):
        theirs, starts = SubstringHashes(chunk), np.arange(len(chunk))
        while best < min(len(sample), len(chunk)):
            wanted = ours.of_length(best + 1)
            starts = starts[starts < len(chunk) - best]
            starts = starts[_is_among(theirs.of_length(best + 1, starts), wanted)]
            if not len(starts):
                break
            for start in np.flatnonzero(wanted == theirs.of_length(best + 1, starts[:1])):
                length = _common_prefix(sample[start:], chunk[starts[0] :])
                if length > best:
                    best_start, best = int(start), length
            starts = starts[1:]
    return best_start, best


class SubstringHashes:
    """The hashes of all substrings of a text: polynomials over its ids, modulo 2^64 (Karp and Rabin, 1987).

    The hash of n ids is the sum of `(id + 1) * INVERSE^k`, for k from 1 to n.
    """

    def __init__(self, ids: Ids) -> None:
        self._powers = np.full(len(ids) + 1, _BASE, np.uint64)
        self._powers[0] = 1
        np.multiply.accumulate(self._powers, out=self._powers)
        terms = (ids.astype(np.uint64) + np.uint64(1)) * _inverse_powers(len(ids))
        self._sums = np.concatenate([np.zeros(1, np.uint64), np.add.accumulate(terms)])

    def of_length(self, length: int, starts: IntArray | slice = slice(None)) -> Hashes:
        """Return the hashes of the substrings of some length that begin at `starts`, by default of all of them."""
        count = max(len(self._sums) - length, 0)
        sums: Hashes = self._sums[length:][starts] - self._sums[:count][starts]
        return sums * self._powers[:count][starts]


class NgramIndex:
    """The n-grams of a text: which characters follow each of its distinct contexts of n - 1 characters.

    Takes about 9 bytes per character of the text.

    Args:
        ids: the text.
        n: at least 1.
    """

    def __init__(self, ids: Ids, n: int) -> None:
        self.n = n
        self._weights = _inverse_powers(n - 1)
        contexts = SubstringHashes(ids).of_length(n - 1)[: max(len(ids) - n + 1, 0)]
        followers = ids[n - 1 :]
        order = np.lexsort((followers, contexts))
        contexts, followers = contexts[order], followers[order]
        distinct = np.ones(len(order), bool)
        distinct[1:] = (contexts[1:] != contexts[:-1]) | (followers[1:] != followers[:-1])
        self._contexts, self._followers = contexts[distinct], followers[distinct]

    def followers(self, contexts: IntArray) -> list[Ids]:
        """Return the ids that follow each of some contexts [B, n - 1] in the text."""
        hashes = ((contexts.astype(np.uint64) + np.uint64(1)) * self._weights).sum(1, dtype=np.uint64)
        first = np.searchsorted(self._contexts, hashes)
        last = np.searchsorted(self._contexts, hashes, side="right")
        return [self._followers[start:stop] for start, stop in zip(first, last, strict=True)]


def _is_among(hashes: Hashes, wanted: Hashes) -> Bools:
    """Return which of many hashes are among a few. Most are ruled out by their first 16 bits."""
    prefixes = np.zeros(1 << 16, bool)
    prefixes[wanted >> np.uint64(48)] = True
    among: Bools = prefixes[hashes >> np.uint64(48)]
    among[among] = np.isin(hashes[among], wanted, kind="sort")
    return among


def _inverse_powers(count: int) -> Hashes:
    """Return INVERSE^k for k from 1 to `count`."""
    powers: Hashes = np.multiply.accumulate(np.full(count, _INVERSE, np.uint64))
    return powers


def _chunks(text: Ids, overlap: int) -> Iterator[Ids]:
    """Cut a text into pieces that share `overlap` characters, so that no substring of that length is cut."""
    for start in range(0, len(text), _CHUNK):
        yield text[start : start + _CHUNK + overlap]


def _common_prefix(a: Ids, b: Ids) -> int:
    """Return the length of the common prefix of two texts."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n
