"""`charlstm score`: the parts of texts, the order of parts, and highlighted text."""

import gzip
import json
import math
import re

import numpy as np
import pytest
from helpers import TEXT, begin, error_line

from charlstm import Config
from charlstm.cli.score import _STYLES

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
    values = json.loads(score("corpus.txt", "other.txt", "--by", by, "--json", "--min-chars", 0))
    parts = values["parts"]
    assert len(parts) == count
    if by != "file":
        assert "".join(part["text"] for part in parts) == TEXT + OTHER
    assert sum(part["chars"] for part in parts) == values["chars"]
    total = sum(part["chars"] * part["nats_per_char"] for part in parts)
    assert total / values["chars"] == pytest.approx(values["nats_per_char"])


@pytest.mark.parametrize(
    ("files", "by", "numbers"),
    [
        (["other.txt"], "line", [1, 3, 4]),
        (["other.txt"], "document", [1, 2]),
        (["other.txt"], "file", [None]),
        (["other.txt", "other.txt"], "document", [1, 2, 1, 2]),
        (["other.txt", "corpus.txt"], "file", [None, None]),
    ],
)
def test_parts_in_json_have_their_file_and_number(files, by, numbers, score):
    parts = json.loads(score(*files, "--by", by, "--json"))["parts"]
    assert [part.get(by) if by != "file" else None for part in parts] == numbers
    assert [part["file"] for part in parts] == [file for file in files for _ in range(len(parts) // len(files))]
    assert all(("text" in part) == (by != "file") for part in parts)


def test_files_of_directories_are_scored_one_by_one(score, tmp_path):
    (tmp_path / "texts" / "b").mkdir(parents=True)
    for name, data in (
        ("10.txt", OTHER.encode()),
        ("9.txt", TEXT.encode()),
        ("b/1.txt.gz", gzip.compress(OTHER.encode())),
        ("empty.txt", b""),
        ("model.bin", b"\0\1\2\3" * 100),
        (".hidden", b"hidden"),
    ):
        (tmp_path / "texts" / name).write_bytes(data)
    parts = json.loads(score("texts", "other.txt", "--by", "file", "--json"))["parts"]
    assert [part["file"] for part in parts] == ["texts/9.txt", "texts/10.txt", "texts/b/1.txt.gz", "other.txt"]
    parts = json.loads(score("texts", "--by", "file", "--json", "--include", "*.txt"))["parts"]
    assert [part["file"] for part in parts] == ["texts/9.txt", "texts/10.txt"]


@pytest.mark.parametrize(("files", "where"), [(["other.txt"], ""), (["other.txt"] * 2, "other.txt:")], ids=str)
def test_parts_are_printed_with_their_bits_and_text(files, where, score):
    parts = json.loads(score(*files, "--by", "line", "--json"))["parts"]
    assert score(*files, "--by", "line").splitlines()[2:] == [
        "bits/char     chars  part",
        *(
            f"{part['bpc']:9.4f} {part['chars']:>9}  {where}{part['line']}: " + part["text"].replace("\n", "\\n")
            for part in parts
        ),
    ]


def test_unknown_characters_stay_in_the_text_of_parts(score, directory):
    (directory / "snow.txt").write_text("1 times 2\n3 ☃imes 4\n", encoding="utf-8")
    (_, part) = json.loads(score("snow.txt", "--by", "line", "--json"))["parts"]
    assert (part["text"], part["chars"], part["unknown_chars"]) == ("3 ☃imes 4\n", 9, 1)
    assert "2: 3 ☃imes 4\\n" in score("snow.txt", "--by", "line")


def test_part_without_scored_characters_has_no_loss_and_comes_last(score, directory):
    (directory / "short.txt").write_text("1☃☃☃\n2 times 3\n4 times 5\n", encoding="utf-8")
    (directory / "none.txt").write_text("ÄÖÜ", encoding="utf-8")
    flags = ("none.txt", "short.txt", "--by", "line", "--sort", "--min-chars", 0)
    *others, last = json.loads(score(*flags, "--json"))["parts"]
    assert (last["chars"], last["nats_per_char"], last["bpc"], last["text"]) == (0, None, None, "ÄÖÜ\n")
    assert all(part["chars"] for part in others)
    assert score(*flags).splitlines()[-1] == "        -         0  none.txt:1: ÄÖÜ\\n"


@pytest.mark.parametrize(("flags", "lines"), [([], [1, 3]), (["--min-chars", 0], [1, 2, 3]), (["--min-chars", 9], [1])])
def test_min_chars_leaves_out_short_parts_and_by_default_blank_lines(flags, lines, score, directory):
    (directory / "blank.txt").write_text("1 times 2\n\n12\n")
    parts = json.loads(score("blank.txt", "--by", "line", "--json", *flags))["parts"]
    assert [part["line"] for part in parts] == lines


def test_lines_of_files_without_a_final_newline_are_not_joined(score, directory):
    (directory / "open.txt").write_text("1 times 2")
    parts = json.loads(score("open.txt", "open.txt", "--by", "line", "--json"))["parts"]
    assert [(part["line"], part["text"]) for part in parts] == [(1, "1 times 2\n"), (1, "1 times 2")]


def test_documents_keep_their_indentation(score, directory):
    (directory / "two.txt").write_text("1 times\n\n  \n   2 times 3\n")
    parts = json.loads(score("two.txt", "--by", "document", "--json"))["parts"]
    assert [part["text"] for part in parts] == ["1 times\n\n  \n", "   2 times 3\n"]


def test_sort_lists_worst_predicted_parts_first(score, directory):
    lines = TEXT.splitlines(keepends=True)
    (directory / "odd.txt").write_text("".join([*lines[:40], "sss...mmm...ttt\n", *lines[40:80]]))
    rows = score("odd.txt", "--by", "line", "--sort").splitlines()[3:]
    assert rows[0].split()[2:] == ["41:", "sss...mmm...ttt\\n"]
    bits = [float(row.split()[0]) for row in rows]
    assert bits == sorted(bits, reverse=True)


# ---- the whole


def test_exact_agrees_with_many_streams(score):
    exact, fast = (json.loads(score("corpus.txt", "--json", *flags))["nats_per_char"] for flags in (["--exact"], []))
    assert exact == pytest.approx(fast, abs=1e-3)
    assert exact != fast


def test_weights_that_follow_the_text_lower_the_loss_of_another_text(score):
    fixed, adapted = (json.loads(score("other.txt", "--json", *flags))["nats_per_char"] for flags in ([], ["--adapt"]))
    assert adapted < fixed


def test_parts_are_scored_by_weights_that_follow_the_whole_text(score):
    parts = json.loads(score("other.txt", "--json", "--by", "line", "--min-chars", 0, "--adapt"))
    sum_of_parts = sum(part["chars"] * part["nats_per_char"] for part in parts["parts"] if part["chars"])
    assert sum_of_parts == pytest.approx(parts["chars"] * parts["nats_per_char"], rel=1e-5)


def test_standard_input_is_scored_like_a_file(directory, here):
    assert here("score", "-", input=OTHER).stdout == here("score", "other.txt").stdout


def test_standard_input_can_be_read_only_once(directory, here):
    assert error_line(here("score", "-", "-"), 2) == "Error: standard input (-) can be read only once"
    assert "only once" in error_line(here("score", "-", "--baselines", "-"), 2)


def test_flag_without_effect_is_rejected(directory, here):
    assert "--exact has no effect with --adapt" in error_line(here("score", "corpus.txt", "--adapt", "--exact"), 2)
    assert error_line(here("score", "corpus.txt", "--sort"), 2) == "Error: --sort needs --by"


# ---- highlighted text


@pytest.fixture
def odd(directory):
    """A text with badly predicted characters."""
    (directory / "odd.txt").write_text("1 times 2 is 2.\nsss\n")
    return "odd.txt"


def without_colours(text):
    """Return a text without the escapes of the command's colours."""
    return re.sub(r"\x1b\[[\d;]+m", "", text)


@pytest.fixture(autouse=True)
def colour(monkeypatch):
    """Colours are on, whatever the terminal that runs the tests."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_badly_predicted_characters_are_coloured(score, odd):
    coloured = score(odd, "--highlight", "--color", "always")
    assert without_colours(coloured) == "1 times 2 is 2.\nsss\n"
    assert coloured.count("38;5;") > 1


def test_worse_predicted_characters_are_redder(score, odd, trained):
    losses = np.nan_to_num(trained.model.score("1 times 2 is 2.\nsss\n").losses) / math.log(2)
    styles = {0: "0", 1: "38;5;136", 2: "38;5;166", 3: "38;5;160", 4: "1;38;5;160", 5: "1;4;38;5;160"}
    shown, style = [], "0"
    for escape, character in re.findall(r"\x1b\[([\d;]+)m|((?s:.))", score(odd, "--highlight", "--color", "always")):
        style = escape or style
        if character:
            shown.append(style)
    assert shown == [styles[min(int(bits // 2), 5)] for bits in losses]


def luminance(colour):
    """Return the relative luminance of one of the 216 colours of the terminal's cube, as WCAG 2 defines it."""
    levels = [(0, 95, 135, 175, 215, 255)[(colour - 16) // 6**k % 6] / 255 for k in (2, 1, 0)]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_are_readable_on_black_and_on_white():
    colours = {int(style.rpartition(";")[2]) for style in _STYLES if style}
    assert len(colours) >= 3
    for colour in colours:
        assert (luminance(colour) + 0.05) / 0.05 > 3
        assert 1.05 / (luminance(colour) + 0.05) > 3


@pytest.mark.parametrize(
    ("terminal", "environment", "color", "coloured"),
    [
        (False, {}, "auto", False),
        (True, {}, "auto", True),
        (True, {"NO_COLOR": "1"}, "auto", False),
        (True, {"TERM": "dumb"}, "auto", False),
        (False, {"NO_COLOR": "1", "TERM": "dumb"}, "always", True),
        (True, {}, "never", False),
    ],
    ids=str,
)
def test_colour_is_for_terminals_unless_set(terminal, environment, color, coloured, score, odd, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert ("\x1b" in score(odd, "--highlight", "--color", color)) == coloured


@pytest.mark.parametrize("color", ["always", "never"])
def test_control_characters_are_escaped_except_tabs(color, directory, here):
    begin(Config().replace(hidden_size=4), "a\tb \x1b\xa0\n" * 50).save(directory / "odd.npz")
    (directory / "seen.txt").write_text("a\t☃\x1b[31m\n", encoding="utf-8")
    done = here("score", "--ckpt", "odd.npz", "seen.txt", "--highlight", "--color", color)
    assert without_colours(done.stdout) == "a\t☃\\x1b[31m\n"
    assert done.stderr == "Unknown characters skipped: 5\n"


def test_highlighted_text_ends_its_line_before_a_report(directory, here):
    (directory / "open.txt").write_text("1 ☃ 2", encoding="utf-8")
    done = here("score", "open.txt", "--highlight")
    assert (done.stdout, done.stderr) == ("1 ☃ 2\n", "Unknown characters skipped: 1\n")


def test_text_in_other_characters_gets_a_warning(here, model, tmp_path):
    (tmp_path / "other.txt").write_text("Ἄνδρα μοι ἔννεπε 12", encoding="utf-8")
    done = here("score", "--ckpt", model, "other.txt")
    assert done.returncode == 0
    assert "of the text is not in the model's vocabulary; the score says little about it" in done.stderr
