"""A whole run of `charlstm train` against a plain PyTorch loop, on the same text, for the same number of steps.

PyTorch runs a loop as people write it: windows cut from streams of ids, `nn.LSTM` on one-hot vectors (taken from an
identity embedding), the state carried, clipping, `Adam(fused=True)`. Time is that of the loop, without start-up: what
charlstm reports in its log, with everything that it does besides (schedule, evaluation, checkpoint).
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import harness

KERNELS = ("numpy", "numba")
SHAPES = [(128, 1, 24, 40), (256, 1, 24, 40), (256, 1, 64, 64), (256, 2, 24, 40), (512, 1, 32, 64)]  # H, L, B, T


def charlstm_run(corpus: str, shape: tuple[int, ...], steps: int, kernel: str, env: dict[str, str]) -> float:
    """Return the seconds of a run."""
    sizes = dict(zip(("hidden-size", "num-layers", "batch-size", "seq-len"), shape, strict=True))
    flags = [f"--{name}={value}" for name, value in sizes.items()]
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        output = ["-q", "--evals=1", "--eval-chars=1000", f"--log={log}", f"--output={directory}/model.npz"]
        command = [harness.CHARLSTM, "train", corpus, f"--steps={steps}", f"--kernel={kernel}", *flags, *output]
        subprocess.run(command, env=env, check=True)
        return float(json.loads(log.read_text().splitlines()[-1])["elapsed_s"])


def pytorch_run(corpus: str, shape: tuple[int, ...], steps: int) -> float:
    """Return the seconds of a loop, after one step that is not counted."""
    import torch

    H, L, B, T = shape
    text = Path(corpus).read_text(encoding="utf-8")
    characters = sorted(set(text))
    V, id_of = len(characters), {character: n for n, character in enumerate(characters)}
    ids = torch.tensor([id_of[character] for character in text])
    streams = ids[: len(ids) // B * B].reshape(B, -1).T.contiguous()  # [n, B]
    one_hot = torch.nn.Embedding.from_pretrained(torch.eye(V))  # type: ignore[no-untyped-call]
    lstm, out = torch.nn.LSTM(V, H, L), torch.nn.Linear(H, V)
    params = [*lstm.parameters(), *out.parameters()]
    adam = torch.optim.Adam(params, lr=2e-3, fused=True)
    state = (torch.zeros(L, B, H), torch.zeros(L, B, H))
    started = 0.0
    for step in range(steps + 1):
        if step == 1:
            started = time.perf_counter()
        start = step * T % (len(streams) - T - 1)
        window = streams[start : start + T + 1]
        adam.zero_grad()
        h, after = lstm(one_hot(window[:-1]), state)
        loss = torch.nn.functional.cross_entropy(out(h).reshape(-1, V), window[1:].reshape(-1))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        adam.step()
        state = (after[0].detach(), after[1].detach())
    return time.perf_counter() - started


@click.command()
@click.argument("corpus")
@harness.turn_options(rounds=3, seconds=6.0)
@click.option("--worker", nargs=5, type=int, hidden=True)
def main(corpus: str, rounds: int, seconds: float, avx2: bool, worker: tuple[int, ...] | None) -> None:
    """Train on CORPUS in turns; --seconds is the approximate length of each run."""
    if worker:
        print(pytorch_run(corpus, worker[:4], worker[4]))
        return
    env = harness.environment(avx2)
    print(f"{harness.describe_machine(env, 'torch', 'numba')}\nseconds of a run")
    columns = {**dict.fromkeys("HLBT", "d"), "steps": "d", **dict.fromkeys((*KERNELS, "PyTorch"), ".2f")}
    table = harness.Table(columns | {f"PyTorch/{kernel}": ".2f" for kernel in KERNELS})
    for shape in SHAPES:
        H, L, B, T = shape
        steps = max(int(seconds * 1e11 / ((24 + 48 * (L - 1)) * H * H * B * T)), 5)
        times: dict[str, list[float]] = {name: [] for name in (*KERNELS, "PyTorch")}
        for _ in range(rounds):
            for kernel in KERNELS:
                times[kernel].append(charlstm_run(corpus, shape, steps, kernel, env))
            command = [sys.executable, __file__, corpus, "--worker", *map(str, (*shape, steps))]
            done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
            times["PyTorch"].append(float(done.stdout))
        medians = [sorted(values)[len(values) // 2] for values in times.values()]
        ratios = [harness.compare(times["PyTorch"], times[kernel])[0] for kernel in KERNELS]
        table.row(*shape, steps, *medians, *ratios)


if __name__ == "__main__":
    main()
