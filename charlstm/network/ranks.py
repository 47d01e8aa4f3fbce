"""Data parallelism across machines: the ranks of an MPI run, each with a share of the streams of a batch.

All ranks run the same program with the same weights and random numbers. They exchange the results of their streams, so
that all later computations are the same on each of them. MPI may sum in any order; here, sums are in rank order, so
that the same number of ranks gives the same bytes.
"""

import math
import os
import platform
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from charlstm.arrays import Floats, Grads
from charlstm.errors import CharlstmError
from charlstm.network.char_lstm import Masks, State, concat_states
from charlstm.network.cores import available_cores, blas_threads
from charlstm.network.parallel import DataParallel
from charlstm.text.batches import Window

if TYPE_CHECKING:
    from mpi4py.MPI import Intracomm

_ALIKE_S = 2.0  # ranks that fail for the same reason do so within this time


class Ranks:
    """The processes of an MPI run, seen from one of them. All of them must call the same methods in the same order.

    Args:
        comm: the communicator that connects them.

    Attributes:
        rank: the rank of this process, from 0.
        size: the number of processes.
        on_machine: the number of processes on this machine.
        cores: the number of cores that this process may use: its share of the machine.
    """

    def __init__(self, comm: "Intracomm") -> None:
        from mpi4py import MPI  # only where there is a communicator

        self._comm = comm
        self._endings = comm.Dup()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        machine = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.on_machine = machine.Get_size()
        self.cores = _share_of_cores(machine.allgather(_allowed_cores()), machine.Get_rank())
        self._received = np.empty((0, 0))

    # ---- exchanges

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in rank order. Each rank gets the same list."""
        values: list[Any] = self._comm.allgather(value)
        return values

    def announce(self, value: Any) -> None:
        """Send a value, or an exception, from rank 0 to the others, which call `receive`."""
        self._comm.bcast(value)

    def receive(self) -> Any:
        """Return the value that rank 0 announces, or raise the exception."""
        value = self._comm.bcast(None)
        if isinstance(value, BaseException):
            raise value
        return value

    def clock(self) -> float:
        """Return the time on rank 0's monotonic clock, in seconds."""
        seconds: float = self._comm.bcast(time.monotonic())
        return seconds

    def compare(self, facts: Mapping[str, str] | BaseException, advice: str = "all ranks need the same") -> None:
        """Check that facts are the same on all ranks.

        Args:
            facts: values by name, such as {"seed": "1"}; an exception on a rank that was stopped.
            advice: what to do if they differ, for the message.

        Raises:
            CharlstmError: the facts differ. Raised on all ranks.
            BaseException: the first exception given. Raised on all ranks.
        """
        (_, first), *others = values = self.gather((platform.node(), facts))
        for _, given in values:
            if isinstance(given, BaseException):
                raise given
        for rank, (machine, theirs) in enumerate(others, 1):
            for name in {**first, **theirs}:
                if first.get(name) != theirs.get(name):
                    raise CharlstmError(
                        f"rank {rank} on {machine} has {name} {theirs.get(name)}, not {first.get(name)} as on rank 0; "
                        f"{advice}"
                    )

    def sum(self, array: Floats) -> None:
        """Replace an array [n] by its sum over the ranks, in rank order. n must be a multiple of their number.

        Each rank receives one piece from all others, and sends them the sum. In total, a rank sends and receives the
        array twice, regardless of the number of ranks, which is the minimum.
        """
        shape = self.size, len(array) // self.size
        if self._received.shape != shape or self._received.dtype != array.dtype:
            self._received = np.empty(shape, array.dtype)
        self._comm.Alltoall(array, self._received)
        total, *others = self._received
        for piece in others:
            total += piece
        self._comm.Allgather(total, array)

    # ---- failures

    def all_fail(self) -> bool:
        """Return whether all ranks call this method within a short time, and so fail for the same reason."""
        request, until = self._endings.Ibarrier(), time.monotonic() + _ALIKE_S
        while not request.Test():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def abort(self, code: int) -> None:
        """End all ranks at once."""
        self._comm.Abort(code)


class RankParallel:
    """A network that divides its streams among the ranks. Has the interface of `DataParallel`.

    Args:
        parallel: computes the streams of this rank. Its network's gradients are moved into one array.
        ranks: each needs at least one stream to train on.
    """

    def __init__(self, parallel: DataParallel, ranks: Ranks) -> None:
        self._parallel, self._ranks = parallel, ranks
        params = parallel.network.params
        total = sum(param.size for param in params.values())
        dtype = next(iter(params.values())).dtype
        self._flat = np.zeros(math.ceil(total / ranks.size) * ranks.size, dtype)
        ends = np.cumsum([param.size for param in params.values()])
        pieces = np.split(self._flat[:total], ends[:-1])
        parallel.network.grads = {
            name: piece.reshape(param.shape) for (name, param), piece in zip(params.items(), pieces, strict=True)
        }
        self._exit = ExitStack()

    def __enter__(self) -> "RankParallel":
        self._exit.enter_context(blas_threads(1))  # between windows, so that all ranks round alike
        self._exit.enter_context(self._parallel)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()

    def zero_state(self, batch_size: int) -> State:
        """Return the state at the start of a text, for B streams."""
        return self._parallel.zero_state(batch_size)

    def loss_and_grads(
        self, window: Window, state: State, masks: Masks | None = None, clip_error: float = 0.0
    ) -> tuple[float, Grads, State]:
        """Return the results of the network's `loss_and_grads` for all streams."""
        k = self._share(window)
        loss, grads, after = self._parallel.loss_and_grads(
            window.streams(k), state.streams(k), masks and masks.streams(k), clip_error, window.x.size
        )
        self._ranks.sum(self._flat)  # each is already divided by the characters of the whole window
        loss, after = self._join((loss, after))
        return loss, grads, after

    def loss(self, window: Window, state: State) -> tuple[float, State]:
        """Return the results of the network's `loss` for all streams."""
        k = self._share(window)
        has_streams = k.start < k.stop  # an evaluation may have fewer than there are ranks
        return self._join(
            self._parallel.loss(window.streams(k), state.streams(k), window.x.size) if has_streams else None
        )

    def _share(self, window: Window) -> slice:
        """Return the streams of this rank. Shares differ by at most one stream."""
        B, rank, size = window.x.shape[1], self._ranks.rank, self._ranks.size
        return slice(B * rank // size, B * (rank + 1) // size)

    def _join(self, mine: tuple[float, State] | None) -> tuple[float, State]:
        """Return the loss of all streams, and their state."""
        losses, states = zip(*filter(None, self._ranks.gather(mine)), strict=True)
        return sum(losses), concat_states(states)


Parallel = DataParallel | RankParallel


def _allowed_cores() -> set[int]:
    """Return the cores that the operating system lets this process use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _share_of_cores(allowed: list[set[int]], rank: int) -> int:
    """Return the number of cores for one of the processes on a machine, given the cores that each may use.

    Processes bound to different cores keep them; those that may use the same cores divide them.
    """
    mine = allowed[rank]
    share = sum(1 / sum(core in cores for cores in allowed) for core in mine)
    return max(int(available_cores() * share / len(mine) + 1e-9), 1)
