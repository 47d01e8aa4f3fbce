"""From the pattern of wrong gradients to the likely cause, in a sentence or two."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charlstm.arrays import Grads
from charlstm.diagnosis.differences import Difference, compare
from charlstm.diagnosis.equations import BACKWARD, FORWARD
from charlstm.diagnosis.layout import GATE_NAMES, GATES, Block, blocks_of, gate_blocks
from charlstm.diagnosis.lines import describe_lines, find_lines
from charlstm.diagnosis.probe import Probe
from charlstm.diagnosis.recognition import Recognized, recognize
from charlstm.text.batches import Window

WINDOW = 6  # steps
_SHOWN = 3  # labels in a sentence
_SHOWN_BLOCKS = 8


@dataclass(frozen=True)
class Level:
    """The gradients of one window: the differences of all blocks, and the gradients themselves."""

    differences: list[Difference]
    grads: Grads

    @cached_property
    def wrong(self) -> list[Block]:
        """The blocks whose gradient is wrong."""
        return [each.block for each in self.differences if each.wrong]

    def describe_wrong(self) -> str:
        """Return which blocks are wrong, parameter by parameter."""
        counts = Counter((block.param, block.part) for block in self._blocks)
        parts = Counter(param for param, _ in counts)
        groups: dict[str, list[str]] = {}
        for block in self.wrong:
            name = f"{block.param} from {block.part}" if parts[block.param] > 1 else block.param
            groups.setdefault(name if block.gate else block.label, []).append(block.gate)
        listed = [f"{name} ({' '.join(gates)})" if set(gates) <= set(GATES) else name for name, gates in groups.items()]
        more = f"; {len(listed) - _SHOWN_BLOCKS} more" if len(listed) > _SHOWN_BLOCKS else ""
        return f"{'; '.join(listed[:_SHOWN_BLOCKS])}{more}"

    @property
    def _blocks(self) -> list[Block]:
        return [each.block for each in self.differences]

    @property
    def error(self) -> float:
        """The largest relative error."""
        return max(each.error for each in self.differences)

    @property
    def is_zero(self) -> bool:
        """Whether all gradients are zero."""
        return not any(grad.any() for grad in self.grads.values())


class Gradients:
    """The gradients of a program for one step, for a first window and for a later one.

    Args:
        probe: the program.

    Attributes:
        unsteady: whether equal calls give other gradients, so that no pattern means anything.
    """

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.unsteady = False

    @cached_property
    def recognized(self) -> Recognized | None:
        """The layout of the parameters."""
        return recognize(self._probe)

    @cached_property
    def blocks(self) -> list[Block]:
        """The parts of all parameters, by gate where their layout is known."""
        probe = self._probe
        if self.recognized is not None:
            return self.recognized.blocks
        layout = probe.program.layout or {}
        named = blocks_of(layout, probe.params, probe.program.vocab_size, probe.units) if probe.units else []
        rest = {name: param for name, param in probe.params.items() if name not in layout or not probe.units}
        return [*named, *gate_blocks(rest, probe.units)]

    @cached_property
    def one_step(self) -> Level:
        """A window of one step, from a carried state."""
        return Level(*compare(self._probe, self._probe.window(1), self._probe.carried, self.blocks))

    @cached_property
    def first(self) -> Level:
        """A window from the zero state."""
        return Level(*compare(self._probe, self._probe.window(WINDOW), self._probe.zero, self.blocks))

    @cached_property
    def later(self) -> Level:
        """A window from a carried state."""
        return Level(*compare(self._probe, self._probe.window(WINDOW), self._probe.carried, self.blocks))

    @cached_property
    def cause(self) -> str:
        """The likely cause of what is wrong with them."""
        if self.unsteady:
            return "The gradients depend on earlier calls; mend that first."
        rules = (
            self._unused,
            self._without_effect,
            self._factor,
            self._clipped,
            self._output_layer,
            self._carried_state,
            self._copied,
            self._lines,
            self._accumulation,
            self._gates,
        )
        return next(filter(None, (rule() for rule in rules)), "")

    # ---- the rules, the most specific first

    def _unused(self) -> str:
        if not any(any(each.by_loss) for each in self.first.differences):
            return (
                "The loss does not depend on params: loss_and_grads reads copies made earlier, "
                "not the arrays that it is given."
            )
        if self.first.is_zero or self.later.is_zero:
            return (
                "All gradients are zero: the loop over time of the backward pass never runs. "
                "`range(T - 1, -1)` lacks its step of -1, and `[:-1]` is not `[::-1]`."
            )
        if self.one_step.is_zero:
            return f"With a one-step window, all gradients are zero: {self._left_out()}"
        inner = [name for name in self._probe.params if name not in self._probe.output_params]
        if inner and not any(self.later.grads[name].any() for name in inner):
            return "Only the output layer has a gradient: its error never reaches the gates."
        return ""

    def _left_out(self) -> str:
        """Return which step a backward pass leaves out: the gradients do not depend on its target."""
        x, y = self._probe.window(WINDOW)
        steps = []
        for t in range(WINDOW):
            other = y.copy()
            other[t] = (other[t] + 1) % self._probe.program.vocab_size
            grads = self._probe.run(Window(x, other), self._probe.carried).grads
            if all(np.array_equal(grad, self.later.grads[name]) for name, grad in grads.items()):
                steps.append(t)
        if steps == [0]:
            return (
                "the loop of the backward pass leaves out the first step. Does its range end at 0 instead of -1, as in "
                "`range(T - 1, 0, -1)`?"
            )
        step = "the last step" if steps == [WINDOW - 1] else "a step"
        return f"the loop of the backward pass leaves out {step}. Did you write `[:-1]` for `[::-1]`?"

    def _without_effect(self) -> str:
        """Name what the loss does not depend on, although it has a gradient."""
        if self.recognized is not None:
            return ""
        idle = [each.block for each in self.later.differences if each.wrong and not any(each.by_loss)]
        if not idle:
            return ""
        whole = {name for name in _params(idle) if all(each in idle for each in self.blocks if each.param == name)}
        labels = list(dict.fromkeys(block.param if block.param in whole else block.label for block in idle))
        have, them = ("has", "it") if len(labels) == 1 else ("have", "them")
        return f"{_join(_shorten(labels))} {have} no effect on the loss: the forward pass does not use {them}."

    def _factor(self) -> str:
        pairs = [pair for each in self.later.differences for pair in zip(each.by_program, each.by_loss, strict=True)]
        program, loss = np.array(pairs).T
        factor = float(program @ loss / (loss @ loss))
        if not np.allclose(program, factor * loss, rtol=0, atol=1e-3 * np.abs(factor * loss).max()) or factor == 0:
            return ""
        if any(abs(p - factor * q) > 0.02 * abs(factor * q) + 1e-6 for p, q in pairs):
            return ""
        B = self._probe.program.streams
        names = {B: ("B", "over the B streams"), WINDOW: ("T", "over the T steps")}
        names[WINDOW * B] = ("T B", "over T and B") if B > 1 else ("T", "")
        for size, (name, over) in names.items():
            for way, ratio, loss_is, grads_of in (("large", size, "mean", "sum"), ("small", 1 / size, "sum", "mean")):
                if size > 1 and abs(factor - ratio) < 0.01 * ratio:
                    those = f"a {grads_of} {over}" if over else f"the {grads_of}"
                    return (
                        f"Every gradient is {name} times too {way}: the loss is a {loss_is}, the gradients are those "
                        f"of {those}."
                    )
        if abs(factor + 1) < 0.01:
            return "Every gradient has the wrong sign: p - one_hot(y) may be the other way around."
        return (
            f"Every gradient is {factor:.4g} times that of the loss: a factor, or clipping of the norm, is in one only."
        )

    def _clipped(self) -> str:
        sizes = np.concatenate([np.abs(grad).reshape(-1) for grad in self.later.grads.values()])
        largest = sizes.max()
        if np.isfinite(largest) and largest > 0 and np.count_nonzero(sizes == largest) >= 3:
            return f"Several gradients are exactly {largest:.4g}: they are clipped. Clip them after loss_and_grads."
        return ""

    def _output_layer(self) -> str:
        wrong, outputs = _params(self.later.wrong), set(self._probe.output_params)
        if not wrong <= outputs:
            return ""
        names, weights = _join(wrong), {name for name in outputs if min(self._probe.params[name].shape) > 1}
        if wrong == weights:
            return f"Only the weights of the output layer are wrong: is {names} multiplied by h after the step?"
        return (
            f"Only the output layer is wrong: is the error of the logits p - one_hot(y), and is {names} summed over "
            "the steps?"
        )

    def _accumulation(self) -> str:
        """Wrong in some parameters of the gates, and right in others: dz is right, and what becomes of it is not."""
        wrong = _params(self.later.wrong)
        inner = {name for name in self._probe.params if name not in self._probe.output_params}
        if not wrong <= inner or not self._spares_gates(self.later.wrong, wrong):
            return ""
        parts = {block.part for block in self.later.wrong}
        what = f"{_join(wrong)}{f' (from {_join(parts)})' if wrong == inner else ''}"
        if self.one_step.wrong:
            return (
                f"Only {what} {_are(wrong)} wrong, so the errors dz of the gates are right. The gradient is dz of the "
                "gate's own, times x or h before the step (not after it), summed."
            )
        step = self._only_step(self.later)
        return (
            f"{what} {_are(wrong)} right for one step and wrong for a window, while the other gradients are right: "
            f"{'only ' + step + ' is in it' if step else 'steps are missing or shifted'}. Look for `=` instead of "
            "`+=`, and for a line outside the loop."
        )

    def _spares_gates(self, wrong: Sequence[Block], params: set[str]) -> bool:
        """Return whether each gate is right in some parameter, so that its dz is right."""
        gates = {block.gate for block in wrong}
        if gates <= set(GATES):
            return all(any(block not in wrong for block in self.blocks if block.gate == gate) for gate in gates)
        return len(params) == 1 and len(wrong) == len(GATES)  # unnamed, but all four in one parameter

    def _only_step(self, level: Level) -> str:
        """Return the step whose character alone has a gradient of the weights of x; "" if there is none."""
        x = self._probe.columns(self._probe.window(WINDOW)).x
        used: set[int] = set()
        for block in level.wrong:
            if block.part == "x":
                grad = level.grads[block.param][block.index]
                used |= set(np.flatnonzero(np.any(grad != 0, axis=0 if block.by_rows else 1)).tolist())
        names = {0: "the first step", WINDOW - 1: "the last step"}
        return next((name for t, name in names.items() if used and used <= set(x[t].tolist())), "")

    def _carried_state(self) -> str:
        if self.first.wrong or not self.later.wrong:
            return ""
        if self.one_step.wrong:
            return (
                "The first window is right, and a window with a carried state is wrong in its first step: the backward "
                "pass has zeros instead of the state before the window."
            )
        return (
            "The first window is right, and a later one is wrong: the error of one window is carried into the next. "
            "dh_next and dc_next start at zero in each window."
        )

    def _copied(self) -> str:
        level = self.one_step if self.one_step.wrong else self.later
        for block in level.wrong:
            grad = level.grads[block.param][block.index]
            for other in self.blocks:
                twin = level.grads[other.param][other.index]
                if (
                    other is not block
                    and other not in level.wrong
                    and grad.shape == twin.shape
                    and grad.any()
                    and np.array_equal(grad, twin)
                ):
                    return f"The gradient of {block.label} equals that of {other.label}: it is copied from there."
        return ""

    def _lines(self) -> str:
        if self.recognized is None:
            return ""
        if self.recognized.mistakes:
            forward = describe_lines(self.recognized.mistakes, FORWARD)
            return f"The backward pass is not the derivative of the forward pass. {forward}"
        lines = find_lines(self._probe, self.recognized)
        return describe_lines(lines, BACKWARD) if lines else ""

    def _gates(self) -> str:
        level = self.one_step if self.one_step.wrong else self.later
        named = {block.gate for block in level.wrong} & set(GATES)
        inner = [block for block in self.blocks if block.param not in self._probe.output_params]
        names = _join(GATE_NAMES[gate] for gate in GATES if gate in named) if named else ""
        only = f"Only {names} {_are(named)} wrong: "
        if not self.one_step.wrong:
            return (
                "One step is right and a window is wrong: the errors of h or c do not reach the previous step as they "
                "should. dh_next is dz @ w_h, for all four gates together, and dc_next is dc * f."
            )
        if len(level.wrong) == len(self.blocks):
            return (
                "All gradients are wrong, the output layer's too: begin with the error of the logits, p - one_hot(y)."
            )
        if len(named) == 1:
            (gate,) = named
            note = ". At the first step, c_prev is the c of the state, not c[-1], the last one" if gate == "f" else ""
            return f"{only}its error is `dz_{gate} = {BACKWARD[f'dz_{gate}']}`{note}."
        if named == {"i", "f", "o"}:
            return f"{only}the derivative of the sigmoid, i * (1 - i), is applied to activated gates, once."
        if named == {"g", "i", "f"}:
            return f"{only}the error of c is dc = {BACKWARD['dc']}."
        if len(level.wrong) == len(inner):
            return (
                "All but the output layer is wrong: a derivative is applied twice, h and c are swapped in a call, or "
                "the error of h is wrong: dh = dlogits @ w_out + dh_next."
            )
        lines = _join(f"the {GATE_NAMES[gate]}" for gate in GATES if gate in named) if named else ""
        lines = lines or _join(_shorten([block.label for block in level.wrong]))
        return f"Already wrong for a single step: compare the lines that compute {lines} with docs/lstm.md of charlstm."


def _are(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _params(blocks: Iterable[Block]) -> set[str]:
    return {block.param for block in blocks}


def _shorten(labels: list[str]) -> list[str]:
    return labels if len(labels) <= _SHOWN else [*labels[:_SHOWN], f"{len(labels) - _SHOWN} more"]


def _join(names: Iterable[str]) -> str:
    *rest, last = sorted(names) if isinstance(names, set) else list(names)
    return f"{', '.join(rest)} and {last}" if rest else last
