"""A network with its vocabulary: what generates and scores text."""

import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlstm.arrays import Floats, Ids
from charlstm.config.settings import SEEDS
from charlstm.errors import CharlstmError, UsageError
from charlstm.network.char_lstm import CharLSTM
from charlstm.network.evaluation import char_losses, eval_streams
from charlstm.sampling.generate import Prefix, Sampler, read_prime
from charlstm.sampling.params import SamplingParams
from charlstm.text.corpus import Corpus, convert_newlines, corpus_from_text
from charlstm.text.vocab import Vocab

Text = str | Corpus
Seed = int | Sequence[int] | None


@dataclass(frozen=True, eq=False)
class Score:
    """How well a model predicts a text, without the characters that are not in its vocabulary.

    The first character of a text has no loss: it only starts the state.
    """

    ids: Ids  # of the text
    losses: Floats  # of each character but the first, in nats
    unknown_chars: int  # left out
    vocab: Vocab
    lengths: tuple[int, ...]  # of the texts that were scored as one

    def __repr__(self) -> str:
        return f"Score({self.nats_per_char:.4f} nats per character over {self.chars:,} characters)"

    @property
    def text(self) -> str:
        """The text, without unknown characters."""
        return self.vocab.decode(self.ids)

    @property
    def chars(self) -> int:
        """Characters predicted."""
        return len(self.losses)

    @property
    def nats_per_char(self) -> float:
        """Mean loss in nats; 0 if no character is predicted."""
        return float(self.losses.mean(dtype=np.float64)) if self.chars else 0.0

    @property
    def bpc(self) -> float:
        """Mean loss in bits per character."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """The exponential of the mean loss."""
        return math.exp(self.nats_per_char) if self.nats_per_char < 700 else math.inf

    def split(self, lengths: Sequence[int]) -> "list[Score]":
        """Return the scores of consecutive pieces of the text, given their lengths, which add up to it."""
        edges = np.cumsum([0, *lengths]).tolist()
        if edges[-1] != len(self.ids):
            raise ValueError(f"the lengths add up to {edges[-1]}, but the text has {len(self.ids)} characters")
        first = len(self.ids) - len(self.losses)  # 1 for a whole text, whose first character has no loss
        return [
            Score(
                self.ids[start:stop],
                self.losses[max(start - first, 0) : max(stop - first, 0)],
                0,
                self.vocab,
                (stop - start,),
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
        return f"LanguageModel({config.num_layers} x {config.hidden_size} units, {len(self.vocab)} characters)"

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
        return "".join(self.stream(prime, seed=seed, corpus=corpus, **params))

    def score(self, *texts: Text, exact: bool = False) -> Score:
        """Return how well the model predicts a text.

        Unknown characters are left out and counted. Line endings are converted to LF.

        Args:
            texts: one, or several that are read as one; at least two known characters in all.
            exact: read the text in one stream, which is slow, instead of up to 64; see `evaluate`.

        Raises:
            CharlstmError: the text is too short, or the predictions are not finite.
        """
        encoded = [_as_corpus(text).encode_with(self.vocab) for text in texts]
        ids = np.concatenate([ids for ids, _ in encoded]) if encoded else self.vocab.encode("")
        unknown = sum(unknown for _, unknown in encoded)
        if len(ids) < 2:
            raise CharlstmError(f"need at least 2 known characters to score, got {len(ids)}")
        with np.errstate(over="ignore", invalid="ignore"):
            losses = char_losses(self.network, ids, 1 if exact else eval_streams(ids))
        score = Score(ids, losses, unknown, self.vocab, tuple(len(ids) for ids, _ in encoded))
        if not math.isfinite(score.nats_per_char):
            raise CharlstmError("the weights have overflowed; predictions are not finite")
        return score

    def score_lines(self, text: Text, *, exact: bool = False) -> list[Score]:
        """Return the score of each line of a text, each given the lines before it."""
        score = self.score(text, exact=exact)
        return score.split([len(line) for line in io.StringIO(score.text, newline="\n")])


def _seeded(seed: Seed) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise UsageError(f"{seed!r} is not {SEEDS.expects}", "seed") from None


def _as_corpus(text: Text) -> Corpus:
    return corpus_from_text(text) if isinstance(text, str) else text
