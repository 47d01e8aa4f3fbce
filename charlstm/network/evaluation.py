"""The loss of a text, as a mean or for each character."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from charlstm.arrays import Floats, Ids, IntArray
from charlstm.network.char_lstm import CharLSTM, State
from charlstm.network.ranks import Parallel
from charlstm.text.batches import Window

MAX_STREAMS = 64
_WARM_UP = 128  # characters
_WINDOW = 64
_Result = TypeVar("_Result")


def _ignore(count: int) -> None:
    """Show no progress."""


def evaluate(network: CharLSTM | Parallel, ids: Ids, streams: int = 1, length: int | None = None) -> float:
    """Return the mean loss of a text in nats per character.

    With one stream, the state starts at zero and is carried over the whole text: this defines the loss of a text. More
    streams read as many parts of it in parallel, each from 128 characters before its part, where the state is zero
    (or from as many as it reads). That is faster, and the loss agrees to within 1e-3 for the streams of `eval_streams`.

    Args:
        network: predicts.
        ids: the text, at least two characters. The first only starts the state.
        streams: parts read in parallel.
        length: characters read of each part, if not all: a sample of the text, spread evenly over it.
    """
    total, chars = 0.0, 0
    for at, loss in _read_in_parts(network.loss, network.zero_state, ids, streams, length):
        total, chars = total + loss * at.size, chars + at.size
    return total / chars


def char_losses(network: CharLSTM, ids: Ids, streams: int = 1, progress: Callable[[int], None] = _ignore) -> Floats:
    """Return the loss of each character of a text but the first, in nats [n - 1]; see `evaluate`.

    Args:
        network: predicts.
        ids: the text.
        streams: parts read in parallel.
        progress: called with the number of characters read so far.
    """
    nats, count = np.empty(len(ids) - 1, np.float32), 0
    for at, losses in _read_in_parts(network.char_losses, network.zero_state, ids, streams):
        nats[at] = losses
        count += at.size
        progress(count)
    return nats


def adaptive_losses(
    network: CharLSTM,
    ids: Ids,
    progress: Callable[[int], None] = _ignore,
    *,
    window: int = 32,
    learning_rate: float = 0.5,
) -> Floats:
    """Return the loss of each character of a text but the first, in nats [n - 1], adapting the weights to the text.

    After each window, a step of gradient descent on its loss changes the weights for the rest of the text: dynamic
    evaluation (Krause, Kahembwe, Murray and Renals, "Dynamic evaluation of neural sequence models", 2018). No loss
    depends on later characters. The network itself is not changed.

    Args:
        network: predicts.
        ids: the text.
        progress: called with the number of characters read so far.
        window: characters per step.
        learning_rate: of the steps. docs/sampling.md has the measurements behind both.
    """
    network = network.copy()
    state, nats, last = network.zero_state(1), [], len(ids) - 1
    for t in range(0, last, window):
        inputs = _window(ids, np.arange(t, min(t + window, last))[:, None])
        losses, after = network.char_losses(inputs, state)
        nats.append(losses[:, 0].copy())
        _, grads, _ = network.loss_and_grads(inputs, state)
        for name, param in network.params.items():
            param -= learning_rate * grads[name]
        state = after
        progress(min(t + window, last))
    return np.concatenate(nats)


def eval_streams(ids: Ids) -> int:
    """Return the number of streams that suits a text: few where it is short, so that they reread little."""
    return min(max(len(ids) // (8 * _WARM_UP), 1), MAX_STREAMS)


def _read_in_parts(
    read: Callable[[Window, State], tuple[_Result, State]],
    zero_state: Callable[[int], State],
    ids: Ids,
    streams: int,
    length: int | None = None,
) -> Iterator[tuple[IntArray, _Result]]:
    """Read a text window by window; yield the indices of the predictions and the result of `read`."""
    n = len(ids) - 1
    spacing = n // streams
    length = spacing if length is None else min(length, spacing)
    starts = np.arange(streams) * spacing  # [B]
    state = zero_state(streams)
    if streams > 1:
        before = np.arange(-min(_WARM_UP, length), 0)[:, None]  # [T, 1]
        _, warm = read(_window(ids, starts + before), state)
        begins = np.arange(streams)[:, None] > 0  # [B, 1]: nothing precedes the first part
        state = State(warm.h * begins, warm.c * begins)
    for t in range(0, length, _WINDOW):
        at = starts + np.arange(t, min(t + _WINDOW, length))[:, None]  # [T, B]
        result, state = read(_window(ids, at), state)
        yield at, result
    if length == spacing and spacing * streams < n:  # the last stream continues alone
        at = np.arange(spacing * streams, n)[:, None]  # [T, 1]
        yield at, read(_window(ids, at), state.streams(slice(-1, None)))[0]


def _window(ids: Ids, at: IntArray) -> Window:
    return Window(ids[np.maximum(at, 0)].astype(np.intp), ids[np.maximum(at, 0) + 1].astype(np.intp))
