"""The network: L LSTM layers upon another, and an output layer on top."""

from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from charlstm.batches import IntArray, Window
from charlstm.config import ModelConfig
from charlstm.layers import (
    Floats,
    Grads,
    Inputs,
    LSTMCache,
    Params,
    logits_forward,
    loss_backward,
    loss_forward,
    lstm_backward,
    lstm_forward,
)


class State(NamedTuple):
    """The recurrent state of all layers: a value that the caller holds."""

    h: Floats  # [L, H, B]
    c: Floats  # [L, H, B]


class CharLSTM:
    """A character-level LSTM language model.

    Attributes:
        config: the shape.
        params: `layer0.w_x` [4H, V], `layer1.w_x` [4H, H], ..., `layerN.w_h` [4H, H], `layerN.b` [4H],
            `w_out` [V, H], `b_out` [V].
    """

    def __init__(self, config: ModelConfig, params: dict[str, Floats]) -> None:
        self.config = config
        self.params = params

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.params["b_out"])

    def zero_state(self, batch_size: int) -> State:
        """Return the state at the start of a text, for B streams."""
        shape = (self.config.num_layers, self.config.hidden_size, batch_size)
        return State(*np.zeros((2, *shape), self.params["b_out"].dtype))

    def loss_and_grads(
        self, window: Window, state: State, rng: np.random.Generator | None = None, clip_error: float = 0.0
    ) -> tuple[float, Grads, State]:
        """Predict each character of a window from those before, and learn how to do better.

        Args:
            window: ids x and y [T, B].
            state: where the window before ended.
            rng: source of the dropout masks; without one, nothing is dropped.
            clip_error: see `lstm_backward`.

        Returns:
            The mean loss in nats per character; its gradients, with the keys of `params`; the state after the window.
        """
        masks = self._dropout_masks(window.x.shape[1], rng)
        h, caches, state = self._forward(window.x, state, masks)
        loss, loss_cache = loss_forward(self.params, h, window.y)
        dh, grads = loss_backward(self.params, loss_cache)
        for layer in reversed(range(self.config.num_layers)):
            if masks is not None:
                dh *= masks[layer]
            dx, layer_grads = lstm_backward(self._layer(layer), dh, caches[layer], clip_error)
            grads |= {f"layer{layer}.{name}": grad for name, grad in layer_grads.items()}
            if dx is not None:
                dh = dx
        return loss, grads, state

    def loss(self, window: Window, state: State) -> tuple[float, State]:
        """Return the mean loss in nats per character, and the state after the window. Nothing is dropped."""
        h, _, state = self._forward(window.x, state)
        return loss_forward(self.params, h, window.y)[0], state

    def read(self, ids: IntArray, state: State) -> State:
        """Read a text without predicting; return the state after it.

        Args:
            ids: [T, B].
            state: before the text; left as it is.
        """
        return self._forward(ids, state)[2]

    def logits(self, state: State) -> Floats:
        """Return the logits of the next character [V, B] in a state."""
        return logits_forward(self.params, state.h[-1])

    def step(self, ids: IntArray, state: State) -> tuple[Floats, State]:
        """Read one character per stream, ids [B]; return the logits of the next [V, B], and the new state."""
        state = self.read(ids[None], state)
        return self.logits(state), state

    def _forward(
        self, ids: IntArray, state: State, masks: Floats | None = None
    ) -> tuple[Floats, list[LSTMCache], State]:
        x: Inputs = ids
        caches, hs, cs = [], [], []
        for layer in range(self.config.num_layers):
            x, h, c, cache = lstm_forward(self._layer(layer), x, state.h[layer], state.c[layer])
            if masks is not None:
                x = x * masks[layer]
            caches.append(cache)
            hs.append(h)
            cs.append(c)
        return cast(Floats, x), caches, State(np.stack(hs), np.stack(cs))

    def _layer(self, layer: int) -> Params:
        return {name: self.params[f"layer{layer}.{name}"] for name in ("w_x", "w_h", "b")}

    def _dropout_masks(self, batch_size: int, rng: np.random.Generator | None) -> Floats | None:
        """Masks on the outputs of the layers [L, H, B], one for the whole window (Gal and Ghahramani, 2016).

        What is kept is scaled up, so that the mean stays and sampling needs no change.
        """
        keep = 1 - self.config.dropout
        if rng is None or keep == 1:
            return None
        shape = (self.config.num_layers, self.config.hidden_size, batch_size)
        dtype = self.params["b_out"].dtype
        return (rng.random(shape, np.float32) < keep).astype(dtype) / dtype.type(keep)


def param_shapes(config: ModelConfig, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Return the names of a model's parameters, in order, and their shapes."""
    H, V = config.hidden_size, vocab_size
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(config.num_layers):
        shapes[f"layer{layer}.w_x"] = (4 * H, H if layer else V)
        shapes[f"layer{layer}.w_h"] = (4 * H, H)
        shapes[f"layer{layer}.b"] = (4 * H,)
    return shapes | {"w_out": (V, H), "b_out": (V,)}


def new_model(
    config: ModelConfig, vocab_size: int, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
) -> CharLSTM:
    """Return a model with fresh weights.

    `w_h` is orthogonal, gate by gate (Saxe, McClelland and Ganguli, 2014); the other weights are uniform within
    1 / sqrt(H); biases are 0, but 1 for the forget gates, so that the cells start by remembering (Jozefowicz, Zaremba
    and Sutskever, 2015). The loss is then close to ln V.
    """
    H = config.hidden_size
    params: dict[str, Floats] = {}
    for name, shape in param_shapes(config, vocab_size).items():
        if name.endswith("w_h"):
            values = np.concatenate([_orthogonal(H, rng) for _ in range(4)])
        elif name.endswith(("w_x", "w_out")):
            values = rng.uniform(-(H**-0.5), H**-0.5, shape)
        else:
            values = np.zeros(shape)
        params[name] = values.astype(dtype)
        if name.endswith(".b"):
            params[name][2 * H : 3 * H] = 1
    return CharLSTM(config, params)


def _orthogonal(size: int, rng: np.random.Generator) -> Floats:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diag(r))  # without this, not every rotation would be equally likely (Mezzadri, 2007)
