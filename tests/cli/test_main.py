"""The program: mistakes get one line and an exit code; help and the version are quick."""

import os
import subprocess
import sys
import time

import pytest
from helpers import charlstm, error_line

import charlstm as package
from charlstm.cli.main import cli


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["none.txt"], 2, "none.txt: No such file"),
        (["empty.txt"], 1, "empty.txt is empty"),
        (["one.txt"], 1, "only one distinct character; there is nothing to learn"),
        (["aaaa.txt"], 1, "only one distinct character; there is nothing to learn"),
        (["latin.txt", "--encoding", "utf-8"], 1, "latin.txt: not utf-8"),
        (["corpus.txt", "-o", "nowhere/m.npz"], 2, "--output nowhere/m.npz: directory "),
        (["corpus.txt", "-o", "corpus.txt/m.npz"], 2, "corpus.txt does not exist"),
        (["corpus.txt", "-o", "."], 2, "--output . is a directory; name a file in it, such as model.npz"),
        (["corpus.txt", "-o", "corpus.txt", "--force"], 2, "--output corpus.txt would overwrite corpus.txt"),
        (["corpus.txt", "--log", "corpus.txt"], 2, "--log corpus.txt would overwrite corpus.txt"),
        (["corpus.txt", "--log", "model.npz"], 2, "--log model.npz would overwrite model.npz"),
        (["corpus.txt", "-o", "n" * 255], 2, "File name too long"),
        (["corpus.txt", "-o", ""], 2, "an empty value is not allowed"),
        (
            ["corpus.txt", "-o", "old.npz"],
            2,
            "old.npz already exists; use --resume to resume it, --force to overwrite it",
        ),
        (["-", "-"], 2, "standard input (-) can be read only once"),
        (["corpus.txt", "--resume"], 2, "--resume: model.npz does not exist; omit --resume to start a new run"),
        (["corpus.txt", "--resume", "-o", "old.npz"], 1, "old.npz is not a charlstm checkpoint"),
        (["corpus.txt", "-c", "none.yaml"], 2, "none.yaml: No such file"),
        (["corpus.txt", "-c", "tini"], 2, "tini is neither a file nor a preset"),
        (["corpus.txt", "--steps", "1", "--log", "nowhere/log"], 2, "--log nowhere/log: directory "),
        (["corpus.txt", "--steps", "1", "--time", "1m"], 2, "steps, epochs and time are mutually exclusive"),
        (["corpus.txt", "--encoding", "utf-99"], 2, "'--encoding': utf-99 is not the name of a text encoding"),
        (["corpus.txt", "--hidden-size", "1.5"], 2, "'--hidden-size': 1.5 is not an integer from 1 to 16,384"),
        (["corpus.txt", "--hidden-size", "0"], 2, "'--hidden-size'"),
        (["corpus.txt", "--hidden-size", "1" + "0" * 30], 2, "'--hidden-size'"),
        (["corpus.txt", "--learning-rate", "nan"], 2, "'--learning-rate': nan is not a number"),
        (["corpus.txt", "--learning-rate", "inf"], 2, "'--learning-rate'"),
        (["corpus.txt", "--learning-rate=-1"], 2, "'--learning-rate'"),
        (["corpus.txt", "--seed=-1"], 2, "'--seed'"),
        (
            ["corpus.txt", "--time", "10"],
            2,
            "'--time': 10 is not a duration with a unit, such as 90s, 10m or 1h30m, from 0.1s to 115d",
        ),
        (["corpus.txt", "--hiden-size", "3"], 2, "No such option"),
        ([], 2, "Missing argument"),
    ],
)
def test_mistakes_in_training_get_one_line(arguments, code, expected, text_file, tmp_path, here):
    for name, data in (
        ("empty.txt", b""),
        ("one.txt", b"x"),
        ("aaaa.txt", b"aaaa"),
        ("latin.txt", b"caf\xe9"),
        ("old.npz", b"old"),
    ):
        (tmp_path / name).write_bytes(data)
    before = sorted(os.listdir(tmp_path))
    assert expected in error_line(here("train", *arguments), code)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "old.npz").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["sample"], 2, "model.npz: No such file or directory; name a model file, or train one first"),
        (["sample", "--ckpt", "."], 2, ".: Is a directory"),
        (["sample", "--ckpt", "text"], 1, "text is not a charlstm checkpoint"),
        (["sample", "--length=-1"], 2, "'-n' / '--length': -1 is not an integer from 0"),
        (["sample", "--length", "1e3"], 2, "1e3 is not an integer"),
        (["sample", "--temperature", "nan"], 2, "nan is not a finite number"),
        (["sample", "--temperature", "inf"], 2, "inf is not a finite number"),
        (["sample", "--temperature=-0.1"], 2, "'--temperature'"),
        (["sample", "--seed=-1"], 2, "'--seed'"),
        (["score", "--ckpt", "text", "text"], 1, "text is not a charlstm checkpoint"),
        (["score", "text"], 2, "model.npz: No such file or directory; name a model file, or train one first"),
        (["play", "--ckpt", "text"], 1, "text is not a charlstm checkpoint"),
        (["info", "none"], 2, "none: No such file"),
        (["sample", "none.npz"], 2, "none.npz: No such file or directory; name a model file, or train one first"),
        (["sample", "text"], 2, "sample takes a model file (.npz), not text; if it is a model without that extension"),
        (["play", "text"], 2, "play takes a model file (.npz), not text"),
        (["sample", "a.npz", "b.npz"], 2, "unexpected extra argument (b.npz)"),
        (["sample", "a.npz", "--ckpt", "model.npz"], 2, "given twice, as a.npz and as --ckpt model.npz; give it once"),
        (["play", "--ckpt", "b.npz", "a.npz"], 2, "given twice, as a.npz and as --ckpt b.npz"),
        (["score", "a.npz", "text", "--ckpt", "b.npz"], 2, "given twice, as a.npz and as --ckpt b.npz"),
        (["score", "text", "a.npz"], 2, "name one model, before the texts, as in `charlstm score a.npz other.txt`"),
        (["score", "a.npz"], 2, "score needs a text after the model, as in `charlstm score a.npz other.txt`"),
        (["train", "a.npz"], 2, "train takes texts, not models such as a.npz; to resume that run, give its corpus"),
        (["trian"], 2, "No such command 'trian'; did you mean train?"),
    ],
)
def test_mistakes_in_using_a_model_get_one_line(arguments, code, expected, tmp_path, here):
    (tmp_path / "text").write_text("some text")
    assert expected in error_line(here(*arguments), code)


@pytest.mark.parametrize("command", [("sample", "-n", 30), ("play", "-n", 30), ("score", "corpus.txt")])
def test_the_model_can_be_an_argument_or_a_flag(command, text_file, model, here):
    name, *rest = command
    flags = ("--seed", 1) if name != "score" else ()
    by_argument = here(name, model, *rest, *flags, input="1\n")
    assert by_argument.returncode == 0
    assert by_argument.stdout == here(name, *rest, *flags, "--ckpt", model, input="1\n").stdout != ""


def test_errors_name_the_flag_of_an_argument(model, here):
    line = error_line(here("sample", "--ckpt", model, "--pattern", "("), 2)
    assert line.startswith("Error: --pattern: ")


def test_mistakes_in_flags_point_to_the_help_of_the_command(here):
    assert error_line(here("train", "--hiden-size", 3), 2).endswith("(see charlstm train --help)")


def test_long_errors_are_shortened(here):
    assert len(error_line(here("train", "x" * 5000), 2)) < 1100


def test_control_characters_in_an_error_are_escaped(here):
    assert "\\x1b[31m" in error_line(here("train", "\x1b[31m"), 2)


@pytest.mark.parametrize(
    ("flag", "value", "shown"),
    [
        ("--pattern", r"\bfoo\b", r"--pattern: '\bfoo\b': "),
        ("--stop", r"a\qb", r"--stop: 'a\qb' can never match: "),
        ("--prime", "\\", r"'\' U+005C REVERSE SOLIDUS"),
        ("--prime", "\xa0", r"'\xa0' U+00A0 NO-BREAK SPACE"),
    ],
)
def test_backslashes_and_escapes_in_an_error_are_not_doubled(flag, value, shown, model, here):
    assert shown in error_line(here("sample", "--ckpt", model, flag, value), 2)


def test_the_program_without_arguments_prints_its_help(here):
    done = here()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == here("--help").stdout


def test_version_is_that_of_the_package(here):
    assert here("--version").stdout == f"charlstm {package.__version__}\n"


@pytest.mark.parametrize("name", ["", *cli.commands])
def test_every_command_has_help(name, here):
    done = here(*name.split(), "-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: charlstm {name}".rstrip())


def test_help_and_version_do_not_import_numpy():
    commands = [["--version"], [], ["--help"], ["help"], ["help", "train"], *([n, "--help"] for n in cli.commands)]
    program = f"""if True:
        import sys
        from charlstm.cli import main

        for arguments in {commands!r}:
            sys.argv = ["charlstm", *arguments]
            try:
                main()
            except SystemExit as ended:
                assert not ended.code, arguments
            assert "numpy" not in sys.modules, arguments
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage: ") == len(commands) - 1


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "limit_s"), [(["--help"], 0.5), (["sample", "-n", "200"], 1.5)])
def test_commands_start_quickly(arguments, limit_s, model):
    """The limits hold on a busy machine; benchmarks/startup.py measures."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert charlstm(*arguments, cwd=model.parent).returncode == 0
        times.append(time.perf_counter() - started)
    assert min(times) < limit_s
