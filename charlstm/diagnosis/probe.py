"""A program at generic weights: random windows, a carried state, and how exact its losses are."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charlstm.arrays import Floats, Params
from charlstm.diagnosis.program import Finding, Output, Program, arrays_of
from charlstm.text.batches import Window

_NOISE = 0.3  # added to the initial weights, so that no gate is near its initial value
_WIDE = 16  # a wider matrix gets less noise, so that the gates are not saturated
_FLOAT32_ABOVE = 1e-12  # relative rounding error


@dataclass(frozen=True)
class Precision:
    """Bounds that suit the type of a program's numbers.

    Attributes:
        name: of the type.
        step: of finite differences, along a direction of length 1.
        relative: error of a gradient.
        rounding: relative error of a loss.
        match: relative difference of equal losses.
    """

    name: str
    step: float
    relative: float
    rounding: float
    match: float

    def same(self, a: float, b: float) -> bool:
        """Return whether two losses are equal but for rounding."""
        return bool(abs(a - b) <= self.match * max(abs(a), abs(b)))


FLOAT64 = Precision("float64", 1e-3, 1e-6, 2.2e-16, 1e-9)
FLOAT32 = Precision("float32", 3e-2, 3e-2, 1.2e-7, 3e-6)


class Probe:
    """A program with its initial weights plus noise, so that nothing is zero or equal by chance.

    Args:
        program: under test.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        rng = np.random.default_rng(1)
        self.params = {name: _perturb(param, rng) for name, param in program.params.items()}
        self.zero = program.zero_state()

    def run(self, window: Window, state: Any, params: Params | None = None) -> Output:
        """Return what `loss_and_grads` returns for a window.

        Raises:
            Finding: the program has crashed, or its loss is not finite.
        """
        output = self.program.run(window, state, self.params if params is None else params)
        if not np.isfinite(output.loss):
            raise Finding(f"the loss is {output.loss}", _not_finite(output.loss))
        return output

    def window(self, T: int, seed: int = 2) -> Window:
        """Return a window of random ids, [T] or [T, B]; x has at least two different ones."""
        rng, program = np.random.default_rng(seed), self.program
        shape = (T,) if program.batch_size is None else (T, program.batch_size)
        x, y = rng.integers(0, program.vocab_size, (2, *shape))
        if T > 1:
            x[1] = (x[0] + 1 + rng.integers(0, program.vocab_size - 1, x[0].shape)) % program.vocab_size
        return Window(x, y)

    def columns(self, window: Window) -> Window:
        """Return a window as [T, B]."""
        return Window(*(ids.reshape(len(ids), -1) for ids in window))

    @cached_property
    def carried(self) -> Any:
        """The state after a window."""
        return self.run(self.window(5, seed=3), self.zero).state

    @cached_property
    def pair(self) -> tuple[int, int] | None:
        """The places of h and c among the arrays of a state; None if it does not have two of one size."""
        arrays = arrays_of(self.zero)
        if len(arrays) != 2 or arrays[0].size != arrays[1].size or arrays[0].size % self.program.streams:
            return None
        names = list(self.zero) if isinstance(self.zero, dict) else list(getattr(self.zero, "_fields", ()))
        return (1, 0) if [str(name)[:1] for name in names] == ["c", "h"] else (0, 1)

    @cached_property
    def units(self) -> int:
        """H; 0 if unknown."""
        return 0 if self.pair is None else arrays_of(self.zero)[0].size // self.program.streams

    def pair_of(self, state: Any) -> tuple[Floats, Floats]:
        """Return h and c [B, H] of a state."""
        assert self.pair is not None
        B, H = self.program.streams, self.units
        h, c = (arrays_of(state)[place] for place in self.pair)
        return tuple(each.T if each.shape == (H, B) and H != B else each.reshape(B, H) for each in (h, c))  # type: ignore[return-value]

    def denominators(self, T: int) -> Iterator[int]:
        """Yield what a sum of losses over a window may be divided by."""
        B = self.program.streams
        yield from dict.fromkeys((T * B, 1, T, B))

    @cached_property
    def output_params(self) -> list[str]:
        """The parameters that have no effect on the state: those of the output layer."""
        window, rng = self.window(2, seed=4), np.random.default_rng(6)
        before = arrays_of(self.run(window, self.carried).state)
        found = []
        for name, param in self.params.items():
            changed = param + np.asarray(0.1 * rng.standard_normal(param.shape), param.dtype)
            after = arrays_of(self.run(window, self.carried, {**self.params, name: changed}).state)
            if all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
                found.append(name)
        return found

    @cached_property
    def precision(self) -> Precision:
        """How exact the losses are: by the types of the arrays, or by the noise in a straight line of weights."""
        window, arrays = self.window(6), list(self.params.values())
        if any(array.dtype == np.float32 for array in arrays) or self.run(window, self.zero).is_float32:
            return FLOAT32
        losses = [self.run(window, self.zero, self._along(k * 1e-7)).loss for k in range(8)]
        noise = np.abs(np.diff(losses, 3)).max() / max(np.abs(losses).max(), 1e-300)
        return FLOAT32 if noise > _FLOAT32_ABOVE else FLOAT64

    def _along(self, step: float) -> Params:
        return {name: param * (1 + step) for name, param in self.params.items()}


def _perturb(param: Floats, rng: np.random.Generator) -> Floats:
    scale = _NOISE
    if param.ndim > 1 and (narrow := min(param.shape)) > _WIDE:
        scale *= (_WIDE / narrow) ** 0.5
    return np.asarray(param + scale * rng.standard_normal(param.shape), param.dtype)


def _not_finite(loss: float) -> str:
    if np.isnan(loss):
        return "Weights of ordinary size give NaN: look for log(0), 0 / 0, or exp of a large number."
    return "Weights of ordinary size give an infinite loss: look for log(0) or exp of a large number."
