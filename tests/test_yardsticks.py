"""Yardsticks and copies, against twins that are slow and plain."""

import lzma
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import corpus_from_text
from charlstm.copying import longest_copy, share_copied
from charlstm.yardsticks import ngram_loss, yardsticks

TRAIN = "the cat sat on the mat, the rat sat on the cat; that is that. " * 3
VAL = "that cat is on the rat, and that is that"
CORPUS = corpus_from_text(TRAIN + VAL)
TRAIN_IDS, VAL_IDS = CORPUS.vocab.encode(TRAIN), CORPUS.vocab.encode(VAL)


def kneser_ney(train, V, order):
    """The probability of the last of some ids after the others, from the definition, with dictionaries."""
    counts = {order: Counter(tuple(train[k : k + order]) for k in range(len(train) - order + 1))}
    for n in range(order - 1, 0, -1):
        before = defaultdict(set)
        for gram in counts[n + 1]:
            before[gram[1:]].add(gram[0])
        counts[n] = Counter({gram: len(kinds) for gram, kinds in before.items()})
    discounts = {}
    for n, table in counts.items():
        once, twice = (sum(count == k for count in table.values()) for k in (1, 2))
        discounts[n] = (once + 1) / (once + 2 * twice + 2)

    def probability(gram):
        if not gram:
            return 1 / V
        n, shorter = len(gram), probability(gram[1:])
        after = {g: count for g, count in counts[n].items() if g[:-1] == gram[:-1]}
        if not after:
            return shorter
        left = max(counts[n][gram] - discounts[n], 0)
        return (left + discounts[n] * len(after) * shorter) / sum(after.values())

    return probability


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_the_ngram_loss_is_that_of_the_definition(order):
    V = len(CORPUS.vocab)
    probability = kneser_ney(TRAIN_IDS.tolist(), V, order)
    val = VAL_IDS.tolist()
    losses = [-math.log(probability(tuple(val[max(k - order + 1, 0) : k + 1]))) for k in range(1, len(val))]
    assert ngram_loss(TRAIN_IDS, VAL_IDS, V, order) == pytest.approx(np.mean(losses), rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_probabilities_of_an_ngram_model_sum_to_one(order):
    V = len(CORPUS.vocab)
    for context in ("that is ", "ttt, "):
        before = CORPUS.vocab.encode(context)
        total = 0.0
        for w in range(V):
            text = np.append(before, w).astype(np.uint8)
            loss = ngram_loss(TRAIN_IDS, text, V, order) * (len(text) - 1)
            total += math.exp(ngram_loss(TRAIN_IDS, before, V, order) * (len(before) - 1) - loss)
        assert total == pytest.approx(1)


def test_all_yardsticks_are_there_and_more_knowledge_is_better():
    losses = yardsticks(TRAIN_IDS, np.tile(VAL_IDS, 1 + 500 // len(VAL_IDS)), CORPUS.vocab)
    assert list(losses) == ["uniform", "frequencies", "6-gram", "xz -9"]
    assert losses["uniform"] == pytest.approx(math.log(len(CORPUS.vocab)))
    assert losses["uniform"] > losses["frequencies"] > losses["6-gram"] > 0


def test_letter_frequencies_are_the_entropy_of_a_text_that_has_them():
    ids = np.array([0, 1, 1, 1] * 5000, np.uint8)
    losses = yardsticks(ids, ids, corpus_from_text("ab").vocab)
    assert losses["frequencies"] == pytest.approx(-(math.log(0.25) + 3 * math.log(0.75)) / 4, abs=1e-3)


def test_the_small_dictionary_of_xz_costs_no_byte():
    text = (TRAIN + VAL).encode() * 50
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
    usual = len(lzma.compress(text, filters=filters)) - len(lzma.compress(text[:5000], filters=filters))
    ids = CORPUS.vocab.encode((TRAIN + VAL) * 50)
    loss = yardsticks(ids[:5000], ids[5000:], CORPUS.vocab)["xz -9"]
    assert loss * len(ids[5000:]) / math.log(2) / 8 == pytest.approx(usual)


def test_a_large_vocabulary_gets_the_order_that_can_be_counted():
    wide = corpus_from_text("".join(map(chr, range(0x4E00, 0x4E00 + 5000))) * 2)
    assert "5-gram" in yardsticks(wide.ids, wide.ids[:100], wide.vocab)


@given(train=st.text("abc", min_size=1, max_size=40), val=st.text("abcd", min_size=2, max_size=20))
def test_every_text_has_finite_yardsticks(train, val):
    vocab = corpus_from_text("abcd").vocab
    losses = yardsticks(vocab.encode(train), vocab.encode(val), vocab)
    assert all(math.isfinite(loss) for loss in losses.values())
    assert "xz -9" not in losses  # compressed sizes come in steps of four bytes, which is too coarse for so little


def test_what_would_take_long_is_left_out_whichever_text_is_long(monkeypatch):
    monkeypatch.setattr("charlstm.yardsticks._MOST_NGRAM_CHARS", 10_000)
    monkeypatch.setattr("charlstm.yardsticks._MOST_XZ_CHARS", 5_000)
    vocab = corpus_from_text("ab").vocab
    short, long = vocab.encode("ab" * 1000), vocab.encode("ba" * 6000)
    assert yardsticks(short, short, vocab).keys() == {"uniform", "frequencies", "6-gram", "xz -9"}
    assert yardsticks(long, short, vocab).keys() == yardsticks(short, long, vocab).keys() == {"uniform", "frequencies"}


# ---- copies

letters = st.text("ab", max_size=60)


@given(sample=letters, text=letters)
@settings(max_examples=200)
def test_the_longest_copy_is_the_one_that_a_search_finds(sample, text):
    vocab = corpus_from_text("ab").vocab
    at, length = longest_copy(vocab.encode(sample), vocab.encode(text))
    assert sample[at : at + length] in text
    assert not any(sample[k : k + length + 1] in text for k in range(len(sample) - length))


@given(sample=letters, text=letters, length=st.integers(1, 9))
@settings(max_examples=200)
def test_the_share_that_is_copied_is_the_one_that_a_search_finds(sample, text, length):
    vocab = corpus_from_text("ab").vocab
    runs = [sample[k : k + length] for k in range(len(sample) - length + 1)]
    expected = sum(run in text for run in runs) / len(runs) if runs else 0
    assert share_copied(vocab.encode(sample), vocab.encode(text), length) == pytest.approx(expected)


def test_copies_are_found_where_a_long_text_is_cut_for_the_search(monkeypatch):
    monkeypatch.setattr("charlstm.copying._CHUNK", 100)
    rng = np.random.default_rng(1)
    text, sample = (rng.integers(0, 60, n).astype(np.uint16) for n in (1000, 80))
    for at in (0, 60, 99, 100, 935):
        sample[7:72] = text[at : at + 65]
        found, length = longest_copy(sample, text)
        assert (found, length) == (7, 65) or length > 65
        assert share_copied(sample, text) >= 46 / 61
