"""Adam, gradient clipping and the learning-rate schedule. The parameters and the gradients belong to the caller."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from charlstm.config import TrainConfig
from charlstm.layers import Grads, Params
from charlstm.workspace import Floats

_BLOCK = 1 << 15  # floats
_TIDY_EVERY = 64  # updates
_NEGLIGIBLE = 1e-30  # what decays further, for want of a gradient, ends as subnormal numbers, which are slow


class Adam:
    """Adam, after Kingma and Ba, "Adam: a method for stochastic optimization", 2015.

    ::

        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad^2
        param -= rate * m / (1 - beta1^n) / (sqrt(v / (1 - beta2^n)) + epsilon)

    Attributes:
        m: running mean of the gradients, by parameter.
        v: running mean of their squares.
        updates: n, how many updates there have been.
    """

    def __init__(self, params: Params, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.m = {name: np.zeros_like(param) for name, param in params.items()}
        self.v = {name: np.zeros_like(param) for name, param in params.items()}
        self.updates = 0

    def update(self, params: Params, grads: Mapping[str, Floats], learning_rate: float) -> None:
        """Take one step down the gradient: change `params` in place."""
        self.updates += 1
        root = math.sqrt(1 - self.beta2**self.updates)  # out of the quotient: one number is scaled, not an array
        rate, epsilon = learning_rate / (1 - self.beta1**self.updates) * root, self.epsilon * root
        for name, grads_of in grads.items():
            for block in _blocks(grads_of.size):
                param, grad, m, v = (a.reshape(-1)[block] for a in (params[name], grads_of, self.m[name], self.v[name]))
                m *= self.beta1
                m += (1 - self.beta1) * grad
                v *= self.beta2
                v += (1 - self.beta2) * np.square(grad)
                step = np.sqrt(v)
                step += epsilon
                np.divide(m, step, out=step)
                step *= rate
                param -= step
                if self.updates % _TIDY_EVERY == 0:
                    m[np.abs(m) < _NEGLIGIBLE] = 0
                    v[v < _NEGLIGIBLE] = 0


def _blocks(size: int) -> Iterator[slice]:
    """Cut an array into pieces whose intermediate results stay in a core's cache."""
    for start in range(0, size, _BLOCK):
        yield slice(start, start + _BLOCK)


def clip_by_global_norm(grads: Grads, most: float) -> float:
    """Scale all gradients down together so that their joint norm is at most `most`; 0 scales nothing.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).

    Args:
        grads: written in place; left as they are where the norm is not finite.
        most: the largest norm allowed.

    Returns:
        The norm before, in float64; what float32 cannot hold is summed up in float64 too.
    """
    norm = math.sqrt(sum(_squared_norm(grad) for grad in grads.values()))
    if most and most < norm < math.inf:
        for grad in grads.values():
            grad *= most / norm
    return norm


def _squared_norm(grad: Floats) -> float:
    squared = float(np.vdot(grad, grad))
    return (
        squared if 1e-30 < squared < 1e30 else float(np.square(grad, dtype=np.float64).sum())
    )  # out of float32's range


def learning_rate_at(config: TrainConfig, progress: float) -> float:
    """Return the learning rate at a point of the run.

    Args:
        config: `learning_rate` is the highest rate, `warmup_fraction` of the run leads up to it, `schedule` on.
        progress: the share of the run that is done, 0 to 1.
    """
    warmup = config.warmup_fraction
    if progress < warmup:
        return config.learning_rate * progress / warmup
    if config.schedule == "constant" or warmup >= 1:
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
