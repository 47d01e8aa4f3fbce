"""The text of a Word document (.docx): a zip archive with XML."""

import io
import zipfile
from collections.abc import Iterator
from typing import BinaryIO
from xml.parsers import expat

from charlstm.errors import CharlstmError
from charlstm.text.archives import DAMAGED_ARCHIVE, Budget

_CHUNK = 1 << 18  # bytes
_MAX_SIZE = 1 << 28  # bytes of a document that is read from an archive
_DOCUMENT = "word/document.xml"
_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main "
_FALLBACK = "http://schemas.openxmlformats.org/markup-compatibility/2006 Fallback"  # the same text for old programs
_TEXT, _PARAGRAPH = f"{_W}t", f"{_W}p"
_CHARACTERS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "\u2011"}
_PROPERTIES = (f"{_W}pPr", f"{_W}rPr")  # their tabs are settings


def read_docx(file: BinaryIO, name: str) -> Iterator[str]:
    """Yield the text of a Word document, with a newline after each paragraph. Footnotes and deleted text are left out.

    Raises:
        CharlstmError: it is not such a document, is damaged or encrypted, declares entities, or is too large.
    """
    if not file.seekable():
        data = file.read(_MAX_SIZE + 1)
        if len(data) > _MAX_SIZE:
            raise CharlstmError(f"{name} is larger than {_MAX_SIZE:,} bytes; extract it first")
        file = io.BytesIO(data)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive, archive.open(_DOCUMENT) as document:
            budget = Budget(name, size)
            parser = _Parser()
            while data := document.read(_CHUNK):
                budget.spend(len(data))
                yield parser.parse(data)
            yield parser.parse(b"", final=True)
    except (KeyError, RuntimeError, expat.ExpatError, *DAMAGED_ARCHIVE) as error:
        raise CharlstmError(f"{name} is not a Word document, or is damaged ({error}); convert it to text") from None


class _Parser:
    """Collects the text of the XML in pieces."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._in_text = False
        self._skipped = 0  # depth within elements without text
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype  # entities are declared there

    def parse(self, data: bytes, *, final: bool = False) -> str:
        """Return the text of the next bytes."""
        self._parser.Parse(data, final)
        text = "".join(self._out)
        self._out.clear()
        return text

    def _start(self, tag: str, attributes: object) -> None:
        if self._skipped or tag == _FALLBACK or tag in _PROPERTIES:
            self._skipped += 1
        elif tag == _TEXT:
            self._in_text = True
        elif tag in _CHARACTERS:
            self._out.append(_CHARACTERS[tag])

    def _end(self, tag: str) -> None:
        if self._skipped:
            self._skipped -= 1
        elif tag == _TEXT:
            self._in_text = False
        elif tag == _PARAGRAPH:
            self._out.append("\n")

    def _data(self, text: str) -> None:
        if self._in_text and not self._skipped:
            self._out.append(text)

    @staticmethod
    def _refuse_doctype(*_: object) -> None:
        raise RuntimeError("it declares a document type")
