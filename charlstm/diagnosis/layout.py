"""Where the gates are in the parameters of a program: `"rows i f g o; columns x h"`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from charlstm.arrays import Floats, Params
from charlstm.errors import UsageError

GATES = ("g", "i", "f", "o")  # in the order of `Weights`
GATE_NAMES = {"g": "candidate g", "i": "input gate i", "f": "forget gate f", "o": "output gate o"}
_INPUTS = ("x", "h", "b")  # of the gates, and of the output layer y; b is a constant 1
_NAMES = (*GATES, "y", *_INPUTS)
_AXES = ("rows", "columns")


@dataclass(frozen=True)
class Block:
    """A part of a parameter.

    Attributes:
        param: its name.
        index: selects the block.
        label: names it in messages.
        gate: g, i, f, o or y (the output layer); "" if unknown.
        part: what its weights are multiplied by: x, h or b; "" if unknown.
        by_rows: whether the gate's units are rows.
    """

    param: str
    index: tuple[slice, ...]
    label: str
    gate: str = ""
    part: str = ""
    by_rows: bool = True


@dataclass(frozen=True)
class Weights:
    """The parameters of one layer and an output layer, with the gates in the order g, i, f, o."""

    w_x: Floats  # [4, H, V]
    w_h: Floats  # [4, H, H]
    b: Floats  # [4, H]
    w_out: Floats  # [V, H]
    b_out: Floats  # [V]


def blocks_of(layout: Mapping[str, str], params: Params, V: int, H: int) -> list[Block]:
    """Return the blocks of parameters with a layout.

    Args:
        layout: by parameter, the names along its rows and its columns: g, i, f, o for the gates and y for the output
            layer on one axis; x, h, b (a constant 1) for what the weights are multiplied by on the other. An axis with
            one name may be left out.
        params: [rows, columns], or [rows].
        V: number of characters.
        H: number of units.

    Raises:
        UsageError: the layout names another parameter, or does not fit the shape of its own.
    """
    for name in layout:
        if name not in params:
            raise UsageError(f"layout names {name!r}, which params does not have")
    return [block for name, text in layout.items() for block in _blocks(name, text, params[name].shape, V, H)]


def weights_of(blocks: Sequence[Block], params: Params, V: int, H: int) -> Weights | None:
    """Return the weights that blocks hold; None if some are missing."""
    weights = Weights(np.zeros((4, H, V)), np.zeros((4, H, H)), np.zeros((4, H)), np.zeros((V, H)), np.zeros(V))
    found = set()
    for block in blocks:
        part = params[block.param][block.index]
        part = part if block.by_rows else part.T
        if part.shape[1:] == (V,) or block.part != "x":
            _target(weights, block)[...] += part if block.part != "b" else part.reshape(-1)
            found.add((block.gate, block.part))
    needed = {("y", "h")} | {(gate, part) for gate in GATES for part in "xh"}
    return weights if needed <= found else None


def gate_blocks(params: Params, H: int) -> list[Block]:
    """Return a block for each parameter, or for each fourth of one with 4 H rows or columns."""
    return [block for name, param in params.items() for block in _fourths(name, param.shape, H)]


def _fourths(name: str, shape: tuple[int, ...], H: int) -> Iterator[Block]:
    axis = next((axis for axis, size in enumerate(shape) if size == 4 * H), None)
    if axis is None or len(shape) > 2:
        yield Block(name, tuple(slice(None) for _ in shape), name)
        return
    for k in range(4):
        index = [slice(None) for _ in shape]
        index[axis] = slice(k * H, (k + 1) * H)
        yield Block(name, tuple(index), f"{name}, {_AXES[axis]} {k * H} to {(k + 1) * H - 1}", by_rows=axis == 0)


def _blocks(name: str, text: str, shape: tuple[int, ...], V: int, H: int) -> Iterator[Block]:
    rows, columns = _parse(name, text)
    if len(shape) == 1:
        rows, columns = (rows or columns), ("b",)
        sized = {0: _sizes(name, rows, shape[0], V, H), 1: [("b", slice(0, 1))]}
    elif len(shape) == 2:
        rows, columns = rows or ("b",), columns or ("b",)
        sized = {axis: _sizes(name, names, shape[axis], V, H) for axis, names in enumerate((rows, columns))}
    else:
        raise UsageError(f"layout of {name!r}: the parameter has {len(shape)} axes, not one or two")
    for row, row_slice in sized[0]:
        for column, column_slice in sized[1]:
            by_rows = column in _INPUTS and row not in _INPUTS
            gate, part = (row, column) if by_rows else (column, row)
            if gate in _INPUTS or part not in _INPUTS:
                raise UsageError(f"layout of {name!r}: one axis has gates or y, the other x, h or b; got {text!r}")
            index = (row_slice, column_slice)[: len(shape)]
            yield Block(name, index, f"{name}, {_describe(gate, part)}", gate, part, by_rows)


def _parse(name: str, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names along the rows and along the columns."""
    names: dict[str, tuple[str, ...]] = {}
    for term in filter(None, (term.split() for term in re.split("[;\n]", text.replace(",", " ")))):
        axis, *parts = term
        if axis not in _AXES or axis in names or not parts or set(parts) - set(_NAMES):
            raise UsageError(
                f"layout of {name!r}: expected rows and columns with names out of {' '.join(_NAMES)}, such as "
                f'"rows i f g o; columns x h"; got {text!r:.60}'
            )
        names[axis] = tuple(parts)
    if not names:
        raise UsageError(f"layout of {name!r} is empty")
    return names.get("rows", ()), names.get("columns", ())


def _sizes(name: str, parts: Sequence[str], size: int, V: int, H: int) -> list[tuple[str, slice]]:
    """Return the slice of each part of an axis. x takes what the others leave, since it may be an embedding."""
    known = {"b": 1, "y": V} | dict.fromkeys((*GATES, "h"), H)
    rest = size - sum(known.get(part, 0) for part in parts)
    sizes = [known.get(part, rest) for part in parts]
    if sum(sizes) != size or min(sizes) < 1 or len(set(parts)) < len(parts):
        raise UsageError(
            f"layout of {name!r}: {' '.join(parts)} does not fit an axis of {size}, with {H} units and {V} characters"
        )
    starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    return [(part, slice(start, stop)) for part, start, stop in zip(parts, starts, starts[1:], strict=False)]


def _describe(gate: str, part: str) -> str:
    """Return the name of a block within its parameter."""
    layer = "output layer" if gate == "y" else GATE_NAMES[gate]
    return layer if part == "b" else f"{layer} from {part}"


def _target(weights: Weights, block: Block) -> Floats:
    if block.gate == "y":
        return weights.b_out if block.part == "b" else weights.w_out
    array = {"x": weights.w_x, "h": weights.w_h, "b": weights.b}[block.part]
    target: Floats = array[GATES.index(block.gate)]
    return target
