"""What is compared runs in processes of its own, which take turns: a slow minute hits all, and nobody disturbs another.

A program that compares calls `serve` in its workers, and `measure` to run them. PyTorch's threads go on spinning for a
while after each call, so there is a pause between two turns. OpenBLAS and PyTorch choose the kernels that fit the
processor: settings of the environment that hold OpenBLAS to others (OPENBLAS_CORETYPE and the like) are dropped, unless
they are to be kept.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

_PAUSE_S = 0.3


def serve(once: Callable[[], object]) -> None:
    """Be a worker: for each line read, call `once` over and over for that many seconds; print the seconds per call."""
    for _ in range(3):
        once()
    print("ready", flush=True)
    for line in sys.stdin:
        begun, calls = time.perf_counter(), 0
        while calls < 2 or time.perf_counter() - begun < float(line):
            once()
            calls += 1
        print((time.perf_counter() - begun) / calls, flush=True)


def measure(
    program: str, kinds: Sequence[str], arguments: Sequence[object], rounds: int, seconds: float, env: dict[str, str]
) -> dict[str, list[float]]:
    """Return the seconds per call of each kind, one for each round.

    Args:
        program: run as `program --worker KIND ARGUMENTS`; calls `serve`.
        kinds: what is compared.
        arguments: what all get.
        rounds: how many turns each has.
        seconds: length of a turn.
        env: the environment of the workers.
    """
    workers = [_Worker([sys.executable, program, "--worker", kind, *map(str, arguments)], env) for kind in kinds]
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, worker in zip(kinds, workers, strict=True):
            time.sleep(_PAUSE_S)
            times[kind].append(worker.turn(seconds))
    for worker in workers:
        worker.close()
    return times


def environment(keep: bool) -> dict[str, str]:
    """Return the environment for workers: without settings of OpenBLAS, unless they are to be kept."""
    return {name: value for name, value in os.environ.items() if keep or not name.startswith("OPENBLAS_")}


def kernels(env: dict[str, str]) -> str:
    """Return which processor's kernels OpenBLAS uses in an environment."""
    program = "import numpy, threadpoolctl as t; print([i.get('architecture') for i in t.threadpool_info()][0])"
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True).stdout.strip()


class _Worker:
    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self._line()

    def turn(self, seconds: float) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a worker has failed")
        return line

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
