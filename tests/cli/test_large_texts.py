"""Texts that are too large for memory: the same model, whatever happens on the way, and nothing left over."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import TEXT, error_line

from charlstm import CharlstmError, Run, load_run
from charlstm.text import spool

SETTINGS = ("--hidden-size", 8, "--steps", 30, "--evals", 2, "--threads", 1, "--batch-size", 4)
LARGE = "import charlstm.text.spool as s; s._IN_MEMORY = 1000; from charlstm.cli.main import run; run()"


@pytest.fixture(autouse=True)
def large(monkeypatch, text_file):
    monkeypatch.setattr(spool, "_IN_MEMORY", 1000)


def weights(folder: Path) -> bytes:
    return (folder / "model.npz").read_bytes()


@pytest.mark.parametrize("kind", ["none", "line"])
def test_model_is_that_of_a_text_in_memory(kind, here, tmp_path, monkeypatch):
    assert here("train", "corpus.txt", *SETTINGS, "--documents", kind).returncode == 0
    large = weights(tmp_path)
    monkeypatch.setattr(spool, "_IN_MEMORY", 1 << 30)
    assert here("train", "corpus.txt", *SETTINGS, "--documents", kind, "--force").returncode == 0
    assert weights(tmp_path) == large
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]


def test_keep_ids_keeps_them_for_further_training(here, tmp_path):
    assert here("train", "corpus.txt", *SETTINGS, "--keep-ids").returncode == 0
    assert (tmp_path / "model.npz.ids").stat().st_size > len(TEXT)
    assert "-o model.npz --keep-ids --resume --time +5m" in here("train", "corpus.txt", "--resume", "--keep-ids").stderr
    assert here("train", "corpus.txt", "--resume", "--steps", "+10", "--keep-ids").returncode == 0
    assert "already finished" in here("train", "corpus.txt", "--resume").stderr
    assert (tmp_path / "model.npz.ids").exists()
    assert here("train", "corpus.txt", "--resume", "--steps", "+10").returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]


@pytest.mark.slow
def test_failed_start_leaves_no_ids(here, tmp_path):
    done = here("train", "corpus.txt", "--hidden-size", 8192, "--num-layers", 16, "--batch-size", 4096)
    assert "not enough memory" in error_line(done, 1)
    assert os.listdir(tmp_path) == ["corpus.txt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_run_that_fails_once_it_is_saved_leaves_the_ids_for_resuming(here, tmp_path):
    assert "the run is saved" in error_line(here("train", "corpus.txt", *SETTINGS, "--log", "/dev/full", "-q"), 1)
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz", "model.npz.ids"]
    assert here("train", "corpus.txt", "--resume").returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]


def test_run_that_fails_before_it_is_saved_leaves_no_ids(here, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise CharlstmError("model.npz could not be saved: No space left on device")

    monkeypatch.setattr(Run, "save", fail)
    error_line(here("train", "corpus.txt", *SETTINGS, "-q"), 1)
    assert os.listdir(tmp_path) == ["corpus.txt"]


def test_standard_input_is_not_kept(here, tmp_path):
    assert here("train", "-", *SETTINGS, "--keep-ids", input=TEXT).returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]


def test_full_disk_while_reading_is_reported(here, tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        done = here("train", "corpus.txt", "-q")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "could not be written to disk: File too large" in error_line(done, 1)
    assert os.listdir(tmp_path) == ["corpus.txt"]


@pytest.mark.slow
def test_run_killed_at_any_moment_resumes_bit_for_bit(here, tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT * 20)
    arguments = [*map(str, ("train", "corpus.txt", *SETTINGS, "--documents", "line", "-q"))]
    assert here(*arguments).returncode == 0
    expected = weights(tmp_path)
    (tmp_path / "model.npz").unlink()
    rng = random.Random(1)
    resume = ("train", "corpus.txt", "--documents", "line", "-q", "--resume")
    for _ in range(12):
        command = resume if (tmp_path / "model.npz").exists() else arguments
        process = subprocess.Popen([sys.executable, "-c", LARGE, *command], cwd=tmp_path)
        time.sleep(rng.uniform(0.2, 1.5))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:  # it had ended before
            assert weights(tmp_path) == expected
            (tmp_path / "model.npz").unlink()
    assert here(*(resume if (tmp_path / "model.npz").exists() else arguments)).returncode == 0
    assert weights(tmp_path) == expected
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]
    assert load_run(tmp_path / "model.npz").training is None
