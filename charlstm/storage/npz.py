"""`.npz` files as NumPy writes them, read as untrusted input: every size is checked before anything is allocated.

A `.npz` is a zip archive of `.npy` members. NumPy's own reader trusts their headers, loads pickles and decompresses
members of any size. This one accepts uncompressed members of plain numbers, with the types and shapes that the caller
expects.
"""

import math
import os
import re
import struct
import zipfile
from collections.abc import Iterable
from typing import IO, Any

import numpy as np

from charlstm.arrays import Array
from charlstm.errors import shorten

_MAX_MEMBERS = 1000
_MAX_DIRECTORY_BYTES = 200_000
_NPY_HEADER = re.compile(
    rb"{'descr': '([<|][a-z][0-9]+)', 'fortran_order': False, 'shape': \(((?:[0-9]+, ?)*[0-9]*)\), } *\n"
)


class DamagedError(Exception):
    """The file is invalid; the message says how."""


def write_npz(file: IO[bytes], arrays: Iterable[tuple[str, Array]]) -> None:
    """Write arrays, little-endian and uncompressed, in the order given. The same arrays give the same bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays:
            # A ZipInfo has a fixed date; a name alone would get today's.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                np.lib.format.write_array(member, little, (1, 0), allow_pickle=False)


class NpzReader:
    """The members of an open `.npz` file.

    Attributes:
        names: of the members.

    Raises:
        DamagedError: from every method, if the file is invalid.
    """

    def __init__(self, file: IO[bytes]) -> None:
        try:
            _check_end(file)
            self._archive = zipfile.ZipFile(file)
            infos = self._archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, OverflowError) as error:
            raise DamagedError(str(error)) from None
        demand(len(infos) <= _MAX_MEMBERS, "it has too many members")
        demand(all(info.filename.endswith(".npy") for info in infos), "it has members that are not arrays")
        demand(all(info.compress_type == zipfile.ZIP_STORED for info in infos), "a member is compressed")
        demand(not any(info.flag_bits & 0x1 for info in infos), "a member is encrypted")
        demand(all(info.file_size == info.compress_size for info in infos), "a member has two different sizes")
        size = os.fstat(file.fileno()).st_size
        demand(sum(info.file_size for info in infos) <= size, "its members are larger than the file")
        demand(min((info.header_offset for info in infos), default=0) == 0, "there is data before the archive")
        self._infos = {info.filename.removesuffix(".npy"): info for info in infos}
        demand(len(self._infos) == len(infos), "it has a duplicate member")
        self.names = frozenset(self._infos)

    def read(self, name: str, dtype: str, shape: tuple[int | None, ...], max_bytes: int | None = None) -> Array:
        """Read one array.

        Args:
            name: the member.
            dtype: the type it must have.
            shape: the shape it must have; None stands for any length.
            max_bytes: its largest size, where the shape leaves that open.
        """
        demand(name in self.names, f"{name} is missing")
        info = self._infos[name]
        demand(max_bytes is None or info.file_size <= max_bytes, f"{name} is too large")
        try:
            with self._archive.open(info) as member:
                found_dtype, found = _npy_header(member, name)
                demand(found_dtype == np.dtype(dtype), f"{name} is of type {found_dtype}, not {np.dtype(dtype)}")
                fits = len(found) == len(shape) and all(
                    want in (None, have) for have, want in zip(found, shape, strict=True)
                )
                demand(fits, f"{name} has shape {found}, not {shape}")
                left = info.file_size - member.tell()
                demand(math.prod(found) * found_dtype.itemsize == left, f"{name} is truncated or too long")
                values = member.read()  # to the end, which also verifies the checksum
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            raise DamagedError(f"{name}: {shorten(str(error), 100)}") from None
        demand(len(values) == left, f"{name} is truncated")
        return np.frombuffer(values, dtype).reshape(found).copy()


def _check_end(file: IO[bytes]) -> None:
    """Check the end of the file, which tells the size of the directory, before that is read.

    Above 2 GiB, a second end in zip64 form comes before it. It must tell the same, since zipfile follows that one.
    """
    size = os.fstat(file.fileno()).st_size
    demand(size >= 22, "it is too short")
    file.seek(max(size - 98, 0))
    end = file.read()
    signature, _, _, _, members, directory, _, comment = struct.unpack("<4s4H2LH", end[-22:])
    demand(signature == b"PK\5\6" and comment == 0, "it is not an intact zip archive")
    demand(members <= _MAX_MEMBERS and directory <= _MAX_DIRECTORY_BYTES, "it has too many members")
    if end[-42:].startswith(b"PK\6\7"):
        demand(len(end) == 98 and end.startswith(b"PK\6\6"), "its zip64 directory has no end")
        demand(struct.unpack("<3Q", end[24:48]) == (members, members, directory), "its two directories differ")


def _npy_header(member: IO[bytes], name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read a header of .npy 1.0, in the one form that NumPy writes, without parsing it as Python."""
    magic = member.read(10)
    demand(magic[:8] == b"\x93NUMPY\1\0", f"{name} is not a version 1.0 .npy array")
    match = _NPY_HEADER.fullmatch(member.read(int.from_bytes(magic[8:], "little")))
    demand(match, f"{name} is not an array of plain numbers in C order")
    assert match is not None
    try:
        return np.dtype(match[1].decode()), tuple(int(length) for length in match[2].split(b",") if length.strip())
    except (TypeError, ValueError):
        raise DamagedError(f"{name} has an invalid type or shape") from None


def demand(condition: object, otherwise: str) -> None:
    """Raise DamagedError unless the condition holds."""
    if not condition:
        raise DamagedError(otherwise)
