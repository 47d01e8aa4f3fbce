"""What filters, guides and batches cost in characters per second, and scoring against training's way forward."""

import statistics
import time
from collections.abc import Callable

import click
import numpy as np

from charlstm import Choice, corpus_from_text, read_corpus
from charlstm.batches import Window
from charlstm.config import ModelConfig
from charlstm.copying import index_of
from charlstm.model import new_model
from charlstm.patterns import Automaton
from charlstm.sampling import Rules, begin, write_texts
from charlstm.training import eval_streams, surprises


def in_turns(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run functions in turns; return the median of each one's seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            begun = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


@click.command()
@click.argument("corpus", default="@tweets")
@click.option("--hidden-size", default=256, show_default=True)
@click.option("--length", default=300, show_default=True, help="Characters of each text.")
@click.option("--rounds", default=5, show_default=True)
def main(corpus: str, hidden_size: int, length: int, rounds: int) -> None:
    """Measure sampling with each filter and guide, and scoring, on CORPUS with fresh weights."""
    text = read_corpus(corpus)
    vocab, ids = text.vocab, text.ids
    model = new_model(ModelConfig(hidden_size=hidden_size), len(vocab), np.random.default_rng(0))
    start, index = begin(model, vocab), index_of(ids, 20)
    pattern = Automaton(f"[^é]{{{length}}}", vocab)
    cases = {
        "plain": (Choice(), Rules()),
        "top-k": (Choice(top_k=10), Rules()),
        "typical": (Choice(typical=0.9), Rules()),
        "top-p": (Choice(top_p=0.9), Rules()),
        "min-p": (Choice(min_p=0.05), Rules()),
        "repetition penalty": (Choice(), Rules(repetition_penalty=1.0)),
        "no-copy 20": (Choice(), Rules(no_copy=index)),
        "pattern": (Choice(), Rules(pattern=pattern)),
    }
    print(f"{'1 x ' + str(hidden_size):<20}" + "".join(f"{f'{B} at once':>16}{'of plain':>10}" for B in (1, 64)))

    def task(B: int, choice: Choice, rules: Rules) -> Callable[[], object]:
        return lambda: write_texts(
            model, vocab, start, length, [np.random.default_rng(seed) for seed in range(B)], choice, rules
        )

    times = {B: in_turns({name: task(B, *case) for name, case in cases.items()}, rounds) for B in (1, 64)}
    for name in cases:
        columns = [f"{B * length / times[B][name]:>16,.0f}{times[B]['plain'] / times[B][name]:>10.2f}" for B in (1, 64)]
        print(f"{name:<20}" + "".join(columns))

    scored = corpus_from_text(vocab.decode(np.tile(ids, 1 + 1_000_000 // len(ids))[:1_000_000])).with_vocab(vocab)[0]
    window = Window(*(np.resize(scored.astype(np.intp), (64, 64)) for _ in range(2)))
    state = model.zero_state(64)

    def forward() -> None:
        for _ in range(len(scored) // window.x.size):
            model.loss(window, state)

    both = in_turns({"score": lambda: surprises(model, scored, eval_streams(scored)), "forward": forward}, rounds)
    print(
        f"\nscoring {len(scored):,} characters: {both['score']:.2f} s, {len(scored) / both['score']:,.0f} characters/s;"
    )
    print(f"training's way forward, 64 streams of 64: {len(scored) / both['forward']:,.0f} characters/s")


if __name__ == "__main__":
    main()
