"""A corpus as ids, and its split into a training and a validation part."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from charlstm.arrays import Bools, Hashes, Ids, Int64s
from charlstm.config.settings import DataConfig
from charlstm.errors import CharlstmError, UsageError
from charlstm.text.cleaning import UNCHANGED, Cleaning
from charlstm.text.documents import choose_held_out, find_boundaries, find_copies, hash_documents, select_documents
from charlstm.text.spool import OpenFile, Spool, is_mapped
from charlstm.text.vocab import UNKNOWN, Vocab

_CHUNK = 1 << 20  # characters


@dataclass(frozen=True)
class Fingerprint:
    """Identifies a corpus."""

    chars: int  # without boundaries
    sha256: str  # of its UTF-8 form, with a byte FF after each document, as hexadecimal digits


@dataclass(frozen=True, eq=False)
class Dataset:
    """A corpus, split: what a run trains and validates on.

    With documents, each part has the boundary before each document and after the last, unless it has none.
    """

    train_ids: Ids  # [N]
    val_ids: Ids  # what follows, or with documents, some of them; possibly nothing [M]
    vocab: Vocab
    fingerprint: Fingerprint  # of the whole corpus
    val_fraction: float
    normalize: str = "none"  # of the corpus
    min_count: int = 1  # of the corpus
    documents: str = "none"  # of the corpus
    deduplicate: bool = False  # of the corpus
    copies: int = 0  # documents that equal an earlier one
    example_copy: str = ""  # one of them
    cleaning: Cleaning = UNCHANGED  # of the corpus
    train_starts: Int64s | None = None  # indices of the boundaries in the training text; None without documents
    val_documents: int = 0  # for validation

    def __repr__(self) -> str:
        distinct = len(self.vocab.code_points)
        return f"Dataset({len(self.train_ids):,} + {len(self.val_ids):,} characters, {distinct} distinct)"

    @property
    def nbytes(self) -> int:
        """Memory of the ids, unless they are on the disk."""
        return sum(ids.nbytes for ids in (self.train_ids, self.val_ids) if not is_mapped(ids))


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as ids. With documents, the boundary comes first, and each document is followed by one.

    Line endings are LF: CRLF and lone CR are converted. A byte-order mark is removed. Nothing else is changed, unless
    `cleaning`, `normalize` or `min_count` say so.
    """

    vocab: Vocab
    ids: Ids  # [N], in the narrowest type that holds them
    fingerprint: Fingerprint
    line_endings: frozenset[str] = frozenset()  # of the files
    normalize: str = "none"  # the normalisation form that the text was converted to
    min_count: int = 1  # characters that occur less often have become the unknown character
    documents: str = "none"  # what separates documents: the setting of that name
    deduplicate: bool = False  # whether copies of documents have been dropped
    cleaning: Cleaning = UNCHANGED  # what was changed in the text before that
    notes: tuple[str, ...] = ()  # lines for the user on how the files were read
    scratch: OpenFile | None = None  # opens a file for an array that is too large for memory; None if all are to fit

    def __repr__(self) -> str:
        documents = "" if self.starts is None else f" in {len(self.starts) - 1:,} documents"
        return f"Corpus({self.chars:,} characters{documents}, {len(self.vocab.code_points)} distinct)"

    @property
    def chars(self) -> int:
        """Characters, without boundaries."""
        return len(self.ids) - (0 if self.starts is None else len(self.starts))

    @property
    def text(self) -> str:
        """The text as a string, with a newline after each document."""
        first = int(self.starts is not None)
        chunks = range(first, len(self.ids), _CHUNK)  # decoding all ids at once would take 20 bytes per character
        return "".join(self.vocab.decode(self.ids[start : start + _CHUNK], "\n") for start in chunks)

    @cached_property
    def starts(self) -> Int64s | None:
        """Indices of the boundaries, one more than there are documents; None without documents."""
        boundary = self.vocab.boundary_id
        return None if boundary is None else find_boundaries(self.ids, boundary, self.scratch)

    @cached_property
    def document_hashes(self) -> Hashes:
        """A hash of each document, which equal ones share; empty without documents."""
        if self.starts is None:
            return np.zeros(0, np.uint64)
        return hash_documents(self.ids, self.starts, self.vocab.code_points, self.scratch)

    def document(self, number: int) -> str:
        """Return the text of a document, given its number from 0."""
        assert self.starts is not None
        return self.vocab.decode(self.ids[self.starts[number] : self.starts[number + 1]])

    def prepare(self, config: DataConfig) -> Dataset:
        """Return the corpus as a run needs it: without copies if so configured, with rare characters merged, split.

        Raises:
            UsageError: copies are to be dropped, but there are no documents.
        """
        if config.deduplicate and self.documents == "none":
            raise UsageError("needs separate documents; set documents to line, row, file or blank-line", "deduplicate")
        corpus = self.drop_copies() if config.deduplicate else self
        copies, example = self._find_copies()
        dataset = corpus.merge_rare(config.min_count).split(config.val_fraction)
        return replace(dataset, copies=copies, example_copy=example)

    def split(self, val_fraction: float) -> Dataset:
        """Return the corpus with `val_fraction` of it held out for validation.

        That is the end of the text (views), or whole documents spread over it (copies): see `choose_held_out`.
        """
        train_chars = len(self.ids) - int(len(self.ids) * val_fraction)
        train_ids, val_ids = self.ids[:train_chars], self.ids[train_chars:]
        train_starts, val_documents = None, 0
        if self.starts is not None:
            held_out = choose_held_out(self.document_hashes, self.starts, val_fraction)
            train_ids, val_ids = self._select(~held_out), self._select(held_out)
            train_starts = find_boundaries(train_ids, len(self.vocab) - 1, self.scratch)
            val_documents = int(held_out.sum())
        return Dataset(
            train_ids,
            val_ids,
            self.vocab,
            self.fingerprint,
            val_fraction,
            self.normalize,
            self.min_count,
            self.documents,
            self.deduplicate,
            cleaning=self.cleaning,
            train_starts=train_starts,
            val_documents=val_documents,
        )

    def _find_copies(self) -> tuple[int, str]:
        """Return the number of documents that equal an earlier one, and the first of them, "" for none."""
        copies = find_copies(self.document_hashes)
        count = int(np.count_nonzero(copies))
        return count, self.document(int(copies.argmax())) if count else ""

    def drop_copies(self) -> "Corpus":
        """Return the corpus without documents that equal an earlier one. The fingerprint is still that of the text."""
        if self.starts is None:
            return self
        ids = self._select(~find_copies(self.document_hashes))
        counts, has_unknown = count_ids(ids[1:], len(self.vocab)), self.vocab.unknown_id is not None
        vocab = Vocab(self.vocab.code_points, counts, has_unknown=has_unknown, has_boundary=True)
        return replace(self, vocab=vocab, ids=ids, deduplicate=True)

    def _select(self, documents: Bools) -> Ids:
        """Return the ids of some documents, with the boundary before each and after the last; nothing for none."""
        assert self.starts is not None
        return select_documents(self.ids, self.starts, documents, self.scratch)

    def merge_rare(self, min_count: int) -> "Corpus":
        """Return the corpus with each character that occurs fewer than `min_count` times as the unknown character.

        The fingerprint is still that of the text. Without rare characters, the corpus itself is returned.
        """
        points = self.vocab.code_points
        counts, boundary = np.split(self.vocab.counts, [len(points)])
        merged = (counts < min_count) | (points == UNKNOWN)
        if min_count <= 1 or not merged.any():
            return self
        left, new = np.unique(np.where(merged, UNKNOWN, points), return_inverse=True)
        left_counts = np.append(np.bincount(new, counts).astype(np.int64), boundary)
        vocab = Vocab(left, left_counts, has_unknown=True, has_boundary=len(boundary) > 0)
        new = np.append(new, [len(left)] * len(boundary))
        ids = self._translate(new.astype(vocab.id_type))
        return replace(self, vocab=vocab, ids=ids, min_count=min_count)

    def encode_with(self, vocab: Vocab) -> tuple[Ids, int]:
        """Return the text in the ids of another vocabulary, and the number of its unknown characters.

        They are left out, unless the vocabulary has an unknown character.

        Raises:
            CharlstmError: the corpus has documents, but the vocabulary has no boundary.
        """
        if vocab == self.vocab and vocab.unknown_id is None:
            return self.ids, 0
        ids, known = self._find_in(vocab)
        unknown = int(count_ids(self.ids, len(known))[~known].sum())
        return self._translate(ids, known | (vocab.unknown_id is not None)), unknown

    def mark_unknown(self, vocab: Vocab) -> Ids:
        """Return the text in the ids of another vocabulary, with the id V for what it cannot encode.

        Raises:
            CharlstmError: the corpus has documents, but the vocabulary has no boundary.
        """
        ids, known = self._find_in(vocab)
        encoded = known | (vocab.unknown_id is not None)
        return self._translate(np.where(encoded, ids, len(vocab)).astype(np.min_scalar_type(len(vocab))))

    def _translate(self, table: Ids, kept: Bools | None = None) -> Ids:
        """Return `table[ids]`, without those that are not kept."""
        translated = Spool(table.dtype, self.scratch)
        for start in range(0, len(self.ids), _CHUNK):
            chunk = self.ids[start : start + _CHUNK]
            translated.append(table[chunk if kept is None or kept.all() else chunk[kept[chunk]]])
        return translated.array()

    def _find_in(self, vocab: Vocab) -> tuple[Ids, Bools]:
        """Return what each id of the corpus is in another vocabulary, and which are known; see `Vocab.find`."""
        ids, known = vocab.find(self.vocab.code_points)
        if self.vocab.boundary_id is None:
            return ids, known
        if vocab.boundary_id is None:
            raise CharlstmError(
                f"the corpus was read as documents ({self.documents}), but the model was trained without; "
                'read it with documents="none"'
            )
        return np.append(ids, vocab.id_type.type(vocab.boundary_id)), np.append(known, True)


def count_ids(ids: Ids, vocab_size: int) -> Int64s:
    """Return how often each id occurs [V]."""
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        if chunk.itemsize == 1 and len(chunk) == _CHUNK:  # counting pairs takes half as long
            pairs = np.bincount(chunk.view(np.uint16), minlength=1 << 16).reshape(256, 256)
            counts += (pairs.sum(0) + pairs.sum(1))[:vocab_size]
        else:
            counts += np.bincount(chunk, minlength=vocab_size)
    return counts
