"""How much of a text stands, word for word, in another: whether a model writes, or recites."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charlstm.vocab import Ids

GRAM = 20  # characters: longer than what two texts of the same kind share by chance
_CHUNK = 1 << 20  # characters of the text that are searched at a time
_BITS_PER_RUN = 24  # of an index
_MIX = np.uint64(0xFF51AFD7ED558CCD)  # of MurmurHash3, by Austin Appleby
_HALF, _KIND = np.uint64(32), np.uint64(0xFFF)
_BITS = np.arange(4096, dtype=np.uint64) * _MIX  # whose first 24 bits are four places in a word
_BITS = np.bitwise_or.reduce([np.uint64(1) << (_BITS >> np.uint64(k) & np.uint64(63)) for k in (40, 46, 52, 58)])
BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
INVERSE = pow(BASE, -1, 1 << 64)

Hashes = npt.NDArray[np.uint64]


def share_copied(sample: Ids, text: Ids, length: int = GRAM) -> float:
    """Return the share of all runs of `length` characters of a sample that stand in a text; 0 where it has none."""
    wanted = Runs(sample).hashes(length)
    if not len(wanted):
        return 0.0
    found = np.zeros(len(wanted), bool)
    for chunk in _chunks(text, length):
        found |= np.isin(wanted, Runs(chunk).hashes(length), kind="sort")
    return float(found.mean())


def longest_copy(sample: Ids, text: Ids) -> tuple[int, int]:
    """Return where in a sample its longest run stands that stands in a text too, and how long it is.

    Args:
        sample: ids; memory and time suit some thousands.
        text: ids in the same vocabulary.
    """
    best_at, best = 0, 0
    ours = Runs(sample)
    for chunk in _chunks(text, len(sample)):
        runs, starts = Runs(chunk), np.arange(len(chunk))
        while best < min(len(sample), len(chunk)):
            wanted = ours.hashes(best + 1)
            starts = starts[starts < len(chunk) - best]
            starts = starts[np.isin(runs.hashes(best + 1, starts), wanted, kind="sort")]
            if not len(starts):
                break
            for at in np.flatnonzero(wanted == runs.hashes(best + 1, starts[:1])):
                length = _common(sample[at:], chunk[starts[0] :])
                if length > best:
                    best_at, best = int(at), length
            starts = starts[1:]
    return best_at, best


class Runs:
    """The runs of a text, each known by a hash: a polynomial over its ids, modulo 2^64 (Karp and Rabin, 1987).

    That of n ids is the sum of `(id + 1) * INVERSE^k`, for k from 1 to n.
    """

    def __init__(self, ids: Ids) -> None:
        self._powers = np.full(len(ids) + 1, BASE, np.uint64)
        self._powers[0] = 1
        np.multiply.accumulate(self._powers, out=self._powers)
        inverses = np.full(len(ids), INVERSE, np.uint64)
        terms = (ids.astype(np.uint64) + np.uint64(1)) * np.multiply.accumulate(inverses)
        self._sums = np.concatenate([np.zeros(1, np.uint64), np.add.accumulate(terms)])

    def hashes(self, length: int, starts: npt.NDArray[np.intp] | slice = slice(None)) -> Hashes:
        """Return the hashes of the runs of some length that begin at `starts`; of all of them without."""
        whole = max(len(self._sums) - length, 0)
        sums: Hashes = self._sums[length:][starts] - self._sums[:whole][starts]
        return sums * self._powers[:whole][starts]


@dataclass(frozen=True)
class CopyIndex:
    """A Bloom filter of all runs of n characters of a text: what it does not find is not there.

    Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970; the bits of a run are in one word, as in
    Putze, Sanders and Singler, "Cache-, hash- and space-efficient Bloom filters", 2007. With 24 bits for each run, of
    which it sets 4, it finds one in 400 that is not there.

    Attributes:
        n: characters of a run.
        words: of 64 bits, one or more.
    """

    n: int
    words: npt.NDArray[np.uint64]

    def found(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Return which of some hashes are those of runs in the text; at times of others too."""
        places, bits = _places_and_bits(hashes, len(self.words))
        found: npt.NDArray[np.bool_] = (self.words[places] & bits) == bits
        return found


def index_of(ids: Ids, n: int) -> CopyIndex:
    """Return the index of all runs of n ids of a text."""
    runs = max(len(ids) - n + 1, 0)
    words = np.zeros(runs * _BITS_PER_RUN // 64 + 1, np.uint64)
    for start in range(0, runs, _CHUNK):
        places, bits = _places_and_bits(Runs(ids[start : start + _CHUNK + n - 1]).hashes(n), len(words))
        np.bitwise_or.at(words, places, bits)
    return CopyIndex(n, words)


def _places_and_bits(hashes: Hashes, words: int) -> tuple[npt.NDArray[np.intp], Hashes]:
    """Return in which of so many words each hash has its bits, and these."""
    mixed = hashes >> _HALF
    mixed ^= hashes
    mixed *= _MIX
    places = mixed >> _HALF
    places *= np.uint64(words)
    places >>= _HALF
    mixed &= _KIND
    return places.view(np.intp), _BITS[mixed.view(np.intp)]


def _chunks(text: Ids, overlap: int) -> Iterator[Ids]:
    """Cut a text into pieces that have `overlap` characters in common, so that no run of that length is cut."""
    for start in range(0, len(text), _CHUNK):
        yield text[start : start + _CHUNK + overlap]


def _common(a: Ids, b: Ids) -> int:
    """Return how many characters two texts begin with alike."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n
