"""Files, standard input and compressed files -> a corpus, in one pass."""

import bz2
import codecs
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from charlstm.config.presets import find_bundled
from charlstm.config.settings import DataConfig
from charlstm.errors import CharlstmError, UsageError
from charlstm.text.builder import CorpusBuilder
from charlstm.text.corpus import Corpus
from charlstm.text.documents import split_documents
from charlstm.text.normalize import normalize_pieces
from charlstm.text.vocab import code_points

_CHUNK = 1 << 20  # bytes read at a time
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SIGNATURES = {
    b"\x1f\x8b\x08": "gzip data; add the extension .gz to have it decompressed",
    b"BZh": "bzip2 data; add the extension .bz2 to have it decompressed",
    b"\xfd7zXZ": "xz data; add the extension .xz to have it decompressed",
    b"PK\x03\x04": "a zip archive or an office document; extract the text first",
    b"\x7fELF": "an executable (ELF), not text",
    b"%PDF": "a PDF; convert it to text first",
    b"\x89PNG": "a PNG image, not text",
}
_MARKS = {  # byte-order marks; those of UTF-32 first, since one of UTF-16 is the start of one of them
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
    b"\xef\xbb\xbf": "utf-8",
}
_ZEROS = {  # which bytes of every four are NUL in text that is mostly Latin (UTF-16), or any text (UTF-32)
    "utf-32-le": (2, 3),
    "utf-32-be": (0, 1),
    "utf-16-le": (1, 3),
    "utf-16-be": (0, 2),
}
_HEAD = 1024  # bytes in which NULs are counted
_MIN_HEAD = 64
_MOSTLY, _HARDLY = 0.5, 0.1  # fractions of NULs
_CONTROLS = np.array([(k < 0x20 and k not in b"\t\n\v\f\r\x1b") or k >= 0x7F for k in range(0xA0)])  # C0, DEL, C1
_MAX_CONTROLS = 0.05  # fraction of a text
_FEW_CONTROLS = 8  # that any text may have


def read_corpus(
    paths: str | Path | Iterable[str | Path], encoding: str = "utf-8", normalize: str = "none", documents: str = "none"
) -> Corpus:
    """Read texts, in the order given, as one corpus. A file that does not end with a newline is followed by one.

    Args:
        paths: a file, or several; `-` is standard input, `@name` a bundled corpus; .gz, .bz2 and .xz are decompressed.
        encoding: of all of them. Bytes that are invalid in it are an error.
        normalize: the Unicode normalisation form to convert the text to, NFC or NFKC, or none.
        documents: what separates documents: line, row, file or blank-line; none for a single text.

    Raises:
        UsageError: a file is missing or unreadable, or the encoding or the form is unknown.
        CharlstmError: a file is empty or is not text in that encoding; names the byte and the line.
    """
    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if names.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    DataConfig(encoding=encoding, normalize=normalize, documents=documents)  # checks them
    encoding = codecs.lookup(encoding).name.removesuffix("-sig")  # the mark is removed here
    builder = CorpusBuilder(normalize, documents)
    for path in names:
        if documents == "none":
            builder.end_line()
        elif documents == "row":
            raise UsageError(f"{path} has no rows; choose line, blank-line or file", "documents")
        length, source = builder.length, "standard input" if path == "-" else path
        try:
            with _open(path) as file:
                text = normalize_pieces(_decode(file, source, encoding, builder.line_endings), normalize)
                builder.extend(split_documents(text, documents))
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise CharlstmError(f"{path}: the compressed data is damaged ({error})") from None
        except OSError as error:
            if error.errno is None:  # from bz2
                raise CharlstmError(f"{path}: the compressed data is damaged ({error})") from None
            hint = f"; name its files, such as {path}/*.txt" if isinstance(error, IsADirectoryError) else ""
            raise UsageError(f"{path}: {error.strerror or error}{hint}") from None
        if builder.length == length:
            raise CharlstmError(f"{source} is empty")
    return builder.corpus()


def _open(path: str) -> BinaryIO:
    if path == "-":
        if sys.stdin is None:
            raise UsageError("cannot read from standard input (-): it is closed")
        if sys.stdin.isatty():
            raise UsageError("cannot read from standard input (-): it is a terminal; pipe or redirect text into it")
        return open(sys.stdin.fileno(), "rb", closefd=False)
    if path.startswith("@") and not Path(path).exists():
        known = find_bundled("data", ".txt")
        if path[1:] not in known:
            raise UsageError(f"{path}: no such bundled corpus; choose from {', '.join('@' + name for name in known)}")
        return cast(BinaryIO, known[path[1:]].open("rb"))
    return cast(BinaryIO, _OPENERS.get(Path(path).suffix.lower(), open)(path, "rb"))


def _decode(file: BinaryIO, path: str, encoding: str, line_endings: set[str]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    offset, lines, first = 0, 1, True
    data = b"-"
    while data:
        data = file.read(_CHUNK)
        if not offset:
            _reject_other_formats(data, path, encoding)
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeError as error:
            if "BOM" in str(error):
                raise CharlstmError(
                    f"{path}: not {encoding}, which starts with a byte-order mark; try {encoding}-le or {encoding}-be"
                ) from None
            before = (pending + data)[: getattr(error, "start", 0)]
            line = lines + _count_newlines(before, encoding)
            at = f"at byte {offset - len(pending) + len(before)}, line {line}"
            others = "cp1252 (Western European), cp1251 (Cyrillic), gb18030 (Chinese) or shift_jis (Japanese)"
            hint = "is it text at all?" if b"\0" in data else f"try another encoding, such as {others}"
            raise CharlstmError(f"{path}: not {encoding}: {getattr(error, 'reason', error)} {at}; {hint}") from None
        if not offset:
            _reject_binary(text, path)
        offset, lines = offset + len(data), lines + text.count("\n")
        if first:
            text = text.removeprefix("\ufeff")
        first = first and not text
        yield newlines.decode(text, final=not data)
    line_endings.update([newlines.newlines] if isinstance(newlines.newlines, str) else newlines.newlines or ())


def _count_newlines(data: bytes, encoding: str) -> int:
    try:
        return data.decode(encoding, "ignore").count("\n")
    except UnicodeError:  # a codec without error handlers, such as idna
        return data.count(b"\n")


def _reject_other_formats(data: bytes, path: str, encoding: str) -> None:
    """Reject a file whose first bytes contradict the encoding."""
    for magic, look in _SIGNATURES.items():
        if data.startswith(magic):
            raise CharlstmError(f"{path} looks like {look}")
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), encoding)
    if not marked.startswith(encoding):
        family = marked.removesuffix("-le").removesuffix("-be")
        raise CharlstmError(
            f"{path} looks like {family.upper()}, not {encoding}; set the encoding to {family}, or convert the file"
        )
    unmarked = _find_zeros(data[:_HEAD]) or encoding
    if not unmarked.startswith(encoding):
        raise CharlstmError(
            f"{path} looks like {unmarked[:6].upper()} without a byte-order mark, not {encoding}; "
            f"set the encoding to {unmarked}, or convert the file"
        )


def _find_zeros(head: bytes) -> str | None:
    """Return the encoding that the NULs among some bytes point to."""
    if len(head) < _MIN_HEAD:
        return None
    zeros = [head[k::4].count(0) / len(head[k::4]) for k in range(4)]
    for name, places in _ZEROS.items():
        others = [zeros[k] for k in range(4) if k not in places]
        if min(zeros[k] for k in places) >= _MOSTLY and min(others) < _HARDLY:
            return name
    return None


def _reject_binary(text: str, path: str) -> None:
    """Reject a file of whose characters many are control characters."""
    points = code_points(text)
    controls = int(np.count_nonzero(_CONTROLS[points[points < len(_CONTROLS)]]))
    if controls > max(_MAX_CONTROLS * len(text), _FEW_CONTROLS):
        raise CharlstmError(
            f"{path} looks like binary data: {controls / len(text):.0%} of its characters are control characters; "
            "give a text file, or set its encoding"
        )
