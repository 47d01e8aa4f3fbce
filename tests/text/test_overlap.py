"""Overlap of two texts, and the characters that would complete a copy, against simple searches."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import corpus_from_text
from charlstm.text.overlap import NgramIndex, SubstringHashes, find_longest_overlap, measure_overlap

PIECE = 1 << 20  # characters of the text that are searched at a time
VOCAB = corpus_from_text("ab").vocab

ab_texts = st.text("ab", max_size=60)


@given(sample=ab_texts, text=ab_texts)
@settings(max_examples=200)
def test_longest_overlap_is_the_longest_substring_found_by_a_simple_search(sample, text):
    start, length = find_longest_overlap(VOCAB.encode(sample), VOCAB.encode(text))
    assert sample[start : start + length] in text
    assert not any(sample[k : k + length + 1] in text for k in range(len(sample) - length))


@given(sample=ab_texts, text=ab_texts, n=st.integers(1, 9))
@settings(max_examples=200)
def test_overlap_is_the_fraction_of_ngrams_found_by_a_simple_search(sample, text, n):
    ngrams = [sample[k : k + n] for k in range(len(sample) - n + 1)]
    ngrams = [ngram for ngram in ngrams if n == 1 or len(set(ngram)) > 1]
    expected = sum(ngram in text for ngram in ngrams) / len(ngrams) if ngrams else 0
    assert measure_overlap(VOCAB.encode(sample), VOCAB.encode(text), n) == pytest.approx(expected)


def test_overlap_counts_substrings_of_20_characters_by_default():
    sample, text = "ab" * 10 + "b" * 10, "ab" * 10
    assert measure_overlap(VOCAB.encode(sample), VOCAB.encode(text)) == pytest.approx(1 / 11)


def test_blank_sample_has_no_overlap():
    blank = VOCAB.encode("a" * 100)
    assert measure_overlap(blank, blank) == 0


def test_text_has_no_overlap_with_an_unrelated_one(rng):
    sample, text = (rng.integers(0, 50, 100_000).astype(np.uint8) for _ in range(2))
    assert measure_overlap(sample, text, 12) == 0


@pytest.fixture(scope="module")
def long_text() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 60_000, PIECE + 500).astype(np.uint16)


@pytest.mark.parametrize("at", [PIECE - 30, PIECE - 1, PIECE])
def test_longest_overlap_is_found_where_the_search_divides_a_long_text(at, long_text, rng):
    sample = rng.integers(0, 60_000, 80).astype(np.uint16)
    sample[7:72] = long_text[at : at + 65]
    assert find_longest_overlap(sample, long_text) == (7, 65)


def test_overlap_is_found_where_the_search_divides_a_long_text(long_text, rng):
    starts = [0, PIECE - 65, PIECE - 30, PIECE - 1, PIECE, PIECE + 435]
    sample = rng.integers(0, 60_000, (len(starts), 80)).astype(np.uint16)
    for row, start in zip(sample, starts, strict=True):
        row[7:72] = long_text[start : start + 65]
    assert measure_overlap(sample.ravel(), long_text) == pytest.approx(6 * 46 / (6 * 80 - 19))


# ---- hashes


@given(ids=st.lists(st.integers(0, 70_000), max_size=30), length=st.integers(0, 32))
def test_substring_hashes_are_polynomials_of_the_ids(ids, length):
    inverse = pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    expected = [
        sum((ids[start + k] + 1) * pow(inverse, k + 1, 1 << 64) for k in range(length)) % (1 << 64)
        for start in range(len(ids) - length + 1)
    ]
    assert SubstringHashes(np.array(ids, np.uint32)).of_length(length).tolist() == expected


@given(ids=st.lists(st.integers(0, 300), min_size=9, max_size=30), length=st.integers(1, 5))
def test_hashes_of_some_substrings_are_among_those_of_all(ids, length):
    hashes, starts = SubstringHashes(np.array(ids, np.uint16)), np.array([4, 0, 2])
    assert hashes.of_length(length, starts).tolist() == hashes.of_length(length)[starts].tolist()


# ---- n-gram index


def naive_followers(text, context):
    """Return the distinct ids that follow a context somewhere in a text."""
    n = len(context) + 1
    return {text[k + n - 1] for k in range(len(text) - n + 1) if text[k : k + n - 1] == context}


def assert_followers(text: list[int], n: int, contexts: list[list[int]]) -> None:
    index = NgramIndex(np.array(text, np.uint16), n)
    found = index.followers(np.array(contexts, np.intp).reshape(len(contexts), n - 1))
    assert [sorted(followers.tolist()) for followers in found] == [
        sorted(naive_followers(text, context)) for context in contexts
    ]


@given(data=st.data(), text=st.lists(st.integers(0, 2), max_size=80), n=st.integers(1, 9))
@settings(max_examples=200)
def test_followers_of_any_contexts_are_those_found_by_a_simple_search(data, text, n):
    context = st.lists(st.integers(0, 2), min_size=n - 1, max_size=n - 1)
    assert_followers(text, n, data.draw(st.lists(context, max_size=5)))


@given(text=st.lists(st.integers(0, 3), min_size=1, max_size=80), n=st.integers(1, 9))
@settings(max_examples=200)
def test_followers_of_every_context_of_the_text_are_those_found_by_a_simple_search(text, n):
    contexts = [text[k : k + n - 1] for k in range(len(text) - n + 2)]
    assert_followers(text, n, contexts)


@given(text=st.lists(st.integers(0, 70_000), max_size=6), n=st.integers(1, 9), context=st.integers(0, 2))
def test_nothing_follows_in_a_text_shorter_than_n(text, n, context):
    text = text[: n - 1]
    (followers,) = NgramIndex(np.array(text, np.uint32), n).followers(np.full((1, n - 1), context))
    assert followers.tolist() == []


@given(text=st.lists(st.integers(0, 9), max_size=40))
def test_every_character_of_the_text_follows_the_empty_context(text):
    (followers,) = NgramIndex(np.array(text, np.uint8), 1).followers(np.zeros((1, 0), np.intp))
    assert followers.tolist() == sorted(set(text))


def test_text_of_length_n_has_one_follower():
    index = NgramIndex(np.array([3, 1, 2], np.uint8), 3)
    assert [each.tolist() for each in index.followers(np.array([[3, 1], [1, 2]]))] == [[2], []]


def test_no_contexts_have_no_followers():
    assert NgramIndex(np.array([3, 1, 2], np.uint8), 3).followers(np.zeros((0, 2), np.intp)) == []


def test_followers_have_the_type_of_the_text():
    (followers,) = NgramIndex(np.array([3, 1, 2], np.uint8), 3).followers(np.array([[3, 1]]))
    assert followers.dtype == np.uint8


def test_index_is_exact_in_a_long_text(rng):
    """Where each context has one follower, no context has the follower of another one."""
    text = rng.integers(0, 50, 100_000).astype(np.uint8)
    index = NgramIndex(text, 12)
    present = np.lib.stride_tricks.sliding_window_view(text, 11)[:-1]
    assert [each.tolist() for each in index.followers(present)] == [[id] for id in text[11:].tolist()]
    absent = rng.integers(0, 50, (100_000, 11))
    assert not any(len(each) for each in index.followers(absent))


def test_index_takes_about_nine_bytes_per_character(rng):
    text = rng.integers(0, 50, 200_000).astype(np.uint8)
    tracemalloc.start()
    index = NgramIndex(text, 20)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert index.n == 20
    assert size < 9.1 * len(text)
