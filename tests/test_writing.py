"""What sample, play and score write, called as functions; tests/test_cli.py has them in processes of their own."""

import json
import os
import re
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
from conftest import TEXT

from charlstm import CharlstmError, Config, load, save, start
from charlstm.cli.main import cli
from charlstm.errors import UsageError


@pytest.fixture
def here(tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    save(trained, "model.npz")
    (tmp_path / "corpus.txt").write_text(TEXT)
    return tmp_path


@pytest.fixture
def ran(here, capsys):
    def run(*arguments):
        cli.main([str(argument) for argument in arguments], standalone_mode=False)
        return capsys.readouterr().out

    return run


def sample(ran, *arguments):
    return ran("sample", "--seed", 1, *arguments)


# ---- sample


def test_several_texts_are_those_of_the_seeds_that_follow(ran):
    together = sample(ran, "-n", 40, "--num", 3)
    parts = re.findall(r"----- seed (\d)\n((?s:.*?))\n?(?=-----|\Z)", together)
    assert [seed for seed, _ in parts] == ["1", "2", "3"]
    for seed, text in parts:
        assert ran("sample", "-n", 40, "--seed", seed).rstrip("\n") == text.rstrip("\n")


def test_json_has_a_line_for_each_text(ran):
    lines = [json.loads(line) for line in sample(ran, "-n", 30, "--num", 70, "--json", "--probs").splitlines()]
    assert [line["seed"] for line in lines] == list(range(1, 71))  # more than are written side by side
    for line in lines[::23]:
        assert line["text"] == ran("sample", "-n", 30, "--seed", line["seed"])
        assert line["bits_per_char"] == pytest.approx(-line["log_probability"] / 30 / np.log(2))
        assert sum(np.log(each["p"]) for each in line["probs"]) == pytest.approx(line["log_probability"])


def test_the_best_of_several_is_the_likeliest(ran):
    every = [json.loads(line) for line in sample(ran, "-n", 20, "--num", 6, "--json").splitlines()]
    best = [json.loads(line) for line in sample(ran, "-n", 20, "--num", 2, "--best-of", 3, "--json").splitlines()]
    assert best == [max(some, key=lambda text: text["log_probability"]) for some in (every[:3], every[3:])]


def test_an_output_file_gets_what_standard_output_would(ran, here):
    assert sample(ran, "-o", "out.txt") == ""
    assert (here / "out.txt").read_text() == sample(ran)
    with pytest.raises(UsageError, match=r"--output nowhere/out\.txt: No such file"):
        sample(ran, "-o", "nowhere/out.txt")


def test_filters_and_rules_can_be_given(ran):
    assert (
        sample(ran, "--top-k", 1) == sample(ran, "-t", 0) == sample(ran, "--top-p", 1e-9) == sample(ran, "--min-p", 1)
    )
    assert sample(ran, "-t", 1, "--typical", 0.5) != sample(ran, "-t", 1)
    assert sample(ran, "-t", 0, "--temperature-at-start", 2) != sample(ran, "-t", 0)
    assert sample(ran, "-n", 99, "-t", 0, "--repetition-penalty", 3) != sample(ran, "-n", 99, "-t", 0)
    assert sample(ran, "-n", 200, "--lines", 2).count("\n") == 2
    whole = sample(ran, "-n", 200)
    assert sample(ran, "-n", 200, "--stop", r"\n") == whole.partition("\n")[0]
    assert sample(ran, "-n", 200, "--stop", r"\n", "--keep-stop") == whole.partition("\n")[0] + "\n"
    assert re.fullmatch(r"[0-9]+ times [0-9]{2}\n", sample(ran, "--pattern", r"[0-9]+ times [0-9]{2}\n"))
    assert len(sample(ran, "--beam", 3, "-n", 20)) == 20


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--beam 3 -t 2", "--beam does not go with --temperature: it finds one text"),
        ("--beam 3 --num 2", "--beam does not go with --num"),
        ("--pattern a --lines 2", "--pattern does not go with --lines: it says where"),
        ("--prime a --prime-file b", "--prime does not go with --prime-file"),
        ("--keep-stop", "--keep-stop needs --stop"),
        ("--hide-prime", "--hide-prime needs --prime or --prime-file"),
        ("--repetition-free 9", "--repetition-free needs --repetition-penalty"),
        ("--corpus corpus.txt", "--corpus needs --no-copy or --cite"),
        ("--encoding cp1252", "--encoding needs --corpus or --prime-file"),
        ("--probs", "--probs needs --json"),
        ("--cite", "--cite needs --corpus"),
        ("--stop é", "--stop would never be met: .* E WITH ACUTE"),
        ("--prime - --cite --corpus -", "- is standard input, which can be read only once"),
    ],
)
def test_options_without_effect_are_refused(flags, message, ran):
    with pytest.raises(UsageError, match=message):
        sample(ran, *flags.split())


def test_options_at_their_defaults_are_no_contradiction(ran):
    assert sample(ran, "--beam", 3, "--num", 1, "-t", 0.8, "-n", 9) == sample(ran, "--beam", 3, "-n", 9)


def test_what_is_no_ordinary_file_is_written_to_as_it_is(ran, here):
    text = sample(ran, "-n", 30)
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert sample(ran, "-n", 30, "-o", "pipe") == ""
    assert os.read(reader, 99).decode() == text
    os.close(reader)
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)
    assert sample(ran, "-n", 30, "-o", "-") == text
    assert not (here / "-").exists()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_while_a_file_is_written_leaves_nothing_behind(name, here):
    command = [sys.executable, "-m", "charlstm", "sample", "-n", "100000000", "-o", "new.txt"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not list(here.glob(".new.txt.*")):
            assert process.poll() is None
        process.send_signal(getattr(signal, name))
        assert process.communicate(timeout=10)[1] == b""
    assert process.returncode == 128 + getattr(signal, name)
    assert sorted(path.name for path in here.iterdir()) == ["corpus.txt", "model.npz"]


def test_a_text_that_is_stuck_does_not_take_others_with_it(ran, here):
    (here / "digits.txt").write_text("0 1 2 3 4 5 6 7")
    flags = ("-t", 1, "--pattern", "[0-9] (1 2 3|[ times]+)", "-n", 20, "--no-copy", 3, "--corpus", "digits.txt")
    alone, lost = {}, []
    for seed in range(1, 13):
        try:
            alone[seed] = json.loads(ran("sample", "--seed", seed, "--json", *flags))["text"]
        except CharlstmError:
            lost.append(seed)
    assert alone
    assert lost
    with pytest.raises(CharlstmError, match=f"seeds? {', '.join(map(str, lost))}: nothing can come next"):
        sample(ran, *flags, "--num", 12, "--json", "-o", "written.txt")
    written = [json.loads(line) for line in (here / "written.txt").read_text().splitlines()]
    assert {each["seed"]: each["text"] for each in written} == alone
    best = json.loads(sample(ran, *flags, "--best-of", 12, "--json"))
    assert best["text"] in alone.values()


def test_where_a_pattern_may_end_the_filters_say_whether_it_does(ran):
    texts = [ran("sample", "--pattern", "[0-9]+", "--top-k", 1, "--seed", seed, "-n", 40) for seed in range(9)]
    assert len(set(texts)) == 1


def test_stops_have_escapes(ran):
    assert sample(ran, "-n", 200, "--stop", "\\n") == sample(ran, "-n", 200, "--stop", "\n")
    with pytest.raises(UsageError, match="REVERSE SOLIDUS"):
        sample(ran, "--stop", "\\\\n")


def test_texts_on_a_terminal_end_their_line(ran, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for flags in ((), ("--best-of", 2), ("--beam", 2)):
        assert re.fullmatch(".{5}\n", sample(ran, "-n", 5, "--prime", "1", "--hide-prime", *flags)), flags


def test_a_failure_leaves_an_output_file_as_it_was(ran, here):
    (here / "kept.txt").write_text("kept")
    (here / "digits.txt").write_text("0123456789")
    with pytest.raises(CharlstmError, match="nothing can come next"):
        sample(ran, "--pattern", "times 0123", "--no-copy", 4, "--corpus", "digits.txt", "-o", "kept.txt", "-n", 20)
    assert (here / "kept.txt").read_text() == "kept"
    before = (here / "model.npz").read_bytes()
    for flags in (["-o", "model.npz"], ["-o", "corpus.txt", "--cite", "--corpus", "corpus.txt"]):
        with pytest.raises(UsageError, match="itself, which would be overwritten"):
            sample(ran, *flags)
    assert (here / "model.npz").read_bytes() == before
    assert sorted(path.name for path in here.iterdir()) == ["corpus.txt", "digits.txt", "kept.txt", "model.npz"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--beam", 2, "--num", 2],
        ["--beam", 2, "--probs", "--json"],
        ["--probs"],
        ["--pattern", "a", "--stop", "a"],
        ["--pattern", "a", "--lines", 1],
    ],
)
def test_options_that_contradict_each_other_are_refused(ran, flags):
    with pytest.raises(UsageError, match=r"does not go with|needs"):
        sample(ran, *flags)


@pytest.mark.parametrize(
    "flags",
    [
        ["--stop", "s", "--no-copy", 6, "--corpus", "corpus.txt"],
        ["--lines", 2, "--repetition-penalty", 1, "--min-p", 0.05],
        ["--pattern", "[0-9 a-z]+", "--no-copy", 6, "--corpus", "corpus.txt"],
        ["--length", 0],
    ],
)
def test_under_all_rules_a_text_is_the_same_alone_and_among_others(ran, flags):
    for line in sample(ran, "-n", 80, *flags, "--num", 9, "--json").splitlines():
        text = json.loads(line)
        assert text["text"] == ran("sample", "-n", 80, "--seed", text["seed"], *flags)


def test_primes_come_from_files_and_can_be_hidden(ran, here):
    (here / "prime.txt").write_text("3 times ")
    assert sample(ran, "--prime-file", "prime.txt") == sample(ran, "--prime", "3 times ")
    assert "3 times " + sample(ran, "--prime", "3 times ", "--hide-prime") == sample(ran, "--prime", "3 times ")
    (here / "latin.txt").write_bytes("\xe9 3".encode("cp1252"))
    with pytest.raises(UsageError, match=r"--encoding, such as cp1252"):
        sample(ran, "--prime-file", "latin.txt")
    assert sample(ran, "--prime-file", "latin.txt", "--encoding", "cp1252", "--unknown", "nearest").startswith("e 3")
    with pytest.raises(UsageError, match=r"--prime-file: none\.txt: No such file"):
        sample(ran, "--prime-file", "none.txt")


def test_unknown_characters_are_refused_left_out_or_replaced(ran):
    with pytest.raises(UsageError, match=r"'é' U\+00E9 .*--unknown skip"):
        sample(ran, "--prime", "timés")
    assert sample(ran, "--prime", "tiXmeXs", "--unknown", "skip") == sample(ran, "--prime", "times")
    assert sample(ran, "--prime", "tíméS", "--unknown", "nearest") == sample(ran, "--prime", "times")
    assert sample(ran, "--prime", "３ times", "--unknown", "nearest") == sample(ran, "--prime", "3 times")
    assert sample(ran, "--prime", "e\u0301 TIMES", "--unknown", "nearest") == sample(ran, "--prime", "e times")
    with pytest.raises(UsageError, match="SNOWMAN"):
        sample(ran, "--prime", "☃", "--unknown", "nearest")


def test_copies_are_cited_and_avoided(ran, here, capsys):
    cited = json.loads(sample(ran, "-n", 60, "--json", "--cite", "--corpus", "corpus.txt"))["copied"]
    assert TEXT[: TEXT.find(cited["text"])].count("\n") == cited["line"] - 1
    assert len(cited["text"]) == cited["chars"] >= 3
    sample(ran, "-n", 60, "--cite", "--corpus", "corpus.txt")
    cli.main(["sample", "--seed", "1", "-n", "60", "--cite", "--corpus", "corpus.txt"], standalone_mode=False)
    assert f"{cited['chars']} characters, line {cited['line']}: " in capsys.readouterr().err
    text = sample(ran, "-n", 400, "--no-copy", 6, "--corpus", "corpus.txt")
    assert not any(text[k : k + 6] in TEXT for k in range(395))
    for flags in (["--cite"], ["--no-copy", 5]):
        with pytest.raises(UsageError, match="needs --corpus"):
            sample(ran, *flags)


def test_a_model_can_bring_its_index_of_copies_along(ran, here, corpus):
    config = Config().replace(hidden_size=4, batch_size=4, seq_len=10, no_copy_index=6)
    save(start(config, corpus), "indexed.npz")
    text = sample(ran, "--ckpt", "indexed.npz", "-n", 400, "--no-copy", 6)
    assert text == sample(ran, "--ckpt", "indexed.npz", "-n", 400, "--no-copy", 6, "--corpus", "corpus.txt")
    assert not any(text[k : k + 6] in TEXT for k in range(395))
    with pytest.raises(UsageError, match="the model knows runs of 6"):
        sample(ran, "--ckpt", "indexed.npz", "--no-copy", 7)
    assert (load("indexed.npz").copies.words == start(config, corpus).copies.words).all()


# ---- play


@pytest.fixture
def played(here, capsys, monkeypatch):
    def play(*lines, length=20):
        typed = iter(lines)

        def line(prompt):
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", line)
        cli.main(["play", "--seed", "1", "-n", str(length)], standalone_mode=False)
        return capsys.readouterr()

    return play


def test_a_story_goes_on_from_what_was_typed_and_written(played, trained):
    first, second = played("3 times ", "").out[:20], played("3 times ", "").out[21:41]
    story = played("3 times ", "", ":story").out
    assert story.endswith("3 times " + first + second + "\n")
    assert played("3 times ", ":quit", "").out == first + "\n"


def test_turns_can_be_taken_back_and_written_anew(played):
    assert played("3 times ", ":undo", ":story").out.endswith("\n\n")
    again = played("3 times ", ":again", ":story").out
    assert again.endswith("3 times " + again[21:41] + "\n")
    assert again[:20] != again[21:41]
    assert "nothing is written yet" in played(":undo").err
    kept = played("3 times ", ":state save here", "", "", ":state load here", ":story").out
    assert kept.endswith("3 times " + kept[:20] + "\n")


def test_a_story_can_be_steered_and_saved(played, here):
    assert len(played(":length 7", "3").out) == 8
    assert played(":temp 0", "3 times ", "").out == played(":temp 0", ":again", "3 times ", "").out
    assert played(":stop is", "3 times ", length=200).out.endswith("is\n")
    assert "saved in story.txt" in played("3 times ", ":save story.txt").err
    assert (here / "story.txt").read_text().startswith("3 times ")
    for line, error in (
        (":save story.txt", "File exists"),
        (":temp hot", "hot is not a number"),
        (":length 0", "0 is not an integer from 1"),
        (":state load nowhere", "none yet"),
        ("☃", "SNOWMAN"),
        (":what", "there is no :what"),
        (":save", "name a file"),
    ):
        assert error in played(line).err


# ---- score


def test_parts_add_up_to_the_whole(ran, here):
    (here / "other.txt").write_text("1 times 2 is 2.\n\n5 times 6 is 30.\n7 times 8\n")
    for by, count in (("file", 2), ("line", 404), ("document", 3)):
        values = json.loads(ran("score", "corpus.txt", "other.txt", "--by", by, "--json"))
        parts = values["parts"]
        assert len(parts) == count
        assert sum(part["chars"] for part in parts) == values["chars"]
        total = sum(part["chars"] * part["nats_per_char"] for part in parts)
        assert total / values["chars"] == pytest.approx(values["nats_per_char"])
        assert "".join(part["text"] for part in parts) == TEXT + (here / "other.txt").read_text()
    assert parts[-1]["where"] == "other.txt:2"


def test_a_file_of_unknown_characters_has_no_part_in_the_score(ran, here):
    (here / "none.txt").write_text("ÄÖÜ")
    values = json.loads(ran("score", "none.txt", "corpus.txt", "--by", "file", "--json"))
    assert [part["chars"] for part in values["parts"]] == [0, len(TEXT) - 1]
    for flags in (["--sort"], ["--highlight", "--by", "line"]):
        with pytest.raises(UsageError, match=r"needs|does not go with"):
            ran("score", "corpus.txt", *flags)
    with pytest.raises(UsageError, match="give it once"):
        ran("score", "-", "-")


def test_odd_lines_come_first(ran, here):
    lines = TEXT.splitlines(keepends=True)
    (here / "odd.txt").write_text("".join([*lines[:40], "sss...mmm...ttt\n", *lines[40:80]]))
    rows = ran("score", "odd.txt", "--by", "line", "--sort").splitlines()[2:]
    assert rows[0].split()[2:] == ["41:", "sss...mmm...ttt\\n"]
    bits = [float(row.split()[0]) for row in rows]
    assert bits == sorted(bits, reverse=True)


def test_what_surprises_is_coloured(ran, here, monkeypatch):
    (here / "odd.txt").write_text("1 times 2 is 2.\nsss\n")
    coloured = ran("score", "odd.txt", "--highlight")
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == "1 times 2 is 2.\nsss\n"
    assert coloured.count("\x1b[38;5;") > 1
    monkeypatch.setenv("NO_COLOR", "1")
    assert ran("score", "odd.txt", "--highlight") == "1 times 2 is 2.\nsss\n"


def test_a_terminal_gets_tabs_but_no_control_characters(ran, here, monkeypatch, capsys):
    (here / "odd.txt").write_text("a\tb \x1b\xa0\n" * 50)
    cli.main(["train", "odd.txt", "-o", "odd.npz", "--steps", "1", "--hidden-size", "4", "-q"], standalone_mode=False)
    (here / "seen.txt").write_text("a\t☃\x1b[31m\n")
    for environment in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        coloured = ran("score", "--ckpt", "odd.npz", "seen.txt", "--highlight")
        assert re.sub(r"\x1b\[(38;5;\d+|0)m", "", coloured) == "a\t\\x1b\n"
        cli.main(["score", "--ckpt", "odd.npz", "seen.txt", "--highlight"], standalone_mode=False)
        assert "5 characters that the model does not know are left out" in capsys.readouterr().err


def test_documents_keep_their_indentation(ran, here):
    (here / "two.txt").write_text("1 times\n\n  \n   2 times 3\n")
    parts = json.loads(ran("score", "two.txt", "--by", "document", "--json"))["parts"]
    assert [part["text"] for part in parts] == ["1 times\n\n  \n", "   2 times 3\n"]


def test_many_streams_score_like_one(ran, here):
    (here / "strange.txt").write_text("ÄÖÜ")
    exact, fast = (json.loads(ran("score", "corpus.txt", "--json", *flags)) for flags in (["--exact"], []))
    assert exact["nats_per_char"] == pytest.approx(fast["nats_per_char"], abs=1e-3)
    with pytest.raises(CharlstmError, match="knows none of its characters"):
        ran("score", "corpus.txt", "--yardsticks", "strange.txt")
