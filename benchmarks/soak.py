"""A long training run, watched from outside: whether its memory, open files and speed stay constant.

The warm-up is the first tenth; the rest is compared with its end. Linux only: it reads /proc.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import harness

_INTERVAL_S = 10


def watch(pid: int) -> tuple[float, int]:
    """Return the resident memory in MB and the open files of a process and its children."""
    pids = harness.list_processes(pid)
    page = os.sysconf("SC_PAGE_SIZE")
    memory = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) * page for each in pids)
    return memory / 1e6, sum(len(os.listdir(f"/proc/{each}/fd")) for each in pids)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("corpus")
@click.option("--minutes", default=65.0, show_default=True)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(corpus: str, minutes: float, flags: tuple[str, ...]) -> None:
    """Train on CORPUS for some time, with an evaluation, a log entry and a save about every 30 seconds."""
    print(harness.describe_machine())
    with tempfile.TemporaryDirectory() as directory:
        out, log = Path(directory) / "model.npz", Path(directory) / "log.jsonl"
        command = [sys.executable, "-m", "charlstm", "train", corpus, "-o", str(out), "--log", str(log), "-q"]
        command += ["--time", f"{minutes}m", "--evals", str(int(minutes * 2)), *flags]
        process = subprocess.Popen(command)
        samples = []
        while process.poll() is None:
            time.sleep(_INTERVAL_S)
            try:
                samples.append(watch(process.pid))
            except (FileNotFoundError, ProcessLookupError):
                break
        code = process.wait()
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        left = sorted(path.name for path in Path(directory).iterdir())
    samples = samples[:-1]  # the last may have been taken while the run ended
    print(f"{len(samples) * _INTERVAL_S / 60:.0f} minutes, exit code {code}, {len(entries)} evaluations, files {left}")
    memory, files = [values[len(samples) // 10 :] for values in zip(*samples, strict=True)]
    print(f"memory, MB: {memory[0]:.1f} after the warm-up, then {min(memory):.1f} to {max(memory):.1f},")
    print(f"    at the end {memory[-1]:.1f}: {memory[-1] / memory[0] - 1:+.1%}")
    print(f"open files: {files[0]} after the warm-up, then {min(files)} to {max(files)}")
    speeds = [entry["chars_per_s"] for entry in entries]
    tenths = [speeds[k * len(speeds) // 10 : (k + 1) * len(speeds) // 10] for k in range(10)]
    medians = [f"{statistics.median(some):,.0f}" for some in tenths if some]
    print(f"characters/s, median of each tenth of the run: {', '.join(medians)}")


if __name__ == "__main__":
    main()
