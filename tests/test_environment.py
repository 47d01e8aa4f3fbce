"""Odd surroundings: little memory, impatient users, names with spaces, archives made to deceive."""

import errno
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile

import pytest
from conftest import TEXT, charlstm, error_line

from charlstm import CharlstmError, load, read_corpus, save
from charlstm.checkpoint import remove_stale
from charlstm.cli.main import cli
from charlstm.cli.training import run_training

QUICK = ("--hidden-size", "8", "--batch-size", "4", "--seq-len", "10", "--steps", "3", "--threads", "1")


def test_too_little_memory_is_told_in_one_line(text_file, tmp_path):
    def little():
        resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000, 1_000_000_000))

    large = ("--hidden-size", 8192, "--num-layers", 2, "--batch-size", 2, "--seq-len", 10, "--steps", 1, "--threads", 1)
    done = charlstm("train", "corpus.txt", *large, cwd=tmp_path, preexec_fn=little, env={"OPENBLAS_NUM_THREADS": "1"})
    assert "not enough memory" in error_line(done, 1)
    assert os.listdir(tmp_path) == ["corpus.txt"]


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once_and_the_old_file_as_it_was(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT * 50)
    large = ["--hidden-size", "1024", "--batch-size", "64", "--seq-len", "200", "--threads", "1", "--steps", "1000"]
    assert charlstm("train", "corpus.txt", *QUICK, cwd=tmp_path).returncode == 0
    before = (tmp_path / "model.npz").read_bytes()
    command = [sys.executable, "-m", "charlstm", "train", "corpus.txt", *large, "--force"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, encoding="utf-8") as process:
        assert "characters to train on" in process.stderr.readline()
        time.sleep(0.5)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(1.1)  # what comes sooner is the same request
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    assert (tmp_path / "model.npz").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]


def test_names_may_have_spaces_and_emoji(tmp_path):
    (tmp_path / "ein Text 🌙.txt").write_text(TEXT)
    assert charlstm("train", "ein Text 🌙.txt", *QUICK, "-o", "Modell ☃.npz", cwd=tmp_path).returncode == 0
    done = charlstm("sample", "--ckpt", "Modell ☃.npz", "-n", 5, "-o", "Ausgabe 🌙.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["Ausgabe 🌙.txt", "Modell ☃.npz", "ein Text 🌙.txt"]


def test_files_get_the_permissions_that_the_umask_leaves(trained, tmp_path):
    before = os.umask(0o027)
    try:
        save(trained, tmp_path / "model.npz")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.npz").stat().st_mode) == 0o640


@pytest.mark.parametrize("read", [load, read_corpus])
def test_a_file_that_may_not_be_read_is_named(read, tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(CharlstmError, match=r"secret: Permission denied") as caught:
        read(str(tmp_path / "secret"))
    assert caught.value.exit_code == 2


def test_stale_temporary_files_go_whatever_the_name(tmp_path):
    (tmp_path / ".[a]*.npz.123.tmp").touch()
    (tmp_path / ".other.npz.123.tmp").touch()
    remove_stale(tmp_path / "[a]*.npz")
    assert os.listdir(tmp_path) == [".other.npz.123.tmp"]


def test_no_other_file_is_taken_for_a_stale_one(tmp_path):
    kept = [".model.npz.bak.77.tmp", ".model.npz.txt.77.tmp", ".model.npz.backup.tmp", ".other.77.tmp"]
    for name in (*kept, ".model.npz.77.tmp"):
        (tmp_path / name).touch()
    remove_stale(tmp_path / "model.npz")
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_what_a_process_of_the_same_number_has_left_is_in_no_ones_way(text_file, tmp_path, trained, capsys):
    for name in ("model.npz", "new.txt"):
        (tmp_path / f".{name}.{os.getpid()}.tmp").touch()
    out = str(tmp_path / "model.npz")
    flags = {"hidden_size": 8, "steps": 2}
    assert run_training([str(text_file)], out, {}, flags, resume=False, force=False, log=None, quiet=True) == 0
    cli.main(["sample", "--ckpt", out, "-o", str(tmp_path / "new.txt"), "-n", "5"], standalone_mode=False)
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz", "new.txt"]


@pytest.mark.parametrize("errno", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_does_not_end_a_run(errno, trained, tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno, "no such thing")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    save(trained, tmp_path / "model.npz")
    load(tmp_path / "model.npz")


def test_one_request_to_stop_that_comes_as_two_signals_saves(tmp_path):
    """As from `timeout`, which signals a process and then its group."""
    (tmp_path / "corpus.txt").write_text(TEXT)
    command = [sys.executable, "-m", "charlstm", "train", "corpus.txt", *QUICK[:-4], "--threads", "1", "--time", "1m"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, encoding="utf-8") as process:
        assert "characters to train on" in process.stderr.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert "--resume" in process.communicate(timeout=30)[1]
    assert process.returncode == 143
    assert load(tmp_path / "model.npz").progress.step > 0


def deceiving(data, how):
    """Return an archive with lies in its directory."""
    some = bytearray(data)
    directory = data.index(b"PK\x01\x02")
    if how == "encrypted":
        some[directory + 8] |= 1
    elif how == "overlapping":  # the second member stands where the first does
        second = data.index(b"PK\x01\x02", directory + 1)
        some[second + 42 : second + 46] = some[directory + 42 : directory + 46]
    elif how == "larger than it is":
        struct.pack_into("<LL", some, directory + 20, 2**31, 2**31)
    elif how == "unpacked larger":
        struct.pack_into("<L", some, directory + 24, 2**31)
    elif how == "deflated":
        struct.pack_into("<H", some, directory + 10, zipfile.ZIP_DEFLATED)
    elif how == "more members than it says":
        entry = data[directory : data.index(b"PK\x01\x02", directory + 1)]
        end = bytearray(data[-22:])
        struct.pack_into("<L", end, 12, len(entry) * 100_000)
        return data[:directory] + entry * 100_000 + bytes(end)
    elif how == "a second end":
        return data[:-22] + b"PK\x06\x07" + b"\0" * 16 + data[-22:]
    return bytes(some)


@pytest.mark.parametrize(
    "how",
    [
        "encrypted",
        "overlapping",
        "larger than it is",
        "unpacked larger",
        "deflated",
        "more members than it says",
        "a second end",
    ],
)
def test_deceiving_archives_are_refused_quickly_and_cheaply(how, trained, tmp_path):
    path = tmp_path / "model.npz"
    save(trained, path)
    path.write_bytes(deceiving(path.read_bytes(), how))
    tracemalloc.start()
    begun = time.perf_counter()
    with pytest.raises(CharlstmError, match="is not a charlstm checkpoint, or is damaged"):
        load(path)
    assert time.perf_counter() - begun < 1
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_nothing_reaches_for_the_network(trained, tmp_path):
    """The whole job in a process that fails at the first socket."""
    program = (
        "import os, sys\n"
        "sys.addaudithook(lambda event, arguments: event.startswith(('socket.connect', 'socket.getaddrinfo')) and os._exit(9))\n"
        "sys.argv = ['charlstm', *sys.argv[1:]]\n"
        "from charlstm.cli import main\n"
        "main()\n"
    )
    (tmp_path / "corpus.txt").write_text(TEXT)
    for words in (["train", "corpus.txt", *QUICK], ["sample", "-n", "9"], ["score", "corpus.txt"], ["info"]):
        done = subprocess.run([sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
