"""Texts -> ids: files, standard input and compressed files, read once, in memory of 1 byte per character."""

import bz2
import codecs
import gzip
import hashlib
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from charlstm.config import ENCODINGS, bundled
from charlstm.errors import CharlstmError, UsageError
from charlstm.vocab import Ids, Vocab, code_points

_CHUNK = 1 << 20  # bytes read at a time
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_LOOKS = {
    b"\x1f\x8b": "gzip data; name it .gz and it is unpacked while reading",
    b"BZh": "bzip2 data; name it .bz2 and it is unpacked while reading",
    b"\xfd7zXZ": "xz data; name it .xz and it is unpacked while reading",
    b"PK\x03\x04": "a zip archive (or an office document); give the text itself",
    b"\x7fELF": "a program (ELF); give a text",
    b"%PDF": "a PDF; convert it to text first",
    b"\x89PNG": "a PNG picture; give a text",
    b"\xff\xfe": "UTF-16; say --encoding utf-16",
    b"\xfe\xff": "UTF-16; say --encoding utf-16",
}


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as ids.

    Line ends are LF: CRLF and lone CR become LF on the way in. A byte-order mark is dropped. Everything else stays.

    Attributes:
        vocab: the characters of the text.
        ids: the text [N], in the narrowest type that holds the ids.
        sha256: the text's fingerprint, of its UTF-8 form.
        line_ends: the kinds of line ends that the files had.
    """

    vocab: Vocab
    ids: Ids
    sha256: str
    line_ends: frozenset[str] = frozenset()

    def split(self, val_fraction: float) -> tuple[Ids, Ids]:
        """Return the part to train on, and the last `val_fraction` of the text, which validates (views)."""
        validating = int(len(self.ids) * val_fraction)
        return self.ids[: len(self.ids) - validating], self.ids[len(self.ids) - validating :]

    def with_vocab(self, vocab: Vocab) -> tuple[Ids, int]:
        """Return the text in the ids of another vocabulary, and how many characters were left out as unknown to it."""
        if vocab == self.vocab:
            return self.ids, 0
        ids, known = vocab.find(self.vocab.code_points)
        kept = self.ids if known.all() else self.ids[known[self.ids]]
        return ids[kept], len(self.ids) - len(kept)


def corpus_from_text(text: str) -> Corpus:
    """Return a corpus made of a string; line ends become LF."""
    builder = _Builder()
    builder.add(unix_newlines(text))
    return builder.corpus()


def read_corpus(paths: str | Path | Iterable[str | Path], encoding: str = "utf-8") -> Corpus:
    """Read texts, one after another, as one corpus.

    Args:
        paths: a file, or several; `-` is standard input, `@name` a bundled corpus; .gz, .bz2 and .xz are unpacked.
        encoding: of all of them; strict, no byte is ever skipped.

    Raises:
        UsageError: a file is missing or unreadable, no such encoding.
        CharlstmError: a file is empty or is not text in that encoding; names the byte and the line.
    """
    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if names.count("-") > 1:
        raise UsageError("- is standard input, which can be read only once: give it once")
    try:
        encoding = codecs.lookup(ENCODINGS.check(encoding)).name.removesuffix("-sig")  # the mark is dropped here
    except ValueError as error:
        raise UsageError(f"encoding: {error}") from None
    builder = _Builder()
    for path in names:
        length = builder.length
        try:
            with _opened(path) as file:
                for text in _decoded(file, path, encoding, builder.line_ends):
                    builder.add(text)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise CharlstmError(f"{path}: the compressed data is damaged ({error})") from None
        except OSError as error:
            if error.errno is None:  # bz2's way to say so
                raise CharlstmError(f"{path}: the compressed data is damaged ({error})") from None
            raise UsageError(f"{path}: {error.strerror or error}") from None
        if builder.length == length:
            raise CharlstmError(f"{path} is empty")
    return builder.corpus()


def unix_newlines(text: str) -> str:
    """Return `text` with CRLF and lone CR as LF, as a corpus has them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class _Builder:
    """Collects ids as text arrives; characters get provisional ids in the order they are met.

    One byte per character is all that a text of up to 256 different characters ever costs.
    """

    def __init__(self) -> None:
        self._id_of = np.full(0x110000, -1, np.int32)  # by code point
        self._met: list[int] = []  # code points by provisional id
        self._data = bytearray()
        self._type = np.dtype(np.uint8)
        self._hash = hashlib.sha256()
        self.line_ends: set[str] = set()

    @property
    def length(self) -> int:
        return len(self._data) // self._type.itemsize

    def add(self, text: str) -> None:
        self._hash.update(text.encode("utf-8", "surrogatepass"))
        points = code_points(text)
        ids = self._id_of[points]
        if (ids < 0).any():
            new = np.unique(points[ids < 0])
            self._id_of[new] = np.arange(len(self._met), len(self._met) + len(new))
            self._met.extend(new.tolist())
            ids = self._id_of[points]
        narrowest = np.min_scalar_type(max(len(self._met) - 1, 0))
        if narrowest.itemsize > self._type.itemsize:
            self._data = bytearray(np.frombuffer(self._data, self._type).astype(narrowest).data)
            self._type = narrowest
        self._data += ids.astype(self._type).data

    def corpus(self) -> Corpus:
        met = np.array(self._met, np.uint32)
        final = np.argsort(np.argsort(met)).astype(self._type)  # by provisional id
        counts = np.zeros(len(met), np.int64)
        ids = np.frombuffer(self._data, self._type)  # shares the memory of the bytearray, and is writable
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            chunk[...] = final[chunk]
            counts += np.bincount(chunk, minlength=len(met))
        return Corpus(Vocab(np.sort(met), counts), ids, self._hash.hexdigest(), frozenset(self.line_ends))


def _opened(path: str) -> BinaryIO:
    if path == "-":
        if sys.stdin is None:
            raise UsageError("- reads the text from standard input, but that is closed")
        if sys.stdin.isatty():
            raise UsageError(
                "- reads the text from standard input, but that is a terminal: pipe or redirect a text into it"
            )
        return open(sys.stdin.fileno(), "rb", closefd=False)
    if path.startswith("@") and not Path(path).exists():
        known = {file.stem: file for file in sorted(bundled("data").glob("*.txt"))}
        if path[1:] not in known:
            raise UsageError(
                f"{path}: no such corpus comes with charlstm; there is {', '.join('@' + name for name in known)}"
            )
        path = str(known[path[1:]])
    return cast(BinaryIO, _OPENERS.get(Path(path).suffix.lower(), open)(path, "rb"))


def _decoded(file: BinaryIO, path: str, encoding: str, line_ends: set[str]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    offset, lines, first = 0, 1, True
    data = b"-"
    while data:
        data = file.read(_CHUNK)
        if first and encoding == "utf-8":
            _refuse_other_formats(data, path)
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeError as error:
            if "BOM" in str(error):
                raise CharlstmError(
                    f"{path}: not {encoding}, which starts with a mark; try --encoding {encoding}-le or -be"
                ) from None
            before = (pending + data)[: getattr(error, "start", 0)]
            line = lines + _line_ends_in(before, encoding)
            at = f"at byte {offset - len(pending) + len(before)}, line {line}"
            hint = "is it a text at all?" if b"\0" in data else "name the right one with --encoding, such as cp1252"
            raise CharlstmError(f"{path}: not {encoding}: {getattr(error, 'reason', error)} {at}; {hint}") from None
        offset, lines = offset + len(data), lines + text.count("\n")
        if first:
            text = text.removeprefix("\ufeff")
        first = first and not text
        yield newlines.decode(text, final=not data)
    line_ends.update([newlines.newlines] if isinstance(newlines.newlines, str) else newlines.newlines or ())


def _line_ends_in(data: bytes, encoding: str) -> int:
    try:
        return data.decode(encoding, "ignore").count("\n")
    except UnicodeError:  # a codec that ignores nothing, such as idna
        return data.count(b"\n")


def _refuse_other_formats(data: bytes, path: str) -> None:
    for magic, look in _LOOKS.items():
        if data.startswith(magic):
            raise CharlstmError(f"{path} looks like {look}")
    head = data[:1024]
    if len(head) >= 64 and (not any(head[1::2]) or not any(head[::2])):  # every other byte is NUL
        raise CharlstmError(
            f"{path} looks like UTF-16 without a byte-order mark; say --encoding utf-16-le or utf-16-be"
        )
