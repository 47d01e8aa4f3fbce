"""How time and memory grow: microseconds per character against H, L, B and T; peak memory against the corpus.

Time is that of a training step (forward, backward, clipping, Adam) on all cores, divided by its characters. One size
varies, the others stay fixed. Memory is that of `charlstm train --time 20s`: the peaks of all its processes, added up.
The corpora repeat the sources of the Python standard library. Linux only: it reads /proc.
"""

import os
import statistics
import tempfile
from pathlib import Path

import click
import harness

BASE = {"H": 256, "L": 1, "B": 32, "T": 64}
VARIED = {
    "H": (32, 64, 128, 256, 512, 1024),
    "L": (1, 2, 4, 8),
    "B": (1, 4, 16, 64, 256),
    "T": (8, 16, 32, 64, 128, 256, 512),
}
NAMES = {"H": "hidden units", "L": "layers", "B": "streams", "T": "steps per window"}


def measure_time(size: dict[str, int], turns: harness.Turns) -> float:
    """Return the microseconds per character of a training step."""
    shape = BASE | size
    worker = harness.Worker("train_speed.py", "charlstm", tuple(shape.values()))
    seconds = statistics.median(harness.measure({"charlstm": worker}, turns)["charlstm"])
    return 1e6 * seconds / (shape["B"] * shape["T"])


def measure_memory(megabytes: int, directory: Path, env: dict[str, str]) -> tuple[float, float]:
    """Return the peak memory of training on a corpus of a size, in MB: of the main process, and of all."""
    corpus, model = directory / "corpus.txt", directory / "model.npz"
    write_corpus(corpus, megabytes * 10**6)
    command = [harness.CHARLSTM, "train", str(corpus), "-o", str(model), "--force", "--time", "20s"]
    return harness.measure_memory(command, env)


def write_corpus(path: Path, size: int) -> None:
    sources = b"".join(p.read_bytes() for p in sorted(Path(os.__file__).parent.glob("*.py")))
    text = sources.decode("utf-8", "ignore").encode("ascii", "ignore")
    with open(path, "wb") as file:
        while file.tell() < size:
            file.write(text[: size - file.tell()])


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
@harness.turn_options(rounds=3, seconds=0.4)
@click.option("--megabytes", default="1,10,100,1000", show_default=True, help="Sizes of the corpora.")
@click.option("--picture", help="Draw a picture, for example docs/scaling.svg.")
def main(rounds: int, seconds: float, avx2: bool, megabytes: str, picture: str | None) -> None:
    """Measure how time and memory grow."""
    turns = harness.Turns(rounds, seconds, harness.environment(avx2))
    print(harness.describe_machine(turns.env))
    print(f"\nV 96; the fixed sizes are {', '.join(f'{name} {size}' for name, size in BASE.items())}")
    table = harness.Table({"size": "d", "µs per character": ".2f"}, labels=NAMES.values())
    by_size = []
    for name, size in ((name, size) for name, sizes in VARIED.items() for size in sizes):
        by_size.append((name, size, measure_time({name: size}, turns)))
        table.row(*by_size[-1][1:], label=NAMES[name])
    print()
    table = harness.Table({"corpus, MB": "d", "peak, MB": ".0f", "of all processes": ".0f"})
    by_corpus = []
    with tempfile.TemporaryDirectory() as directory:
        for size in map(int, megabytes.split(",")):
            own, total = measure_memory(size, Path(directory), turns.env)
            by_corpus.append((size, total))
            table.row(size, own, total)
    if picture:
        draw(picture, by_size, by_corpus)


if __name__ == "__main__":
    main()
