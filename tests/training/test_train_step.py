"""One training step: what it returns and what it changes, for each outcome."""

import numpy as np
import pytest
from helpers import SMALL, begin

from charlstm import Config
from charlstm.network.char_lstm import CharLSTM
from charlstm.network.parallel import DataParallel
from charlstm.storage.run import TrainingState
from charlstm.training.loop import Outcome, StepResult, batches_for, train_step


def state_of(config: Config) -> TrainingState:
    """Return the training state of a new run, with a recurrent state other than zero."""
    training = begin(config).training
    assert training is not None
    training.state.h[...] = 0.1
    training.state.c[...] = 0.2
    return training


def take_step(training: TrainingState, config: Config = SMALL, learning_rate: float = 0.01) -> StepResult:
    dataset = begin(config).dataset
    assert dataset is not None
    window = batches_for(config, dataset).window(training.step)
    with DataParallel(training.network, 1) as parallel:
        return train_step(training, parallel, window, config.train, learning_rate)


def copies_of(training: TrainingState) -> dict[str, np.ndarray]:
    """Return copies of all arrays that a step may change."""
    copies = {f"{kind}.{name}": a.copy() for kind, arrays in training.arrays().items() for name, a in arrays.items()}
    return copies | {"h": training.state.h.copy(), "c": training.state.c.copy()}


def assert_unchanged(training: TrainingState, before: dict[str, np.ndarray]) -> None:
    after = copies_of(training)
    assert after.keys() == before.keys()
    for name, array in before.items():
        assert np.array_equal(after[name], array, equal_nan=True), name


def loss_and_norm(network: CharLSTM, training: TrainingState) -> tuple[float, float]:
    """Return the loss of the first window and the norm of its gradient, computed without `train_step`."""
    dataset = begin().dataset
    assert dataset is not None
    loss, grads, _ = network.loss_and_grads(batches_for(SMALL, dataset).window(0), training.state)
    return loss, float(np.sqrt(sum(np.square(grad, dtype=np.float64).sum() for grad in grads.values())))


def test_finite_gradient_updates_weights_moments_average_and_state():
    config = SMALL.replace(ema_decay=0.9)
    training = state_of(config)
    before = copies_of(training)
    assert take_step(training, config).outcome is Outcome.UPDATED
    after = copies_of(training)
    assert all(not np.array_equal(after[name], array) for name, array in before.items())
    assert (training.step, training.optimizer.updates, training.loss_steps) == (1, 1, 1)


def test_result_has_the_loss_and_the_gradient_norm_before_clipping():
    config = SMALL.replace(clip_norm=1e-3)
    training = state_of(config)
    expected_loss, expected_norm = loss_and_norm(training.network.copy(), training)
    result = take_step(training, config)
    assert result.loss == training.loss_sum == pytest.approx(expected_loss, rel=1e-6)
    assert result.grad_norm == pytest.approx(expected_norm, rel=1e-5)
    assert result.grad_norm > 1e-3


def test_update_ends_a_series_of_skipped_ones():
    training = state_of(SMALL)
    training.skipped = 7
    assert take_step(training).outcome is Outcome.UPDATED
    assert training.skipped == 0


def test_non_finite_gradient_skips_the_update():
    training = state_of(SMALL)
    training.network.params["w_out"][0, 0] = np.nan
    result = take_step(training)
    assert result.outcome is Outcome.SKIPPED
    assert not np.isfinite(result.loss)


def test_unclipped_gradient_whose_square_overflows_skips_the_update():
    config = SMALL.replace(clip_norm=0)
    training = state_of(config)
    training.network.params["layer0.w_x"][...] = 0
    training.network.params["w_out"][...] *= 1e19
    result = take_step(training, config)
    assert np.isfinite([result.loss, result.grad_norm]).all()
    assert result.grad_norm >= 1e18
    assert result.outcome is Outcome.SKIPPED


def test_skipped_update_changes_nothing_but_the_position():
    config = SMALL.replace(ema_decay=0.9)
    training = state_of(config)
    training.network.params["w_out"][0, 0] = np.nan
    before = copies_of(training)
    assert take_step(training, config).outcome is Outcome.SKIPPED
    assert_unchanged(training, before)
    assert (training.step, training.skipped) == (1, 1)
    assert (training.optimizer.updates, training.loss_sum, training.loss_steps) == (0, 0.0, 0)


def test_update_that_overflows_the_weights_diverges():
    training = state_of(SMALL)
    result = take_step(training, learning_rate=1e30)
    assert result.outcome is Outcome.DIVERGED
    assert np.isfinite([result.loss, result.grad_norm]).all()


def test_diverged_update_leaves_average_state_and_losses_alone():
    config = SMALL.replace(ema_decay=0.9)
    training = state_of(config)
    before = copies_of(training)
    assert take_step(training, config, learning_rate=1e30).outcome is Outcome.DIVERGED
    after = copies_of(training)
    for name, array in before.items():
        if name in ("h", "c") or name.startswith("ema."):
            assert np.array_equal(after[name], array), name
    assert (training.step, training.loss_sum, training.loss_steps) == (1, 0.0, 0)
