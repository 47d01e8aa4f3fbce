"""The time of a training step on all cores, whose streams are divided among processes or among threads."""

import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import click
import harness
import numpy as np
from train_speed import SHAPES, V, charlstm_step

from charlstm.config.settings import ModelConfig, TrainConfig
from charlstm.network.char_lstm import CharLSTM, State, concat_states, init_network
from charlstm.network.cores import available_cores, blas_threads
from charlstm.optim import Optimizer, clip_by_global_norm
from charlstm.text.batches import Window


def threads_step(H: int, L: int, B: int, T: int, kernel: str) -> Callable[[], object]:
    rng, cores = np.random.default_rng(0), available_cores()
    network = init_network(ModelConfig(hidden_size=H, num_layers=L), V, rng)
    networks = [network, *(CharLSTM(network.config, network.params) for _ in range(cores - 1))]
    for each in networks:
        each.kernel = kernel
    optimizer, pool = Optimizer(network.params, TrainConfig(kernel=kernel)), ThreadPoolExecutor(cores - 1)
    ids = rng.integers(0, V, (T + 1, B))
    window, state = Window(ids[:-1], ids[1:]), network.zero_state(B)
    parts = [slice(B * k // cores, B * (k + 1) // cores) for k in range(cores)]

    def step() -> None:
        nonlocal state
        with blas_threads(1):
            first, *others = (
                partial(each.loss_and_grads, window.streams(part), state.streams(part), chars=window.x.size)
                for each, part in zip(networks, parts, strict=True)
            )
            pending = [pool.submit(other) for other in others]
            _, grads, mine = first()
            states: list[State] = [mine]
            for each in pending:
                _, more, theirs = each.result()
                states.append(theirs)
                for name, grad in grads.items():
                    grad += more[name]
        state = concat_states(states)
        clip_by_global_norm(grads, 1.0)
        optimizer.update(network.params, grads, 1e-4)

    return step


STEPS = {
    f"{way}, {kernel}": partial(step, kernel=kernel)
    for kernel in ("numpy", "numba")
    for way, step in (("processes", charlstm_step), ("threads", threads_step))
}


@click.command()
@harness.turn_options(rounds=5, seconds=0.5)
@click.option("--worker", nargs=5, hidden=True)
def main(rounds: int, seconds: float, avx2: bool, worker: tuple[str, ...] | None) -> None:
    """Compare processes and threads, shape by shape."""
    if worker:
        harness.serve(STEPS[worker[0]](*map(int, worker[1:])))
        return
    turns = harness.Turns(rounds, seconds, harness.environment(avx2))
    print(f"{harness.describe_machine(turns.env, 'numba')}\nV {V}, ms per training step")
    columns = {**dict.fromkeys("HLBT", "d"), **dict.fromkeys(STEPS, ".2f")}
    columns |= {"threads/processes, numpy": ".2f", "numba": ".2f"}
    table, ratios = harness.Table(columns), []
    for shape in SHAPES:
        times = harness.measure({name: harness.Worker(__file__, name, shape) for name in STEPS}, turns)
        ratios.append(
            [harness.compare(times[f"threads, {k}"], times[f"processes, {k}"])[0] for k in ("numpy", "numba")]
        )
        table.row(*shape, *(1000 * statistics.median(times[name]) for name in STEPS), *ratios[-1])
    means = [statistics.geometric_mean(column) for column in zip(*ratios, strict=True)]
    print("geometric means: numpy {:.2f}, numba {:.2f}".format(*means))


if __name__ == "__main__":
    main()
