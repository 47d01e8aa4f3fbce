"""What presets learn from texts: steps, speed and loss for several seeds, and a picture of loss against time.

The loss is that of `charlstm score` on the last tenth of a text, which was not trained on: the state starts at zero and
is carried over all of it. What is tried out should be chosen on a part of the text (--first 0.9) and reported on the
whole of it once.
"""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np

from charlstm import Corpus, advice, evaluate, read_corpus, start, train
from charlstm.config import SETTINGS, Config, load_values

COLUMNS = ("seeds", "seconds", "steps", "epochs", "chars/s", "training", "validation", "spread", "bits", "best at")


def run_once(path: str, preset: str, changes: tuple[str, ...], first: float, seed: int) -> dict[str, Any]:
    """Train once; return what came out."""
    corpus = read_corpus([path])
    ids = corpus.ids[: int(len(corpus.ids) * first)]
    corpus = Corpus(corpus.vocab, ids, corpus.sha256)
    values = {name: SETTINGS[name].kind.parse(value) for name, _, value in (c.partition("=") for c in changes)}
    values["seed"] = seed
    if preset == "advised":
        values = advice.advised(corpus, values) | values
    config = Config().replace(**({} if preset in ("advised", "defaults") else load_values(preset)))
    run = start(config.replace(**values), corpus)
    begun = time.perf_counter()
    path_of_loss = []
    for report in train(run, corpus):
        if report.evaluated:
            path_of_loss.append((report.elapsed_s, report.train_loss, report.val_loss))
    seconds = time.perf_counter() - begun
    loss = evaluate(run.model, corpus.split(run.config.data.val_fraction)[1])
    best = run.best["step"] if run.best else report.step  # none has a loss where training went astray
    at_best = next((entry["train_loss"] for entry in run.history if entry["step"] == best), np.nan)
    return {
        "seconds": seconds,
        "steps": report.step,
        "epochs": report.epoch,
        "chars/s": report.chars / seconds,
        "training": at_best,
        "validation": loss,
        "best at": best / report.step,
        "path": path_of_loss,
    }


def in_processes(tasks: list[tuple[Any, ...]], at_once: int) -> Iterator[dict[str, Any]]:
    """Run tasks in processes of their own, some at a time; yield what they return, in order."""

    def run(task: tuple[Any, ...]) -> dict[str, Any]:
        command = [sys.executable, __file__, "--serve", json.dumps(task)]
        result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        return result

    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(run, tasks)


def draw(paths: dict[str, list[list[tuple[float, float, float]]]], target: str) -> None:
    """Draw the validation loss against wall time, one line per run, one colour per row of the table."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for k, (name, runs) in enumerate(paths.items()):
        for n, run in enumerate(runs):
            seconds, _, losses = zip(*run, strict=True)
            axes.plot(seconds, losses, ".-", color=f"C{k}", alpha=0.8, label=None if n else name)
    axes.set(xscale="log", xlabel="seconds", ylabel="validation loss, nats per character")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(target, metadata={"Date": None} if target.endswith(".svg") else None)


@click.command()
@click.argument("corpora", nargs=-1)
@click.option(
    "-c", "--config", "presets", multiple=True, help="A preset, a YAML file, defaults, or advised; repeatable."
)
@click.option("--seeds", default=1, help="How many runs of each.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a setting in all runs; repeatable.")
@click.option("-v", "--variant", "variants", multiple=True, help="A further row: NAME=VALUE changes; repeatable.")
@click.option("--first", default=1.0, help="Use only this share of each text, from its start.")
@click.option("--at-once", default=1, help="Runs at the same time; for more than one, set threads=1.")
@click.option("--picture", help="Draw the losses against time, as SVG or PNG.")
@click.option("--serve", help="For internal use.")
def main(
    corpora: tuple[str, ...],
    presets: tuple[str, ...],
    seeds: int,
    changes: tuple[str, ...],
    variants: tuple[str, ...],
    first: float,
    at_once: int,
    picture: str | None,
    serve: str | None,
) -> None:
    """Train on each of CORPORA, with each preset and each variant of it, and print a table."""
    if serve:
        print(json.dumps(run_once(*json.loads(serve))))
        return
    rows = [(corpus, preset, v) for corpus in corpora for preset in presets or ["shakespeare"] for v in ("", *variants)]
    tasks = [(c, p, [*changes, *v.split()], first, seed) for c, p, v in rows for seed in range(1, seeds + 1)]
    print(f"NumPy {np.__version__}, Python {platform.python_version()}, {platform.machine()}; {' '.join(changes)}")
    width = max(len(" ".join(row)) for row in rows) + 2
    print(f"{'':<{width}}" + "".join(f"{column:>11}" for column in COLUMNS))
    paths = {}
    results = in_processes(tasks, at_once)
    for row in rows:
        runs = [next(results) for _ in range(seeds)]
        names = (Path(row[0]).stem, Path(row[1]).stem, row[2])
        paths[" ".join(names)] = [run.pop("path") for run in runs]
        mean = {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}
        losses = [run["validation"] for run in runs]
        spread = max(losses) - min(losses)
        print(
            f"{' '.join(row):<{width}}{seeds:>11}{mean['seconds']:>11.1f}{mean['steps']:>11.0f}{mean['epochs']:>11.2f}"
            f"{mean['chars/s']:>11.0f}{mean['training']:>11.4f}{mean['validation']:>11.4f}{spread:>11.4f}"
            f"{mean['validation'] / np.log(2):>11.3f}{mean['best at']:>11.0%}",
            flush=True,
        )
    if picture:
        draw(paths, picture)


if __name__ == "__main__":
    main()
