"""Memory that processes share: the weights of a network, and the gradients of each worker."""

import math
import mmap
import os
import tempfile
from collections.abc import Mapping

import numpy as np

from charlstm.arrays import Floats


class SharedParams:
    """Several sets of arrays with the shapes of the parameters: the weights, then the gradients of each worker.

    Args:
        fileno: of a file of the right size, closed by `close`.
        shapes: of the parameters.
        dtype: of the parameters.
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
    def copy_of(cls, params: Mapping[str, Floats], workers: int) -> "SharedParams":
        """Return shared memory that holds a copy of the weights, with room for the gradients of the workers."""
        dtype = next(iter(params.values())).dtype
        fileno = _open_file()
        try:
            os.truncate(fileno, (1 + workers) * sum(param.nbytes for param in params.values()))
            shared = cls(fileno, {name: param.shape for name, param in params.items()}, dtype)
        except OSError:
            os.close(fileno)
            raise
        for name, param in params.items():
            shared.weights[name][...] = param
        return shared

    def close(self) -> None:
        """Close the file. The memory is freed with the last array."""
        os.close(self.fileno)


def duplicate_above_2(fileno: int) -> int:
    """Return a duplicate above 2: 0, 1 and 2 may be closed here, but are the standard streams of a child."""
    import fcntl  # not on every system

    return fcntl.fcntl(fileno, fcntl.F_DUPFD_CLOEXEC, 3)


def _open_file() -> int:
    """Return the descriptor of an unnamed file, in memory where the system supports it."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("charlstm"), "rb") as file:
            return duplicate_above_2(file.fileno())
    with tempfile.TemporaryFile() as file:
        return duplicate_above_2(file.fileno())
