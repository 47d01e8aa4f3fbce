"""How long commands take from the shell: `charlstm --help`, and a sample of 200 characters."""

import statistics
import sys
import tempfile
from functools import partial

import click
import harness


@click.command()
@click.option("--rounds", default=15, show_default=True)
def main(rounds: int) -> None:
    """Print the wall time of commands, from their start to their end."""
    print(harness.describe_machine())
    with tempfile.TemporaryDirectory() as directory:
        model = harness.train_briefly(directory)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "charlstm --help": [harness.CHARLSTM, "--help"],
            "charlstm train --help": [harness.CHARLSTM, "train", "--help"],
            "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
            "charlstm sample -n 200 (1 x 256)": [harness.CHARLSTM, "sample", "--ckpt", model, "-n", "200"],
        }
        tasks = {name: partial(harness.run_command, command) for name, command in commands.items()}
        results = harness.take_turns(tasks, rounds)
    print(f"{rounds} rounds, seconds")
    table = harness.Table(dict.fromkeys(("min", "median", "max"), ".3f"), labels=commands)
    for name, usages in results.items():
        seconds = [usage.seconds for usage in usages]
        table.row(min(seconds), statistics.median(seconds), max(seconds), label=name)


if __name__ == "__main__":
    main()
