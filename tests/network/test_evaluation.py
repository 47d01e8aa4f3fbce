"""The loss of a text: the definition with one stream, the same within 1e-3 with many."""

from functools import partial

import numpy as np
import pytest

from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import CharLSTM, State, init_network
from charlstm.network.evaluation import adaptive_losses, char_losses, evaluate
from charlstm.network.kernels import is_compiled
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


@pytest.mark.parametrize("streams", [1, 3])
def test_progress_ends_at_the_last_character(streams, trained, corpus):
    for read in (partial(char_losses, streams=streams), adaptive_losses):
        counts: list[int] = []
        read(trained.model.network, corpus.ids[:2000], progress=counts.append)
        assert counts == sorted(counts)
        assert (counts[0] > 0, counts[-1]) == (True, 1999)


# ---- weights that follow the text


def test_first_window_is_read_with_the_weights_of_the_model(trained, corpus):
    ids = corpus.ids[:500]
    fixed, adapted = char_losses(trained.model.network, ids), adaptive_losses(trained.model.network, ids)
    assert adapted.shape == fixed.shape
    np.testing.assert_array_equal(adapted[:32], fixed[:32])
    assert not np.array_equal(adapted[32:64], fixed[32:64])


@pytest.mark.parametrize("changed", [1, 40, 200])
def test_later_characters_change_no_loss(changed, trained, corpus):
    ids = corpus.ids[:500]
    other = ids.copy()
    other[-changed:] = (other[-changed:] + 1) % len(corpus.vocab)
    losses, others = (adaptive_losses(trained.model.network, each) for each in (ids, other))
    unchanged = len(ids) - 1 - changed
    np.testing.assert_array_equal(losses[:unchanged], others[:unchanged])
    assert not np.array_equal(losses[unchanged:], others[unchanged:])


def test_weights_that_follow_a_text_learn_what_the_model_does_not_know(trained, corpus):
    """A text of the same characters in reverse."""
    ids = corpus.ids[:4000][::-1].copy()
    fixed = char_losses(trained.model.network, ids)
    adapted = adaptive_losses(trained.model.network, ids, learning_rate=1.0)
    assert adapted.mean() < 0.8 * fixed.mean()
    assert adapted[-1000:].mean() < adapted[:1000].mean()


def test_network_keeps_its_weights(trained, corpus):
    before = {name: param.copy() for name, param in trained.model.network.params.items()}
    adaptive_losses(trained.model.network, corpus.ids[:500])
    assert all(np.array_equal(before[name], param) for name, param in trained.model.network.params.items())


def test_both_kernels_follow_the_text_alike(rng):
    network = init_network(ModelConfig(hidden_size=32), 10, rng)
    ids = rng.integers(0, 10, 300).astype(np.uint8)
    plain = adaptive_losses(network, ids)
    network = network.copy()
    network.kernel = "numba"
    assert is_compiled("numba", 32, np.float32)
    np.testing.assert_allclose(adaptive_losses(network, ids), plain, rtol=1e-4)


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
