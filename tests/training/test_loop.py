"""The training loop: what it learns, reports, evaluates and keeps, and when it ends."""

import copy
import math
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, TEXT, assert_same_run, begin, train_fully

from charlstm import CharlstmError, Config, Evaluation, Report, Run, train
from charlstm.network.evaluation import eval_streams, evaluate
from charlstm.storage.run import TrainingState
from charlstm.training.loop import is_out_of_patience

PATIENCE: dict[str, Any] = {"learning_rate": 1.0, "schedule": "constant", "evals": 20, "patience": 3}


def evaluations_of(reports: list[Report]) -> list[Evaluation]:
    return [report.evaluation for report in reports if report.evaluation]


def val_losses_of(run: Run) -> list[float]:
    losses = [entry.val_loss for entry in run.history if entry.val_loss is not None]
    assert len(losses) == len(run.history)
    return losses


def train_losses_of(run: Run) -> list[float]:
    losses = [entry.train_loss for entry in run.history if entry.train_loss is not None]
    assert len(losses) == len(run.history)
    return losses


def training_of(run: Run) -> TrainingState:
    assert run.training is not None
    return run.training


def test_losses_of_a_fixed_run_are_unchanged(corpus):
    reports = train_fully(SMALL.replace(steps=10, beta1=0.9, beta2=0.99), corpus)[1]
    golden = [2.886564, 2.888829, 2.857863, 2.857519, 2.837111, 2.783439, 2.812239, 2.772802, 2.806788, 2.758060]
    np.testing.assert_allclose([report.loss for report in reports], golden, rtol=2e-4)


def test_tiny_text_is_memorized():
    text = "she sells sea shells by the sea shore; " * 8
    config = Config().replace(hidden_size=32, batch_size=2, seq_len=39, steps=150, val_fraction=0.0, learning_rate=0.02)
    assert train_losses_of(train_fully(config, text)[0])[-1] < 0.1


def test_finished_run_yields_no_more_reports(trained):
    assert trained.training is None
    assert list(train(trained)) == []


@pytest.mark.parametrize(("clip_error", "acts"), [(1e-4, True), (6.0, False)])
def test_clip_error_acts_below_the_elements_of_the_gradient_alone(clip_error, acts, corpus):
    plain, clipped = (train_fully(SMALL.replace(steps=5, clip_error=value), corpus)[0] for value in (0.0, clip_error))
    same = [np.array_equal(clipped.model.network.params[k], v) for k, v in plain.model.network.params.items()]
    assert all(same) is not acts


# ---- reports


def test_each_step_is_reported_once(corpus):
    reports = train_fully(SMALL.replace(steps=10, beta1=0.9, beta2=0.99), corpus)[1]
    assert [report.step for report in reports] == list(range(1, 11))
    assert reports[-1].progress == 1
    assert reports[-1].chars == 10 * 4 * 10


def test_report_shows_step_progress_and_losses(corpus):
    run, (first, *_, last) = train_fully(SMALL.replace(steps=10, evals=1), corpus)
    assert repr(first) == f"Report(step 1, 10.0%, loss {first.loss:.4f})"
    assert (
        repr(last) == f"Report(step 10, 100.0%, loss {last.loss:.4f}, validation loss {run.history[-1].val_loss:.4f})"
    )


def test_training_loss_is_the_mean_since_the_previous_evaluation(corpus):
    run, reports = train_fully(SMALL.replace(steps=4, evals=2), corpus)
    assert train_losses_of(run)[1] == pytest.approx((reports[2].loss + reports[3].loss) / 2)


def test_epochs_are_passes_over_the_text(corpus):
    reports = train_fully(SMALL.replace(epochs=1), corpus)[1]
    assert reports[-1].epoch == 1


# ---- evaluations


def test_evaluations_are_spread_evenly(corpus):
    reports = train_fully(SMALL.replace(steps=10, evals=4), corpus)[1]
    assert [report.step for report in reports if report.evaluation] == [3, 5, 8, 10]


def test_history_is_the_evaluations_reported(corpus):
    run, reports = train_fully(SMALL.replace(steps=10, evals=4), corpus)
    assert run.history == evaluations_of(reports)
    assert [entry.step for entry in run.history] == [3, 5, 8, 10]


@pytest.mark.parametrize(("steps", "evals"), [(100, 100), (50, 50), (49, 49), (7, 3)])
def test_no_evaluation_is_lost_to_rounding(steps, evals, corpus):
    reports = train_fully(SMALL.replace(steps=steps, evals=evals, eval_chars=10), corpus)[1]
    assert len(evaluations_of(reports)) == evals


def test_each_step_is_evaluated_where_evals_exceed_steps(corpus):
    reports = train_fully(SMALL.replace(steps=3, evals=100), corpus)[1]
    assert all(report.evaluation for report in reports)


def test_best_weights_are_kept(corpus):
    run, _ = train_fully(SMALL.replace(learning_rate=1.0, schedule="constant", evals=20, eval_chars=0), corpus)
    losses = val_losses_of(run)
    assert min(losses) < losses[-1]
    assert run.best is not None
    assert losses[run.best.step // 2 - 1] == min(losses)
    val_ids = corpus.split(0.1).val_ids
    assert evaluate(run.model.network, val_ids, eval_streams(val_ids)) == pytest.approx(min(losses), abs=0.02)


def test_is_best_marks_each_evaluation_that_improves(corpus):
    run, reports = train_fully(SMALL.replace(learning_rate=1.0, schedule="constant", evals=20), corpus)
    losses = val_losses_of(run)
    improving = [entry.step for k, entry in enumerate(run.history) if losses[k] < min(losses[:k], default=math.inf)]
    assert [report.step for report in reports if report.is_best] == improving
    assert 1 < len(improving) < 20


def test_non_finite_loss_is_never_best(corpus, monkeypatch):
    run = begin(SMALL, corpus)
    monkeypatch.setattr(training_of(run).network, "loss", lambda window, state, chars: (math.nan, state))
    with pytest.raises(CharlstmError, match=r"nothing was learned: .* or not finite"):
        list(train(run))
    assert run.best is None
    assert {entry.val_loss for entry in run.history} == {None}


def test_only_what_can_help_is_advised_against_divergence(corpus):
    run = begin(SMALL.replace(learning_rate=50.0, schedule="constant", clip_norm=0.0, l2=0.1), corpus)
    with pytest.raises(
        CharlstmError, match=r"start again with a lower learning_rate, with clip_norm 1 or with less l2"
    ):
        list(train(run))


def test_weights_that_blow_up_are_never_best(corpus):
    run = begin(SMALL.replace(learning_rate=50.0, schedule="constant", val_fraction=0.0), corpus)
    with pytest.raises(CharlstmError, match=r"nothing was learned.*; start again with a lower learning_rate$"):
        list(train(run))
    assert run.best is None
    assert all(np.abs(param).max() < 3 for param in run.model.network.params.values())


# ---- moving average


def test_moving_average_does_not_change_training(corpus):
    config = SMALL.replace(schedule="constant", learning_rate=0.05)
    plain, averaged = (train_fully(config.replace(ema_decay=decay), corpus)[1] for decay in (0.0, 0.9))
    assert [report.loss for report in averaged] == [report.loss for report in plain]


def test_better_of_weights_and_moving_average_is_kept(corpus):
    config = SMALL.replace(schedule="constant", learning_rate=0.05)
    plain, averaged = (train_fully(config.replace(ema_decay=decay), corpus)[0] for decay in (0.0, 0.9))
    pairs = list(zip(val_losses_of(averaged), val_losses_of(plain), strict=True))
    assert all(ours <= theirs for ours, theirs in pairs)
    assert any(ours < theirs for ours, theirs in pairs)
    assert averaged.best_loss == pytest.approx(min(val_losses_of(averaged)), abs=0.05)
    assert min(val_losses_of(averaged)) < min(val_losses_of(plain))
    val_ids = corpus.split(0.1).val_ids
    assert evaluate(averaged.model.network, val_ids, eval_streams(val_ids)) == averaged.best_loss


def test_non_finite_moving_average_does_no_harm(corpus):
    plain, _ = train_fully(SMALL, corpus)
    run = begin(SMALL.replace(ema_decay=0.9), corpus)
    ema = training_of(run).ema
    assert ema is not None
    for _ in train(run):
        for array in ema.values():
            array[...] = np.nan
    assert_same_run(run, plain)


# ---- the end of a run


def test_time_limits_a_run_and_its_schedule(corpus):
    ticks = iter(np.arange(0.0, 1000.0, 0.5))
    run = begin(SMALL.replace(time=10.0, warmup_fraction=0.0), corpus)
    reports = list(train(run, clock=lambda: float(next(ticks))))
    assert 10 <= reports[-1].elapsed_s < 11
    assert reports[-1].evaluation
    assert reports[0].learning_rate > reports[-1].learning_rate
    assert run.training is None


def assert_ended_after_three_without_improvement(reports: list[Report], losses: list[float]) -> None:
    assert reports[-1].step < 40
    assert min(losses[:-3]) < min(losses[-3:])
    assert len(losses) - 4 == losses.index(min(losses))


def test_patience_ends_a_run_without_improvement(corpus):
    run, reports = train_fully(SMALL.replace(**PATIENCE), corpus)
    assert_ended_after_three_without_improvement(reports, val_losses_of(run))
    assert run.training is None


def test_patience_follows_the_training_loss_without_validation(corpus):
    run, reports = train_fully(SMALL.replace(**PATIENCE, val_fraction=0), corpus)
    assert_ended_after_three_without_improvement(reports, train_losses_of(run))


def test_plateau_schedule_halves_the_rate_after_each_evaluation_without_improvement(corpus):
    config = SMALL.replace(optimizer="sgd", learning_rate=20.0, evals=10, schedule="plateau", warmup_fraction=0)
    run, reports = train_fully(config, corpus)
    losses, done, plateaus = val_losses_of(run), 0, 0
    for report in reports:
        assert report.learning_rate == 20.0 / 2**plateaus
        if report.evaluation:
            plateaus += losses[done] >= min(losses[:done], default=math.inf)
            done += 1
    assert 0 < plateaus < 10


# ---- the recurrent state


@pytest.mark.parametrize(("carry_around", "resets"), [(False, 2), (True, 0)])
def test_state_is_reset_each_epoch_unless_carried_around(carry_around, resets, corpus, monkeypatch):
    run = begin(SMALL.replace(epochs=2, carry_around=carry_around), corpus)
    network, batch_sizes = training_of(run).network, []
    real = network.zero_state

    def record(batch_size):
        batch_sizes.append(batch_size)
        return real(batch_size)

    monkeypatch.setattr(network, "zero_state", record)
    list(train(run))
    assert batch_sizes.count(4) == resets  # evaluations use one stream


def test_state_carried_around_is_that_after_the_text_before_each_stream(corpus, monkeypatch):
    run = begin(SMALL.replace(epochs=2, carry_around=True), corpus)
    network, calls = training_of(run).network, []
    real = network.loss_and_grads

    def record(window, state, *rest):
        result = real(window, state, *rest)
        calls.append((window, *copy.deepcopy((state, result[2]))))
        return result

    monkeypatch.setattr(network, "loss_and_grads", record)
    list(train(run))
    starts = [n for n in range(1, len(calls)) if np.array_equal(calls[n][0].x, calls[0][0].x)]
    assert len(starts) == 1
    (before, _, ended), (window, started, _) = calls[starts[0] - 1], calls[starts[0]]
    assert np.array_equal(window.x[0, 1:], before.y[-1, :-1])
    assert np.array_equal(started.h[:, 1:], ended.h[:, :-1])
    assert np.array_equal(started.c[:, 0], ended.c[:, -1])


def test_streams_are_reset_with_the_configured_probability(corpus, monkeypatch):
    run = begin(SMALL.replace(state_reset_prob=0.3, carry_around=True, steps=200), corpus)
    network, resets = training_of(run).network, []
    real = network.loss_and_grads

    def record(window, state, *rest):
        resets.append((state.h == 0).all((0, 2)) & (state.c == 0).all((0, 2)))
        return real(window, state, *rest)

    monkeypatch.setattr(network, "loss_and_grads", record)
    list(train(run))
    assert np.mean(resets[1:]) == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 800) ** 0.5)


# ---- cores


def test_no_more_cores_are_used_than_are_available(corpus, monkeypatch):
    monkeypatch.setattr("charlstm.training.loop.available_cores", lambda: 1)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a process was started"))
    train_fully(SMALL.replace(batch_size=16, steps=2, threads=4), corpus)


# ---- short texts


@pytest.mark.parametrize(
    ("text", "reason"), [("", "is empty"), *((text, "contains only one distinct character") for text in ("a", "aaaa"))]
)
def test_corpus_of_fewer_than_two_distinct_characters_is_refused(text, reason):
    with pytest.raises(CharlstmError, match=f"the corpus {reason}; there is nothing to learn"):
        begin(Config(), text)


def test_training_part_of_one_character_is_refused():
    with pytest.raises(CharlstmError, match="need at least 2 training characters, got 1"):
        begin(Config().replace(val_fraction=0.5), "ab")


@pytest.mark.parametrize("text", ["ab", "abc", "abcdefghijk", TEXT[:100]])
def test_shortest_texts_train(text):
    run, reports = train_fully(Config().replace(steps=3, hidden_size=4), text)
    assert run.training is None
    assert all(math.isfinite(report.loss) for report in reports)


# ---- plateaus


def with_losses(*val_losses, patience=1):
    run = begin(SMALL.replace(patience=patience))
    run.history = [Evaluation(n, 1.0, n, 0.5, loss, 0.01) for n, loss in enumerate(val_losses)]
    return run


def test_non_finite_validation_loss_is_no_improvement():
    assert is_out_of_patience(with_losses(2.0, None))
    assert not is_out_of_patience(with_losses(2.0, None, 1.9))


def test_patience_counts_evaluations_since_the_best():
    assert not is_out_of_patience(with_losses(2.0, 2.1, patience=2))
    assert is_out_of_patience(with_losses(2.0, 2.1, 2.2, patience=2))
    assert not is_out_of_patience(with_losses(2.0, 2.1, 1.9, patience=2))
