"""From the arguments of a command to open files: names, patterns, directories, standard input, archives."""

import glob
import io
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from charlstm.config.presets import bundled_models, find_bundled
from charlstm.errors import CharlstmError, UsageError
from charlstm.text.archives import PACKED, Budget, Listing, Source, errors_of, natural_key, suffix_of, unpack
from charlstm.text.decoding import is_binary
from charlstm.text.stream import Findings

STDIN = "standard input"
_BUFFER = 1 << 17  # bytes
_HEAD = 1 << 13  # bytes that show whether a file is binary


def open_sources(argument: str, include: str | None, findings: Findings) -> Iterator[Source]:
    """Yield the files that an argument stands for, one at a time.

    Args:
        argument: a file, an archive, a directory, `-` for standard input, or `@name` for a bundled corpus.
        include: patterns with commas in between, for the files of directories and archives.
        findings: gets the number of files skipped: hidden, binary and special ones of directories and archives.

    Raises:
        UsageError: a file is missing or unreadable.
        CharlstmError: an archive cannot be read, or a file changes meanwhile.
    """
    listing = _listing(argument, include, findings)
    for source in _open(argument, listing):
        if source.listed and not _is_text(source):
            listing.skip("binary", os.path.basename(source.inner))
        else:
            yield source


def _is_text(source: Source) -> bool:
    """Return whether an open file is text, judging by its name and its first bytes."""
    with errors_of(source.name):
        head = cast(io.BufferedReader, source.file).peek(_HEAD)[:_HEAD]
    return suffix_of(source.inner) == ".docx" or not is_binary(head)


def find_files(paths: Sequence[str], include: str | None) -> list[str]:
    """Return the files that arguments name or contain; standard input and bundled corpora are left out.

    Raises:
        UsageError: a directory is unreadable, or nothing matches a pattern.
    """
    found: list[str] = []
    for argument in expand(paths):
        if os.path.isdir(argument):
            found += _walk(argument, _listing(argument, include, Findings()))
        elif os.path.exists(argument):
            found.append(argument)
    return found


def list_texts(paths: Sequence[str], include: str | None) -> list[str]:
    """Return arguments with the files of directories in their place: those that are text, and not empty.

    Raises:
        UsageError: a file or a directory is unreadable, or nothing matches a pattern.
    """
    found: list[str] = []
    for argument in expand(paths):
        if not os.path.isdir(argument):
            found.append(argument)
            continue
        for path in _walk(argument, _listing(argument, include, Findings())):
            with _opened(path, Findings()) as file:
                is_archive = suffix_of(path) in PACKED
                if os.fstat(file.fileno()).st_size and (is_archive or _is_text(Source(path, path, file, True))):
                    found.append(path)
    return found


def expand(paths: Sequence[str]) -> list[str]:
    """Return paths with the files that match a pattern in its place, where the shell has left it.

    Raises:
        UsageError: nothing matches a pattern, or standard input is given twice.
    """
    if list(paths).count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    return [found for path in paths for found in _match(path)]


def _match(path: str) -> list[str]:
    """Return the paths that match a pattern, or a path that is none."""
    if path == "-" or not glob.has_magic(path) or os.path.lexists(path):
        return [path]
    found = sorted(glob.glob(path, recursive=True), key=natural_key)
    if not found:
        raise UsageError(f"{path}: no file matches this pattern")
    return found


def _listing(argument: str, include: str | None, findings: Findings) -> Listing:
    patterns = tuple(filter(None, (pattern.strip() for pattern in (include or "").split(","))))
    return Listing(argument, patterns, findings)


def _open(argument: str, listing: Listing) -> Iterator[Source]:
    if argument == "-":
        yield Source(STDIN, "-", _open_stdin(), False)
    elif argument.startswith("@") and not os.path.exists(argument):
        known = find_bundled("data", ".txt")
        if argument in bundled_models():
            start = f"charlstm train CORPUS --init-from {argument}"
            raise UsageError(f"{argument} is a model, not a corpus; to start from it, use {start}")
        if argument[1:] not in known:
            names = ", ".join("@" + name for name in known)
            raise UsageError(f"{argument}: no such bundled corpus; choose from {names}")
        with known[argument[1:]].open("rb") as file:
            yield Source(argument, "", cast(BinaryIO, file), False)
    elif os.path.isdir(argument):
        for path in _walk(argument, listing):
            yield from _open_file(path, listing, listed=True)
    else:
        yield from _open_file(argument, listing, listed=False)


def _open_stdin() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("cannot read from standard input (-): it is closed")
    if sys.stdin.isatty():
        raise UsageError("cannot read from standard input (-): it is a terminal; pipe or redirect text into it")
    return open(sys.stdin.fileno(), "rb", closefd=False, buffering=_BUFFER)


def _open_file(path: str, listing: Listing, *, listed: bool) -> Iterator[Source]:
    with _opened(path, listing.findings) as file:
        size = os.fstat(file.fileno()).st_size
        yield from unpack(path, file, Budget(path, size), listing, listed)


class _CountedFile(io.FileIO):
    """A file that counts the bytes read."""

    def __init__(self, path: str, findings: Findings) -> None:
        super().__init__(path)
        self._findings = findings

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        self._findings.bytes_read += count
        return count


@contextmanager
def _opened(path: str, findings: Findings) -> Iterator[BinaryIO]:
    """Open a file, and check at the end that it has not changed meanwhile."""
    with errors_of(path):
        file = io.BufferedReader(_CountedFile(path, findings), _BUFFER)
    with file:
        before = os.fstat(file.fileno())
        yield cast(BinaryIO, file)
        after = os.fstat(file.fileno())
    if stat.S_ISREG(before.st_mode) and (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise CharlstmError(f"{path} changed while it was read; wait until it is complete, or copy it first")


def _walk(root: str, listing: Listing) -> list[str]:
    """Return the files of a directory and those below it, in natural order.

    Symbolic links are followed, but each directory is read only once, so that loops end.
    """
    found: list[str] = []
    seen = {_identity(root)}
    directories = [""]  # paths relative to the root, with a slash at the end
    while directories:
        directory = directories.pop()
        with errors_of(os.path.join(root, directory)), os.scandir(os.path.join(root, directory)) as entries:
            names = [entry.name for entry in entries]
        for path in (directory + name for name in names):
            if listing.hides(path):
                continue
            with errors_of(os.path.join(root, path)):
                mode = os.stat(os.path.join(root, path)).st_mode
            if not stat.S_ISDIR(mode):
                if not stat.S_ISREG(mode):
                    listing.skip("special")
                elif listing.takes(path):
                    found.append(path)
            elif (identity := _identity(os.path.join(root, path))) in seen:
                listing.skip("already read")
            else:
                seen.add(identity)
                directories.append(f"{path}/")
    return [os.path.join(root, path) for path in sorted(found, key=natural_key)]


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
