"""Pieces of text -> a corpus."""

import hashlib
from collections.abc import Iterable

import numpy as np

from charlstm.arrays import CodePoints
from charlstm.text.corpus import Corpus, Fingerprint, count_ids
from charlstm.text.documents import END, split_documents
from charlstm.text.spool import OpenFile, Spool
from charlstm.text.vocab import Vocab, code_points

_CHUNK = 1 << 20  # characters
_BOUNDARY = 0x110000  # stands for the boundary among code points, above all of them
_END_BYTE = b"\xff"  # stands for it in the fingerprint: no UTF-8 has this byte


def corpus_from_text(text: str, documents: str = "none") -> Corpus:
    """Return a corpus made of a string. Line endings are converted to LF.

    Args:
        text: the corpus.
        documents: what separates its documents, as in `read_corpus`; with "file", it is one document.
    """
    builder = CorpusBuilder(documents=documents)
    builder.extend(split_documents([convert_newlines(text)], documents))
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
        self._ids = Spool(np.uint8, ids_file or scratch)
        self._scratch = scratch
        self._hash = hashlib.sha256()
        self._pending: list[str | None] = []  # text and ends of documents
        self._pending_chars = 0
        self._normalize, self._documents = normalize, documents
        self._is_open = False  # whether a document has begun
        self.line_endings: set[str] = set()
        self.length = 0
        if documents != "none":
            self._append(np.array([_BOUNDARY], np.uint32))

    def end_document(self) -> None:
        """End a document, unless it is empty."""
        if self._is_open:
            self._pending.append(END)
        self._is_open = False

    def add(self, text: str) -> None:
        """Append text that has LF line endings."""
        if not text:
            return
        self._is_open = True
        self._pending.append(text)
        self._pending_chars += len(text)
        self.length += len(text)
        if self._pending_chars >= _CHUNK:
            self._flush()

    def extend(self, pieces: Iterable[str | None]) -> None:
        """Append pieces of text, and end a document after each `END`."""
        for piece in pieces:
            if piece is END:
                self.end_document()
            else:
                self.add(piece)

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
        pieces, self._pending, self._pending_chars = self._pending, [], 0
        text = "".join(filter(None, pieces))
        points = code_points(text)
        if END not in pieces:
            self._hash.update(text.encode("utf-8", "surrogatepass"))
        else:
            self._hash.update(
                b"".join(_END_BYTE if piece is END else piece.encode("utf-8", "surrogatepass") for piece in pieces)
            )
            lengths = np.array([-1 if piece is END else len(piece) for piece in pieces])
            ends = np.cumsum(np.maximum(lengths, 0))[lengths < 0]
            points = np.insert(points, ends, _BOUNDARY)
        self._append(points)

    def _append(self, points: CodePoints) -> None:
        ids = self._id_of[points]
        if (ids < 0).any():
            new = np.unique(points[ids < 0])
            self._id_of[new] = np.arange(len(self._met), len(self._met) + len(new))
            self._met.extend(new.tolist())
            ids = self._id_of[points]
        narrowest = np.min_scalar_type(max(len(self._met) - 1, 0))
        if narrowest.itemsize > self._ids.dtype.itemsize:
            self._ids.translate(np.arange(256**self._ids.dtype.itemsize, dtype=narrowest))
        self._ids.append(ids)
