"""The speed of training by vocabulary size: V from 65 to 5,000, with synthetic ids.

A step is forward, backward, clipping and Adam, in float32, on all cores. The loss is its first part, forward and
backward. Ids are drawn uniformly, so every column of the input weights gets a gradient.
"""

import statistics
from collections.abc import Callable
from functools import partial

import click
import harness
import numpy as np

from charlstm.config.settings import ModelConfig, TrainConfig
from charlstm.network.char_lstm import init_network
from charlstm.network.cores import available_cores
from charlstm.network.parallel import DataParallel
from charlstm.optim import Optimizer, clip_by_global_norm
from charlstm.text.batches import Window

SIZES = (65, 500, 2000, 5000)
H, B, T = 256, 24, 40
COLUMNS = {"V": "d", "parameters": ",d", "characters/s": ",.0f", "ms per step": ".2f", "ms for the loss": ".2f"}


def make_step(V: int, *, update: bool) -> Callable[[], object]:
    """Return a training step, or only its loss and gradients."""
    rng = np.random.default_rng(0)
    network = init_network(ModelConfig(hidden_size=H), V, rng)
    parallel = DataParallel(network, available_cores())
    optimizer = Optimizer(network.params, TrainConfig())
    ids = rng.integers(0, V, (T + 1, B))
    window = Window(ids[:-1], ids[1:])
    state = network.zero_state(B)

    def step() -> None:
        nonlocal state
        _, grads, state = parallel.loss_and_grads(window, state)
        if update:
            clip_by_global_norm(grads, 1.0)
            optimizer.update(network.params, grads, 1e-4)

    return step


KINDS = {"step": partial(make_step, update=True), "loss": partial(make_step, update=False)}


def count_parameters(V: int) -> int:
    return init_network(ModelConfig(hidden_size=H), V, np.random.default_rng(0)).size


@click.command()
@harness.turn_options(rounds=5, seconds=1.0)
@click.option("--worker", nargs=2, hidden=True)
def main(rounds: int, seconds: float, avx2: bool, worker: tuple[str, str] | None) -> None:
    """Measure the speed of training at several sizes of the vocabulary."""
    if worker:
        harness.serve(KINDS[worker[0]](int(worker[1])))
        return
    turns = harness.Turns(rounds, seconds, harness.environment(avx2))
    print(f"{harness.describe_machine(turns.env)}\n{H} units, {B} streams, windows of {T} characters")
    table = harness.Table(COLUMNS)
    for V in SIZES:
        times = harness.measure({kind: harness.Worker(__file__, kind, (V,)) for kind in KINDS}, turns)
        step, loss = (statistics.median(times[kind]) for kind in KINDS)
        table.row(V, count_parameters(V), B * T / step, 1000 * step, 1000 * loss)


if __name__ == "__main__":
    main()
