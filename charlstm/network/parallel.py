"""Data parallelism: one process per core, each with some of the streams of a batch.

The processes share the weights, and each holds BLAS to one thread. Threads of one process would wait for the
interpreter's lock between NumPy's calls, of which there are tens of thousands per second: at 128 units, a step took 1.5
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

from charlstm.arrays import Floats, Grads
from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import CharLSTM, Masks, State, concat_states
from charlstm.text.batches import Window

_MIN_STREAMS = 4  # per process
_EXIT_S = 1.0  # time that a process has to exit by itself
_SYS_PATH = [os.path.abspath(entry) for entry in sys.path]  # before anything changes the working directory
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "MKL", "OMP", "BLIS", "VECLIB_MAXIMUM")}


def available_cores() -> int:
    """Return the number of cores this process may use: those of its affinity, limited by its cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(min(cores, math.ceil(int(quota) / int(period))), 1)
    except (OSError, ValueError):  # no cgroup, or "max"
        return cores


def blas_threads(count: int) -> AbstractContextManager[Any]:
    """Limit BLAS to `count` threads, as a context manager."""
    limit: AbstractContextManager[Any] = _blas().limit(limits=count, user_api="blas")
    return limit


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


class DataParallel:
    """A network that computes on several cores, in as many processes. A context manager: its exit ends the processes.

    The same number of cores gives the same bytes, however busy they are. If a process cannot be started, or dies, this
    one does its part, more slowly and with the same result, and warns.

    Attributes:
        network: until the exit, its weights lie in memory that all processes share. They may be changed between calls.
        cores: the largest number of processes, this one included.
    """

    def __init__(self, network: CharLSTM, cores: int) -> None:
        self.network = network
        self.cores = cores
        self._substitute = CharLSTM(network.config, network.params)
        self._workers: list[_Worker] = []
        self._memory: _Memory | None = None

    def __enter__(self) -> "DataParallel":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end()

    def zero_state(self, batch_size: int) -> State:
        """Return the state at the start of a text, for B streams."""
        return self.network.zero_state(batch_size)

    def loss_and_grads(
        self, window: Window, state: State, masks: Masks | None = None, clip_error: float = 0.0
    ) -> tuple[float, Grads, State]:
        """Return what the `loss_and_grads` of the network returns."""
        chars = window.x.size
        requests = [
            (window.streams(k), state.streams(k), masks and masks.streams(k), clip_error, chars)
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
        return sum(losses), grads[0], concat_states(states)

    def loss(self, window: Window, state: State) -> tuple[float, State]:
        """Return what the `loss` of the network returns."""
        requests = [(window.streams(k), state.streams(k), window.x.size) for k in self._parts(window)]
        losses, states = zip(*self._results("loss", requests), strict=True)
        return sum(losses), concat_states(states)

    def _parts(self, window: Window) -> list[slice]:
        """Divide the streams of a window among the processes."""
        B = window.x.shape[1]
        cores = self.cores if os.name == "posix" else 1  # elsewhere, processes cannot inherit memory
        count = max(min(cores, B // _MIN_STREAMS), 1)
        return [slice(*edges) for edges in itertools.pairwise(B * k // count for k in range(count + 1))]

    def _results(self, method: str, requests: list[tuple[Any, ...]]) -> Iterator[Any]:
        """Call a method of the network in one process per request; yield the results in order."""
        mine, *others = requests
        complete = False
        try:
            workers = self._first(len(others))
            with blas_threads(1 if others else self.cores):
                for worker, request in zip(workers, others, strict=True):
                    worker.begin(method, request)
                yield getattr(self.network, method)(*mine)
                for worker, request in zip(workers, others, strict=True):
                    yield worker.end() or getattr(self._substitute, method)(*request)
            complete = True
        finally:
            if not complete:  # a reply left in a pipe would be taken for that to the next request
                self._end()

    def _first(self, count: int) -> "list[_Worker]":
        """Return the first workers, starting those that do not run yet."""
        if count and not self._workers:
            try:
                self._memory = _Memory.around(self.network.params, self.cores - 1)
                self.network.params.update(self._memory.weights)
            except OSError as error:
                _warn(f"cannot share memory with other processes ({error.strerror})")
        while len(self._workers) < count:
            self._workers.append(_Worker(self._memory, len(self._workers), self.network.config))
        return self._workers[:count]

    def _end(self) -> None:
        """End the other processes, and move the weights out of the shared memory."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        if self._memory is not None:
            for name, param in self.network.params.items():
                self.network.params[name] = param.copy()
            self._memory.close()
            self._memory = None


class _Memory:
    """Shared memory: the weights, and the gradients of each worker.

    Args:
        fileno: of a file of the right size, closed by `close`.
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
        """Return shared memory that holds a copy of the weights."""
        dtype = next(iter(params.values())).dtype
        fileno = _file((1 + workers) * dtype.itemsize * sum(param.size for param in params.values()))
        memory = cls(fileno, {name: param.shape for name, param in params.items()}, dtype)
        for name, param in params.items():
            memory.weights[name][...] = param
        return memory

    def close(self) -> None:
        """Close the file. The memory is freed with the last array."""
        os.close(self.fileno)


class _Worker:
    """A process that calls methods of the network.

    It has a session of its own, so that Ctrl-C reaches only the main process, and a pipe of its own, since start-up
    code of Python may write to standard output.
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
            program = (
                f"import sys; sys.path[:] = {_SYS_PATH!r}; from charlstm.network.parallel import _work; _work({pipe})"
            )
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
            _warn(f"cannot start another process ({getattr(error, 'strerror', None) or error})")
        self._send((memory.fileno, memory.shapes, memory.dtype, number, config))

    def begin(self, method: str, request: tuple[Any, ...]) -> None:
        """Start calling a method of the network."""
        self._send((method, request))

    def end(self) -> tuple[Any, ...] | None:
        """Return the result of the method; None if the process has died."""
        if self._process is None:
            return None
        try:
            answer = self._pipe.recv()
        except (OSError, EOFError):
            _warn(f"a process has died (exit code {self.close()})")
            return None
        return tuple(self._grads if part is None else part for part in answer)

    def close(self) -> int | None:
        """End the process; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        self._pipe.close()
        try:
            return process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:  # it is suspended, or another process holds the pipe
            process.kill()
            return process.wait()

    def _send(self, message: object) -> None:
        if self._process is not None:
            with suppress(OSError):  # it has died, which `end` will notice
                self._pipe.send(message)


def _warn(what: str) -> None:
    warnings.warn(f"{what}; continuing with fewer processes, more slowly", stacklevel=2)


def _work(fileno: int) -> None:
    """Run a worker: serve the requests of a pipe until it is closed."""
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
    """Return the descriptor of an unnamed file, in memory where the system supports it."""
    with tempfile.TemporaryFile() if not hasattr(os, "memfd_create") else open(os.memfd_create("charlstm")) as file:
        fileno = _above_standard(file.fileno())
    os.truncate(fileno, size)
    return fileno


def _above_standard(fileno: int) -> int:
    """Return a duplicate above 2: 0, 1 and 2 may be free here, but not in a new process."""
    import fcntl  # not on every system

    return fcntl.fcntl(fileno, fcntl.F_DUPFD_CLOEXEC, 3)
