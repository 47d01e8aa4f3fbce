"""Constraints on what a text may continue with: fewer repeats, no copies, only what matches a pattern.

A constraint follows B texts. It masks the logits [B, V] of their next characters and then reads the ids [B] that were
chosen.
"""

from typing import Protocol

import numpy as np

from charlstm.arrays import Bools, Floats, Ids, IntArray
from charlstm.errors import UsageError
from charlstm.sampling.regex import Automaton
from charlstm.text.overlap import NgramIndex

_REMEMBERED = 2048  # characters in which repeats are found


class Constraint(Protocol):
    """See the module."""

    def mask_logits(self, logits: Floats) -> None:
        """Lower logits [B, V] in place, to minus infinity where a character is not allowed."""

    def read(self, ids: IntArray) -> None:
        """Read the ids [B] that were chosen."""

    def select(self, texts: IntArray) -> None:
        """Continue with the texts of these indices, which may repeat."""


class RepetitionPenalty:
    """Makes characters less likely that would extend a repeat of an earlier part of the text.

    Where the last n characters occur earlier in the text, followed by c, the logit of c loses `penalty` times
    `n + 1 - free` nats. Repeated letters and words cost nothing, only long repeats do. After p-e-w's DRY sampler, whose
    penalty grows exponentially.

    Args:
        prefix: ids before the texts.
        batch_size: B.
        penalty: nats for each character beyond `free`.
        free: length of repeats that cost nothing.
    """

    def __init__(self, prefix: Ids, batch_size: int, penalty: float, free: int) -> None:
        self._penalty, self._free = penalty, free
        self._text = np.zeros((1, 0), np.intp)  # [B, n]
        self._repeats = np.zeros((1, 0), np.intp)  # length of the text's end that also precedes each position [B, n]
        for id in prefix[-_REMEMBERED:]:
            self.read(np.array([id], np.intp))
        self.select(np.zeros(batch_size, np.intp))

    def mask_logits(self, logits: Floats) -> None:
        """See `Constraint`."""
        excess = self._repeats + 1 - self._free  # [B, n]
        streams, positions = np.nonzero(excess > 0)
        largest = np.zeros(logits.shape, np.intp)
        np.maximum.at(largest, (streams, self._text[streams, positions]), excess[streams, positions])
        logits -= self._penalty * largest

    def read(self, ids: IntArray) -> None:
        """See `Constraint`."""
        longer = np.where(self._text == ids[:, None], self._repeats + 1, 0)
        self._repeats = np.concatenate([np.zeros((len(ids), 1), np.intp), longer], axis=1)[:, -_REMEMBERED:]
        self._text = np.concatenate([self._text, ids[:, None]], axis=1)[:, -_REMEMBERED:]

    def select(self, texts: IntArray) -> None:
        """See `Constraint`."""
        self._text, self._repeats = self._text[texts], self._repeats[texts]


class NoCopy:
    """Forbids characters that would complete an n-gram of a given text.

    Args:
        index: of that text.
        prefix: ids before the texts.
        batch_size: B.
        boundary_id: of documents, which may end as those of the text do; None without.
    """

    def __init__(self, index: NgramIndex, prefix: Ids, batch_size: int, boundary_id: int | None = None) -> None:
        self._index, self._boundary_id = index, boundary_id
        last = prefix[max(len(prefix) - index.n + 1, 0) :].astype(np.intp)
        self._context = np.tile(last, (batch_size, 1))  # the last n - 1 characters, or fewer at the start [B, n - 1]

    def mask_logits(self, logits: Floats) -> None:
        """See `Constraint`."""
        if self._context.shape[1] == self._index.n - 1:
            for b, followers in enumerate(self._index.followers(self._context)):
                followers = followers[followers < logits.shape[1]]  # V marks an unknown character
                logits[b, followers[followers != self._boundary_id]] = -np.inf

    def read(self, ids: IntArray) -> None:
        """See `Constraint`."""
        longer = np.concatenate([self._context, ids[:, None]], axis=1)
        self._context = longer[:, max(longer.shape[1] - self._index.n + 1, 0) :]

    def select(self, texts: IntArray) -> None:
        """See `Constraint`."""
        self._context = self._context[texts]


class MatchPattern:
    """Keeps each text on the way to a match of a pattern that is no longer than the text may be.

    Args:
        automaton: of the pattern.
        batch_size: B.
        length: characters at most.

    Raises:
        UsageError: the shortest match is longer.
    """

    def __init__(self, automaton: Automaton, batch_size: int, length: int) -> None:
        if automaton.distance(0) > length:
            raise UsageError(
                f"the shortest match has {automaton.distance(0)} characters, but length is {length}", "pattern"
            )
        self._automaton, self._left, self._states = automaton, length, [0] * batch_size

    @property
    def matched(self) -> Bools:
        """Which texts match as they are [B]."""
        return np.array([self._automaton.distance(state) == 0 for state in self._states])

    def allowed(self) -> Bools:
        """Return the characters after which each text can still match in time [B, V]."""
        return np.array([self._automaton.distances_after(state) < self._left for state in self._states])

    def mask_logits(self, logits: Floats) -> None:
        """See `Constraint`."""
        logits[~self.allowed()] = -np.inf

    def read(self, ids: IntArray) -> None:
        """See `Constraint`. A character that is not allowed belongs to a text that has ended, and changes nothing."""
        after = [int(self._automaton.after(state)[id]) for state, id in zip(self._states, ids, strict=True)]
        self._states = [new if new >= 0 else old for new, old in zip(after, self._states, strict=True)]
        self._left -= 1

    def select(self, texts: IntArray) -> None:
        """See `Constraint`."""
        self._states = [self._states[text] for text in texts]
