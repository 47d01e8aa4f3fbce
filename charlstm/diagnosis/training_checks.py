"""Checks of what surrounds the network: windows, updates, and whether it can overfit a short text."""

import time
from itertools import pairwise

import numpy as np

from charlstm.arrays import Ids, IntArray
from charlstm.config.settings import TrainConfig
from charlstm.diagnosis.forward_checks import loss_scale
from charlstm.diagnosis.probe import Probe
from charlstm.diagnosis.program import Finding
from charlstm.optim import Optimizer
from charlstm.text.batches import Window

_TEXT = 40  # characters
_LEARNED = 0.1  # nats
_MAX_STEPS, _MAX_SECONDS = 1000, 8.0
_RATE = 0.02
_UPDATES = 20
_MAX_WINDOWS = 10_000


def check_windows(probe: Probe) -> str:
    """Compare the windows of a random text with the text: y is x one character later, and nothing is left out."""
    V, B = probe.program.vocab_size, probe.program.batch_size
    ids = np.random.default_rng(9).integers(0, V, 1000 * (B or 1) + 1)
    windows = _take_windows(probe, ids)
    streams = B or 1
    for number, (x, y) in enumerate(windows, 1):
        if x.shape != y.shape or x.ndim != (1 if B is None else 2) or not x.size:
            raise Finding(f"window {number}: x has the shape {x.shape}, y {y.shape}", "x and y are [T], or [T, B].")
        if x[1:].size and not np.array_equal(x[1:], y[:-1]):
            raise Finding(f"window {number}: y is not x one step later", _target(x, y))
    for number, ((_, y), (x, _)) in enumerate(pairwise(windows), 1):
        if not np.array_equal(y[-1], x[0]):
            raise Finding(
                f"window {number + 1} does not begin with the last target of window {number}",
                "A window starts T characters after the one before, so that the state can be carried.",
            )
    covered = sum(y.size for _, y in windows)
    first = np.atleast_1d(windows[0][0][0])[0]
    if first != ids[0] or not np.isin(np.unique(windows[0][0]), ids).all():
        raise Finding("the first window does not begin with the first character", "Is x made of ids of the text?")
    if covered < 0.5 * len(ids):
        raise Finding(f"the windows have {covered:,} of {len(ids):,} characters", "Do they reach the end of the text?")
    told = f"{streams} stream{'s' * (streams > 1)}"
    return f"{len(windows):,} windows, {covered:,} of {len(ids) - 1:,} predictions, {told}"


def check_update(probe: Probe) -> str:
    """Apply the program's updates to one window, and see whether its loss falls."""
    program = probe.program
    window = _text_window(probe)
    params = {name: param.copy() for name, param in program.params.items()}
    first = program.run(window, probe.zero, params)
    output, loss = first, first.loss
    for n in range(1, _UPDATES + 1):
        grads = {name: np.asarray(grad, params[name].dtype) for name, grad in output.grads.items()}
        updated = program.apply_update(params, grads, n)
        change = {name: updated[name] - params[name] for name in params}
        largest = max(float(np.abs(each).max()) for each in change.values())
        if not np.isfinite(largest):
            raise Finding(f"update {n} gives NaN or infinity", "n counts from 1: 1 - beta**n is zero for n = 0.")
        if n == 1 and largest == 0:
            raise Finding("update 1 changes nothing", "Change params in place, or return the new ones as a dict.")
        if n == 1 and sum(float(np.sum(grads[name] * change[name])) for name in params) > 0:
            raise Finding("update 1 goes up the gradient", "Subtract it: params -= rate * step.")
        params = updated
        output = program.run(window, probe.zero, params)
        if not np.isfinite(output.loss) or output.loss > 2 * first.loss:
            raise Finding(
                f"{n} updates take the loss of one window from {loss:.4f} to {output.loss:.4f}", _too_large(largest, n)
            )
    measured = f"{_UPDATES} updates take the loss of one window from {loss:.4f} to {output.loss:.4f}"
    if output.loss >= loss:
        raise Finding(measured, _too_large(largest, _UPDATES))
    return measured


def check_overfitting(probe: Probe) -> str:
    """Train on 40 characters, with Adam and the program's gradients, until it knows them."""
    program, window = probe.program, _text_window(probe)
    params = {name: param.copy() for name, param in program.params.items()}
    optimizer, start = Optimizer(params, TrainConfig(optimizer="adam")), time.perf_counter()
    loss, n = np.inf, loss_scale(probe, program.run(window, probe.zero, params).loss, _TEXT)
    for step in range(_MAX_STEPS):
        output = program.run(window, probe.zero, params)
        loss = output.loss / n
        if loss < _LEARNED:
            return f"loss {loss:.3f} on {_TEXT} characters after {step} steps. Wrong gradients can pass this check too"
        if not np.isfinite(loss) or time.perf_counter() - start > _MAX_SECONDS:
            break
        grads = {name: np.asarray(grad, params[name].dtype) for name, grad in output.grads.items()}
        optimizer.update(params, grads, _RATE)
    raise Finding(
        f"loss {loss:.3f} on {_TEXT} characters after {step + 1} steps",
        "Mend what fails above first. If all else passes, the network is too small, or its initial weights unsuitable.",
    )


def _take_windows(probe: Probe, ids: Ids | IntArray) -> list[tuple[IntArray, IntArray]]:
    """Return the program's windows of a text."""
    windows = probe.program.windows
    assert windows is not None

    def take() -> list[tuple[IntArray, IntArray]]:
        taken = []
        for window in windows(ids.copy()):
            taken.append((np.array(window[0]), np.array(window[1])))
            if len(taken) > _MAX_WINDOWS:
                raise ValueError("windows(ids) does not end; yield the windows of one epoch")
        return taken

    taken: list[tuple[IntArray, IntArray]] = probe.program.call(take)
    if not taken:
        raise Finding("windows(ids) yields nothing", "Yield x and y of each window.")
    return taken


def _target(x: IntArray, y: IntArray) -> str:
    if np.array_equal(x, y):
        return "The targets are not shifted: the network is asked for the character that it has just read."
    if np.array_equal(x[:-1], y[1:]):
        return "The targets are shifted the wrong way: y[t] is the character after x[t], not the one before it."
    if np.array_equal(x[2:], y[:-2]):
        return "The targets are two characters later; y[t] is the character after x[t]."
    if np.array_equal(np.ravel(x), np.arange(x.size)):
        return "x has positions, not characters: x[t] is the id of the character there."
    return "y[t] is the character after x[t], so that y[:-1] equals x[1:]."


def _text_window(probe: Probe) -> Window:
    """Return a window of 40 random characters, out of at most ten different ones, the same in each stream."""
    rng, program = np.random.default_rng(10), probe.program
    ids = rng.integers(0, min(program.vocab_size, 10), _TEXT + 1)
    if program.batch_size is not None:
        ids = np.repeat(ids[:, None], program.batch_size, axis=1)
    return Window(ids[:-1], ids[1:])


def _too_large(largest: float, n: int) -> str:
    return (
        f"The steps are too large: update {n} changes a weight by {largest:.2g}. Is the rate meant for a mean, and the "
        "loss a sum? Does Adam divide by the root of v?"
    )
