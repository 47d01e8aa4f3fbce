"""How time and memory grow: microseconds per character against H, L, B and T; peak memory against the corpus.

Time is that of a training step (forward, backward, clipping, Adam) on all cores, divided by its characters; one size
is varied, the others stay as they are. Memory is that of `charlstm train` in its first steps, evaluations included: the
peaks of all of its processes, added up. The corpora are made of the Python standard library's sources, over and over.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from turns import environment, kernels, measure

from charlstm.workers import available_cores

BASE = {"H": 256, "L": 1, "B": 32, "T": 64}
VARIED = {
    "H": (32, 64, 128, 256, 512, 1024),
    "L": (1, 2, 4, 8),
    "B": (1, 4, 16, 64, 256),
    "T": (8, 16, 32, 64, 128, 256, 512),
}
NAMES = {"H": "hidden units", "L": "layers", "B": "streams", "T": "steps per window"}


def times(rounds: int, seconds: float, env: dict[str, str]) -> Iterator[tuple[str, int, float]]:
    """Yield what is varied, its size, and the microseconds per character."""
    program = str(Path(__file__).parent / "train_speed.py")
    for name, sizes in VARIED.items():
        for size in sizes:
            shape = BASE | {name: size}
            results = measure(program, ["charlstm"], tuple(shape.values()), rounds, seconds, env)
            yield name, size, 1e6 * statistics.median(results["charlstm"]) / (shape["B"] * shape["T"])


def memory(megabytes: int, folder: Path, env: dict[str, str]) -> tuple[float, float]:
    """Return the peak memory of training on a corpus of a size, in MB: without the workers, and in all."""
    corpus, model = folder / "corpus.txt", folder / "model.npz"
    _write_corpus(corpus, megabytes * 10**6)
    command = [str(Path(sys.executable).parent / "charlstm"), "train", str(corpus), "-o", str(model), "--force", "-q"]
    process = subprocess.Popen([*command, "--steps", "20", "--evals", "2"], env=env)
    peaks: dict[int, float] = {}
    while process.poll() is None:
        for pid in (process.pid, *_children(process.pid)):
            peaks[pid] = max(peaks.get(pid, 0), _peak(pid))
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit("training has failed")
    return peaks[process.pid], sum(peaks.values())


def _write_corpus(path: Path, size: int) -> None:
    sources = b"".join(p.read_bytes() for p in sorted(Path(os.__file__).parent.glob("*.py")))
    text = sources.decode("utf-8", "ignore").encode("ascii", "ignore")
    with open(path, "wb") as file:
        while file.tell() < size:
            file.write(text[: size - file.tell()])


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []


def _peak(pid: int) -> float:
    try:
        return float(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):  # it has ended
        return 0.0


def draw(path: str, by_size: list[tuple[str, int, float]], by_corpus: list[tuple[int, float]]) -> None:
    """Draw both on logarithmic scales."""
    from matplotlib import pyplot, rcParams
    from matplotlib.ticker import FuncFormatter, NullFormatter

    rcParams["svg.fonttype"] = "none"
    figure, axes = pyplot.subplots(1, 5, figsize=(15, 3.2), layout="constrained")
    for axis, name in zip(axes, VARIED, strict=False):
        sizes, values = zip(*[(size, value) for varied, size, value in by_size if varied == name], strict=True)
        axis.loglog(sizes, values, "o-")
        fixed = ", ".join(f"{other} {size}" for other, size in BASE.items() if other != name)
        axis.set(xlabel=f"{NAMES[name]} ({name})", xticks=sizes, ylim=(1, 200), title=fixed)
    axes[0].set_ylabel("µs per character")
    sizes, values = zip(*by_corpus, strict=True)
    axes[4].loglog(sizes, values, "o-", label="peak")
    axes[4].loglog(sizes, sizes, ":", label="size of the corpus")
    axes[4].set(xlabel="corpus, MB", ylabel="memory, MB", xticks=sizes, title="training")
    axes[4].legend()
    for axis in axes:
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            scale.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    figure.savefig(path)


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=0.4, show_default=True, help="Length of a turn.")
@click.option("--megabytes", default="1,10,100,1000", show_default=True, help="Sizes of the corpora.")
@click.option("--picture", help="Draw it, for example to docs/scaling.svg.")
@click.option("--keep-environment", is_flag=True, help="Keep what the environment says to OpenBLAS.")
def main(rounds: int, seconds: float, megabytes: str, picture: str | None, keep_environment: bool) -> None:
    """Measure how time and memory grow."""
    env = environment(keep_environment)
    print(f"V 96, {available_cores()} cores, OpenBLAS {kernels(env)}, NumPy {np.__version__}")
    print(f"\n{'varied':<20}{'size':>8}{'µs per character':>20}    (otherwise {BASE})")
    by_size = []
    for name, size, value in times(rounds, seconds, env):
        by_size.append((name, size, value))
        print(f"{NAMES[name]:<20}{size:>8}{value:>20.2f}", flush=True)
    print(f"\n{'corpus, MB':<20}{'peak, MB':>10}{'with the workers':>20}")
    by_corpus = []
    with tempfile.TemporaryDirectory() as folder:
        for size in map(int, megabytes.split(",")):
            alone, together = memory(size, Path(folder), env)
            by_corpus.append((size, together))
            print(f"{size:<20}{alone:>10.0f}{together:>20.0f}", flush=True)
    if picture:
        draw(picture, by_size, by_corpus)


if __name__ == "__main__":
    main()
