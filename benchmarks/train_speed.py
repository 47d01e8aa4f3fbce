"""The time of a training step: charlstm against PyTorch or an older charlstm, and against the matrix products alone.

A step is forward, backward, clipping and Adam, in float32, on all cores. PyTorch runs `nn.LSTM` on one-hot vectors
(taken from an identity embedding), a linear output, cross entropy, `clip_grad_norm_` and `Adam(fused=True)`. The floor
is the time of the step's matrix products in NumPy and nothing else, with the threads that BLAS uses by default.
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import harness
import numpy as np

from charlstm.config.settings import ModelConfig, TrainConfig
from charlstm.network.char_lstm import init_network
from charlstm.network.cores import available_cores
from charlstm.network.parallel import DataParallel
from charlstm.optim import Optimizer, clip_by_global_norm
from charlstm.text.batches import Window

V = 96
SHAPES: list[tuple[int, ...]] = [
    # H, L, B, T
    (128, 1, 64, 64),
    (128, 2, 64, 64),
    (256, 1, 8, 64),
    (256, 1, 16, 48),
    (256, 1, 64, 64),
    (256, 2, 128, 128),
    (512, 1, 32, 96),
    (512, 1, 64, 128),
    (512, 2, 64, 128),
    (1024, 1, 64, 128),
    (128, 1, 24, 40),  # what a short run uses by default
    (256, 1, 24, 40),
    (512, 1, 32, 64),
    (256, 2, 24, 40),
]
COLUMNS = {
    **dict.fromkeys("HLBT", "d"),
    **dict.fromkeys(("NumPy", "numba", "PyTorch", "products"), ".2f"),
    "PyTorch/NumPy": ".2f",
    "PyTorch/numba": ".2f",
    "range of ratios": "s",
    "GFLOP/s, numba": ".0f",
}


def charlstm_step(H: int, L: int, B: int, T: int, kernel: str = "numpy") -> Callable[[], object]:
    rng = np.random.default_rng(0)
    network = init_network(ModelConfig(hidden_size=H, num_layers=L), V, rng)
    network.kernel = kernel
    parallel = DataParallel(network, available_cores())
    optimizer = Optimizer(network.params, TrainConfig(kernel=kernel))
    ids = rng.integers(0, V, (T + 1, B))
    window = Window(ids[:-1], ids[1:])
    state = network.zero_state(B)

    def step() -> None:
        nonlocal state
        _, grads, state = parallel.loss_and_grads(window, state)
        clip_by_global_norm(grads, 1.0)
        optimizer.update(network.params, grads, 1e-4)

    return step


def pytorch_step(H: int, L: int, B: int, T: int) -> Callable[[], object]:
    import torch

    torch.manual_seed(0)
    one_hot = torch.nn.Embedding.from_pretrained(torch.eye(V))  # type: ignore[no-untyped-call]
    lstm, out = torch.nn.LSTM(V, H, L), torch.nn.Linear(H, V)
    params = [*lstm.parameters(), *out.parameters()]
    adam = torch.optim.Adam(params, lr=1e-4, betas=(0.9, 0.99), fused=True)
    ids = torch.randint(0, V, (T + 1, B))
    state = (torch.zeros(L, B, H), torch.zeros(L, B, H))

    def step() -> None:
        nonlocal state
        adam.zero_grad()
        h, after = lstm(one_hot(ids[:-1]), state)
        loss = torch.nn.functional.cross_entropy(out(h).reshape(-1, V), ids[1:].reshape(-1))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        adam.step()
        state = (after[0].detach(), after[1].detach())

    return step


def products_step(H: int, L: int, B: int, T: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.standard_normal((rows, columns)).astype(np.float32)

    w, w_out, logits = matrix(4 * H, H), matrix(V, H), matrix(V, T * B)
    h, dgates, product, dh = matrix(H, B), matrix(4 * H, B), matrix(4 * H, B), matrix(H, B)
    hs, dgates_all, products, dhs = matrix(H, T * B), matrix(4 * H, T * B), matrix(4 * H, T * B), matrix(H, T * B)
    dw, dw_out = matrix(4 * H, H), matrix(V, H)

    def step() -> None:
        for layer in range(L):
            for _ in range(T):
                np.matmul(w, h, out=product)
                np.matmul(w.T, dgates, out=dh)
            np.matmul(dgates_all, hs.T, out=dw)
            if layer:  # the layer below is the input: forward, its gradient, and that of the weights
                np.matmul(w, hs, out=products)
                np.matmul(w.T, dgates_all, out=dhs)
                np.matmul(dgates_all, hs.T, out=dw)
        np.matmul(w_out, hs, out=logits)
        np.matmul(w_out.T, logits, out=dhs)
        np.matmul(logits, hs.T, out=dw_out)

    return step


def useful_flop(H: int, L: int, B: int, T: int) -> float:
    return T * B * (24 * H * H + (L - 1) * 48 * H * H + 6 * H * V)


STEPS: dict[str, Callable[..., Callable[[], object]]] = {
    "charlstm": charlstm_step,
    "numba": partial(charlstm_step, kernel="numba"),
    "pytorch": pytorch_step,
    "products": products_step,
}


def compare_with_pytorch(shapes: list[tuple[int, ...]], turns: harness.Turns) -> None:
    print(f"{harness.describe_machine(turns.env, 'torch', 'numba')}\nV {V}, ms per training step")
    table, ratios = harness.Table(COLUMNS), []
    for shape in shapes:
        times = harness.measure({kind: harness.Worker(__file__, kind, shape) for kind in STEPS}, turns)
        numpy, _ = harness.compare(times["pytorch"], times["charlstm"])
        numba, spread = harness.compare(times["pytorch"], times["numba"])
        ratios.append((numpy, numba))
        ms = [1000 * statistics.median(times[kind]) for kind in STEPS]
        table.row(*shape, *ms, numpy, numba, spread, useful_flop(*shape) / ms[1] / 1e6)
    means = [statistics.geometric_mean(column) for column in zip(*ratios, strict=True)]
    print("geometric means: PyTorch/NumPy {:.2f}, PyTorch/numba {:.2f}".format(*means))


@click.command()
@harness.turn_options(rounds=7, seconds=0.5)
@harness.shape_options("HLBT")
def main(
    rounds: int,
    seconds: float,
    avx2: bool,
    shapes: list[tuple[int, ...]],
    baseline: Path | None,
    worker: tuple[str, ...] | None,
) -> None:
    """Compare the time of a training step with PyTorch's, or with that of another checkout, shape by shape."""
    if worker:
        harness.serve(STEPS[worker[0]](*map(int, worker[1:])))
        return
    turns = harness.Turns(rounds, seconds, harness.environment(avx2))
    if baseline:
        harness.compare_with_baseline(__file__, "training step", "HLBT", shapes or SHAPES, baseline, turns)
    else:
        compare_with_pytorch(shapes or SHAPES, turns)


if __name__ == "__main__":
    main()
