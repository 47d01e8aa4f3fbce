"""ids -> windows `x, y` [T, B]: B streams read side by side, y one character after x."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charlstm.errors import CharlstmError
from charlstm.vocab import Ids

IntArray = npt.NDArray[np.intp]


class Window(NamedTuple):
    """A piece of each stream, and what comes one character later."""

    x: IntArray  # [T, B]
    y: IntArray  # [T, B]

    def of(self, streams: slice) -> "Window":
        """Return the window of some of the streams (views)."""
        return Window(self.x[:, streams], self.y[:, streams])


@dataclass(frozen=True, eq=False)
class Batches:
    """A text cut into B streams of equal length, each read window by window, in parallel.

    Stream b starts where stream b - 1 ends, and a window where the window before ended, so that the state fits. What is
    left at the end of a stream, less than T characters, is not used.

    Attributes:
        ids: the text.
        batch_size: B.
        seq_len: T.
    """

    ids: Ids
    batch_size: int
    seq_len: int

    def __len__(self) -> int:
        """Return the number of windows in an epoch."""
        return self._stream_length // self.seq_len

    def __getitem__(self, index: int) -> Window:
        """Return a window; the index counts on through the epochs."""
        B, T = self.batch_size, self.seq_len
        starts = np.arange(B) * self._stream_length + index % len(self) * T  # [B]
        window = self.ids[starts + np.arange(T + 1)[:, None]].astype(np.intp)  # [T + 1, B]
        return Window(window[:-1], window[1:])

    @property
    def chars(self) -> int:
        """The number of characters in a window of all streams."""
        return self.batch_size * self.seq_len

    @property
    def _stream_length(self) -> int:
        return (len(self.ids) - 1) // self.batch_size


def fitted(ids: Ids, batch_size: int, seq_len: int) -> Batches:
    """Return batches of the size asked for, or smaller ones where the text is too short for a single window.

    Streams are halved first, down to one; then the window is shortened, also where a tenth of the text or more would
    not be used, because it fills no window.

    Raises:
        CharlstmError: there are not even two characters.
    """
    if len(ids) < 2:
        raise CharlstmError(f"{len(ids)} characters to train on are too few; two are the least")
    while batch_size > 1 and len(ids) < batch_size * seq_len + 1:
        batch_size //= 2
    stream = (len(ids) - 1) // batch_size
    seq_len = min(seq_len, stream)
    if stream % seq_len > stream / 10:
        seq_len = stream // (stream // seq_len + 1)
    return Batches(ids, batch_size, seq_len)
