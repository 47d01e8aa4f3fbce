"""How much text the evaluations of a run read, and what the best weights are evaluated on."""

import itertools

import numpy as np
import pytest
from helpers import SMALL, train_fully

from charlstm import CharlstmError, Config, Run, corpus_from_text, train
from charlstm.network.evaluation import eval_streams, evaluate
from charlstm.storage.run import TrainingState
from charlstm.training.loop import new_run

LONG = corpus_from_text("".join(f"{n} squared is {n * n}. " for n in range(10_000)))  # 230 kB
WIDE = Config().replace(hidden_size=4, batch_size=50, seq_len=100, steps=40, evals=4)


def chars_read(run):
    return [entry.val_chars for entry in run.history]


def chars_at_the_end(run: Run) -> int:
    assert run.best is not None
    return run.best.val_chars


def training_of(run: Run) -> TrainingState:
    assert run.training is not None
    return run.training


def test_evaluations_read_the_same_part_and_at_most_a_tenth_as_much_as_training():
    run, reports = train_fully(WIDE, LONG)
    assert chars_read(run) == [2500] * 4
    assert sum(chars_read(run)) + chars_at_the_end(run) <= reports[-1].chars / 10


def test_evaluations_of_a_run_limited_by_time_read_at_most_a_tenth_as_much_as_training():
    run = new_run(WIDE.replace(time="40s"), LONG.split(0.1))
    seconds = itertools.count(step=0.25)  # four readings a step, and a few more
    *_, last = train(run, clock=lambda: next(seconds))
    assert len(set(chars_read(run))) == 1
    assert chars_read(run)[0] > 500
    assert sum(chars_read(run)) + chars_at_the_end(run) <= last.chars / 10


def test_moving_average_is_evaluated_within_the_same_budget():
    run, _ = train_fully(WIDE.replace(ema_decay=0.9), LONG)
    assert chars_read(run) == [1250] * 4


@pytest.mark.parametrize(("given", "read"), [(700, 700), (0, len(LONG.split(0.1).val_ids))])
def test_given_number_of_characters_overrides_the_budget(given, read):
    run, _ = train_fully(WIDE.replace(eval_chars=given), LONG)
    assert chars_read(run) == [read] * 4
    assert chars_at_the_end(run) >= read


def test_short_run_reads_a_minimum():
    run, _ = train_fully(SMALL.replace(steps=4), LONG)
    assert chars_read(run) == [500] * 4


def test_best_weights_are_evaluated_on_the_whole_validation_text_at_the_end():
    run, _ = train_fully(WIDE.replace(steps=60, val_fraction=0.02), LONG)
    val_ids = LONG.split(0.02).val_ids
    assert chars_read(run)[0] < len(val_ids) == chars_at_the_end(run)
    assert run.best_loss == evaluate(run.model.network, val_ids, eval_streams(val_ids))


def test_short_evaluation_agrees_with_an_exact_one():
    run, _ = train_fully(WIDE, LONG)
    part = LONG.split(0.1).val_ids[:2500]
    assert evaluate(run.model.network, part, 39) == pytest.approx(evaluate(run.model.network, part), abs=0.01)


@pytest.mark.parametrize("streams", [2, 7, 60])
def test_streams_shorter_than_the_warm_up_begin_with_the_text_before_them(streams):
    ids = LONG.ids[:601]
    network = train_fully(SMALL.replace(steps=1), LONG)[0].model.network
    one = evaluate(network, ids)
    assert evaluate(network, ids, streams) == pytest.approx(one, abs=0.02)


def test_finite_loss_far_above_guessing_ends_a_run_early():
    config = SMALL.replace(optimizer="sgd", learning_rate=300, clip_norm=0, schedule="constant", steps=1000)
    run = new_run(config, LONG.split(0.1))
    with pytest.raises(CharlstmError, match="training diverged: the loss is far above that of guessing"):
        list(train(run))
    assert training_of(run).step <= 100
    assert training_of(run).rollbacks == 2


def test_rollback_of_a_loss_far_above_guessing_restores_finite_weights():
    config = SMALL.replace(optimizer="sgd", learning_rate=300, clip_norm=0, schedule="constant", steps=1000)
    run = new_run(config, LONG.split(0.1))
    report = next(report for report in train(run) if report.rolled_back)
    assert report.step >= 20
    assert np.isfinite(report.loss)
    for name, param in training_of(run).network.params.items():
        assert np.array_equal(param, run.model.network.params[name])
