"""Gradient check: compares gradients with finite differences."""

from collections.abc import Callable

import numpy as np


def relative_error(
    loss: Callable[[], float], array: np.ndarray, gradient: np.ndarray, rng: np.random.Generator, directions: int = 3
) -> float:
    """Compare a gradient with central differences along random directions; return the largest relative error.

    Args:
        loss: computed from the current values of `array`.
        array: float64; changed during the check, and restored.
        gradient: of the loss with respect to `array`.
        rng: chooses the directions.
        directions: how many to check.
    """
    original, worst = array.copy(), 0.0
    for _ in range(directions):
        direction = rng.standard_normal(array.shape)
        direction /= np.linalg.norm(direction)
        slopes = []
        for step in (1e-3, 2e-3):
            array[...] = original + step * direction
            above = loss()
            array[...] = original - step * direction
            slopes.append((above - loss()) / (2 * step))
        array[...] = original
        by_differences = (4 * slopes[0] - slopes[1]) / 3  # Richardson extrapolation: a fourth-order error
        by_gradient = float(np.sum(gradient * direction))
        worst = max(worst, abs(by_differences - by_gradient) / max(abs(by_differences), abs(by_gradient), 1e-12))
    return worst
