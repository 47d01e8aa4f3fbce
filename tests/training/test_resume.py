"""Runs are reproducible: the same seed, or any number of interruptions, gives the same bytes."""

import math
from itertools import islice
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, TEXT, assert_same_run, begin, train_fully

from charlstm import corpus_from_text, load_run, train
from charlstm.errors import UsageError

QUICK = SMALL.replace(eval_chars=100)  # validation takes most of the time of such a small run
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"eval_chars": 0},
    "two layers with dropout": {"num_layers": 2, "dropout": 0.3},
    "classic": {"batch_size": 1, "clip_norm": 0, "clip_error": 1e-4, "carry_around": True, "schedule": "constant"},
    "epochs": {"epochs": 1.2, "seq_len": 40},
    "without validation": {"val_fraction": 0},
    "two processes": {"batch_size": 8, "dropout": 0.2, "dropconnect": 0.2, "input_dropout": 0.1, "ema_decay": 0.8},
    "moving average": {"ema_decay": 0.9, "schedule": "linear"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.5, "schedule": "step"},
    "rmsprop": {"optimizer": "rmsprop", "dropconnect": 0.3, "weight_decay": 0.1, "l2": 0.001},
    "plateau": {"optimizer": "sgd", "learning_rate": 20.0, "evals": 10, "schedule": "plateau"},
    "state resets": {"state_reset_prob": 0.3},
    "patience": {"learning_rate": 1.0, "schedule": "constant", "evals": 20, "patience": 3},
}


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr("charlstm.training.loop.available_cores", lambda: 2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_seed_gives_the_same_bytes(variant, corpus, tmp_path):
    config = QUICK.replace(**VARIANTS[variant])
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_fully(config.replace(seed=seed), corpus)[0].save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("variant", VARIANTS)
def test_run_resumed_many_times_ends_like_an_uninterrupted_one(variant, corpus, tmp_path):
    config = QUICK.replace(**VARIANTS[variant])
    whole, _ = train_fully(config, corpus)
    run, step = begin(config, corpus), 0
    for stop in (0, 1, 9, 10, 11, 39, None):
        for _ in islice(train(run), None if stop is None else stop - step):
            pass
        if stop is not None and run.training:
            assert run.training.step == stop
        assert run.training or stop is None or variant == "patience"
        step = stop or 0
        run.save(tmp_path / "run.npz")
        run = load_run(tmp_path / "run.npz")
        run.use_corpus(corpus)
    assert_same_run(whole, run)
    whole.save(tmp_path / "whole.npz")
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "run.npz").read_bytes()


def test_elapsed_time_continues_after_a_resume(corpus, tmp_path):
    run = begin(SMALL.replace(time=10.0), corpus)
    ticks = iter(np.arange(0.0, 1000.0, 0.5))
    before = next(report for report in train(run, clock=lambda: float(next(ticks))) if report.elapsed_s >= 4)
    run.save(tmp_path / "half.npz")
    resumed = load_run(tmp_path / "half.npz")
    resumed.use_corpus(corpus)
    ticks = iter(np.arange(500.0, 1000.0, 0.5))
    assert next(train(resumed, clock=lambda: float(next(ticks)))).elapsed_s == before.elapsed_s + 0.5


def test_loaded_run_needs_its_corpus(corpus, tmp_path):
    begin(SMALL, corpus).save(tmp_path / "new.npz")
    with pytest.raises(UsageError, match=r"this run has no corpus; call run\.use_corpus\(read_corpus\(\.\.\.\)\)"):
        next(train(load_run(tmp_path / "new.npz")))


SHORT = "".join(dict.fromkeys(TEXT)) * 2


@pytest.mark.parametrize(("first", "second"), [(TEXT, SHORT), (SHORT, TEXT)], ids=["shorter", "longer"])
def test_run_continues_on_a_shorter_or_longer_corpus(first, second):
    run = begin(QUICK.replace(carry_around=True), first)
    for _ in islice(train(run), 3):
        pass
    run.use_corpus(corpus_from_text(second), force=True)
    reports = list(train(run))
    assert [report.step for report in reports] == list(range(4, 41))
    assert all(math.isfinite(report.loss) for report in reports)
    assert run.training is None
