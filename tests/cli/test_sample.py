"""`charlstm sample`: several texts, output files, filters, constraints, primes and citations."""

import json
import math
import os
import re
import signal
import stat
import subprocess
import sys

import pytest
from helpers import TEXT, error_line


@pytest.fixture
def directory(trained, text_file, tmp_path):
    """The directory of the command, with a model and its corpus."""
    trained.save(tmp_path / "model.npz")
    return tmp_path


@pytest.fixture
def sample(directory, here):
    """Return what `charlstm sample` prints, by default with seed 1."""

    def run(*arguments, seed=1):
        done = here("sample", "--seed", seed, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.fixture
def refuse(directory, here):
    """Return the error of `charlstm sample` with seed 1."""

    def run(*arguments, code=2):
        return error_line(here("sample", "--seed", 1, *arguments), code)

    return run


def parse(lines):
    """Return the values of JSON lines."""
    return [json.loads(line) for line in lines.splitlines()]


# ---- several texts


def test_num_generates_texts_of_consecutive_seeds(sample):
    parts = re.findall(r"----- seed (\d)\n((?s:.*?))\n?(?=-----|\Z)", sample("-n", 40, "--num", 3))
    assert [seed for seed, _ in parts] == ["1", "2", "3"]
    for seed, text in parts:
        assert sample("-n", 40, seed=seed).rstrip("\n") == text.rstrip("\n")


def test_json_has_a_line_for_each_text(sample):
    lines = parse(sample("-n", 30, "--num", 70, "--json"))  # more than are generated side by side
    assert [line["seed"] for line in lines] == list(range(1, 71))
    for line in lines[::23]:
        assert line["text"] == sample("-n", 30, seed=line["seed"])


def test_json_has_prime_and_likelihood(sample):
    (line,) = parse(sample("-n", 30, "--prime", "3 times ", "--json"))
    assert line.keys() == {"seed", "prime", "text", "full_text", "chars", "log_probability", "bits_per_char"}
    assert (line["seed"], line["prime"], line["chars"]) == (1, "3 times ", 30)
    assert line["full_text"] == line["prime"] + line["text"] == sample("-n", 30, "--prime", "3 times ")
    assert line["bits_per_char"] == pytest.approx(-line["log_probability"] / 30 / math.log(2))


def test_json_has_probabilities_on_request(sample):
    (line,) = parse(sample("-n", 30, "--json", "--probs"))
    assert "".join(each["char"] for each in line["probs"]) == line["text"]
    assert sum(math.log(each["p"]) for each in line["probs"]) == pytest.approx(line["log_probability"])
    assert all(0 <= each["rank"] < 18 and 0 <= each["entropy"] <= math.log2(18) for each in line["probs"])


def test_best_of_keeps_most_likely_text(sample):
    texts = parse(sample("-n", 20, "--num", 6, "--json"))
    best = parse(sample("-n", 20, "--num", 2, "--best-of", 3, "--json"))
    assert best == [max(group, key=lambda text: text["log_probability"]) for group in (texts[:3], texts[3:])]


@pytest.mark.parametrize(
    "flags",
    [
        ["--stop", "s", "--no-copy", 6, "--corpus", "corpus.txt"],
        ["--lines", 2, "--repetition-penalty", 1, "--min-p", 0.05],
        ["--pattern", "[0-9 a-z]+", "--no-copy", 6, "--corpus", "corpus.txt"],
        ["--length", 0],
    ],
    ids=str,
)
def test_text_is_the_same_alone_and_among_others(flags, sample):
    for line in parse(sample("-n", 80, *flags, "--num", 9, "--json")):
        assert line["text"] == sample("-n", 80, *flags, seed=line["seed"])


# ---- texts that must not be longer

SHORT = ("--stop", r"\n", "--max-chars", 12)


@pytest.fixture
def lines(directory, here):
    """What `charlstm sample` prints for seeds 1 to 40 with the flags of `SHORT`, and what it reports."""
    done = here("sample", "--seed", 1, "--num", 40, *SHORT)
    assert done.returncode == 0
    return done.stdout.splitlines(), done.stderr


def test_texts_longer_than_max_chars_are_generated_again(lines, sample):
    texts, report = lines
    free = [line["text"] for line in parse(sample("--stop", r"\n", "--num", 40, "--json"))]
    assert len(texts) == len(free) == 40
    assert max(map(len, texts)) <= 12
    assert [text for text in free if len(text) <= 12] == [
        text for text, before in zip(texts, free, strict=True) if len(before) <= 12
    ]
    redrawn = {text for text, before in zip(texts, free, strict=True) if len(before) > 12}
    assert len(redrawn) > 1
    number = sum(len(text) > 12 for text in free)
    assert report == f"regenerated to stay within 12 characters: {number} of 40 texts\n"


def test_text_generated_again_depends_on_its_own_seed_alone(lines, here):
    texts, _ = lines
    for seed in range(1, 41, 3):
        assert here("sample", "--seed", seed, *SHORT).stdout == texts[seed - 1]


def test_every_text_of_max_chars_ends_itself(directory, here):
    done = here("sample", "--seed", 1, "--num", 9, "--stop", ".", "--keep-stop", "--max-chars", 20, "--json")
    texts = [line["text"] for line in parse(done.stdout)]
    assert len(texts) == 9
    assert all(text.endswith(".") and len(text) <= 20 for text in texts)


@pytest.mark.parametrize(("flags", "longest"), [([], 4), (["--hide-prime"], 12)], ids=str)
def test_max_chars_counts_the_prime_that_is_printed(flags, longest, directory, here):
    done = here("sample", "--seed", 1, "--num", 40, *SHORT, "--prime", "3 times ", *flags)
    texts = [text.removeprefix("3 times ") for text in done.stdout.splitlines()]
    assert max(map(len, texts)) <= longest
    assert (max(map(len, texts)) > 4) == bool(flags)


@pytest.mark.parametrize("flags", [(), ("--pattern", "a+")])
def test_max_chars_needs_an_end(flags, refuse):
    line = refuse("--max-chars", 9, *flags)
    assert line == "Error: --max-chars needs --stop or --lines, or a model trained with --documents"


def test_prime_longer_than_max_chars_is_rejected(refuse):
    line = refuse(*SHORT, "--prime", "3 times 4 is 12")
    assert line == "Error: --prime: its 15 characters exceed --max-chars; raise that, or use --hide-prime"


def test_texts_that_never_end_within_max_chars_are_counted(directory, here):
    flags = ("--seed", 1, "--num", 3, "-t", 0, "--lines", 1, "--prime", "3 times 4 is 12.\n", "--max-chars", 19)
    done = here("sample", *flags, "-o", "out.txt")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "Error: 3 of 3 texts did not end within 19 characters in 100 more attempts (seeds 1, 2, 3); use a larger "
        "--max-chars or a lower --temperature"
    ]
    assert (directory / "out.txt").read_text() == ""


def test_best_of_prefers_texts_within_max_chars(directory, here):
    free = parse(here("sample", "--seed", 1, "--stop", r"\n", "--num", 8, "--json").stdout)
    best = max(free, key=lambda line: line["log_probability"] / line["chars"])
    flags = ("--seed", 1, "--stop", r"\n", "--best-of", 8, "--max-chars", len(best["text"]) - 1)
    assert 0 < len(here("sample", *flags).stdout) < len(best["text"])


# ---- texts that get stuck

STUCK = ("-t", 1, "--pattern", "[0-9] (1 2 3|[ times]+)", "-n", 20, "--no-copy", 3, "--corpus", "digits.txt", "--json")


@pytest.fixture
def alone(directory, here):
    """The text of each seed from 1 to 12, generated alone; None for those that get stuck."""
    (directory / "digits.txt").write_text("0 1 2 3 4 5 6 7")
    texts = {}
    for seed in range(1, 13):
        done = here("sample", "--seed", seed, *STUCK)
        assert done.returncode == 0 or "no character is allowed next" in done.stderr
        texts[seed] = json.loads(done.stdout)["text"] if done.returncode == 0 else None
    assert None in texts.values()
    assert any(texts.values())
    return texts


def test_stuck_texts_are_listed_and_the_others_written(alone, refuse, directory):
    line = refuse(*STUCK, "--num", 12, "-o", "out.txt", code=1)
    stuck = [seed for seed, text in alone.items() if text is None]
    seeds = f"{'seed' if len(stuck) == 1 else 'seeds'} {', '.join(map(str, stuck))}"
    assert line == f"Error: {seeds}: no character is allowed next; relax the pattern, or allow longer copies"
    written = parse((directory / "out.txt").read_text())
    assert {each["seed"]: each["text"] for each in written} == {k: text for k, text in alone.items() if text}


def test_best_of_ignores_stuck_texts(alone, sample):
    pairs = [(alone[seed], alone[seed + 1]) for seed in range(1, 13, 2)]
    assert any(None in pair for pair in pairs)
    best = [line["text"] for line in parse(sample(*STUCK, "--num", 6, "--best-of", 2))]
    assert all(text in pair for text, pair in zip(best, pairs, strict=True))


def test_best_of_stuck_texts_alone_is_an_error(alone, here):
    stuck = next(seed for seed, text in alone.items() if text is None)
    done = here("sample", "--seed", stuck, *STUCK, "--best-of", 1)
    assert error_line(done, 1).startswith(f"Error: seed {stuck}: no character is allowed next")


# ---- output


def test_output_file_gets_what_standard_output_would(sample, directory):
    assert sample("-o", "out.txt") == ""
    assert (directory / "out.txt").read_text() == sample()


def test_output_in_missing_directory_is_rejected(refuse):
    assert "--output nowhere/out.txt: directory " in refuse("-o", "nowhere/out.txt")


def test_output_dash_is_standard_output(sample, directory):
    assert sample("-n", 30, "-o", "-") == sample("-n", 30)
    assert not (directory / "-").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_written_to_and_not_replaced(sample, directory):
    pipe = directory / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert sample("-n", 30, "-o", "pipe") == ""
        assert os.read(reader, 99).decode() == sample("-n", 30)
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


@pytest.mark.parametrize(
    "flags",
    [
        ["-o", "model.npz"],
        ["-o", "./model.npz"],
        ["-o", "corpus.txt", "--cite", "--corpus", "corpus.txt"],
        ["-o", "corpus.txt", "--prime-file", "corpus.txt"],
    ],
    ids=str,
)
def test_output_never_overwrites_input(flags, refuse, directory):
    name = flags[1].removeprefix("./")
    before = (directory / name).read_bytes()
    assert f"--output {flags[1]} would overwrite {name}; choose another file" in refuse(*flags)
    assert (directory / name).read_bytes() == before


def test_existing_output_is_overwritten_only_with_force(here, model, tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    line = error_line(here("sample", "--ckpt", model, "-n", 5, "-o", "kept.txt"), 2)
    assert line == "Error: kept.txt already exists; use --force to overwrite it, or another --output"
    assert (tmp_path / "kept.txt").read_text() == "kept"
    assert here("sample", "--ckpt", model, "-n", 5, "-o", "kept.txt", "--force").returncode == 0
    assert len((tmp_path / "kept.txt").read_text()) == 5


def test_failure_leaves_output_file_unchanged(refuse, directory):
    (directory / "kept.txt").write_text("kept")
    (directory / "digits.txt").write_text("0123456789")
    flags = ("--pattern", "times 0123", "--no-copy", 4, "--corpus", "digits.txt", "-n", 20)
    assert "no character is allowed next" in refuse(*flags, "-o", "kept.txt", "--force", code=1)
    assert (directory / "kept.txt").read_text() == "kept"
    assert sorted(os.listdir(directory)) == ["corpus.txt", "digits.txt", "kept.txt", "model.npz"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signal_leaves_no_partial_file(name, directory):
    command = [sys.executable, "-m", "charlstm", "sample", "-n", "900000", "-o", "new.txt"]
    with subprocess.Popen(command, cwd=directory, stderr=subprocess.PIPE) as process:
        while not list(directory.glob(".new.txt.*")):
            assert process.poll() is None
        process.send_signal(getattr(signal, name))
        try:
            assert process.communicate(timeout=30)[1] == b""
        finally:
            process.kill()
    assert process.returncode == 128 + getattr(signal, name)
    assert sorted(os.listdir(directory)) == ["corpus.txt", "model.npz"]


@pytest.mark.parametrize("flags", [[], ["--best-of", 2], ["--beam", 2]], ids=str)
def test_text_on_terminal_ends_its_line(flags, sample, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert re.fullmatch(".{5}\n", sample("-n", 5, "--prime", "1", "--hide-prime", *flags))


# ---- filters and constraints


@pytest.mark.parametrize("flags", [["--top-k", 1], ["--top-p", 1e-9], ["--min-p", 1]], ids=str)
def test_strictest_filter_takes_most_likely_characters(flags, sample):
    assert sample(*flags) == sample("-t", 0)


@pytest.mark.parametrize(
    ("base", "flags"),
    [
        (["-t", 1], ["--typical", 0.5]),
        (["-t", 0], ["--temperature-at-start", 2]),
        (["-n", 99, "-t", 0], ["--repetition-penalty", 3]),
        (["-n", 99, "-t", 0, "--repetition-penalty", 3], ["--repetition-free", 2]),
    ],
    ids=str,
)
def test_flag_changes_text(base, flags, sample):
    assert sample(*base, *flags) != sample(*base)


def test_lines_limits_lines(sample):
    assert sample("-n", 200, "--lines", 2).count("\n") == 2


def test_stop_ends_text_before_it(sample):
    before, stop, _ = sample("-n", 200).partition("\n")
    assert stop
    assert sample("-n", 200, "--stop", r"\n") == before


def test_keep_stop_includes_stop(sample):
    before, stop, _ = sample("-n", 200).partition("\n")
    assert sample("-n", 200, "--stop", r"\n", "--keep-stop") == before + stop


def test_stop_accepts_escapes(sample):
    assert sample("-n", 200, "--stop", "\\n") == sample("-n", 200, "--stop", "\n")


def test_escaped_backslash_is_a_backslash(refuse):
    assert "REVERSE SOLIDUS" in refuse("--stop", "\\\\n")


def test_stop_with_unknown_characters_is_rejected(refuse):
    line = refuse("--stop", "é")
    assert line.startswith("Error: --stop: 'é' can never match: ")
    assert "LATIN SMALL LETTER E WITH ACUTE" in line


def test_pattern_is_matched(sample):
    assert re.fullmatch(r"[0-9]+ times [0-9]{2}\n", sample("--pattern", r"[0-9]+ times [0-9]{2}\n"))


def test_filters_apply_to_end_of_pattern(sample):
    assert len({sample("--pattern", "[0-9]+", "--top-k", 1, "-n", 40, seed=seed) for seed in range(9)}) == 1


def test_beam_finds_text_of_given_length(sample):
    assert len(sample("--beam", 3, "-n", 20)) == 20


def test_beam_is_more_likely_than_greedy_text(sample):
    beam, greedy = (
        json.loads(sample(*flags, "-n", 20, "--pattern", "[^ ]{20}", "--json"))["log_probability"]
        for flags in (["--beam", 30], ["-t", 0])
    )
    assert beam > greedy


def test_contradictory_flags_are_rejected(refuse):
    assert refuse("--beam", 3, "-t", 2).startswith("Error: --beam cannot be used with --temperature: ")


# ---- primes


def test_prime_file_is_read_like_prime(sample, directory):
    (directory / "prime.txt").write_text("3 times ")
    assert sample("--prime-file", "prime.txt") == sample("--prime", "3 times ")


def test_hide_prime_leaves_prime_out(sample):
    assert "3 times " + sample("--prime", "3 times ", "--hide-prime") == sample("--prime", "3 times ")


def test_missing_prime_file_is_named(refuse):
    assert "--prime-file: none.txt: No such file" in refuse("--prime-file", "none.txt")


def test_undecodable_prime_file_is_rejected_with_advice(refuse, directory):
    (directory / "latin.txt").write_bytes("\xe9 3".encode("cp1252"))
    line = refuse("--prime-file", "latin.txt", "--encoding", "utf-8")
    assert line.startswith("Error: --prime-file: latin.txt: not utf-8")
    assert "try another encoding, such as cp1252" in line


def test_encoding_applies_to_prime_file(sample, directory):
    (directory / "latin.txt").write_bytes("\xe9 3".encode("cp1252"))
    text = sample("--prime-file", "latin.txt", "--encoding", "cp1252", "--unknown", "nearest")
    assert text.startswith("e 3")


@pytest.mark.parametrize(
    "flags", [["--prime", "-", "--cite", "--corpus", "-"], ["--prime-file", "-", "--cite", "--corpus", "-"]], ids=str
)
def test_standard_input_can_be_read_only_once(flags, refuse):
    assert refuse(*flags) == "Error: standard input (-) can be read only once"


def test_unknown_characters_are_rejected_with_advice(refuse):
    line = refuse("--prime", "timés")
    assert line.startswith("Error: --prime: not in the model's vocabulary: 'é' U+00E9 ")
    assert line.endswith("; try --unknown nearest for similar ones, or --unknown skip")


@pytest.mark.parametrize(
    ("unknown", "prime", "known"),
    [
        ("skip", "tiXmeXs", "times"),
        ("nearest", "tíméS", "times"),
        ("nearest", "\uff13 times", "3 times"),  # a fullwidth digit
        ("nearest", "e\u0301 TIMES", "e times"),
    ],
)
def test_unknown_characters_are_skipped_or_replaced(unknown, prime, known, sample):
    assert sample("--prime", prime, "--unknown", unknown) == sample("--prime", known)


def test_unknown_character_without_substitute_is_rejected(refuse):
    assert "SNOWMAN" in refuse("--prime", "☃", "--unknown", "nearest")


@pytest.fixture
def primes(directory):
    """A file with three primes, one of them empty."""
    (directory / "primes.txt").write_text("3 times \n\n5 times\n")
    return ("--prime-file", "primes.txt", "--each-line")


def test_each_line_of_the_prime_file_is_continued(primes, sample):
    lines = parse(sample(*primes, "-n", 20, "--num", 2, "--json"))
    assert [line["prime"] for line in lines] == ["3 times ", "3 times ", "", "", "5 times", "5 times"]
    assert [line["seed"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        assert line["full_text"] == sample("--prime", line["prime"], "-n", 20, seed=line["seed"])


def test_each_line_of_texts_of_one_line_gives_one_line(primes, sample):
    first, second, third = sample(*primes, "--stop", r"\n").splitlines()
    assert first == sample("--prime", "3 times ", "--stop", r"\n")
    assert second == sample("--stop", r"\n", seed=2)
    assert third == sample("--prime", "5 times", "--stop", r"\n", seed=3)


def test_each_line_is_searched_with_its_own_beam(primes, sample):
    lines = parse(sample(*primes, "--beam", 2, "-n", 9, "--json"))
    assert lines[2]["text"] == parse(sample("--prime", "5 times", "--beam", 2, "-n", 9, "--json"))[0]["text"]


def test_unknown_characters_of_each_line_name_the_line(refuse, directory):
    (directory / "primes.txt").write_text("3 times\n☃\n", encoding="utf-8")
    line = refuse("--prime-file", "primes.txt", "--each-line")
    assert line.startswith("Error: --prime-file: line 2: not in the model's vocabulary: '☃' U+2603 SNOWMAN")


# ---- copies


@pytest.fixture
def cited(sample):
    """What a text of 60 characters copies."""
    return json.loads(sample("-n", 60, "--json", "--cite", "--corpus", "corpus.txt"))["copied"]


def test_cite_reports_longest_copy_and_its_line(cited, sample):
    text = sample("-n", 60)
    lengths = [n for n in range(61) if any(text[k : k + n] in TEXT for k in range(61 - n))]
    assert cited["chars"] == len(cited["text"]) == max(lengths) >= 3
    assert cited["text"] in text
    assert TEXT[: TEXT.find(cited["text"])].count("\n") == cited["line"] - 1


def test_cite_reports_on_standard_error(cited, here):
    done = here("sample", "--seed", 1, "-n", 60, "--cite", "--corpus", "corpus.txt")
    where = f"length {cited['chars']}, corpus line {cited['line']}: '"
    assert done.stderr.startswith(f"longest substring shared with the corpus: {where}")


def test_cite_names_seed_of_each_of_several_texts(directory, here):
    done = here("sample", "--seed", 1, "-n", 60, "--num", 2, "--cite", "--corpus", "corpus.txt")
    assert re.findall(r"^seed (\d): longest substring", done.stderr, re.MULTILINE) == ["1", "2"]


def test_no_copy_avoids_substrings_of_corpus(sample):
    text = sample("-n", 400, "--no-copy", 6, "--corpus", "corpus.txt")
    assert len(text) == 400
    assert not any(text[k : k + 6] in TEXT for k in range(395))


def test_cited_text_never_spans_an_unknown_character(sample, directory):
    (directory / "odd.txt").write_text(TEXT.replace(" times", "☃ ☃times"), encoding="utf-8")
    (line,) = parse(sample("-n", 60, "--corpus", "odd.txt", "--cite", "--json"))
    copied = line["copied"]
    corpus = (directory / "odd.txt").read_text(encoding="utf-8")
    assert copied["chars"] == len(copied["text"]) > 0
    start = corpus.index(copied["text"])
    assert copied["line"] == corpus.count("\n", 0, start) + 1


def test_unknown_characters_of_the_prime_file_name_its_flag(refuse, directory):
    (directory / "prime.txt").write_text("☃", encoding="utf-8")
    assert "Error: --prime-file: " in refuse("--prime-file", "prime.txt")
