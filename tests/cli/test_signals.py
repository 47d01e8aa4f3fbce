"""Signals: a run that is interrupted is saved, and resumes as if never interrupted."""

import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import TEXT, charlstm

from charlstm import load_run
from charlstm.cli.signals import StoppedError, as_exits, collected

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")
QUICK = ("--hidden-size", "12", "--batch-size", "4", "--seq-len", "10", "--threads", "1")
LONG = ("--steps", "600", "--evals", "15", "--dropout", "0.1")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The bytes of the file of a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "corpus.txt").write_text(TEXT)
    done = charlstm("train", "corpus.txt", *QUICK, *LONG, "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    return (folder / "model.npz").read_bytes()


def start_process(folder, *arguments):
    """Start a run in a process of its own."""
    command = [sys.executable, "-m", "charlstm", "train", "corpus.txt", *arguments]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, encoding="utf-8")


def start_and_evaluate(folder, *more):
    """Start a run that takes a second or more; return its process after the first evaluation."""
    log = folder / "log.jsonl"
    process = start_process(folder, *QUICK, *LONG, *more, "--log", log.name)
    until = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size):
        assert time.monotonic() < until
        time.sleep(0.02)
    return process


def resume(folder):
    """Resume the run in a folder to its end; return the bytes of its file."""
    done = charlstm("train", "corpus.txt", "--resume", "-q", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(folder)) == ["corpus.txt", "log.jsonl", "model.npz"]
    return (folder / "model.npz").read_bytes()


# ---- real signals


def test_killed_run_resumes_bit_for_bit(text_file, tmp_path, uninterrupted):
    process = start_and_evaluate(tmp_path)
    process.kill()
    process.communicate()
    assert load_run(tmp_path / "model.npz").training is not None
    assert resume(tmp_path) == uninterrupted


@pytest.mark.slow
def test_killed_run_of_the_compiled_kernel_resumes_bit_for_bit(text_file, tmp_path):
    compiled = ("--kernel", "numba", "--hidden-size", "32")
    done = charlstm("train", "corpus.txt", *QUICK, *LONG, *compiled, "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole = (tmp_path / "model.npz").read_bytes()
    (tmp_path / "model.npz").unlink()
    process = start_and_evaluate(tmp_path, *compiled)
    process.kill()
    process.communicate()
    assert load_run(tmp_path / "model.npz").training is not None
    assert resume(tmp_path) == whole


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SIGINT", 130),
        pytest.param("SIGTERM", 143, marks=pytest.mark.slow),
        pytest.param("SIGHUP", 129, marks=pytest.mark.slow),
    ],
)
def test_signal_saves_the_run_and_prints_how_to_resume_it(name, code, text_file, tmp_path, uninterrupted):
    process = start_and_evaluate(tmp_path)
    process.send_signal(getattr(signal, name))
    said = process.communicate()[1]
    assert process.returncode == code
    assert said.splitlines()[-1].strip() == "charlstm train corpus.txt -o model.npz --log log.jsonl --resume"
    assert "Traceback" not in said
    assert resume(tmp_path) == uninterrupted


def test_run_killed_before_its_first_save_keeps_the_old_file(text_file, tmp_path):
    (tmp_path / "model.npz").write_bytes(b"old")
    process = start_process(tmp_path, *QUICK, "--steps", "100000", "--evals", "1", "--force")
    assert "training characters" in process.stderr.readline()
    process.kill()
    process.communicate()
    assert (tmp_path / "model.npz").read_bytes() == b"old"


def test_two_signals_at_once_are_one_request_to_stop(text_file, tmp_path):
    """As from `timeout`, which signals a process and then its group."""
    process = start_process(tmp_path, *QUICK, "--steps", "100000", "--evals", "1")
    assert "training characters" in process.stderr.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[1]
    assert "--resume\nIt has not been evaluated: until it is resumed, samples come from its initial weights\n" in said
    assert process.returncode == 143
    training = load_run(tmp_path / "model.npz").training
    assert training is not None
    assert training.step > 0


@pytest.mark.slow
def test_second_ctrl_c_exits_at_once_and_keeps_the_old_file(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT * 50)
    (tmp_path / "model.npz").write_bytes(b"old")
    large = [
        "--hidden-size",
        "1024",
        "--batch-size",
        "64",
        "--seq-len",
        "200",
        "--threads",
        "1",
        "--kernel",
        "numpy",
        "--steps",
        "1000",
    ]
    with start_process(tmp_path, *large, "--force") as process:
        assert "training characters" in process.stderr.readline()
        time.sleep(0.5)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(1.1)  # sooner, it would be the same request
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    assert (tmp_path / "model.npz").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]


@pytest.mark.parametrize("module", ["click", "charlstm.config", "numpy", "charlstm.network.layers"])
def test_ctrl_c_during_imports_is_quiet(module, model):
    program = f"""if True:
        import os, signal, sys

        class Interrupt:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r}:
                    os.kill(os.getpid(), signal.SIGINT)

        from charlstm.cli import main
        sys.meta_path.insert(0, Interrupt())
        sys.argv = ["charlstm", "sample", "--ckpt", {str(model)!r}]
        main()
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


# ---- handlers


def test_signal_raises_where_nothing_needs_saving():
    with pytest.raises(StoppedError) as stopped, as_exits():
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.number == signal.SIGTERM


@pytest.mark.slow
def test_signal_inside_a_callback_of_c_is_sent_again():
    """Python ignores exceptions there, and the program would never stop."""
    callback = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGTERM))
    with as_exits():
        callback()
        with pytest.raises(StoppedError):
            time.sleep(5)


def test_other_exceptions_that_python_ignores_reach_the_hook_before(monkeypatch):
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: ignored.append(args.exc_type))
    with as_exits():
        ctypes.CFUNCTYPE(None)(lambda: 1 / 0)()
    assert ignored == [ZeroDivisionError]


def test_signals_are_collected_while_training():
    with collected() as received:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGINT)
    assert received == [signal.SIGHUP, signal.SIGINT]


@pytest.mark.parametrize("handle", [as_exits, collected])
def test_handlers_are_restored(handle):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with handle():
        assert signal.getsignal(signal.SIGINT) not in before
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize("handle", [as_exits, collected])
def test_ignored_signals_stay_ignored(handle):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handle():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
