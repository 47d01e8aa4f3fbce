"""The training loop: it learns, repeats itself to the bit, and goes on where it stopped."""

import math
from itertools import islice

import numpy as np
import pytest
from conftest import SMALL, TEXT, arrays_of

from charlstm import CharlstmError, Config, Corpus, corpus_from_text, evaluate, load, save, start, train
from charlstm.batches import Window
from charlstm.optim import Optimizer
from charlstm.training import eval_streams

VARIANTS = {
    "plain": {},
    "two layers with dropout": {"num_layers": 2, "dropout": 0.3},
    "classic": {"batch_size": 1, "clip_norm": 0, "clip_error": 6, "carry_around": True, "schedule": "constant"},
    "in epochs": {"epochs": 1.2},
    "without validation": {"val_fraction": 0},
    "streams for two cores": {
        "batch_size": 8,
        "dropout": 0.2,
        "dropconnect": 0.2,
        "input_dropout": 0.1,
        "average": 0.8,
    },
    "average": {"average": 0.9, "schedule": "linear"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.5, "schedule": "step"},
    "rmsprop": {"optimizer": "rmsprop", "dropconnect": 0.3, "weight_decay": 0.1, "l2": 0.001},
    "plateau": {"optimizer": "sgd", "learning_rate": 20.0, "evals": 10, "schedule": "plateau"},
    "reset": {"reset": 0.3},
    "patience": {"learning_rate": 1.0, "schedule": "constant", "evals": 20, "patience": 3},
}


def finished(config, corpus):
    run = start(config, corpus)
    reports = list(train(run, corpus))
    return run, reports


def the_same(a, b):
    ours, theirs = arrays_of(a), arrays_of(b)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert np.array_equal(array, theirs[name]), name
    assert (a.best, a.history) == (b.best, b.history)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(variant, corpus, tmp_path):
    config = SMALL.replace(**VARIANTS[variant])
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        save(finished(config.replace(seed=seed), corpus)[0], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_that_was_stopped_again_and_again_ends_like_one_that_was_not(variant, corpus, tmp_path):
    config = SMALL.replace(**VARIANTS[variant])
    whole, _ = finished(config, corpus)
    run, step = start(config, corpus), 0
    for stop in (0, 1, 9, 10, 11, 39, None):
        for _ in islice(train(run, corpus), None if stop is None else stop - step):
            pass
        step = stop or 0
        assert variant == "patience" or stop is None or run.progress.step == stop
        save(run, tmp_path / "run.npz")
        run = load(tmp_path / "run.npz")
    the_same(whole, run)
    save(whole, tmp_path / "whole.npz")
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "run.npz").read_bytes()


def test_ten_losses_of_a_fixed_run_are_what_they_were(corpus):
    reports = finished(SMALL.replace(steps=10), corpus)[1]
    golden = [2.886564, 2.888829, 2.857863, 2.857519, 2.837111, 2.783439, 2.812239, 2.772802, 2.806788, 2.758060]
    np.testing.assert_allclose([report.loss for report in reports], golden, rtol=2e-4)


def test_a_tiny_text_is_learnt_by_heart():
    corpus = corpus_from_text("she sells sea shells by the sea shore; " * 8)
    config = Config().replace(hidden_size=32, batch_size=2, seq_len=39, steps=150, val_fraction=0.0, learning_rate=0.02)
    assert finished(config, corpus)[1][-1].train_loss < 0.1


def test_every_step_is_reported_once_and_the_evaluations_are_spread_evenly(corpus):
    reports = finished(SMALL.replace(steps=10, evals=4), corpus)[1]
    assert [report.step for report in reports] == list(range(1, 11))
    assert [report.step for report in reports if report.evaluated] == [3, 5, 8, 10]
    assert reports[-1].progress == 1
    assert reports[-1].chars == 10 * 4 * 10


def test_more_evaluations_than_steps_are_one_per_step(corpus):
    assert all(report.evaluated for report in finished(SMALL.replace(steps=3, evals=100), corpus)[1])


def test_a_run_on_two_cores_that_was_stopped_ends_like_one_that_was_not(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("charlstm.training.available_cores", lambda: 2)
    test_a_run_that_was_stopped_again_and_again_ends_like_one_that_was_not("streams for two cores", corpus, tmp_path)


def test_no_more_cores_are_used_than_there_are(corpus, monkeypatch):
    monkeypatch.setattr("charlstm.training.available_cores", lambda: 1)
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a process was started"))
    finished(SMALL.replace(batch_size=16, steps=2, threads=4), corpus)


@pytest.mark.parametrize(("steps", "evals"), [(100, 100), (50, 50), (49, 49), (7, 3)])
def test_no_evaluation_is_lost_to_rounding(steps, evals, corpus):
    reports = finished(SMALL.replace(steps=steps, evals=evals), corpus)[1]
    assert sum(report.evaluated for report in reports) == evals


def test_another_text_may_be_shorter_or_longer(tmp_path):
    long, short = corpus_from_text(TEXT), corpus_from_text("".join(dict.fromkeys(TEXT)) * 2)
    for first, second in ((long, short), (short, long)):
        run = start(SMALL.replace(carry_around=True), first)
        for _ in zip(range(3), train(run, first), strict=False):
            pass
        ids, _ = second.with_vocab(run.vocab)
        run.best = None
        for report in train(run, Corpus(run.vocab, ids, second.sha256)):
            assert math.isfinite(report.loss)
        assert run.progress is None


def test_what_is_not_finite_is_never_the_best(corpus, monkeypatch):
    run = start(SMALL, corpus)
    monkeypatch.setattr(run.progress.model, "loss", lambda window, state, chars: (math.nan, state))
    with pytest.raises(CharlstmError, match=r"nothing was learnt: .* or not finite"):
        list(train(run, corpus))
    assert run.best is None
    assert {entry["val_loss"] for entry in run.history} == {None}


def test_epochs_are_passes_over_the_text(corpus):
    reports = finished(SMALL.replace(epochs=1), corpus)[1]
    assert reports[-1].epoch == 1


def test_the_training_loss_is_the_mean_since_the_evaluation_before(corpus):
    reports = finished(SMALL.replace(steps=4, evals=2), corpus)[1]
    assert reports[3].train_loss == pytest.approx((reports[2].loss + reports[3].loss) / 2)


def test_time_limits_a_run_and_its_schedule(corpus):
    ticks = iter(np.arange(0.0, 1000.0, 0.5))
    run = start(SMALL.replace(time=10.0, warmup_fraction=0.0), corpus)
    reports = list(train(run, corpus, clock=lambda: float(next(ticks))))
    assert 10 <= reports[-1].elapsed_s < 11
    assert reports[-1].evaluated
    assert reports[0].learning_rate > reports[-1].learning_rate
    assert run.progress is None


def test_elapsed_time_goes_on_after_a_resumption(corpus, tmp_path):
    run = start(SMALL.replace(time=10.0), corpus)
    ticks = iter(np.arange(0.0, 1000.0, 0.5))
    for report in train(run, corpus, clock=lambda: float(next(ticks))):
        if report.elapsed_s >= 4:
            break
    save(run, tmp_path / "half.npz")
    again = load(tmp_path / "half.npz")
    ticks = iter(np.arange(500.0, 1000.0, 0.5))
    assert next(train(again, corpus, clock=lambda: float(next(ticks)))).elapsed_s == report.elapsed_s + 0.5


def test_the_state_is_reset_where_the_text_starts_again_unless_told_otherwise(corpus, monkeypatch):
    for carry, expected in ((False, 2), (True, 0)):
        run = start(SMALL.replace(epochs=2, carry_around=carry), corpus)
        model, resets = run.progress.model, []
        zero_state = model.zero_state
        monkeypatch.setattr(model, "zero_state", lambda B, z=zero_state, r=resets: r.append(B) or z(B))
        for _ in train(run, corpus):
            pass
        assert resets.count(4) == expected


def test_the_state_of_some_streams_is_set_to_zero_by_chance(corpus, monkeypatch):
    run = start(SMALL.replace(reset=0.3, carry_around=True, steps=200), corpus)
    model, shares = run.progress.model, []
    real = model.loss_and_grads
    seen = lambda state: shares.append((state.h == 0).all((0, 2)) & (state.c == 0).all((0, 2)))  # noqa: E731
    monkeypatch.setattr(
        model, "loss_and_grads", lambda window, state, *rest: (seen(state), real(window, state, *rest))[1]
    )
    for _ in train(run, corpus):
        pass
    assert np.mean(shares[1:]) == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 800) ** 0.5)


def test_the_best_weights_are_kept(corpus):
    run, reports = finished(SMALL.replace(learning_rate=1.0, schedule="constant", evals=20), corpus)
    losses = [report.val_loss for report in reports if report.evaluated]
    assert min(losses) < losses[-1]
    assert run.best["val_loss"] == min(losses)
    val_ids = corpus.split(0.1)[1]
    assert evaluate(run.model, val_ids, eval_streams(val_ids)) == min(losses)


def test_the_average_of_the_weights_is_evaluated_beside_them_and_the_better_kept(corpus):
    plain, _ = finished(SMALL.replace(schedule="constant", learning_rate=0.05), corpus)
    averaged, _ = finished(SMALL.replace(schedule="constant", learning_rate=0.05, average=0.9), corpus)
    pairs = list(zip(averaged.history, plain.history, strict=True))
    assert all(ours["train_loss"] == theirs["train_loss"] for ours, theirs in pairs)  # it changes nothing in training
    assert all(ours["val_loss"] <= theirs["val_loss"] for ours, theirs in pairs)
    assert averaged.best["val_loss"] < plain.best["val_loss"]
    val_ids = corpus.split(0.1)[1]
    assert evaluate(averaged.model, val_ids, eval_streams(val_ids)) == averaged.best["val_loss"]


def test_a_bad_average_does_no_harm(corpus):
    plain, _ = finished(SMALL, corpus)
    run = start(SMALL.replace(average=0.9), corpus)
    for _ in train(run, corpus):
        for array in run.progress.average.values():
            array[...] = np.nan
    assert [entry["val_loss"] for entry in run.history] == [entry["val_loss"] for entry in plain.history]
    the_same(run, plain)


def test_a_run_that_gets_no_better_ends_early(corpus):
    run, reports = finished(SMALL.replace(**VARIANTS["patience"]), corpus)
    losses = [report.val_loss for report in reports if report.evaluated]
    assert run.progress is None
    assert reports[-1].step < 40
    assert min(losses[:-3]) < min(losses[-3:])
    assert len(losses) - 4 == losses.index(min(losses))


def test_the_rate_is_halved_after_each_evaluation_that_is_no_better_than_one_before(corpus):
    _, reports = finished(SMALL.replace(**VARIANTS["plateau"], warmup_fraction=0), corpus)
    rate, best, halved = 20.0, math.inf, 0
    for report in reports:
        assert report.learning_rate == rate
        if report.evaluated and report.val_loss >= best:
            rate, halved = rate / 2, halved + 1
        if report.evaluated:
            best = min(best, report.val_loss)
    assert 0 < halved < 10


def test_without_validation_the_training_loss_ends_a_run(corpus):
    _, reports = finished(SMALL.replace(**VARIANTS["patience"], val_fraction=0), corpus)
    losses = [report.train_loss for report in reports if report.evaluated]
    assert reports[-1].step < 40
    assert len(losses) - 4 == losses.index(min(losses))


def test_one_gradient_that_is_not_finite_changes_nothing_and_is_reported(corpus, monkeypatch):
    run = start(SMALL, corpus)
    model = run.progress.model
    real, calls = model.loss_and_grads, []

    def broken(*arguments):
        loss, grads, state = real(*arguments)
        calls.append(1)
        if len(calls) == 5:
            grads["b_out"][0] = np.nan
        return loss, grads, state

    monkeypatch.setattr(model, "loss_and_grads", broken)
    before = None
    for report in train(run, corpus):
        now = {name: array.copy() for name, array in arrays_of(run).items()}
        assert report.skipped == (report.step == 5)
        if report.step == 5:
            assert all(np.array_equal(now[name], before[name]) for name in now)
            assert run.progress.optimizer.updates == 4
        before = now
        if report.step == 6:
            break
    assert np.isfinite(report.loss)


def with_faults(run, steps, fault):
    """Let what some steps calculate be spoiled."""
    model, progress = run.progress.model, run.progress
    real = model.loss_and_grads

    def broken(*arguments):
        loss, grads, state = real(*arguments)
        return fault(loss, grads, state) if progress.step in steps else (loss, grads, state)

    model.loss_and_grads = broken
    return run


FAULTS = {
    "loss": lambda loss, grads, state: (math.nan, grads, state),
    "infinite loss": lambda loss, grads, state: (math.inf, grads, state),
    "gradient": lambda loss, grads, state: (loss, grads | {"w_out": grads["w_out"] * np.nan}, state),
    "large gradient": lambda loss, grads, state: (loss, grads | {"b_out": np.full_like(grads["b_out"], 1e19)}, state),
    "huge gradient": lambda loss, grads, state: (loss, grads | {"b_out": np.full_like(grads["b_out"], 3e38)}, state),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", [1, 9, 10, 40])
def test_a_fault_at_any_step_is_survived(step, fault, corpus):
    run = with_faults(start(SMALL, corpus), {step}, FAULTS[fault])
    reports = list(train(run, corpus))
    assert [report.step for report in reports if report.skipped] == (
        [step] if fault not in ("large gradient", "huge gradient") else []
    )
    assert len(reports) == 40
    assert math.isfinite(run.best["val_loss"])
    assert not any(report.rescued for report in reports)


def test_where_faults_stay_the_run_goes_back_to_its_best_weights_at_half_the_rate(corpus, tmp_path):
    config, faults = SMALL.replace(steps=60, schedule="constant", warmup_fraction=0, average=0.9), set(range(16, 36))
    run, best, reports = with_faults(start(config, corpus), faults, FAULTS["loss"]), None, []
    for report in train(run, corpus):
        if report.step == 15:
            best = run.model.copy()
        if report.rescued:
            for params in (run.progress.model.params, run.progress.average):
                assert all(np.array_equal(params[name], best.params[name]) for name in params)
            assert run.progress.optimizer.updates == run.progress.skipped == 0
            assert not run.progress.state.h.any()
        reports.append(report)
    assert [report.step for report in reports if report.rescued] == [35]
    assert {report.learning_rate for report in reports[:35]} == {config.train.learning_rate}
    assert {report.learning_rate for report in reports[35:]} == {config.train.learning_rate / 2}
    assert run.best["step"] > 35
    again = with_faults(start(config, corpus), faults, FAULTS["loss"])
    for stop in (20, 16, None):  # before the way back, and after it
        for _ in islice(train(again, corpus), stop):
            pass
        save(again, tmp_path / "again.npz")
        again = load(tmp_path / "again.npz")
        if again.progress:
            again = with_faults(again, faults, FAULTS["loss"])
    the_same(run, again)


def test_gradients_whose_squares_overflow_are_skipped_where_nothing_is_clipped(corpus):
    run = with_faults(start(SMALL.replace(clip_norm=0), corpus), {5}, FAULTS["large gradient"])
    reports = list(train(run, corpus))
    assert [report.step for report in reports if report.skipped] == [5]


def save_each(run, corpus, path):
    for report in train(run, corpus):
        save(run, path)  # which refuses what is not finite
        assert load(path).progress.rescues == run.progress.rescues >= report.rescued


def test_faults_that_never_end_end_the_run_with_advice(corpus, tmp_path):
    run = with_faults(start(SMALL.replace(steps=100), corpus), range(100), FAULTS["loss"])
    with pytest.raises(CharlstmError, match=r"step 60, loss nan, gradient norm .*learning rate .*lower learning_rate"):
        save_each(run, corpus, tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").progress.rescues == 2


def test_weights_that_overflow_are_never_saved(corpus, tmp_path, monkeypatch):
    real = Optimizer.update

    def overflowing(self, params, *arguments):
        real(self, params, *arguments)
        params["b_out"][0] = np.inf

    monkeypatch.setattr(Optimizer, "update", overflowing)
    run = start(SMALL, corpus)
    with pytest.raises(CharlstmError, match=r"the weights are not finite any more \(step 3,"):
        save_each(run, corpus, tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").progress.rescues == 2


def test_weights_that_blow_up_are_not_the_best(corpus):
    run = start(SMALL.replace(learning_rate=50.0, schedule="constant", val_fraction=0.0), corpus)
    with pytest.raises(CharlstmError, match="nothing was learnt"):
        list(train(run, corpus))
    assert run.best is None
    assert all(np.abs(param).max() < 3 for param in run.model.params.values())


@pytest.mark.parametrize("text", ["", "a"])
def test_too_short_a_text_is_refused(text):
    with pytest.raises(CharlstmError, match="nothing to learn"):
        start(Config(), corpus_from_text(text))


def test_a_text_of_one_character_repeated_is_refused():
    with pytest.raises(CharlstmError, match="one character, again and again"):
        start(Config(), corpus_from_text("aaaa"))


@pytest.mark.parametrize("text", ["ab", "abc", "abcdefghijk", TEXT[:100]])
def test_the_shortest_texts_train(text):
    corpus = corpus_from_text(text)
    run, reports = finished(Config().replace(steps=3, hidden_size=4), corpus)
    assert run.progress is None
    assert all(math.isfinite(report.loss) for report in reports)


# ---- evaluation


def test_many_streams_evaluate_as_one_does(trained, corpus):
    exact = evaluate(trained.model, corpus.ids)
    for streams in (2, 5, 7):
        assert evaluate(trained.model, corpus.ids, streams) == pytest.approx(exact, abs=1e-3)


def test_one_stream_evaluates_by_the_definition(trained, corpus):
    ids = corpus.ids[:300].astype(np.intp)
    by_one_window, _ = trained.model.loss(Window(ids[:-1, None], ids[1:, None]), trained.model.zero_state(1))
    assert evaluate(trained.model, ids) == pytest.approx(by_one_window, rel=1e-5)


@pytest.mark.parametrize("length", [2, 3, 64, 65, 66, 129])
def test_texts_of_every_length_are_evaluated_to_the_last_character(length, trained, corpus):
    ids = corpus.ids[:length].astype(np.intp)
    by_one_window, _ = trained.model.loss(Window(ids[:-1, None], ids[1:, None]), trained.model.zero_state(1))
    assert evaluate(trained.model, ids) == pytest.approx(by_one_window, rel=1e-5)


def test_the_streams_of_an_evaluation_miss_no_character(trained, corpus, monkeypatch):
    seen = []
    real = trained.model.loss
    monkeypatch.setattr(trained.model, "loss", lambda w, s: (seen.append(w.y.size), real(w, s))[1])
    evaluate(trained.model, corpus.ids[:5000], 3)
    assert sum(seen) == 4999 + 3 * 128  # each once, and what the streams warm up with
