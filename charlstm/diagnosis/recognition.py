"""Finding out which parameters of a program are which, by comparing its loss with that of our equations."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from charlstm.diagnosis.equations import FORWARD_MISTAKES, Lines, forward
from charlstm.diagnosis.layout import GATES, Block, blocks_of, weights_of
from charlstm.diagnosis.probe import Probe
from charlstm.errors import UsageError

_MAX_CANDIDATES = 1000


@dataclass(frozen=True)
class Recognized:
    """What a program computes, in our terms.

    Attributes:
        layout: of its parameters.
        blocks: the parts of them.
        mistakes: the lines of the forward pass in which it differs from ours.
    """

    layout: Mapping[str, str]
    blocks: list[Block]
    mistakes: Lines


def recognize(probe: Probe) -> Recognized | None:
    """Return the layout with which our equations give the loss and the state of a program; None without one."""
    if probe.pair is None:
        return None
    given = probe.program.layout
    candidates = list(itertools.islice(_layouts(probe), _MAX_CANDIDATES)) if given is None else [given]
    mistakes: list[Lines] = [{}, *({name: line} for name, lines in FORWARD_MISTAKES.items() for line in lines)]
    for each in mistakes:
        for layout in candidates:
            if (blocks := _fit(probe, layout, each)) is not None:
                return Recognized(layout, blocks, each)
    return None


def _fit(probe: Probe, layout: Mapping[str, str], mistakes: Lines) -> list[Block] | None:
    """Return the blocks of a layout, if it and these lines give the losses of the program."""
    V, H = probe.program.vocab_size, probe.units
    try:
        blocks = blocks_of(layout, probe.params, V, H)
    except UsageError:
        if probe.program.layout is not None:
            raise
        return None
    weights = weights_of(blocks, probe.params, V, H)
    if weights is None:
        return None
    window, state = probe.columns(probe.window(3, seed=5)), probe.pair_of(probe.carried)
    with np.errstate(all="ignore"):
        losses, _ = forward(weights, window, *state, mistakes)
    expected = probe.run(probe.window(3, seed=5), probe.carried).loss
    close = (np.isclose(losses.sum() / n, expected, rtol=probe.precision.match) for n in probe.denominators(3))
    return blocks if any(close) else None


def _layouts(probe: Probe) -> Iterator[dict[str, str]]:
    """Yield the layouts that fit the shapes of the parameters. Parameters with a gate each have the same layout."""
    V, H, outputs = probe.program.vocab_size, probe.units, probe.output_params
    shapes = {name: probe.params[name].shape for name in probe.params if name not in outputs}
    stacked = {name: list(_gate_texts(shape, 4 * H, V, H)) for name, shape in shapes.items()}
    groups = [[name] for name in shapes] if all(stacked.values()) else _groups(shapes)
    if any(len(names) not in (1, len(GATES)) for names in groups):
        return
    texts = [list(_gate_texts(shapes[names[0]], 4 * H // len(names), V, H)) for names in groups]
    output_texts = [list(_output_texts(probe.params[name].shape, V, H)) for name in outputs]
    for order in itertools.permutations(GATES):
        for each in itertools.product(*texts, *output_texts):
            layout: dict[str, str] = {}
            for names, text in zip([*groups, *([name] for name in outputs)], each, strict=True):
                gates = order if len(names) > 1 else [" ".join(order)]
                layout |= {name: text.format(gates=gate) for name, gate in zip(names, gates, strict=True)}
            yield layout


def _groups(shapes: Mapping[str, tuple[int, ...]]) -> list[list[str]]:
    """Return the names of parameters in groups of equal shape, of four each where the names begin alike."""
    groups: list[list[str]] = []
    for _, same in itertools.groupby(sorted(shapes, key=lambda name: (shapes[name], _stem(name))), key=shapes.get):
        names = list(same)
        by_stem = [list(each) for _, each in itertools.groupby(names, key=_stem)]
        groups += by_stem if all(len(each) == 4 for each in by_stem) else [names]
    return [sorted(group) if _differ_by_gate(group) else group for group in groups]


def _stem(name: str) -> str:
    """Return a name without the letters that may name a gate: "W_h" for "W_hf"."""
    return "".join(letter for letter in name if letter not in "gifoacuz")


def _differ_by_gate(names: list[str]) -> bool:
    """Return whether names differ by a letter only, so that their order can be taken from it."""
    return len({_stem(name) for name in names}) == 1


def _gate_texts(shape: tuple[int, ...], size: int, V: int, H: int) -> Iterator[str]:
    """Yield the layouts of a parameter whose gates take `size` rows or columns, with {gates} for their names."""
    if len(shape) == 1 and shape[0] == size:
        yield "rows {gates}"
    if len(shape) != 2:
        return
    for axis, other in (("rows", "columns"), ("columns", "rows")):
        along, across = shape if axis == "rows" else shape[::-1]
        if along == size:
            for parts in _parts(across, V, H):
                yield f"{axis} {{gates}}" if parts == "b" else f"{axis} {{gates}}; {other} {parts}"


def _parts(size: int, V: int, H: int) -> Iterator[str]:
    """Yield what an axis of a size may hold."""
    sizes = {"x": V, "h": H, "b": 1}
    for count in (1, 2, 3):
        for parts in itertools.permutations(sizes, count):
            if sum(sizes[part] for part in parts) == size:
                yield " ".join(parts)


def _output_texts(shape: tuple[int, ...], V: int, H: int) -> Iterator[str]:
    for text in _gate_texts(shape, V, 0, H):
        if " x" not in text:
            yield text.replace("{gates}", "y")


def describe(layout: Mapping[str, str]) -> str:
    """Return a layout in a line."""
    return ", ".join(f"`{name} = {text!r}`" for name, text in layout.items())
