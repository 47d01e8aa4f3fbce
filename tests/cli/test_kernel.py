"""`--kernel`: what is recorded, changed on --resume, and refused."""

import sys
from itertools import islice

import pytest
from helpers import SMALL, TEXT, begin, error_line, train_fully

from charlstm import train

COMPILED = SMALL.replace(hidden_size=32, kernel="numba", eval_chars=100)


def test_kernel_of_a_run_can_be_changed(here, tmp_path, corpus, monkeypatch):
    (tmp_path / "corpus.txt").write_text(TEXT)
    run = begin(COMPILED, corpus)
    for _ in islice(train(run), 5):
        pass
    run.save(tmp_path / "model.npz")
    monkeypatch.setitem(sys.modules, "charlstm.network.compiled", None)
    assert "continue with --kernel numpy" in here("train", "corpus.txt", "--resume").stderr
    assert here("train", "corpus.txt", "--resume", "--kernel", "numpy").returncode == 0
    assert "kernel numpy" in here("info").stdout


def test_kernel_that_is_missing_is_a_usage_error(here, text_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "charlstm.network.compiled", None)
    line = error_line(here("train", "corpus.txt", "--kernel", "numba", "--hidden-size", 32, "--steps", 1), 2)
    assert "--kernel: numba does not work here" in line


@pytest.fixture
def model_of_32_units(tmp_path, corpus):
    run, _ = train_fully(SMALL.replace(hidden_size=32), corpus)
    run.save(tmp_path / "model.npz")
    (tmp_path / "corpus.txt").write_text(TEXT)


def test_sample_and_score_compute_with_the_kernel_that_is_asked_for(here, model_of_32_units):
    for command in (("sample", "-t", 0, "-n", 50), ("score", "corpus.txt")):
        numpy, numba = (here(*command, "--kernel", kernel) for kernel in ("numpy", "numba"))
        assert numpy.returncode == numba.returncode == 0
        assert numpy.stdout == numba.stdout  # to the digits shown


@pytest.mark.parametrize("command", [("sample", "-n", 5), ("score", "corpus.txt")], ids=str)
def test_kernel_that_is_missing_is_refused_by_every_command(command, here, model_of_32_units, monkeypatch):
    assert here(*command).returncode == 0
    monkeypatch.setitem(sys.modules, "charlstm.network.compiled", None)
    assert here(*command).returncode == 0
    assert "--kernel: numba does not work here" in error_line(here(*command, "--kernel", "numba"), 2)


def test_numba_is_suggested_for_large_jobs_only(here, model_of_32_units, monkeypatch):
    monkeypatch.setattr("charlstm.cli.inputs._LARGE_JOB", 100)
    assert "--kernel numba makes this faster" in here("sample", "-n", 50, "--num", 2).stderr
    assert "--kernel numba makes this faster" in here("score", "corpus.txt").stderr
    assert "kernel" not in here("sample", "-n", 50, "--num", 2, "--kernel", "numba").stderr
    assert "kernel" not in here("sample", "-n", 99).stderr
