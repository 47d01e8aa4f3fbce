"""Memory that is used again and again."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
_LINE = 64  # bytes
PADDING = 16  # floats after a row: rows whose distance is a power of two would share few places of the cache


def aligned(dtype: npt.DTypeLike, *shape: int) -> Floats:
    """Return a new array, with anything in it, that begins with a line of the cache: AVX-512 reads whole lines."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.empty(math.prod(shape) + _LINE // itemsize, dtype)
    first = -memory.ctypes.data % _LINE // itemsize
    return memory[first : first + math.prod(shape)].reshape(shape)


class Workspace:
    """Arrays by name, allocated once for all windows: memory that is fresh for each costs a third of the time."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._memory: dict[str, Floats] = {}

    def array(self, name: str, *shape: int) -> Floats:
        """Return an array of this shape, with anything in it. It overwrites the one that last had its name."""
        size = math.prod(shape)
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = aligned(self._dtype, size)
        return self._memory[name][:size].reshape(shape)
