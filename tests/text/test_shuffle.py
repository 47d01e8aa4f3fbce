"""Documents in an order shuffled for each epoch: every one, whole, in windows that follow from the step."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import corpus_from_text
from charlstm.text.batches import Batches, fit_batches
from charlstm.text.shuffle import ShuffledDocuments, permute

KEYS = np.random.SeedSequence(5).generate_state(6, np.uint64).astype(np.uint64)


def make_batches(lengths, batch_size, seq_len, seed=1) -> Batches:
    """Return batches of documents of these lengths, each of its own character."""
    text = "\n".join(chr(0x100 + n) * length for n, length in enumerate(lengths))
    corpus = corpus_from_text(text, "line")
    assert corpus.starts is not None
    return fit_batches(corpus.ids, batch_size, seq_len, ShuffledDocuments(corpus.ids, corpus.starts, seed))


def read_epoch(batches: Batches, epoch: int) -> list[list[int]]:
    """Return what each stream reads in an epoch, its first id included."""
    first = epoch * batches.windows_per_epoch
    windows = [batches.window(first + n) for n in range(batches.windows_per_epoch)]
    for window in windows:
        assert np.array_equal(window.x[1:], window.y[:-1])
    for before, after in itertools.pairwise(windows):
        assert np.array_equal(before.y[-1], after.x[0])
    streams = np.concatenate([windows[0].x[:1], *(window.y for window in windows)])
    ids: list[list[int]] = streams.T.tolist()
    return ids


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_permutation_takes_each_number_to_another(size):
    assert sorted(permute(np.arange(size), size, KEYS).tolist()) == list(range(size))


def test_permutation_leaves_hardly_any_neighbours_together():
    order = permute(np.arange(10_000), 10_000, KEYS)
    assert np.count_nonzero(np.abs(np.diff(order)) == 1) < 20
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 9))
def test_each_epoch_predicts_every_character_and_boundary_once(lengths, batch_size, seq_len):
    batches = make_batches(lengths, batch_size, seq_len)
    B, boundary = batches.batch_size, len(lengths)
    for epoch in range(2):
        streams = read_epoch(batches, epoch)
        assert streams[0][0] == boundary
        for before, after in itertools.pairwise(streams):
            assert before[-1] == after[0]  # predicted by one stream, read by the next
        whole = [id for stream in streams for id in stream[1:]]
        counts = Counter(whole)
        missing = sum(lengths) + len(lengths) - len(whole)
        assert 0 <= missing < B
        assert len(whole) == batches.chars_per_epoch
        assert all(counts[n] <= length for n, length in enumerate(lengths))
        runs = "".join(chr(0x100 + id) for id in whole).split(chr(0x100 + boundary))
        assert all(len(set(run)) <= 1 for run in runs)  # whole documents, one after another
        assert sum(bool(run) for run in runs) >= len(lengths) - missing


def test_order_differs_between_epochs_and_seeds_and_is_otherwise_the_same():
    lengths = [3] * 50
    first, second = (read_epoch(make_batches(lengths, 2, 7), epoch) for epoch in (0, 1))
    assert first == read_epoch(make_batches(lengths, 2, 7), 0)
    assert first != second
    assert first != read_epoch(make_batches(lengths, 2, 7, seed=2), 0)


def test_window_follows_from_the_step_alone(monkeypatch):
    monkeypatch.setattr("charlstm.text.shuffle._BLOCK", 4)
    monkeypatch.setattr("charlstm.text.shuffle._SUMMED", 12)
    lengths = np.random.default_rng(2).integers(1, 40, 100).tolist()
    in_order, jumping = make_batches(lengths, 3, 8), make_batches(lengths, 3, 8)
    steps = np.random.default_rng(3).permutation(2 * in_order.windows_per_epoch)
    windows = [in_order.window(step) for step in range(2 * in_order.windows_per_epoch)]
    monkeypatch.undo()
    for step in steps:
        assert np.array_equal(jumping.window(step), windows[step])
        assert np.array_equal(make_batches(lengths, 3, 8).window(step), windows[step])
