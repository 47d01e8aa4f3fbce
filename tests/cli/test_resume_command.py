"""`charlstm train --resume`: what it accepts, what it refuses, and unfinished runs in other commands."""

import math
import os

import numpy as np
import pytest
from helpers import TEXT, begin, error_line

from charlstm import Config, load_config, load_run, train
from charlstm.cli.log import read_log

UNFINISHED = Config().replace(
    hidden_size=12,
    batch_size=4,
    seq_len=10,
    threads=1,
    steps=100_000,
    evals=10_000,  # one every 10 steps
)
STEP = 25


def save_unfinished(config, path):
    """Save a run after 25 steps."""
    run = begin(config)
    for report in train(run):
        if report.step == STEP:
            break
    run.save(path)


@pytest.fixture(scope="module")
def unfinished_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("unfinished") / "model.npz"
    save_unfinished(UNFINISHED, path)
    return path.read_bytes()


@pytest.fixture
def unfinished(unfinished_bytes, text_file, tmp_path):
    """The file of an unfinished run, beside its corpus."""
    path = tmp_path / "model.npz"
    path.write_bytes(unfinished_bytes)
    return path


@pytest.fixture
def finished(model, text_file, tmp_path):
    """The file of a finished run, beside its corpus."""
    path = tmp_path / "model.npz"
    path.write_bytes(model.read_bytes())
    return path


def arrays_equal(one, other):
    params = one.model.network.params, other.model.network.params
    return all(np.array_equal(params[0][name], params[1][name]) for name in params[0])


# ---- finished runs


def test_resuming_a_finished_run_changes_nothing(finished, here):
    before = finished.read_bytes()
    done = here("train", "corpus.txt", "--resume")
    assert done.returncode == 0
    assert done.stderr.startswith("model.npz is already finished: ")
    assert finished.read_bytes() == before


def test_finished_run_names_the_command_that_trains_it_further(finished, here):
    said = here("train", "corpus.txt", "--resume").stderr
    assert said.endswith("To train it further:\n    charlstm train corpus.txt -o model.npz --resume --time +5m\n")


@pytest.mark.parametrize(
    ("limit", "given"), [("--steps", "+7"), ("--steps", None), ("--time", "+0.3s"), ("--epochs", "+1")]
)
def test_finished_run_is_extended(limit, given, finished, here):
    before = load_run(finished).history
    done = here("train", "corpus.txt", "--resume", limit, given or before[-1].step + 7)
    assert done.returncode == 0, done.stderr
    run = load_run(finished)
    assert run.training is None
    assert run.history[: len(before)] == before
    assert run.history[-1].step > before[-1].step
    assert limit != "--steps" or run.history[-1].step == before[-1].step + 7


def test_extended_run_keeps_the_better_weights(finished, here):
    before = load_run(finished)
    assert here("train", "corpus.txt", "--resume", "--steps", "+1", "--threads", 1).returncode == 0
    after = load_run(finished)
    best = min(after.history, key=lambda entry: entry.val_loss or math.inf)
    assert after.best is not None
    assert after.best.step == best.step
    assert (best.step > before.history[-1].step) is not arrays_equal(before, after)


@pytest.mark.parametrize("steps", [1, 2])
def test_limit_below_what_a_finished_run_has_done_is_refused(steps, finished, here):
    before = finished.read_bytes()
    done = here("train", "corpus.txt", "--resume", "--steps", steps)
    assert f"model.npz has already reached --steps {steps}" in error_line(done, 2)
    assert finished.read_bytes() == before


def test_limit_can_be_added_to_that_of_an_unfinished_run(unfinished, here):
    assert here("train", "corpus.txt", "--resume", "--steps", "+5").returncode == 0
    assert load_run(unfinished).history[-1].step == STEP + 5


def test_limit_with_a_plus_sign_needs_resume(text_file, here):
    done = here("train", "corpus.txt", "--steps", "+5")
    assert error_line(done, 2) == "Error: a limit with a plus sign extends a run; use it with --resume"


def test_two_limits_are_refused_with_a_plus_sign_too(finished, here):
    line = error_line(here("train", "corpus.txt", "--resume", "--steps", "+5", "--time", "9s"), 2)
    assert line == "Error: steps and time are mutually exclusive; give only one of them"


def test_extended_run_continues_the_time_of_its_log(text_file, here, tmp_path):
    flags = ("--hidden-size", 12, "--threads", 1, "--evals", 4, "--log", "log.jsonl")
    assert here("train", "corpus.txt", *flags, "--steps", 60).returncode == 0
    assert here("train", "corpus.txt", "--resume", "--steps", "+20", "--log", "log.jsonl").returncode == 0
    seconds = [entry.elapsed_s for entry in read_log(str(tmp_path / "log.jsonl"))]
    assert len(seconds) == 5
    assert seconds == sorted(seconds)


def test_run_that_stopped_early_can_be_trained_further(text_file, here, tmp_path):
    rash = ("--learning-rate", 1, "--schedule", "constant", "--steps", 4000, "--evals", 400, "--patience", 2)
    assert here("train", "corpus.txt", "--hidden-size", 12, "--threads", 1, *rash).returncode == 0
    step = load_run(tmp_path / "model.npz").history[-1].step
    said = here("train", "corpus.txt", "--resume").stderr
    assert said.endswith("    charlstm train corpus.txt -o model.npz --resume --time +5m --patience 0\n")
    line = error_line(here("train", "corpus.txt", "--resume", "--steps", "+7"), 2)
    assert line.endswith("model.npz stopped early (--patience 2); add --patience 0 to train it further")
    assert here("train", "corpus.txt", "--resume", "--steps", "+7", "--patience", 0).returncode == 0
    assert load_run(tmp_path / "model.npz").history[-1].step == step + 7


def test_resume_needs_the_corpus_even_of_a_finished_run(finished, here):
    assert "none.txt: No such file" in error_line(here("train", "none.txt", "--resume"), 2)


# ---- settings


def test_resume_refuses_other_settings(unfinished, here):
    line = error_line(here("train", "corpus.txt", "--resume", "--hidden-size", 13), 2)
    assert "model.npz was started with hidden_size 12, not 13" in line


def test_resume_refuses_a_limit_that_has_passed(unfinished, here):
    line = error_line(here("train", "corpus.txt", "--resume", "--steps", STEP), 2)
    assert f"model.npz has already reached --steps {STEP} (step {STEP}, " in line
    assert line.endswith("s); choose a larger limit")


@pytest.mark.parametrize("limit", [(), ("--steps", STEP)])
def test_run_killed_between_its_last_step_and_its_end_is_finished(limit, text_file, here, tmp_path):
    save_unfinished(UNFINISHED.replace(steps=STEP), tmp_path / "model.npz")
    done = here("train", "corpus.txt", "--resume", *limit)
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "model.npz")
    assert run.training is None
    assert run.history[-1].step == STEP


def test_resume_accepts_another_limit_and_number_of_cores(unfinished, here):
    done = here("train", "corpus.txt", "--resume", "--steps", STEP + 1, "--threads", 2)
    assert done.returncode == 0, done.stderr
    assert load_run(unfinished).training is None


def test_resume_ignores_the_limit_of_a_preset(text_file, here, tmp_path):
    """So the command that started a run also resumes it."""
    save_unfinished(load_config("tiny").replace(hidden_size=12, threads=1, steps=100_000), tmp_path / "model.npz")
    command = ("train", "corpus.txt", "-c", "tiny", "--hidden-size", 12)
    done = here(*command, "--steps", STEP + 1, "--resume")
    assert done.returncode == 0, done.stderr


# ---- the corpus


def test_resume_refuses_another_corpus(unfinished, text_file, here):
    text_file.write_text(TEXT[50:])
    before = unfinished.read_bytes()
    line = error_line(here("train", "corpus.txt", "--resume"), 1)
    assert "the corpus differs from the one this run was started with" in line
    assert unfinished.read_bytes() == before


def test_resume_refuses_unknown_characters_even_with_force(unfinished, text_file, here):
    text_file.write_text("ÄÖÜ" * 2000, encoding="utf-8")
    before = unfinished.read_bytes()
    line = error_line(here("train", "corpus.txt", "--resume", "--force"), 1)
    assert "the corpus has characters outside the model's vocabulary (6,000 in all)" in line
    assert unfinished.read_bytes() == before


def test_resume_with_force_accepts_another_corpus(unfinished, text_file, here):
    text_file.write_text(TEXT[50:])
    done = here("train", "corpus.txt", "--resume", "--force", "--steps", STEP + 5, "-q")
    assert (done.returncode, done.stderr) == (0, "")


def test_losses_on_the_old_corpus_are_forgotten(unfinished, text_file, here):
    """They would count as plateaus, and could stay the best."""
    assert load_run(unfinished).history
    text_file.write_text(TEXT[50:])
    here("train", "corpus.txt", "--resume", "--force", "--steps", STEP + 5, "-q")
    run = load_run(unfinished)
    assert run.best is not None
    assert run.best.step > STEP
    assert all(entry.step > STEP for entry in run.history)


# ---- other commands


@pytest.mark.parametrize("command", [("sample", "-n", 30), ("score", "corpus.txt"), ("info",)])
def test_unfinished_run_can_be_used(command, unfinished, here):
    done = here(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_resume_removes_what_a_killed_run_left_behind(unfinished, here, tmp_path):
    (tmp_path / ".model.npz.99999.tmp").write_text("left by a killed run")
    assert here("train", "corpus.txt", "--resume", "--steps", STEP + 1, "-q").returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]
