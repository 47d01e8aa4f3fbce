"""Faults while a run is saved, and kills while it trains.

Each function returns the number of its trials, and raises AssertionError at the first broken promise.
"""

import builtins
import contextlib
import errno
import io
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers import TEXT, begin

from charlstm import CharlstmError, Config, Run, load_run, train

FAULTS: dict[str, Callable[[], BaseException]] = {
    "disk full": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "input/output error": lambda: OSError(errno.EIO, "Input/output error"),
    "Ctrl-C": KeyboardInterrupt,
    "no memory": MemoryError,
}
VARIANTS = {  # of killed runs
    "Adam, one core": "--threads 1",
    "two cores": "--threads 2 --batch-size 8",
    "moving average": "--ema-decay 0.9",
    "early stopping": "--patience 50 --learning-rate 0.05",
    "RMSProp, step schedule": "--optimizer rmsprop --schedule step",
    "SGD with momentum, plateau schedule": "--optimizer sgd --momentum 0.9 --learning-rate 0.5 --schedule plateau",
    "two layers, dropout, linear schedule": "--schedule linear --dropout 0.2 --num-layers 2",
    "two files": "second.txt",
}
_QUICK = ("--hidden-size", "12", "--seq-len", "10", "--evals", "40", "--steps", "800", "-q")


def small_runs() -> tuple[Run, Run]:
    """Return a finished run, and an unfinished one."""
    config = Config().replace(hidden_size=3, batch_size=2, seq_len=5, steps=4, ema_decay=0.5)
    finished, unfinished = begin(config, "abcd\n" * 50), begin(config, "abcd\n" * 50)
    for _ in train(finished):
        pass
    for report in train(unfinished):
        if report.step == 2:
            break
    return finished, unfinished


# ---- faults while saving


class Faults:
    """Makes the n-th of all writes, flushes, syncs, renames and openings fail, and with `permanent` all that follow.

    Attributes:
        calls: the number of calls so far.
    """

    def __init__(self, n: int, fault: str, *, permanent: bool) -> None:
        self.calls, self._n, self._fault, self._permanent = 0, n, fault, permanent

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function, or fail."""
        self.calls += 1
        if self.calls == self._n or (self._permanent and self.calls > self._n):
            raise FAULTS[self._fault]()
        return function(*arguments, **options)

    @contextlib.contextmanager
    def injected(self) -> Iterator[None]:
        """Stand between the package and the operating system."""
        real = {"fsync": os.fsync, "replace": os.replace, "open": os.open}
        real_open = builtins.open

        def faulty_open(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            file = self.call(real_open, path, mode, *arguments, **options)
            return _FaultyFile(file, self) if "b" in mode and ("w" in mode or "x" in mode) else file

        try:
            for name, function in real.items():
                setattr(os, name, lambda *a, function=function, **k: self.call(function, *a, **k))
            builtins.open = faulty_open  # type: ignore[assignment]
            yield
        finally:
            builtins.open = real_open
            for name, function in real.items():
                setattr(os, name, function)


class _FaultyFile(io.RawIOBase):
    """A binary file whose writes and flushes can fail."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def write(self, data: Any) -> Any:
        return self._faults.call(self._file.write, data)

    def flush(self) -> None:
        if not self._file.closed:
            self._faults.call(self._file.flush)

    def close(self) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def fileno(self) -> int:
        return int(self._file.fileno())

    def seek(self, *arguments: int) -> int:
        return int(self._file.seek(*arguments))

    def tell(self) -> int:
        return int(self._file.tell())

    def seekable(self) -> bool:
        return True


def fault_sweep(folder: Path, step: int = 1) -> int:
    """Make each call of a save fail in turn, or every so many. The old or the new file remains, and nothing else."""
    old, new = small_runs()
    path = folder / "model.npz"
    new.save(path)
    new_bytes = path.read_bytes()
    old.save(path)
    old_bytes = path.read_bytes()
    trials = 0
    for fault in FAULTS:
        for permanent in (False, True):
            n, fails = 1, True
            while fails:
                faults = Faults(n, fault, permanent=permanent)
                path.write_bytes(old_bytes)
                reported = _save_with(faults, new, path)
                fails = faults.calls >= n
                assert path.read_bytes() in (old_bytes, new_bytes)
                assert os.listdir(folder) == [path.name], os.listdir(folder)
                assert reported == fails, f"{fault} at call {n} was not reported"
                trials += 1
                n += step
    return trials


def _save_with(faults: Faults, run: Run, path: Path) -> bool:
    """Save a run; return whether a failure was reported."""
    with faults.injected():
        try:
            run.save(path)
        except (CharlstmError, KeyboardInterrupt, MemoryError):
            return True
    return False


# ---- kills while training


def kill_loop(folder: Path, flags: str, kills: int, number: int, seed: int = 0) -> int:
    """Stop a run at random moments, a number of times. It ends with the same bytes as one that is not stopped."""
    rng = random.Random(seed)
    path = folder / "model.npz"
    for name in ("corpus.txt", "second.txt"):
        (folder / name).write_text(TEXT)
    subprocess.run(_command(flags, "-o", "whole.npz"), cwd=folder, check=True)
    stopped = 0
    while True:
        resume = ["--resume"] if path.exists() else []
        with subprocess.Popen(_command(flags, *resume), cwd=folder, stderr=subprocess.PIPE) as process:
            if stopped < kills:
                time.sleep(rng.uniform(0.2, 0.9))
                process.send_signal(number)
            said = process.communicate()[1]
        stopped += process.returncode != 0
        assert b"Traceback" not in said, said.decode()
        assert process.returncode in (0, -number, 128 + number), said.decode()
        if not path.exists() or load_run(path).training is not None:
            continue
        assert path.read_bytes() == (folder / "whole.npz").read_bytes()
        assert not list(folder.glob(".*.tmp"))
        if stopped >= kills:
            return stopped
        path.unlink()  # it ended before it was stopped often enough: start again


def _command(flags: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "charlstm", "train", "corpus.txt", *flags.split(), *_QUICK, *more]
