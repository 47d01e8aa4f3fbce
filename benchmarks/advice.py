"""Whether the settings that charlstm chooses are good ones: each of them is changed in turn, at several run times.

Instead of the clock, runs have a number of steps: those of a machine that reads `--speed` characters per second with
256 units, and fewer with more units, as `charlstm.training.advice` assumes. So results do not depend on the load of
this machine. Losses are those of `benchmarks/learning.py`. The last column compares a row with the best of its text
and time; that of "advised" is the answer.
"""

from pathlib import Path
from typing import Any

import click
import harness
import learning

from charlstm import Config, read_corpus
from charlstm.config.kinds import duration
from charlstm.training.advice import SLOWDOWN, advise

COLUMNS = {
    "units": "d",
    "dropconnect": ".2f",
    "rate": ".4f",
    "batch": "d",
    "steps": "d",
    "loss": ".4f",
    "of best": ".1%",
}
CHANGES: dict[str, dict[str, float]] = {
    "advised": {},
    "units x 2/3": {"hidden_size": 2 / 3},
    "units x 3/2": {"hidden_size": 3 / 2},
    "rate x 0.6": {"learning_rate": 0.6},
    "rate x 1.6": {"learning_rate": 1.6},
    "less dropconnect": {"dropconnect": -0.1},
    "more dropconnect": {"dropconnect": 0.1},
    "batch x 2/3": {"batch_size": 2 / 3},
    "batch x 3/2": {"batch_size": 3 / 2},
}


def changed(settings: dict[str, Any], changes: dict[str, float]) -> dict[str, Any]:
    """Return settings with some multiplied, or dropconnect moved by a difference."""
    settings = dict(settings)
    for name, change in changes.items():
        if name == "hidden_size":
            settings[name] = 32 * round(settings[name] * change / 32)
        elif name == "batch_size":
            settings[name] = 4 * round(settings[name] * change / 4)
        elif name == "dropconnect":
            settings[name] = min(max(settings[name] + change, 0.0), 0.9)
        else:
            settings[name] *= change
    return settings


def with_steps(settings: dict[str, Any], time_s: float, speed: float) -> dict[str, Any]:
    """Return settings with the steps that a model of this size takes in a time."""
    chars = time_s * speed * (256 / settings["hidden_size"]) ** SLOWDOWN
    return settings | {"steps": max(round(chars / (settings["batch_size"] * settings["seq_len"])), 1)}


@click.command()
@click.argument("corpora", nargs=-1, required=True)
@click.option("--time", "times", multiple=True, default=["30s", "2m"], help="Of a run; repeatable.")
@click.option("--speed", default=60_000.0, help="Characters per second with 256 units.")
@click.option("--only", multiple=True, help="Rows to run, beside the advised one; repeatable.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a setting in all runs; repeatable.")
@click.option("--at-once", default=2, help="Runs at the same time, on one core each.")
def main(
    corpora: tuple[str, ...],
    times: tuple[str, ...],
    speed: float,
    only: tuple[str, ...],
    changes: tuple[str, ...],
    at_once: int,
) -> None:
    """Train on CORPORA with the settings advised, and with changed ones, and print their losses."""
    print(harness.describe_machine())
    print(" ".join([f"nats per character; {speed:,.0f} characters/s with 256 units", *changes]))
    names = ["advised", *(only or list(CHANGES)[1:])]
    rows: list[tuple[str, str, str]] = [(path, time, name) for path in corpora for time in times for name in names]
    seconds = {time: duration().convert(time) for time in times}
    settings = []
    for path, time, name in rows:
        dataset = read_corpus(path).split(Config().data.val_fraction)
        advised = advise(dataset, {"time": seconds[time]}, lambda *_: speed)
        settings.append(with_steps(changed(advised, CHANGES[name]), seconds[time], speed))
    tasks = [
        (path, "defaults", [*(f"{key}={value}" for key, value in values.items()), "threads=1", *changes], 1.0, 1)
        for (path, _, _), values in zip(rows, settings, strict=True)
    ]
    table = harness.Table(COLUMNS, labels=[f"{Path(path).stem}, {time}: {name}" for path, time, name in rows])
    results = learning.run_all(tasks, at_once)
    for k in range(0, len(rows), len(names)):
        losses = [next(results)["validation"] for _ in names]
        for (path, time, name), values, loss in zip(rows[k:], settings[k:], losses, strict=False):
            shown = [values[key] for key in ("hidden_size", "dropconnect", "learning_rate", "batch_size", "steps")]
            table.row(*shown, loss, loss / min(losses), label=f"{Path(path).stem}, {time}: {name}")


if __name__ == "__main__":
    main()
