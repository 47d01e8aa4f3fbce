"""--normalize: from training to every command that uses the model."""

import json

import pytest
from helpers import SMALL, TEXT, begin, error_line

from charlstm import load_run
from charlstm import train as train_run

QUICK = ("--hidden-size", 8, "--steps", 3, "--evals", 1, "--threads", 1)


@pytest.fixture
def train(here, tmp_path):
    """Train on a text; return what was reported."""

    def run(text, *flags):
        (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
        done = here("train", "corpus.txt", "--force", *QUICK, *flags)
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


@pytest.fixture
def composed(train):
    """What was reported by a training that normalised its corpus."""
    return train("cafe\u0301 noir\n" * 50, "--normalize", "NFC")


def test_mixed_forms_are_reported_with_the_flag_that_helps(train):
    text = "café cafe\u0301\n" * 50
    assert "mixes Unicode forms; try --normalize NFC" in train(text)
    assert "--normalize" not in train(text, "--normalize", "NFC")


def test_corpus_is_normalised(composed, tmp_path):
    assert load_run(tmp_path / "model.npz").model.vocab.characters == "\n acfinoré"


def test_prime_and_stop_are_normalised_as_the_corpus_was(composed, here, tmp_path):
    (tmp_path / "prime.txt").write_text("cafe\u0301", encoding="utf-8")
    for prime in (("--prime", "cafe\u0301"), ("--prime-file", "prime.txt"), ("--prime", "-")):
        done = here("sample", "--seed", 1, "-n", 5, *prime, "--stop", "e\u0301", input="cafe\u0301")
        assert (done.returncode, done.stdout[:4]) == (0, "café"), done.stderr


def test_story_is_normalised_as_the_corpus_was(composed, here):
    done = here("play", "--seed", 1, "-n", 5, input=":stop e\u0301\ncafe\u0301\n:story\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "café" in done.stdout


def test_scored_files_and_the_corpus_are_normalised_as_the_corpus_was(composed, here, tmp_path):
    (tmp_path / "other.txt").write_text("cafe\u0301", encoding="utf-8")
    values = json.loads(here("score", "other.txt", "--baselines", "corpus.txt", "--json").stdout)
    assert (values["chars"], values["unknown_chars"]) == (3, 0)
    done = here("sample", "--seed", 1, "-n", 20, "--no-copy", 3, "--cite", "--corpus", "corpus.txt")
    assert done.returncode == 0


def test_resume_refuses_another_form(train, here):
    train(TEXT)
    line = error_line(here("train", "corpus.txt", "--resume", "--normalize", "NFC"), 2)
    assert "model.npz was started with normalize none, not NFC; " in line


def test_resumed_run_has_no_suggestions(here, tmp_path):
    text = TEXT + "é" + "e\u0301"
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
    part = begin(SMALL.replace(threads=1, steps=6), text)
    next(train_run(part))
    part.save(tmp_path / "model.npz")
    assert "--normalize" not in here("train", "corpus.txt", "--resume").stderr
