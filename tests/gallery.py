"""A gallery of mistakes: each is a small change to `examples/lstm_by_hand.py` that people make in their own LSTM."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

PROGRAM = Path(__file__).resolve().parents[1] / "examples" / "lstm_by_hand.py"
LSTM = ("w_x", "w_h", "b")
ALL = (*LSTM, "w_out", "b_out")


@dataclass(frozen=True)
class Mistake:
    """A change to the program.

    Attributes:
        name: in tables and in code.
        title: the mistake in plain words.
        where: the part of the program with the mistake: "forward", "backward", "windows", "update", "initial weights"
            or "training loop". The first two are inside `loss_and_grads`.
        changes: pairs of text, old and new; each old text is in the program exactly once.
        wrong: the parameters whose gradients are no longer those of the program's own loss, from the zero state.
        symptom: what it looks like.
    """

    name: str
    title: str
    where: str
    changes: tuple[tuple[str, str], ...]
    wrong: tuple[str, ...]
    symptom: str


_LOOP = "for t in reversed(range(len(x))):"
_W_X = '        grads["w_x"][:, x[t]] += dz  # np.outer(dz, one_hot(x))\n'
_NO_ERROR = """\
    dh_next = np.zeros_like(params["w_h"][0])  # [H]; zero, because the loss ends with the window
    dc_next = np.zeros_like(dh_next)
"""

MISTAKES = (
    Mistake(
        "positions",
        "The network is given positions instead of characters",
        "forward",
        (
            ("gates = cell(params, x[t],", "gates = cell(params, t,"),
            ('grads["w_x"][:, x[t]] +=', 'grads["w_x"][:, t] +='),
        ),
        (),
        "The loss stays at that of character frequencies. The gradients are correct, so a gradient check passes.",
    ),
    Mistake(
        "swapped-state",
        "h and c are swapped in the call",
        "forward",
        ((" h, c)\n        logits", " c, h)\n        logits"),),
        LSTM,
        "The loss plateaus far above that of the correct program. The gates get the gradients of a different network; those of the output layer are correct.",
    ),
    Mistake(
        "candidate-error",
        "The candidate's gradient lacks the factor of the input gate",
        "backward",
        (("dz_g = dc * i * (1 - g**2)", "dz_g = dc * (1 - g**2)"),),
        LSTM,
        "With SGD, the loss rises or spikes. With Adam, the curve does not show the mistake. In a window of one step, only the candidate's rows are wrong.",
    ),
    Mistake(
        "sigmoid-twice",
        "The derivative of the sigmoid is applied to gates that are already activated",
        "backward",
        (
            ("dz_i = dc * g * i * (1 - i)", "dz_i = dc * g * sigmoid(i) * (1 - sigmoid(i))"),
            ("dz_f = dc * c_prev * f * (1 - f)", "dz_f = dc * c_prev * sigmoid(f) * (1 - sigmoid(f))"),
            ("dz_o = dh * np.tanh(c) * o * (1 - o)", "dz_o = dh * np.tanh(c) * sigmoid(o) * (1 - sigmoid(o))"),
        ),
        LSTM,
        "With Adam, the loss plateaus above that of the correct program; with SGD, it becomes NaN. For a closed gate, i (1 - i) vanishes, but the wrong factor stays between 0.20 and 0.25.",
    ),
    Mistake(
        "error-carried",
        "The gradient of one window is carried into the next",
        "backward",
        (
            (_NO_ERROR, "    dh_next, dc_next = error\n"),
            (
                "def backward(params, x, y, steps):",
                "def backward(params, x, y, steps, error=[np.zeros(H), np.zeros(H)]):",
            ),
            ("    return grads\n", "    error[:] = dh_next, dc_next\n    return grads\n"),
        ),
        (),
        "The curve of an otherwise correct program does not show the mistake. The gradients of the first window are correct, those of later windows are not. Overfitting a short text fails.",
    ),
    Mistake(
        "tanh-twice",
        "The derivative of tanh is applied to values that are already activated",
        "backward",
        (
            ("dz_g = dc * i * (1 - g**2)", "dz_g = dc * i * (1 - np.tanh(g) ** 2)"),
            ("o * (1 - np.tanh(c) ** 2)", "o * (1 - np.tanh(np.tanh(c)) ** 2)"),
        ),
        LSTM,
        "With Adam, the loss plateaus far above that of the correct program; with SGD, it becomes NaN. Where 1 - g^2 vanishes, the wrong factor stays above 0.42.",
    ),
    Mistake(
        "no-path-c",
        "The gradient of c does not reach the previous step",
        "backward",
        ((" (1 - np.tanh(c) ** 2) + dc_next", " (1 - np.tanh(c) ** 2)"),),
        LSTM,
        "The curve does not show the mistake. No gradient rewards the cell for storing something for several steps.",
    ),
    Mistake(
        "no-path-h",
        "The gradient of h does not reach the previous step",
        "backward",
        (('dlogits @ params["w_out"] + dh_next', 'dlogits @ params["w_out"]'),),
        LSTM,
        "The mistake costs little, because the path through c remains.",
    ),
    Mistake(
        "forwards",
        "[:-1] instead of [::-1]: the backward pass runs from the first step, and misses the last",
        "backward",
        ((_LOOP, "for t in range(len(x))[:-1]:"),),
        ALL,
        "The loss plateaus above that of the correct program: the gates get the gradients of earlier steps.",
    ),
    Mistake(
        "empty-loop",
        "The loop of the backward pass is empty, because range lacks its step of -1",
        "backward",
        ((_LOOP, "for t in range(len(x) - 1, -1):"),),
        ALL,
        "The loss stays at ln V: all gradients are zero.",
    ),
    Mistake(
        "last-step-only",
        "The gradient of w_x comes from a single step, the last one visited, because its line is outside the loop",
        "backward",
        ((_W_X, _W_X.removeprefix("    ")),),
        ("w_x",),
        "The loss plateaus above that of the correct program: only the first character of each window changes its weights.",
    ),
    Mistake(
        "bias-copied",
        "The gradient of a bias is copied from another gate",
        "backward",
        (('grads["b"] += dz\n', 'grads["b"] += np.concatenate([dz_g, dz_i, dz_i, dz_o])\n'),),
        ("b",),
        "With Adam, the curve does not show the mistake. With SGD, some seeds diverge.",
    ),
    Mistake(
        "split-swapped",
        "The gradient of [h, x] is split as [x, h]",
        "backward",
        (('dh_next = dz @ params["w_h"]', 'dh_next = (dz @ np.hstack([params["w_h"], params["w_x"]]))[-H:]'),),
        LSTM,
        "The mistake costs little: the path through h carries gradients of the wrong units, but the path through c remains.",
    ),
    Mistake(
        "sum-for-mean",
        "The gradients are those of the sum of the losses, with the rate for their mean",
        "backward",
        ((" / len(x)  # [V]; p - one_hot(y), over T for the mean", "  # [V]; p - one_hot(y)"),),
        ALL,
        "With SGD, the loss becomes NaN. With Adam, the curve does not show the mistake, because Adam divides by the size of the gradients.",
    ),
    Mistake(
        "no-forget-factor",
        "The gradient of c is passed to the previous step without the factor of the forget gate",
        "backward",
        (("dc_next = dc * f", "dc_next = dc"),),
        LSTM,
        "The loss ends slightly or far above that of the correct program, depending on the seed.",
    ),
    Mistake(
        "c-for-c-prev",
        "The gradient of the forget gate uses the new c instead of the previous one",
        "backward",
        (("dz_f = dc * c_prev * f * (1 - f)", "dz_f = dc * c * f * (1 - f)"),),
        LSTM,
        "The curve hardly shows the mistake, because c changes little from step to step.",
    ),
    Mistake(
        "h-for-h-prev",
        "The gradient of w_h uses the new h instead of the previous one",
        "backward",
        (("np.outer(dz, h_prev)", "np.outer(dz, h)"),),
        ("w_h",),
        "The loss ends a little above that of the correct program.",
    ),
    Mistake(
        "softmax-overflow",
        "Softmax does not subtract the maximum",
        "forward",
        (("np.exp(logits - logits.max())", "np.exp(logits)"),),
        (),
        "The curve is the same until a logit exceeds 709 (88 in float32). Then the loss is NaN.",
    ),
    Mistake(
        "state-ignored",
        "Every window starts from the zero state, whatever state it is given",
        "forward",
        (("    h, c = state\n", "    h, c = zero_state()\n"),),
        (),
        "The curve of one epoch does not show the mistake. Every window starts without context, which costs little until the network can use it.",
    ),
    Mistake(
        "targets-not-shifted",
        "The target is the character itself, not the next one",
        "windows",
        (("yield window[:-1], window[1:]", "yield window[:-1], window[:-1]"),),
        (),
        "The loss falls to almost 0, and samples repeat one character.",
    ),
    Mistake(
        "adam-no-root",
        "Adam divides by the mean square, without the root",
        "update",
        (("(np.sqrt(v_hat) + 1e-8)", "(v_hat + 1e-8)"),),
        (),
        "The loss is NaN after the first update.",
    ),
    Mistake(
        "ascent",
        "The update adds the gradient",
        "update",
        (("params[name] -= RATE", "params[name] += RATE"),),
        (),
        "The loss rises from the first update, until it is NaN.",
    ),
    Mistake(
        "adam-from-0",
        "Adam's count starts at 0",
        "training loop",
        (
            (
                "            n += 1\n            update(params, grads, n)\n",
                "            update(params, grads, n)\n            n += 1\n",
            ),
        ),
        (),
        "The loss is NaN after the first update, because Adam divides 0 by 0.",
    ),
    Mistake(
        "state-not-carried",
        "The training loop drops the state after each window",
        "training loop",
        (
            (
                "loss, grads, state = loss_and_grads(params, x, y, state)  #",
                "loss, grads, _ = loss_and_grads(params, x, y, state)  #",
            ),
        ),
        (),
        "The effect is that of state-ignored, but every function of the program is correct.",
    ),
    Mistake(
        "state-not-reset",
        "The state is not reset when the text starts over",
        "training loop",
        (
            (
                "    while n < steps:\n        state = zero_state()  # the text starts over\n",
                "    state = zero_state()\n    while n < steps:\n",
            ),
        ),
        (),
        "The mistake does no harm: once per epoch, the state at the end of the text is carried to its start.",
    ),
    Mistake(
        "biases-normal",
        "The biases start from N(0, 1)",
        "initial weights",
        (
            ("np.concatenate([np.zeros(2 * H), np.ones(H), np.zeros(H)])", "rng.normal(size=4 * H)"),
            ('"b_out": np.zeros(V)', '"b_out": rng.normal(size=V)'),
        ),
        (),
        "With some seeds, the random `b_out` raises the first loss well above ln V. The effect on the curve soon disappears.",
    ),
)

FIVE = ("positions", "swapped-state", "candidate-error", "sigmoid-twice", "error-carried")  # together in one program


def program() -> str:
    """Return the source of the correct program."""
    return PROGRAM.read_text(encoding="utf-8")


def change(source: str, *changes: tuple[str, str]) -> str:
    """Return the source with each old text, which must be there exactly once, replaced by the new one."""
    for old, new in changes:
        assert source.count(old) == 1, f"{source.count(old)} times in the program: {old}"
        source = source.replace(old, new)
    return source


def mistake(name: str) -> Mistake:
    """Return the mistake of this name."""
    (found,) = (mistake for mistake in MISTAKES if mistake.name == name)
    return found


def source_of(*names: str) -> str:
    """Return the source of the program with these mistakes; of the correct program without any."""
    return change(program(), *(pair for name in names for pair in mistake(name).changes))


def load(source: str, name: str = "lstm_by_hand") -> ModuleType:
    """Run the source as a module that is imported: nothing is trained."""
    module = ModuleType(name)
    module.__file__ = str(PROGRAM)
    exec(compile(source, f"{name}.py", "exec"), module.__dict__)
    return module
