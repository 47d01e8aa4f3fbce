"""Odd surroundings: little memory, odd file names, unreadable and stale files, no network, no home."""

import os
import subprocess
import sys

import pytest
from helpers import TEXT, charlstm, error_line

from charlstm import CharlstmError, load, load_run, read_corpus
from charlstm.cli.main import cli
from charlstm.storage.atomic import remove_stale

QUICK = ("--hidden-size", "8", "--batch-size", "4", "--seq-len", "10", "--steps", "3", "--evals", "1", "--threads", "1")
posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


@posix
def test_too_little_memory_is_reported_in_one_line(text_file, tmp_path):
    def limit_memory():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000, 1_000_000_000))

    large = ("--hidden-size", 16384, "--batch-size", 2, "--seq-len", 10, "--steps", 1, "--threads", 1, "-q")
    env = {"OPENBLAS_NUM_THREADS": "1"}
    done = charlstm("train", "corpus.txt", *large, cwd=tmp_path, preexec_fn=limit_memory, env=env)
    assert "not enough memory" in error_line(done, 1)
    assert os.listdir(tmp_path) == ["corpus.txt"]


def test_home_and_tmpdir_are_not_needed(text_file, tmp_path):
    env = {name: value for name, value in os.environ.items() if name != "HOME"} | {"TMPDIR": "/nowhere"}
    command = [sys.executable, "-m", "charlstm", "train", "corpus.txt", *QUICK]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_no_command_uses_the_network(text_file, tmp_path):
    """In a process that exits at the first socket."""
    commands = (
        ["train", "corpus.txt", *QUICK, "-q"],
        ["plan", "corpus.txt", "--steps", "1"],
        ["sample", "-n", "9"],
        ["score", "corpus.txt"],
        ["play", "-n", "9"],
        ["info"],
    )
    program = f"""if True:
        import os, sys
        from charlstm.cli import main

        def watch(event, arguments):
            if event.startswith(("socket.connect", "socket.getaddrinfo")):
                os._exit(9)

        sys.addaudithook(watch)
        for arguments in {commands!r}:
            sys.argv = ["charlstm", *arguments]
            try:
                main()
            except SystemExit as ended:
                assert not ended.code, arguments
    """
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, input=b"1\n", check=False)
    assert done.returncode == 0, done.stderr


# ---- files


def test_names_may_have_spaces_and_emoji(tmp_path):
    (tmp_path / "a text 🌙.txt").write_text(TEXT)
    assert charlstm("train", "a text 🌙.txt", *QUICK, "-o", "a model ☃.npz", cwd=tmp_path).returncode == 0
    done = charlstm("sample", "--ckpt", "a model ☃.npz", "-n", 5, "-o", "a sample 🌙.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["a model ☃.npz", "a sample 🌙.txt", "a text 🌙.txt"]


@pytest.mark.parametrize("read", [load, load_run, read_corpus])
def test_unreadable_file_is_named(read, tmp_path, monkeypatch):
    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", deny)
    monkeypatch.setattr("charlstm.text.sources._CountedFile", deny)
    with pytest.raises(CharlstmError, match=r"secret: Permission denied") as caught:
        read(str(tmp_path / "secret"))
    assert caught.value.exit_code == 2


def test_stale_files_of_any_name_are_removed(tmp_path):
    (tmp_path / ".[a]*.npz.123.tmp").touch()
    (tmp_path / ".other.npz.123.tmp").touch()
    remove_stale(tmp_path / "[a]*.npz")
    assert os.listdir(tmp_path) == [".other.npz.123.tmp"]


def test_similar_files_are_not_stale(tmp_path):
    kept = [".model.npz.bak.77.tmp", ".model.npz.txt.77.tmp", ".model.npz.backup.tmp", ".other.77.tmp"]
    for name in (*kept, ".model.npz.77.tmp"):
        (tmp_path / name).touch()
    remove_stale(tmp_path / "model.npz")
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


@pytest.mark.parametrize(
    "command",
    [["train", "corpus.txt", *QUICK, "-q", "-o", "new"], ["sample", "--ckpt", "old.npz", "-n", "5", "-o", "new"]],
)
def test_stale_file_of_the_same_process_id_is_no_obstacle(command, text_file, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained.save("old.npz")
    (tmp_path / f".new.{os.getpid()}.tmp").touch()
    cli.main(command, standalone_mode=False)
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "new", "old.npz"]
