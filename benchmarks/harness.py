"""What the benchmarks share: the description of the machine, measurements in turns, whole commands, and tables.

Timings drift from minute to minute, so whatever is compared takes turns. Speeds are compared in separate processes,
which do not disturb one another: a program calls `serve` in its workers, and `measure` to run them. Libraries
choose kernels that suit the processor; `--avx2` makes all of them do without AVX-512, and says which ones they chose.
Needs POSIX; the memory of several processes is measured on Linux only.
"""

import importlib.metadata
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import click

import charlstm
from charlstm.network.cores import available_cores

ROOT = Path(__file__).resolve().parent.parent
CHARLSTM = str(Path(sys.executable).parent / "charlstm")
_PAUSE_S = 0.3  # PyTorch's threads keep spinning for a while after a call
_WARM_UP_CALLS = 3
_POLL_S = 0.01
_GAP = 4  # between columns, in characters
_Command = TypeVar("_Command", bound=Callable[..., object])
_Result = TypeVar("_Result")

# ---- the machine


# What keeps each library from using AVX-512. NumPy's variable depends on its version.
_AVX2 = {
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma",
}
_PRINT_NUMPY_TARGETS = "import numpy._core._multiarray_umath as m; print(*m.__cpu_dispatch__)"
# Prints what each library has chosen, in the environment that it inherits.
_PRINT_KERNELS = """
import importlib.util, numpy, threadpoolctl
import numpy._core._multiarray_umath as numpy_core
print("OpenBLAS", *sorted({blas["architecture"] for blas in threadpoolctl.threadpool_info() if "architecture" in blas}))
print("NumPy", *[name for name in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__[name]][-1:])
if importlib.util.find_spec("numba"):
    from numba.core.registry import cpu_target
    name, features = cpu_target.target_context.codegen().magic_tuple()[1:]
    print("Numba", name, "with AVX-512" if "+avx512f" in features else "without AVX-512")
if importlib.util.find_spec("torch"):
    import torch
    print("PyTorch", torch.backends.cpu.get_cpu_capability())
"""


def describe_machine(env: Mapping[str, str] | None = None, *packages: str) -> str:
    """Return the processor, the kernels that libraries use in an environment, and the versions."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        info = ""
    model = re.search(r"^model name\s*: (.*)", info, re.MULTILINE)
    parts = [
        model[1] if model else platform.processor() or platform.machine(),
        f"{available_cores()} cores",
        "AVX-512" if "avx512f" in info else "no AVX-512" if info else "AVX-512 unknown",
        f"Python {platform.python_version()}",
        *(f"{package} {importlib.metadata.version(package)}" for package in ("NumPy", *packages)),
        f"charlstm {charlstm.__version__}",
    ]
    return f"{', '.join(parts)}\nkernels: {', '.join(_run_python(_PRINT_KERNELS, env).splitlines())}"


def environment(avx2: bool) -> dict[str, str]:
    """Return the environment, with or without the use of AVX-512, whatever its own variables say."""
    env = {name: value for name, value in os.environ.items() if name not in (*_AVX2, "NPY_DISABLE_CPU_FEATURES")}
    if not avx2:
        return env
    targets = [name for name in _run_python(_PRINT_NUMPY_TARGETS, env).split() if name > "X86_V3" or "AVX512" in name]
    return env | _AVX2 | {"NPY_DISABLE_CPU_FEATURES": " ".join(targets)}


def _run_python(program: str, env: Mapping[str, str] | None) -> str:
    return subprocess.run([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True).stdout.strip()


# ---- turns


def take_turns(tasks: Mapping[str, Callable[[], _Result]], rounds: int, warm_up: int = 1) -> dict[str, list[_Result]]:
    """Call each task once per round; return their results, without those of the first `warm_up` rounds."""
    results: dict[str, list[_Result]] = {name: [] for name in tasks}
    for _ in range(warm_up + rounds):
        for name, task in tasks.items():
            results[name].append(task())
    return {name: values[warm_up:] for name, values in results.items()}


def time_call(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


class Turns(NamedTuple):
    """How workers take turns."""

    rounds: int
    seconds: float  # length of a turn
    env: dict[str, str]


class Worker(NamedTuple):
    """A process that measures: `program --worker KIND SHAPE`, which calls `serve`, of this checkout or another one.

    This command line and the protocol of `serve` are stable, so that older checkouts can be measured.
    """

    program: str
    kind: str
    shape: Sequence[int]
    checkout: Path = ROOT

    def start(self, env: Mapping[str, str]) -> "subprocess.Popen[str]":
        """Start the process with the code of its checkout, and wait until it is ready."""
        theirs = self.checkout / ".venv" / "bin" / "python"
        python = theirs if self.checkout != ROOT and theirs.exists() else sys.executable
        program = self.checkout / "benchmarks" / Path(self.program).name
        process = subprocess.Popen(
            [python, program, "--worker", self.kind, *map(str, self.shape)],
            env={**env, "PYTHONPATH": str(self.checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        _read_line(process)
        return process


def measure(workers: Mapping[str, Worker], turns: Turns) -> dict[str, list[float]]:
    """Run workers side by side; return the seconds per call of each, one value per round."""
    processes = {name: worker.start(turns.env) for name, worker in workers.items()}
    tasks = {name: partial(_take_turn, process, turns.seconds) for name, process in processes.items()}
    times = take_turns(tasks, turns.rounds, warm_up=0)
    for process in processes.values():
        process.communicate()
    return times


def serve(function: Callable[[], object]) -> None:
    """Serve as a worker.

    Prints "ready". Then, for each line with a number of seconds, calls `function` for that long and prints the seconds
    per call.
    """
    for _ in range(_WARM_UP_CALLS):
        function()
    print("ready", flush=True)
    for line in sys.stdin:
        started, calls = time.perf_counter(), 0
        while calls < 2 or time.perf_counter() - started < float(line):
            function()
            calls += 1
        print((time.perf_counter() - started) / calls, flush=True)


def _take_turn(process: "subprocess.Popen[str]", seconds: float) -> float:
    assert process.stdin is not None
    time.sleep(_PAUSE_S)
    print(seconds, file=process.stdin, flush=True)
    return float(_read_line(process))


def _read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a worker failed")
    return line


# ---- whole commands


class Usage(NamedTuple):
    """What a whole command takes."""

    seconds: float
    peak_mb: float  # of the process itself


# Starts a command from a small process, since the system counts the memory of the process that starts it as its own.
_RUN = """
import os, sys, time
started = time.perf_counter()
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - started, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


def run_command(command: Sequence[str], env: Mapping[str, str] | None = None) -> Usage:
    """Run a command, given by its path, without its output; return what it takes."""
    done = subprocess.run([sys.executable, "-ISc", _RUN, *command], env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"failed: {shlex.join(command)}")
    return Usage(*map(float, done.stdout.split()))


def train_briefly(directory: str, env: Mapping[str, str] | None = None) -> str:
    """Write a model of 1 x 256 units, trained for one step; return its path."""
    path = str(Path(directory) / "model.npz")
    run_command([CHARLSTM, "train", "@tweets", "--steps", "1", "--eval-chars", "1000", "-q", "-o", path], env)
    return path


def list_processes(pid: int) -> list[int]:
    """Return a process and its children; an empty list if it has ended."""
    try:
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except (FileNotFoundError, ProcessLookupError):
        return []


def measure_memory(command: Sequence[str], env: Mapping[str, str] | None = None) -> tuple[float, float]:
    """Run a command; return the peak memory of its process, and the sum of the peaks of all its processes, in MB."""
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    peaks: dict[int, float] = {}
    while process.poll() is None:
        for pid in list_processes(process.pid):
            peaks[pid] = max(peaks.get(pid, 0), _peak_mb(pid))
        time.sleep(_POLL_S)
    if process.returncode:
        raise SystemExit(f"failed: {shlex.join(command)}")
    return peaks[process.pid], sum(peaks.values())


def _peak_mb(pid: int) -> float:
    try:
        return float(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):  # it has ended
        return 0.0


# ---- tables


class Table:
    """Prints a table row by row, each as soon as it is measured.

    Args:
        columns: the format of the values under each title, such as ".2f".
        labels: all the labels that rows start with; empty if they have none.
    """

    def __init__(self, columns: Mapping[str, str], labels: Iterable[str] = ()) -> None:
        widths = {title: len(title) + _GAP for title in columns}
        self._formats = [f">{width}{columns[title]}" for title, width in widths.items()]
        self._label_width = max(map(len, labels), default=0)
        self._print("", (f"{title:>{width}}" for title, width in widths.items()))

    def row(self, *values: object, label: str = "") -> None:
        """Print a row."""
        self._print(label, (format(value, spec) for value, spec in zip(values, self._formats, strict=True)))

    def _print(self, label: str, cells: Iterable[str]) -> None:
        print(f"{label:<{self._label_width}}" + "".join(cells), flush=True)


def compare(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, str]:
    """Return the median and the range of the ratio theirs / ours over the rounds."""
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return statistics.median(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"


# ---- programs that compare speeds


def _parse_shapes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[tuple[int, ...]]:
    """Return the sizes that texts such as 256,1,64,64 give."""
    count = str(param.metavar).count(",")
    for value in values:
        if not re.fullmatch(f"[1-9][0-9]*(,[1-9][0-9]*){{{count}}}", value):
            raise click.BadParameter(f"{value!r} is not of the form {param.metavar}")
    return [tuple(map(int, value.split(","))) for value in values]


def turn_options(rounds: int, seconds: float) -> Callable[[_Command], _Command]:
    """Add the options of a program that measures in turns, with these defaults."""
    return _add_options(
        click.option("--rounds", default=rounds, show_default=True, help="Turns of each worker."),
        click.option("--seconds", default=seconds, show_default=True, help="Length of a turn."),
        click.option("--avx2", is_flag=True, help="Keep all libraries from using AVX-512."),
    )


def shape_options(letters: str) -> Callable[[_Command], _Command]:
    """Add the options of a program that compares speeds shape by shape."""
    checkout = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
    return _add_options(
        click.option(
            "--shape",
            "shapes",
            metavar=",".join(letters),
            multiple=True,
            callback=_parse_shapes,
            help="Measure only this shape; repeatable.",
        ),
        click.option("--baseline", type=checkout, help="Compare with another checkout of charlstm, not with PyTorch."),
        click.option("--worker", nargs=1 + len(letters), hidden=True),
    )


def _add_options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def compare_with_baseline(
    program: str, call: str, letters: str, shapes: Iterable[tuple[int, ...]], baseline: Path, turns: Turns
) -> None:
    """Print the time of a call in this checkout and in another one, and their ratio, shape by shape."""
    print(f"{describe_machine(turns.env)}\nms per {call}; the baseline is {baseline}")
    checkouts = {"ours": ROOT, "baseline": baseline}
    columns = {**dict.fromkeys(checkouts, ".2f"), "baseline/ours": ".3f", "range of ratios": "s"}
    table, ratios = Table(dict.fromkeys(letters, "d") | columns), []
    for shape in shapes:
        workers = {name: Worker(program, "charlstm", shape, checkout) for name, checkout in checkouts.items()}
        times = measure(workers, turns)
        ratio, spread = compare(times["baseline"], times["ours"])
        ratios.append(ratio)
        table.row(*shape, *(1000 * statistics.median(times[name]) for name in checkouts), ratio, spread)
    print(f"geometric mean of baseline/ours: {statistics.geometric_mean(ratios):.3f}")
