"""Standard input, output and error: closed, full, a pipe, a terminal, and always UTF-8."""

import os
import re
import subprocess
import sys
import threading

import pyte
import pytest
from helpers import ROOT, TEXT, charlstm, error_line

from charlstm import load

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell or terminal")
CHARLSTM = (sys.executable, "-m", "charlstm")
TRAIN = (
    *CHARLSTM,
    "train",
    "corpus.txt",
    "--hidden-size",
    "12",
    "--batch-size",
    "4",
    "--seq-len",
    "10",
    "--threads",
    "1",
)


def in_shell(command, cwd=None):
    """Run a command with bash, which can close streams."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


# ---- closed, full, a pipe


@posix
def test_reader_that_closes_the_pipe_ends_a_sample_quietly(model):
    done = in_shell(f"{' '.join(CHARLSTM)} sample --ckpt {model} -n 900000 | head -c 10")
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 10, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_standard_output_is_reported_in_one_line(model):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*CHARLSTM, "sample", "--ckpt", model], stdout=full, stderr=subprocess.PIPE, encoding="utf-8", check=False
        )
    assert (done.returncode, done.stderr) == (1, "Error: standard output: No space left on device\n")


@posix
@pytest.mark.parametrize("command", ["sample --ckpt {} -n 10", "score --ckpt {} {}", "info {}"])
def test_closed_standard_output_is_an_error(command, model):
    done = in_shell(f"{' '.join(CHARLSTM)} {command.format(model, ROOT / 'setup.cfg')} >&-")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: standard output: ")


@posix
def test_closed_standard_error_does_not_stop_training(text_file, tmp_path):
    assert in_shell(f"{' '.join(TRAIN)} --steps 5 2>&-", tmp_path).returncode == 0
    load(tmp_path / "model.npz")


@posix
def test_closed_standard_input_is_no_corpus(tmp_path):
    done = in_shell(f"{' '.join(CHARLSTM)} train - <&-", tmp_path)
    assert "cannot read from standard input (-): it is closed" in error_line(done, 2)


@posix
def test_standard_input_of_a_process_is_a_corpus(tmp_path):
    done = in_shell(f"printf '%0999d' 12 | {' '.join(TRAIN).replace('corpus.txt', '-')} --steps 2 -q", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert load(tmp_path / "model.npz").vocab.characters == "012"


# ---- encodings


@pytest.mark.parametrize(
    "env",
    [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_text_is_utf8_whatever_the_locale(env, tmp_path):
    (tmp_path / "snow.txt").write_text("☃é" * 200, encoding="utf-8")
    quick = ("--hidden-size", 12, "--batch-size", 4, "--seq-len", 10, "--threads", 1, "--steps", 3, "--evals", 1)
    done = charlstm("train", "snow.txt", *quick, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    done = charlstm("sample", "--prime", "-", "-n", 5, cwd=tmp_path, env=env, input="☃é")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("☃é")


# ---- terminals


def on_terminal(command, cwd, size=(24, 80), also_stdout=False, **environment):
    """Run a command with a terminal as its standard error; return its exit code and what it wrote there."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, size)
    stdout = theirs if also_stdout else None
    process = subprocess.Popen(command, cwd=cwd, stdout=stdout, stderr=theirs, env={**os.environ, **environment})
    os.close(theirs)
    written = bytearray()

    def collect():
        try:
            while data := os.read(ours, 4096):
                written.extend(data)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=collect)
    reader.start()
    process.wait(60)
    reader.join(60)
    os.close(ours)
    return process.returncode, written.decode()


@posix
def test_terminal_gets_a_progress_bar(text_file, tmp_path):
    code, shown = on_terminal([*TRAIN, "--steps", "100", "--evals", "2"], tmp_path, TERM="xterm")
    assert code == 0
    assert "100%|" in shown
    assert "bits, validation" in shown


def screen_of(written, size):
    """Return the lines of a terminal of some rows and columns after something was written to it."""
    rows, columns = size
    screen = pyte.Screen(columns, rows)
    pyte.Stream(screen).feed(written)
    return [line.rstrip() for line in screen.display]


@posix
@pytest.mark.parametrize("size", [(24, 80), (40, 200), (60, 44)])
def test_terminal_shows_one_bar_and_the_newest_sample_beneath_it(size, text_file, tmp_path):
    code, shown = on_terminal([*TRAIN, "--steps", "300", "--evals", "5"], tmp_path, size, TERM="xterm", COLUMNS="")
    assert code == 0
    lines = screen_of(shown, size)
    (bar,) = [n for n, line in enumerate(lines) if "100%|" in line]
    samples = [n for n, line in enumerate(lines) if line.startswith("    |")]
    assert samples == list(range(bar + 1, bar + 1 + len(samples)))
    assert samples
    assert "Best at step" in next(filter(None, lines[samples[-1] + 1 :]))
    assert " bits" in lines[bar]
    if size[1] >= 80:
        assert "bits, validation" in lines[bar]
    if size[1] == 200:
        assert "epoch" in lines[bar]
        assert "chars/s" in lines[bar]


@posix
def test_lines_on_a_terminal_of_80_columns_keep_within_it(text_file, tmp_path):
    text_file.write_text(TEXT.replace("\n", " "))
    _, shown = on_terminal([*TRAIN, "--steps", "1500", "--evals", "1"], tmp_path, TERM="xterm", COLUMNS="80")
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", shown)
    lines = [line for part in plain.split("\n") for line in part.split("\r") if "%|" not in line]
    assert max(map(len, lines)) <= 80
    previews = [line for line in lines if "    | " in line]
    assert max(map(len, previews)) > 70
    assert sum("Best at step" in line for line in lines) == 1


@pytest.mark.slow
@posix
@pytest.mark.parametrize("columns", [80, 0])
def test_plan_on_a_terminal_keeps_within_its_columns_or_within_80_if_they_are_unknown(columns, text_file, tmp_path):
    size = (24, columns)
    code, shown = on_terminal([*CHARLSTM, "plan", text_file.name, "--steps", "20"], tmp_path, size, also_stdout=True)
    assert code == 0
    lines = shown.replace("\r", "").split("\n")
    assert 60 < max(map(len, lines)) <= 80
    first = next(n for n, line in enumerate(lines) if line.startswith("settings    --hidden-size "))
    assert lines[first + 1].startswith(" " * 12 + "--")


@posix
def test_dumb_terminal_gets_no_progress_bar(text_file, tmp_path):
    code, shown = on_terminal([*TRAIN, "--steps", "40", "--evals", "2"], tmp_path, TERM="dumb")
    assert code == 0
    assert "%|" not in shown
    assert "\r" not in shown.replace("\r\n", "\n")


@posix
def test_terminal_is_no_corpus(tmp_path):
    import pty

    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*CHARLSTM, "train", "-"], stdin=theirs, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    os.close(ours)
    os.close(theirs)
    assert "cannot read from standard input (-): it is a terminal" in error_line(done, 2)
