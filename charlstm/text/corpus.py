"""A corpus as ids, and its split into a training and a validation part."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from charlstm.arrays import Ids
from charlstm.text.cleaning import UNCHANGED, Cleaning
from charlstm.text.vocab import UNKNOWN, Vocab, code_points

_CHUNK = 1 << 20  # characters


@dataclass(frozen=True)
class Fingerprint:
    """Identifies a corpus."""

    chars: int
    sha256: str  # of its UTF-8 form, as hexadecimal digits


@dataclass(frozen=True, eq=False)
class Dataset:
    """A corpus, split: what a run trains and validates on."""

    train_ids: Ids  # [N]
    val_ids: Ids  # what follows, possibly nothing [M]
    vocab: Vocab
    fingerprint: Fingerprint  # of the whole corpus
    val_fraction: float
    normalize: str = "none"  # of the corpus
    min_count: int = 1  # of the corpus
    cleaning: Cleaning = UNCHANGED  # of the corpus

    def __repr__(self) -> str:
        return f"Dataset({len(self.train_ids):,} + {len(self.val_ids):,} characters, {len(self.vocab)} distinct)"

    @property
    def nbytes(self) -> int:
        """Memory of the ids."""
        return self.train_ids.nbytes + self.val_ids.nbytes


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as ids.

    Line endings are LF: CRLF and lone CR are converted. A byte-order mark is removed. Nothing else is changed, unless
    `cleaning`, `normalize` or `min_count` say so.
    """

    vocab: Vocab
    ids: Ids  # [N], in the narrowest type that holds them
    fingerprint: Fingerprint
    line_endings: frozenset[str] = frozenset()  # of the files
    normalize: str = "none"  # the normalisation form that the text was converted to
    min_count: int = 1  # characters that occur less often have become the unknown character
    cleaning: Cleaning = UNCHANGED  # what was changed in the text before that
    notes: tuple[str, ...] = ()  # lines for the user on how the files were read

    def __repr__(self) -> str:
        return f"Corpus({len(self.ids):,} characters, {len(self.vocab)} distinct)"

    @property
    def text(self) -> str:
        """The text as a string."""
        chunks = range(0, len(self.ids), _CHUNK)  # decoding all ids at once would take 20 bytes per character
        return "".join(self.vocab.decode(self.ids[start : start + _CHUNK]) for start in chunks)

    def split(self, val_fraction: float) -> Dataset:
        """Return the corpus with the last `val_fraction` of it held out for validation (views)."""
        train_chars = len(self.ids) - int(len(self.ids) * val_fraction)
        return Dataset(
            self.ids[:train_chars],
            self.ids[train_chars:],
            self.vocab,
            self.fingerprint,
            val_fraction,
            self.normalize,
            self.min_count,
            self.cleaning,
        )

    def merge_rare(self, min_count: int) -> "Corpus":
        """Return the corpus with each character that occurs fewer than `min_count` times as the unknown character.

        The fingerprint is still that of the text. Without rare characters, the corpus itself is returned.
        """
        points, counts = self.vocab.code_points, self.vocab.counts
        merged = (counts < min_count) | (points == UNKNOWN)
        if min_count <= 1 or not merged.any():
            return self
        left, new = np.unique(np.where(merged, UNKNOWN, points), return_inverse=True)
        vocab = Vocab(left, np.bincount(new, counts).astype(np.int64), has_unknown=True)
        return replace(self, vocab=vocab, ids=_translate(self.ids, new.astype(vocab.id_type)), min_count=min_count)

    def encode_with(self, vocab: Vocab) -> tuple[Ids, int]:
        """Return the text in the ids of another vocabulary, and the number of its unknown characters.

        They are left out, unless the vocabulary has an unknown character.
        """
        if vocab == self.vocab and vocab.unknown_id is None:
            return self.ids, 0
        ids, known = vocab.find(self.vocab.code_points)
        known_ids = self.ids if known.all() else self.ids[known[self.ids]]
        kept = known_ids if vocab.unknown_id is None else self.ids
        return ids[kept], len(self.ids) - len(known_ids)

    def mark_unknown(self, vocab: Vocab) -> Ids:
        """Return the text in the ids of another vocabulary, with the id V for what it cannot encode."""
        ids, known = vocab.find(self.vocab.code_points)
        encoded = known | (vocab.unknown_id is not None)
        marked: Ids = np.where(encoded, ids, len(vocab)).astype(np.min_scalar_type(len(vocab)))
        return marked[self.ids]


def corpus_from_text(text: str) -> Corpus:
    """Return a corpus made of a string. Line endings are converted to LF."""
    builder = CorpusBuilder()
    builder.add(convert_newlines(text))
    return builder.corpus()


def _translate(ids: Ids, table: Ids) -> Ids:
    """Return `table[ids]`, without the large temporary array of indices that NumPy would make."""
    translated = np.empty(len(ids), table.dtype)
    for start in range(0, len(ids), _CHUNK):
        translated[start : start + _CHUNK] = table[ids[start : start + _CHUNK]]
    return translated


def convert_newlines(text: str) -> str:
    """Return `text` with CRLF and lone CR converted to LF, as in a corpus."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class CorpusBuilder:
    """Collects ids as text arrives. Characters get provisional ids in the order of their first occurrence.

    A text of up to 256 distinct characters takes one byte per character.

    Args:
        normalize: the normalisation form of the text, which is recorded.

    Attributes:
        line_endings: the kinds of line endings, for the caller to fill in.
    """

    def __init__(self, normalize: str = "none") -> None:
        self._id_of = np.full(0x110000, -1, np.int32)  # by code point
        self._met: list[int] = []  # code points by provisional id
        self._data = bytearray()
        self._type = np.dtype(np.uint8)
        self._hash = hashlib.sha256()
        self.line_endings: set[str] = set()
        self._normalize = normalize
        self._line_ended = True

    @property
    def length(self) -> int:
        """Characters so far."""
        return len(self._data) // self._type.itemsize

    def end_line(self) -> None:
        """Append a newline if the text so far does not end with one."""
        if not self._line_ended:
            self.add("\n")

    def add(self, text: str) -> None:
        """Append text that has LF line endings."""
        if text:
            self._line_ended = text.endswith("\n")
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
        """Return the corpus. The builder must not be used any more: the corpus has its memory."""
        met = np.array(self._met, np.uint32)
        final = np.argsort(np.argsort(met)).astype(self._type)  # by provisional id
        counts = np.zeros(len(met), np.int64)
        ids = np.frombuffer(self._data, self._type)  # shares the memory of the bytearray, and is writable
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            chunk[...] = final[chunk]
            counts += np.bincount(chunk, minlength=len(met))
        fingerprint = Fingerprint(len(ids), self._hash.hexdigest())
        return Corpus(Vocab(np.sort(met), counts), ids, fingerprint, frozenset(self.line_endings), self._normalize)
