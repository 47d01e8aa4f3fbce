"""A stream that reads a document boundary forgets what it read before, in every pass and kernel."""

import itertools

import numpy as np
import pytest
import reference
from gradient_check import relative_error
from network_helpers import perturb, random_window

from charlstm.config.settings import Config, ModelConfig
from charlstm.network.char_lstm import CharLSTM, State, concat_states, init_network
from charlstm.network.dispatch import make_stepper
from charlstm.network.evaluation import char_losses, evaluate
from charlstm.network.parallel import DataParallel
from charlstm.text.batches import Window

V, BOUNDARY = 9, 8


def make_network(rng, num_layers=2, hidden_size=6, dtype=np.float64, **settings) -> CharLSTM:
    config = Config().replace(hidden_size=hidden_size, num_layers=num_layers, **settings).model
    return perturb(init_network(config, V, rng, dtype, BOUNDARY), rng)


def documents_window(network, rng, T=12, B=4) -> tuple[Window, State]:
    """Return a window with boundaries: at its start, at its end, in a row, and none in the last stream."""
    _, state = random_window(network, rng, T, B)
    ids = rng.integers(0, BOUNDARY, (T + 1, B))
    for t, b in ((0, 0), (5, 0), (T - 1, 1), (3, 2), (4, 2), (T, 2)):
        ids[t, b] = BOUNDARY
    return Window(ids[:-1], ids[1:]), State(*(array.astype(network.params["b_out"].dtype) for array in state))


def loss_and_grads_of_documents(network, window, state, **settings):
    """Return the summed loss and gradients of the parts of each stream between resets, computed one by one."""
    plain = CharLSTM(network.config, network.params)
    total, grads = 0.0, {name: np.zeros_like(param) for name, param in network.params.items()}
    ends = []
    for b in range(window.x.shape[1]):
        only = slice(b, b + 1)
        starts = [0, *(np.flatnonzero(window.x[1:, b] == BOUNDARY) + 1).tolist(), len(window.x)]
        current = plain.zero_state(1) if window.x[0, b] == BOUNDARY else state.streams(only)
        for start, stop in itertools.pairwise(starts):
            part = Window(window.x[start:stop, only], window.y[start:stop, only])
            current = plain.zero_state(1) if start else current
            loss, part_grads, current = plain.loss_and_grads(part, current, chars=1, **settings)
            total += loss
            for name, grad in grads.items():
                grad += part_grads[name]
        ends.append(current)
    return total, grads, concat_states(ends)


@pytest.mark.parametrize("clip_error", [0.0, 0.05])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_documents_in_a_stream_give_the_sum_of_documents_alone(num_layers, clip_error, rng):
    network = make_network(rng, num_layers)
    window, state = documents_window(network, rng)
    loss, grads, after = network.loss_and_grads(window, state, None, clip_error, chars=1)
    expected, expected_grads, expected_after = loss_and_grads_of_documents(
        network, window, state, clip_error=clip_error
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(after, expected_after, rtol=1e-10, atol=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected_grads[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dropout", [{}, {"dropout": 0.3, "input_dropout": 0.4, "dropconnect": 0.5}])
def test_gradients_across_boundaries_match_finite_differences(dropout, rng):
    network = make_network(rng, **dropout)
    window, state = documents_window(network, rng)

    def compute():
        return network.loss_and_grads(window, state, network.draw_masks(4, np.random.default_rng(11)))

    grads = {name: grad.copy() for name, grad in compute()[1].items()}
    for name, param in network.params.items():
        assert relative_error(lambda: compute()[0], param, grads[name], rng) < 1e-6, name


def test_each_document_matches_the_reference(rng):
    network = make_network(rng, hidden_size=3)
    texts = [rng.integers(0, BOUNDARY, n).tolist() for n in (3, 1, 4)]
    ids = np.array([BOUNDARY, *itertools.chain.from_iterable([*text, BOUNDARY] for text in texts)])
    zero = np.zeros((2, 3))
    expected = [
        loss
        for text in texts
        for loss in reference.losses(network.params, 2, [BOUNDARY, *text, BOUNDARY], zero, zero)[0]
    ]
    np.testing.assert_allclose(char_losses(network, ids), expected, rtol=1e-6)
    assert evaluate(network, ids) == pytest.approx(np.mean(expected), rel=1e-12)


def test_state_before_a_boundary_changes_nothing_after_it(rng):
    network = make_network(rng)
    window, state = documents_window(network, rng)
    other = State(state.h + 1, state.c - 1)
    losses, _ = network.char_losses(window, state)
    losses = losses.copy()
    changed = ~np.isclose(network.char_losses(window, other)[0], losses, rtol=1e-9)
    assert not changed[:, 0].any()  # starts with a boundary
    assert changed[:3, 2].all()  # includes the prediction of the boundary
    assert not changed[3:, 2].any()


def test_one_window_with_boundaries_equals_windows_of_one_step(rng):
    network = make_network(rng)
    window, state = documents_window(network, rng)
    losses, after = network.char_losses(window, state)
    losses, current = losses.copy(), state
    for t in range(len(window.x)):
        step, current = network.char_losses(Window(window.x[t : t + 1], window.y[t : t + 1]), current)
        np.testing.assert_allclose(step[0], losses[t], rtol=1e-10)
    np.testing.assert_allclose(current, after, rtol=1e-10)


@pytest.mark.parametrize(("kernel", "dtype"), [("numpy", np.float64), ("numba", np.float32)])
def test_stepper_resets_at_boundaries_as_training_does(kernel, dtype, rng):
    network = make_network(rng, hidden_size=32, dtype=dtype)
    window, state = documents_window(network, rng)
    losses, after = (
        array.copy() if isinstance(array, np.ndarray) else array for array in network.char_losses(window, state)
    )
    network.kernel = kernel
    stepper, current = make_stepper(network, 4), state
    for t, ids in enumerate(window.x):
        logits, current = stepper.step(ids, current)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        np.testing.assert_allclose(-log_p[np.arange(4), window.y[t]], losses[t], rtol=1e-4)
    np.testing.assert_allclose(current, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("clip_error", [0.0, 0.001])
def test_kernels_agree_on_windows_with_boundaries(clip_error, rng):
    network = make_network(rng, hidden_size=64, dtype=np.float32)
    window, state = documents_window(network, rng, T=20, B=7)
    compiled = CharLSTM(network.config, network.params, boundary_id=BOUNDARY)
    compiled.kernel = "numba"
    loss, grads, after = network.loss_and_grads(window, state, None, clip_error)
    their_loss, their_grads, their_after = compiled.loss_and_grads(window, state, None, clip_error)
    assert their_loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(their_after, after, atol=1e-5)
    for name, grad in grads.items():
        np.testing.assert_allclose(their_grads[name], grad, atol=1e-4 * np.abs(grad).max(), err_msg=name)


def test_processes_reset_at_boundaries_too(rng):
    network = init_network(ModelConfig(hidden_size=16), V, rng, boundary_id=BOUNDARY)
    window, state = documents_window(network, rng, B=9)
    alone = {name: grad.copy() for name, grad in network.loss_and_grads(window, state)[1].items()}
    with DataParallel(network.copy(), 2) as parallel:
        for name, grad in parallel.loss_and_grads(window, state)[1].items():
            np.testing.assert_allclose(grad, alone[name], atol=1e-6)
        assert parallel.workers
