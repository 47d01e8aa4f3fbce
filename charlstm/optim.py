"""Optimisers, averaged weights, clipping, the learning-rate schedule. Parameters and gradients belong to the caller."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from charlstm.config import TrainConfig
from charlstm.layers import Grads, Params
from charlstm.workspace import Floats

_BLOCK = 1 << 15  # floats
_TIDY_EVERY = 64  # updates
_NEGLIGIBLE = 1e-30  # what decays further, for want of a gradient, ends as subnormal numbers, which are slow


class Optimizer:
    """A rule that turns gradients into steps, with what it remembers of those before.

    Attributes:
        config: names the rule, `optimizer`, and holds its settings.
        moments: running means, by their letter and by parameter: m of the gradients, v of their squares.
        updates: n, how many updates there have been.
    """

    def __init__(self, params: Params, config: TrainConfig) -> None:
        self.config = config
        self.moments = {
            moment: {name: np.zeros_like(param) for name, param in params.items()} for moment in moments_of(config)
        }
        self.updates = 0

    def update(self, params: Params, grads: Mapping[str, Floats], learning_rate: float) -> None:
        """Take one step down the gradient: change `params` in place.

        With `l2`, the gradient is that of the loss plus `l2 / 2` times the sum of the squares of all parameters. With
        `weight_decay`, each parameter shrinks by `learning_rate * weight_decay` of itself instead, whatever the rule
        (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019; with Adam it is called AdamW).
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
                if self.updates % _TIDY_EVERY == 0:
                    for moment in moments:
                        moment[np.abs(moment) < _NEGLIGIBLE] = 0


def moments_of(config: TrainConfig) -> tuple[str, ...]:
    """Return which moments the rule of some settings keeps."""
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
    m *= config.beta1
    m += (1 - config.beta1) * grad
    v *= config.beta2
    v += (1 - config.beta2) * np.square(grad)
    root = math.sqrt(1 - config.beta2**n)  # out of the quotient: one number is scaled, not an array
    step = np.sqrt(v)
    step += config.epsilon * root
    np.divide(m, step, out=step)
    step *= root / (1 - config.beta1**n)
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
    """Descend by stochastic gradients, with momentum (Polyak, 1964), or Nesterov's as Sutskever et al. (2013) write it.

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


def average_into(average: Params, params: Params, decay: float, updates: int) -> None:
    """Bring parameters into their running average, in place.

    ::

        average = d * average + (1 - d) * params,  d = min(decay, updates / (updates + 10))

    So the average is, to begin with, over about the last tenth of all that there has been, and later over a fixed time.

    Args:
        average: written.
        params: of the model.
        decay: below 1; it averages over some 1 / (1 - decay) updates.
        updates: how many there have been.
    """
    share = 1 - min(decay, updates / (updates + 10))
    for name, param_of in params.items():
        for block in _blocks(param_of.size):
            param, mean = param_of.reshape(-1)[block], average[name].reshape(-1)[block]
            mean += share * (param - mean)


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


def learning_rate_at(config: TrainConfig, progress: float, plateaus: int = 0) -> float:
    """Return the learning rate at a point of the run.

    Args:
        config: `learning_rate` is the highest rate, `warmup_fraction` of the run leads up to it, `schedule` on.
        progress: the share of the run that is done, 0 to 1.
        plateaus: how many evaluations so far were no better than one before, for the schedule of that name.
    """
    warmup, highest = config.warmup_fraction, config.learning_rate
    if progress < warmup:
        return highest * progress / warmup
    left = (1 - progress) / (1 - warmup) if warmup < 1 else 1.0
    if config.schedule == "cosine":
        return highest * 0.5 * (1 - math.cos(math.pi * left))
    if config.schedule == "linear":
        return highest * left
    if config.schedule == "step":
        return highest * config.decay_factor ** int(progress / config.decay_every)
    return highest * config.decay_factor**plateaus if config.schedule == "plateau" else highest
