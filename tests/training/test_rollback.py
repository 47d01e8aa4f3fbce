"""Faults during training: single ones are skipped, lasting ones lead back to the best weights, or end the run."""

import math
from itertools import islice

import numpy as np
import pytest
from helpers import SMALL, arrays_of, assert_same_run, begin, train_fully

from charlstm import CharlstmError, load_run, train
from charlstm.optim import Optimizer

FAULTS = {
    "loss": lambda loss, grads, state: (math.nan, grads, state),
    "infinite loss": lambda loss, grads, state: (math.inf, grads, state),
    "gradient": lambda loss, grads, state: (loss, grads | {"w_out": grads["w_out"] * np.nan}, state),
    "large gradient": lambda loss, grads, state: (loss, grads | {"b_out": np.full_like(grads["b_out"], 1e19)}, state),
    "huge gradient": lambda loss, grads, state: (loss, grads | {"b_out": np.full_like(grads["b_out"], 3e38)}, state),
}
CLIPPED = ("large gradient", "huge gradient")  # finite, so that clipping makes them usable
QUICK = SMALL.replace(eval_chars=100)  # validation takes most of the time of such a small run
LASTING = QUICK.replace(steps=60, schedule="constant", warmup_fraction=0, ema_decay=0.9)
LASTING_STEPS = range(16, 36)  # 20 in a row, after the evaluation at step 15


def with_faults(run, steps, fault):
    """Make some steps of a run compute something wrong; return the run."""
    training, network = run.training, run.training.network
    real = network.loss_and_grads

    def broken(*arguments):
        loss, grads, state = real(*arguments)
        return FAULTS[fault](loss, grads, state) if training.step in steps else (loss, grads, state)

    network.loss_and_grads = broken
    return run


# ---- single faults


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", [1, 9, 10, 40])
def test_fault_at_any_step_is_survived(step, fault, corpus):
    run = with_faults(begin(QUICK, corpus), {step}, fault)
    reports = list(train(run))
    assert [report.step for report in reports if report.skipped] == ([] if fault in CLIPPED else [step])
    assert len(reports) == 40
    assert math.isfinite(run.best_loss)
    assert not any(report.rolled_back for report in reports)


def test_skipped_update_changes_no_array_of_the_run(corpus):
    run = with_faults(begin(QUICK, corpus), {5}, "gradient")
    before: dict[str, np.ndarray] = {}
    for report in islice(train(run), 6):
        after = {name: array.copy() for name, array in arrays_of(run).items()}
        assert report.skipped == (report.step == 5)
        if report.step == 5:
            assert all(np.array_equal(array, before[name]) for name, array in after.items())
            assert run.training.optimizer.updates == 4
        before = after
    assert math.isfinite(report.loss)


def test_unclipped_gradient_whose_square_overflows_is_skipped(corpus):
    run = with_faults(begin(QUICK.replace(clip_norm=0), corpus), {5}, "large gradient")
    assert [report.step for report in train(run) if report.skipped] == [5]


# ---- lasting faults


def test_rollback_restores_the_best_weights_with_a_new_optimizer_and_state(corpus):
    run = with_faults(begin(LASTING, corpus), LASTING_STEPS, "loss")
    best: dict[str, np.ndarray] = {}
    for report in train(run):
        if report.step == 15:
            best = run.model.network.copy().params
        if report.rolled_back:
            for params in (run.training.network.params, run.training.ema):
                assert all(np.array_equal(params[name], best[name]) for name in params)
            assert run.training.optimizer.updates == run.training.skipped == 0
            assert not run.training.state.h.any()
            break
    assert report.step == 35


def test_rollback_halves_the_learning_rate(corpus):
    run = with_faults(begin(LASTING, corpus), LASTING_STEPS, "loss")
    reports = list(train(run))
    assert [report.step for report in reports if report.rolled_back] == [35]
    assert {report.learning_rate for report in reports[:35]} == {LASTING.train.learning_rate}
    assert {report.learning_rate for report in reports[35:]} == {LASTING.train.learning_rate / 2}


def test_run_improves_after_a_rollback(corpus):
    run = with_faults(begin(LASTING, corpus), LASTING_STEPS, "loss")
    list(train(run))
    assert run.best.step > 35


def test_run_resumed_around_a_rollback_ends_like_an_uninterrupted_one(corpus, tmp_path):
    whole = with_faults(begin(LASTING, corpus), LASTING_STEPS, "loss")
    list(train(whole))
    run = with_faults(begin(LASTING, corpus), LASTING_STEPS, "loss")
    for reports in (20, 16, None):  # one before the rollback, one after it
        for _ in islice(train(run), reports):
            pass
        run.save(tmp_path / "run.npz")
        run = load_run(tmp_path / "run.npz")
        run.use_corpus(corpus)
        if run.training:
            run = with_faults(run, LASTING_STEPS, "loss")
    assert_same_run(whole, run)


# ---- faults that never end


def saved_rollbacks(path):
    training = load_run(path).training
    assert training is not None
    return training.rollbacks


def train_and_save(run, path):
    """Train, and check after each step that the run can be saved and loaded, which needs finite weights."""
    for report in train(run):
        run.save(path)
        assert saved_rollbacks(path) == run.training.rollbacks >= report.rolled_back


def test_faults_that_never_end_end_the_run_with_advice(corpus, tmp_path):
    run = with_faults(begin(QUICK.replace(steps=100), corpus), range(100), "loss")
    message = r"training diverged: .*step 60, loss nan, gradient norm .*learning rate .*lower learning_rate"
    with pytest.raises(CharlstmError, match=message):
        train_and_save(run, tmp_path / "model.npz")
    assert saved_rollbacks(tmp_path / "model.npz") == 2


def test_overflowing_weights_are_never_saved(corpus, tmp_path, monkeypatch):
    real = Optimizer.update

    def overflow(self, params, *arguments):
        real(self, params, *arguments)
        params["b_out"][0] = np.inf

    monkeypatch.setattr(Optimizer, "update", overflow)
    with pytest.raises(CharlstmError, match=r"the loss or the weights are not finite \(step 3,"):
        train_and_save(begin(QUICK, corpus), tmp_path / "model.npz")
    assert saved_rollbacks(tmp_path / "model.npz") == 2


def test_run_without_faults_is_never_rolled_back(corpus):
    assert not any(report.skipped or report.rolled_back for report in train_fully(QUICK, corpus)[1])
