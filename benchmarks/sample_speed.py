"""Characters per second of sampling, one stream and 64 at once, against PyTorch; and what one costs from the shell.

PyTorch runs `nn.LSTM` on a one-hot vector (taken from an identity embedding), a linear output, softmax and
`multinomial`, without gradients, the state kept. One stream of charlstm is what `generate` does, from logits to text.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from turns import environment, kernels, measure, serve

from charlstm import corpus_from_text, generate
from charlstm.config import ModelConfig
from charlstm.model import new_model
from charlstm.stepper import Stepper
from charlstm.workers import available_cores

V = 96
SHAPES = [(H, L) for L in (1, 2) for H in (128, 256, 512)]
STEPS_PER_CALL = 20


def charlstm_sample(H: int, L: int, B: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    model = new_model(ModelConfig(hidden_size=H, num_layers=L), V, rng)
    if B == 1:
        vocab = corpus_from_text("".join(map(chr, range(32, 32 + V)))).vocab
        text = generate(model, vocab, 10**12, "", rng)
        return lambda: [next(text) for _ in range(STEPS_PER_CALL)]
    stepper, state = Stepper(model, B), model.zero_state(B)
    ids = np.zeros(B, np.intp)

    def steps() -> None:
        nonlocal ids, state
        for _ in range(STEPS_PER_CALL):
            logits, state = stepper.step(ids, state)
            p = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64)
            cumulated = p.cumsum(1)
            ids = (cumulated[:, :-1] <= rng.random((B, 1)) * cumulated[:, -1:]).sum(1)

    return steps


def pytorch_sample(H: int, L: int, B: int) -> Callable[[], object]:
    import torch

    one_hot = torch.nn.Embedding.from_pretrained(torch.eye(V))  # type: ignore[no-untyped-call]
    lstm, out = torch.nn.LSTM(V, H, L), torch.nn.Linear(H, V)
    state = (torch.zeros(L, B, H), torch.zeros(L, B, H))
    ids = torch.zeros(1, B, dtype=torch.long)

    def steps() -> object:
        nonlocal ids, state
        text = []
        with torch.no_grad():
            for _ in range(STEPS_PER_CALL):
                h, state = lstm(one_hot(ids), state)
                ids = torch.multinomial(torch.softmax(out(h[0]), -1), 1).T
                text.append(ids.tolist())
        return text

    return steps


SAMPLERS = {"charlstm": charlstm_sample, "pytorch": pytorch_sample}


def from_the_shell(rounds: int, env: dict[str, str]) -> None:
    """Print wall time and peak memory of a sample of 200 characters, and of importing PyTorch and no more."""
    charlstm = str(Path(sys.executable).parent / "charlstm")
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.npz")
        train = [charlstm, "train", "@tweets", "--steps", "1", "--eval-chars", "1000", "-q", "-o", model]
        subprocess.run(train, check=True, env=env)
        commands = {
            "charlstm sample -n 200 (1 x 256)": [charlstm, "sample", "--ckpt", model, "-n", "200"],
            "python -c 'import torch'": [sys.executable, "-c", "import torch"],
        }
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(rounds + 1):
            for name, command in commands.items():
                results[name].append(_time_and_memory(command, env))
    print(f"\n{'':<36}{'s':>8}{'MB at most':>12}")
    for name, pairs in results.items():
        times, peaks = zip(*pairs[1:], strict=True)  # the first has read the files from disk
        print(f"{name:<36}{statistics.median(times):>8.3f}{max(peaks):>12.0f}")


def _time_and_memory(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{command} has failed")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=0.4, show_default=True, help="Length of a turn.")
@click.option("--keep-environment", is_flag=True, help="Keep what the environment says to OpenBLAS.")
@click.option("--worker", nargs=4, hidden=True)
def main(rounds: int, seconds: float, keep_environment: bool, worker: tuple[str, ...] | None) -> None:
    """Compare the speed of sampling with PyTorch's."""
    if worker:
        serve(SAMPLERS[worker[0]](*map(int, worker[1:])))
        return
    env = environment(keep_environment)
    print(f"V {V}, {available_cores()} cores, OpenBLAS {kernels(env)}, NumPy {np.__version__}; characters per second")
    columns = ("charlstm", "PyTorch", "charlstm/PyTorch", "spread")
    print(f"{'H':>5}{'L':>5}{'B':>5}" + "".join(f"{column:>18}" for column in columns))
    for B in (1, 64):
        for H, L in SHAPES:
            times = measure(__file__, list(SAMPLERS), (H, L, B), rounds, seconds, env)
            ratios = sorted(theirs / ours for ours, theirs in zip(times["charlstm"], times["pytorch"], strict=True))
            ours, theirs = (B * STEPS_PER_CALL / statistics.median(times[kind]) for kind in SAMPLERS)
            print(
                f"{H:>5}{L:>5}{B:>5}{ours:>18,.0f}{theirs:>18,.0f}{statistics.median(ratios):>18.2f}"
                f"{ratios[0]:>11.2f} - {ratios[-1]:.2f}",
                flush=True,
            )
    from_the_shell(2 * rounds, env)


if __name__ == "__main__":
    main()
