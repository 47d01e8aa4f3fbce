"""The bundled model `@english`: where it can be used, and when it is suggested."""

import json

import pytest
from helpers import TEXT, error_line

from charlstm import UsageError, load, load_run
from charlstm.cli.summary import describe_base
from charlstm.config.presets import bundled_models
from charlstm.text.corpus import Corpus
from charlstm.text.reader import read_corpus
from charlstm.training import transfer
from charlstm.training.transfer import suggest_base

ENGLISH = (
    "It was a cold morning, and the old man had not slept. He went down to the river, where the boats were, and "
    "looked for his brother among the people who were waiting there.\n"
)
GERMAN = "Es war ein kalter Morgen, und der alte Mann hatte nicht geschlafen. Er ging zum Fluss hinunter.\n"
SUGGESTED = "try --init-from @english"


@pytest.fixture
def english(tmp_path):
    (tmp_path / "english.txt").write_text(ENGLISH * 20)
    return tmp_path


def corpus_of(tmp_path, text: str) -> Corpus:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    return read_corpus(tmp_path / "text.txt")


def test_english_model_generates_english(here):
    words = here("sample", "@english", "-n", 600, "-t", 0.5, "--seed", 1).stdout.lower().split()
    assert sum(word in {"the", "and", "of", "to", "a", "in", "was", "he", "that", "it"} for word in words) > 15


def test_english_model_predicts_english_much_better_than_german():
    model = load("@english")
    assert model.score(ENGLISH).nats_per_char < 1.6
    assert model.score(GERMAN).nats_per_char > 2.5


def test_english_model_is_small_enough_for_the_package():
    path = bundled_models()["@english"]
    assert len(path.read_bytes()) <= 1_500_000
    run = load_run("@english")
    assert (run.training, run.weights) == (None, "int8")


def test_commands_accept_english_as_a_model(english, here):
    assert "512 units" in here("info", "@english").stdout
    assert "nats" in here("score", "@english", "english.txt").stdout
    assert here("sample", "--ckpt", "@english", "-n", 20).returncode == 0
    assert here("play", "@english", input="It was\n").returncode == 0
    assert here("convert", "@english", "-o", "wide.npz").returncode == 0


def test_training_starts_from_english(english, here):
    done = here(
        "train", "english.txt", "--init-from", "@english", "--steps", 2, "--evals", 1, "--batch-size", 8, "--threads", 1
    )
    assert done.returncode == 0, done.stderr
    assert "Starting from @english, which has" in done.stderr
    assert SUGGESTED not in done.stderr
    run = load_run(english / "model.npz")
    assert run.base is not None
    assert run.base.name == "@english"
    assert run.config.model.hidden_size == 512


@pytest.mark.parametrize("command", ["train", "plan"])
def test_english_is_rejected_as_a_corpus(command, here):
    message = error_line(here(command, "@english"), 2)
    assert (
        message
        == "Error: @english is a model, not a corpus; to start from it, use charlstm train CORPUS --init-from @english"
    )


def test_unknown_bundled_model_is_an_error(english, here):
    with pytest.raises(UsageError, match=r"^@klingon: no such bundled model; choose from @english$"):
        load("@klingon")
    assert "no such bundled model" in error_line(here("train", "english.txt", "--init-from", "@klingon"), 2)


GREEK = "Ο ήλιος ανατέλλει πάνω από τη θάλασσα και το φως του πέφτει στα σπίτια.\n"


@pytest.mark.parametrize(("text", "poor"), [(ENGLISH, False), (GERMAN, False), (GREEK, True)])
def test_base_that_predicts_the_corpus_poorly_is_said_to(text, poor, tmp_path):
    dataset = corpus_of(tmp_path, text * 20).split(0.1)
    message = describe_base("@english", load("@english"), dataset)
    assert ("It predicts the corpus poorly; training from scratch" in message) == poor


# ---- the suggestion


@pytest.mark.slow
def test_english_is_suggested_once(english, here):
    done = here("train", "english.txt", "--steps", 2, "--batch-size", 8, "--evals", 1)
    assert done.stderr.count(SUGGESTED) == 1
    assert SUGGESTED not in here("train", "english.txt", "--steps", "+1", "--resume").stderr
    assert here("train", "english.txt", "--steps", 2, "--batch-size", 8, "-q", "-o", "quiet.npz").stderr == ""
    sized = here("train", "english.txt", "--steps", 2, "--hidden-size", 8, "--evals", 1, "-o", "sized.npz")
    assert SUGGESTED not in sized.stderr  # it has another size
    plan = json.loads(here("plan", "english.txt", "--steps", 2, "--json").stdout)
    assert any(SUGGESTED in suggestion for suggestion in plan["suggestions"])


@pytest.mark.parametrize(
    "text",
    [GERMAN * 20, TEXT, "x", "Пушкин писал стихи.\n" * 50, "ПУШКИН" * 100, "日本語のぶんしょう" * 200, "01" * 500],
)
def test_english_is_not_suggested_for_other_texts(text, tmp_path):
    assert suggest_base(corpus_of(tmp_path, text).split(0)) == []


def test_english_is_not_suggested_for_long_texts(tmp_path, monkeypatch):
    dataset = corpus_of(tmp_path, ENGLISH * 20).split(0.1)
    assert suggest_base(dataset)
    monkeypatch.setattr(transfer, "_SHORT_CHARS", 2500)
    assert suggest_base(dataset) == []


def test_missing_bundled_model_is_not_suggested(tmp_path, monkeypatch):
    dataset = corpus_of(tmp_path, ENGLISH * 20).split(0.1)
    assert suggest_base(dataset)
    monkeypatch.setattr(transfer, "ENGLISH", "@missing")
    assert suggest_base(dataset) == []


def test_english_is_suggested_for_documents(tmp_path):
    (tmp_path / "text.txt").write_text(ENGLISH * 20)
    assert suggest_base(read_corpus(tmp_path / "text.txt", documents="line").split(0.1))
