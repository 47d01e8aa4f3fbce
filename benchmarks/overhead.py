"""What evaluations, previews and baselines take of a short run: steps with and without them, and seconds in all.

Each text is trained on in turns: as a user does, and with a single evaluation and no output. Both runs have the same
time limit, so the ratio of their steps is the part that is left for training.
"""

import json
import math
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial

import click
import harness

SILENT = ("--evals", "1", "--quiet")


def train(text: str, seconds: float, model: str, flags: Sequence[str]) -> tuple[int, float, float]:
    """Return the steps of a run, its seconds from start to end, and its validation loss in bits per character."""
    command = [harness.CHARLSTM, "train", text, "--time", f"{seconds:g}s", "--output", model, "--force", *flags]
    elapsed = harness.time_call(partial(subprocess.run, command, check=True, stderr=subprocess.DEVNULL))
    described = subprocess.run([harness.CHARLSTM, "info", model, "--json"], check=True, stdout=subprocess.PIPE)
    run = json.loads(described.stdout)
    return run["step"], elapsed, run["best"]["val_loss"] / math.log(2)


@click.command()
@click.argument("texts", nargs=-1, required=True)
@click.option("--seconds", default=20.0, show_default=True, help="Time limit of each run.")
@click.option("--rounds", default=3, show_default=True, help="Runs of each kind.")
@click.option("--flags", default="", help="Further flags of `charlstm train`, such as '--hidden-size 256'.")
def main(texts: tuple[str, ...], seconds: float, rounds: int, flags: str) -> None:
    print(harness.describe_machine())
    columns = {"steps": ",.0f", "alone": ",.0f", "left": ".0%", "seconds": ".1f", "bits": ".3f"}
    table = harness.Table(columns, labels=texts)
    for text in texts:
        with tempfile.TemporaryDirectory() as directory:
            run = partial(train, text, seconds, f"{directory}/model.npz")
            tasks = {"usual": partial(run, flags.split()), "alone": partial(run, [*flags.split(), *SILENT])}
            results = harness.take_turns(tasks, rounds, warm_up=0)
        usual, alone = (
            [statistics.median(column) for column in zip(*results[name], strict=True)] for name in ("usual", "alone")
        )
        table.row(usual[0], alone[0], usual[0] / alone[0], *usual[1:], label=text)


if __name__ == "__main__":
    main()
