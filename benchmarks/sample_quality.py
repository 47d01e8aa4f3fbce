"""How good samples are: words that do not exist, passages copied from the corpus, repetition and variety.

A word is invented if it has at least two letters and is neither in the corpus nor in the word list, such as Debian's
/usr/share/dict/american-english; for English texts only. A passage of 20 characters is copied if it occurs in the
corpus. A passage of 10 characters is repeated if it occurs earlier in the same sample. Variety is the number of
different words in the first 1,000. The first row of each corpus has the values of its own last tenth, with copies from
the part before.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import click
import harness
import numpy as np

from charlstm import LanguageModel, SamplingParams, load, read_corpus
from charlstm.text.overlap import OVERLAP_CHARS, measure_overlap

_WORD = re.compile("[A-Za-z']{2,}")
_REPEATED_CHARS = 10
_VARIETY_WORDS = 1_000
_AT_ONCE = 64  # samples
_GAP = "\ue000"  # a private character
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
NONE: dict[str, Any] = {"top_p": 1.0, "min_p": 0.0}
FILTERS: dict[str, dict[str, Any]] = {
    "": {},
    "top-p 0.9": {"top_p": 0.9},
    "top-p 0.95": {"top_p": 0.95},
    "min-p 0.02": {"min_p": 0.02},
    "min-p 0.05": {"min_p": 0.05},
    "min-p 0.1": {"min_p": 0.1},
}


class Quality(NamedTuple):
    """Measures of some samples: fractions, and a number of words."""

    invented: float
    copied: float
    repeated: float
    variety: int


COLUMNS = dict(zip(Quality._fields, (".1%", ".1%", ".1%", "d"), strict=True))


class Judge:
    """Measures samples against the corpus that a model was trained on.

    Args:
        corpus: the training text.
        known: words that exist besides those of the corpus, in lower case.
    """

    def __init__(self, corpus: str, known: frozenset[str]) -> None:
        self.corpus = corpus
        self._known = known

    @cached_property
    def _words(self) -> set[str]:
        return {*self._known, *find_words(self.corpus)}

    def measure(self, samples: Sequence[str]) -> Quality:
        """Return the quality of some samples."""
        words = [word for sample in samples for word in find_words(sample)]
        first = list(islice(words, _VARIETY_WORDS))
        joined = as_ids(_GAP.join(samples))  # no passage with the gap in it occurs in a corpus
        return Quality(
            invented=fmean(word not in self._words for word in words) if words else 0.0,
            copied=measure_overlap(joined, as_ids(self.corpus), OVERLAP_CHARS),
            repeated=fmean(map(measure_repetition, samples)),
            variety=len(set(first)),
        )


def find_words(text: str) -> list[str]:
    """Return the words of a text, in lower case, without apostrophes around them."""
    return [word for match in _WORD.findall(text) if len(word := match.lower().strip("'")) >= 2]


def as_ids(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def measure_repetition(text: str) -> float:
    """Return the fraction of the passages of a text that occur earlier in it."""
    n = _REPEATED_CHARS
    passages = [text[start : start + n] for start in range(len(text) - n + 1)]
    return 1 - len(set(passages)) / len(passages) if passages else 0.0


def read_words(path: str | None) -> frozenset[str]:
    """Return the words of a list, in lower case."""
    return frozenset(Path(path).read_text(encoding="utf-8").lower().split()) if path else frozenset()


def generate(model: LanguageModel, count: int, length: int, seed: int = 0, **params: Any) -> list[str]:
    """Return samples, of a model trained on documents each made of as many as its length needs."""
    sampler, prefix = model.sampler(SamplingParams(length=length, **params)), model.read()
    rngs = [np.random.default_rng((seed, n)) for n in range(count)]
    batches = [rngs[start : start + _AT_ONCE] for start in range(0, count, _AT_ONCE)]
    return [sample.text for batch in batches for sample in sampler.generate_batch(prefix, batch)]


@click.command()
@click.argument("pairs", metavar="MODEL CORPUS...", nargs=-1, required=True)
@click.option("--words", help="List of words that exist.")
@click.option("--count", default=64, show_default=True, help="Samples of each row.")
@click.option("--length", default=1000, show_default=True, help="Characters of each sample.")
def main(pairs: tuple[str, ...], words: str | None, count: int, length: int) -> None:
    """Sample from each MODEL at several temperatures with several filters, and compare with its CORPUS."""
    known = read_words(words)
    print(f"{harness.describe_machine()}\n{count} samples of {length:,} characters")
    rows = [(t, name) for t in TEMPERATURES for name in FILTERS]
    for path, corpus in zip(pairs[::2], pairs[1::2], strict=True):
        text = read_corpus(corpus).text
        cut = len(text) - len(text) // 10
        model, judge = load(path), Judge(text, known)
        labels = [f"{t} {name}" for t, name in rows]
        print(f"\n{Path(path).stem}, {Path(corpus).stem}")
        table = harness.Table(COLUMNS, labels=labels)
        own = [text[start : start + length] for start in range(cut, len(text), length)]
        table.row(*Judge(text[:cut], known).measure(own), label="own text")
        for (temperature, name), label in zip(rows, labels, strict=True):
            samples = generate(model, count, length, temperature=temperature, **NONE | FILTERS[name])
            table.row(*judge.measure(samples), label=label)


if __name__ == "__main__":
    main()
