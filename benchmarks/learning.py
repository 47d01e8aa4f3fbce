"""How well presets learn from texts: steps, speed and loss for several seeds, and a picture of loss against time.

The loss is that of `charlstm score --exact` on the last tenth of a text, which was not trained on: the state starts at
zero and is carried over all of it. Tune settings on a part of the text (--first 0.9), and report the loss on the entire
text once.

-v init_from=@english adds a row of runs that start from that model.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import harness
from sample_quality import Judge, generate, read_words

from charlstm import Config, read_corpus, start, train
from charlstm.network.evaluation import evaluate

COLUMNS = {
    "seeds": "d",
    "seconds": ".1f",
    "steps": ".0f",
    "epochs": ".2f",
    "chars/s": ".0f",
    "training": ".4f",
    "validation": ".4f",
    "spread": ".4f",
    "bits": ".3f",
    "best at": ".0%",
}
QUALITY = {"invented": ".1%", "copied": ".1%"}  # of samples, as in sample_quality.py


def run_once(
    path: str,
    preset: str,
    changes: list[str],
    first: float,
    seed: int,
    words: str | None = None,
    keep: str | None = None,
) -> dict[str, Any]:
    """Train once; return the results, and if there is a list of words, the samples' quality. Store the model."""
    corpus = read_corpus(path)
    corpus = replace(corpus, ids=corpus.ids[: int(len(corpus.ids) * first)])
    config = {"advised": None, "defaults": Config()}.get(preset, preset)
    settings: dict[str, Any] = dict(change.split("=", 1) for change in changes) | {"seed": seed}
    run = start(corpus, config, **settings)
    started = time.perf_counter()
    losses = []
    for report in train(run):
        if report.evaluation:
            losses.append((report.elapsed_s, report.evaluation.val_loss))
    seconds = time.perf_counter() - started
    assert run.best is not None
    assert run.dataset is not None
    if keep:
        run.save(keep)
    quality = {}
    if words:
        judge = Judge(corpus.vocab.decode(run.dataset.train_ids, "\n"), read_words(words))
        measured = judge.measure(generate(run.model, 16, 1000))._asdict()
        quality = {name: measured[name] for name in QUALITY}
    return quality | {
        "seconds": seconds,
        "steps": report.step,
        "epochs": report.epoch,
        "chars/s": report.chars / seconds,
        "training": run.best.train_loss,
        "validation": evaluate(run.model.network, run.dataset.val_ids),
        "best at": run.best.step / report.step,
        "losses": losses,
    }


def run_all(tasks: list[tuple[Any, ...]], at_once: int) -> Iterator[dict[str, Any]]:
    """Run tasks in separate processes, several at a time; yield their results in order."""

    def run(task: tuple[Any, ...]) -> dict[str, Any]:
        command = [sys.executable, __file__, "--worker", json.dumps(task)]
        result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        return result

    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(run, tasks)


def name_model(folder: str, corpus: str, preset: str, variant: str, seed: int) -> str:
    """Return the path of a model in a folder."""
    row = re.sub("[^A-Za-z0-9.]+", "-", " ".join([Path(corpus).stem, Path(preset).stem, variant]).strip())
    return str(Path(folder) / f"{row}-{seed}.npz")


def draw(losses: dict[str, list[list[tuple[float, float]]]], target: str) -> None:
    """Draw the validation loss against wall time, one line per run, one colour per row of the table."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for k, (name, runs) in enumerate(losses.items()):
        for n, run in enumerate(runs):
            axes.plot(*zip(*run, strict=True), ".-", color=f"C{k}", alpha=0.8, label=None if n else name)
    axes.set(xscale="log", xlabel="seconds", ylabel="validation loss, nats per character")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(target, metadata={"Date": None} if target.endswith(".svg") else None)


@click.command()
@click.argument("corpora", nargs=-1)
@click.option(
    "-c", "--config", "presets", multiple=True, help="A preset, a YAML file, defaults, or advised; repeatable."
)
@click.option("--seeds", default=1, help="Runs of each.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a setting in all runs; repeatable.")
@click.option("-v", "--variant", "variants", multiple=True, help="A further row: NAME=VALUE changes; repeatable.")
@click.option("--first", default=1.0, help="Use only this fraction of each text, from its start.")
@click.option("--at-once", default=1, help="Runs at the same time; for more than one, set threads=1.")
@click.option("--words", help="Also measure samples, with this list of words that exist.")
@click.option("--keep", help="Folder for the models, named after text, row and seed.")
@click.option("--picture", help="Draw the losses against time, as SVG or PNG.")
@click.option("--worker", hidden=True)
def main(
    corpora: tuple[str, ...],
    presets: tuple[str, ...],
    seeds: int,
    changes: tuple[str, ...],
    variants: tuple[str, ...],
    first: float,
    at_once: int,
    words: str | None,
    keep: str | None,
    picture: str | None,
    worker: str | None,
) -> None:
    """Train on each of CORPORA, with each preset and each variant of it, and print a table."""
    if worker:
        print(json.dumps(run_once(*json.loads(worker))))
        return
    print(harness.describe_machine())
    print(" ".join(["nats per character", *changes]))
    rows = [(corpus, preset, v) for corpus in corpora for preset in presets or ["shakespeare"] for v in ("", *variants)]
    tasks = [
        (c, p, [*changes, *v.split()], first, seed, words, keep and name_model(keep, c, p, v, seed))
        for c, p, v in rows
        for seed in range(1, seeds + 1)
    ]
    results = run_all(tasks, at_once)
    columns = COLUMNS | (QUALITY if words else {})
    table = harness.Table(columns, labels=map(" ".join, rows))
    losses = {}
    for row in rows:
        runs = [next(results) for _ in range(seeds)]
        losses[" ".join([Path(row[0]).stem, Path(row[1]).stem, row[2]])] = [run.pop("losses") for run in runs]
        values: dict[str, Any] = {name: fmean(run[name] for run in runs) for name in runs[0]}
        validation = [run["validation"] for run in runs]
        values |= {"seeds": seeds, "spread": max(validation) - min(validation), "bits": values["validation"] / log(2)}
        table.row(*(values[column] for column in columns), label=" ".join(row))
    if picture:
        draw(losses, picture)


if __name__ == "__main__":
    main()
