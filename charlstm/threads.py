"""The cores this process may use, and the parts of a batch that share them.

NumPy releases the interpreter's lock while it computes, so threads that have some of the streams each run side by side.
With BLAS held to one thread, also what is not a product runs on all cores, and nothing waits in a busy loop for a core
that another program has.
"""

import contextvars
import functools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Part = TypeVar("Part")
Result = TypeVar("Result")


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


def side_by_side(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return `work(part)` for each part, in their order; the first is done in this thread, each other in its own."""
    others = [_pool().submit(contextvars.copy_context().run, work, part) for part in parts[1:]]
    return [work(parts[0]), *(other.result() for other in others)]


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1024)  # started as they are needed
