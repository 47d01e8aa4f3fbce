"""`charlstm score`: the parts of texts, the order of parts, and highlighted text."""

import json
import math
import re

import pytest
from helpers import TEXT, begin, error_line

from charlstm import Config

OTHER = "1 times 2 is 2.\n\n5 times 6 is 30.\n7 times 8\n"


@pytest.fixture
def directory(trained, text_file, tmp_path):
    """The directory of the command, with a model, its corpus and another text."""
    trained.save(tmp_path / "model.npz")
    (tmp_path / "other.txt").write_text(OTHER)
    return tmp_path


@pytest.fixture
def score(directory, here):
    """Return what `charlstm score` prints, having checked that it reports nothing."""

    def run(*arguments):
        done = here("score", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


# ---- parts


@pytest.mark.parametrize(("by", "count"), [("file", 2), ("line", 404), ("document", 3)])
def test_parts_add_up_to_the_whole(by, count, score):
    values = json.loads(score("corpus.txt", "other.txt", "--by", by, "--json"))
    parts = values["parts"]
    assert len(parts) == count
    assert "".join(part["text"] for part in parts) == TEXT + OTHER
    assert sum(part["chars"] for part in parts) == values["chars"]
    total = sum(part["chars"] * part["nats_per_char"] for part in parts)
    assert total / values["chars"] == pytest.approx(values["nats_per_char"])


@pytest.mark.parametrize(
    ("files", "by", "names"),
    [
        (["other.txt"], "line", ["1", "2", "3", "4"]),
        (["other.txt"], "document", ["1", "2"]),
        (["other.txt"], "file", ["other.txt"]),
        (["other.txt", "other.txt"], "document", ["other.txt:1", "other.txt:2"] * 2),
        (["other.txt", "corpus.txt"], "file", ["other.txt", "corpus.txt"]),
    ],
)
def test_parts_are_numbered_within_their_file(files, by, names, score):
    parts = json.loads(score(*files, "--by", by, "--json"))["parts"]
    assert [part["where"] for part in parts] == names


def test_parts_are_printed_with_their_bits_and_text(score):
    parts = json.loads(score("other.txt", "--by", "line", "--json"))["parts"]
    assert score("other.txt", "--by", "line").splitlines()[2:] == [
        f"{part['bpc']:9.4f} {part['chars']:>9}  {part['where']}: " + part["text"].replace("\n", "\\n")
        for part in parts
    ]


def test_file_of_unknown_characters_is_an_empty_part(score, directory):
    (directory / "none.txt").write_text("ÄÖÜ", encoding="utf-8")
    parts = json.loads(score("none.txt", "corpus.txt", "--by", "file", "--json"))["parts"]
    assert [part["chars"] for part in parts] == [0, len(TEXT) - 1]


def test_documents_keep_their_indentation(score, directory):
    (directory / "two.txt").write_text("1 times\n\n  \n   2 times 3\n")
    parts = json.loads(score("two.txt", "--by", "document", "--json"))["parts"]
    assert [part["text"] for part in parts] == ["1 times\n\n  \n", "   2 times 3\n"]


def test_sort_lists_worst_predicted_parts_first(score, directory):
    lines = TEXT.splitlines(keepends=True)
    (directory / "odd.txt").write_text("".join([*lines[:40], "sss...mmm...ttt\n", *lines[40:80]]))
    rows = score("odd.txt", "--by", "line", "--sort").splitlines()[2:]
    assert rows[0].split()[2:] == ["41:", "sss...mmm...ttt\\n"]
    bits = [float(row.split()[0]) for row in rows]
    assert bits == sorted(bits, reverse=True)


# ---- the whole


def test_exact_agrees_with_many_streams(score):
    exact, fast = (json.loads(score("corpus.txt", "--json", *flags))["nats_per_char"] for flags in (["--exact"], []))
    assert exact == pytest.approx(fast, abs=1e-3)
    assert exact != fast


def test_standard_input_is_scored_like_a_file(directory, here):
    assert here("score", "-", input=OTHER).stdout == here("score", "other.txt").stdout


def test_standard_input_can_be_read_only_once(directory, here):
    assert error_line(here("score", "-", "-"), 2) == "Error: standard input (-) can be read only once"
    assert "only once" in error_line(here("score", "-", "--baselines", "-"), 2)


def test_flag_without_effect_is_rejected(directory, here):
    assert error_line(here("score", "corpus.txt", "--sort"), 2) == "Error: --sort needs --by"


# ---- highlighted text


@pytest.fixture
def odd(directory):
    """A text with badly predicted characters."""
    (directory / "odd.txt").write_text("1 times 2 is 2.\nsss\n")
    return "odd.txt"


def without_colours(text):
    """Return a text without the escapes of the command's colours."""
    return re.sub(r"\x1b\[(38;5;\d+|0)m", "", text)


@pytest.fixture(autouse=True)
def colour(monkeypatch):
    """Colours are on, whatever the terminal that runs the tests."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_badly_predicted_characters_are_coloured(score, odd):
    coloured = score(odd, "--highlight")
    assert without_colours(coloured) == "1 times 2 is 2.\nsss\n"
    assert coloured.count("\x1b[38;5;") > 1


def test_worse_predicted_characters_are_redder(score, odd, trained):
    losses = [0.0, *(trained.model.score("1 times 2 is 2.\nsss\n").losses / math.log(2)).tolist()]
    colours = {0: None, 1: "229", 2: "221", 3: "214", 4: "208", 5: "196"}
    shown: list[str | None] = []
    colour = None
    for escape, character in re.findall(r"\x1b\[((?:38;5;)?\d+)m|((?s:.))", score(odd, "--highlight")):
        if character:
            shown.append(colour)
        else:
            colour = None if escape == "0" else escape.removeprefix("38;5;")
    assert shown == [colours[min(int(bits // 2), 5)] for bits in losses]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_environment_turns_colours_off(name, value, score, odd, monkeypatch):
    monkeypatch.setenv(name, value)
    assert score(odd, "--highlight") == "1 times 2 is 2.\nsss\n"


@pytest.mark.parametrize("name", ["", "NO_COLOR"])
def test_control_characters_are_escaped_except_tabs(name, directory, here, monkeypatch):
    begin(Config().replace(hidden_size=4), "a\tb \x1b\xa0\n" * 50).save(directory / "odd.npz")
    (directory / "seen.txt").write_text("a\t☃\x1b[31m\n", encoding="utf-8")
    if name:
        monkeypatch.setenv(name, "1")
    done = here("score", "--ckpt", "odd.npz", "seen.txt", "--highlight")
    assert without_colours(done.stdout) == "a\t\\x1b\n"
    assert done.stderr == "Unknown characters skipped: 5\n"
