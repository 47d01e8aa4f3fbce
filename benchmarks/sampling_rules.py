"""What filters, constraints and batches cost in characters per second; and scoring against training's forward pass."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import click
import harness
import numpy as np

from charlstm import LanguageModel, SamplingParams, read_corpus
from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import init_network
from charlstm.text.batches import Window

SCORED_CHARS = 1_000_000


@click.command()
@click.argument("corpus_path", metavar="[CORPUS]", default="@tweets")
@click.option("--hidden-size", default=256, show_default=True)
@click.option("--length", default=300, show_default=True, help="Characters of each text.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--kernel", default="numpy", show_default=True)
def main(corpus_path: str, hidden_size: int, length: int, rounds: int, kernel: str) -> None:
    """Measure sampling with each filter and constraint, and scoring, on CORPUS with initial weights."""
    print(harness.describe_machine())
    corpus = read_corpus(corpus_path)
    network = init_network(ModelConfig(hidden_size=hidden_size), len(corpus.vocab), np.random.default_rng(0))
    network.kernel = kernel
    model = LanguageModel(network, corpus.vocab)
    prefix = model.read()
    cases: dict[str, dict[str, Any]] = {
        "plain": {},
        "top-k": {"top_k": 10},
        "typical": {"typical": 0.9},
        "top-p": {"top_p": 0.9},
        "min-p": {"min_p": 0.05},
        "repetition penalty": {"repetition_penalty": 1.0},
        "no-copy 20": {"no_copy": 20},
        "pattern": {"pattern": f"[^é]{{{length}}}"},
    }
    samplers = {
        name: model.sampler(SamplingParams(length=length, temperature=1, **{"top_p": 1.0} | params), corpus)
        for name, params in cases.items()
    }

    def sample(name: str, B: int) -> object:
        return samplers[name].generate_batch(prefix, [np.random.default_rng(seed) for seed in range(B)])

    for B in (1, 64):
        seconds = time_in_turns({name: partial(sample, name, B) for name in cases}, rounds)
        print(f"\n1 x {hidden_size}, {B} at once")
        table = harness.Table({"characters/s": ",.0f", "of plain": ".2f"}, labels=cases)
        for name in cases:
            table.row(B * length / seconds[name], seconds["plain"] / seconds[name], label=name)

    scored = replace(corpus, ids=np.resize(corpus.ids, SCORED_CHARS))
    window = Window(*(np.resize(scored.ids.astype(np.intp), (64, 64)) for _ in range(2)))
    state = network.zero_state(64)

    def read_forward() -> None:
        for _ in range(SCORED_CHARS // window.x.size):
            network.loss(window, state)

    seconds = time_in_turns({"score": lambda: model.score(scored), "forward": read_forward}, rounds)
    speeds = {name: f"{SCORED_CHARS / s:,.0f} characters/s" for name, s in seconds.items()}
    print(f"\nscoring {SCORED_CHARS:,} characters: {seconds['score']:.2f} s, {speeds['score']}")
    print(f"training's forward pass, 64 streams of 64: {speeds['forward']}")


def time_in_turns(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median of the seconds that each function takes."""
    tasks = {name: partial(harness.time_call, function) for name, function in functions.items()}
    return {name: median(seconds) for name, seconds in harness.take_turns(tasks, rounds).items()}


if __name__ == "__main__":
    main()
