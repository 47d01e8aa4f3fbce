"""Pieces of text -> a corpus."""

import hashlib
from collections.abc import Iterable

import numpy as np

from charlstm.arrays import CodePoints
from charlstm.text.corpus import Corpus, Fingerprint, count_ids
from charlstm.text.documents import END, end_of, split_documents
from charlstm.text.spool import OpenFile, Spool
from charlstm.text.vocab import UNKNOWN, Vocab, code_points

_CHUNK = 1 << 20  # characters
_BOUNDARY = 0x110000  # stands for the boundary among code points, above all of them
_END_BYTE = b"\xff"  # stands for it in the fingerprint: no UTF-8 has this byte


def corpus_from_text(text: str, documents: str = "none") -> Corpus:
    """Return a corpus made of a string. Line endings are converted to LF.

    Args:
        text: the corpus.
        documents: what separates its documents, as in `read_corpus`; with "file", it is one document.
    """
    pieces: Iterable[str] = [convert_newlines(text)]
    if documents != "none":
        pieces = split_documents([text.replace(END, chr(UNKNOWN)) for text in pieces], documents)
    builder = CorpusBuilder(documents=documents)
    for piece in pieces:
        builder.add(piece)
    return builder.corpus()


def convert_newlines(text: str) -> str:
    """Return `text` with CRLF and lone CR converted to LF, as in a corpus."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class CorpusBuilder:
    """Collects ids as text arrives. Characters get provisional ids in the order of their first occurrence.

    A text of up to 256 distinct characters takes one byte per character.

    Args:
        normalize: the normalisation form of the text, which is recorded.
        documents: what separates its documents, which is recorded; "none" for a text without them.
        scratch: opens a file for the ids, if they are too large for memory, and for what is derived from them.
        ids_file: opens the file for the ids, if it is to be another kind of file.

    Attributes:
        line_endings: the kinds of line endings, for the caller to fill in.
        length: characters so far.
    """

    def __init__(
        self,
        normalize: str = "none",
        documents: str = "none",
        scratch: OpenFile | None = None,
        ids_file: OpenFile | None = None,
    ) -> None:
        self._id_of = np.full(_BOUNDARY + 1, -1, np.int32)  # by code point
        self._met: list[int] = []  # code points by provisional id
        self._ascii = b""  # the bytes of UTF-8 that are characters or the boundary, with provisional ids below 256
        self._id_of_ascii = bytes(256)
        self._ids = Spool(np.uint8, ids_file or scratch)
        self._scratch = scratch
        self._hash = hashlib.sha256()
        self._pending: list[str] = []
        self._pending_chars = 0
        self._normalize, self._documents, self._end = normalize, documents, end_of(documents)
        self._is_open = False  # whether a document has begun
        self.line_endings: set[str] = set()
        self.length = 0
        if documents != "none":
            self._append(np.array([_BOUNDARY], np.uint32))

    def add(self, text: str) -> None:
        """Append text that has LF line endings. If there are documents, `end_of` ends one, unless it is empty."""
        end = self._end
        if self._documents != "none":
            while 2 * end in text:
                text = text.replace(2 * end, end)
            text = text if self._is_open else text.removeprefix(end)
            self.length -= text.count(end)
        if not text:
            return
        self._is_open = not text.endswith(end)
        self._pending.append(text)
        self._pending_chars += len(text)
        self.length += len(text)
        if self._pending_chars >= _CHUNK:
            self._flush()

    def corpus(self) -> Corpus:
        """Return the corpus. The builder must not be used any more: the corpus has its memory."""
        self._flush()
        met = np.array(self._met, np.uint32)
        final = np.argsort(np.argsort(met)).astype(self._ids.dtype)  # by provisional id; the boundary becomes the last
        self._ids.translate(final)
        ids = self._ids.array()
        has_boundary = self._documents != "none"
        counts = count_ids(ids[has_boundary:], len(met))
        vocab = Vocab(np.sort(met)[: len(met) - has_boundary], counts, has_boundary=has_boundary)
        return Corpus(
            vocab,
            ids,
            Fingerprint(self.length, self._hash.hexdigest()),
            frozenset(self.line_endings),
            self._normalize,
            documents=self._documents,
            scratch=self._scratch,
        )

    def _flush(self) -> None:
        """Encode the pending text, and the ends of documents in it."""
        text, self._pending, self._pending_chars = "".join(self._pending), [], 0
        data = text.encode("utf-8", "surrogatepass")
        if self._documents != "none":
            data = data.replace(self._end.encode("utf-8", "surrogatepass"), _END_BYTE)
        self._hash.update(data)
        if len(data) == len(text) and not data.translate(None, self._ascii):
            self._ids.append(np.frombuffer(data.translate(self._id_of_ascii), np.uint8))
            return
        points = code_points(text)
        if self._documents != "none":
            points[points == ord(self._end)] = _BOUNDARY
        self._append(points)

    def _append(self, points: CodePoints) -> None:
        ids = self._id_of[points]
        if (ids < 0).any():
            self._meet(np.unique(points[ids < 0]))
            ids = self._id_of[points]
        narrowest = np.min_scalar_type(max(len(self._met) - 1, 0))
        if narrowest.itemsize > self._ids.dtype.itemsize:
            self._ids.translate(np.arange(256**self._ids.dtype.itemsize, dtype=narrowest))
        self._ids.append(ids)

    def _meet(self, new: CodePoints) -> None:
        """Give new code points their provisional ids."""
        self._id_of[new] = np.arange(len(self._met), len(self._met) + len(new))
        self._met.extend(new.tolist())
        single = np.append(self._id_of[:128], np.full(128, -1))  # by byte of UTF-8, with that of the boundary
        single[_END_BYTE[0]] = self._id_of[_BOUNDARY]
        fits = (single >= 0) & (single < 256)
        self._ascii = bytes(np.flatnonzero(fits).astype(np.uint8))
        self._id_of_ascii = bytes(np.where(fits, single, 0).astype(np.uint8))
