"""`charlstm check`: its output, its exit codes, and files that it cannot read."""

import json
import subprocess
import sys

import gallery
import pytest
from helpers import error_line

from charlstm.cli.check import _summarize
from charlstm.diagnosis.checks import Result


@pytest.fixture
def save(tmp_path):
    def write(source, name="mine.py"):
        (tmp_path / name).write_text(source, encoding="utf-8")
        return name

    return write


def small(*mistakes):
    """Return the program of the gallery with few units."""
    return gallery.change(
        gallery.source_of(*mistakes), ("H, T, RATE, STEPS, SEED = 64,", "H, T, RATE, STEPS, SEED = 16,")
    ).replace("Path(__file__).resolve().parents[1]", f"Path({str(gallery.PROGRAM.parents[1])!r})")


def test_right_program_exits_with_0(save, here):
    done = here("check", save(small()))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok      runs ")
    assert lines[-1] == "All 14 checks passed."
    assert all(line.startswith(("ok  ", "    ", "All ")) for line in lines)


def test_wrong_program_exits_with_1_and_the_cause_is_given_once(save, here):
    done = here("check", save(small("candidate-error")))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("`dz_g = dc * (1 - g**2)`") == 1
    assert done.stdout.count("As above.") == 2
    assert "FAILED  gradients, one step " in done.stdout
    assert "Begin with the first" in done.stdout.splitlines()[-1]


def test_checks_that_were_not_made_are_not_counted():
    results = [Result(name, passed, "") for name, passed in (("runs", True), ("inputs", False), ("|h| < 1", None))]
    undefined = "windows and update are not defined, and so not checked."
    assert _summarize(results, results[1:2]).splitlines() == [undefined, "1 of 2 checks failed, 1 was skipped."]
    assert _summarize(results[::2], []).splitlines() == [undefined, "All 1 checks passed, 1 was skipped."]


def test_formulas_and_layouts_are_not_broken_over_lines(save, here):
    lines = here("check", save(small("candidate-error"))).stdout.splitlines()
    assert max(len(line) for line in lines if line.startswith("    ")) <= 100
    assert all(line.count("`") % 2 == 0 for line in lines)
    assert any("`w_out = 'rows y; columns h'`" in line for line in lines)


def test_json_has_every_check_and_cause(save, here):
    done = here("check", save(small("bias-copied")), "--json")
    values = json.loads(done.stdout)
    assert done.returncode == 1
    assert values["passed"] is False
    failed = [check for check in values["checks"] if check["passed"] is False]
    assert len(failed) == 3
    assert {check["cause"] for check in failed} == {failed[0]["cause"]}
    assert all(check.keys() == {"name", "passed", "measured", "cause"} for check in values["checks"])


def test_crash_is_one_block_without_our_traceback(save, here):
    done = here("check", save("x = 1\n\n1 / 0\n"))
    assert done.returncode == 1
    assert done.stdout.splitlines()[:3] == [
        "FAILED  runs                     mine.py, line 3, in <module>:",
        "            1 / 0",
        "        ZeroDivisionError: division by zero",
    ]
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.py", None, "missing.py: No such file or directory"),
        (".", None, "Is a directory"),
        ("mine.ipynb", b"{}", "is a notebook"),
        ("mine.py", b"\x7fELF\0\0", "not a Python program"),
        ("mine.py", b"", "mine.py does not define vocab_size"),
        ("mine.py", b"vocabsize = 3", "did you mean vocabsize"),
        ("mine.py", b"vocab_size = 3\nparams = 3\n", "mine.py does not define zero_state: a function"),
    ],
)
def test_unusable_file_is_a_usage_error(name, content, message, here, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert message in error_line(here("check", name), 2)


def test_source_in_another_encoding_is_read(here, tmp_path):
    (tmp_path / "mine.py").write_bytes(
        "# -*- coding: latin-1 -*-\nname = 'é'\nraise ValueError(name)\n".encode("latin-1")
    )
    assert "ValueError: é" in here("check", "mine.py").stdout


def test_file_that_is_not_utf8_is_a_syntax_error(here, tmp_path):
    (tmp_path / "mine.py").write_bytes(b"x = '\xff'\n")
    done = here("check", "mine.py")
    assert done.returncode == 1
    assert "SyntaxError" in done.stdout


def test_program_imports_from_its_directory(save, here):
    save("value = 1 / 0\n", "beside_it.py")
    assert "beside_it.py, line 1" in here("check", save("import beside_it\n")).stdout


def test_control_characters_do_not_reach_the_terminal(save, here):
    assert "\x1b" not in here("check", save("raise ValueError('\\x1b[31m')\n")).stdout


def test_interrupted_check_ends_with_130(tmp_path):
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run([sys.executable, "-m", "charlstm", "check", "mine.py"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 130


def test_slow_program_is_told_what_to_do(save, here, monkeypatch):
    monkeypatch.setattr("charlstm.cli.check._PATIENCE_S", 0.1)
    assert "Still running" in here("check", save("import time\ntime.sleep(1)\n")).stderr
