"""The stepper reads one character at a time and agrees with the network."""

import numpy as np
import pytest
from network_helpers import perturb, random_window

from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import init_network
from charlstm.network.dispatch import make_stepper
from charlstm.text.batches import Window


@pytest.mark.parametrize("num_layers", [1, 3])
def test_step_equals_a_window_of_one_character(num_layers, rng):
    network = perturb(init_network(ModelConfig(hidden_size=6, num_layers=num_layers), 9, rng, np.float64), rng)
    window, state = random_window(network, rng)
    logits, after = make_stepper(network, 3).step(window.x[0], state)
    loss, expected = network.loss(Window(window.x[:1], window.y[:1]), state)
    np.testing.assert_allclose(after.h, expected.h, rtol=1e-12)
    np.testing.assert_allclose(after.c, expected.c, rtol=1e-12)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(-log_p[np.arange(3), window.y[0]].mean(), loss, rtol=1e-12)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_step_of_one_stream_does_not_depend_on_the_others(num_layers, rng):
    network = perturb(init_network(ModelConfig(hidden_size=6, num_layers=num_layers), 9, rng, np.float64), rng)
    window, state = random_window(network, rng)
    logits, after = make_stepper(network, 3).step(window.x[0], state)
    for stream in range(3):
        only = slice(stream, stream + 1)
        one_logits, one_after = make_stepper(network).step(window.x[0, only], state.streams(only))
        np.testing.assert_allclose(one_logits, logits[only], rtol=1e-12)
        np.testing.assert_allclose(one_after, after.streams(only), rtol=1e-12)


def test_step_does_not_modify_the_state(rng):
    network = init_network(ModelConfig(hidden_size=6, num_layers=2), 9, rng)
    state = network.zero_state(3)
    make_stepper(network, 3).step(random_window(network, rng)[0].x[0], state)
    assert not state.h.any()
    assert not state.c.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_later_changes_of_the_weights_have_no_effect(dtype, rng):
    network = init_network(ModelConfig(hidden_size=6, num_layers=2), 9, rng, dtype)
    state, ids = network.zero_state(2), np.array([1, 2])
    stepper = make_stepper(network, 2)
    before = stepper.step(ids, state)[0].copy()
    for param in network.params.values():
        param += 1
    np.testing.assert_array_equal(stepper.step(ids, state)[0], before)
