"""Gradients against finite differences."""

from collections.abc import Callable

import numpy as np


def relative_error(
    loss: Callable[[], float], array: np.ndarray, gradient: np.ndarray, rng: np.random.Generator, directions: int = 3
) -> float:
    """Compare a gradient with central differences along random directions; return the largest relative error.

    Args:
        loss: evaluated with `array` as it stands; `array` is moved and put back.
        array: float64.
        gradient: of the loss by `array`.
        rng: chooses the directions.
        directions: how many.
    """
    kept, worst = array.copy(), 0.0
    for _ in range(directions):
        direction = rng.standard_normal(array.shape)
        direction /= np.linalg.norm(direction)
        slopes = []
        for step in (1e-3, 2e-3):
            array[...] = kept + step * direction
            above = loss()
            array[...] = kept - step * direction
            slopes.append((above - loss()) / (2 * step))
        array[...] = kept
        by_differences = (4 * slopes[0] - slopes[1]) / 3  # Richardson: the error is of the fourth order
        by_gradient = float(np.sum(gradient * direction))
        worst = max(worst, abs(by_differences - by_gradient) / max(abs(by_differences), abs(by_gradient), 1e-12))
    return worst
