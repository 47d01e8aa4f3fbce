"""One training step of charlstm against PyTorch's, in processes that take turns; and against the products alone.

A step is forward, backward, clipping and Adam, in float32, on all cores. PyTorch runs `nn.LSTM` on one-hot vectors
(taken from an identity embedding), a linear output, cross entropy, `clip_grad_norm_` and `Adam(fused=True)`. The floor
is the time of the step's matrix products in NumPy and nothing else, as BLAS does them when it is left alone.
"""

import math
import statistics
from collections.abc import Callable

import click
import numpy as np
from turns import environment, kernels, measure, serve

from charlstm.batches import Window
from charlstm.config import ModelConfig, TrainConfig
from charlstm.model import new_model
from charlstm.optim import Optimizer, clip_by_global_norm
from charlstm.workers import Workers, available_cores

V = 96
SHAPES = [
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
]


def charlstm_step(H: int, L: int, B: int, T: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    model = new_model(ModelConfig(hidden_size=H, num_layers=L), V, rng)
    workers = Workers(model, available_cores())
    adam = Optimizer(model.params, TrainConfig())
    ids = rng.integers(0, V, (T + 1, B))
    window = Window(ids[:-1], ids[1:])
    state = model.zero_state(B)

    def step() -> None:
        nonlocal state
        _, grads, state = workers.loss_and_grads(window, state)
        clip_by_global_norm(grads, 1.0)
        adam.update(model.params, grads, 1e-4)

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
            if layer:  # the layer below is the input: forward, its error, and the weights' gradient
                np.matmul(w, hs, out=products)
                np.matmul(w.T, dgates_all, out=dhs)
                np.matmul(dgates_all, hs.T, out=dw)
        np.matmul(w_out, hs, out=logits)
        np.matmul(w_out.T, logits, out=dhs)
        np.matmul(logits, hs.T, out=dw_out)

    return step


def useful_flop(H: int, L: int, B: int, T: int) -> float:
    return T * B * (24 * H * H + (L - 1) * 48 * H * H + 6 * H * V)


STEPS = {"charlstm": charlstm_step, "pytorch": pytorch_step, "products": products_step}


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--seconds", default=0.5, show_default=True, help="Length of a turn.")
@click.option("--shape", "chosen", multiple=True, help="H,L,B,T; all that are listed unless given.")
@click.option("--keep-environment", is_flag=True, help="Keep what the environment says to OpenBLAS.")
@click.option("--worker", nargs=5, hidden=True)
def main(
    rounds: int, seconds: float, chosen: tuple[str, ...], keep_environment: bool, worker: tuple[str, ...] | None
) -> None:
    """Compare the time of a training step with PyTorch's, shape by shape."""
    if worker:
        serve(STEPS[worker[0]](*map(int, worker[1:])))
        return
    env = environment(keep_environment)
    print(f"V {V}, {available_cores()} cores, OpenBLAS {kernels(env)}, NumPy {np.__version__}; ms per step")
    columns = (
        "H",
        "L",
        "B",
        "T",
        "charlstm",
        "PyTorch",
        "products",
        "PyTorch/ours",
        "spread",
        "ours/products",
        "GFLOP/s",
    )
    print("".join(f"{column:>14}" if len(column) > 4 else f"{column:>5}" for column in columns))
    ratios = []
    for shape in [tuple(map(int, text.split(","))) for text in chosen] or SHAPES:
        times = measure(__file__, list(STEPS), shape, rounds, seconds, env)
        pairs = sorted(theirs / ours for ours, theirs in zip(times["charlstm"], times["pytorch"], strict=True))
        floors = [ours / floor for ours, floor in zip(times["charlstm"], times["products"], strict=True)]
        ours, theirs, floor = (1000 * statistics.median(times[kind]) for kind in STEPS)
        ratio = statistics.median(pairs)
        if shape[2] >= 16:
            ratios.append(ratio)
        print(
            "".join(f"{size:>5}" for size in shape)
            + f"{ours:>14.2f}{theirs:>14.2f}{floor:>14.2f}{ratio:>14.3f}{pairs[0]:>8.2f}-{pairs[-1]:.2f}"
            + f"{statistics.median(floors):>15.2f}{useful_flop(*shape) / ours / 1e6:>14.0f}",
            flush=True,
        )
    if ratios:
        print(f"geometric mean of PyTorch/ours where B >= 16: {math.prod(ratios) ** (1 / len(ratios)):.3f}")


if __name__ == "__main__":
    main()
