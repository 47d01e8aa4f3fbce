"""What a text may go on with, by what it has become so far: no loops, no copies, only what matches an expression.

A guide follows B texts: `narrow` changes the logits [B, V] of their next characters in place, to less or to minus
infinity, and `read` takes the ids [B] that were chosen.
"""

from collections import deque
from typing import Protocol

import numpy as np
import numpy.typing as npt

from charlstm.batches import IntArray
from charlstm.copying import BASE, INVERSE, CopyIndex
from charlstm.errors import UsageError
from charlstm.patterns import Automaton
from charlstm.vocab import Ids
from charlstm.workspace import Floats

Bools = npt.NDArray[np.bool_]

_REMEMBERED = 2048  # characters in which repetitions are looked for


class Guide(Protocol):
    """See above."""

    def narrow(self, logits: Floats) -> None:
        """Change logits [B, V] in place."""

    def read(self, ids: IntArray) -> None:
        """Take the ids [B] that were chosen."""

    def select(self, texts: IntArray) -> None:
        """Go on with some of the texts, each as often as it is named."""


class LessRepetition:
    """Makes characters less likely that would prolong a repetition of what stands in the text already.

    Where the last n characters stand in the text before, followed by c, c loses `penalty` times `n + 1 - free` nats.
    Letters as such may come again, and so may words: only long runs cost. After p-e-w's DRY sampler, whose penalty
    grows exponentially.

    Args:
        start: ids that stand before the texts.
        batch_size: B.
        penalty: nats for each character beyond `free`.
        free: so long a run may be repeated at no cost.
    """

    def __init__(self, start: Ids, batch_size: int, penalty: float, free: int) -> None:
        self._penalty, self._free = penalty, free
        self._text = np.zeros((1, 0), np.intp)  # [B, n]
        self._runs = np.zeros((1, 0), np.intp)  # how many characters before each place are also the last ones
        for id in start[-_REMEMBERED:]:
            self.read(np.array([id], np.intp))
        self.select(np.zeros(batch_size, np.intp))

    def narrow(self, logits: Floats) -> None:
        """See `Guide`."""
        excess = self._runs + 1 - self._free  # [B, n]
        streams, places = np.nonzero(excess > 0)
        most = np.zeros(logits.shape, np.intp)
        np.maximum.at(most, (streams, self._text[streams, places]), excess[streams, places])
        logits -= self._penalty * most

    def read(self, ids: IntArray) -> None:
        """See `Guide`."""
        longer = np.where(self._text == ids[:, None], self._runs + 1, 0)
        self._runs = np.concatenate([np.zeros((len(ids), 1), np.intp), longer], axis=1)[:, -_REMEMBERED:]
        self._text = np.concatenate([self._text, ids[:, None]], axis=1)[:, -_REMEMBERED:]

    def select(self, texts: IntArray) -> None:
        """See `Guide`."""
        self._text, self._runs = self._text[texts], self._runs[texts]


# ---- no copies


class NoCopies:
    """Forbids characters that would complete a run of n characters that stands in a text.

    Args:
        index: of that text.
        start: ids that stand before the texts.
        batch_size: B.
        vocab_size: V.
    """

    def __init__(self, index: CopyIndex, start: Ids, batch_size: int, vocab_size: int) -> None:
        self._index = index
        self._digits = np.arange(1, vocab_size + 1, dtype=np.uint64)
        self._weights = np.array([pow(INVERSE, k, 1 << 64) for k in range(1, index.n + 1)], np.uint64)  # see `Runs`
        self._last: deque[IntArray] = deque(maxlen=index.n - 1)
        self._hashes = np.zeros(batch_size, np.uint64)  # of these
        for id in start[max(len(start) - index.n + 1, 0) :]:
            self.read(np.full(batch_size, id, np.intp))

    def narrow(self, logits: Floats) -> None:
        """See `Guide`."""
        if len(self._last) < self._index.n - 1:
            return
        copied = self._index.found(self._hashes[:, None] + self._digits * self._weights[-1])  # [B, V]
        np.copyto(logits, -np.inf, where=copied)

    def read(self, ids: IntArray) -> None:
        """See `Guide`."""
        if self._index.n == 1:
            return
        if len(self._last) == self._index.n - 1:
            self._hashes = (self._hashes - self._digits[self._last[0]] * self._weights[0]) * np.uint64(BASE)
            self._last.popleft()
        self._hashes = self._hashes + self._digits[ids] * self._weights[len(self._last)]
        self._last.append(ids)

    def select(self, texts: IntArray) -> None:
        """See `Guide`."""
        self._hashes = self._hashes[texts]
        self._last = deque((ids[texts] for ids in self._last), self._last.maxlen)


# ---- expressions


class Matching:
    """Lets each text become one that an expression matches, of no more than so many characters.

    Args:
        automaton: of the expression.
        batch_size: B.
        length: characters at most.

    Raises:
        UsageError: what matches is longer.
    """

    def __init__(self, automaton: Automaton, batch_size: int, length: int) -> None:
        if automaton.missing(0) > length:
            raise UsageError(
                f"--pattern: what matches has {automaton.missing(0)} characters at least, but --length is {length}"
            )
        self._automaton, self._left, self._states = automaton, length, [0] * batch_size

    @property
    def matched(self) -> Bools:
        """Which texts match as they are, [B]."""
        return np.array([self._automaton.missing(state) == 0 for state in self._states])

    def allowed(self) -> Bools:
        """Return what each text can go on with so that it can still match in time, [B, V]."""
        return np.array([self._automaton.missing_after(state) < self._left for state in self._states])

    def narrow(self, logits: Floats) -> None:
        """See `Guide`."""
        logits[~self.allowed()] = -np.inf

    def read(self, ids: IntArray) -> None:
        """See `Guide`; what cannot come leaves a text where it is, since it has ended."""
        after = [int(self._automaton.after(state)[id]) for state, id in zip(self._states, ids, strict=True)]
        self._states = [new if new >= 0 else old for new, old in zip(after, self._states, strict=True)]
        self._left -= 1

    def select(self, texts: IntArray) -> None:
        """See `Guide`."""
        self._states = [self._states[text] for text in texts]
