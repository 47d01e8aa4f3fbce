"""The cores that this process may use, and the kernels and threads of BLAS."""

import functools
import math
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController


def available_cores() -> int:
    """Return the number of cores this process may use: those of its affinity, limited by its cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(min(cores, math.ceil(int(quota) / int(period))), 1)
    except (OSError, ValueError):  # no cgroup, or "max"
        return cores


def blas_architectures() -> set[str]:
    """Return the processors that the kernels of the loaded BLAS libraries are made for, such as "Haswell"."""
    return {blas.get("architecture", "") for blas in _blas().info()}


def blas_threads(count: int) -> AbstractContextManager[Any]:
    """Limit BLAS to `count` threads, as a context manager."""
    limit: AbstractContextManager[Any] = _blas().limit(limits=count, user_api="blas")
    return limit


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
