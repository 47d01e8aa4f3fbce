"""Which lines of a backward pass would give the gradients of a program, and how to say so."""

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np

from charlstm.arrays import Floats, Grads
from charlstm.diagnosis.equations import (
    BACKWARD,
    CELL_ERRORS,
    TIME_MISTAKES,
    Lines,
    errors,
    errors_of_another,
    evaluate,
    forward,
    gate_mistakes,
)
from charlstm.diagnosis.layout import GATES, Block, weights_of
from charlstm.diagnosis.probe import Probe
from charlstm.diagnosis.recognition import Recognized
from charlstm.text.batches import Window

_TOLERANCE = {"float64": 1e-6, "float32": 1e-2}


def find_lines(probe: Probe, recognized: Recognized) -> Lines | None:
    """Return the lines of the backward pass that differ from ours; None if none are found that explain the gradients.

    The error of each gate is read off the gradients for one step, which has no errors from later ones. Two steps show
    how the errors of h and c are passed on.
    """
    cell = _Observation(probe, recognized, probe.window(1))
    lines = min(_cell_lines(cell), key=len, default=None)
    if lines is None:
        return None
    window = _Observation(probe, recognized, probe.window(2))
    return next((each for each in _time_lines(lines) if window.fits(each)), None)


def describe_lines(lines: Lines, right: Lines) -> str:
    """Return which lines a program seems to have instead of the right ones."""
    swapped = _swapped(lines)
    told = []
    if swapped:
        told.append(
            f"The gradients of {' and '.join(swapped)} are swapped: look at the order in which they are stacked."
        )
    rest = {name: line for name, line in lines.items() if name.removeprefix("dz_") not in swapped}
    told += [_describe_line(name, line, right.get(name, "")) for name, line in rest.items()]
    twice = any(f"sigmoid({gate})" in line or f"tanh({gate})" in line for line in lines.values() for gate in GATES)
    twice |= any("tanh(tanh(c))" in line for line in lines.values())
    return " ".join([*told, *(["The derivative is applied to a value that is already activated."] if twice else [])])


def _swapped(lines: Lines) -> tuple[str, ...]:
    """Return the two gates that have each other's errors; () if there are none."""
    for a, b in combinations(GATES, 2):
        if lines.get(f"dz_{a}") in errors_of_another(a, b) and lines.get(f"dz_{b}") in errors_of_another(b, a):
            return a, b
    return ()


def _describe_line(name: str, line: str, right: str) -> str:
    if name == "state":
        return "h and c are swapped in the call of the cell."
    for letter in "hc":
        if name == f"d{letter}" and f"d{letter}_next" not in line:
            return f"The error of {letter} does not reach the previous step: `{name} = {line}` lacks `+ {name}_next`."
    if "hstack" in line:
        return "The error of the concatenation of h and x is split in the wrong order: dh_next is not `dz @ w_h`."
    hint = " Or the variable that it uses for c_prev holds another value." if "c_prev" in right else ""
    return f"The program seems to compute `{name} = {line}` instead of `{name} = {right}`.{hint}"


class _Observation:
    """The sum of dz over the steps and streams of a window, as a program's gradients have it."""

    def __init__(self, probe: Probe, recognized: Recognized, window: Window) -> None:
        weights = weights_of(recognized.blocks, probe.params, probe.program.vocab_size, probe.units)
        assert weights is not None
        self.weights = weights
        self._tolerance = _TOLERANCE[probe.precision.name]
        output = probe.run(window, probe.carried)
        losses, self.steps = forward(weights, probe.columns(window), *probe.pair_of(probe.carried), recognized.mistakes)
        scale = float(losses.sum()) / output.loss  # undoes the mean
        self.dz = [scale * each for each in _error_sums(output.grads, recognized.blocks)]  # [4, H], by x and by b

    def fits(self, lines: Lines) -> bool:
        """Return whether these lines explain the gradients of the weights or of the biases."""
        expected = np.sum(errors(self.weights, self.steps, lines), axis=(0, 2))  # [4, H]
        return any(self.close(dz, expected) for dz in self.dz)

    def close(self, seen: Floats, expected: Floats) -> bool:
        """Return whether two arrays are equal but for rounding."""
        return bool(np.abs(seen - expected).max() <= self._tolerance * max(np.abs(expected).max(), 1e-12))


def _cell_lines(cell: _Observation) -> Iterator[Lines]:
    """Yield sets of lines that explain the gradients for one step, one for each line of the error of c."""
    for dz, dc in product(cell.dz, (BACKWARD["dc"], *CELL_ERRORS)):
        values = _values(cell, dc)
        lines = {gate: _gate_line(cell, dz[k], gate, values) for k, gate in enumerate(GATES)}
        if all(lines.values()):
            found = {"dc": dc} | {f"dz_{gate}": line for gate, line in lines.items() if line}
            yield {name: line for name, line in found.items() if line != BACKWARD[name]}


def _gate_line(cell: _Observation, dz: Floats, gate: str, values: dict[str, Any]) -> str | None:
    """Return the first line that gives the error of a gate [H]; None without one."""
    lines = (BACKWARD[f"dz_{gate}"], *gate_mistakes(gate))
    return next((line for line in lines if cell.close(dz, evaluate(line, values).sum(0))), None)


def _values(cell: _Observation, dc: str) -> dict[str, Any]:
    """Return the values of the only step, with the errors of h and c."""
    zero = np.zeros_like(cell.steps[0]["h"])
    values = cell.steps[0] | {"dh_next": zero, "dc_next": zero, "w_out": cell.weights.w_out}
    values["dh"] = evaluate(BACKWARD["dh"], values)
    values["dc"] = evaluate(dc, values)
    return values


def _time_lines(lines: Lines) -> Iterator[Lines]:
    """Yield sets of lines with these and some that pass the errors of h and c on: right, one wrong, two wrong."""
    cut = lines.get("dc", BACKWARD["dc"]).removesuffix(" + dc_next")
    singles = [{"dc": cut}] + [{name: line} for name, wrong in TIME_MISTAKES.items() for line in wrong]
    pairs = (a | b for a, b in product(singles, singles) if a.keys() != b.keys())
    for each in ({}, *singles, *pairs):
        yield {**lines, **each}


def _error_sums(grads: Grads, blocks: Sequence[Block]) -> list[Floats]:
    """Return the sums of dz over steps and streams [4, H]: of the weights of x, which a one-hot x selects, and of b."""
    found = []
    for part in ("x", "b"):
        by_gate = {}
        for block in blocks:
            if block.part == part and block.gate in GATES:
                grad = grads[block.param][block.index]
                rows = grad if block.by_rows else grad.T
                by_gate[block.gate] = rows.reshape(-1, 1) if part == "b" else rows
        if len(by_gate) == len(GATES):
            found.append(np.array([by_gate[gate].sum(1) for gate in GATES]))
    return found
