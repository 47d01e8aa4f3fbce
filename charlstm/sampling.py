"""Logits -> guides -> filters -> distribution -> the next id -> text."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from charlstm.batches import IntArray
from charlstm.copying import CopyIndex
from charlstm.errors import CharlstmError
from charlstm.filters import Choice, Probabilities, log_softmax
from charlstm.guides import Bools, Guide, LessRepetition, Matching, NoCopies
from charlstm.model import CharLSTM, State
from charlstm.patterns import Automaton
from charlstm.stepper import Stepper
from charlstm.vocab import Ids, Vocab
from charlstm.workspace import Floats

NO_WAY_ON = "nothing can come next: every character is forbidden by --pattern or --no-copy; loosen one of them"
_PRIME_WINDOW = 256
_AS_LEARNT = Choice()


@dataclass(frozen=True)
class Rules:
    """What texts may be, and where they end.

    Attributes:
        repetition_penalty: nats for each character beyond `repetition_free` by which a repetition is prolonged.
        repetition_free: characters that may be repeated at no cost.
        no_copy: runs of characters that must not be completed.
        pattern: what each text must match.
        stop: each of these ends a text, and is left out of it; with `keep_stop`, not.
        keep_stop: see there.
        lines: so many line ends end a text; 0 is off.
    """

    repetition_penalty: float = 0.0
    repetition_free: int = 16
    no_copy: CopyIndex | None = None
    pattern: Automaton | None = None
    stop: tuple[str, ...] = ()
    keep_stop: bool = False
    lines: int = 0


_NO_RULES = Rules()


@dataclass(frozen=True)
class Start:
    """A place from which texts go on: after some ids, with the state of a network that has read them.

    Attributes:
        ids: what was read; a line end first, where the model knows one.
        state: [L, 1, H].
        logits: of the next character, [1, V].
    """

    ids: Ids
    state: State
    logits: Floats

    def after(self, model: CharLSTM, ids: Ids) -> "Start":
        """Return the place after some more ids."""
        state = self.state
        for start in range(0, len(ids), _PRIME_WINDOW):
            state = model.read(ids[start : start + _PRIME_WINDOW].astype(np.intp)[:, None], state)
        return Start(np.append(self.ids, ids), state, Stepper(model).logits(state)) if len(ids) else self


def begin(model: CharLSTM, vocab: Vocab, prime: str = "") -> Start:
    """Read what texts start with; return the place after it.

    A line end is read first, where the model knows one: a text begins like a line. Without either, the first
    character is drawn by how often each stands in the training text.

    Raises:
        UnknownCharactersError: the prime has characters that the model does not know.
    """
    nothing = Start(vocab.encode(""), model.zero_state(1), np.log(vocab.counts)[None])
    return nothing.after(model, vocab.encode("\n" * ("\n" in vocab.decode(range(len(vocab)))) + prime))


class Step(NamedTuple):
    """The next characters of B texts.

    Attributes:
        ids: [B].
        logits: that the model gave, [B, V].
        ended: which texts have ended before this character, [B]; the reader notes here which of them end with it. The
            last step may be one before which all have.
        stuck: which of these ended where nothing could come next, and they did not match yet, [B].
    """

    ids: IntArray
    logits: Floats
    ended: Bools
    stuck: Bools


def write(
    model: CharLSTM,
    vocab: Vocab,
    start: Start,
    length: int,
    rngs: Sequence[np.random.Generator],
    choice: Choice = _AS_LEARNT,
    rules: Rules = _NO_RULES,
) -> Iterator[Step]:
    """Write several texts side by side, of so many characters; each depends on its own random numbers alone.

    Where a text matches its pattern, it ends with the probability that is left, after the filters, to what the pattern
    excludes.

    Args:
        model: predicts.
        vocab: its characters.
        start: where all of them go on.
        length: characters of each at most.
        rngs: sources of the choices, B.
        choice: how the next character is chosen.
        rules: all but where texts end, which `Ending` says.
    """
    B, V = len(rngs), len(vocab)
    stepper, state = Stepper(model, B), start.state.of(np.zeros(B, np.intp))
    logits, ended, stuck = np.repeat(start.logits, B, axis=0), np.zeros(B, bool), np.zeros(B, bool)
    is_space = np.array([character.isspace() for character in vocab.decode(range(V))])
    at_start = np.full(B, not len(start.ids) or is_space[start.ids[-1]])
    guides, matching = guides_of(rules, start.ids, B, V, length)
    for _ in range(length):
        if matching:
            ended |= _ends(matching, choice.distribution(logits, at_start), rngs, ended)
        wanted = narrowed(logits, guides) if guides else logits
        if guides and -math.inf in wanted.max(axis=1).tolist():
            none = np.isneginf(wanted).all(axis=1)
            stuck |= none & ~ended & ~(matching.matched if matching else np.False_)
            ended |= none
            wanted[none] = logits[none]
        ids = choice.draw(wanted, at_start, np.array([rng.random() for rng in rngs]))
        yield Step(ids, logits, ended, stuck)
        if all(ended.tolist()):
            return
        for guide in guides:
            guide.read(ids)
        at_start = is_space[ids]
        logits, state = stepper.step(ids, state)


def guides_of(rules: Rules, ids: Ids, B: int, V: int, length: int) -> tuple[list[Guide], Matching | None]:
    """Return what guides B texts of some length after some ids, and among it what makes them match a pattern."""
    guides: list[Guide] = []
    if rules.repetition_penalty:
        guides.append(LessRepetition(ids, B, rules.repetition_penalty, rules.repetition_free))
    if rules.no_copy:
        guides.append(NoCopies(rules.no_copy, ids, B, V))
    matching = Matching(rules.pattern, B, length) if rules.pattern else None
    return [*guides, *([matching] if matching else [])], matching


def narrowed(logits: Floats, guides: Sequence[Guide]) -> Floats:
    """Return what guides leave of logits [B, V], in float64."""
    wanted = np.array(logits, np.float64)
    for guide in guides:
        guide.narrow(wanted)
    return wanted


def _ends(matching: Matching, p: Probabilities, rngs: Sequence[np.random.Generator], ended: Bools) -> Bools:
    """Draw which texts end where they match; those that cannot go on do."""
    ends, allowed = matching.matched & ~ended, matching.allowed()
    for b in np.flatnonzero(ends):
        ends[b] = not allowed[b].any() or rngs[int(b)].random() < p[b, ~allowed[b]].sum()
    return ends


# ---- text


class Ending:
    """Tells where a text ends, and holds back what may turn out to be the beginning of a stop.

    Attributes:
        over: whether it has ended.
    """

    def __init__(self, rules: Rules) -> None:
        self.over = False
        self._rules, self._held, self._lines = rules, "", 0

    def feed(self, character: str) -> str:
        """Take the next character; return what is certain to belong to the text."""
        if not (self._rules.stop or self._rules.lines):
            return character
        self._held += character
        self._lines += character == "\n"
        stop = max((stop for stop in self._rules.stop if self._held.endswith(stop)), key=len, default="")
        self.over = bool(stop) or 0 < self._rules.lines <= self._lines
        if self.over:
            return self.rest() if self._rules.keep_stop else self.rest().removesuffix(stop)
        certain = len(self._held) - max((_overlap(self._held, stop) for stop in self._rules.stop), default=0)
        text, self._held = self._held[:certain], self._held[certain:]
        return text

    def rest(self) -> str:
        """Return what was held back, since nothing more will come."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Return how long a beginning of `stop` ends a text."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


def generate(
    model: CharLSTM,
    vocab: Vocab,
    length: int,
    prime: str | Start,
    rng: np.random.Generator,
    choice: Choice = _AS_LEARNT,
    rules: Rules = _NO_RULES,
) -> Iterator[str]:
    """Write a text; it begins like a line.

    Args:
        model: predicts.
        vocab: its characters.
        length: characters to write at most, after the prime.
        prime: what the text starts with; it is read, not written. See `begin`, which may have read it before.
        rng: source of the choices.
        choice: how the next character is chosen; by default, as the model learnt.
        rules: what the text may be, and where it ends.

    Yields:
        One character at a time; more, where some were held back because they might have been a stop.

    Raises:
        UnknownCharactersError: the prime has characters that the model does not know.
        CharlstmError: the rules leave no way on.
    """
    characters, ending = vocab.decode(range(len(vocab))), Ending(rules)
    start = begin(model, vocab, prime) if isinstance(prime, str) else prime
    for step in write(model, vocab, start, length, [rng], choice, rules):
        if step.stuck[0]:
            raise CharlstmError(NO_WAY_ON)
        if step.ended[0]:
            break
        if text := ending.feed(characters[step.ids[0]]):
            yield text
        if ending.over:
            return
    if text := ending.rest():
        yield text


@dataclass
class Text:
    """A text that was written.

    Attributes:
        text: without the prime.
        chars: characters that were chosen, those of a stop included.
        log_probability: of these in nats, as the model sees it: without temperature, filters and guides.
        details: each of these, its probability, its rank (0 is the likeliest), the entropy of all in nats.
        stuck: whether the rules left no way on, and it is not what it should be.
    """

    text: str = ""
    chars: int = 0
    log_probability: float = 0.0
    details: list[tuple[str, float, int, float]] = field(default_factory=list)
    stuck: bool = False

    @property
    def mean(self) -> float:
        """The log-probability of a character, in nats; of none, minus infinity."""
        return self.log_probability / self.chars if self.chars else -math.inf


def write_texts(
    model: CharLSTM,
    vocab: Vocab,
    start: Start,
    length: int,
    rngs: Sequence[np.random.Generator],
    choice: Choice = _AS_LEARNT,
    rules: Rules = _NO_RULES,
    *,
    detailed: bool = False,
) -> list[Text]:
    """Write several texts side by side, each as it would be alone; see `write`."""
    characters = vocab.decode(range(len(vocab)))
    texts, endings, stuck = [Text() for _ in rngs], [Ending(rules) for _ in rngs], np.zeros(len(rngs), bool)
    for step in write(model, vocab, start, length, rngs, choice, rules):
        log_p, stuck = log_softmax(step.logits), step.stuck
        for b in np.flatnonzero(~step.ended):
            id, text = step.ids[b], texts[b]
            text.text += endings[b].feed(characters[id])
            text.chars += 1
            text.log_probability += float(log_p[b, id])
            if detailed:
                text.details.append((characters[id], *_details(log_p[b], id)))
            step.ended[b] = endings[b].over
    for text, ending, text_is_stuck in zip(texts, endings, stuck.tolist(), strict=True):
        text.text += ending.rest()
        text.stuck = text_is_stuck
    return texts


def _details(log_p: Floats, id: np.intp) -> tuple[float, int, float]:
    p = np.exp(log_p)
    return float(p[id]), int(np.count_nonzero(p > p[id])), float(-(p * log_p).sum())
