"""Arrays that are written piece by piece and may not fit in memory: large ones go to a file."""

import io
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from charlstm.arrays import Array
from charlstm.errors import CharlstmError

OpenFile = Callable[[], BinaryIO]  # opens a new file for reading and writing, such as tempfile.TemporaryFile

_IN_MEMORY = 1 << 26  # bytes; larger arrays go to a file
_CHUNK = 1 << 20  # items


class Spool:
    """A growing array, which moves to a file when it becomes large.

    Args:
        dtype: of the items.
        open_file: opens the file; None to stay in memory.

    Attributes:
        dtype: of the items.

    Raises:
        CharlstmError: from every method, if the file cannot be written.
    """

    def __init__(self, dtype: npt.DTypeLike, open_file: OpenFile | None) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._file: BinaryIO = io.BytesIO()
        self._open_file = open_file
        self._length = 0

    def append(self, items: Array) -> None:
        """Append items [n]."""
        self._length += len(items)
        if self._open_file is not None and self._length * self.dtype.itemsize > _IN_MEMORY:
            self._move(self._open_file)
        with disk_errors():
            self._file.write(np.ascontiguousarray(items, self.dtype).data)

    def translate(self, table: Array) -> None:
        """Replace each item by its entry in a table, whose dtype may be wider."""
        old, new = self.dtype.itemsize, table.dtype.itemsize
        last = self._length
        bytes_table = bytes(np.resize(table, 256)) if (old, new) == (1, 1) else b""  # many times faster
        with disk_errors():
            while last:  # from the end, so that wider items overwrite only those that have been read
                first = (last - 1) // _CHUNK * _CHUNK
                self._file.seek(first * old)
                data = self._file.read((last - first) * old)
                self._file.seek(first * new)
                self._file.write(data.translate(bytes_table) if bytes_table else table[np.frombuffer(data, self.dtype)])
                last = first
            self._file.seek(0, io.SEEK_END)
        self.dtype = table.dtype

    def array(self) -> Array:
        """Return the array [N], in memory or memory-mapped. Nothing may be appended afterwards."""
        if isinstance(self._file, io.BytesIO):
            return np.frombuffer(self._file.getbuffer(), self.dtype)
        with disk_errors(), self._file:
            self._file.flush()
            return map_array(self._file, self.dtype, self._length)

    def _move(self, open_file: OpenFile) -> None:
        """Move the array to a file."""
        with disk_errors(), cast(io.BytesIO, self._file).getbuffer() as data:
            file = open_file()
            file.write(data)
        self._file, self._open_file = file, None


def map_array(file: BinaryIO, dtype: npt.DTypeLike, length: int) -> Array:
    """Return the array at the start of a file, which is read from disk as needed. The file may be closed afterwards."""
    return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype, length)


def is_mapped(array: Array) -> bool:
    """Return whether an array is on disk rather than in memory."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap) or (isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap))


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raise an OSError as a CharlstmError that explains it."""
    try:
        yield
    except OSError as error:
        raise CharlstmError(
            f"the text is too large for memory, and could not be written to disk: {error.strerror or error}"
        ) from None
