"""ids -> windows `x, y` [T, B]: B streams read side by side, with y one character after x."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charlstm.arrays import Ids, IntArray
from charlstm.errors import CharlstmError
from charlstm.text.shuffle import ShuffledDocuments


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
    over. The last window of an epoch is shorter if the streams do not divide evenly. At most B - 1 characters at the
    end of the text are not used.

    With documents, the text is in another order in each epoch. At most B - 1 documents are cut by the end of a stream,
    others each time.
    """

    ids: Ids
    batch_size: int  # B
    seq_len: int  # T
    documents: ShuffledDocuments | None = None  # the same ids; None to read them as they are

    @property
    def windows_per_epoch(self) -> int:
        """Windows in one pass over the text."""
        return math.ceil(self._stream_length / self.seq_len)

    @property
    def chars_per_epoch(self) -> int:
        """Characters predicted in one pass over the text."""
        return self.batch_size * self._stream_length

    def chars_after(self, step: int) -> int:
        """Return the number of characters predicted in the first `step` windows."""
        epochs, windows = divmod(step, self.windows_per_epoch)
        return epochs * self.chars_per_epoch + windows * self.batch_size * self.seq_len

    def window(self, step: int) -> Window:
        """Return the window of a step, where steps count on through the epochs: [T, B], or fewer than T time steps."""
        epoch, window = divmod(step, self.windows_per_epoch)
        start = window * self.seq_len
        length = min(self.seq_len, self._stream_length - start) + 1
        firsts = np.arange(self.batch_size) * self._stream_length + start  # [B]
        if self.documents is None:
            ids = self.ids[firsts + np.arange(length)[:, None]]
        else:
            ids = self.documents.read(epoch, firsts, length)
        ids = ids.astype(np.intp)  # [T + 1, B]
        return Window(ids[:-1], ids[1:])

    @property
    def _stream_length(self) -> int:
        return (len(self.ids) - 1) // self.batch_size


def fit_batches(ids: Ids, batch_size: int, seq_len: int, documents: ShuffledDocuments | None = None) -> Batches:
    """Return batches of the size requested, or smaller ones if the text is too short for a single window.

    The number of streams is halved first, down to one. The windows of an epoch are then made nearly equal in length, so
    that the last one is not a fragment.

    Raises:
        CharlstmError: there are fewer than two characters.
    """
    if len(ids) < 2:
        raise CharlstmError(f"need at least 2 training characters, got {len(ids)}")
    while batch_size > 1 and len(ids) < batch_size * seq_len + 1:
        batch_size //= 2
    stream = (len(ids) - 1) // batch_size
    windows = math.ceil(stream / seq_len)
    return Batches(ids, batch_size, math.ceil(stream / windows), documents)
