"""Writes the table of docs/reliability.md from many trials of faults.py and fuzzing.py, on all cores.

`make reliability` runs it; an argument scales the number of trials. test_reliability.py makes a few.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from faults import VARIANTS, fault_sweep, kill_loop
from fuzzing import mutate_checkpoints, mutate_corpora, mutate_members, mutate_settings, random_command_lines
from helpers import ROOT

PAGE = ROOT / "docs" / "reliability.md"

Job = tuple[str, Callable[..., int], tuple[Any, ...]]  # a promise, and what tries it in a folder, with its arguments


def jobs(scale: float) -> Iterator[Job]:
    """Yield all jobs, the longest first."""

    def scaled(trials: int) -> int:
        return max(int(trials * scale), 1)

    yield "a mutated checkpoint is rejected or loads the same values", mutate_checkpoints, (scaled(1_000_000),)
    yield (
        "a checkpoint with mutated members and valid checksums is rejected, or works with `info`, `sample`, `score` "
        "and `--resume`",
        mutate_members,
        (scaled(100_000),),
    )
    yield (
        "a mutated configuration gives valid settings or one error in under a second",
        mutate_settings,
        (scaled(100_000),),
    )
    yield (
        "a mutated corpus, compressed or not, is decoded as Python decodes it, or rejected",
        mutate_corpora,
        (scaled(100_000),),
    )
    yield "a random command line succeeds or gives one error", random_command_lines, (scaled(20_000),)
    yield (
        "if any open, write, flush, sync or rename during a save fails, once or permanently, the failure is reported, "
        "and only a complete file remains, old or new",
        fault_sweep,
        (),
    )
    for name in ("SIGKILL", "SIGTERM", "SIGINT"):
        promise = f"a run stopped by {name} at random times and resumed gives the same bytes as an uninterrupted one"
        yield promise, kill_loop, ("", scaled(50), getattr(signal, name))
    for variant, flags in VARIANTS.items():
        yield f"... by SIGKILL: {variant}", kill_loop, (flags, scaled(10), signal.SIGKILL)


def run_job(job: Job) -> tuple[str, float, float]:
    """Run one job; return its row of the table, its seconds, and the peak memory of this process so far, in MB."""
    import resource  # not on every system

    promise, function, arguments = job
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        trials = function(Path(folder), *arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return f"| {promise} | `{function.__name__}` | {trials:,} | 0 |", time.perf_counter() - started, peak


def main() -> None:
    """Run all jobs and write the page."""
    for name in ("SIGINT", "SIGHUP"):  # a shell's background jobs and nohup ignore them, and so would our processes
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    rows, highest = [], 0.0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for row, seconds, peak in pool.map(run_job, list(jobs(float(sys.argv[1]) if sys.argv[1:] else 1.0))):
            print(f"{row} {seconds:.0f} s", flush=True)
            rows.append(row)
            highest = max(highest, peak)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- table -->")
    after = rest.partition("<!-- end -->")[2]
    table = "\n".join(["| guarantee | test | trials | failures |", "|---|---|---|---|", *rows])
    memory = f"No process used more than {highest:.0f} MB."
    PAGE.write_text(f"{before}<!-- table -->\n{table}\n\n{memory}\n<!-- end -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
