"""The network: L LSTM layers upon another, and an output layer on top."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from charlstm.batches import IntArray, Window
from charlstm.config import ModelConfig
from charlstm.layers import (
    Floats,
    Grads,
    Inputs,
    LossCache,
    LSTMCache,
    Params,
    Workspace,
    logits_forward,
    loss_backward,
    loss_forward,
    lstm_backward,
    lstm_forward,
)
from charlstm.threads import blas_threads, side_by_side


class State(NamedTuple):
    """The recurrent state of all layers: a value that the caller holds."""

    h: Floats  # [L, H, B]
    c: Floats  # [L, H, B]


class _Part(NamedTuple):
    """Some of the streams of a batch."""

    number: int
    streams: slice


_Result = TypeVar("_Result")
_LEAST_STREAMS = 16  # in a part: products of fewer columns are slow


class CharLSTM:
    """A character-level LSTM language model. It may be used by one thread at a time.

    Attributes:
        config: the shape.
        params: `layer0.w_x` [4H, V], `layer1.w_x` [4H, H], ..., `layerN.w_h` [4H, H], `layerN.b` [4H],
            `w_out` [V, H], `b_out` [V].
        threads: how many cores to use; the results are the same for the same number.
    """

    def __init__(self, config: ModelConfig, params: dict[str, Floats], threads: int = 1) -> None:
        self.config = config
        self.params = params
        self.threads = threads
        self._workspaces: dict[tuple[int, int], Workspace] = {}

    def copy(self) -> "CharLSTM":
        """Return a model with weights of its own."""
        return CharLSTM(self.config, {name: param.copy() for name, param in self.params.items()}, self.threads)

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
            The mean loss in nats per character; its gradients, with the keys of `params`, which the next call
            overwrites; the state after the window.
        """
        masks = self._dropout_masks(window.x.shape[1], rng)

        def work(part: _Part) -> tuple[float, Grads, State]:
            loss, caches, loss_cache, after = self._forward(part, window, state, masks)
            return loss, self._backward(part, caches, loss_cache, masks, window.x.size, clip_error), after

        losses, grads, states = zip(*self._in_parts(work, window), strict=True)
        for name, total in grads[0].items():
            for others in grads[1:]:
                total += others[name]
        return sum(losses) / window.x.size, grads[0], _joined(states)

    def loss(self, window: Window, state: State) -> tuple[float, State]:
        """Return the mean loss in nats per character, and the state after the window. Nothing is dropped."""

        def work(part: _Part) -> tuple[float, State]:
            loss, _, _, after = self._forward(part, window, state, None)
            return loss, after

        losses, states = zip(*self._in_parts(work, window), strict=True)
        return sum(losses) / window.x.size, _joined(states)

    def read(self, ids: IntArray, state: State) -> State:
        """Read a text without predicting; return the state after it.

        Args:
            ids: [T, B].
            state: before the text; left as it is.
        """
        return self._layers_forward(_Part(0, slice(None)), ids, state, None)[2]

    def logits(self, state: State) -> Floats:
        """Return the logits of the next character [V, B] in a state."""
        return logits_forward(self.params, state.h[-1])

    def step(self, ids: IntArray, state: State) -> tuple[Floats, State]:
        """Read one character per stream, ids [B]; return the logits of the next [V, B], and the new state."""
        state = self.read(ids[None], state)
        return self.logits(state), state

    def _in_parts(self, work: Callable[[_Part], _Result], window: Window) -> list[_Result]:
        """Do some work on the streams of a window in as many parts as there are threads, or in one where they are few.

        A part has 16 streams at least: narrower products are slow. Where there is one part, BLAS gets the threads.
        """
        B = window.x.shape[1]
        count = max(min(self.threads, B // _LEAST_STREAMS), 1)
        edges = [B * k // count for k in range(count + 1)]
        with blas_threads(self.threads if count == 1 else 1):
            return side_by_side(work, [_Part(k, slice(edges[k], edges[k + 1])) for k in range(count)])

    def _forward(
        self, part: _Part, window: Window, state: State, masks: Floats | None
    ) -> tuple[float, list[LSTMCache], LossCache, State]:
        x, y = (ids[:, part.streams] for ids in window)
        h, caches, state = self._layers_forward(part, x, State(*(array[..., part.streams] for array in state)), masks)
        loss, loss_cache = loss_forward(self.params, h, y, self._workspace(part, self.config.num_layers))
        return loss, caches, loss_cache, state

    def _layers_forward(
        self, part: _Part, ids: IntArray, state: State, masks: Floats | None
    ) -> tuple[Floats, list[LSTMCache], State]:
        x: Inputs = ids
        caches, hs, cs = [], [], []
        for layer in range(self.config.num_layers):
            work = self._workspace(part, layer)
            x, h, c, cache = lstm_forward(self._layer(layer), x, state.h[layer], state.c[layer], work)
            if masks is not None:
                x = np.multiply(x, masks[layer][:, part.streams], out=work.array("dropped h", *x.shape))
            caches.append(cache)
            hs.append(h)
            cs.append(c)
        return cast(Floats, x), caches, State(np.stack(hs), np.stack(cs))

    def _backward(
        self,
        part: _Part,
        caches: list[LSTMCache],
        loss_cache: LossCache,
        masks: Floats | None,
        chars: int,
        clip_error: float,
    ) -> Grads:
        top = self.config.num_layers
        dh, grads = loss_backward(self.params, loss_cache, chars, self._workspace(part, top))
        for layer in reversed(range(top)):
            if masks is not None:
                dh *= masks[layer][:, part.streams]
            work = self._workspace(part, layer)
            dx, layer_grads = lstm_backward(self._layer(layer), dh, caches[layer], work, clip_error)
            grads |= {f"layer{layer}.{name}": grad for name, grad in layer_grads.items()}
            if dx is not None:
                dh = dx
        return grads

    def _workspace(self, part: _Part, layer: int) -> Workspace:
        key = (part.number, layer)
        if key not in self._workspaces:
            self._workspaces[key] = Workspace(self.params["b_out"].dtype)
        return self._workspaces[key]

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


def _joined(states: Sequence[State]) -> State:
    """Return the states of the parts as one."""
    return State(*(np.concatenate(arrays, axis=-1) for arrays in zip(*states, strict=True)))


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
