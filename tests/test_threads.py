"""Threads change the speed, not the result."""

import os

import numpy as np
import pytest

from charlstm.batches import Window
from charlstm.config import ModelConfig
from charlstm.model import new_model
from charlstm.threads import available_cores, side_by_side


def results(threads, dropout=0.0, seed=4):
    rng = np.random.default_rng(seed)
    model = new_model(ModelConfig(hidden_size=24, num_layers=2, dropout=dropout), 17, rng)
    model.threads = threads
    ids = rng.integers(0, 17, (13, 50))
    window, state = Window(ids[:-1], ids[1:]), model.zero_state(50)
    for _ in range(2):
        loss, grads, state = model.loss_and_grads(window, state, np.random.default_rng(1))
    return loss, {name: grad.copy() for name, grad in grads.items()}, state


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_gradients_are_the_same_to_rounding_for_every_number_of_threads(threads, dropout):
    one, many = results(1, dropout), results(threads, dropout)
    assert one[0] == pytest.approx(many[0], rel=1e-6)
    for name, grad in one[1].items():
        np.testing.assert_allclose(grad, many[1][name], rtol=1e-3, atol=1e-6 * np.abs(grad).max())
    np.testing.assert_allclose(one[2].h, many[2].h, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_number_of_threads_gives_the_same_bytes(threads):
    first = results(threads)
    for _ in range(5):
        again = results(threads)
        assert all(np.array_equal(grad, again[1][name]) for name, grad in first[1].items())


def test_parts_come_back_in_their_order_and_errors_are_raised():
    assert side_by_side(lambda k: k * k, range(20)) == [k * k for k in range(20)]
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda k: 1 / (k - 3), range(5))


def test_settings_of_numpy_hold_in_every_thread():
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        side_by_side(lambda k: np.exp(np.float32(k * 1000)), range(2))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_cores_are_those_that_the_process_may_use():
    before = os.sched_getaffinity(0)
    assert 1 <= available_cores() <= len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
