"""Regular expressions as automata over a vocabulary: the characters that can come next, and the distance to a match.

Expressions are parsed and single characters are matched by the private modules of Python's `re`, in this module only.
"""

import re
import warnings
from collections import deque
from collections.abc import Iterable
from re import _compiler as compiler  # type: ignore[attr-defined]
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np

from charlstm.arrays import Bools, IntArray
from charlstm.errors import CharlstmError, UsageError, quote
from charlstm.text.vocab import Vocab

_NEVER = 1 << 40  # distance where there is no match
_MAX_CELLS = 10_000_000
_MAX_NODES = 20_000  # of an expression; counted repeats are written out
_REFUSED = {
    ops.AT: "anchors (^, $, \\b)",
    ops.ASSERT: "lookahead and lookbehind",
    ops.ASSERT_NOT: "lookahead and lookbehind",
    ops.GROUPREF: "backreferences",
    ops.GROUPREF_EXISTS: "backreferences",
    ops.POSSESSIVE_REPEAT: "possessive quantifiers",
    ops.ATOMIC_GROUP: "atomic groups",
}


class Automaton:
    """A deterministic automaton over a vocabulary, built lazily from a nondeterministic one.

    A state is a set of nodes in the expression that a text can have reached; 0 is the first. States are numbered when
    they are first reached, since there can be very many. The distance to a match follows from the nodes.

    Args:
        expression: in the syntax of Python's `re`, without anchors, references, lookaround, possessive or atomic
            parts, and flags other than a, s and x.
        vocab: the characters of the texts.

    Raises:
        UsageError: the expression is invalid or not supported, or no text of the vocabulary matches it.
    """

    def __init__(self, expression: str, vocab: Vocab) -> None:
        self._characters = vocab.symbols  # no character matches the boundary
        self._unknown_id = vocab.unknown_id
        self._free: list[list[int]] = [[]]  # transitions from each node without a character
        self._steps: list[list[tuple[Bools, int]]] = [[]]  # and with one character of a mask
        self._masks: dict[bytes, Bools] = {}  # each is stored once
        try:
            with warnings.catch_warnings(action="ignore"):  # about syntax that may change its meaning
                re.compile(expression)
                parsed = parser.parse(expression)
                self._parser_state = parsed.state
            if parsed.state.flags & ~(re.ASCII | re.DOTALL | re.UNICODE | re.VERBOSE):
                raise _NotSupportedError("flags other than a, s and x are not supported")
            last = self._add(parsed, 0, parsed.state.flags)
        except (re.error, ValueError, OverflowError, RecursionError, _NotSupportedError) as error:
            reason = " ".join(str(error).split())
            if isinstance(error, RecursionError):
                reason = "too deeply nested"
            elif "set_int_max_str_digits" in reason:
                reason = "a repeat count is too large"
            raise UsageError(f"{quote(expression)}: {reason}", "pattern") from None
        self._distances = self._distances_to(last)
        self._cells = 0  # memory of all states
        self._nodes: list[frozenset[int]] = []
        self._numbers: dict[frozenset[int], int] = {}
        self._after: dict[int, IntArray] = {}
        self._distance_of: list[int] = []
        self._distances_after: dict[int, IntArray] = {}
        self._state(self._closure([0]))
        if self._distance_of[0] >= _NEVER:
            raise UsageError(f"{quote(expression)}: no text in the model's vocabulary can match it", "pattern")

    def distance(self, state: int) -> int:
        """Return the length of the shortest continuation from a state to a match; 0 if it is one."""
        return self._distance_of[state]

    def after(self, state: int) -> IntArray:
        """Return the state after each character [V]; -1 where no match is possible."""
        if state not in self._after:
            steps = [step for node in self._nodes[state] for step in self._steps[node]]
            after = np.full(len(self._characters), -1, np.intp)
            if steps:
                taken = np.array([mask for mask, _ in steps])  # [steps, V]
                kinds, kind_of = np.unique(taken, axis=1, return_inverse=True)
                targets = [target for _, target in steps]
                numbers = [self._state(self._closure(np.compress(kind, targets).tolist())) for kind in kinds.T]
                after[...] = np.array(numbers)[kind_of]
            self._after[state] = after
        return self._after[state]

    def distances_after(self, state: int) -> IntArray:
        """Return the distance to a match after each character [V]."""
        if state not in self._distances_after:
            after = self.after(state).tolist()  # may number new states
            self._distances_after[state] = np.array([self._distance_of[k] if k >= 0 else _NEVER for k in after])
        return self._distances_after[state]

    def _state(self, nodes: frozenset[int]) -> int:
        """Return the number of a state; -1 if no match is possible."""
        if nodes not in self._numbers:
            distance = min((self._distances[node] for node in nodes), default=_NEVER)
            if distance >= _NEVER and self._nodes:
                self._numbers[nodes] = -1
            else:
                self._cells += len(nodes) + len(self._characters)
                if self._cells > _MAX_CELLS:
                    raise CharlstmError("the pattern can match in too many ways; simplify it")
                self._numbers[nodes] = len(self._nodes)
                self._nodes.append(nodes)
                self._distance_of.append(distance)
        return self._numbers[nodes]

    def _closure(self, nodes: Iterable[int]) -> frozenset[int]:
        reached, queue = set(nodes), list(nodes)
        while queue:
            new = [node for node in self._free[queue.pop()] if node not in reached]
            reached.update(new)
            queue += new
        return frozenset(reached)

    def _distances_to(self, last: int) -> list[int]:
        """Return the distance of each node to the last."""
        free: list[list[int]] = [[] for _ in self._free]
        steps: list[list[int]] = [[] for _ in self._free]
        for node, (others, some) in enumerate(zip(self._free, self._steps, strict=True)):
            for other in others:
                free[other].append(node)
            for mask, other in some:
                if mask.any():
                    steps[other].append(node)
        distances = [_NEVER] * len(self._free)
        distances[last] = 0
        queue = deque([last])
        while queue:
            node = queue.popleft()
            for costs, befores in ((0, free), (1, steps)):
                for before in befores[node]:
                    if distances[node] + costs < distances[before]:
                        distances[before] = distances[node] + costs
                        (queue.append if costs else queue.appendleft)(before)
        return distances

    # ---- from the expression to nodes

    def _add(self, sequence: Any, node: int, flags: int) -> int:
        """Add the nodes of a part of an expression after one; return the last."""
        for op, argument in sequence:
            node = self._add_item(op, argument, node, flags)
        return node

    def _add_item(self, op: Any, argument: Any, node: int, flags: int) -> int:
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            least, most, repeated = argument
            return self._add_repetition(least, most, repeated, node, flags)
        if op is ops.BRANCH:
            end = self._new()
            for branch in argument[1]:
                self._free[self._add(branch, self._new(node), flags)].append(end)
            return end
        if op is ops.SUBPATTERN:
            _, added, removed, sequence = argument
            if (added | removed) & ~re.DOTALL:
                raise _NotSupportedError("flags other than (?s:...) are not supported")
            flags = (flags | added) & ~removed
            return self._add(sequence, node, flags)
        if op in _REFUSED:
            raise _NotSupportedError(f"{_REFUSED[op]} are not supported")
        target = self._new()
        item = parser.SubPattern(self._parser_state, [(op, argument)])
        self._steps[node].append((self._mask(compiler.compile(item, flags)), target))
        return target

    def _add_repetition(self, least: int, most: int, sequence: Any, node: int, flags: int) -> int:
        for _ in range(least):
            before, node = node, self._add(sequence, node, flags)
            if node == before:  # the part is empty
                return node
        if most is ops.MAXREPEAT:
            start = self._new(node)
            self._free[self._add(sequence, start, flags)].append(start)
            return self._new(start)
        end = self._new(node)
        for _ in range(most - least):
            before, node = node, self._add(sequence, node, flags)
            self._free[node].append(end)
            if node == before:
                return end
        return end

    def _new(self, before: int | None = None) -> int:
        if len(self._free) == _MAX_NODES:
            raise _NotSupportedError("the expression is too long")
        self._free.append([])
        self._steps.append([])
        if before is not None:
            self._free[before].append(len(self._free) - 1)
        return len(self._free) - 1

    def _mask(self, item: re.Pattern[str]) -> Bools:
        """Return which characters an item of one character matches [V]; never the unknown one."""
        mask = np.array([item.fullmatch(character) is not None for character in self._characters])
        if self._unknown_id is not None:
            mask[self._unknown_id] = False
        return self._masks.setdefault(mask.tobytes(), mask)


class _NotSupportedError(Exception):
    """An expression has a part that no automaton can represent."""
