"""The loss of a text: the definition with one stream, the same within 1e-3 with many."""

import numpy as np
import pytest

from charlstm.network.char_lstm import CharLSTM, State
from charlstm.network.evaluation import char_losses, evaluate
from charlstm.text.batches import Window


def loss_in_one_window(network, ids):
    return network.loss(Window(ids[:-1, None], ids[1:, None]), network.zero_state(1))[0]


def test_many_streams_agree_with_one_to_within_a_thousandth(trained, corpus):
    exact = evaluate(trained.model.network, corpus.ids)
    for streams in (2, 5, 7):
        assert evaluate(trained.model.network, corpus.ids, streams) == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("length", [2, 3, 64, 65, 66, 129, 300])
def test_one_stream_equals_one_window_over_the_whole_text(length, trained, corpus):
    ids = corpus.ids[:length].astype(np.intp)
    network = trained.model.network
    assert evaluate(network, ids) == pytest.approx(loss_in_one_window(network, ids), rel=1e-5)


def test_streams_read_every_character_once_after_their_warm_up(trained, corpus, monkeypatch):
    read = []
    network = trained.model.network
    real = network.loss

    def record(window, state):
        read.append(window.y.size)
        return real(window, state)

    monkeypatch.setattr(network, "loss", record)
    evaluate(network, corpus.ids[:5000], 3)
    warm_up = 3 * 128
    assert sum(read) == 4999 + warm_up


@pytest.mark.parametrize("streams", [1, 3])
def test_mean_of_char_losses_is_the_loss_of_the_text(streams, trained, corpus):
    network, ids = trained.model.network, corpus.ids[:2000]
    losses = char_losses(network, ids, streams)
    assert losses.shape == (1999,)
    assert losses.mean(dtype=np.float64) == pytest.approx(evaluate(network, ids, streams), rel=1e-5)


class Recorder(CharLSTM):
    """Stands in for a network: it records the windows it reads."""

    def __init__(self):
        self.read_windows = []

    def zero_state(self, batch_size):
        return State(np.zeros((1, batch_size, 1)), np.zeros((1, batch_size, 1)))

    def loss(self, window, state, chars=None):
        self.read_windows.append(window.y)
        return float(window.y.mean()), state


def test_sample_of_a_text_is_spread_evenly_over_it():
    recorder = Recorder()
    loss = evaluate(recorder, np.arange(1001, dtype=np.uint16), streams=4, length=30)
    warm_up, read = recorder.read_windows
    assert read.T.tolist() == [list(range(start + 1, start + 31)) for start in (0, 250, 500, 750)]
    assert warm_up[:, 1:].T.tolist() == [list(range(start - 29, start + 1)) for start in (250, 500, 750)]
    assert loss == read.mean()


def test_sample_as_long_as_the_text_is_the_whole_text():
    recorder = Recorder()
    evaluate(recorder, np.arange(1003, dtype=np.uint16), streams=4, length=500)
    _, *read = recorder.read_windows
    assert sorted(np.concatenate([window.ravel() for window in read])) == list(range(1, 1003))
