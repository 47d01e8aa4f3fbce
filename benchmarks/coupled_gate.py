"""What a coupled gate (i = 1 - f) would bring, at the most, for a quarter fewer products.

Since 1 - sigmoid(x) = sigmoid(-x), the input gate is 1 - f if its weights are those of the forget gate, negated. So the
program trains an ordinary network whose weights are tied like that. It costs as much per step as without; the rows
"coupled" therefore get `--gain` times as many steps, 4/3 by default: as many as if a step took three quarters of the
time, which is the most that a quarter fewer products can save. Losses are those of `benchmarks/learning.py`.
"""

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import harness
import learning
import numpy as np

from charlstm.arrays import Grads, Params
from charlstm.network.char_lstm import CharLSTM, Masks, init_network
from charlstm.optim import clip_by_global_norm
from charlstm.training import loop

COLUMNS = {"steps": "d", "plain": ".4f", "coupled": ".4f", "gain": ".4f"}


def split(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the input gate and those of the forget gate (views): gates stand as g, i, f, o."""
    H = array.shape[0] // 4
    return array[H : 2 * H], array[2 * H : 3 * H]


def recurrent_arrays(arrays: Params | Grads) -> list[np.ndarray]:
    """Return the arrays that have a row per gate and unit."""
    return [array for name, array in arrays.items() if name.startswith("layer")]


def couple() -> None:
    """Make networks of this process couple their gates."""
    draw_masks = CharLSTM.draw_masks

    def init_coupled(*args: Any) -> CharLSTM:
        network = init_network(*args)
        for array in recurrent_arrays(network.params):
            i, f = split(array)
            i[...] = -f
        return network

    def draw_coupled(network: CharLSTM, *args: Any) -> Masks | None:
        masks = draw_masks(network, *args)
        for layer in [] if masks is None or masks.recurrent is None else masks.recurrent:
            i, f = split(layer)
            i[...] = f
        return masks

    def clip_coupled(grads: Grads, max_norm: float) -> float:
        pairs = [split(grad) for grad in recurrent_arrays(grads)]
        for i, f in pairs:
            f -= i
            i[...] = 0  # counted once
        norm = clip_by_global_norm(grads, max_norm)
        for i, f in pairs:
            i[...] = -f
        return norm

    replaced: dict[Any, dict[str, Callable[..., Any]]] = {
        loop: {"init_network": init_coupled, "clip_by_global_norm": clip_coupled},
        CharLSTM: {"draw_masks": draw_coupled},
    }
    for owner, functions in replaced.items():
        for name, function in functions.items():
            setattr(owner, name, function)


def loss_of(task: tuple[str, bool, list[str], int, float, int]) -> float:
    """Train in this process; return the validation loss."""
    path, coupled, changes, steps, first, seed = task
    if coupled:
        couple()
    result = learning.run_once(path, "defaults", [*changes, f"steps={steps}", "threads=1"], first, seed)
    return float(result["validation"])


@click.command()
@click.argument("corpora", nargs=-1, required=True)
@click.option("--steps", default=2000, help="Of the plain network.")
@click.option("--gain", default=4 / 3, help="Steps of the coupled network, as a multiple.")
@click.option("--first", default=0.9, help="Use only this fraction of each text, from its start.")
@click.option("--seeds", default=1, help="Runs of each.")
@click.option("--at-once", default=2, help="Runs at the same time, on one core each.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a setting; repeatable.")
def main(
    corpora: tuple[str, ...], steps: int, gain: float, first: float, seeds: int, changes: tuple[str, ...], at_once: int
) -> None:
    """Train a plain and a coupled network on each of CORPORA, and print their validation losses."""
    print(harness.describe_machine())
    print(f"nats per character; the coupled network takes {gain:.2f} times as many steps")
    rows = [(path, seed) for path in corpora for seed in range(1, seeds + 1)]
    tasks = [
        (path, coupled, list(changes), int(steps * (gain if coupled else 1)), first, seed)
        for path, seed in rows
        for coupled in (False, True)
    ]
    table = harness.Table(COLUMNS, labels=[f"{Path(path).stem}, seed {seed}" for path, seed in rows])
    with get_context("spawn").Pool(at_once, maxtasksperchild=1) as pool:
        losses = pool.imap(loss_of, tasks, chunksize=1)
        for path, seed in rows:
            plain, coupled = next(losses), next(losses)
            table.row(steps, plain, coupled, plain - coupled, label=f"{Path(path).stem}, seed {seed}")


if __name__ == "__main__":
    main()
