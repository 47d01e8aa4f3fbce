"""The weights of a program in charlstm's own network."""

import numpy as np

from charlstm.config.settings import ModelConfig
from charlstm.diagnosis.causes import Gradients
from charlstm.diagnosis.equations import FORWARD
from charlstm.diagnosis.forward_checks import NotCheckedError
from charlstm.diagnosis.layout import Weights, weights_of
from charlstm.diagnosis.lines import describe_lines
from charlstm.diagnosis.probe import Probe
from charlstm.diagnosis.program import Finding
from charlstm.diagnosis.recognition import describe
from charlstm.network.char_lstm import CharLSTM, State
from charlstm.text.batches import Window

_STEPS = 8


def check_network(probe: Probe, gradients: Gradients) -> str:
    """Compare the loss and the state of each step with those of charlstm's network with the same weights."""
    recognized, layout = gradients.recognized, probe.program.layout
    if recognized is not None and recognized.mistakes:
        raise Finding("the losses are those of another network", describe_lines(recognized.mistakes, FORWARD))
    if recognized is None and layout is None:
        raise NotCheckedError(
            "the layout of the parameters is not recognised:\n"
            "either this is not a plain LSTM of one layer, or its forward pass is wrong; define layout to compare it "
            "with one"
        )
    weights = weights_of(gradients.blocks, probe.params, probe.program.vocab_size, probe.units)
    if weights is None or probe.pair is None:
        raise NotCheckedError("layout does not cover an LSTM of one layer with one-hot inputs")
    try:
        largest = _compare(probe, weights)
    except Finding as finding:
        raise Finding(finding.measured, _WRONG_STATE if recognized is not None else finding.cause) from None
    found = "" if layout else f"\nrecognised: {describe(recognized.layout)}" if recognized else ""
    return f"largest difference {largest:.0e} over {_STEPS} steps{found}"


def _compare(probe: Probe, weights: Weights) -> float:
    """Return the largest difference in the loss and the state of any step."""
    network = _network(weights)
    state, window, largest = probe.zero, probe.window(_STEPS), 0.0
    for t in range(_STEPS):
        step = Window(*(ids[t : t + 1] for ids in window))
        h, c = probe.pair_of(state)
        loss, ours = network.loss(probe.columns(step), State(h[None].copy(), c[None].copy()))
        output = probe.run(step, state)
        state = output.state
        h_gap, c_gap = (float(np.abs(a - b[0]).max()) for a, b in zip(probe.pair_of(state), ours, strict=True))
        bound = 1e3 * probe.precision.match
        if c_gap > bound:
            raise Finding(f"step {t + 1}: c differs by {c_gap:.1e}", _WRONG_C if t == 0 else _WRONG_LATER_C)
        if h_gap > bound:
            raise Finding(f"step {t + 1}: c agrees, h differs by {h_gap:.1e}", _WRONG_H)
        n = min(probe.denominators(1), key=lambda n: abs(output.loss / n - loss))
        if abs(output.loss / n - loss) > bound:
            raise Finding(
                f"step {t + 1}: the state agrees, the loss differs by {abs(output.loss / n - loss):.1e}", _WRONG_LOSS
            )
        largest = max(largest, h_gap, c_gap, abs(output.loss / n - loss))
    return largest


_WRONG_C = "From the zero state, c = i * g: look at the candidate g and the input gate i, and at their activations."
_WRONG_LATER_C = "The first step agrees, so look at the forget gate, c = f * c_prev + i * g, and at the weights of h."
_WRONG_STATE = "The losses are those of an LSTM, but the state that is returned is not h and c after the last step."
_WRONG_H = "Look at the output gate o and at h = o * tanh(c)."
_WRONG_LOSS = "Look at the output layer, the softmax and -log p[y]."


def _network(weights: Weights) -> CharLSTM:
    _, H, V = weights.w_x.shape
    params = {
        "layer0.w_x": weights.w_x.reshape(4 * H, V),
        "layer0.w_h": weights.w_h.reshape(4 * H, H),
        "layer0.b": weights.b.reshape(4 * H),
        "w_out": weights.w_out,
        "b_out": weights.b_out,
    }
    return CharLSTM(ModelConfig(hidden_size=H), params)
