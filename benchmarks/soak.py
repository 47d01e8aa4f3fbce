"""A long training, watched from outside: whether its memory, its open files and its speed stay what they were.

The warm-up is the first tenth; what follows is held against its end. Linux only: it reads /proc.
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

_EVERY_S = 10


def watched(pid: int) -> tuple[float, int]:
    """Return resident memory in MB, and open files, of a process and its children."""
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    page = os.sysconf("SC_PAGE_SIZE")
    memory = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) * page for each in pids)
    return memory / 1e6, sum(len(os.listdir(f"/proc/{each}/fd")) for each in pids)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("corpus")
@click.option("--minutes", default=65.0, show_default=True)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(corpus: str, minutes: float, flags: tuple[str, ...]) -> None:
    """Train on CORPUS for so long, with an evaluation, a log entry and a save about every 30 seconds."""
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "model.npz", Path(folder) / "log.jsonl"
        command = [sys.executable, "-m", "charlstm", "train", corpus, "-o", str(out), "--log", str(log), "-q"]
        command += ["--time", f"{minutes}m", "--evals", str(int(minutes * 2)), *flags]
        process = subprocess.Popen(command)
        samples = []
        while process.poll() is None:
            time.sleep(_EVERY_S)
            try:
                samples.append(watched(process.pid))
            except (FileNotFoundError, ProcessLookupError):
                break
        code = process.wait()
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        left = sorted(path.name for path in Path(folder).iterdir())
    samples = samples[:-1]  # the last may have met its end
    warm = len(samples) // 10
    print(f"{len(samples) * _EVERY_S / 60:.0f} minutes, exit code {code}, {len(entries)} evaluations, files {left}")
    memory, files = zip(*samples, strict=True)
    print(
        f"memory, MB: {memory[warm]:.1f} after the warm-up, then {min(memory[warm:]):.1f} to {max(memory[warm:]):.1f},"
    )
    print(f"    at the end {memory[-1]:.1f}: {memory[-1] / memory[warm] - 1:+.1%}")
    print(f"open files: {files[warm]} after the warm-up, then {min(files[warm:])} to {max(files[warm:])}")
    speeds = [entry["chars_per_s"] for entry in entries]
    tenths = [speeds[k * len(speeds) // 10 : (k + 1) * len(speeds) // 10] for k in range(10)]
    medians = [f"{statistics.median(some):,.0f}" for some in tenths if some]
    print(f"characters/s, median of each tenth of the run: {', '.join(medians)}")


if __name__ == "__main__":
    main()
