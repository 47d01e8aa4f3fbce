"""The ids of a text that is too large for memory, in a file beside the model, from which a run can be resumed.

The file holds the raw ids, a JSON object that describes them, the length and the CRC-32 of that object, each in 8
bytes, little-endian, and a magic number.
"""

import dataclasses
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import numpy as np

from charlstm.arrays import Ids
from charlstm.storage.atomic import remove_stale, temporary_path
from charlstm.text.cleaning import Cleaning
from charlstm.text.corpus import Corpus, Fingerprint
from charlstm.text.reader import read_corpus
from charlstm.text.sources import find_files
from charlstm.text.spool import OpenFile, disk_errors, is_mapped, map_array
from charlstm.text.vocab import Vocab

_MAGIC = b"charlstm ids v1\n"
_END_BYTES = 16 + len(_MAGIC)
_MAX_DESCRIPTION_BYTES = 1 << 26  # room for every Unicode character, at about 20 bytes each
_CHUNK = 1 << 24


def ids_path(output: str) -> Path:
    """Return the path of the ids for a model file."""
    target = Path(os.path.realpath(output))
    return target.with_name(target.name + ".ids")


def read_with_ids_file(
    output: str,
    paths: Sequence[str],
    reading: Mapping[str, Any],
    progress: Callable[[int], None],
    *,
    may_write: bool = True,
) -> Corpus:
    """Return texts as a corpus. If its ids are too large for memory, they are in the ids file of `output`.

    An existing file is used if it is intact and was made from the same, unchanged files with the same settings.
    Otherwise, it is removed.

    Args:
        output: the model file.
        paths: of the texts, as for `read_corpus`.
        reading: the settings of `read_corpus`.
        progress: called with the number of bytes read so far.
        may_write: False if another process writes the file, and this one may only read it.

    Raises:
        UsageError, CharlstmError: as `read_corpus`, or if there is no space left on the disk.
    """
    path = ids_path(output)
    if may_write:
        remove_stale(path)
    written = (os.path.realpath(output), str(path))  # these may be in a directory of the corpus
    files = [file for file in find_files(paths, reading["include"]) if os.path.realpath(file) not in written]

    def scratch() -> BinaryIO:
        return cast(BinaryIO, TemporaryFile(dir=path.parent if path.parent.is_dir() else None))

    if "-" in paths or not all(map(os.path.isfile, files)):  # from a pipe
        if may_write:
            discard(output)
        return read_corpus(paths, **reading, scratch=scratch, progress=progress)
    key = _key(paths, files, reading)
    corpus = _load(path, key, scratch)
    if corpus is None and not may_write:
        corpus = read_corpus(paths, **reading, scratch=scratch, progress=progress)
    if corpus is None:
        discard(output)
        corpus = _read(path, key, paths, reading, scratch, progress)
    return corpus


def discard(output: str) -> None:
    """Remove the ids for a model file, if there are any. Another file of that name stays."""
    path = ids_path(output)
    if is_ids_file(path):
        with suppress(OSError):
            path.unlink()


def is_ids_file(path: Path) -> bool:
    """Return whether a file ends as one with ids does."""
    with suppress(OSError), open(path, "rb") as file:
        file.seek(-len(_MAGIC), os.SEEK_END)
        return file.read() == _MAGIC
    return False


def _key(paths: Sequence[str], files: Sequence[str], reading: Mapping[str, Any]) -> str:
    """Return a hash of the settings and of all names, sizes and times. It changes when a text or a setting does."""
    statuses = [os.stat(file) for file in files]
    marks = [(status.st_size, status.st_mtime_ns, status.st_ctime_ns) for status in statuses]
    everything = [list(paths), list(map(os.path.abspath, files)), marks, sorted(reading.items())]
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()


def _read(
    path: Path,
    key: str,
    paths: Sequence[str],
    reading: Mapping[str, Any],
    scratch: OpenFile,
    progress: Callable[[int], None],
) -> Corpus:
    """Read texts. If the ids are too large for memory, write them to the file, which is either complete or missing."""
    temporary = temporary_path(path)
    with ExitStack() as stack:

        def open_file() -> BinaryIO:
            file = stack.enter_context(open(temporary, "x+b"))
            stack.callback(temporary.unlink, missing_ok=True)
            return cast(BinaryIO, file)

        corpus = read_corpus(paths, **reading, scratch=scratch, ids_file=open_file, progress=progress)
        if is_mapped(corpus.ids):
            with disk_errors():
                with open(temporary, "ab") as file:
                    file.write(_describe(corpus, key))
                os.replace(temporary, path)
    return corpus


def _describe(corpus: Corpus, key: str) -> bytes:
    """Return the part of the file after the ids."""
    description = {
        "key": key,
        "dtype": corpus.ids.dtype.str,
        "length": len(corpus.ids),
        "crc32": _checksum(corpus.ids),
        "code_points": corpus.vocab.code_points.tolist(),
        "counts": corpus.vocab.counts.tolist(),
        "fingerprint": dataclasses.asdict(corpus.fingerprint),
        "line_endings": sorted(corpus.line_endings),
        "normalize": corpus.normalize,
        "documents": corpus.documents,
        "cleaning": dataclasses.asdict(corpus.cleaning),
        "notes": corpus.notes,
    }
    data = json.dumps(description).encode()
    return data + len(data).to_bytes(8, "little") + zlib.crc32(data).to_bytes(8, "little") + _MAGIC


def _load(path: Path, key: str, scratch: OpenFile) -> Corpus | None:
    """Return the corpus from a file; None if it is missing, damaged or has a different key."""
    with suppress(OSError, ValueError, KeyError, TypeError), open(path, "rb") as file:
        size = file.seek(-_END_BYTES, os.SEEK_END) + _END_BYTES
        end = file.read()
        length, checksum = (int.from_bytes(end[at : at + 8], "little") for at in (0, 8))
        if end[16:] != _MAGIC or length > min(_MAX_DESCRIPTION_BYTES, size - _END_BYTES):
            return None
        file.seek(-_END_BYTES - length, os.SEEK_END)
        description = file.read(length)
        if zlib.crc32(description) != checksum:
            return None
        values = json.loads(description)
        if values["key"] != key:
            return None
        ids = map_array(file, values["dtype"], values["length"])
        if ids.nbytes + length + _END_BYTES != size or _checksum(ids) != values["crc32"]:
            return None
        return Corpus(
            Vocab(values["code_points"], values["counts"], has_boundary=values["documents"] != "none"),
            ids,
            Fingerprint(**values["fingerprint"]),
            frozenset(values["line_endings"]),
            values["normalize"],
            documents=values["documents"],
            cleaning=Cleaning(**values["cleaning"]),
            notes=tuple(values["notes"]),
            scratch=scratch,
        )
    return None


def _checksum(ids: Ids) -> int:
    checksum, data = 0, ids.view(np.uint8)
    for first in range(0, len(data), _CHUNK):
        checksum = zlib.crc32(data[first : first + _CHUNK].data, checksum)
    return checksum
