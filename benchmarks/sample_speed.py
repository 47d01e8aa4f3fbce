"""Characters per second of sampling, one text and 64 at once, against PyTorch or an older charlstm; and whole commands.

PyTorch runs `nn.LSTM` on a one-hot vector (taken from an identity embedding), a linear output, softmax and
`multinomial`, without gradients, and keeps the state; it uses all cores. charlstm uses one, as `charlstm sample` does.
It generates one text as `LanguageModel.stream` does, and 64 as a batch of ids: the network and the choice of each
character.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import click
import harness
import numpy as np

from charlstm import LanguageModel, SamplingParams, corpus_from_text
from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import init_network
from charlstm.network.cores import blas_threads
from charlstm.network.dispatch import make_stepper
from charlstm.sampling.filters import choose

V = 96
SHAPES: list[tuple[int, ...]] = [(H, L, B) for B in (1, 64) for L in (1, 2) for H in (128, 256, 512)]
STEPS_PER_CALL = 20


def charlstm_sample(H: int, L: int, B: int, kernel: str = "numpy") -> Callable[[], object]:
    rng = np.random.default_rng(0)
    network = init_network(ModelConfig(hidden_size=H, num_layers=L), V, rng)
    network.kernel = kernel
    if B == 1:
        vocab = corpus_from_text("".join(map(chr, range(32, 32 + V)))).vocab
        text = LanguageModel(network, vocab).stream(length=10**12, temperature=1, top_p=1, seed=0)

        def characters() -> list[str]:
            with blas_threads(1):
                return list(islice(text, STEPS_PER_CALL))

        return characters
    stepper, state, params = make_stepper(network, B), network.zero_state(B), SamplingParams(temperature=1, top_p=1)
    ids = np.zeros(B, np.intp)

    def steps() -> None:
        nonlocal ids, state
        with blas_threads(1):
            for _ in range(STEPS_PER_CALL):
                logits, state = stepper.step(ids, state)
                ids = choose(params, logits, False, rng.random(B))

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


SAMPLERS: dict[str, Callable[[int, int, int], Callable[[], object]]] = {
    "charlstm": charlstm_sample,
    "numba": partial(charlstm_sample, kernel="numba"),
    "pytorch": pytorch_sample,
}


def compare_with_pytorch(shapes: list[tuple[int, ...]], turns: harness.Turns) -> None:
    print(f"{harness.describe_machine(turns.env, 'torch', 'numba')}\nV {V}, characters per second")
    speeds = dict.fromkeys(("NumPy", "numba", "PyTorch"), ",.0f")
    ratios = {"NumPy/PyTorch": ".2f", "range, NumPy": "s", "numba/PyTorch": ".2f", "range, numba": "s"}
    table = harness.Table(dict.fromkeys("HLB", "d") | speeds | ratios)
    for shape in shapes:
        times = harness.measure({kind: harness.Worker(__file__, kind, shape) for kind in SAMPLERS}, turns)
        medians = [shape[-1] * STEPS_PER_CALL / statistics.median(times[kind]) for kind in SAMPLERS]
        compared = [harness.compare(times["pytorch"], times[kind]) for kind in ("charlstm", "numba")]
        table.row(*shape, *medians, *(value for pair in compared for value in pair))


def measure_commands(rounds: int, env: dict[str, str]) -> None:
    """Print wall time and peak memory of a sample of 200 characters, and of merely importing PyTorch."""
    with tempfile.TemporaryDirectory() as directory:
        model = harness.train_briefly(directory, env)
        commands = {
            "charlstm sample -n 200 (1 x 256)": [harness.CHARLSTM, "sample", "--ckpt", model, "-n", "200"],
            "python -c 'import torch'": [sys.executable, "-c", "import torch"],
        }
        tasks = {name: partial(harness.run_command, command, env) for name, command in commands.items()}
        results = harness.take_turns(tasks, rounds)
    print()
    table = harness.Table({"seconds": ".3f", "peak, MB": ".0f"}, labels=commands)
    for name, usages in results.items():
        seconds, peaks = zip(*usages, strict=True)
        table.row(statistics.median(seconds), max(peaks), label=name)


@click.command()
@harness.turn_options(rounds=5, seconds=0.4)
@harness.shape_options("HLB")
def main(
    rounds: int,
    seconds: float,
    avx2: bool,
    shapes: list[tuple[int, ...]],
    baseline: Path | None,
    worker: tuple[str, ...] | None,
) -> None:
    """Compare the speed of sampling with PyTorch's, or with that of another checkout, shape by shape.

    Without --shape and --baseline, whole commands are measured too.
    """
    if worker:
        harness.serve(SAMPLERS[worker[0]](*map(int, worker[1:])))
        return
    turns = harness.Turns(rounds, seconds, harness.environment(avx2))
    if baseline:
        call = f"{STEPS_PER_CALL} characters of each text"
        harness.compare_with_baseline(__file__, call, "HLB", shapes or SHAPES, baseline, turns)
        return
    compare_with_pytorch(shapes or SHAPES, turns)
    if not shapes:
        measure_commands(2 * rounds, turns.env)


if __name__ == "__main__":
    main()
