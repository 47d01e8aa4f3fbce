"""What dynamic evaluation (`charlstm score --adapt`) brings, for several window lengths and learning rates.

Choose both on one text, and report the loss on others.
"""

from pathlib import Path

import click
import harness

from charlstm import load, read_corpus
from charlstm.network.dispatch import choose_kernel
from charlstm.network.evaluation import adaptive_losses, evaluate


@click.command()
@click.argument("pairs", metavar="MODEL TEXT...", nargs=-1, required=True)
@click.option("--chars", default=20_000, show_default=True, help="Characters to read, from the end of each text.")
@click.option(
    "-w", "--window", "windows", type=int, multiple=True, default=[32], help="Characters per step; repeatable."
)
@click.option("-r", "--rate", "rates", type=float, multiple=True, default=[1.0], help="Learning rate.")
def main(pairs: tuple[str, ...], chars: int, windows: tuple[int, ...], rates: tuple[float, ...]) -> None:
    """Print the loss of MODEL on TEXT with fixed weights, and with weights that adapt."""
    print(f"{harness.describe_machine()}\nnats per character, on the last {chars:,} characters")
    columns = {"fixed": ".4f", **{f"{w} x {r:g}": ".4f" for w in windows for r in rates}}
    labels = [f"{Path(model).stem}, {Path(text).stem}" for model, text in zip(pairs[::2], pairs[1::2], strict=True)]
    table = harness.Table(columns, labels=labels)
    for model, path, label in zip(pairs[::2], pairs[1::2], labels, strict=True):
        network, vocab = (language_model := load(model)).network, language_model.vocab
        network.kernel = choose_kernel("auto", network.config.hidden_size)
        text = "".join(c for c in read_corpus(path).text[-2 * chars :] if c in vocab.characters)[-chars:]
        ids = vocab.encode(text)
        adapted = [adaptive_losses(network, ids, window=w, learning_rate=r).mean() for w in windows for r in rates]
        table.row(evaluate(network, ids), *adapted, label=label)


if __name__ == "__main__":
    main()
