"""One output, one training; the lock ends with the process that holds it."""

import signal
import subprocess
import sys

import pytest
from conftest import charlstm, error_line

from charlstm import CharlstmError
from charlstm.lock import locked

QUICK = ("--hidden-size", "8", "--batch-size", "4", "--seq-len", "10", "--steps", "3", "--threads", "1")
HOLDER = (
    "import sys, time; from charlstm.lock import locked\nwith locked('model.npz'): print(flush=True); time.sleep(60)"
)


def holder(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLDER], cwd=folder, stdout=subprocess.PIPE)
    assert process.stdout.readline()
    return process


def test_a_second_training_with_one_output_is_refused(text_file, tmp_path):
    with holder(tmp_path) as process:
        (tmp_path / "link.npz").symlink_to("model.npz")
        (tmp_path / ".model.npz.1234.tmp").write_text("what the other one is writing")
        for out in ("model.npz", "link.npz"):
            done = charlstm("train", "corpus.txt", *QUICK, "-o", out, cwd=tmp_path)
            assert f"{out} is in use: another training writes it" in error_line(done, 1)
        assert (tmp_path / ".model.npz.1234.tmp").exists()
        assert charlstm("train", "corpus.txt", *QUICK, "-o", "other.npz", cwd=tmp_path).returncode == 0
        process.kill()
    done = charlstm("train", "corpus.txt", *QUICK, cwd=tmp_path)  # the lock has died with its process
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob(".*"))


def test_a_lock_is_held_once_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "model.npz"
    with locked(path), locked(tmp_path / "other.npz"), pytest.raises(CharlstmError, match="in use"), locked(path):
        pass
    with pytest.raises(ZeroDivisionError), locked(path):
        raise ZeroDivisionError
    with locked(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_waits_for_a_lock_that_is_just_let_go_of_gets_one_of_its_own(tmp_path, monkeypatch):
    path, name, first = tmp_path / "model.npz", tmp_path / ".model.npz.lock", []
    lock = pytest.importorskip("fcntl").flock

    def after_it_was_removed(descriptor, operation):
        if not first:
            first.append(descriptor)
            name.unlink()
        lock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", after_it_was_removed)
    with locked(path):
        assert name.exists()
    assert first


@pytest.mark.parametrize("where", ["os.open", "fcntl.flock"])
def test_where_files_cannot_be_locked_nothing_is(where, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(where, fail)
    with locked(tmp_path / "model.npz"):
        pass


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_before_the_first_step_leaves_nothing_behind(name, tmp_path):
    command = [sys.executable, "-m", "charlstm", "train", "-", "-q"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not list(tmp_path.glob(".model.npz.lock")):
            assert process.poll() is None
        process.send_signal(getattr(signal, name))
        assert process.wait(10) == 128 + getattr(signal, name)
        assert process.stderr.read() == b""
    assert list(tmp_path.iterdir()) == []
