"""The gradients are those of the loss: finite differences, the naive twin."""

import numpy as np
import pytest
import reference
from gradient_check import relative_error

from charlstm.batches import Window
from charlstm.config import ModelConfig
from charlstm.layers import lstm_backward, lstm_forward
from charlstm.model import CharLSTM, State, new_model
from charlstm.stepper import Stepper
from charlstm.workspace import Workspace


def two_windows(model, rng, T=7, B=3):
    """A window, and the state that another window before it has left: always at least two steps and two windows."""
    V, H, L = model.vocab_size, model.config.hidden_size, model.config.num_layers
    ids = rng.integers(0, V, (T + 1, B))
    state = State(rng.standard_normal((L, B, H)) * 0.5, rng.standard_normal((L, B, H)))
    return Window(ids[:-1], ids[1:]), state


def larger_weights(model, rng):
    for param in model.params.values():
        param += 0.3 * rng.standard_normal(param.shape)
    return model


@pytest.mark.parametrize("num_layers", [1, 3])
def test_gradients_agree_with_finite_differences_for_every_parameter(num_layers, rng):
    model = larger_weights(new_model(ModelConfig(hidden_size=6, num_layers=num_layers), 9, rng, np.float64), rng)
    window, state = two_windows(model, rng)
    grads = {name: grad.copy() for name, grad in model.loss_and_grads(window, state)[1].items()}
    assert grads.keys() == model.params.keys()
    for name, param in model.params.items():
        error = relative_error(lambda: model.loss(window, state)[0], param, grads[name], rng)
        assert error < 1e-6, name


MASKED = {
    "dropout": {"dropout": 0.4},
    "input dropout": {"input_dropout": 0.4},
    "dropconnect": {"dropconnect": 0.4},
    "all": {"dropout": 0.3, "input_dropout": 0.2, "dropconnect": 0.5},
}


@pytest.mark.parametrize("masked", MASKED)
def test_gradients_agree_with_finite_differences_where_something_is_silenced(masked, rng):
    config = ModelConfig(hidden_size=8, num_layers=2, **MASKED[masked])
    model = larger_weights(new_model(config, 5, rng, np.float64), rng)
    window, state = two_windows(model, rng)

    def same_masks():
        return model.loss_and_grads(window, state, model.draw_masks(3, np.random.default_rng(11)))

    grads = {name: grad.copy() for name, grad in same_masks()[1].items()}
    for name, param in model.params.items():
        assert relative_error(lambda: same_masks()[0], param, grads[name], rng) < 1e-6, name


def test_what_is_silenced_is_silenced_and_the_rest_scaled_up(rng):
    """The masked model equals an ordinary one whose weights, inputs and outputs are masked by hand."""
    config = ModelConfig(hidden_size=6, num_layers=1, dropout=0.5, input_dropout=0.25, dropconnect=0.4)
    model = larger_weights(new_model(config, 5, rng, np.float64), rng)
    window, state = two_windows(model, rng, T=7, B=1)
    masks = model.draw_masks(1, np.random.default_rng(2))
    recurrent = np.unpackbits(masks.recurrent[0], axis=1, count=6)
    assert not any(mask.all() for mask in (masks.inputs, masks.outputs, recurrent))
    assert masks.inputs[0, window.x[:, 0]].any()
    by_hand = model.copy()
    by_hand.params["layer0.w_x"] *= masks.inputs[0] / 0.75
    by_hand.params["layer0.w_h"] *= recurrent / 0.6
    by_hand.params["w_out"] *= masks.outputs[0, 0]
    assert set(np.unique(masks.outputs)) == {0.0, 2.0}
    loss, _, after = model.loss_and_grads(window, state, masks)
    expected, state_by_hand = by_hand.loss(window, state)
    assert loss == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(after.h, state_by_hand.h, rtol=1e-12)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_masks_silence_the_share_that_was_asked_for(share, rng):
    config = ModelConfig(hidden_size=128, dropout=share, input_dropout=share, dropconnect=share)
    masks = new_model(config, 100, rng).draw_masks(64, rng)
    for mask in (masks.inputs, masks.outputs, np.unpackbits(masks.recurrent)):
        assert (mask == 0).mean() == pytest.approx(share, abs=5 * (share * (1 - share) / mask.size) ** 0.5)
    assert new_model(ModelConfig(hidden_size=4), 5, rng).draw_masks(2, rng) is None


def test_the_gradient_check_rejects_a_gradient_that_is_wrong_by_a_thousandth(rng):
    model = new_model(ModelConfig(hidden_size=6), 9, rng, np.float64)
    window, state = two_windows(model, rng)
    grads = {name: grad.copy() for name, grad in model.loss_and_grads(window, state)[1].items()}
    for name, param in model.params.items():
        error = relative_error(lambda: model.loss(window, state)[0], param, grads[name] * 1.001, rng)
        assert error > 5e-4, name


@pytest.mark.parametrize("num_layers", [1, 2])
def test_losses_and_state_equal_those_of_the_naive_twin(num_layers, rng):
    model = larger_weights(new_model(ModelConfig(hidden_size=5, num_layers=num_layers), 7, rng, np.float64), rng)
    window, state = two_windows(model, rng, T=6, B=2)
    loss, _, after = model.loss_and_grads(window, state)
    twins = []
    for stream in range(2):
        ids = [*window.x[:, stream], window.y[-1, stream]]
        losses, h, c = reference.losses(model.params, num_layers, ids, state.h[:, stream], state.c[:, stream])
        twins.extend(losses)
        np.testing.assert_allclose(after.h[:, stream], h, rtol=1e-12)
        np.testing.assert_allclose(after.c[:, stream], c, rtol=1e-12)
    np.testing.assert_allclose(loss, np.mean(twins), rtol=1e-12)


@pytest.mark.parametrize("clip_error", [0.0, 0.05])
def test_layer_gradients_equal_those_of_the_naive_twin(clip_error, rng):
    T, E, H, B = 8, 4, 5, 3
    params = {
        "w_x": rng.standard_normal((4 * H, E)),
        "w_h": rng.standard_normal((4 * H, H)),
        "b": rng.standard_normal(4 * H),
    }
    x, dh = rng.standard_normal((T, B, E)), rng.standard_normal((T, B, H))
    h0, c0 = rng.standard_normal((2, B, H))
    work = Workspace(np.float64)
    cache = lstm_forward(params, x, h0, c0, work)[3]
    grads = {name: np.empty_like(param) for name, param in params.items()}
    dx = lstm_backward(params, dh, cache, grads, work, clip_error)
    sums = [0, 0, 0]
    for stream in range(B):
        twin = reference.lstm_gradients(
            *params.values(), x[:, stream], dh[:, stream], h0[stream], c0[stream], clip_error
        )
        sums = [total + part for total, part in zip(sums, twin[:3], strict=True)]
        np.testing.assert_allclose(dx[:, stream], twin[3], rtol=1e-9, atol=1e-12)
    for name, total in zip(("w_x", "w_h", "b"), sums, strict=True):
        np.testing.assert_allclose(grads[name], total, rtol=1e-9, atol=1e-12)


def test_clip_error_changes_gradients_only_where_the_error_is_larger(rng):
    model = larger_weights(new_model(ModelConfig(hidden_size=6), 9, rng, np.float64), rng)
    window, state = two_windows(model, rng)
    free, wide, narrow = (
        model.loss_and_grads(window, state, None, clip)[1]["layer0.w_h"].copy() for clip in (0.0, 1e3, 1e-4)
    )
    assert np.array_equal(free, wide)
    assert not np.allclose(free, narrow)


def test_ids_and_one_hot_inputs_are_the_same(rng):
    H, V, T, B = 5, 6, 4, 3
    params = {
        "w_x": rng.standard_normal((4 * H, V)),
        "w_h": rng.standard_normal((4 * H, H)),
        "b": rng.standard_normal(4 * H),
    }
    ids = rng.integers(0, V, (T, B))
    one_hot = (ids[:, :, None] == np.arange(V)).astype(float)
    zero, dh = np.zeros((B, H)), rng.standard_normal((T, B, H))
    results = []
    for x in (ids, one_hot):
        work = Workspace(np.float64)
        h, _, _, cache = lstm_forward(params, x, zero, zero, work)
        grads = {name: np.empty_like(param) for name, param in params.items()}
        lstm_backward(params, dh, cache, grads, work)
        results.append({"h": h, **grads})
    for name, by_id in results[0].items():
        np.testing.assert_allclose(by_id, results[1][name], rtol=1e-9, atol=1e-12)


def test_one_window_equals_windows_of_one_step(rng):
    model = new_model(ModelConfig(hidden_size=6, num_layers=2), 9, rng, np.float64)
    window, state = two_windows(model, rng)
    whole, whole_state = model.loss(window, state)
    losses = []
    for x, y in zip(window.x, window.y, strict=True):
        loss, state = model.loss(Window(x[None], y[None]), state)
        losses.append(loss)
    np.testing.assert_allclose(whole, np.mean(losses), rtol=1e-12)
    np.testing.assert_allclose(whole_state.h, state.h, rtol=1e-12)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_a_step_equals_a_window_of_one_character(num_layers, rng):
    model = larger_weights(new_model(ModelConfig(hidden_size=6, num_layers=num_layers), 9, rng, np.float64), rng)
    window, state = two_windows(model, rng)
    logits, after = Stepper(model, 3).step(window.x[0], state)
    for stream in range(3):
        only = slice(stream, stream + 1)
        one_logits, one_after = Stepper(model).step(window.x[0, only], state.of(only))
        np.testing.assert_allclose(one_logits, logits[only], rtol=1e-12)
        np.testing.assert_allclose(one_after, after.of(only), rtol=1e-12)
    loss, expected = model.loss(Window(window.x[:1], window.y[:1]), state)
    np.testing.assert_allclose(after.h, expected.h, rtol=1e-12)
    np.testing.assert_allclose(after.c, expected.c, rtol=1e-12)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(-log_p[np.arange(3), window.y[0]].mean(), loss, rtol=1e-12)


@pytest.mark.parametrize("small_kernels", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_single_precision_agrees_with_double_however_the_products_are_made(num_layers, small_kernels, rng, monkeypatch):
    monkeypatch.setattr("charlstm.products._has_small_kernels", lambda: small_kernels)
    double = new_model(ModelConfig(hidden_size=64, num_layers=num_layers), 50, rng, np.float64)
    single = CharLSTM(double.config, {name: param.astype(np.float32) for name, param in double.params.items()})
    window, state = two_windows(double, rng, T=40, B=9)
    expected_loss, expected, _ = double.loss_and_grads(window, state)
    loss, grads, _ = single.loss_and_grads(window, State(*(array.astype(np.float32) for array in state)))
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    for name, grad in expected.items():
        np.testing.assert_allclose(grads[name], grad, rtol=1e-3, atol=3e-6 * np.abs(grad).max(), err_msg=name)


def test_the_state_before_a_window_is_left_as_it_was(rng):
    model = new_model(ModelConfig(hidden_size=6, num_layers=2), 9, rng)
    window, _ = two_windows(model, rng)
    state = model.zero_state(3)
    model.loss_and_grads(window, state)
    Stepper(model, 3).step(window.x[0], state)
    assert not state.h.any()
    assert not state.c.any()


def test_large_weights_give_no_nan(rng):
    model = new_model(ModelConfig(hidden_size=6), 9, rng)
    for param in model.params.values():
        param *= 1e4
    window, _ = two_windows(model, rng)
    loss, grads, _ = model.loss_and_grads(window, model.zero_state(3))
    assert np.isfinite(loss)
    assert all(np.isfinite(grad).all() for grad in grads.values())


def test_the_loss_of_a_new_model_is_that_of_guessing(rng):
    model = new_model(ModelConfig(hidden_size=64), 50, rng)
    window, _ = two_windows(model, rng, T=20, B=8)
    assert abs(model.loss(window, model.zero_state(8))[0] - np.log(50)) < 0.1
