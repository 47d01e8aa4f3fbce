"""The losses of simple models on the same text, for comparison."""

import lzma
import math

import numpy as np

from charlstm.arrays import Float64s, Ids, Int64s
from charlstm.text.corpus import count_ids
from charlstm.text.vocab import Vocab

ORDER = 6  # length of the longest n-gram
_MAX_CODES = 2**63  # n-grams are numbered in int64
MAX_CHARS = 20_000_000  # counting them takes a few seconds
_XZ_SLOWNESS = 10  # compressing takes at least ten times as long as counting
_CHUNK = 1 << 20  # characters counted at a time: eight bytes or more for each
_MIN_XZ_CHARS = 500  # compressed sizes are multiples of four bytes
_XZ_MIN_DICTIONARY = 4096  # bytes


def baseline_losses(train_ids: Ids, val_ids: Ids, vocab: Vocab, max_chars: int = MAX_CHARS) -> dict[str, float]:
    """Return the losses of simple models on a text, in nats per character. The first character is not predicted.

    Models that would take too long on texts of this length, or mean little on short ones, are left out.

    Args:
        train_ids: their training text, at least one character.
        val_ids: the text they predict, at least two characters.
        vocab: of both.
        max_chars: they are trained on the last characters of the training text, at most this many.

    Returns:
        By name: "uniform", all characters equally likely; "frequencies", each as likely as it is frequent; "6-gram"
        (or a lower order, for large vocabularies), see `ngram_loss`; "xz -9", the growth of the compressed text.
    """
    V = len(vocab)
    train_ids = train_ids[-max_chars:]
    order = min(ORDER, int(math.log(_MAX_CODES, max(V, 2))))
    losses = {
        "uniform": math.log(V),
        "frequencies": _frequencies_loss(train_ids, val_ids, V),
        f"{order}-gram": ngram_loss(train_ids, val_ids, V, order),
    }
    if len(train_ids) + len(val_ids) <= max_chars // _XZ_SLOWNESS and len(val_ids) >= _MIN_XZ_CHARS:
        losses["xz -9"] = _xz_loss(_utf8(train_ids, vocab), _utf8(val_ids, vocab), len(val_ids))
    return losses


def _frequencies_loss(train_ids: Ids, val_ids: Ids, V: int) -> float:
    counts = count_ids(train_ids, V) + 1  # no probability is zero
    losses = np.log(counts.sum() / counts)
    return float(losses @ count_ids(val_ids[1:], V)) / (len(val_ids) - 1)


def ngram_loss(train_ids: Ids, val_ids: Ids, vocab_size: int, order: int) -> float:
    """Return the loss of an n-gram model, in nats per character: Kneser-Ney, interpolated.

    The probability of a character w after a history h of n - 1 characters is interpolated with that after the last
    n - 2 of them, h', and so on down to 1 / V. A discount D is subtracted from each count to that end::

        p(w | h) = (max(count(h w) - D, 0) + D * kinds(h) * p(w | h')) / count(h)

    kinds(h) is the number of distinct characters that follow h. Below the highest order, count(h w) is the number of
    distinct characters that precede h w, not of its occurrences. Kneser and Ney, "Improved backing-off for
    m-gram language modeling", 1995; D as in Ney, Essen and Kneser, "On structuring probabilistic dependences in
    stochastic language modelling", 1994.

    Args:
        train_ids: the text whose n-grams are counted.
        val_ids: the text to predict, from its second character on.
        vocab_size: V; V to the power of `order` must be below 2^63.
        order: the longest n-gram.
    """
    order = max(min(order, len(train_ids)), 1)
    tables = [_count_ngrams(train_ids, order, vocab_size)]
    for n in range(order - 1, 0, -1):
        tables.append(np.unique(tables[-1][0] % vocab_size**n, return_counts=True))
    total = 0.0
    for start in range(1, len(val_ids), _CHUNK):  # each chunk begins with the history of its first prediction
        first = max(start - order + 1, 0)
        total += _sum_losses(tables, val_ids[first : start + _CHUNK], start - first, vocab_size)
    return total / (len(val_ids) - 1)


def _sum_losses(tables: list[tuple[Int64s, Int64s]], ids: Ids, start: int, V: int) -> float:
    """Return the sum of the losses of a text from index `start` on, given the n-grams, longest first."""
    p = np.full(len(ids), 1 / V)  # of each character of the text
    for n, table in enumerate(reversed(tables), 1):
        p[n - 1 :] = _interpolate(*table, _codes(ids, n, V), V, p[n - 1 :])
    return -float(np.log(p[start:]).sum())


def _count_ngrams(ids: Ids, n: int, V: int) -> tuple[Int64s, Int64s]:
    """Return the distinct n-grams of a text, ascending, and their counts.

    The counts of chunks are merged pairwise: the memory is that of the distinct n-grams, and of a few chunks.
    """
    tables: list[tuple[Int64s, Int64s]] = []
    for start in range(0, len(ids) - n + 1, _CHUNK):
        table = np.unique(_codes(ids[start : start + _CHUNK + n - 1], n, V), return_counts=True)
        while tables and len(tables[-1][0]) <= len(table[0]):
            table = _merge(tables.pop(), table)
        tables.append(table)
    merged = tables.pop()
    while tables:
        merged = _merge(tables.pop(), merged)
    return merged


def _merge(a: tuple[Int64s, Int64s], b: tuple[Int64s, Int64s]) -> tuple[Int64s, Int64s]:
    """Return the sum of two tables of n-grams and counts."""
    grams, counts = np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])
    order = np.argsort(grams, kind="stable")  # merges two sorted arrays
    grams = grams[order]
    first = np.flatnonzero(np.diff(grams, prepend=-1))
    return grams[first], np.add.reduceat(counts[order], first)


def _codes(ids: Ids, n: int, V: int) -> Int64s:
    """Return the n-grams of a text as numbers whose digits in base V are the ids."""
    codes = np.zeros(max(len(ids) - n + 1, 0), np.int64)
    for k in range(n):
        codes *= V
        codes += ids[k : k + len(codes)]
    return codes


def _interpolate(grams: Int64s, counts: Int64s, wanted: Int64s, V: int, p: Float64s) -> Float64s:
    """Return the probabilities of characters by n-grams, `wanted`, given those by (n - 1)-grams, `p`."""
    once, twice = (np.count_nonzero(counts == k) for k in (1, 2))
    discount = (once + 1) / (once + 2 * twice + 2)
    contexts, starts = np.unique(grams // V, return_index=True)
    kinds = _look_up(wanted // V, contexts, np.diff(starts, append=len(grams)))
    total = _look_up(wanted // V, contexts, np.add.reduceat(counts, starts))
    count = np.maximum(_look_up(wanted, grams, counts) - discount, 0)
    return np.where(total == 0, p, (count + discount * kinds * p) / np.maximum(total, 1))


def _look_up(wanted: Int64s, keys: Int64s, values: Int64s) -> Int64s:
    """Return the values of some keys, or 0 for missing ones; `keys` ascend."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


def _utf8(ids: Ids, vocab: Vocab) -> bytes:
    return vocab.decode(ids, "\n").encode("utf-8", "surrogatepass")


def _xz_loss(train: bytes, val: bytes, chars: int) -> float:
    growth = _xz_size(train + val) - _xz_size(train)
    return growth * 8 * math.log(2) / chars


def _xz_size(data: bytes) -> int:
    """Return the size of `xz -9` output, with a dictionary no larger than the data, which saves memory."""
    size = max(len(data), _XZ_MIN_DICTIONARY)
    return len(lzma.compress(data, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": size}]))
