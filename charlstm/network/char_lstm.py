"""The network: L stacked LSTM layers, and an output layer on top."""

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from charlstm.arrays import Bools, Floats, Grads, IntArray, LayerParams, Params
from charlstm.config.settings import ModelConfig
from charlstm.network.layers import Inputs, LSTMLayer, OutputLayer
from charlstm.text.batches import Window


class State(NamedTuple):
    """The recurrent state of all layers: a value that the caller holds."""

    h: Floats  # [L, B, H]
    c: Floats  # [L, B, H]

    def streams(self, which: "slice | IntArray") -> "State":
        """Return the state of some of the streams: views for a slice, copies for indices."""
        return State(self.h[:, which], self.c[:, which])

    def keep(self, kept: Bools) -> "State":
        """Return the state with all streams reset to zero but those that are kept [B]."""
        return State(self.h * kept[:, None], self.c * kept[:, None])


class Masks(NamedTuple):
    """The dropout masks of a window; None where nothing is dropped.

    The outputs are scaled by their mask. For the others, `_apply_weight_masks` scales the weights.
    """

    inputs: Bools | None  # [B, V], the characters that each stream sees
    outputs: Floats | None  # [L, B, H], 0 where dropped, else 1 / (1 - dropout)
    recurrent: Bools | None  # [L, 4H, H], the recurrent weights that are kept

    def streams(self, which: slice) -> "Masks":
        """Return the masks of some of the streams (views)."""
        inputs, outputs, recurrent = self
        return Masks(
            inputs if inputs is None else inputs[which], outputs if outputs is None else outputs[:, which], recurrent
        )


class CharLSTM:
    """A character-level LSTM network. It may be used by one thread at a time.

    Args:
        config: the shape.
        params: see below.
        grads: arrays for the gradients, by the same names; by default they are allocated when needed.
        boundary_id: the id that starts a document: a stream that reads it forgets what it read before. None without
            documents.

    Attributes:
        config: the shape.
        boundary_id: as given.
        kernel: computes the loops over time, "numpy" or "numba"; to be set before the first window.
        params: `layer0.w_x` [4H, V], `layer1.w_x` [4H, H], ..., `layerN.w_h` [4H, H], `layerN.b` [4H],
            `w_out` [V, H], `b_out` [V].
    """

    def __init__(
        self, config: ModelConfig, params: dict[str, Floats], grads: Grads | None = None, boundary_id: int | None = None
    ) -> None:
        self.config = config
        self.params = params
        self.boundary_id = boundary_id
        self.kernel = "numpy"
        if grads is not None:
            self.grads = grads  # in place of the cached property
        self._layers: list[LSTMLayer] = []
        self._layers_shape = (0, 0)  # T, B

    def copy(self) -> "CharLSTM":
        """Return a network with its own copy of the weights."""
        params = {name: param.copy() for name, param in self.params.items()}
        copy = CharLSTM(self.config, params, boundary_id=self.boundary_id)
        copy.kernel = self.kernel
        return copy

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(param.size for param in self.params.values())

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.params["b_out"])

    def zero_state(self, batch_size: int) -> State:
        """Return the state at the start of a text, for B streams."""
        shape = (self.config.num_layers, batch_size, self.config.hidden_size)
        return State(*np.zeros((2, *shape), self._dtype))

    def draw_masks(self, batch_size: int, rng: np.random.Generator) -> Masks | None:
        """Draw the masks of a window; None if the configuration has no dropout.

        Inputs and outputs have one mask for all steps of a window (Gal and Ghahramani, "A theoretically grounded
        application of dropout in recurrent neural networks", 2016), recurrent weights one for all streams too
        (DropConnect: Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", 2018). What is
        kept is scaled up, so that the mean is unchanged and sampling needs no correction.
        """
        config = self.config
        L, B, H = config.num_layers, batch_size, config.hidden_size
        if not (config.input_dropout or config.dropout or config.dropconnect):
            return None
        inputs = _draw_kept((B, self.vocab_size), config.input_dropout, rng) if config.input_dropout else None
        outputs = None
        if config.dropout:
            outputs = _draw_kept((L, B, H), config.dropout, rng).astype(self._dtype)
            outputs /= 1 - config.dropout
        recurrent = None
        if config.dropconnect:
            recurrent = _draw_kept((L, 4 * H, H), config.dropconnect, rng)
        return Masks(inputs, outputs, recurrent)

    @cached_property
    def grads(self) -> Grads:
        """The gradients of the last window, by parameter."""
        return {name: np.empty(param.shape, param.dtype) for name, param in self.params.items()}

    def loss_and_grads(
        self,
        window: Window,
        state: State,
        masks: Masks | None = None,
        clip_error: float = 0.0,
        chars: int | None = None,
    ) -> tuple[float, Grads, State]:
        """Return the loss of a window and its gradients (truncated BPTT).

        Args:
            window: ids x and y [T, B].
            state: at the end of the previous window.
            masks: from `draw_masks`; if None, nothing is dropped.
            clip_error: see `LSTMLayer.backward`.
            chars: the number of characters to average over, if the window is part of a larger one.

        Returns:
            The mean loss in nats per character; `grads`, which the next call overwrites; the state after the window.
        """
        grads, chars = self.grads, window.x.size if chars is None else chars
        h, params, after = self._forward(window.x, state, masks)
        losses = self._output.forward(self.params, h, window.y)
        dh = self._output.backward(self.params, chars, grads).reshape(h.shape)
        for layer in reversed(range(self.config.num_layers)):
            if masks and masks.outputs is not None:
                dh *= masks.outputs[layer]
            layer_grads = _of_layer(grads, layer)
            dx = self._layers[layer].backward(params[layer], dh, layer_grads, clip_error)
            if masks:  # d(w m) / dw = m: the gradient gets the same mask and scale
                self._apply_weight_masks(layer_grads, layer, masks)
            if dx is not None:
                dh = dx
        return _sum(losses) / chars, grads, after

    def loss(self, window: Window, state: State, chars: int | None = None) -> tuple[float, State]:
        """Return the mean loss in nats per character and the state after the window. Nothing is dropped."""
        losses, after = self.char_losses(window, state)
        return _sum(losses) / (window.x.size if chars is None else chars), after

    def char_losses(self, window: Window, state: State) -> tuple[Floats, State]:
        """Return the loss of each character of a window in nats [T, B] and the state after it."""
        h, _, after = self._forward(window.x, state)
        return self._output.forward(self.params, h, window.y), after

    def read(self, ids: IntArray, state: State) -> State:
        """Return the state after reading a text.

        Args:
            ids: [T, B].
            state: before the text; not changed.
        """
        return self._forward(ids, state)[2]

    def activations(self, ids: IntArray, state: State) -> tuple[list[tuple[Floats, Floats]], State]:
        """Return the gates and cell states of each layer while it reads a text, and the state after it.

        Args:
            ids: [T, B].
            state: before the text; not changed.

        Returns:
            For each layer, g, i, f, o [4, T, B, H] and c [T, B, H], valid until the next window; the new state.
        """
        _, _, after = self._forward(ids, state)
        return [layer.activations for layer in self._layers], after

    def _forward(self, ids: IntArray, state: State, masks: Masks | None = None) -> tuple[Floats, list[Grads], State]:
        """Return the output of the top layer [T, B, H], the masked parameters of the layers, and the new state."""
        self._fit_layers(*ids.shape)
        x: Inputs = ids
        if masks and masks.inputs is not None:
            seen = masks.inputs[np.arange(ids.shape[1]), ids]  # [T, B]
            x = np.where(seen, ids, self.vocab_size)
        keep = None if self.boundary_id is None else (ids != self.boundary_id)[..., None].astype(self._dtype)
        hs, cs = [], []
        params = [self._masked_params(n, masks) for n in range(self.config.num_layers)]
        for n, layer in enumerate(self._layers):
            h_all, h, c = layer.forward(params[n], x, state.h[n], state.c[n], keep)
            x = h_all
            if masks and masks.outputs is not None:
                x = np.multiply(h_all, masks.outputs[n], out=self._dropped[n])
            hs.append(h)
            cs.append(c)
        return cast(Floats, x), params, State(np.stack(hs), np.stack(cs))

    def _fit_layers(self, T: int, B: int) -> None:
        """Allocate the arrays of a window of this shape, unless the last one had it."""
        if self._layers_shape == (T, B):
            return
        H, V = self.config.hidden_size, self.vocab_size
        self._layers_shape, self._layers = (0, 0), []  # frees the old arrays first
        self._layers = [
            LSTMLayer(
                T,
                B,
                H if n else V,
                H,
                one_hot=n == 0,
                dtype=self._dtype,
                kernel=self.kernel,
                resets=self.boundary_id is not None,
            )
            for n in range(self.config.num_layers)
        ]
        self._dropped = [np.empty((T, B, H if self.config.dropout else 0), self._dtype) for _ in self._layers]
        self._output = OutputLayer(T, B, H, V, self._dtype)
        self._layers_shape = (T, B)

    def _masked_params(self, layer: int, masks: Masks | None) -> LayerParams:
        """Return the parameters of a layer, with the masks applied to copies of the weights they apply to."""
        params = _of_layer(self.params, layer)
        if masks:
            if masks.inputs is not None and layer == 0:
                params["w_x"] = params["w_x"].copy()
            if masks.recurrent is not None:
                params["w_h"] = params["w_h"].copy()
            self._apply_weight_masks(params, layer, masks)
        return params

    def _apply_weight_masks(self, arrays: LayerParams, layer: int, masks: Masks) -> None:
        """Apply the masks to the weights of a layer, or to their gradients, in place."""
        if masks.inputs is not None and layer == 0:
            arrays["w_x"] *= 1 / (1 - self.config.input_dropout)
        if masks.recurrent is not None:
            arrays["w_h"] *= masks.recurrent[layer]
            arrays["w_h"] *= 1 / (1 - self.config.dropconnect)

    @property
    def _dtype(self) -> np.dtype[np.floating]:
        return self.params["b_out"].dtype


def _draw_kept(shape: tuple[int, ...], dropped: float, rng: np.random.Generator) -> Bools:
    """Draw a boolean mask that is False with the probability `dropped`."""
    kept: Bools = rng.integers(0, 1 << 16, shape, np.uint16) < round((1 - dropped) * (1 << 16))
    return kept


def _sum(losses: Floats) -> float:
    return float(np.sum(losses, dtype=np.float64))


def _of_layer(arrays: Params, layer: int) -> LayerParams:
    """Return the parameters or gradients of a layer by their names within it."""
    return {name: arrays[f"layer{layer}.{name}"] for name in ("w_x", "w_h", "b")}


def concat_states(states: Iterable[State]) -> State:
    """Concatenate states along the streams."""
    return State(*(np.concatenate(arrays, axis=1) for arrays in zip(*states, strict=True)))


def param_shapes(config: ModelConfig, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Return the names of the parameters, in order, and their shapes."""
    H, V = config.hidden_size, vocab_size
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(config.num_layers):
        shapes[f"layer{layer}.w_x"] = (4 * H, H if layer else V)
        shapes[f"layer{layer}.w_h"] = (4 * H, H)
        shapes[f"layer{layer}.b"] = (4 * H,)
    return shapes | {"w_out": (V, H), "b_out": (V,)}


def init_network(
    config: ModelConfig,
    vocab_size: int,
    rng: np.random.Generator,
    dtype: npt.DTypeLike = np.float32,
    boundary_id: int | None = None,
) -> CharLSTM:
    """Return a network with initial weights.

    `w_h` is orthogonal, gate by gate (Saxe, McClelland and Ganguli, 2014); the other weights are uniform in
    +-1 / sqrt(H). With `init` uniform, all weights are uniform in +-0.5 / H. Biases are 0, those of the forget gates 1,
    so that the cells start by remembering (Jozefowicz, Zaremba and Sutskever, 2015). The initial loss is close to ln V.
    """
    H = config.hidden_size
    orthogonal = config.init == "orthogonal"
    bound = H**-0.5 if orthogonal else 0.5 / H
    params: dict[str, Floats] = {}
    for name, shape in param_shapes(config, vocab_size).items():
        if name.endswith("w_h") and orthogonal:
            values = np.concatenate([_orthogonal(H, rng) for _ in range(4)])
        elif len(shape) == 2:
            values = rng.uniform(-bound, bound, shape)
        else:
            values = np.zeros(shape)
        params[name] = values.astype(dtype)
        if name.endswith(".b"):
            params[name][2 * H : 3 * H] = 1
    return CharLSTM(config, params, boundary_id=boundary_id)


def _orthogonal(size: int, rng: np.random.Generator) -> Floats:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diag(r))  # makes q uniform over the orthogonal group (Mezzadri, 2007)
