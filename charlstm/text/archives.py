"""Compressed files and archives, read in a stream: nothing is extracted to the disk."""

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple, cast

from charlstm.errors import CharlstmError, UsageError
from charlstm.text.stream import Findings

_BUFFER = 1 << 17  # bytes
_MAX_RATIO = 200  # of the size after decompression to that before; text rarely exceeds 20
_ALLOWED = 1 << 28  # bytes that any file may decompress to
_ALIASES = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".tbz": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError)
DAMAGED_ARCHIVE = (*_DAMAGE, NotImplementedError, ValueError, OverflowError, struct.error)  # all from invalid headers


class Source(NamedTuple):
    """An open file to read, decompressed."""

    name: str  # for messages: letters.zip/1999/may.txt.gz
    inner: str  # its own name without the extension of the compression: may.txt
    file: BinaryIO  # open until the next one is asked for
    listed: bool  # found in a directory or an archive, rather than named


@dataclass(frozen=True)
class Listing:
    """Which files of a directory or an archive to read. The others are counted, unless `include` leaves them out."""

    container: str  # as given
    include: tuple[str, ...]  # patterns of names, or of paths if they have a slash; empty for all files
    findings: Findings

    def hides(self, path: str) -> bool:
        """Return whether a path within the container is hidden, and count it."""
        hidden = any(part.startswith((".", "~$")) or part == "__MACOSX" for part in path.split("/"))
        if hidden:
            self.skip("hidden")
        return hidden

    def takes(self, path: str) -> bool:
        """Return whether a path within the container matches the patterns."""
        name = path.rpartition("/")[2]
        return not self.include or any(
            fnmatchcase(path if "/" in pattern else name, pattern) for pattern in self.include
        )

    def skip(self, reason: str, name: str = "") -> None:
        """Count a file that is not read; with a name, that is shown."""
        self.findings.count(self.container, reason, name)


class Budget:
    """The number of bytes that a file may decompress to.

    Args:
        name: of the file, for messages.
        packed: its size in bytes.
    """

    def __init__(self, name: str, packed: int) -> None:
        self._name = name
        self._left = max(_ALLOWED, _MAX_RATIO * packed)

    def spend(self, size: int) -> None:
        """Count bytes. Raises CharlstmError when there are too many."""
        self._left -= size
        if self._left < 0:
            raise CharlstmError(
                f"{self._name} expands to more than {_MAX_RATIO} times its size; if you trust it, decompress it first"
            )


class _Checked(io.RawIOBase):
    """A decompressed stream whose size is limited, and whose errors name the file."""

    def __init__(self, file: BinaryIO, name: str, budget: Budget, damage: tuple[type[Exception], ...]) -> None:
        self._file, self._name, self._budget, self._damage = file, name, budget, damage

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with errors_of(self._name, self._damage):
            data = self._file.read(len(buffer))
        self._budget.spend(len(data))
        buffer[: len(data)] = data
        return len(data)


def _check(file: BinaryIO, name: str, budget: Budget, damage: tuple[type[Exception], ...]) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Checked(file, name, budget, damage), _BUFFER))


@contextmanager
def errors_of(name: str, damage: tuple[type[Exception], ...] = _DAMAGE) -> Iterator[None]:
    """Turn the errors of reading a file into our own, which name it."""
    try:
        yield
    except damage as error:
        raise CharlstmError(f"{name}: the compressed data is damaged ({error})") from None
    except OSError as error:
        if error.errno is None:  # from bz2
            raise CharlstmError(f"{name}: the compressed data is damaged ({error})") from None
        raise UsageError(f"{name}: {error.strerror}") from None


def unpack(
    name: str, file: BinaryIO, budget: Budget, listing: Listing, listed: bool = False, archived: bool = False
) -> Iterator[Source]:
    """Yield an open file, decompressed if its name says so, or the members of an archive.

    Args:
        name: of the file, with its path.
        file: what to read.
        budget: of the outermost file.
        listing: the members to read.
        listed: whether the file was found in a directory or an archive.
        archived: whether the file itself is a member.

    Raises:
        CharlstmError: it is damaged, encrypted or too large, has a member with an unsafe name, or is an archive within
            an archive.
    """
    inner = PurePosixPath(name.replace(os.sep, "/")).name
    for alias, suffixes in _ALIASES.items():
        inner = re.sub(rf"{re.escape(alias)}$", suffixes, inner, flags=re.IGNORECASE)
    while opener := _OPENERS.get(suffix_of(inner)):
        opened, damage = opener(file, name)
        file = _check(opened, name, budget, damage)
        inner = inner[: -len(suffix_of(inner))]
    members = {".zip": _zip_members, ".tar": _tar_members}.get(suffix_of(inner))
    if members is None:
        yield Source(name, inner, file, listed)
        return
    if archived:
        raise CharlstmError(f"{name} is an archive within an archive; extract it first")
    for path, member in members(name, file, listing):
        yield from unpack(
            path, _check(member, path, budget, DAMAGED_ARCHIVE), budget, listing, listed=True, archived=True
        )


def suffix_of(name: str) -> str:
    """Return the extension of a file name in lower case, with its dot."""
    return PurePosixPath(name).suffix.lower()


def natural_key(path: str) -> list[list[tuple[int, int, str]]]:
    """Return a key that sorts paths naturally: chapter 2 before chapter 10, and a directory before what follows it."""
    return [
        [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", each.casefold())]
        for each in (*path.split("/"), path)
    ]


# ---- compressed files


class _Streams(io.RawIOBase):
    """The text of the compressed streams in a file. Only zeros may follow them; the standard library allows anything.

    Args:
        file: the streams, one after the other.
        decompressor: returns a new decompressor, for the next stream.
    """

    def __init__(self, file: BinaryIO, decompressor: Callable[[], Any]) -> None:
        self._file, self._new = file, decompressor
        self._stream = decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            data = b""
            if self._stream.eof:
                data = self._find_next()
                if not data:
                    return 0
                self._stream = self._new()
            elif self._stream.needs_input:
                data = self._file.read(_BUFFER)
                if not data:
                    raise EOFError("it ends within a stream")
            if text := self._stream.decompress(data, len(buffer)):
                buffer[: len(text)] = text
                return len(text)

    def _find_next(self) -> bytes:
        """Return the data from the start of the next stream; b"" at the end of the file."""
        data: bytes = self._stream.unused_data
        while not (found := data.lstrip(b"\0")) and (data := self._file.read(_BUFFER)):
            pass
        return found


_Opened = tuple[BinaryIO, tuple[type[Exception], ...]]


def _open_zstd(file: BinaryIO, name: str) -> _Opened:
    zstd = _import_zstd(name)
    return cast(BinaryIO, zstd.open(file)), (*_DAMAGE, zstd.ZstdError)


def _import_zstd(name: str) -> ModuleType:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            raise UsageError(f"{name}: .zst files need charlstm[zstd]; install it, or decompress the file") from None
    return cast(ModuleType, zstd)


_OPENERS: dict[str, Callable[[BinaryIO, str], _Opened]] = {
    ".gz": lambda file, _: (cast(BinaryIO, gzip.GzipFile(fileobj=file)), _DAMAGE),
    ".bz2": lambda file, _: (cast(BinaryIO, _Streams(file, bz2.BZ2Decompressor)), _DAMAGE),
    ".xz": lambda file, _: (cast(BinaryIO, _Streams(file, lzma.LZMADecompressor)), _DAMAGE),
    ".zst": _open_zstd,
}
PACKED = frozenset({*_OPENERS, *_ALIASES, ".zip", ".tar"})  # extensions


# ---- archives


def _zip_members(name: str, file: BinaryIO, listing: Listing) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the members of a zip archive in natural order."""
    if not file.seekable():
        raise CharlstmError(f"{name}: a zip archive can only be read from a file of its own; extract it first")
    with errors_of(name, DAMAGED_ARCHIVE), zipfile.ZipFile(file) as archive:
        for info in sorted(archive.infolist(), key=lambda info: natural_key(info.filename)):
            path = _check_path(info.filename, name)
            if info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                listing.skip("linked")
            elif not listing.hides(info.filename) and listing.takes(info.filename):
                if info.flag_bits & 1:
                    raise CharlstmError(f"{path} is encrypted; extract it first")
                try:
                    member = archive.open(info)
                except NotImplementedError as error:
                    raise CharlstmError(f"{path}: {error}; extract it first") from None
                with member:
                    yield path, cast(BinaryIO, member)


def _tar_members(name: str, file: BinaryIO, listing: Listing) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the members of a tar archive in its own order, as it is read only once."""
    with (
        errors_of(name, DAMAGED_ARCHIVE),
        tarfile.open(fileobj=file, mode="r|", tarinfo=_StrictTarInfo, bufsize=_BUFFER) as archive,
    ):
        for info in archive:
            archive.members.clear()  # type: ignore[attr-defined]  # the list grows otherwise
            path = _check_path(info.name, name)
            if info.isdir():
                continue
            if not info.isreg():
                listing.skip("linked" if info.issym() or info.islnk() else "special")
            elif not listing.hides(info.name.removeprefix("./")) and listing.takes(info.name.removeprefix("./")):
                member = archive.extractfile(info)
                assert member is not None
                yield path, cast(BinaryIO, member)


class _StrictTarInfo(tarfile.TarInfo):
    """A member for which an archive that is cut is damaged. The standard library takes it for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_StrictTarInfo":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # two blocks of zeros, the proper end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.SubsequentHeaderError(str(error)) from None  # type: ignore[attr-defined]


def _check_path(member: str, name: str) -> str:
    """Return the name of a member for messages, unless it points outside the archive."""
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", member):
        raise CharlstmError(f"{name} has a member that points outside the archive: {member}; recreate the archive")
    return f"{name}/{member.removeprefix('./')}"
