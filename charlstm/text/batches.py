"""ids -> windows `x, y` [T, B]: B streams read side by side, with y one character after x."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charlstm.arrays import Ids, IntArray
from charlstm.errors import CharlstmError


class Window(NamedTuple):
    """A piece of each stream, and the same piece one character later."""

    x: IntArray  # [T, B]
    y: IntArray  # [T, B]

    def streams(self, which: slice) -> "Window":
        """Return the window of some of the streams (views)."""
        return Window(self.x[:, which], self.y[:, which])


@dataclass(frozen=True, eq=False)
class Batches:
    """A text cut into B streams of equal length, which are read window by window, in parallel.

    Stream b starts where stream b - 1 ends, and each window where the previous one ends, so that the state carries
    over. The end of each stream, less than T characters, is not used.
    """

    ids: Ids
    batch_size: int  # B
    seq_len: int  # T

    @property
    def windows_per_epoch(self) -> int:
        """Windows in one pass over the text."""
        return self._stream_length // self.seq_len

    @property
    def chars_per_window(self) -> int:
        """Characters in a window of all streams: T B."""
        return self.batch_size * self.seq_len

    def window(self, step: int) -> Window:
        """Return the window of a step, where steps count on through the epochs."""
        B, T = self.batch_size, self.seq_len
        starts = np.arange(B) * self._stream_length + step % self.windows_per_epoch * T  # [B]
        ids = self.ids[starts + np.arange(T + 1)[:, None]].astype(np.intp)  # [T + 1, B]
        return Window(ids[:-1], ids[1:])

    @property
    def _stream_length(self) -> int:
        return (len(self.ids) - 1) // self.batch_size


def fit_batches(ids: Ids, batch_size: int, seq_len: int) -> Batches:
    """Return batches of the size requested, or smaller ones if the text is too short for a single window.

    The number of streams is halved first, down to one. Then the window is shortened, also where a tenth of the text or
    more would be left over.

    Raises:
        CharlstmError: there are fewer than two characters.
    """
    if len(ids) < 2:
        raise CharlstmError(f"need at least 2 training characters, got {len(ids)}")
    while batch_size > 1 and len(ids) < batch_size * seq_len + 1:
        batch_size //= 2
    stream = (len(ids) - 1) // batch_size
    seq_len = min(seq_len, stream)
    if stream % seq_len > stream / 10:
        seq_len = stream // (stream // seq_len + 1)
    return Batches(ids, batch_size, seq_len)
