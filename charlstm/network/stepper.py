"""The network one character at a time, for sampling, where every microsecond of a step counts."""

from typing import NamedTuple, Protocol

import numpy as np

from charlstm.arrays import Floats, IntArray
from charlstm.network.char_lstm import CharLSTM, State
from charlstm.network.matmul import batch_invariant_matmul
from charlstm.network.recurrence import Gates, cell


class Stepper(Protocol):
    """Reads one character per stream and predicts the next. The result of a stream does not depend on the others."""

    def step(self, ids: IntArray, state: State) -> tuple[Floats, State]:
        """Read ids [B]; return the logits of the next characters [B, V] and the new state."""

    def logits(self, state: State) -> Floats:
        """Return the logits of the next characters [B, V] in a state."""


class StepWeights(NamedTuple):
    """Copies of the weights as a step reads them: transposed, and halved for the gates i, f and o."""

    boundary_id: int | None  # of the network

    by_id: Floats  # what an id adds to the first layer, with its bias [V, 4H]
    w_h: list[Floats]  # of each layer [H, 4H]
    w_x: list[Floats]  # of each layer but the first [H, 4H]
    b: list[Floats]  # of each layer but the first [4H]
    w_out: Floats  # [H, V]
    b_out: Floats  # [V]

    @classmethod
    def of(cls, network: CharLSTM, never: int | None) -> "StepWeights":
        """Return the weights of a network; the logits of the id `never` are minus infinity."""
        params, H = network.params, network.config.hidden_size
        layers = range(network.config.num_layers)
        scale = np.where(np.arange(4 * H) < H, 1, 0.5).astype(params["b_out"].dtype)
        b_out = params["b_out"].copy()
        if never is not None:
            b_out[never] = -np.inf
        return cls(
            boundary_id=network.boundary_id,
            by_id=np.multiply(params["layer0.w_x"].T + params["layer0.b"], scale, order="C"),
            w_h=[params[f"layer{layer}.w_h"].T * scale for layer in layers],
            w_x=[params[f"layer{layer}.w_x"].T * scale for layer in layers[1:]],
            b=[params[f"layer{layer}.b"] * scale for layer in layers[1:]],
            w_out=params["w_out"].T.copy(),
            b_out=b_out,
        )


def reset_at_boundaries(ids: IntArray, state: State, boundary_id: int | None) -> State:
    """Return the state before ids [B] are read: zero for streams that read the boundary."""
    if boundary_id is None or boundary_id not in ids:
        return state
    return state.keep(ids != boundary_id)


class NumpyStepper:
    """The step as NumPy calls; see `Stepper`. The weights of both inputs of a layer are joined."""

    def __init__(self, weights: StepWeights, batch_size: int) -> None:
        self._by_id, self._biases, self._b_out = weights.by_id, weights.b, weights.b_out
        self._boundary_id = weights.boundary_id
        first, *others = weights.w_h
        joined = [np.concatenate(both) for both in zip(weights.w_x, others, strict=True)]  # [2H, 4H] each
        self._products = [batch_invariant_matmul(matrix, batch_size) for matrix in (first, *joined)]
        self._output = batch_invariant_matmul(weights.w_out, batch_size)
        self._use_streams(batch_size)

    def step(self, ids: IntArray, state: State) -> tuple[Floats, State]:
        if len(ids) != len(self._z[0]):
            self._use_streams(len(ids))
        state = reset_at_boundaries(ids, state, self._boundary_id)
        after = State(np.empty_like(state.h), np.empty_like(state.c))
        for layer, (product, z, gates) in enumerate(zip(self._products, self._z, self._gates, strict=True)):
            if layer == 0:
                product(state.h[0])  # writes z
                z += self._by_id[ids]
            else:
                product(np.concatenate([after.h[layer - 1], state.h[layer]], axis=1))
                z += self._biases[layer - 1]
            cell(gates.all, gates, state.c[layer], after.c[layer], after.h[layer], scratch=gates.g)
        return self.logits(after), after

    def logits(self, state: State) -> Floats:
        top = state.h[-1]
        self._output(top)
        return self._output.out[: len(top)] + self._b_out

    def _use_streams(self, B: int) -> None:
        """Create the views of the pre-activations of B streams. The gates replace the sums in place."""
        self._z = [product.out[:B] for product in self._products]  # [B, 4H] each
        self._gates = [Gates.of(z.reshape(B, 4, -1).swapaxes(0, 1)) for z in self._z]
