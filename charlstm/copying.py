"""How much of a text stands, word for word, in another: whether a model writes, or recites."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from charlstm.vocab import Ids

GRAM = 20  # characters: longer than what two texts of the same kind share by chance
_CHUNK = 1 << 20  # characters of the text that are searched at a time
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)

Hashes = npt.NDArray[np.uint64]


def share_copied(sample: Ids, text: Ids, length: int = GRAM) -> float:
    """Return the share of all runs of `length` characters of a sample that stand in a text; 0 where it has none."""
    wanted = _Runs(sample).hashes(length)
    if not len(wanted):
        return 0.0
    found = np.zeros(len(wanted), bool)
    for chunk in _chunks(text, length):
        found |= np.isin(wanted, _Runs(chunk).hashes(length))
    return float(found.mean())


def longest_copy(sample: Ids, text: Ids) -> tuple[int, int]:
    """Return where in a sample its longest run stands that stands in a text too, and how long it is.

    Args:
        sample: ids; memory and time suit some thousands.
        text: ids in the same vocabulary.
    """
    best_at, best = 0, 0
    ours = _Runs(sample)
    for chunk in _chunks(text, len(sample)):
        runs, starts = _Runs(chunk), np.arange(len(chunk))
        while best < min(len(sample), len(chunk)):
            wanted = ours.hashes(best + 1)
            starts = starts[starts < len(chunk) - best]
            starts = starts[np.isin(runs.hashes(best + 1, starts), wanted)]
            if not len(starts):
                break
            for at in np.flatnonzero(wanted == runs.hashes(best + 1, starts[:1])):
                length = _common(sample[at:], chunk[starts[0] :])
                if length > best:
                    best_at, best = int(at), length
            starts = starts[1:]
    return best_at, best


class _Runs:
    """The runs of a text, each known by a hash: a polynomial over its ids, modulo 2^64 (Karp and Rabin, 1987)."""

    def __init__(self, ids: Ids) -> None:
        self._powers = np.full(len(ids) + 1, _BASE, np.uint64)
        self._powers[0] = 1
        np.multiply.accumulate(self._powers, out=self._powers)
        inverses = np.full(len(ids), _INVERSE, np.uint64)
        terms = (ids.astype(np.uint64) + np.uint64(1)) * np.multiply.accumulate(inverses)
        self._sums = np.concatenate([np.zeros(1, np.uint64), np.add.accumulate(terms)])

    def hashes(self, length: int, starts: npt.NDArray[np.intp] | slice = slice(None)) -> Hashes:
        """Return the hashes of the runs of some length that begin at `starts`; of all of them without."""
        whole = max(len(self._sums) - length, 0)
        sums: Hashes = self._sums[length:][starts] - self._sums[:whole][starts]
        return sums * self._powers[:whole][starts]


def _chunks(text: Ids, overlap: int) -> Iterator[Ids]:
    """Cut a text into pieces that have `overlap` characters in common, so that no run of that length is cut."""
    for start in range(0, len(text), _CHUNK):
        yield text[start : start + _CHUNK + overlap]


def _common(a: Ids, b: Ids) -> int:
    """Return how many characters two texts begin with alike."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n
