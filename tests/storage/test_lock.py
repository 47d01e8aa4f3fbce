"""One writer per file: a lock is held once, and ends with the process that holds it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import charlstm, error_line

from charlstm import CharlstmError
from charlstm.storage.lock import locked

QUICK = ("--hidden-size", "8", "--batch-size", "4", "--seq-len", "10", "--steps", "3", "--threads", "1")
HOLDER = (
    "import time; from charlstm.storage.lock import locked\nwith locked('model.npz'): print(flush=True); time.sleep(60)"
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock of `model.npz`."""
    with subprocess.Popen([sys.executable, "-c", HOLDER], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


# ---- between processes


def test_second_run_with_the_same_output_is_refused(holder, text_file, tmp_path):
    done = charlstm("train", "corpus.txt", *QUICK, "-o", "model.npz", cwd=tmp_path)
    assert "model.npz is in use: another run is writing to it; wait for it to finish" in error_line(done, 1)


def test_refused_run_leaves_the_temporary_file_of_the_other_one(holder, text_file, tmp_path):
    (tmp_path / ".model.npz.1234.tmp").write_text("being written by the other run")
    error_line(charlstm("train", "corpus.txt", *QUICK, cwd=tmp_path), 1)
    assert (tmp_path / ".model.npz.1234.tmp").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_link_to_the_output_of_another_run_is_refused(holder, text_file, tmp_path):
    (tmp_path / "link.npz").symlink_to("model.npz")
    done = charlstm("train", "corpus.txt", *QUICK, "-o", "link.npz", cwd=tmp_path)
    assert "link.npz is in use: another run is writing to it" in error_line(done, 1)


def test_run_with_another_output_is_not_affected(holder, text_file, tmp_path):
    done = charlstm("train", "corpus.txt", *QUICK, "-o", "other.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_lock_ends_with_its_process(holder, text_file, tmp_path):
    holder.kill()
    holder.wait()
    done = charlstm("train", "corpus.txt", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if os.name == "posix":  # elsewhere, open files cannot be removed
        assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signal_before_the_first_step_leaves_no_files(name, tmp_path):
    command = [sys.executable, "-m", "charlstm", "train", "-", "-q"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not list(tmp_path.glob(".model.npz.lock")):
            assert process.poll() is None
        process.send_signal(getattr(signal, name))
        assert process.wait(10) == 128 + getattr(signal, name)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert list(tmp_path.iterdir()) == []


# ---- within a process


def test_lock_is_held_once(tmp_path):
    path = tmp_path / "model.npz"
    with (
        locked(path),
        pytest.raises(CharlstmError, match=r"model\.npz is in use: another run is writing to it"),
        locked(path),
    ):
        pass


def test_locks_of_two_files_are_independent(tmp_path):
    with locked(tmp_path / "model.npz"), locked(tmp_path / "other.npz"):
        pass


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_exception_releases_the_lock(error, tmp_path):
    path = tmp_path / "model.npz"
    with pytest.raises(error), locked(path):
        raise error
    with locked(path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="elsewhere, open files cannot be removed")
@pytest.mark.parametrize("leftover", [False, True])
def test_released_lock_leaves_no_files(leftover, tmp_path):
    if leftover:
        (tmp_path / ".model.npz.lock").touch()
    with locked(tmp_path / "model.npz"):
        assert [path.name for path in tmp_path.iterdir()] == [".model.npz.lock"]
    assert list(tmp_path.iterdir()) == []


def test_leftover_lock_file_is_harmless(tmp_path):
    (tmp_path / ".model.npz.lock").touch()
    with locked(tmp_path / "model.npz"), pytest.raises(CharlstmError, match="in use"), locked(tmp_path / "model.npz"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_blocked_signals_are_as_before_within_the_lock_and_after_it(tmp_path):
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with locked(tmp_path / "model.npz"):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked


def test_lock_file_removed_while_waiting_is_created_again(tmp_path, monkeypatch):
    """Where the holder removes the file between the opening and the locking of it, it is opened anew."""
    path, name = tmp_path / "model.npz", tmp_path / ".model.npz.lock"
    first: list[int] = []
    lock = pytest.importorskip("fcntl").flock

    def lock_after_removal(descriptor, operation):
        if not first:
            first.append(descriptor)
            name.unlink()
        lock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", lock_after_removal)
    with locked(path):
        assert name.exists()
    assert first


@pytest.mark.skipif(os.name != "posix", reason="needs fcntl")
@pytest.mark.parametrize("where", ["os.open", "fcntl.flock"])
def test_nothing_is_locked_where_files_cannot_be(where, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(where, fail)
    with locked(tmp_path / "model.npz"), locked(tmp_path / "model.npz"):
        pass
