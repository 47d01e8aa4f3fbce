"""Documents in an order that is shuffled for each epoch, without a list of them all.

A keyed permutation gives the document at each place of the order. A coarse index, of one entry per 256 documents, gives
the place of a character.
"""

import numpy as np

from charlstm.arrays import Ids, Int64s, IntArray, UInt64s

_ROUNDS = 6  # even, so that the halves end as they began
_MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_BLOCK = 256  # documents per entry of the index
_SUMMED = 1 << 20  # documents whose lengths are summed at a time
_AHEAD = 1 << 13  # characters that each stream reads at once


class ShuffledDocuments:
    """Documents, concatenated in an order that depends on a seed and the epoch.

    In each epoch, the boundary comes first, and each document is followed by one. What is read ahead is kept, since
    windows follow one another; the result does not depend on it.

    Args:
        ids: the documents, with the boundary before each and after the last.
        starts: indices of the boundaries [D + 1].
        seed: of the orders.
    """

    def __init__(self, ids: Ids, starts: Int64s, seed: int) -> None:
        self._ids, self._starts, self._seed = ids, starts, seed
        self._epoch = -1
        self._index: Int64s = np.zeros(1, np.int64)
        self._keys: UInt64s = np.zeros(_ROUNDS, np.uint64)
        self._firsts: IntArray = np.zeros(0, np.intp)  # of what was read ahead
        self._ahead = ids[:0, None]

    def read(self, epoch: int, firsts: IntArray, length: int) -> Ids:
        """Return the ids at `length` places of an epoch, from each of `firsts` [B] on: [length, B] (a view)."""
        if epoch != self._epoch:
            self._begin(epoch)
        skip = firsts[0] - self._firsts[0] if len(firsts) == len(self._firsts) else -1
        is_ahead = 0 <= skip <= len(self._ahead) - length and np.array_equal(firsts - skip, self._firsts)
        if not is_ahead:
            length_ahead = max(_AHEAD, length)
            self._ahead = np.stack([self._read_stream(int(first), length_ahead) for first in firsts], axis=1)
            self._firsts, skip = firsts.copy(), 0
        return self._ahead[skip : skip + length]

    def _begin(self, epoch: int) -> None:
        """Find out where every 256th document of an epoch begins."""
        self._epoch, self._firsts = epoch, self._firsts[:0]
        seeds = np.random.SeedSequence((self._seed, epoch))
        self._keys = np.asarray(seeds.generate_state(_ROUNDS, np.uint64), np.uint64)
        D = len(self._starts) - 1
        sums = [np.zeros(1, np.int64)]
        for first in range(0, D, _SUMMED):
            lengths = self._locate(first, min(first + _SUMMED, D))[1]
            sums.append(np.add.reduceat(lengths, np.arange(0, len(lengths), _BLOCK)))
        self._index = np.cumsum(np.concatenate(sums))

    def _locate(self, first: int, last: int) -> tuple[Int64s, Int64s]:
        """Return where documents at some places of the order start in the text, and their lengths, with a boundary."""
        documents = permute(np.arange(first, last), len(self._starts) - 1, self._keys)
        starts = self._starts[documents]
        return starts, self._starts[documents + 1] - starts

    def _read_stream(self, first: int, length: int) -> Ids:
        """Return the ids at `length` places from `first` on; from the end of the epoch on, boundaries."""
        end = len(self._ids) - 1
        last = min(first + length, end)
        blocks = np.searchsorted(self._index, [first, last - 1], "right")
        D = len(self._starts) - 1
        starts, lengths = self._locate(int(blocks[0] - 1) * _BLOCK, min(int(blocks[1]) * _BLOCK, D))
        ends = self._index[blocks[0] - 1] + np.cumsum(lengths)  # of each document in the epoch
        counts = np.diff(np.clip(ends, first, last), prepend=first)  # of its characters here
        ids = np.full(length, self._ids[end])
        ids[: last - first] = self._ids[np.repeat(starts - ends + lengths, counts) + np.arange(first, last)]
        return ids


def permute(numbers: Int64s, size: int, keys: UInt64s) -> Int64s:
    """Return where a keyed permutation of the numbers below `size` takes some of them.

    It is a Feistel network over the next power of two (Luby and Rackoff, 1988). What it takes out of range it takes
    further, until it is back in range (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
    """
    bits = (size - 1).bit_length()
    result = _encrypt(numbers.astype(np.uint64), bits, keys)
    while (outside := np.flatnonzero(result >= size)).size:
        result[outside] = _encrypt(result[outside], bits, keys)
    return result.astype(np.int64)


def _encrypt(x: UInt64s, bits: int, keys: UInt64s) -> UInt64s:
    """Return a permutation of the numbers of some bits."""
    right_bits = bits - bits // 2
    left_bits = bits - right_bits
    left, right = x >> np.uint64(right_bits), x & np.uint64((1 << right_bits) - 1)
    for key in keys:
        mixed = (right + key) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(32))) * _MIX_2
        left, right = right, left ^ ((mixed >> np.uint64(32)) & np.uint64((1 << left_bits) - 1))
        left_bits, right_bits = right_bits, left_bits
    joined = left << np.uint64(right_bits)
    joined |= right
    return joined
