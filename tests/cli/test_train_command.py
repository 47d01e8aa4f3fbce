"""`charlstm train`: what it writes, prints and logs."""

import json
import math
import os
import re

import numpy as np
import pytest
from helpers import TEXT, charlstm, error_line

from charlstm import Config, load_run
from charlstm.config.presets import presets
from charlstm.optim import Optimizer

QUICK = ("--hidden-size", "12", "--batch-size", "4", "--seq-len", "10", "--evals", "4", "--threads", "1")
VAL_CHARS = int(len(TEXT) * 0.1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The process and the directory of a finished run. Tests must not change its files."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "corpus.txt").write_text(TEXT)
    done = charlstm("train", "corpus.txt", *QUICK, "--dropout", 0.1, "--steps", 60, "--log", "log.jsonl", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done, folder


def read_log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# ---- files


def test_training_writes_only_the_model_and_the_log(finished):
    assert sorted(os.listdir(finished[1])) == ["corpus.txt", "log.jsonl", "model.npz"]


def test_log_has_one_entry_per_evaluation(finished):
    assert [entry["step"] for entry in read_log(finished[1])] == [15, 30, 45, 60]


def test_log_entries_have_the_documented_keys(finished):
    for entry in read_log(finished[1]):
        assert set(entry) == {
            "step", "epoch", "chars", "elapsed_s", "train_loss", "val_loss", "val_chars", "val_bpc", "learning_rate",
            "chars_per_s",
        }  # fmt: skip


def test_logged_bits_are_the_logged_nats(finished):
    for entry in read_log(finished[1]):
        assert entry["val_bpc"] == pytest.approx(entry["val_loss"] / math.log(2))


def test_validation_loss_falls(finished):
    log = read_log(finished[1])
    assert log[-1]["val_loss"] < log[0]["val_loss"]


def test_score_of_the_validation_text_is_the_best_validation_loss(finished, here, tmp_path):
    (tmp_path / "val.txt").write_text(TEXT[-VAL_CHARS:])
    score = json.loads(here("score", "--ckpt", finished[1] / "model.npz", "--json", "val.txt").stdout)
    best = load_run(finished[1] / "model.npz").best_loss
    assert score["nats_per_char"] == pytest.approx(best, abs=1e-3)
    assert best == pytest.approx(min(e["val_loss"] for e in read_log(finished[1])), abs=0.1)
    assert (score["chars"], score["unknown_chars"]) == (VAL_CHARS - 1, 0)


def test_model_file_is_named_by_out(text_file, here, tmp_path):
    assert here("train", "corpus.txt", *QUICK, "--steps", 2, "-o", "my model ☃").returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "my model ☃"]


def test_files_and_standard_input_are_read_in_order(here, tmp_path):
    (tmp_path / "b.txt").write_text("more\n")
    (tmp_path / "c.txt").write_text("most\n")
    (tmp_path / "whole.txt").write_text(f"more\n{TEXT}most\n")
    done = here("train", "b.txt", "-", "c.txt", *QUICK, "--steps", 2, input=TEXT)
    assert done.returncode == 0, done.stderr
    assert here("train", "whole.txt", *QUICK, "--steps", 2, "-o", "whole.npz").returncode == 0
    assert load_run(tmp_path / "model.npz").fingerprint == load_run(tmp_path / "whole.npz").fingerprint


@pytest.mark.parametrize(
    "preset", [pytest.param(name, marks=pytest.mark.slow if name.endswith("best") else ()) for name in presets()]
)
def test_every_preset_trains_on_the_bundled_corpus(preset, here, tmp_path):
    quick = ("--steps", 2, "--evals", 1, "--eval-chars", 2000, "--threads", 1, "-q")
    done = here("train", "@tweets", "-c", preset, *quick)
    assert done.returncode == 0, done.stderr
    assert load_run(tmp_path / "model.npz").training is None


def test_configuration_turns_advice_off(text_file, here, tmp_path):
    (tmp_path / "my.yaml").write_text("train:\n  steps: 3\n  threads: 1\n")
    said = here("train", "corpus.txt", "-c", "my.yaml", "--hidden-size", 8).stderr
    assert "Settings chosen" not in said
    assert load_run(tmp_path / "model.npz").config == Config().replace(
        steps=3, threads=1, hidden_size=8, kernel="numpy"
    )


def test_old_name_of_the_output_flag_is_accepted(text_file, here, tmp_path):
    quick = ("--hidden-size", 4, "--steps", 1, "--threads", 1, "-q")
    assert here("train", "corpus.txt", "--out", "old.npz", *quick).returncode == 0
    assert (tmp_path / "old.npz").exists()
    assert "--out " not in here("train", "--help").stdout


# ---- messages


def test_standard_output_stays_empty(finished):
    assert finished[0].stdout == ""


def test_no_progress_bar_without_a_terminal(finished):
    assert "\r" not in finished[0].stderr


def test_training_ends_with_the_next_command(finished):
    assert finished[0].stderr.splitlines()[-1].strip() == "charlstm sample --ckpt model.npz"


def test_training_reports_baselines(finished):
    assert re.search(
        r"\nBaselines, validation loss in bits per character: "
        r"uniform 4\.\d+, frequencies \d\.\d+, 6-gram \d\.\d+, xz -9 \d\.\d+\n",
        finished[0].stderr,
    )


def test_training_assesses_the_best_step(finished):
    assert re.search(
        r"\nBest at step \d+ of 60: training loss \d\.\d+ \(with dropout\), validation loss \d\.\d+", finished[0].stderr
    )


def test_training_reports_overlap_with_the_training_text(finished):
    assert re.search(
        r"\n\d+\.\d% of the 20-character passages in a sample occur in the training text\. "
        r"The longest match has \d+ characters: '",
        finished[0].stderr,
    )


def test_overlap_of_a_short_validation_text_is_not_reported(finished):
    assert VAL_CHARS < 2000
    assert "in the validation text" not in finished[0].stderr


def test_overlap_of_a_long_validation_text_is_reported_for_comparison(text_file, here):
    text_file.write_text(TEXT * 3)
    said = here("train", "corpus.txt", *QUICK, "--steps", 2).stderr
    assert re.search(r" occur in the training text, compared with \d+\.\d% of those in the validation text\. ", said)


def test_quiet_training_prints_nothing(text_file, here):
    done = here("train", "corpus.txt", *QUICK, "--steps", 3, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_short_corpus_reports_smaller_batches(here, tmp_path):
    (tmp_path / "short.txt").write_text("to be or not to be, that is the question\n")
    done = here(
        "train", "short.txt", "--steps", 2, "--hidden-size", 8, "--threads", 1, "--batch-size", 24, "--seq-len", 40
    )
    assert done.returncode == 0
    assert (
        "The corpus is short: using a batch size of 1 and a window length of 36 instead of 24 and 40\n" in done.stderr
    )


def test_preview_has_at_most_ten_lines(text_file, here):
    text_file.write_text("a\n\n\n\n" * 400)
    done = here("train", text_file, "--steps", 20, "--evals", 1, "--hidden-size", 8, "--threads", 1)
    assert 1 <= done.stderr.count("    | ") <= 10


def test_preview_is_never_cut_within_its_first_characters(text_file, here, monkeypatch):
    monkeypatch.setattr("charlstm.cli.train._SAMPLE_FRACTION", 0.0)
    text_file.write_text("abc" * 400)
    said = here("train", text_file, "--steps", 2, "--evals", 1, "--hidden-size", 8, "--threads", 1).stderr
    assert [len(line) for line in said.splitlines() if line.startswith("    | ")] == [26]


def test_early_stopping_is_reported(text_file, here):
    rash = ("--learning-rate", 1, "--schedule", "constant", "--steps", 4000, "--evals", 400, "--patience", 2)
    said = here("train", text_file, *QUICK, *rash).stderr
    assert "\nStopped early: no improvement (--patience 2)\n" in said


def test_run_that_is_out_of_patience_at_its_limit_does_not_report_early_stopping(text_file, here):
    rash = ("--learning-rate", 1, "--schedule", "constant", "--evals", 3, "--patience", 1, "--seed", 2)
    said = here("train", text_file, *QUICK, *rash, "--steps", 40).stderr
    assert load_run(text_file.parent / "model.npz").history[-1].step == 40
    assert "Stopped early" not in said


def test_run_that_reaches_its_limit_does_not_report_early_stopping(text_file, here):
    assert "Stopped early" not in here("train", text_file, *QUICK, "--steps", 40, "--patience", 9).stderr


def update_and_corrupt(monkeypatch, corrupt):
    """Call `corrupt(params, number)` after each update of the optimiser."""
    real, updates = Optimizer.update, []

    def update(self, params, *arguments):
        real(self, params, *arguments)
        updates.append(1)
        corrupt(params, len(updates))

    monkeypatch.setattr(Optimizer, "update", update)


def test_rollback_is_reported(text_file, here, monkeypatch):
    def overflow(params, number):
        if number == 15:
            params["w_out"][0] = np.inf

    update_and_corrupt(monkeypatch, overflow)
    done = here("train", text_file, *QUICK, "--steps", 30, "--evals", 3)
    assert done.returncode == 0
    said = "Training diverged at step 15: continuing from the weights at step 10, with half the learning rate\n"
    assert done.stderr.count(said) == 1


def test_loss_spikes_are_reported(text_file, here, monkeypatch):
    def enlarge(params, number):
        if number == 25:
            params["w_out"][:] *= 100

    update_and_corrupt(monkeypatch, enlarge)
    said = here("train", text_file, *QUICK, "--steps", 30, "--evals", 3).stderr
    assert re.search(
        r"\n(1 loss spike|\d loss spikes), up to \d+\.\d\d bits at step 2[6-9], where the gradient norm was \d", said
    )


@pytest.mark.parametrize("quiet", [False, True])
def test_failure_to_start_a_process_is_one_line_unless_quiet(quiet, text_file, here, monkeypatch):
    def fail(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("subprocess.Popen", fail)
    monkeypatch.setattr("charlstm.training.loop.available_cores", lambda: 2)
    (text_file.parent / "my.yaml").write_text("model: {hidden_size: 8}\ntrain: {batch_size: 8, steps: 3}\n")
    done = here("train", text_file, "-c", "my.yaml", *(["-q"] if quiet else []))
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if "process" in line or "Warning" in line]
    message = (
        "cannot start another process (Resource temporarily unavailable); continuing with fewer processes, more slowly"
    )
    assert lines == ([] if quiet else [message])


# ---- outputs that cannot be written


def test_failed_start_keeps_the_old_file_even_with_force(here, tmp_path):
    (tmp_path / "model.npz").write_bytes(b"old")
    (tmp_path / "corpus.txt").write_text("")
    error_line(here("train", "corpus.txt", *QUICK, "--force", "--log", "log.jsonl"), 1)
    assert (tmp_path / "model.npz").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs a directory that nobody can write to")
def test_unwritable_directory_is_refused(text_file, here):
    assert "/proc/model.npz cannot be written" in error_line(here("train", "corpus.txt", "-o", "/proc/model.npz"), 2)


@pytest.mark.parametrize("name", ["corpus.txt", "poems.ids"])
def test_file_named_like_the_ids_of_the_output_is_kept(name, text_file, here, tmp_path):
    (tmp_path / "poems.ids").write_bytes(text_file.read_bytes())
    done = here("train", name, *QUICK, "-o", "poems")
    assert error_line(done, 2).endswith(
        "--output poems may overwrite poems.ids, which is not an ids file; choose another"
    )
    assert (tmp_path / "poems.ids").read_bytes() == text_file.read_bytes()


def test_log_does_not_write_into_another_file(text_file, here, tmp_path):
    (tmp_path / "my.yaml").write_text("model: {hidden_size: 8}\n")
    done = here("train", text_file, *QUICK, "-c", "my.yaml", "--log", "my.yaml")
    assert error_line(done, 2).endswith("--log my.yaml exists and is not a log; choose another file")
    assert here("train", text_file, *QUICK, "--log", "model.npz.ids").returncode == 2
    (tmp_path / "empty.jsonl").touch()
    assert here("train", text_file, *QUICK, "--steps", 3, "--log", "empty.jsonl").returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_log_ends_the_run_and_keeps_the_model(text_file, here, tmp_path):
    done = here("train", "corpus.txt", *QUICK, "--steps", 9, "--log", "/dev/full", "-q")
    assert error_line(done, 1) == "Error: --log /dev/full: No space left on device; the run is saved"
    training = load_run(tmp_path / "model.npz").training
    assert training is not None
    assert training.step == 3


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_full_disk_ends_the_run_and_keeps_the_old_file(text_file, tmp_path, monkeypatch):
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # coverage would write at exit, too
    import resource
    import signal

    def limit_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    (tmp_path / "model.npz").write_bytes(b"old")
    done = charlstm("train", "corpus.txt", *QUICK, "--steps", 3, "--force", "-q", cwd=tmp_path, preexec_fn=limit_files)
    assert "could not be saved: File too large" in error_line(done, 1)
    assert (tmp_path / "model.npz").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]
