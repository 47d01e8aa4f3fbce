"""Losses of simple models, against slow and simple reference implementations."""

import lzma
import math
import tracemalloc
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import corpus_from_text
from charlstm.text.baselines import baseline_losses, ngram_loss

TRAIN = "the cat sat on the mat, the rat sat on the cat; that is that. " * 3
VAL = "that cat is on the rat, and that is that"
CORPUS = corpus_from_text(TRAIN + VAL)
TRAIN_IDS, VAL_IDS = CORPUS.vocab.encode(TRAIN), CORPUS.vocab.encode(VAL)


def kneser_ney(train, V, order):
    """Return a function from an n-gram of ids to the probability of its last id: the definition, with dictionaries."""
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
def test_ngram_loss_matches_its_definition(order):
    V = len(CORPUS.vocab)
    probability = kneser_ney(TRAIN_IDS.tolist(), V, order)
    val = VAL_IDS.tolist()
    losses = [-math.log(probability(tuple(val[max(k - order + 1, 0) : k + 1]))) for k in range(1, len(val))]
    assert ngram_loss(TRAIN_IDS, VAL_IDS, V, order) == pytest.approx(np.mean(losses), rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("context", ["that is ", "ttt, "])
def test_ngram_probabilities_sum_to_one(order, context):
    V = len(CORPUS.vocab)
    before = CORPUS.vocab.encode(context)
    total = 0.0
    for w in range(V):
        text = np.append(before, w).astype(np.uint8)
        loss = ngram_loss(TRAIN_IDS, text, V, order) * (len(text) - 1)
        total += math.exp(ngram_loss(TRAIN_IDS, before, V, order) * (len(before) - 1) - loss)
    assert total == pytest.approx(1)


def test_baselines_with_more_knowledge_predict_better():
    losses = baseline_losses(TRAIN_IDS, np.tile(VAL_IDS, 1 + 500 // len(VAL_IDS)), CORPUS.vocab)
    assert list(losses) == ["uniform", "frequencies", "6-gram", "xz -9"]
    assert losses["uniform"] > losses["frequencies"] > losses["6-gram"] > 0


def test_uniform_loss_is_the_logarithm_of_the_vocabulary_size():
    losses = baseline_losses(TRAIN_IDS, VAL_IDS, CORPUS.vocab)
    assert losses["uniform"] == pytest.approx(math.log(len(CORPUS.vocab)))


def test_frequencies_loss_is_the_entropy_of_a_text_with_the_same_frequencies():
    ids = np.array([0, 1, 1, 1] * 5000, np.uint8)
    losses = baseline_losses(ids, ids, corpus_from_text("ab").vocab)
    assert losses["frequencies"] == pytest.approx(-(math.log(0.25) + 3 * math.log(0.75)) / 4, abs=1e-3)


def test_xz_loss_is_the_growth_of_ordinary_xz_output():
    text = (TRAIN + VAL).encode() * 50
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
    growth = len(lzma.compress(text, filters=filters)) - len(lzma.compress(text[:5000], filters=filters))
    ids = CORPUS.vocab.encode((TRAIN + VAL) * 50)
    loss = baseline_losses(ids[:5000], ids[5000:], CORPUS.vocab)["xz -9"]
    assert loss * len(ids[5000:]) / math.log(2) / 8 == pytest.approx(growth)


def test_large_vocabulary_lowers_the_order_of_the_ngrams():
    wide = corpus_from_text("".join(map(chr, range(0x4E00, 0x4E00 + 5000))) * 2)
    assert "5-gram" in baseline_losses(wide.ids, wide.ids[:100], wide.vocab)


@given(train=st.text("abc", min_size=1, max_size=40), val=st.text("abcd", min_size=2, max_size=20))
def test_every_baseline_is_finite(train, val):
    vocab = corpus_from_text("abcd").vocab
    losses = baseline_losses(vocab.encode(train), vocab.encode(val), vocab)
    assert all(math.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize(("chars", "present"), [(499, False), (500, True)])
def test_xz_needs_500_characters_to_predict(chars, present):
    ids = np.zeros(chars, np.uint8)
    assert ("xz -9" in baseline_losses(ids, ids, corpus_from_text("ab").vocab)) is present


@pytest.mark.parametrize(("train_chars", "val_chars"), [(1_999_500, 501), (501, 1_999_500)])
def test_xz_is_left_out_above_a_tenth_of_the_limit(train_chars, val_chars):
    train_ids, val_ids = np.zeros(train_chars, np.uint8), np.zeros(val_chars, np.uint8)
    losses = baseline_losses(train_ids, val_ids, corpus_from_text("ab").vocab)
    assert list(losses) == ["uniform", "frequencies", "6-gram"]


def test_baselines_are_trained_on_the_end_of_a_long_text():
    ids = np.append(np.zeros(5000, np.uint8), TRAIN_IDS)
    assert baseline_losses(ids, VAL_IDS, CORPUS.vocab, len(TRAIN_IDS)) == baseline_losses(
        TRAIN_IDS, VAL_IDS, CORPUS.vocab, len(TRAIN_IDS)
    )


@pytest.mark.slow
def test_loss_of_a_text_counted_in_pieces_matches_its_definition():
    rng = np.random.default_rng(0)
    train, val = (rng.integers(0, 3, (1 << 20) + extra, np.uint8) ** 2 for extra in (4321, 1234))
    probability = kneser_ney(train.tolist(), 5, 2)
    pairs, counts = np.unique(np.stack([val[:-1], val[1:]]), axis=1, return_counts=True)
    losses = [-math.log(probability(tuple(pair))) for pair in pairs.T.tolist()]
    assert ngram_loss(train, val, 5, 2) == pytest.approx(np.average(losses, weights=counts), rel=1e-12)
    frequencies = np.log((np.bincount(train, minlength=5) + 1) / (len(train) + 5))
    vocab = corpus_from_text("abcde").vocab
    assert baseline_losses(train, val, vocab)["frequencies"] == pytest.approx(-frequencies[val[1:]].mean(), rel=1e-12)


@pytest.mark.slow
def test_counting_takes_little_memory():
    ids = np.random.default_rng(0).integers(0, 3, 20_000_000, np.uint8)
    tracemalloc.start()
    ngram_loss(ids, ids[:1000], 3, 6)
    baseline_losses(ids, ids[:1000], corpus_from_text("abc").vocab)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(ids)
