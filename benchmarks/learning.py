"""What a preset learns from a text: steps, speed and validation loss, for one or more seeds.

The loss is that of `charlstm score` on the last part of the text, which was not trained on: the state starts at zero and is
carried over all of it.
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
    print(f"NumPy {np.__version__}, Python {platform.python_version()} on {platform.machine()}; {name} on {' '.join(corpus)}")
    print(f"{'seed':>5}{'steps':>8}{'epochs':>8}{'chars/s':>9}{'seconds':>9}{'best at':>9}{'reported':>10}{'scored':>8}{'bits':>7}")
    for seed in range(1, seeds + 1):
        run = start(config.replace(seed=seed), text)
        begun = time.perf_counter()
        for report in train(run, text):
            pass
        elapsed = time.perf_counter() - begun
        scored = evaluate(run.model, val_ids)
        best = run.best or {}
        print(
            f"{seed:>5}{report.step:>8}{report.epoch:>8.2f}{report.chars / elapsed:>9.0f}{elapsed:>9.1f}"
            f"{best['step']:>9}{best['val_loss']:>10.4f}{scored:>8.4f}{scored / np.log(2):>7.3f}"
        )


if __name__ == "__main__":
    main()
