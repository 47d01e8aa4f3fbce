"""Texts that are larger than memory: how fast they are prepared, what memory that takes, and how fast training is.

The text repeats all the UTF-8 files below some directories until it has the size. Memory is anonymous memory, which
cannot be dropped or written back as that of mapped files can: the highest sum over all processes. Linux only: it reads
/proc.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import harness

SUFFIXES = {".c", ".h", ".hpp", ".html", ".js", ".md", ".py", ".pyi", ".rst", ".txt"}
SMALL = 1_000_000  # bytes of the text to compare the speed of training with
COLUMNS = {
    "GB": ".2f",
    "distinct": "d",
    "reading, s": ".1f",
    "CPU, s": ".1f",
    "MB/s of CPU": ".0f",
    "total, s": ".1f",
    "anonymous, MB": ".0f",
}
READ = """
import sys, time
from charlstm.config.settings import DataConfig
from charlstm.storage.ids_file import discard, read_with_ids_file
text, output, documents = sys.argv[1:]
started, cpu = time.perf_counter(), time.process_time()
corpus = read_with_ids_file(output, [text], DataConfig(documents=documents).reading, lambda count: None)
print(len(corpus.vocab.code_points), time.perf_counter() - started, time.process_time() - cpu)
discard(output)
"""
SPEEDS = {"chars/s": ",.0f", "of the small one": ".3f"}


def write_text(path: Path, roots: tuple[str, ...], size: int, ascii_only: bool) -> None:
    """Write real text of a size in bytes, or a little more."""
    with open(path, "wb") as file:
        while file.tell() < size:
            for text in read_texts(roots):
                file.write(text.decode().encode("ascii", "ignore") if ascii_only else text)
                if file.tell() >= size:
                    break


def read_texts(roots: tuple[str, ...]) -> Iterator[bytes]:
    """Yield the files that are UTF-8."""
    found = False
    for root in roots:
        for path in sorted(Path(root).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and not path.is_symlink():
                try:
                    text = path.read_bytes()
                    text.decode()
                except (OSError, UnicodeDecodeError):
                    continue
                if b"\0" not in text:
                    found = True
                    yield text + b"\n"
    if not found:
        raise SystemExit("no text found")


def anonymous_mb(pid: int) -> float:
    """Return the anonymous memory of a process now."""
    try:
        return float(Path(f"/proc/{pid}/status").read_text().split("RssAnon:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):  # it has ended
        return 0.0


def run(arguments: list[str]) -> tuple[float, float]:
    """Run charlstm; return its seconds and its peak of anonymous memory in MB, over all its processes."""
    started, peak = time.perf_counter(), 0.0
    process = subprocess.Popen([harness.CHARLSTM, *arguments], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, sum(map(anonymous_mb, harness.list_processes(process.pid))))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"failed: charlstm {' '.join(arguments)}")
    return time.perf_counter() - started, peak


def measure_reading(path: Path, documents: str, folder: Path) -> tuple[int, float, float]:
    """Read a text in a process of its own; return the distinct characters, and the seconds by the clock and of CPU."""
    command = [sys.executable, "-c", READ, str(path), str(folder / "read.npz"), documents]
    values = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()
    return int(values[0]), float(values[1]), float(values[2])


def training_speed(arguments: list[str], folder: Path) -> float:
    """Return the characters per second of the last evaluation."""
    log = folder / "log.jsonl"
    log.unlink(missing_ok=True)
    run([*arguments, "--log", str(log)])
    return float(json.loads(log.read_text().splitlines()[-1])["chars_per_s"])


@click.command()
@click.argument("roots", nargs=-1, required=True)
@click.option("--gb", default=5.0, help="Size of the text.")
@click.option("--documents", "kinds", default="none,line", help="What separates documents, with commas.")
@click.option(
    "--ascii", "ascii_only", is_flag=True, help="Remove all other characters, and compare speeds of training."
)
@click.option("--folder", help="Where to write the text and the models; by default, a temporary directory.")
def main(roots: tuple[str, ...], gb: float, kinds: str, ascii_only: bool, folder: str | None) -> None:
    """Prepare text from the files below ROOTS, and train on it."""
    print(harness.describe_machine())
    with tempfile.TemporaryDirectory(dir=folder) as name:
        text, small = Path(name) / "large.txt", Path(name) / "small.txt"
        write_text(text, roots, int(gb * 1e9), ascii_only)
        with open(text, "rb") as file:
            file.seek(int(gb * 1e9 / 2))
            small.write_bytes(file.read(SMALL).decode("utf-8", "ignore").encode())
        size = text.stat().st_size
        steps = [
            "--force",
            "--hidden-size",
            "256",
            "--min-count",
            str(int(gb * 10_000)),
            "--steps",
            "10",
            "--evals",
            "1",
            "-o",
            f"{name}/model.npz",
        ]
        table = harness.Table(COLUMNS, labels=kinds.split(","))
        for kind in kinds.split(","):
            distinct, reading, cpu = measure_reading(text, kind, Path(name))
            total, memory = run(["train", str(text), "--documents", kind, *steps])
            table.row(size / 1e9, distinct, reading, cpu, size / 1e6 / cpu, total, memory, label=kind)
        timed = ["--force", "-c", "shakespeare", "--time", "30s", "-o", f"{name}/model.npz"]
        table = harness.Table(SPEEDS, labels=kinds.split(","))
        for kind in kinds.split(","):
            alone, speed = (
                training_speed(["train", str(path), "--documents", kind, *timed], Path(name)) for path in (small, text)
            )
            table.row(speed, speed / alone, label=kind)


if __name__ == "__main__":
    main()
