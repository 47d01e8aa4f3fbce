"""The network computes the loss and state of the equations, drops the right shares, and stays finite."""

import numpy as np
import pytest
import reference
from network_helpers import perturb, random_window

from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import CharLSTM, State, init_network
from charlstm.text.batches import Window


@pytest.mark.parametrize("num_layers", [1, 2])
def test_loss_and_state_match_the_reference(num_layers, rng):
    network = perturb(init_network(ModelConfig(hidden_size=5, num_layers=num_layers), 7, rng, np.float64), rng)
    window, state = random_window(network, rng, T=6, B=2)
    loss, _, after = network.loss_and_grads(window, state)
    expected = []
    for stream in range(2):
        ids = [*window.x[:, stream], window.y[-1, stream]]
        losses, h, c = reference.losses(network.params, num_layers, ids, state.h[:, stream], state.c[:, stream])
        expected.extend(losses)
        np.testing.assert_allclose(after.h[:, stream], h, rtol=1e-12)
        np.testing.assert_allclose(after.c[:, stream], c, rtol=1e-12)
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-12)


def test_char_losses_match_the_reference(rng):
    network = perturb(init_network(ModelConfig(hidden_size=5, num_layers=2), 7, rng, np.float64), rng)
    window, state = random_window(network, rng, T=6, B=2)
    losses, after = network.char_losses(window, state)
    for stream in range(2):
        ids = [*window.x[:, stream], window.y[-1, stream]]
        expected, h, c = reference.losses(network.params, 2, ids, state.h[:, stream], state.c[:, stream])
        np.testing.assert_allclose(losses[:, stream], expected, rtol=1e-12)
        np.testing.assert_allclose(after.h[:, stream], h, rtol=1e-12)
        np.testing.assert_allclose(after.c[:, stream], c, rtol=1e-12)


def test_one_window_equals_windows_of_one_step(rng):
    network = init_network(ModelConfig(hidden_size=6, num_layers=2), 9, rng, np.float64)
    window, state = random_window(network, rng)
    whole, whole_state = network.loss(window, state)
    losses = []
    for x, y in zip(window.x, window.y, strict=True):
        loss, state = network.loss(Window(x[None], y[None]), state)
        losses.append(loss)
    np.testing.assert_allclose(whole, np.mean(losses), rtol=1e-12)
    np.testing.assert_allclose(whole_state.h, state.h, rtol=1e-12)


@pytest.mark.parametrize("small_kernels", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_float32_agrees_with_float64_with_and_without_small_kernels(num_layers, small_kernels, rng, monkeypatch):
    monkeypatch.setattr("charlstm.network.matmul.has_small_kernels", lambda: small_kernels)
    double = init_network(ModelConfig(hidden_size=64, num_layers=num_layers), 50, rng, np.float64)
    single = CharLSTM(double.config, {name: param.astype(np.float32) for name, param in double.params.items()})
    window, state = random_window(double, rng, T=40, B=9)
    expected_loss, expected, _ = double.loss_and_grads(window, state)
    loss, grads, _ = single.loss_and_grads(window, State(*(array.astype(np.float32) for array in state)))
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    for name, grad in expected.items():
        np.testing.assert_allclose(grads[name], grad, rtol=1e-3, atol=3e-6 * np.abs(grad).max(), err_msg=name)


def test_state_before_a_window_is_not_modified(rng):
    network = init_network(ModelConfig(hidden_size=6, num_layers=2), 9, rng)
    window, _ = random_window(network, rng)
    state = network.zero_state(3)
    network.loss_and_grads(window, state)
    assert not state.h.any()
    assert not state.c.any()


def test_large_weights_give_finite_loss_and_gradients(rng):
    network = init_network(ModelConfig(hidden_size=6), 9, rng)
    for param in network.params.values():
        param *= 1e4
    window, _ = random_window(network, rng)
    loss, grads, _ = network.loss_and_grads(window, network.zero_state(3))
    assert np.isfinite(loss)
    assert all(np.isfinite(grad).all() for grad in grads.values())


def test_initial_loss_is_close_to_that_of_a_uniform_guess(rng):
    network = init_network(ModelConfig(hidden_size=64), 50, rng)
    window, _ = random_window(network, rng, T=20, B=8)
    assert abs(network.loss(window, network.zero_state(8))[0] - np.log(50)) < 0.1


# ---- dropout


def draw_all_masks(network, batch_size, rng):
    """Return the masks of a window, and each of the three as an array: inputs, outputs and recurrent weights."""
    masks = network.draw_masks(batch_size, rng)
    return masks, masks.inputs, masks.outputs, masks.recurrent


def test_dropout_masks_and_rescales_inputs_weights_and_outputs(rng):
    """The network with masks equals one without whose weights, inputs and outputs are masked by hand."""
    config = ModelConfig(hidden_size=6, num_layers=1, dropout=0.5, input_dropout=0.25, dropconnect=0.4)
    network = perturb(init_network(config, 5, rng, np.float64), rng)
    window, state = random_window(network, rng, T=7, B=1)
    masks, inputs, outputs, recurrent = draw_all_masks(network, 1, np.random.default_rng(2))
    assert not any(mask.all() for mask in (inputs, outputs, recurrent))
    assert inputs[0, window.x[:, 0]].any()
    by_hand = network.copy()
    by_hand.params["layer0.w_x"] *= inputs[0] / 0.75
    by_hand.params["layer0.w_h"] *= recurrent[0] / 0.6
    by_hand.params["w_out"] *= outputs[0, 0]
    assert set(np.unique(outputs)) == {0.0, 2.0}
    loss, _, after = network.loss_and_grads(window, state, masks)
    expected, expected_state = by_hand.loss(window, state)
    assert loss == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(after.h, expected_state.h, rtol=1e-12)


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_masks_drop_the_configured_share(rate, rng):
    config = ModelConfig(hidden_size=128, dropout=rate, input_dropout=rate, dropconnect=rate, init="uniform")
    for mask in draw_all_masks(init_network(config, 100, rng), 64, rng)[1:]:
        assert (mask == 0).mean() == pytest.approx(rate, abs=5 * (rate * (1 - rate) / mask.size) ** 0.5)


def test_no_masks_are_drawn_without_dropout(rng):
    assert init_network(ModelConfig(hidden_size=4), 5, rng).draw_masks(2, rng) is None
