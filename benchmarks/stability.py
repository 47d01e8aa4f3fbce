"""Whether training is stable with whatever settings charlstm chooses: random corpora, times and speeds, few steps.

The shorter a run, the faster the learning rate rises and the sooner it is at its peak, so that a few hundred steps with
the settings of a run of any length show whether that rate is too high. A run has failed if an update was skipped,
if it was rolled back, or if its last losses are above the cost of guessing uniformly.
"""

from math import log
from multiprocessing import get_context
from statistics import fmean
from typing import Any

import click
import harness
import numpy as np

from charlstm import corpus_from_text, read_corpus, start, train
from charlstm.training.advice import advise

_LAST = 20  # steps


def random_case(texts: list[str], rng: np.random.Generator) -> tuple[str, dict[str, Any], float]:
    """Return a piece of a text, what is given, and a speed in characters per second."""
    text = texts[rng.integers(len(texts))]
    length = int(np.exp(rng.uniform(log(2_000), log(len(text)))))
    first = rng.integers(len(text) - length + 1)
    given: dict[str, Any] = {"time": float(np.exp(rng.uniform(log(1), log(36_000))))}
    if rng.random() < 0.2:
        given["num_layers"] = int(rng.integers(2, 4))
    if rng.random() < 0.2:
        given["hidden_size"] = int(np.exp(rng.uniform(log(16), log(768))))
    if rng.random() < 0.2:
        given["batch_size"] = int(np.exp(rng.uniform(log(1), log(128))))
    return text[first : first + length], given, float(np.exp(rng.uniform(log(3_000), log(300_000))))


def run_case(task: tuple[str, dict[str, Any], float, int]) -> dict[str, Any]:
    """Train for a few steps with the settings advised for a longer run."""
    text, given, speed, steps = task
    dataset = corpus_from_text(text).split(0.1)
    settings = given | advise(dataset, given, lambda *_: speed)
    del settings["time"]
    run = start(dataset, steps=steps, threads=1, evals=1, **settings)
    reports = list(train(run))
    last, guess = fmean(report.loss for report in reports[-_LAST:]), log(len(dataset.vocab))
    skipped, rolled_back = (sum(getattr(report, name) for report in reports) for name in ("skipped", "rolled_back"))
    failed = bool(skipped or rolled_back or last > guess)
    return settings | {"chars": len(text), "loss": last, "guess": guess, "failed": failed}


@click.command()
@click.argument("corpora", nargs=-1)
@click.option("--runs", default=100, help="Number of runs.")
@click.option("--steps", default=200, help="Of each.")
@click.option("--seed", default=1, help="Of the choice of settings.")
@click.option("--at-once", default=2, help="Runs at the same time, on one core each.")
def main(corpora: tuple[str, ...], runs: int, steps: int, seed: int, at_once: int) -> None:
    """Train on pieces of CORPORA, by default the bundled posts, and count the runs that fail."""
    print(harness.describe_machine())
    texts = [read_corpus(path).text for path in corpora or ["@tweets"]]
    rng = np.random.default_rng(seed)
    tasks = [(*random_case(texts, rng), steps) for _ in range(runs)]
    with get_context("spawn").Pool(at_once) as pool:
        results = list(pool.imap(run_case, tasks, chunksize=1))
    for result in results:
        if result["failed"]:
            print("failed:", result)
    for name in ("hidden_size", "learning_rate", "dropconnect", "batch_size", "seq_len", "chars", "loss"):
        values = [result[name] for result in results]
        print(f"{name}: {min(values):.4g} to {max(values):.4g}")
    print(f"{sum(result['failed'] for result in results)} of {runs} runs failed")


if __name__ == "__main__":
    main()
