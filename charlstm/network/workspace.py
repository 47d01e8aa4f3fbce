"""Reusable scratch buffers."""

import math

import numpy as np
import numpy.typing as npt

from charlstm.arrays import Floats

_LINE = 64  # bytes
PADDING = 16  # floats after a row: rows a power of two apart would compete for the same cache lines


def aligned(dtype: npt.DTypeLike, *shape: int) -> Floats:
    """Return a new, uninitialised array that starts at a cache line: AVX-512 reads whole lines."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.empty(math.prod(shape) + _LINE // itemsize, dtype)
    first = -memory.ctypes.data % _LINE // itemsize
    return memory[first : first + math.prod(shape)].reshape(shape)


class Workspace:
    """Arrays by name, allocated once for all windows. Fresh memory for each window would cost a third of the time."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._memory: dict[str, Floats] = {}

    def array(self, name: str, *shape: int) -> Floats:
        """Return an uninitialised array of this shape. It overwrites the previous one of this name."""
        size = math.prod(shape)
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = aligned(self._dtype, size)
        return self._memory[name][:size].reshape(shape)
