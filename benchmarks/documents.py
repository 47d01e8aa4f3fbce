"""Posts as separate documents compared with one long text: the loss on the same held-out posts, and whole samples.

Both models train on the same posts with the same settings for the same time, except that the state is also reset at
random in the long text (state_reset_prob 0.02, as charlstm chooses for such texts). Each end of a post counts as a
character: a boundary, or a newline. "alone" is the loss of each post from the zero state, after the end of a post;
"in a row" is that of all posts, where the long text's model reads each after the one before.

A sample is whole if it ends within 1.5 times the longest post. Its length should be near that of the posts.
"""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import harness
import numpy as np

from charlstm import Config, Dataset, LanguageModel, SamplingParams, corpus_from_text, start, train
from charlstm.network.evaluation import char_losses, evaluate
from charlstm.training.advice import advise

COLUMNS = {
    "seed": "d",
    "steps": ",d",
    "epochs": ".2f",
    "in a row": ".4f",
    "alone": ".4f",
    "whole": ".1%",
    "chars": ".0f",
}
_BATCH = 100  # samples at a time


def make_datasets(text: str) -> tuple[dict[str, Dataset], list[str]]:
    """Return the same posts as documents and as one text, with the same part held out; and the held-out posts."""
    documents = corpus_from_text(text, "line").split(0.1)
    train_text, val_text = (documents.vocab.decode(ids[1:], "\n") for ids in (documents.train_ids, documents.val_ids))
    whole = corpus_from_text(train_text + val_text)
    ids, chars = whole.ids, len(train_text)
    one_text = Dataset(ids[:chars], ids[chars - 1 :], whole.vocab, whole.fingerprint, 0.1)  # after a newline
    return {"documents": documents, "one text": one_text}, val_text.splitlines()


def measure_alone(model: LanguageModel, posts: Sequence[str]) -> float:
    """Return the loss of posts in nats per character, each from the zero state, with its end."""
    end = model.vocab.encode("\n")[0] if model.vocab.boundary_id is None else model.vocab.boundary_id
    ids = [np.array([end, *model.vocab.encode(post), end]) for post in posts]
    return float(np.mean(np.concatenate([char_losses(model.network, post) for post in ids])))


def sample(model: LanguageModel, count: int, longest: int, seed: int) -> tuple[float, float]:
    """Return the fraction of samples that end, and their mean length."""
    stop = ("\n",) if model.vocab.boundary_id is None else ()
    sampler = model.sampler(SamplingParams(length=longest * 3 // 2, stop=stop))
    samples = [
        each
        for first in range(0, count, _BATCH)
        for each in sampler.generate_batch(
            model.read(), [np.random.default_rng((seed, n)) for n in range(first, min(first + _BATCH, count))]
        )
    ]
    return statistics.fmean(each.stopped for each in samples), statistics.fmean(len(each.text) for each in samples)


def run_once(dataset: Dataset, posts: Sequence[str], settings: dict[str, Any], count: int, longest: int) -> list[Any]:
    """Train once; return the values of a row."""
    run = start(dataset, **settings)
    *_, report = train(run)
    loss = evaluate(run.model.network, dataset.val_ids)
    alone = measure_alone(run.model, posts)
    return [settings["seed"], report.step, report.epoch, loss, alone, *sample(run.model, count, longest, 1)]


@click.command()
@click.argument("corpus", default=str(Path(__file__).parent.parent / "data" / "tweets.txt"))
@click.option("--time", "seconds", default="90s", show_default=True, help="Time of each run.")
@click.option("--seeds", default=3, show_default=True, help="Runs of each.")
@click.option("--samples", default=1000, show_default=True, help="Samples of each run.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a setting in all runs; repeatable.")
def main(corpus: str, seconds: str, seeds: int, samples: int, changes: tuple[str, ...]) -> None:
    """Train on the lines of CORPUS as documents and as one text, in turns, and print a table."""
    datasets, posts = make_datasets(Path(corpus).read_text(encoding="utf-8"))
    given: dict[str, Any] = {"time": seconds} | dict(change.split("=", 1) for change in changes)
    parsed = Config().replace(**given).values()
    advised = advise(datasets["one text"], {name: parsed[name] for name in given})
    longest = max(map(len, posts))
    print(harness.describe_machine())
    print(f"nats per character on {len(posts):,} held-out posts; {given}, {advised}", file=sys.stderr)
    table = harness.Table(COLUMNS, labels=datasets)
    for seed in range(1, seeds + 1):
        for name, dataset in datasets.items():
            settings = advised | given | {"seed": seed}
            if name == "documents":
                settings["state_reset_prob"] = 0.0
            table.row(*run_once(dataset, posts, settings, samples, longest), label=name)
    posts_chars = statistics.fmean(map(len, posts))
    print(f"The held-out posts have {posts_chars:.0f} characters on average.")


if __name__ == "__main__":
    main()
