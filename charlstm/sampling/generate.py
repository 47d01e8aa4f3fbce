"""Logits -> constraints -> filters -> distribution -> the next id -> text."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from charlstm.arrays import Bools, Float64s, Floats, Ids, IntArray
from charlstm.errors import CharlstmError, UsageError, quote
from charlstm.network.char_lstm import CharLSTM, State
from charlstm.network.dispatch import make_stepper
from charlstm.network.stepper import Stepper
from charlstm.sampling.constraints import Constraint, MatchPattern, NoCopy, RepetitionPenalty
from charlstm.sampling.filters import choose, distribution, log_softmax
from charlstm.sampling.params import SamplingParams
from charlstm.sampling.regex import Automaton
from charlstm.text.overlap import NgramIndex
from charlstm.text.vocab import UnknownCharactersError, Vocab

NO_CONTINUATION = "no character is allowed next; relax the pattern, or allow longer copies"
_PRIME_WINDOW = 256


@dataclass(frozen=True, eq=False)
class Prefix:
    """What a network has read before a text, and the state it is in."""

    network: CharLSTM
    vocab: Vocab
    ids: Ids  # with the boundary first, or else a newline, if the vocabulary has one
    state: State  # after the ids [L, 1, H]
    logits: Floats  # of the next character [1, V]

    def __repr__(self) -> str:
        return f"Prefix({len(self.ids):,} characters)"

    def extend(self, text: str) -> "Prefix":
        """Return the prefix that has read more text.

        Raises:
            UnknownCharactersError: the text has characters that are not in the vocabulary.
        """
        return self.read(self.vocab.encode(text))

    def read(self, ids: Ids) -> "Prefix":
        """Return the prefix that has read more ids."""
        state = self.state
        for start in range(0, len(ids), _PRIME_WINDOW):
            state = self.network.read(ids[start : start + _PRIME_WINDOW].astype(np.intp)[:, None], state)
        if not len(ids):
            return self
        logits = make_stepper(self.network, never=self.vocab.unknown_id).logits(state)
        return Prefix(self.network, self.vocab, np.append(self.ids, ids), state, logits)


def read_prime(network: CharLSTM, vocab: Vocab, prime: str = "") -> Prefix:
    """Return the prefix that has read a prime.

    The boundary of documents is read first, so that a text starts like a document; without documents, a newline, if
    the vocabulary has one: a text starts like a line. Without either and a prime, the first character is drawn by its
    frequency in the corpus.

    Raises:
        UnknownCharactersError: the prime has characters that are not in the vocabulary.
    """
    logits = np.log(vocab.counts)[None]
    if vocab.unknown_id is not None:
        logits[:, vocab.unknown_id] = -np.inf
    empty = Prefix(network, vocab, vocab.encode(""), network.zero_state(1), logits)
    if vocab.boundary_id is not None:
        return empty.read(np.array([vocab.boundary_id])).extend(prime)
    return empty.extend("\n" * ("\n" in vocab.characters) + prime)


class Step(NamedTuple):
    """The next characters of B texts."""

    ids: IntArray  # [B]
    logits: Floats  # of the network [B, V]
    texts: list[str]  # what each text gains for certain, since it cannot be part of a stop string
    ended: Bools  # which texts ended before this character [B]
    stuck: Bools  # which of these ended without a match, because no character was allowed [B]


@dataclass
class Sample:
    """A generated text."""

    text: str = ""  # without the prime
    chars: int = 0  # characters chosen, including those of a stop string, and the boundary
    log_probability: float = 0.0  # of these, in nats, without temperature, filters and constraints
    details: list[tuple[str, float, int, float]] = field(default_factory=list)  # see `_describe_choice`
    stopped: bool = False  # whether it ended at a boundary, a stop string or after its last line
    stuck: bool = False  # whether it ended without a match, because no character was allowed

    @property
    def mean_log_probability(self) -> float:
        """Log-probability per character, in nats; minus infinity without characters."""
        return self.log_probability / self.chars if self.chars else -math.inf


class StopDetector:
    """Detects the end of a text, and holds back what may be the start of a stop string.

    Attributes:
        stopped: whether the text has ended.
        at_boundary: whether it has ended as a document.
    """

    def __init__(self, params: SamplingParams) -> None:
        self.stopped = self.at_boundary = False
        self._params, self._held, self._lines = params, "", 0

    def feed(self, character: str) -> str:
        """Read the next character, or "" for the boundary; return the text that is now certain to be in the result."""
        params = self._params
        if not character:
            self.stopped = self.at_boundary = True
            return self.flush()
        if not (params.stop or params.lines):
            return character
        self._held += character
        self._lines += character == "\n"
        stop = max((stop for stop in params.stop if self._held.endswith(stop)), key=len, default="")
        self.stopped = bool(stop) or 0 < params.lines <= self._lines
        if self.stopped:
            return self.flush() if params.keep_stop else self.flush().removesuffix(stop)
        certain = len(self._held) - max((_longest_start(self._held, stop) for stop in params.stop), default=0)
        text, self._held = self._held[:certain], self._held[certain:]
        return text

    def flush(self) -> str:
        """Return the text held back: nothing more will follow."""
        text, self._held = self._held, ""
        return text


def _longest_start(text: str, stop: str) -> int:
    """Return the length of the longest proper prefix of `stop` that ends `text`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


class Sampler:
    """Generates texts with fixed parameters. The pattern and the index of the corpus are prepared once.

    Args:
        network: predicts.
        vocab: its characters.
        params: how characters are chosen, which texts are allowed, and where they end.
        corpus_ids: the text that must not be copied, for `no_copy`.

    Raises:
        UsageError: the pattern is invalid, a stop string has unknown characters, or `no_copy` lacks the corpus.
    """

    def __init__(self, network: CharLSTM, vocab: Vocab, params: SamplingParams, corpus_ids: Ids | None = None) -> None:
        if params.no_copy and corpus_ids is None:
            raise UsageError("needs the corpus", "no_copy")
        for stop in params.stop:
            try:
                vocab.check_known(stop)
            except UnknownCharactersError as error:
                raise UsageError(f"{quote(stop)} can never match: {error}", "stop") from None
        self.vocab, self.params = vocab, replace(params, documents=vocab.boundary_id is not None)
        self._network = network
        self._pattern = None if params.pattern is None else Automaton(params.pattern, vocab)
        self._index = NgramIndex(corpus_ids, params.no_copy) if params.no_copy and corpus_ids is not None else None
        self._is_space = np.array([not symbol or symbol.isspace() for symbol in vocab.symbols])

    def constrain(self, prefix_ids: Ids, batch_size: int) -> tuple[list[Constraint], MatchPattern | None]:
        """Return the constraints on B texts after some ids, and the one among them that makes them match a pattern."""
        params, boundary_id = self.params, self.vocab.boundary_id
        if boundary_id is not None:
            prefix_ids = prefix_ids[prefix_ids != boundary_id]
        constraints: list[Constraint] = []
        if params.repetition_penalty:
            constraints.append(
                RepetitionPenalty(prefix_ids, batch_size, params.repetition_penalty, params.repetition_free)
            )
        if self._index:
            constraints.append(NoCopy(self._index, prefix_ids, batch_size, boundary_id))
        match = MatchPattern(self._pattern, batch_size, params.max_length) if self._pattern else None
        return [*constraints, *([match] if match else [])], match

    def may_be_empty(self) -> bool:
        """Return whether the pattern matches the empty text."""
        return self._pattern is not None and self._pattern.distance(0) == 0

    def stepper(self, batch_size: int) -> Stepper:
        """Return what reads one character of each text at a time."""
        return make_stepper(self._network, batch_size, never=self.vocab.unknown_id)

    def stream(self, prefix: Prefix, rng: np.random.Generator, detector: StopDetector | None = None) -> Iterator[str]:
        """Yield a text as it is generated.

        Args:
            prefix: read before the text, and not part of it.
            rng: source of the choices.
            detector: a new one, for callers that want to know whether the text stopped.

        Yields:
            One character at a time; more after some were held back because they might have started a stop string.

        Raises:
            CharlstmError: no character is allowed, or the predictions are not finite.
        """
        detector = detector or StopDetector(self.params)
        for step in self._steps(prefix, [rng], [detector]):
            if step.stuck[0]:
                yield from filter(None, [detector.flush()])
                raise CharlstmError(NO_CONTINUATION)
            if step.ended[0]:
                break
            if step.texts[0]:
                yield step.texts[0]
        if text := detector.flush():
            yield text

    def generate_batch(
        self, prefix: Prefix, rngs: Sequence[np.random.Generator], *, detailed: bool = False
    ) -> list[Sample]:
        """Generate several texts side by side. Each depends on its own random numbers alone.

        Args:
            prefix: read before each text.
            rngs: sources of the choices, one for each text.
            detailed: whether to fill in `Sample.details`.
        """
        samples, detectors = [Sample() for _ in rngs], [StopDetector(self.params) for _ in rngs]
        stuck = np.zeros(len(rngs), bool)
        for step in self._steps(prefix, rngs, detectors):
            log_p, stuck = log_softmax(step.logits), step.stuck
            for b in np.flatnonzero(~step.ended):
                id, sample = step.ids[b], samples[b]
                sample.text += step.texts[b]
                sample.chars += 1
                sample.log_probability += float(log_p[b, id])
                if detailed:
                    sample.details.append((self.vocab.symbols[id], *_describe_choice(log_p[b], id)))
        for sample, detector, is_stuck in zip(samples, detectors, stuck.tolist(), strict=True):
            sample.text += detector.flush()
            sample.stopped, sample.stuck = detector.stopped, is_stuck
        return samples

    def _steps(
        self, prefix: Prefix, rngs: Sequence[np.random.Generator], detectors: Sequence[StopDetector]
    ) -> Iterator[Step]:
        """Generate B texts side by side, step by step.

        A text that matches its pattern ends with the probability that the filtered distribution leaves to characters
        outside the pattern.
        """
        B, params = len(rngs), self.params
        stepper, state = self.stepper(B), prefix.state.streams(np.zeros(B, np.intp))
        logits, ended, stuck = np.repeat(prefix.logits, B, axis=0), np.zeros(B, bool), np.zeros(B, bool)
        at_start = np.full(B, not len(prefix.ids) or self._is_space[prefix.ids[-1]])
        constraints, match = self.constrain(prefix.ids, B)
        can_stop = bool(params.documents or params.stop or params.lines)
        for _ in range(params.max_length):
            if match and any(match.matched.tolist()):
                ended = ended | _draw_ends(match, distribution(params, logits, at_start), rngs, ended)
            allowed = apply_constraints(logits, constraints) if constraints else logits
            if constraints and -math.inf in allowed.max(axis=1).tolist():
                none = np.isneginf(allowed).all(axis=1)
                stuck = stuck | (none & ~ended & ~(match.matched if match else np.False_))
                ended = ended | none
                allowed[none] = logits[none]
            ids = choose(params, allowed, at_start, np.array([rng.random() for rng in rngs]))
            texts = [self.vocab.symbols[id] for id in ids.tolist()]
            if can_stop:
                running = zip(detectors, texts, ended.tolist(), strict=True)
                texts = ["" if over else detector.feed(text) for detector, text, over in running]
            yield Step(ids, logits, texts, ended, stuck)
            if can_stop:
                ended = ended | [detector.stopped for detector in detectors]
            if all(ended.tolist()):
                return
            for constraint in constraints:
                constraint.read(ids)
            at_start = self._is_space[ids]
            logits, state = stepper.step(ids, state)


def apply_constraints(logits: Floats, constraints: Sequence[Constraint]) -> Floats:
    """Return logits [B, V] with the constraints applied, in float64."""
    masked = np.array(logits, np.float64)
    for constraint in constraints:
        constraint.mask_logits(masked)
    return masked


def _draw_ends(match: MatchPattern, p: Float64s, rngs: Sequence[np.random.Generator], ended: Bools) -> Bools:
    """Draw which of the texts that match end here. Those that cannot continue do."""
    ends, allowed = match.matched & ~ended, match.allowed()
    for b in np.flatnonzero(ends):
        ends[b] = not allowed[b].any() or rngs[int(b)].random() < p[b, ~allowed[b]].sum()
    return ends


def _describe_choice(log_p: Floats, id: np.intp) -> tuple[float, int, float]:
    """Return the probability and the rank of an id (0 is the most likely), and the entropy of all in nats."""
    p = np.exp(log_p)
    entropy = -(p * np.where(p > 0, log_p, 0)).sum()  # where p is 0, log_p may be minus infinity
    return float(p[id]), int(np.count_nonzero(p > p[id])), float(entropy)
