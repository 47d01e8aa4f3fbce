"""Gradients compared with finite differences, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlstm.arrays import Floats, Grads
from charlstm.diagnosis.layout import Block
from charlstm.diagnosis.probe import Probe
from charlstm.text.batches import Window


@dataclass(frozen=True)
class Difference:
    """The gradient of a block along some directions: the program's, and the slope of its loss.

    Attributes:
        block: of a parameter.
        by_program: per direction.
        by_loss: per direction.
        error: the largest relative difference between the two.
        wrong: whether it is larger than rounding explains.
    """

    block: Block
    by_program: list[float]
    by_loss: list[float]
    error: float
    wrong: bool


def compare(probe: Probe, window: Window, state: Any, blocks: Sequence[Block]) -> tuple[list[Difference], Grads]:
    """Return the differences of all blocks, and the gradients of the program."""
    output = probe.run(window, state)
    rounding = 10 * probe.precision.rounding * abs(output.loss) / probe.precision.step
    rng = np.random.default_rng(7)
    return [_compare(probe, window, state, block, output.grads, rounding, rng) for block in blocks], output.grads


def _compare(
    probe: Probe, window: Window, state: Any, block: Block, grads: Grads, rounding: float, rng: np.random.Generator
) -> Difference:
    grad, by_program, by_loss = grads[block.param][block.index], [], []
    for direction in _directions(grad, rng):
        by_program.append(float(np.sum(grad * direction)))
        by_loss.append(_slope(probe, window, state, block, direction))
    largest = max(map(abs, by_program + by_loss))
    gap = max(abs(a - b) for a, b in zip(by_program, by_loss, strict=True))
    if not np.isfinite(gap):
        return Difference(block, by_program, by_loss, np.inf, True)
    wrong = gap > rounding + probe.precision.relative * largest
    return Difference(block, by_program, by_loss, gap / max(largest, rounding), wrong)


def _directions(grad: Floats, rng: np.random.Generator) -> list[Floats]:
    """Return two directions of length 1: one is random, and one halfway to the gradient."""
    random = rng.standard_normal((2, *grad.shape))
    random /= np.sqrt((random**2).sum(axis=tuple(range(1, random.ndim)), keepdims=True))
    norm = float(np.sqrt((grad**2).sum()))
    towards = random[1] + grad / norm if 0 < norm < np.inf else random[1]
    return [random[0], towards / np.sqrt((towards**2).sum())]


def _slope(probe: Probe, window: Window, state: Any, block: Block, direction: Floats) -> float:
    """Return the slope of the loss along a direction, by central differences with Richardson extrapolation."""
    slopes = []
    for step in (probe.precision.step, 2 * probe.precision.step):
        losses = []
        for change in (step, -step):
            param = probe.params[block.param].copy()
            param[block.index] += (change * direction).astype(param.dtype)
            losses.append(probe.run(window, state, {**probe.params, block.param: param}).loss)
        slopes.append((losses[0] - losses[1]) / (2 * step))
    return (4 * slopes[0] - slopes[1]) / 3
