"""--normalize and --min-count: from training to every command that uses the model."""

import json
import re

import pytest
from helpers import SMALL, TEXT, assert_same_run, begin, error_line, train_fully

from charlstm import load_run
from charlstm import train as train_run

QUICK = ("--hidden-size", 8, "--steps", 3, "--evals", 1, "--threads", 1)
RARE = "☃éß龘"
MERGING = SMALL.replace(min_count=5, threads=1, steps=6)
MANY = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))


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
def merged(train):
    """What was reported by a training that merged rare characters."""
    return train(TEXT + RARE, "--min-count", 5)


@pytest.fixture
def composed(train):
    """What was reported by a training that normalised its corpus."""
    return train("cafe\u0301 noir\n" * 50, "--normalize", "NFC")


# ---- rare characters


def test_training_tells_that_rare_characters_are_merged(merged, tmp_path):
    assert " 19 distinct characters with rare ones merged; " in merged
    assert load_run(tmp_path / "model.npz").model.vocab.characters[-1] == "\ufffd"


def test_info_shows_the_unknown_character(merged, model, here):
    assert "vocabulary  19 characters, including U+FFFD for all others: \\n ." in here("info").stdout
    assert json.loads(here("info", "--json").stdout)["unknown_character"] == "\ufffd"
    assert json.loads(here("info", "--json", model).stdout)["unknown_character"] is None


def test_prime_with_unknown_characters_is_shown_as_typed(merged, here):
    done = here("sample", "--seed", 1, "-n", 5, "--prime", "3 龘 A")
    assert done.returncode == 0
    assert done.stdout.startswith("3 龘 A")
    assert "\ufffd" not in done.stdout


def test_each_line_with_unknown_characters_is_shown_as_typed(merged, here, tmp_path):
    (tmp_path / "primes.txt").write_text("3 龘\nA\n", encoding="utf-8")
    done = here("sample", "--seed", 1, "--prime-file", "primes.txt", "--each-line", "-n", 4, "--json")
    texts = [json.loads(line)["full_text"] for line in done.stdout.splitlines()]
    assert [text[:-4] for text in texts] == ["3 龘", "A"]
    assert "\ufffd" not in "".join(texts)


def test_story_has_unknown_characters_as_typed(merged, here):
    done = here("play", "--seed", 1, "-n", 5, input="3 龘\n:story\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 龘" in done.stdout
    assert "\ufffd" not in done.stdout


def test_score_tells_how_unknown_characters_are_scored(merged, model, here, tmp_path):
    (tmp_path / "other.txt").write_text("3 times ABC")
    assert "over 10 characters; unknown characters, scored as one symbol: 3\n" in here("score", "other.txt").stdout
    values = json.loads(here("score", "other.txt", "--json").stdout)
    assert (values["chars"], values["unknown_chars"], values["unknown_scored"]) == (10, 3, True)
    plain = here("score", "other.txt", "--ckpt", model)
    assert "over 7 characters; unknown characters skipped: 3\n" in plain.stdout
    assert json.loads(here("score", "other.txt", "--ckpt", model, "--json").stdout)["unknown_scored"] is False


def test_scored_text_is_shown_with_its_unknown_characters(merged, here, tmp_path):
    (tmp_path / "other.txt").write_text("3 times ABC\n1 ☃\n", encoding="utf-8")
    done = here("score", "other.txt", "--highlight")
    assert done.stdout == "3 times ABC\n1 ☃\n"
    assert done.stderr.endswith("Unknown characters, scored as one symbol: 4\n")
    parts = json.loads(here("score", "other.txt", "--by", "line", "--json").stdout)["parts"]
    assert [(part["text"], part["chars"], part["unknown_chars"]) for part in parts] == [
        ("3 times ABC\n", 11, 3),
        ("1 ☃\n", 4, 1),
    ]


def test_baselines_of_a_score_know_merged_characters(merged, here, tmp_path):
    (tmp_path / "other.txt").write_text("3 times ABC")
    done = here("score", "other.txt", "--baselines", "corpus.txt")
    assert "baselines, in bits per character: uniform 4.248" in done.stdout  # log2(19)


@pytest.fixture
def interrupted(here, tmp_path):
    """Resume a run that was interrupted after its first step; return what was reported."""

    def run(text, config):
        (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
        part = begin(config, text)
        next(train_run(part))
        part.save(tmp_path / "model.npz")
        done = here("train", "corpus.txt", "--resume")
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


def test_resumed_run_merges_the_same_characters(interrupted, tmp_path):
    interrupted(TEXT + RARE, MERGING)
    assert_same_run(load_run(tmp_path / "model.npz"), train_fully(MERGING, TEXT + RARE)[0])


def test_forced_resume_accepts_a_corpus_with_unknown_characters(here, tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT + "ÀÉÎ", encoding="utf-8")
    part = begin(MERGING, TEXT + RARE)
    part.save(tmp_path / "model.npz")
    assert "the corpus differs" in error_line(here("train", "corpus.txt", "--resume"), 1)
    assert here("train", "corpus.txt", "--resume", "--force").returncode == 0


def test_resumed_run_has_no_suggestions(interrupted):
    assert "--normalize" not in interrupted(TEXT + "é" + "e\u0301", SMALL.replace(threads=1, steps=6))


def test_merging_is_suggested_until_it_is_done(train):
    assert "400 of the 403 distinct characters occur fewer than 10 times and account for " in train("ab\n" * 20 + MANY)
    assert "--min-count" not in train("ab\n" * 20 + MANY, "--min-count", 10)


@pytest.mark.slow
def test_plan_has_suggestions(here, tmp_path):
    (tmp_path / "corpus.txt").write_text("é\n" * 20 + "e\u0301" + MANY, encoding="utf-8")
    done = here("plan", "corpus.txt", "--steps", 3)
    assert re.findall(r"^suggestion  .* try (.*)$", done.stdout, re.MULTILINE) == ["--min-count 10", "--normalize NFC"]


def test_plan_describes_the_merged_vocabulary(here, tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT + RARE, encoding="utf-8")
    done = here("plan", "corpus.txt", "--steps", 3, "--min-count", 5)
    assert f"corpus      {len(TEXT + RARE):,} characters, 22 distinct, 19 with rare ones merged\n" in done.stdout
    assert "suggestion" not in done.stdout
    assert done.stdout.endswith("    charlstm train corpus.txt --steps 3 --min-count 5\n")


# ---- normalisation


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


@pytest.mark.parametrize("flags", [("--min-count", 2), ("--normalize", "NFC")])
def test_resume_refuses_another_way_to_read_the_corpus(flags, train, here):
    train(TEXT + RARE)
    name, value = flags[0].removeprefix("--").replace("-", "_"), flags[1]
    line = error_line(here("train", "corpus.txt", "--resume", *flags), 2)
    assert f"model.npz was started with {name} {'1' if name == 'min_count' else 'none'}, not {value}; " in line
