"""A process that computes for another: how it is started, and the protocol between them.

The main process sends a `Setup`, then one `Request` at a time; the worker answers each with a `Reply`. Weights and
gradients are in shared memory. The main process changes weights only while no request is pending, and a worker writes
its gradients before it replies.
"""

import os
import subprocess
import sys
import warnings
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from charlstm.arrays import Grads
from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import CharLSTM, Masks, State
from charlstm.network.cores import blas_threads
from charlstm.network.shared_memory import SharedParams, duplicate_above_2
from charlstm.text.batches import Window

_EXIT_S = 1.0  # time that a process has to exit by itself
_SYS_PATH = [os.path.abspath(entry) for entry in sys.path]  # before anything changes the working directory
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "MKL", "OMP", "BLIS", "VECLIB_MAXIMUM")}


class Setup(NamedTuple):
    """The first message to a worker."""

    fileno: int  # of the shared memory
    shapes: dict[str, tuple[int, ...]]
    dtype: np.dtype[np.floating]
    number: int  # of the worker, from 0
    config: ModelConfig
    kernel: str
    boundary_id: int | None


class Request(NamedTuple):
    """Streams of a window to compute."""

    window: Window
    state: State
    masks: Masks | None
    clip_error: float
    chars: int  # of the whole window
    with_grads: bool


class Reply(NamedTuple):
    """The result of a request, except the gradients, which are in shared memory."""

    loss: float
    state: State


def compute(network: CharLSTM, request: Request) -> tuple[Reply, Grads]:
    """Return the result of a request, and the gradients if it asks for them."""
    window, state, masks, clip_error, chars, with_grads = request
    if not with_grads:
        return Reply(*network.loss(window, state, chars)), {}
    loss, grads, after = network.loss_and_grads(window, state, masks, clip_error, chars)
    return Reply(loss, after), grads


class Worker:
    """The process, as seen from the main one.

    It has a session of its own, so that Ctrl-C reaches only the main process, and a pipe of its own, since start-up
    code of Python may write to standard output.

    Attributes:
        grads: where it writes its gradients.
        process: None if it could not be started, or has died.
    """

    def __init__(self, shared: SharedParams | None, number: int, network: CharLSTM) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        if shared is None:
            return
        self.grads: Grads = shared.grads[number]
        try:
            self._pipe, theirs = Pipe()
            pipe = duplicate_above_2(theirs.fileno())
            theirs.close()
            program = f"import sys; sys.path[:] = {_SYS_PATH!r}; from {__name__} import serve; serve({pipe})"
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", program],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[pipe, shared.fileno],
                    start_new_session=True,
                    env=os.environ | _ONE_THREAD,
                )
            finally:
                os.close(pipe)
        except (OSError, TypeError, ValueError) as error:  # also an unusable sys.executable or environment
            warn_fewer_processes(f"cannot start another process ({getattr(error, 'strerror', None) or error})")
        how = network.config, network.kernel, network.boundary_id
        self.send(Setup(shared.fileno, dict(shared.shapes), shared.dtype, number, *how))

    def send(self, message: Setup | Request) -> None:
        """Send a message. A dead process is noticed in `receive`."""
        if self.process is not None:
            with suppress(OSError):
                self._pipe.send(message)

    def receive(self) -> Reply | None:
        """Return the reply to the last request; None if there is no process, or it has died."""
        if self.process is None:
            return None
        try:
            reply: Reply = self._pipe.recv()
        except (OSError, EOFError):
            warn_fewer_processes(f"a process has died (exit code {self.close()})")
            return None
        return reply

    def close(self) -> int | None:
        """End the process; return its exit code."""
        process, self.process = self.process, None
        if process is None:
            return None
        self._pipe.close()
        try:
            return process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:  # it is suspended, or another process holds the pipe
            process.kill()
            return process.wait()


def warn_fewer_processes(what: str) -> None:
    """Warn that fewer processes than planned will compute."""
    warnings.warn(f"{what}; continuing with fewer processes, more slowly", stacklevel=2)


def serve(fileno: int) -> None:
    """Run a worker: answer the requests of a pipe until it is closed."""
    with (
        blas_threads(1),
        np.errstate(all="ignore"),
        suppress(EOFError, ConnectionError, MemoryError),
        Connection(fileno) as pipe,
    ):
        setup: Setup = pipe.recv()
        shared = SharedParams(setup.fileno, setup.shapes, setup.dtype)
        network = CharLSTM(setup.config, shared.weights, shared.grads[setup.number], setup.boundary_id)
        network.kernel = setup.kernel
        while True:
            reply, _ = compute(network, pipe.recv())
            pipe.send(reply)
