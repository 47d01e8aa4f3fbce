"""Optimisers, averaged weights, gradient clipping and learning-rate schedules.

Parameters and gradients belong to the caller.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from charlstm.arrays import Floats, Grads, Params
from charlstm.config.settings import TrainConfig

_BLOCK = 1 << 15  # floats
_FLUSH_EVERY = 64  # updates
_NEGLIGIBLE = 1e-30  # moments that decay further, without gradients, become subnormal numbers, which are slow


class Optimizer:
    """An update rule and its moments.

    Attributes:
        config: names the rule in `optimizer`, and holds its settings.
        moments: running means, by letter and by parameter: m of the gradients, v of their squares.
        updates: n, the number of updates so far.
    """

    def __init__(self, params: Params, config: TrainConfig) -> None:
        self.config = config
        self.moments = {
            moment: {name: np.zeros_like(param) for name, param in params.items()} for moment in moments_of(config)
        }
        self.updates = 0

    def update(self, params: Params, grads: Mapping[str, Floats], learning_rate: float) -> None:
        """Update `params` in place.

        With `l2`, the gradient is that of the loss plus `l2 / 2` times the sum of the squares of all parameters. With
        `weight_decay`, each parameter shrinks by `learning_rate * weight_decay` of itself, whatever the rule
        (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019; with Adam it is known as AdamW).
        """
        self.updates += 1
        config, rule = self.config, _RULES[self.config.optimizer]
        for name, param_of in params.items():
            for block in _blocks(param_of.size):
                param, grad = param_of.reshape(-1)[block], grads[name].reshape(-1)[block]
                moments = [arrays[name].reshape(-1)[block] for arrays in self.moments.values()]
                if config.l2:
                    grad = grad + config.l2 * param
                step = rule(config, grad, moments, self.updates)
                if config.weight_decay:
                    param *= 1 - learning_rate * config.weight_decay
                step *= learning_rate
                param -= step
                if self.updates % _FLUSH_EVERY == 0:
                    for moment in moments:
                        moment[np.abs(moment) < _NEGLIGIBLE] = 0


def moments_of(config: TrainConfig) -> tuple[str, ...]:
    """Return the letters of the moments that a rule keeps."""
    if config.optimizer == "sgd":
        return ("m",) if config.momentum else ()
    return ("v",) if config.optimizer == "rmsprop" else ("m", "v")


def _adam(config: TrainConfig, grad: Floats, moments: Sequence[Floats], n: int) -> Floats:
    """Kingma and Ba, "Adam: a method for stochastic optimization", 2015.

    ::

        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad^2
        step = m / (1 - beta1^n) / (sqrt(v / (1 - beta2^n)) + epsilon)
    """
    m, v = moments
    root = math.sqrt(1 - config.beta2**n)  # factored out: scales a number, not an array
    epsilon, scale = config.epsilon * root, root / (1 - config.beta1**n)
    if config.kernel == "numba" and grad.dtype == np.float32:
        from charlstm.network.compiled import adam_step

        compiled: Floats = adam_step(grad, m, v, *map(np.float32, (config.beta1, config.beta2, epsilon, scale)))
        return compiled
    m *= config.beta1
    m += (1 - config.beta1) * grad
    v *= config.beta2
    v += (1 - config.beta2) * np.square(grad)
    step = np.sqrt(v)
    step += epsilon
    np.divide(m, step, out=step)
    step *= scale
    return step


def _rmsprop(config: TrainConfig, grad: Floats, moments: Sequence[Floats], n: int) -> Floats:
    """Tieleman and Hinton, "Lecture 6.5: RMSProp", 2012.

    ::

        v = beta2 * v + (1 - beta2) * grad^2
        step = grad / (sqrt(v) + epsilon)
    """
    (v,) = moments
    v *= config.beta2
    v += (1 - config.beta2) * np.square(grad)
    step = np.sqrt(v)
    step += config.epsilon
    np.divide(grad, step, out=step)
    return step


def _sgd(config: TrainConfig, grad: Floats, moments: Sequence[Floats], n: int) -> Floats:
    """Stochastic gradient descent with momentum (Polyak, 1964), or Nesterov's as in Sutskever et al. (2013).

    ::

        m = momentum * m + grad
        step = m, or with Nesterov's grad + momentum * m
    """
    if not moments:
        return grad.copy()
    (m,) = moments
    m *= config.momentum
    m += grad
    return grad + config.momentum * m if config.nesterov else m.copy()


_RULES = {"adam": _adam, "rmsprop": _rmsprop, "sgd": _sgd}


def update_ema(ema: Params, params: Params, decay: float, updates: int) -> None:
    """Update the exponential moving average of parameters, in place.

    ::

        ema = d * ema + (1 - d) * params,  d = min(decay, updates / (updates + 10))

    At first, it averages over about the last tenth of the updates, later over about the last 1 / (1 - decay).

    Args:
        ema: written.
        params: after an update.
        decay: below 1.
        updates: the number of updates so far.
    """
    share = 1 - min(decay, updates / (updates + 10))
    for name, param_of in params.items():
        for block in _blocks(param_of.size):
            param, mean = param_of.reshape(-1)[block], ema[name].reshape(-1)[block]
            mean += share * (param - mean)


def _blocks(size: int) -> Iterator[slice]:
    """Cut an array into blocks whose intermediate results stay in a core's cache."""
    for start in range(0, size, _BLOCK):
        yield slice(start, start + _BLOCK)


def clip_by_global_norm(grads: Grads, max_norm: float) -> float:
    """Scale all gradients down together so that their global norm is at most `max_norm`; 0 turns it off.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).

    Args:
        grads: scaled in place, unless the norm is not finite.
        max_norm: the largest norm allowed.

    Returns:
        The norm before clipping, in float64. Squares outside the range of float32 are summed in float64.
    """
    norm = math.sqrt(sum(_squared_norm(grad) for grad in grads.values()))
    if max_norm and max_norm < norm < math.inf:
        for grad in grads.values():
            grad *= max_norm / norm
    return norm


def _squared_norm(grad: Floats) -> float:
    squared = float(np.vdot(grad, grad))
    return (
        squared if 1e-30 < squared < 1e30 else float(np.square(grad, dtype=np.float64).sum())
    )  # out of float32's range


def learning_rate_at(config: TrainConfig, progress: float, plateaus: int = 0) -> float:
    """Return the learning rate at a point of a run.

    Args:
        config: `learning_rate` is the peak, reached after `warmup_fraction` of the run and followed by `schedule`.
        progress: fraction of the run completed, 0 to 1.
        plateaus: number of evaluations without improvement so far, for the schedule of that name.
    """
    warmup, peak = config.warmup_fraction, config.learning_rate
    if progress < warmup:
        return peak * progress / warmup
    left = (1 - progress) / (1 - warmup) if warmup < 1 else 1.0
    if config.schedule == "cosine":
        return peak * 0.5 * (1 - math.cos(math.pi * left))
    if config.schedule == "linear":
        return peak * left
    if config.schedule == "step":
        return peak * config.decay_factor ** int(progress / config.decay_every)
    return peak * config.decay_factor**plateaus if config.schedule == "plateau" else peak
