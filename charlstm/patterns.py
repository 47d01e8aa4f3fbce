"""Regular expressions as automata over a vocabulary: which characters can come next, and how far it is to a match."""

import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm.batches import IntArray
from charlstm.errors import CharlstmError, UsageError
from charlstm.vocab import Vocab

Bools = npt.NDArray[np.bool_]

_NEVER = 1 << 40  # characters to a match that there is not
_MOST_CELLS = 10_000_000
_MOST_PLACES = 20_000  # of an expression; each repetition that is counted has places of its own
_CATEGORIES = {
    ops.CATEGORY_DIGIT: r"\d",
    ops.CATEGORY_NOT_DIGIT: r"\D",
    ops.CATEGORY_SPACE: r"\s",
    ops.CATEGORY_NOT_SPACE: r"\S",
    ops.CATEGORY_WORD: r"\w",
    ops.CATEGORY_NOT_WORD: r"\W",
}
_REFUSED = {
    ops.AT: "anchors (^, $, \\b)",
    ops.ASSERT: "looks ahead or behind",
    ops.ASSERT_NOT: "looks ahead or behind",
    ops.GROUPREF: "references",
    ops.GROUPREF_EXISTS: "references",
    ops.POSSESSIVE_REPEAT: "possessive repetitions",
    ops.ATOMIC_GROUP: "atomic groups",
}


class Automaton:
    """What a regular expression matches, over a vocabulary.

    A state is a set of places in the expression that a text can have reached; 0 is the first. States are found as they
    are needed, since there can be very many, and how far it is to a match is known from the places.

    Args:
        expression: as Python's `re` understands it, without anchors, references, looks around, what never
            backtracks, and flags but a, s and x.
        vocab: the characters there are.

    Raises:
        UsageError: the expression is none of these, or no text of the vocabulary matches it.
    """

    def __init__(self, expression: str, vocab: Vocab) -> None:
        self._characters = vocab.decode(range(len(vocab)))
        self._free: list[list[int]] = [[]]  # places to which one can go on from each without a character
        self._steps: list[list[tuple[Bools, int]]] = [[]]  # and with one of some characters
        self._masks: dict[bytes, Bools] = {}  # of which each is kept once
        try:
            with warnings.catch_warnings(action="ignore"):  # of forms that may mean something else one day
                re.compile(expression)
                parsed = parser.parse(expression)
            self._flags = parsed.state.flags
            if self._flags & ~(re.ASCII | re.DOTALL | re.UNICODE | re.VERBOSE):
                raise _NotSupportedError("flags are not supported, but for a, s and x")
            last = self._add(parsed, 0, "" if self._flags & re.DOTALL else "\n")
        except (re.error, ValueError, OverflowError, RecursionError, _NotSupportedError) as error:
            reason = " ".join(str(error).split()) or "too deeply nested"
            raise UsageError(f"--pattern {_shortened(expression)}: {reason}") from None
        self._distances = self._distances_to(last)
        self._cells = 0  # what is kept of all states
        self._places: list[frozenset[int]] = []
        self._numbers: dict[frozenset[int], int] = {}
        self._after: dict[int, IntArray] = {}
        self._missing: list[int] = []
        self._missing_after: dict[int, IntArray] = {}
        self._state(self._closure([0]))
        if self._missing[0] >= _NEVER:
            raise UsageError(f"--pattern {_shortened(expression)}: no text of the model's characters matches it")

    def missing(self, state: int) -> int:
        """Return how many characters it takes at least from a state to a match; 0 where it is one."""
        return self._missing[state]

    def after(self, state: int) -> IntArray:
        """Return the state after each character [V]; -1 where no match has it."""
        if state not in self._after:
            steps = [step for place in self._places[state] for step in self._steps[place]]
            after = np.full(len(self._characters), -1, np.intp)
            if steps:
                taken = np.array([mask for mask, _ in steps])  # [steps, V]
                kinds, kind_of = np.unique(taken, axis=1, return_inverse=True)
                targets = [target for _, target in steps]
                numbers = [self._state(self._closure(np.compress(kind, targets).tolist())) for kind in kinds.T]
                after[...] = np.array(numbers)[kind_of]
            self._after[state] = after
        return self._after[state]

    def missing_after(self, state: int) -> IntArray:
        """Return how many characters it takes at least from the state after each character to a match [V]."""
        if state not in self._missing_after:
            after = self.after(state).tolist()  # which may find new states
            self._missing_after[state] = np.array([self._missing[k] if k >= 0 else _NEVER for k in after])
        return self._missing_after[state]

    def _state(self, places: frozenset[int]) -> int:
        """Return the number of a state; -1 where there is no way to a match."""
        if places not in self._numbers:
            missing = min((self._distances[place] for place in places), default=_NEVER)
            if missing >= _NEVER and self._places:
                self._numbers[places] = -1
            else:
                self._cells += len(places) + len(self._characters)
                if self._cells > _MOST_CELLS:
                    raise CharlstmError("--pattern: too many texts match it in too many ways for the memory there is")
                self._numbers[places] = len(self._places)
                self._places.append(places)
                self._missing.append(missing)
        return self._numbers[places]

    def _closure(self, places: Iterable[int]) -> frozenset[int]:
        reached, queue = set(places), list(places)
        while queue:
            new = [place for place in self._free[queue.pop()] if place not in reached]
            reached.update(new)
            queue += new
        return frozenset(reached)

    def _distances_to(self, last: int) -> list[int]:
        """Return for each place how many characters it takes at least to the last."""
        free: list[list[int]] = [[] for _ in self._free]
        steps: list[list[int]] = [[] for _ in self._free]
        for place, (others, some) in enumerate(zip(self._free, self._steps, strict=True)):
            for other in others:
                free[other].append(place)
            for mask, other in some:
                if mask.any():
                    steps[other].append(place)
        distances = [_NEVER] * len(self._free)
        distances[last] = 0
        queue = deque([last])
        while queue:
            place = queue.popleft()
            for costs, befores in ((0, free), (1, steps)):
                for before in befores[place]:
                    if distances[place] + costs < distances[before]:
                        distances[before] = distances[place] + costs
                        (queue.append if costs else queue.appendleft)(before)
        return distances

    # ---- from the expression to places

    def _add(self, sequence: Any, place: int, any_but: str) -> int:
        """Add the places of a part of an expression after one; return the last."""
        for op, argument in sequence:
            place = self._add_item(op, argument, place, any_but)
        return place

    def _add_item(self, op: Any, argument: Any, place: int, any_but: str) -> int:
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            least, most, repeated = argument
            return self._add_repetition(least, most, repeated, place, any_but)
        if op is ops.BRANCH:
            end = self._new()
            for branch in argument[1]:
                self._free[self._add(branch, self._new(place), any_but)].append(end)
            return end
        if op is ops.SUBPATTERN:
            _, added, removed, sequence = argument
            if (added | removed) & ~re.DOTALL:
                raise _NotSupportedError("flags are not supported, but for (?s:...)")
            any_but = "" if added & re.DOTALL else "\n" if removed & re.DOTALL else any_but
            return self._add(sequence, place, any_but)
        target = self._new()
        self._steps[place].append((self._mask(_predicate(op, argument, any_but, self._flags & re.ASCII)), target))
        return target

    def _add_repetition(self, least: int, most: int, sequence: Any, place: int, any_but: str) -> int:
        for _ in range(least):
            before, place = place, self._add(sequence, place, any_but)
            if place == before:  # the part is empty
                return place
        if most is ops.MAXREPEAT:
            start = self._new(place)
            self._free[self._add(sequence, start, any_but)].append(start)
            return self._new(start)
        end = self._new(place)
        for _ in range(most - least):
            before, place = place, self._add(sequence, place, any_but)
            self._free[place].append(end)
            if place == before:
                return end
        return end

    def _new(self, before: int | None = None) -> int:
        if len(self._free) == _MOST_PLACES:
            raise _NotSupportedError("it is too long")
        self._free.append([])
        self._steps.append([])
        if before is not None:
            self._free[before].append(len(self._free) - 1)
        return len(self._free) - 1

    def _mask(self, holds: Callable[[str], bool]) -> Bools:
        mask = np.array([holds(character) for character in self._characters])
        return self._masks.setdefault(mask.tobytes(), mask)


class _NotSupportedError(Exception):
    """An expression has what no automaton can follow."""


def _predicate(op: Any, argument: Any, any_but: str, flags: int) -> Callable[[str], bool]:
    """Return what says whether a character is one that an item of an expression takes."""
    if op is ops.LITERAL:
        return lambda character: ord(character) == argument
    if op is ops.NOT_LITERAL:
        return lambda character: ord(character) != argument
    if op is ops.ANY:
        return lambda character: character != any_but
    if op is ops.RANGE:
        return lambda character: argument[0] <= ord(character) <= argument[1]
    if op is ops.CATEGORY:
        category = re.compile(_CATEGORIES[argument], flags)
        return lambda character: category.fullmatch(character) is not None
    if op is ops.IN:
        negated = argument[0][0] is ops.NEGATE
        parts = [_predicate(part_op, part, any_but, flags) for part_op, part in argument[negated:]]
        return lambda character: any(part(character) for part in parts) != negated
    raise _NotSupportedError(f"{_REFUSED.get(op, str(op))} are not supported")


def _shortened(expression: str) -> str:
    return repr(expression if len(expression) <= 60 else expression[:57] + "...")
