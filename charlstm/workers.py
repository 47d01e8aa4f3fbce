"""The cores there are, and the processes that share the streams of a batch on them.

Each has some of the streams, a copy of the weights, and BLAS held to one thread. Threads of one process would wait for
the interpreter's lock between NumPy's calls, of which there are ten thousands a second: at 128 units, that takes half
of the time.
"""

import functools
import itertools
import math
import mmap
import os
import pickle
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from threadpoolctl import ThreadpoolController

from charlstm.batches import Window
from charlstm.layers import Grads
from charlstm.model import CharLSTM, State, joined
from charlstm.workspace import Floats

_LEAST_STREAMS = 4  # of a process


def available_cores() -> int:
    """Return how many cores this process may use: those of its affinity, and no more than its cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(min(cores, math.ceil(int(quota) / int(period))), 1)
    except (OSError, ValueError):  # no cgroup, or "max"
        return cores


def blas_threads(count: int) -> AbstractContextManager[Any]:
    """Hold BLAS to `count` threads for a while."""
    limit: AbstractContextManager[Any] = _blas().limit(limits=count, user_api="blas")
    return limit


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


class Workers:
    """A model that computes on several cores, in as many processes; to be closed.

    The same number of cores gives the same bytes, however busy they are. Where a process ends too early (memory has run
    out, somebody has killed it), this one does its part, more slowly and with the same result, and warns.

    Attributes:
        model: computes. Its weights move into memory that all processes have in common; they may be changed between two
            calls.
        cores: how many processes there are at most, this one included.
    """

    def __init__(self, model: CharLSTM, cores: int) -> None:
        self.model = model
        self.cores = cores if os.name == "posix" else 1  # elsewhere, memory cannot be handed on
        self._substitute = CharLSTM(model.config, model.params)
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exc_info: object) -> None:
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def zero_state(self, batch_size: int) -> State:
        """Return the state at the start of a text, for B streams."""
        return self.model.zero_state(batch_size)

    def loss_and_grads(
        self, window: Window, state: State, masks: Floats | None = None, clip_error: float = 0.0
    ) -> tuple[float, Grads, State]:
        """Do what the model's `loss_and_grads` does."""
        chars = window.x.size
        requests = [
            (window.of(k), state.of(k), None if masks is None else masks[:, k], clip_error, chars)
            for k in self._parts(window)
        ]
        losses, grads, states = [], [], []
        for loss, grads_of_part, after in self._results("loss_and_grads", requests):
            losses.append(loss)
            states.append(after)
            grads.append(grads_of_part)
            if len(grads) > 1:
                for name, grad in grads[0].items():
                    grad += grads_of_part[name]
        return sum(losses), grads[0], joined(states)

    def loss(self, window: Window, state: State) -> tuple[float, State]:
        """Do what the model's `loss` does."""
        requests = [(window.of(k), state.of(k), window.x.size) for k in self._parts(window)]
        losses, states = zip(*self._results("loss", requests), strict=True)
        return sum(losses), joined(states)

    def _parts(self, window: Window) -> list[slice]:
        """Cut the streams of a window into parts, one for each process."""
        B = window.x.shape[1]
        count = max(min(self.cores, B // _LEAST_STREAMS), 1)
        return [slice(*edges) for edges in itertools.pairwise(B * k // count for k in range(count + 1))]

    def _results(self, method: str, requests: list[tuple[Any, ...]]) -> Iterator[Any]:
        """Call a method of the model in as many processes as there are requests; yield the results in their order."""
        mine, *others = requests
        if others and not self._workers:
            self._start()
        workers = self._workers[: len(others)]
        with blas_threads(1 if others else self.cores):
            for worker, request in zip(workers, others, strict=True):
                worker.begin(method, request)
            yield getattr(self.model, method)(*mine)
            for worker, request in zip(workers, others, strict=True):
                yield worker.end() or getattr(self._substitute, method)(*request)

    def _start(self) -> None:
        """Move the weights into common memory, and start the other processes."""
        params = self.model.params
        shapes = {name: param.shape for name, param in params.items()}
        dtype = params["b_out"].dtype
        with _common_file() as file:
            file.truncate(self.cores * dtype.itemsize * sum(param.size for param in params.values()))
            weights, *grads = _common_arrays(file.fileno(), shapes, dtype)
            for name, param in params.items():
                weights[name][...] = param
            params.update(weights)
            for number in range(len(grads)):
                hello = number, shapes, dtype, self.model.config
                self._workers.append(_Worker(file.fileno(), hello, grads[number]))


class _Worker:
    """A process that calls a model's methods.

    Args:
        fileno: of the file with the common memory.
        hello: what the process needs to know of it.
        grads: where the process writes gradients.
    """

    def __init__(self, fileno: int, hello: tuple[Any, ...], grads: Grads) -> None:
        self._grads = grads
        program = f"import sys; sys.path[:] = {sys.path!r}; from charlstm.workers import _work; _work()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[fileno],
            start_new_session=True,  # Ctrl-C is for the process that knows what to do
        )
        self._send((fileno, *hello))

    def begin(self, method: str, request: tuple[Any, ...]) -> None:
        """Begin to call a method of the model."""
        self._send((method, request))

    def end(self) -> tuple[Any, ...] | None:
        """Return what the method returned; None where the process has ended."""
        if self._process.returncode is not None:
            return None
        assert self._process.stdout is not None
        try:
            answer = pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            self.close()
            warnings.warn(
                f"a worker process has ended (exit code {self._process.returncode}): training goes on more slowly",
                stacklevel=4,
            )
            return None
        return tuple(self._grads if part is None else part for part in answer)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        self._process.wait()

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # it has ended, as its answer will tell
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()


def _work() -> None:
    """Be a worker: do what is said on standard input, until its end."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    fileno, number, shapes, dtype, config = pickle.load(requests)
    weights, *all_grads = _common_arrays(fileno, shapes, dtype)
    os.close(fileno)
    model = CharLSTM(config, weights, all_grads[number])
    with blas_threads(1), np.errstate(all="ignore"), suppress(EOFError, BrokenPipeError):
        while True:
            method, request = pickle.load(requests)
            result = getattr(model, method)(*request)
            pickle.dump(tuple(None if part is all_grads[number] else part for part in result), answers)
            answers.flush()


def _common_file() -> BinaryIO:
    """Return an empty file that has no name and, where the system can do so, lies in memory."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("charlstm"), "r+b")
    return tempfile.TemporaryFile()


def _common_arrays(
    fileno: int, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[np.floating]
) -> list[dict[str, Floats]]:
    """Return sets of arrays by name, as many as fit, in a file that other processes use too."""
    memory = np.frombuffer(mmap.mmap(fileno, 0), dtype)
    sizes = [math.prod(shape) for shape in shapes.values()]
    return [
        {
            name: piece.reshape(shape)
            for (name, shape), piece in zip(shapes.items(), np.split(part, np.cumsum(sizes)[:-1]), strict=True)
        }
        for part in memory.reshape(-1, sum(sizes))
    ]
