"""`--kernel`: what is recorded, changed on --resume, and refused."""

import sys
from itertools import islice

from helpers import SMALL, TEXT, begin, error_line

from charlstm import train

COMPILED = SMALL.replace(hidden_size=16, kernel="numba", eval_chars=100)


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
    line = error_line(here("train", "corpus.txt", "--kernel", "numba", "--hidden-size", 16, "--steps", 1), 2)
    assert "--kernel: numba does not work here" in line
