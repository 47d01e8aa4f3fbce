"""Data parallelism: one process per core, each with a share of the streams of a batch.

The processes share the weights, and each limits BLAS to one thread. Threads of one process would wait for the
interpreter's lock between NumPy's calls, of which there are tens of thousands per second: at 128 units, a step took 1.5
times as long.
"""

import itertools
import os
from collections.abc import Generator
from contextlib import closing

from charlstm.arrays import Grads
from charlstm.network.char_lstm import CharLSTM, Masks, State, concat_states
from charlstm.network.cores import blas_threads
from charlstm.network.shared_memory import SharedParams
from charlstm.network.worker import Reply, Request, Worker, compute, warn_fewer_processes
from charlstm.text.batches import Window

_MIN_STREAMS = 4  # per process


class DataParallel:
    """A network that computes on several cores, in as many processes. A context manager: its exit ends the processes.

    The same number of cores gives the same bytes, regardless of load. If a process cannot be started, or dies, the main
    process computes its share, more slowly and with the same result, and warns.

    Attributes:
        network: until the exit, its weights lie in memory that all processes share. They may be changed between calls.
        cores: the largest number of processes, this one included.
        workers: the other processes that have been started.
    """

    def __init__(self, network: CharLSTM, cores: int) -> None:
        self.network = network
        self.cores = cores
        self.workers: list[Worker] = []
        self._substitute = CharLSTM(network.config, network.params, boundary_id=network.boundary_id)
        self._substitute.kernel = network.kernel
        self._shared: SharedParams | None = None

    def __enter__(self) -> "DataParallel":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end()

    def zero_state(self, batch_size: int) -> State:
        """Return the state at the start of a text, for B streams."""
        return self.network.zero_state(batch_size)

    def loss_and_grads(
        self,
        window: Window,
        state: State,
        masks: Masks | None = None,
        clip_error: float = 0.0,
        chars: int | None = None,
    ) -> tuple[float, Grads, State]:
        """Return what the `loss_and_grads` of the network returns."""
        with closing(self._compute(window, state, masks, clip_error, chars, with_grads=True)) as parts:
            first, total = next(parts)  # the gradients of the network itself, to which the others are added
            replies = [first]
            for reply, grads in parts:
                replies.append(reply)
                for name, grad in total.items():
                    grad += grads[name]  # each is already divided by the characters of the whole window
        return sum(reply.loss for reply in replies), total, concat_states(reply.state for reply in replies)

    def loss(self, window: Window, state: State, chars: int | None = None) -> tuple[float, State]:
        """Return what the `loss` of the network returns."""
        with closing(self._compute(window, state, chars=chars)) as parts:
            replies = [reply for reply, _ in parts]
        return sum(reply.loss for reply in replies), concat_states(reply.state for reply in replies)

    def _compute(
        self,
        window: Window,
        state: State,
        masks: Masks | None = None,
        clip_error: float = 0.0,
        chars: int | None = None,
        *,
        with_grads: bool = False,
    ) -> Generator[tuple[Reply, Grads], None, None]:
        """Compute the parts of a window, one per process; yield the replies in order.

        The gradients that come with a reply are valid until the next one.
        """
        chars = window.x.size if chars is None else chars
        mine, *others = (
            Request(window.streams(k), state.streams(k), masks and masks.streams(k), clip_error, chars, with_grads)
            for k in self._divide(window.x.shape[1])
        )
        complete = False
        try:
            workers = self._start_workers(len(others))
            with blas_threads(1 if others else self.cores):
                for worker, request in zip(workers, others, strict=True):
                    worker.send(request)
                yield compute(self.network, mine)
                for worker, request in zip(workers, others, strict=True):
                    if reply := worker.receive():
                        yield reply, worker.grads
                    else:
                        yield compute(self._substitute, request)
            complete = True
        finally:
            if not complete:  # a reply left in a pipe would be taken for that to the next request
                self._end()

    def _divide(self, B: int) -> list[slice]:
        """Divide B streams among the processes."""
        cores = self.cores if os.name == "posix" else 1  # elsewhere, processes cannot inherit the file
        count = max(min(cores, B // _MIN_STREAMS), 1)
        return [slice(*edges) for edges in itertools.pairwise(B * k // count for k in range(count + 1))]

    def _start_workers(self, count: int) -> list[Worker]:
        """Return the first workers, after starting those that do not run yet."""
        if count and not self.workers:
            try:
                self._shared = SharedParams.copy_of(self.network.params, self.cores - 1)
                self.network.params.update(self._shared.weights)
            except OSError as error:
                warn_fewer_processes(f"cannot share memory with other processes ({error.strerror or error})")
        while len(self.workers) < count:
            self.workers.append(Worker(self._shared, len(self.workers), self.network))
        return self.workers[:count]

    def _end(self) -> None:
        """End the other processes, and move the weights out of the shared memory."""
        for worker in self.workers:
            worker.close()
        self.workers.clear()
        if self._shared is not None:
            for name, param in self.network.params.items():
                self.network.params[name] = param.copy()
            self._shared.close()
            self._shared = None
