"""Checks of the loss and the state, without gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np

from charlstm.arrays import Floats, IntArray
from charlstm.diagnosis.probe import FLOAT32, Probe
from charlstm.diagnosis.program import Finding, Output, arrays_of, state_like
from charlstm.text.batches import Window

_MARGIN = 0.2  # nats above ln V, for initial weights
_T = 8  # steps of a window


class NotCheckedError(Exception):
    """A check that cannot be made for a program. The message says why."""


def check_run(probe: Probe) -> str:
    """Call the program once, with its initial weights, and look at what it returns."""
    program = probe.program
    output = program.run(probe.window(5), probe.zero, program.params)
    for name, grad in output.grads.items():
        if not np.isfinite(grad).all():
            raise Finding(f"the gradient of {name} has NaN or infinity", "See the loss, and divisions by zero.")
    before, after = arrays_of(probe.zero), arrays_of(output.state)
    shapes = [[array.shape for array in arrays] for arrays in (before, after)]
    if shapes[0] != shapes[1]:
        raise Finding(
            f"zero_state() has arrays of the shapes {shapes[0]}, the state that loss_and_grads returns {shapes[1]}",
            "Return the state in the form of zero_state(), so that it can be passed to the next window.",
        )
    probe.run(probe.window(5), probe.zero)
    size = sum(param.size for param in program.params.values())
    told = "float64" if probe.precision is not FLOAT32 else "float32, so the bounds are wide: 3% for gradients"
    return f"{size:,} parameters, V = {program.vocab_size}, {told}"


def check_repetition(probe: Probe) -> str:
    """Call the program several times with the same arguments."""
    window, program = probe.window(_T), probe.program
    first, second = (probe.run(window, probe.carried) for _ in range(2))
    other = program.run(window, probe.carried, probe.params, seed=1)
    if first.loss == second.loss != other.loss:
        raise Finding(
            f"the loss depends on random numbers: {first.loss:.6g}, then {other.loss:.6g}",
            "Leave dropout and other random numbers out of loss_and_grads for this check.",
        )
    if first.loss != second.loss or not _equal(first.state, second.state):
        raise Finding(
            f"the same arguments give different losses or states: {first.loss:.6g}, then {second.loss:.6g}",
            "Something is kept from one call to the next: h and c come from the argument state, not from a variable.",
        )
    for name, grad in first.grads.items():
        if not np.array_equal(grad, second.grads[name], equal_nan=True):
            raise Finding(f"the same arguments give the same loss and other gradients of {name}", _kept(first, second))
    return "the same arguments give the same results"


def check_initial_loss(probe: Probe) -> str:
    """Compare the loss of the initial weights with ln V, that of a uniform guess."""
    program = probe.program
    ln_v = float(np.log(program.vocab_size))
    loss = float(np.mean([program.run(probe.window(_T, seed), probe.zero, program.params).loss for seed in range(4)]))
    n = loss_scale(probe, loss, _T)
    per_char = loss / n
    measured = f"{per_char:.4f} nats per character, ln V = {ln_v:.4f}"
    if abs(per_char - ln_v) <= _MARGIN:
        return f"{measured}; the loss is a sum over {n} characters" if n > 1 else measured
    if abs(per_char * np.log(2) - ln_v) < 0.05 * ln_v:
        raise Finding(
            measured, "The loss is in bits: use the natural logarithm, or multiply its gradients by 1 / ln 2."
        )
    if per_char < ln_v:
        raise Finding(
            measured, "No network predicts random characters so well: is -log p[y] taken at y, and of all steps?"
        )
    raise Finding(
        measured,
        "The initial weights or biases are too large: biases from N(0, 1) cost half a nat. Or are they not initial?",
    )


def check_inputs(probe: Probe) -> str:
    """Change inputs and targets, and see which predictions change."""
    window = probe.window(_T)
    x, y = window
    base = probe.run(window, probe.carried).loss
    other = (y + 1) % probe.program.vocab_size
    if probe.precision.same(base, probe.run(Window(x, other), probe.carried).loss):
        raise Finding("other targets y give the same loss", "The loss does not read y.")
    if probe.precision.same(base, probe.run(Window(_shuffle(x), y), probe.carried).loss):
        raise Finding(
            "shuffled inputs x give the same loss",
            "The characters x are not read: their positions are fed instead, `t` for `x[t]`.",
        )
    for t in range(_T):
        reacts = _reactions(probe, window, t, rounding=30 * probe.precision.rounding * abs(base))
        if not reacts(t):
            raise Finding(f"x[{t}] does not change the prediction of y[{t}]", _LAGS)
        if t + 1 < _T and reacts(t + 1):
            raise Finding(f"x[{t + 1}] changes the prediction of y[{t}]", _SEES_AHEAD)
        if t and not reacts(t - 1):
            raise Finding(f"x[{t - 1}] does not change the prediction of y[{t}]", _FORGETS)
    return "each prediction depends on its input and on earlier ones, not on later ones"


_LAGS = "The prediction at t is made from h before the step, not from h after it."
_SEES_AHEAD = "A prediction sees the future: is h indexed by a wrong step, or the text read backwards?"
_FORGETS = "The network has no memory: h and c of one step are not passed to the next."


def check_halves(probe: Probe) -> str:
    """Compare one window with its halves, between which the state is carried."""
    window = probe.window(_T)
    halves = [Window(*(ids[part] for ids in window)) for part in (slice(_T // 2), slice(_T // 2, None))]
    whole = probe.run(window, probe.zero)
    first = probe.run(halves[0], probe.zero)

    def fits(state: Any) -> Output | None:
        second = probe.run(halves[1], state)
        total = first.loss + second.loss
        same = probe.precision.same(whole.loss, total) or probe.precision.same(whole.loss, total / 2)
        return second if same else None

    second = fits(first.state)
    if second is not None and _close(whole.state, second.state, probe):
        return "one window gives the same losses and state as its two halves"
    if second is not None:
        raise Finding(
            "the loss is that of two halves, the state after them is another", "Return h and c of the last step."
        )
    measured = "the loss of one window is not that of its two halves with the state carried"
    if probe.precision.same(probe.run(halves[1], first.state).loss, probe.run(halves[1], probe.zero).loss):
        raise Finding(
            measured, "The state is not used: every window starts from the same h and c, whatever it is given."
        )
    arrays = arrays_of(first.state)
    if len(arrays) == 2 and arrays[0].shape == arrays[1].shape and fits(state_like(first.state, arrays[::-1])):
        raise Finding(measured, "h and c are returned in one order and taken in the other.")
    raise Finding(measured, "The state that is returned is not that of the last step, or T is fixed somewhere.")


def check_hidden_range(probe: Probe) -> str:
    """Read one character many times with large weights: |h| stays below 1, c grows."""
    if probe.pair is None:
        raise NotCheckedError("the state is not a pair of arrays h, c")
    rng = np.random.default_rng(8)
    highest = [0.0, 0.0]
    for _ in range(3):
        params = {
            name: np.asarray(param + 1.5 * rng.standard_normal(param.shape), param.dtype)
            for name, param in probe.program.params.items()
        }
        x = np.zeros_like(probe.window(30).x)
        state = probe.program.run(Window(x, x), probe.zero, params).state
        highest = [max(old, float(np.abs(each).max())) for old, each in zip(highest, probe.pair_of(state), strict=True)]
    h, c = highest
    if h <= 1 + 1e-6:
        return f"largest |h| {h:.3f}, largest |c| {c:.3f}"
    if c <= 1 + 1e-6:
        raise Finding(f"|h| is {h:.3f}", "The state seems to be c, h; let zero_state() and loss_and_grads have h, c.")
    raise Finding(f"|h| is {h:.3f}", "h = o * tanh(c) is always below 1: is the tanh missing, or is h another array?")


def check_large_weights(probe: Probe) -> str:
    """Look for NaN where the weights, and so the logits, are large."""
    params = {name: param * np.asarray(1e4, param.dtype) for name, param in probe.params.items()}
    output = probe.program.run(probe.window(_T), probe.zero, params)
    broken = [name for name, grad in output.grads.items() if np.isnan(grad).any()]
    if np.isnan(output.loss) or broken:
        what = "the loss" if np.isnan(output.loss) else f"the gradient of {broken[0]}"
        raise Finding(
            f"weights multiplied by 10,000 make {what} NaN",
            "exp overflows: subtract the largest logit in softmax. Otherwise look at the sigmoid, and at 0 * log(0).",
        )
    return "no NaN with weights multiplied by 10,000"


def loss_scale(probe: Probe, loss: float, T: int) -> int:
    """Return what a loss near ln V per character is a sum over: 1 for a mean, T, B or T B."""
    ln_v = float(np.log(probe.program.vocab_size))
    return min(probe.denominators(T), key=lambda n: (abs(np.log(max(loss, 1e-9) / (n * ln_v))), n))


def _reactions(probe: Probe, window: Window, t: int, rounding: float) -> Callable[[int], bool]:
    """Return a function that says whether x[s] changes the prediction of y[t]."""
    before, V = _preference(probe, window, t), probe.program.vocab_size

    def reacts(s: int) -> bool:
        for shift in range(1, min(V, 3)):
            x = np.array(window.x)
            x[s] = (x[s] + shift) % V
            if abs(_preference(probe, Window(x, window.y), t) - before) > rounding:
                return True
        return False

    return reacts


def _preference(probe: Probe, window: Window, t: int) -> float:
    """Return the loss if y[t] is 0, minus the loss if it is 1: only the prediction of y[t] changes it."""
    losses = []
    for target in (0, 1):
        y = np.array(window.y)
        y[t] = target
        losses.append(probe.run(Window(window.x, y), probe.carried).loss)
    return losses[0] - losses[1]


def _shuffle(x: IntArray) -> IntArray:
    """Return the steps of x in another order."""
    return np.roll(x, 1, axis=0)


def _equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(*pair) for pair in zip(arrays_of(a), arrays_of(b), strict=True))


def _close(a: Any, b: Any, probe: Probe) -> bool:
    def near(x: Floats, y: Floats) -> bool:
        return bool(np.abs(x - y).max() <= 10 * probe.precision.match * max(np.abs(x).max(), 1e-12))

    return all(near(*pair) for pair in zip(arrays_of(a), arrays_of(b), strict=True))


def _kept(first: Output, second: Output) -> str:
    """Return why the gradients of two equal calls differ."""
    doubled = all(np.allclose(second.grads[name] - grad, grad) for name, grad in first.grads.items())
    if doubled:
        return "The gradients are added to those of the call before: set them to zero at the start."
    return (
        "The backward pass keeps something from the call before: the error of one window is carried into the next. "
        "dh_next and dc_next start at zero in each window, and the gradients too."
    )
