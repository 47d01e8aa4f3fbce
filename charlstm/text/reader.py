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

from charlstm.config.presets import find_bundled
from charlstm.config.settings import ENCODINGS
from charlstm.errors import CharlstmError, UsageError
from charlstm.text.corpus import Corpus, CorpusBuilder

_CHUNK = 1 << 20  # bytes read at a time
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SIGNATURES = {
    b"\x1f\x8b": "gzip data; add the extension .gz to have it decompressed",
    b"BZh": "bzip2 data; add the extension .bz2 to have it decompressed",
    b"\xfd7zXZ": "xz data; add the extension .xz to have it decompressed",
    b"PK\x03\x04": "a zip archive or an office document; extract the text first",
    b"\x7fELF": "an executable (ELF), not text",
    b"%PDF": "a PDF; convert it to text first",
    b"\x89PNG": "a PNG image, not text",
    b"\xff\xfe": "UTF-16; set the encoding to utf-16",
    b"\xfe\xff": "UTF-16; set the encoding to utf-16",
}


def read_corpus(paths: str | Path | Iterable[str | Path], encoding: str = "utf-8") -> Corpus:
    """Read texts, in the order given, as one corpus.

    Args:
        paths: a file, or several; `-` is standard input, `@name` a bundled corpus; .gz, .bz2 and .xz are decompressed.
        encoding: of all of them. Bytes that are invalid in it are an error.

    Raises:
        UsageError: a file is missing or unreadable, or the encoding is unknown.
        CharlstmError: a file is empty or is not text in that encoding; names the byte and the line.
    """
    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if names.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")
    try:
        encoding = codecs.lookup(ENCODINGS.check(encoding)).name.removesuffix("-sig")  # the mark is removed here
    except ValueError as error:
        raise UsageError(str(error), "encoding") from None
    builder = CorpusBuilder()
    for path in names:
        length, source = builder.length, "standard input" if path == "-" else path
        try:
            with _open(path) as file:
                for text in _decode(file, source, encoding, builder.line_endings):
                    builder.add(text)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise CharlstmError(f"{path}: the compressed data is damaged ({error})") from None
        except OSError as error:
            if error.errno is None:  # from bz2
                raise CharlstmError(f"{path}: the compressed data is damaged ({error})") from None
            raise UsageError(f"{path}: {error.strerror or error}") from None
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
        if first and encoding == "utf-8":
            _reject_other_formats(data, path)
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
            hint = "is it text at all?" if b"\0" in data else "try another encoding, such as cp1252"
            raise CharlstmError(f"{path}: not {encoding}: {getattr(error, 'reason', error)} {at}; {hint}") from None
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


def _reject_other_formats(data: bytes, path: str) -> None:
    for magic, look in _SIGNATURES.items():
        if data.startswith(magic):
            raise CharlstmError(f"{path} looks like {look}")
    head = data[:1024]
    if len(head) >= 64 and (not any(head[1::2]) or not any(head[::2])):  # every other byte is NUL
        raise CharlstmError(
            f"{path} looks like UTF-16 without a byte-order mark; set the encoding to utf-16-le or utf-16-be"
        )
