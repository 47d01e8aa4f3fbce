"""What simple ways of predicting a text reach: something to hold a loss against."""

import lzma
import math

import numpy as np
import numpy.typing as npt

from charlstm.vocab import Ids, Vocab

ORDER = 6  # characters of the longest n-gram, at most
_MOST_CODES = 2**63  # n-grams are counted as int64
_MOST_NGRAM_CHARS = 5_000_000  # beyond these, counting or compressing would take more than a few seconds
_MOST_XZ_CHARS = 2_000_000
_LEAST_XZ_CHARS = 500  # the size of a compressed text comes in steps of four bytes
_XZ_LEAST_DICTIONARY = 4096  # bytes

Codes = npt.NDArray[np.int64]


def yardsticks(train_ids: Ids, val_ids: Ids, vocab: Vocab) -> dict[str, float]:
    """Return the losses of simple models on a text, in nats per character; the first character only starts them.

    What would take more than a few seconds with texts of this length, or says little of so short a one, is left out.

    Args:
        train_ids: what they learn from, at least one character.
        val_ids: what they predict, at least two characters.
        vocab: of both.

    Returns:
        By name: "uniform", all characters are equally likely; "frequencies", each is as likely as it is frequent;
        "6-gram" (or a lower order, for large vocabularies), see `ngram_loss`; "xz -9", how much longer the compressed
        text gets by what is predicted.
    """
    V = len(vocab)
    losses = {"uniform": math.log(V), "frequencies": _frequencies_loss(train_ids, val_ids, V)}
    order = min(ORDER, int(math.log(_MOST_CODES, max(V, 2))))
    chars = len(train_ids) + len(val_ids)
    if chars <= _MOST_NGRAM_CHARS:
        losses[f"{order}-gram"] = ngram_loss(train_ids, val_ids, V, order)
    if chars <= _MOST_XZ_CHARS and len(val_ids) >= _LEAST_XZ_CHARS:
        losses["xz -9"] = _xz_loss(_utf8(train_ids, vocab), _utf8(val_ids, vocab), len(val_ids))
    return losses


def _frequencies_loss(train_ids: Ids, val_ids: Ids, V: int) -> float:
    counts = np.bincount(train_ids, minlength=V) + 1  # so that nothing is impossible
    return math.log(counts.sum()) - float(np.log(counts)[val_ids[1:]].mean())


def ngram_loss(train_ids: Ids, val_ids: Ids, vocab_size: int, order: int) -> float:
    """Return the loss of an n-gram model, in nats per character: Kneser-Ney, interpolated.

    The probability of a character w after n - 1 others, h, is interpolated with that after the last n - 2 of them, h',
    and so on down to 1 / V. From each count a part D is taken for that::

        p(w | h) = (max(count(h w) - D, 0) + D * kinds(h) * p(w | h')) / count(h)

    kinds(h) says how many different characters have followed h. Below the highest order, count(h w) does not say how
    often h w stands in the text, but after how many different characters. Kneser and Ney, "Improved backing-off for
    m-gram language modeling", 1995; D as in Ney, Essen and Kneser, "On structuring probabilistic dependences in
    stochastic language modelling", 1994.

    Args:
        train_ids: what is counted.
        val_ids: what is predicted, from its second character on.
        vocab_size: V; V to the power of `order` must be below 2^63.
        order: the longest n-gram.
    """
    order = max(min(order, len(train_ids)), 1)
    grams, counts = np.unique(_codes(train_ids, order, vocab_size), return_counts=True)
    tables = [(grams, counts)]
    for n in range(order - 1, 0, -1):
        tables.append(np.unique(tables[-1][0] % vocab_size**n, return_counts=True))
    p = np.full(len(val_ids), 1 / vocab_size)  # of each character of the text
    for n, table in enumerate(reversed(tables), 1):
        p[n - 1 :] = _interpolated(*table, _codes(val_ids, n, vocab_size), vocab_size, p[n - 1 :])
    return -float(np.log(p[1:]).mean())


def _codes(ids: Ids, n: int, V: int) -> Codes:
    """Return the n-grams of a text, each as a number whose last digit to the base V is its last id."""
    codes = np.zeros(max(len(ids) - n + 1, 0), np.int64)
    for k in range(n):
        codes *= V
        codes += ids[k : k + len(codes)]
    return codes


def _interpolated(
    grams: Codes, counts: Codes, wanted: Codes, V: int, p: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the probabilities of characters by n-grams, `wanted`, given those by (n - 1)-grams, `p`."""
    once, twice = (np.count_nonzero(counts == k) for k in (1, 2))
    discount = (once + 1) / (once + 2 * twice + 2)
    contexts, starts = np.unique(grams // V, return_index=True)
    kinds = _looked_up(wanted // V, contexts, np.diff(starts, append=len(grams)))
    total = _looked_up(wanted // V, contexts, np.add.reduceat(counts, starts))
    count = np.maximum(_looked_up(wanted, grams, counts) - discount, 0)
    return np.where(total == 0, p, (count + discount * kinds * p) / np.maximum(total, 1))


def _looked_up(wanted: Codes, keys: Codes, values: Codes) -> Codes:
    """Return the values of some keys, 0 for those that are not there; `keys` ascend."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


def _utf8(ids: Ids, vocab: Vocab) -> bytes:
    return vocab.decode(ids).encode("utf-8", "surrogatepass")


def _xz_loss(train: bytes, val: bytes, chars: int) -> float:
    growth = _xz_size(train + val) - _xz_size(train)
    return growth * 8 * math.log(2) / chars


def _xz_size(data: bytes) -> int:
    """Return how long `xz -9` makes some data; with a dictionary no larger than that, which saves memory, not bytes."""
    size = max(len(data), _XZ_LEAST_DICTIONARY)
    return len(lzma.compress(data, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": size}]))
