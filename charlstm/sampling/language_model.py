"""A network with its vocabulary: what generates and scores text."""

import io
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from charlstm.arrays import Bools, Floats, Ids
from charlstm.config.settings import SEEDS
from charlstm.errors import CharlstmError, UsageError
from charlstm.network.char_lstm import CharLSTM
from charlstm.network.cores import blas_threads
from charlstm.network.evaluation import adaptive_losses, char_losses, eval_streams
from charlstm.sampling.generate import Prefix, Sampler, read_prime
from charlstm.sampling.params import SamplingParams
from charlstm.text.builder import convert_newlines, corpus_from_text
from charlstm.text.corpus import Corpus
from charlstm.text.vocab import Vocab

Text = str | Corpus
Seed = int | Sequence[int] | None


@dataclass(frozen=True, eq=False)
class Score:
    """How well a model predicts a text.

    Two kinds of characters have no loss: unknown ones, which the model skips unless its vocabulary has an unknown
    character, and the first of the others, which only starts the state. With documents, the boundary starts the state,
    so the first character has a loss. So does the boundary after each document, a newline in the text. It counts as a
    character.
    """

    text: str
    losses: Floats  # of each character, in nats; NaN for those without [n]
    known: Bools  # which characters are in the vocabulary [n]
    lengths: tuple[int, ...]  # of the texts that were scored as one
    unknown_scored: bool = False  # whether unknown characters were scored as one symbol, and not skipped
    boundaries: Bools | None = None  # which characters are boundaries of documents; None without documents [n]

    def __repr__(self) -> str:
        return f"Score({self.nats_per_char:.4f} nats per character over {self.chars:,} characters)"

    @cached_property
    def chars(self) -> int:
        """Characters predicted."""
        return int(np.count_nonzero(~np.isnan(self.losses)))

    @property
    def unknown_chars(self) -> int:
        """Characters outside the vocabulary."""
        return int(np.count_nonzero(~self.known))

    @cached_property
    def nats_per_char(self) -> float:
        """Mean loss in nats; NaN if no character is predicted."""
        return float(np.nanmean(self.losses, dtype=np.float64)) if self.chars else math.nan

    @property
    def bpc(self) -> float:
        """Mean loss in bits per character."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """The exponential of the mean loss."""
        return math.inf if self.nats_per_char >= 700 else math.exp(self.nats_per_char)

    @property
    def document_lengths(self) -> list[int] | None:
        """The lengths of the documents, with their boundaries; None without documents."""
        if self.boundaries is None:
            return None
        lengths: list[int] = np.diff(np.flatnonzero(self.boundaries), prepend=-1).tolist()
        return lengths

    def split(self, lengths: Sequence[int]) -> "list[Score]":
        """Return the scores of consecutive pieces of the text, given their lengths, which add up to it."""
        edges = np.cumsum([0, *lengths]).tolist()
        if edges[-1] != len(self.text):
            raise ValueError(f"the lengths add up to {edges[-1]}, but the text has {len(self.text)} characters")
        return [
            replace(
                self,
                text=self.text[start:stop],
                losses=self.losses[start:stop],
                known=self.known[start:stop],
                lengths=(stop - start,),
                boundaries=None if self.boundaries is None else self.boundaries[start:stop],
            )
            for start, stop in itertools.pairwise(edges)
        ]


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A network and the vocabulary it was trained with."""

    network: CharLSTM
    vocab: Vocab

    def __repr__(self) -> str:
        config = self.network.config
        characters = len(self.vocab.code_points)
        return f"LanguageModel({config.num_layers} x {config.hidden_size} units, {characters} characters)"

    def copy(self) -> "LanguageModel":
        """Return a model with its own copy of the weights."""
        return LanguageModel(self.network.copy(), self.vocab)

    def read(self, prime: str = "") -> Prefix:
        """Return the prefix that has read a prime; see `read_prime`."""
        return read_prime(self.network, self.vocab, convert_newlines(prime))

    def sampler(self, params: SamplingParams, corpus: Text | None = None) -> Sampler:
        """Return a sampler, with the text that must not be copied; see `Sampler`."""
        ids = None if corpus is None else _as_corpus(corpus).mark_unknown(self.vocab)
        return Sampler(self.network, self.vocab, params, ids)

    def stream(
        self, prime: str | Prefix = "", *, seed: Seed = None, corpus: Text | None = None, **params: Any
    ) -> Iterator[str]:
        """Yield a text as it is generated; see `generate`."""
        sampler = self.sampler(SamplingParams(**params), corpus)
        return sampler.stream(self.read(prime) if isinstance(prime, str) else prime, _seeded(seed))

    def generate(
        self, prime: str | Prefix = "", *, seed: Seed = None, corpus: Text | None = None, **params: Any
    ) -> str:
        """Return a generated text, without the prime.

        A model trained on documents writes one, which ends by itself, or at `length`.

        Args:
            prime: the text to continue, or a prefix that was read before.
            seed: the same seed gives the same text. Without it, the text differs every time.
            corpus: the text that must not be copied, for `no_copy`.
            params: length, temperature and the other fields of `SamplingParams`.

        Raises:
            UnknownCharactersError: the prime has characters that are not in the vocabulary.
            UsageError: a value of `params` is out of range.
            CharlstmError: no character is allowed, or the predictions are not finite.
        """
        with blas_threads(1):
            return "".join(self.stream(prime, seed=seed, corpus=corpus, **params))

    def score(
        self,
        *texts: Text,
        exact: bool = False,
        adapt: bool = False,
        progress: Callable[[int], None] = lambda count: None,
    ) -> Score:
        """Return how well the model predicts a text.

        Unknown characters are counted, and skipped unless the vocabulary has an unknown character. Line endings are
        converted to LF.

        Args:
            texts: one, or several that are read as one, with a newline added to any but the last that does not end with
                one; at least two characters in all that are not skipped. For a model trained on documents, each is
                a document, or a corpus read as documents.
            exact: read the text in one stream, which is slow, instead of up to 64; see `evaluate`.
            adapt: adapt the weights to the text while scoring it, in one stream; see `adaptive_losses`. The model is
                not changed.
            progress: called with the number of characters read so far.

        Raises:
            CharlstmError: the text is too short, or the predictions are not finite.
        """
        boundary_id = self.vocab.boundary_id
        pieces = self._read_texts(texts) if boundary_id is None else self._read_documents(texts, boundary_id)
        marked = np.concatenate([self.vocab.encode(""), *(ids for _, ids in pieces)])
        encoded, boundaries = marked < len(self.vocab), marked == boundary_id
        ids, known, needed = marked[encoded], np.count_nonzero(encoded & ~boundaries), 2
        if boundary_id is not None:  # which starts the state, otherwise the first character does
            ids, needed = np.append(ids.dtype.type(boundary_id), ids), 1
        if known < needed:
            raise CharlstmError(f"need at least {needed} known character{'s' * (needed > 1)} to score, got {known}")
        with np.errstate(over="ignore", invalid="ignore"), blas_threads(1):
            if adapt:
                found = adaptive_losses(self.network, ids, progress)
            else:
                found = char_losses(self.network, ids, 1 if exact else eval_streams(ids), progress)
        if not np.isfinite(found).all():
            raise CharlstmError("the weights have overflowed; predictions are not finite")
        losses = np.full(len(marked), np.nan, np.float32)
        losses[np.flatnonzero(encoded)[-len(found) :]] = found
        unknown = self.vocab.unknown_id
        return Score(
            text="".join(text for text, _ in pieces),
            losses=losses,
            known=encoded if unknown is None else marked != unknown,
            lengths=tuple(len(text) for text, _ in pieces),
            unknown_scored=unknown is not None,
            boundaries=None if boundary_id is None else boundaries,
        )

    def _read_texts(self, texts: Sequence[Text]) -> list[tuple[str, Ids]]:
        """Return texts with their ids, V for characters to skip; with a known newline between them."""
        pieces = []
        for left, text in zip(reversed(range(len(texts))), texts, strict=True):
            corpus = _as_corpus(text)
            content, ids = corpus.text, corpus.mark_unknown(self.vocab)
            if left and content and not content.endswith("\n") and "\n" in self.vocab.characters:
                content, ids = content + "\n", np.append(ids, self.vocab.encode("\n"))
            pieces.append((content, ids))
        return pieces

    def _read_documents(self, texts: Sequence[Text], boundary_id: int) -> list[tuple[str, Ids]]:
        """Return texts with their ids, V for characters to skip, and the boundary after each document."""
        pieces = []
        for text in texts:
            corpus = _as_corpus(text)
            content, ids = corpus.text, corpus.mark_unknown(self.vocab)
            if corpus.starts is None:
                content, ids = content + "\n", np.append(ids, ids.dtype.type(boundary_id))
            else:
                ids = ids[1:]
            pieces.append((content, ids))
        return pieces

    def score_lines(self, text: Text, *, exact: bool = False) -> list[Score]:
        """Return the score of each line of a text, each given the lines before it."""
        score = self.score(text, exact=exact)
        return score.split([len(line) for line in io.StringIO(score.text, newline="\n")])

    def score_documents(self, *texts: Text, exact: bool = False) -> list[Score]:
        """Return the score of each document of some texts, with its boundary; see `score`.

        Raises:
            CharlstmError: the model was not trained on documents.
        """
        if self.vocab.boundary_id is None:
            raise CharlstmError("the model was not trained on documents; use score_lines, or score each text")
        score = self.score(*texts, exact=exact)
        return score.split(score.document_lengths or [])


def _seeded(seed: Seed) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise UsageError(f"{seed!r} is not {SEEDS.expects}", "seed") from None


def _as_corpus(text: Text) -> Corpus:
    return corpus_from_text(text) if isinstance(text, str) else text
