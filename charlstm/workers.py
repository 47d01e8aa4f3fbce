"""The cores there are, and the processes that share the streams of a batch on them.

Each has some of the streams, a copy of the weights, and BLAS held to one thread. Threads of one process would wait for
the interpreter's lock between NumPy's calls, of which there are ten thousands a second: at 128 units, a step took 1.5
times as long.
"""

import functools
import itertools
import math
import mmap
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from charlstm.batches import Window
from charlstm.config import ModelConfig
from charlstm.layers import Grads
from charlstm.model import CharLSTM, Masks, State, joined
from charlstm.workspace import Floats

_LEAST_STREAMS = 4  # of a process
_END_S = 1.0  # for which a process may take to end by itself
_SYS_PATH = [os.path.abspath(entry) for entry in sys.path]  # before somebody changes the folder
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "MKL", "OMP", "BLIS", "VECLIB_MAXIMUM")}


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

    The same number of cores gives the same bytes, however busy they are. Where a process cannot be started, or ends too
    early (memory has run out, somebody has killed it), this one does its part, more slowly and with the same result,
    and warns.

    Attributes:
        model: computes. Until the end, its weights lie in memory that all processes have in common; they may be changed
            between two calls.
        cores: how many processes there are at most, this one included.
    """

    def __init__(self, model: CharLSTM, cores: int) -> None:
        self.model = model
        self.cores = cores
        self._substitute = CharLSTM(model.config, model.params)
        self._workers: list[_Worker] = []
        self._memory: _Memory | None = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end()

    def zero_state(self, batch_size: int) -> State:
        """Return the state at the start of a text, for B streams."""
        return self.model.zero_state(batch_size)

    def loss_and_grads(
        self, window: Window, state: State, masks: Masks | None = None, clip_error: float = 0.0
    ) -> tuple[float, Grads, State]:
        """Do what the model's `loss_and_grads` does."""
        chars = window.x.size
        requests = [(window.of(k), state.of(k), masks and masks.of(k), clip_error, chars) for k in self._parts(window)]
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
        cores = self.cores if os.name == "posix" else 1  # elsewhere, memory cannot be handed on
        count = max(min(cores, B // _LEAST_STREAMS), 1)
        return [slice(*edges) for edges in itertools.pairwise(B * k // count for k in range(count + 1))]

    def _results(self, method: str, requests: list[tuple[Any, ...]]) -> Iterator[Any]:
        """Call a method of the model in as many processes as there are requests; yield the results in their order."""
        mine, *others = requests
        complete = False
        try:
            workers = self._first(len(others))
            with blas_threads(1 if others else self.cores):
                for worker, request in zip(workers, others, strict=True):
                    worker.begin(method, request)
                yield getattr(self.model, method)(*mine)
                for worker, request in zip(workers, others, strict=True):
                    yield worker.end() or getattr(self._substitute, method)(*request)
            complete = True
        finally:
            if not complete:  # so that no answer is left behind that would be taken for one to the next request
                self._end()

    def _first(self, count: int) -> "list[_Worker]":
        """Return some workers; start those that are not there yet."""
        if count and not self._workers:
            try:
                self._memory = _Memory.around(self.model.params, self.cores - 1)
                self.model.params.update(self._memory.weights)
            except OSError as error:
                _warn(f"there is no memory to have in common with other processes ({error.strerror})")
        while len(self._workers) < count:
            self._workers.append(_Worker(self._memory, len(self._workers), self.model.config))
        return self._workers[:count]

    def _end(self) -> None:
        """End the other processes, and take the weights out of the common memory."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        if self._memory is not None:
            for name, param in self.model.params.items():
                self.model.params[name] = param.copy()
            self._memory.close()
            self._memory = None


class _Memory:
    """Memory that processes have in common: weights, and room for the gradients of each worker.

    Args:
        fileno: of a file of the right size, which is closed in the end.
        shapes: of the weights.
        dtype: of the weights.
    """

    def __init__(self, fileno: int, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[np.floating]) -> None:
        self.fileno, self.shapes, self.dtype = fileno, shapes, dtype
        sizes = [math.prod(shape) for shape in shapes.values()]
        sets = np.frombuffer(mmap.mmap(fileno, 0), dtype).reshape(-1, sum(sizes))
        self.weights, *self.grads = (
            {name: piece.reshape(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}
            for pieces in (np.split(row, np.cumsum(sizes)[:-1]) for row in sets)
        )

    @classmethod
    def around(cls, params: Mapping[str, Floats], workers: int) -> "_Memory":
        """Return memory with a copy of some weights in it."""
        dtype = next(iter(params.values())).dtype
        fileno = _file((1 + workers) * dtype.itemsize * sum(param.size for param in params.values()))
        memory = cls(fileno, {name: param.shape for name, param in params.items()}, dtype)
        for name, param in params.items():
            memory.weights[name][...] = param
        return memory

    def close(self) -> None:
        """Close the file; the memory stays until the last array is gone."""
        os.close(self.fileno)


class _Worker:
    """A process that calls a model's methods.

    It has a session of its own, so that Ctrl-C reaches only the process that knows what to do, and pipes of its own,
    since what Python runs when it starts may write on standard output.
    """

    def __init__(self, memory: _Memory | None, number: int, config: ModelConfig) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if memory is None:
            return
        self._grads = memory.grads[number]
        try:
            self._pipe, theirs = Pipe()
            pipe = _above_standard(theirs.fileno())
            theirs.close()
            program = f"import sys; sys.path[:] = {_SYS_PATH!r}; from charlstm.workers import _work; _work({pipe})"
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", program],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[pipe, memory.fileno],
                    start_new_session=True,
                    env=os.environ | _ONE_THREAD,
                )
            finally:
                os.close(pipe)
        except (OSError, TypeError, ValueError) as error:
            _warn(f"no further process can be started ({getattr(error, 'strerror', None) or error})")
        self._send((memory.fileno, memory.shapes, memory.dtype, number, config))

    def begin(self, method: str, request: tuple[Any, ...]) -> None:
        """Begin to call a method of the model."""
        self._send((method, request))

    def end(self) -> tuple[Any, ...] | None:
        """Return what the method returned; None where there is no process any more."""
        if self._process is None:
            return None
        try:
            answer = self._pipe.recv()
        except (OSError, EOFError):
            _warn(f"a process has ended too early (exit code {self.close()})")
            return None
        return tuple(self._grads if part is None else part for part in answer)

    def close(self) -> int | None:
        """End the process; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        self._pipe.close()
        try:
            return process.wait(_END_S)
        except subprocess.TimeoutExpired:  # it is stopped, or something else has the pipe
            process.kill()
            return process.wait()

    def _send(self, message: object) -> None:
        if self._process is not None:
            with suppress(OSError):  # it has ended, as its answer will tell
                self._pipe.send(message)


def _warn(what: str) -> None:
    warnings.warn(f"{what}: the work goes on with fewer, more slowly", stacklevel=2)


def _work(fileno: int) -> None:
    """Be a worker: do what comes through a pipe, until its end."""
    with (
        blas_threads(1),
        np.errstate(all="ignore"),
        suppress(EOFError, ConnectionError, MemoryError),
        Connection(fileno) as pipe,
    ):
        *layout, number, config = pipe.recv()
        memory = _Memory(*layout)
        grads = memory.grads[number]
        model = CharLSTM(config, memory.weights, grads)
        while True:
            method, request = pipe.recv()
            result = getattr(model, method)(*request)
            pipe.send(tuple(None if part is grads else part for part in result))


def _file(size: int) -> int:
    """Return the descriptor of a file that has no name and, where the system can do so, lies in memory."""
    with tempfile.TemporaryFile() if not hasattr(os, "memfd_create") else open(os.memfd_create("charlstm")) as file:
        fileno = _above_standard(file.fileno())
    os.truncate(fileno, size)
    return fileno


def _above_standard(fileno: int) -> int:
    """Return a duplicate that is none of 0, 1, 2: they may be free here, but are taken in a new process."""
    import fcntl  # which not every system has

    return fcntl.fcntl(fileno, fcntl.F_DUPFD_CLOEXEC, 3)
