"""Shared by several tests: small texts, small settings, and the command line as a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from charlstm import Config, Corpus, Report, Run, corpus_from_text, train
from charlstm.training.loop import new_run

ROOT = Path(__file__).parent.parent
TEXT = "".join(f"{n} times {n + 1} is {n * (n + 1)}.\n" for n in range(400))
SMALL = Config().replace(hidden_size=12, batch_size=4, seq_len=10, steps=40, evals=4, seed=3)


def begin(config: Config = SMALL, corpus: Corpus | str = TEXT) -> Run:
    """Return a run that has not taken a step yet."""
    corpus = corpus_from_text(corpus) if isinstance(corpus, str) else corpus
    return new_run(config, corpus.merge_rare(config.data.min_count).split(config.data.val_fraction))


def train_fully(config: Config = SMALL, corpus: Corpus | str = TEXT) -> tuple[Run, list[Report]]:
    """Return a finished run and its reports."""
    run = begin(config, corpus)
    return run, list(train(run))


def charlstm(*arguments: object, cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does; text in, text out."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= options.pop("env", {})
    return subprocess.run(
        [sys.executable, "-m", "charlstm", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        **options,
    )


def error_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line that a failed command prints, after checking that it failed cleanly."""
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    line = done.stderr.strip()
    assert line.startswith("Error: "), line
    assert "\n" not in line, line
    return line


def arrays_of(run: Run) -> dict[str, np.ndarray]:
    """Return every array of a run, including those of its training state, by name."""
    arrays: dict[str, np.ndarray] = dict(run.model.network.params)
    if run.training:
        for prefix, params in (*run.training.arrays().items(), ("state", run.training.state._asdict())):
            arrays |= {f"{prefix}.{name}": array for name, array in params.items()}
    return arrays


def assert_same_run(a: Run, b: Run) -> None:
    """Check that two runs are equal bit for bit."""
    ours, theirs = arrays_of(a), arrays_of(b)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert np.array_equal(array, theirs[name]), name
    assert (a.best, a.history, a.fingerprint) == (b.best, b.history, b.fingerprint)


# ---- several ranks

MPIEXEC = str(Path(sys.executable).parent / "mpiexec")
CHARLSTM = (sys.executable, "-m", "charlstm")


def start_ranks(count: int, *command: object, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a command on several ranks; with ":" in it, the ranks of the parts."""
    return subprocess.Popen(
        [MPIEXEC, "-n", str(count), *map(str, command)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")} | (env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def run_ranks(
    count: int, *command: object, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command on several ranks to its end."""
    with start_ranks(count, *command, cwd=cwd, env=env) as process:
        said = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, *said)


def pids_of_ranks(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that mpiexec has started. Linux only."""
    return [rank for proxy in _children(process.pid) for rank in _children(proxy)]


def is_running(pid: int) -> bool:
    """Return whether a process has not ended yet; one that nobody has waited for has. Linux only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end(pids: list[int], seconds: float) -> None:
    """Check that processes end within some seconds."""
    until = time.monotonic() + seconds
    while running := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < until, running
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []
