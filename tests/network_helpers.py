"""Random weights and windows for the tests of the network."""

import numpy as np

from charlstm.network.char_lstm import CharLSTM, State
from charlstm.text.batches import Window


def perturb(network: CharLSTM, rng: np.random.Generator) -> CharLSTM:
    """Add noise to every weight, so that no gate is near its initial value; return the network."""
    for param in network.params.values():
        param += 0.3 * rng.standard_normal(param.shape)
    return network


def random_window(network: CharLSTM, rng: np.random.Generator, T: int = 7, B: int = 3) -> tuple[Window, State]:
    """Return a window and a non-zero state before it, as an earlier window would leave."""
    V, H, L = network.vocab_size, network.config.hidden_size, network.config.num_layers
    ids = rng.integers(0, V, (T + 1, B))
    state = State(rng.standard_normal((L, B, H)) * 0.5, rng.standard_normal((L, B, H)))
    return Window(ids[:-1], ids[1:]), state
