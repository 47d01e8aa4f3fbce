"""Windows of a corpus that counts: each id is its position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm.errors import CharlstmError
from charlstm.text.batches import Batches, fit_batches


def counting(length: int) -> np.ndarray:
    return np.arange(length, dtype=np.uint8)


def test_y_is_one_character_after_x():
    batches = Batches(counting(1 + 3 * 20), batch_size=3, seq_len=6)
    for step in range(2 * batches.windows_per_epoch):
        x, y = batches.window(step)
        assert x.shape == y.shape
        assert np.array_equal(y, x + 1)


def test_each_stream_continues_where_the_previous_window_ended():
    batches = Batches(counting(1 + 3 * 20), batch_size=3, seq_len=6)
    assert batches.windows_per_epoch == 4
    expected = np.array([0, 20, 40])
    for step in range(2 * batches.windows_per_epoch):
        x, _ = batches.window(step)
        assert np.array_equal(x[0], expected if step % 4 else [0, 20, 40])
        expected = x[-1] + 1


def test_each_epoch_has_the_same_windows():
    batches = Batches(counting(1 + 3 * 20), batch_size=3, seq_len=6)
    for step in range(batches.windows_per_epoch):
        assert np.array_equal(batches.window(step), batches.window(step + 5 * batches.windows_per_epoch))


def test_window_of_some_streams_has_their_columns():
    window = Batches(counting(1 + 3 * 20), batch_size=3, seq_len=6).window(1)
    x, y = window.streams(slice(1, 3))
    assert np.array_equal(x, window.x[:, 1:])
    assert np.array_equal(y, window.y[:, 1:])


def test_last_window_of_an_epoch_is_shorter():
    batches = Batches(counting(1 + 3 * 20), batch_size=3, seq_len=6)
    assert [len(batches.window(step).x) for step in range(8)] == [6, 6, 6, 2] * 2


def test_characters_are_counted_over_all_streams_and_epochs():
    batches = Batches(counting(1 + 3 * 20), batch_size=3, seq_len=6)
    assert [batches.chars_after(step) for step in range(6)] == [0, 18, 36, 54, 60, 78]


@given(length=st.integers(2, 3000), batch_size=st.integers(1, 70), seq_len=st.integers(1, 70))
def test_at_most_one_character_per_other_stream_is_never_trained_on(length, batch_size, seq_len):
    batches = fit_batches(np.arange(length, dtype=np.uint16), batch_size, seq_len)
    trained_on = np.concatenate([batches.window(step).y.ravel() for step in range(batches.windows_per_epoch)])
    assert len(np.unique(trained_on)) == len(trained_on) == batches.chars_per_epoch
    assert len(trained_on) >= length - 1 - (batches.batch_size - 1)


def test_shortest_text_for_a_full_window_is_one_character_longer_than_it():
    batches = fit_batches(np.zeros(4 * 5 + 1, np.uint8), 4, 5)
    assert (batches.batch_size, batches.seq_len, batches.windows_per_epoch) == (4, 5, 1)


@pytest.mark.parametrize(
    ("length", "size"), [(21, (4, 5)), (20, (2, 5)), (11, (2, 5)), (10, (1, 5)), (6, (1, 5)), (5, (1, 4)), (2, (1, 1))]
)
def test_short_text_gets_smaller_batches(length, size):
    batches = fit_batches(counting(length), 4, 5)
    assert (batches.batch_size, batches.seq_len) == size
    x, y = batches.window(0)
    assert np.array_equal(y, x + 1)


@given(length=st.integers(2, 5000), batch_size=st.integers(1, 70), seq_len=st.integers(1, 70))
def test_fitting_never_enlarges_batches_and_keeps_the_number_of_windows(length, batch_size, seq_len):
    batches = fit_batches(np.zeros(length, np.uint8), batch_size, seq_len)
    assert 1 <= batches.batch_size <= batch_size
    assert 1 <= batches.seq_len <= seq_len
    assert batches.windows_per_epoch == -(-((length - 1) // batches.batch_size) // seq_len)


@pytest.mark.parametrize("length", [0, 1])
def test_fewer_than_two_characters_are_refused(length):
    with pytest.raises(CharlstmError, match=f"^need at least 2 training characters, got {length}$"):
        fit_batches(np.zeros(length, np.uint8), 4, 5)
