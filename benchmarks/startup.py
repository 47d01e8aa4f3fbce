"""How long it takes from the shell: `charlstm --help`, and a sample of 200 characters."""

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
CHARLSTM = str(Path(sys.executable).parent / "charlstm")


def seconds(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.npz")
        small = (CHARLSTM, "train", "@tweets", "--steps", "1", "--eval-chars", "1000", "-q", "-o", model)
        seconds(*small)
        commands = {
            "python -c pass": (sys.executable, "-c", "pass"),
            "charlstm --help": (CHARLSTM, "--help"),
            "charlstm train --help": (CHARLSTM, "train", "--help"),
            "python -c 'import numpy'": (sys.executable, "-c", "import numpy"),
            "charlstm sample -n 200 (1 x 256)": (CHARLSTM, "sample", "--ckpt", model, "-n", "200"),
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):  # in turns, so that a slow minute hits all of them
            for name, command in commands.items():
                times[name].append(seconds(*command))
    print(f"Python {platform.python_version()} on {platform.machine()}, {ROUNDS} rounds, wall seconds")
    print(f"{'':<36}{'least':>8}{'median':>8}{'most':>8}")
    for name, values in times.items():
        print(f"{name:<36}{min(values):>8.3f}{statistics.median(values):>8.3f}{max(values):>8.3f}")


if __name__ == "__main__":
    main()
