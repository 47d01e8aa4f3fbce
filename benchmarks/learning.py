"""What a preset learns from a text: steps, speed and validation loss, for one or more seeds.

The loss is that of `charlstm score` on the last part of the text, which was not trained on: the state starts at zero
and is carried over all of it.
"""

import platform
import time

import click
import numpy as np

from charlstm import evaluate, load_config, read_corpus, start, train


@click.command()
@click.argument("corpus", nargs=-1, required=True)
@click.option("-c", "--config", "name", default="shakespeare", help="A preset, or a YAML file.")
@click.option("--seeds", default=1, help="How many runs.")
def main(corpus: tuple[str, ...], name: str, seeds: int) -> None:
    """Train CORPUS with a preset and print what came out."""
    config = load_config(name)
    text = read_corpus(corpus, config.data.encoding)
    val_ids = text.split(config.data.val_fraction)[1]
    print(f"{name} on {' '.join(corpus)}; NumPy {np.__version__}, Python {platform.python_version()}")
    columns = ("seed", "steps", "epochs", "chars/s", "seconds", "best at", "reported", "scored", "bits")
    print("".join(f"{column:>9}" for column in columns))
    for seed in range(1, seeds + 1):
        run = start(config.replace(seed=seed), text)
        begun = time.perf_counter()
        *_, last = train(run, text)
        elapsed = time.perf_counter() - begun
        scored = evaluate(run.model, val_ids)
        best = run.best or {}
        print(
            f"{seed:>9}{last.step:>9}{last.epoch:>9.2f}{last.chars / elapsed:>9.0f}{elapsed:>9.1f}"
            f"{best['step']:>9}{best['val_loss']:>9.4f}{scored:>9.4f}{scored / np.log(2):>9.3f}"
        )


if __name__ == "__main__":
    main()
