"""Training on several ranks: throughput on one machine, what the sum costs on many, and ranks that are killed.

Three parts, which --part selects:

- throughput: two ranks of one core each against one process on two cores, taking turns.
- model: the share of a step that the exchange takes on 2 to 64 machines, at 1, 10 and 100 Gbit/s. The seconds of a
  step, of adding up and of packing are measured here; the bytes are counted; the network is its bandwidth and a
  latency. The model is checked against 1 to 4 ranks on this machine that sleep as long as such a network would take.
- kills: a random rank of a run is killed at a random moment, over and over.

Needs POSIX, and mpi4py with the mpiexec of its MPI. The kills need Linux.
"""

import math
import os
import pickle
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import harness
import numpy as np
from train_speed import V

from charlstm import load_run
from charlstm.config.settings import ModelConfig, TrainConfig
from charlstm.network.char_lstm import init_network, param_shapes
from charlstm.network.cores import available_cores
from charlstm.network.dispatch import choose_kernel
from charlstm.network.parallel import DataParallel
from charlstm.network.ranks import Parallel, RankParallel, Ranks
from charlstm.optim import Optimizer, clip_by_global_norm
from charlstm.text.batches import Window

MPIEXEC = str(Path(sys.executable).parent / "mpiexec")
SHAPES = [(128, 1, 64, 64), (256, 1, 64, 64), (512, 1, 64, 64), (256, 2, 64, 64)]  # H, L, B, T
MODEL_SHAPE = (256, 1, 64)  # H, L, T
GLOBAL_STREAMS = 512  # divided among the machines
OWN_STREAMS = 32  # of each machine, as the automatic settings give it
MACHINES = (2, 4, 8, 16, 32, 64)
GIGABITS = (1, 10, 100)
LATENCY_S = 50e-6  # of one message; a collective of n ranks takes log2 n of them in turn
COLLECTIVES = 4  # per step: pieces, sums, states and losses, signals
_KILLED_S = 10.0


# ---- ranks that measure


def training_step(parallel: Parallel, network: Any, B: int, T: int) -> Callable[[], None]:
    """Return a training step: forward, backward, the sum, clipping and Adam."""
    optimizer = Optimizer(network.params, TrainConfig())
    ids = np.random.default_rng(0).integers(0, V, (T + 1, B))
    window, state = Window(ids[:-1], ids[1:]), network.zero_state(B)

    def step() -> None:
        nonlocal state
        _, grads, state = parallel.loss_and_grads(window, state)
        clip_by_global_norm(grads, 1.0)
        optimizer.update(network.params, grads, 1e-4)

    return step


class SlowRanks(Ranks):
    """Ranks that sleep as long as a network would take.

    Attributes:
        bytes_per_s: of the network; infinity for that of this machine; 0 to exchange nothing.
    """

    bytes_per_s: float = math.inf

    def sum(self, array: Any) -> None:
        """Sleep, and add up."""
        if self.bytes_per_s:
            self._sleep(2 * array.nbytes)
            super().sum(array)

    def gather(self, value: Any) -> list[Any]:
        """Sleep, and gather losses and states."""
        if not self.bytes_per_s:
            return [value] * self.size
        self._sleep(sum(array.nbytes for array in value[1]) * self.size)
        return super().gather(value)

    def _sleep(self, count: float) -> None:
        time.sleep(count * (self.size - 1) / self.size / self.bytes_per_s)


def serve_as_rank(kernel: str, H: int, L: int, B: int, T: int, gigabits: float) -> None:
    """Measure training steps on all ranks whenever rank 0 reads a number of seconds; print the seconds of one step."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    ranks = SlowRanks(comm)
    ranks.bytes_per_s = gigabits * 1e9 / 8
    network = init_network(ModelConfig(hidden_size=H, num_layers=L), V, np.random.default_rng(0))
    network.kernel = choose_kernel(kernel, H)
    with RankParallel(DataParallel(network, 1), ranks) as parallel:
        step = training_step(parallel, network, B, T)

        def measure(count: int) -> float:
            return harness.time_call(lambda: [step() for _ in range(count)]) / count

        measure(3)
        estimate = measure(3)
        if ranks.rank == 0:
            print("ready", flush=True)
        while count := _next_count(comm, estimate):
            seconds = measure(count)
            if ranks.rank == 0:
                print(seconds, flush=True)


def _next_count(comm: Any, estimate: float) -> int:
    """Return the number of steps that rank 0 was asked for, 0 at the end. The others wait without using a core."""
    if comm.Get_rank():
        while not comm.Iprobe():
            time.sleep(0.005)
        return int(comm.recv())
    line = sys.stdin.readline()
    count = max(2, int(float(line) / estimate)) if line else 0
    for rank in range(1, comm.Get_size()):
        comm.send(count, rank)
    return count


def serve_alone(kernel: str, H: int, L: int, B: int, T: int, cores: int) -> None:
    """Measure training steps of one process, like `serve_as_rank`."""
    network = init_network(ModelConfig(hidden_size=H, num_layers=L), V, np.random.default_rng(0))
    network.kernel = choose_kernel(kernel, H)
    with DataParallel(network, cores) as parallel:
        harness.serve(training_step(parallel, network, B, T))


class Measured:
    """A process, or several ranks, that measure training steps."""

    def __init__(
        self, count: int, kernel: str, shape: tuple[int, ...], option: float = math.inf, hosts: str | None = None
    ) -> None:
        launcher = [MPIEXEC, *(["-f", hosts] if hosts else []), "-n", str(count)] if count else []
        kind = "rank" if count else "alone"
        self._process = subprocess.Popen(
            [*launcher, sys.executable, __file__, "--worker", kind, kernel, *map(str, (*shape, option))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def __call__(self, seconds: float) -> float:
        """Return the seconds of a step."""
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)
        return float(self._read())

    def close(self) -> None:
        """End the processes."""
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a worker failed")
        return line


def measure(workers: dict[str, Measured], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Let workers take turns; return the seconds of a step of each, one value per round."""
    times = harness.take_turns({name: partial(worker, seconds) for name, worker in workers.items()}, rounds)
    for worker in workers.values():
        worker.close()
    return times


# ---- throughput


def compare_throughput(rounds: int, seconds: float) -> None:
    """Print the throughput of two ranks relative to one process on two cores."""
    print("\nTwo ranks of one core each, against one process on two cores; ms per step")
    columns = {
        **dict.fromkeys("HLBT", "d"),
        "ranks": ".2f",
        "process": ".2f",
        "process / ranks": ".3f",
        "range of ratios": "s",
    }
    table = harness.Table(columns, ["numpy", "numba"])
    for kernel in ("numpy", "numba"):
        ratios = []
        for shape in SHAPES:
            workers = {"ranks": Measured(2, kernel, shape), "process": Measured(0, kernel, shape, 2)}
            times = measure(workers, rounds, seconds)
            ratio, spread = harness.compare(times["process"], times["ranks"])
            ratios.append(ratio)
            ms = [1000 * statistics.median(times[name]) for name in ("ranks", "process")]
            table.row(*shape, *ms, ratio, spread, label=kernel)
        print(f"{kernel}: geometric mean {statistics.geometric_mean(ratios):.3f}")


# ---- the model


class Model:
    """Seconds of a step on n machines: of computing, and of the exchange."""

    def __init__(self, kernel: str, cores: int, rounds: int, seconds: float) -> None:
        self._kernel, self._cores, self._rounds, self._seconds = kernel, cores, rounds, seconds
        H, L, _ = MODEL_SHAPE
        config = ModelConfig(hidden_size=H, num_layers=L)
        self.grad_bytes = 4 * sum(math.prod(shape) for shape in param_shapes(config, V).values())
        self.add_s = _time_per_byte(lambda arrays: np.add(arrays[0], arrays[1], out=arrays[0]))
        self.pack_s = _time_per_byte(lambda arrays: pickle.loads(pickle.dumps(arrays[0])))
        self._steps: dict[int, float] = {}

    def step_s(self, streams: int) -> float:
        """Return the measured seconds of a step of one machine, without exchange."""
        if streams not in self._steps:
            H, L, T = MODEL_SHAPE
            worker = Measured(0, self._kernel, (H, L, streams, T), self._cores)
            times = measure({"alone": worker}, self._rounds, self._seconds)["alone"]
            self._steps[streams] = statistics.median(times)
        return self._steps[streams]

    def state_bytes(self, streams: int) -> int:
        """Return the bytes of the state of some streams."""
        H, L, _ = MODEL_SHAPE
        return 2 * L * streams * H * 4

    def network_s(self, machines: int, streams: int, bytes_per_s: float) -> float:
        """Return the seconds that the bytes of a step take: the gradients twice, and the states of all others."""
        others = (machines - 1) / machines
        return others * (2 * self.grad_bytes + machines * self.state_bytes(streams)) / bytes_per_s

    def exchange_s(self, machines: int, streams: int, bytes_per_s: float) -> float:
        """Return the seconds of the exchange: latency, network, adding up, packing."""
        latency = LATENCY_S * COLLECTIVES * math.log2(machines)
        packing = self.add_s * self.grad_bytes + self.pack_s * machines * self.state_bytes(streams)
        return latency + self.network_s(machines, streams, bytes_per_s) + packing


def _time_per_byte(function: Callable[[list[Any]], object]) -> float:
    """Return the seconds per byte of an operation on arrays of 4 MB."""
    arrays = [np.ones(1 << 20, np.float32) for _ in range(2)]
    return min(harness.time_call(lambda: function(arrays)) for _ in range(20)) / arrays[0].nbytes


def print_model(model: Model) -> list[tuple[str, int, int, float]]:
    """Print the share of a step that the exchange takes; return its rows: what is divided, machines, Gbit/s, share."""
    H, L, T = MODEL_SHAPE
    print(f"\nH {H}, L {L}, T {T}; gradients of {model.grad_bytes / 1e6:.2f} MB")
    print(f"adding up {1e9 * model.add_s:.2f} ns per byte, packing states {1e9 * model.pack_s:.2f} ns per byte")
    columns = {"machines": "d", "streams each": "d", "step, ms": ".2f"}
    columns |= {f"exchange at {gigabits} Gbit/s": ".1%" for gigabits in GIGABITS}
    rows = []
    for title in (f"{GLOBAL_STREAMS} streams divided", f"{OWN_STREAMS} streams each"):
        print(f"\n{title}: the share of the exchange in the time of a step")
        table = harness.Table(columns)
        for machines in MACHINES:
            streams = GLOBAL_STREAMS // machines if "divided" in title else OWN_STREAMS
            step, shares = model.step_s(streams), []
            for gigabits in GIGABITS:
                exchange = model.exchange_s(machines, streams, gigabits * 1e9 / 8)
                shares.append(exchange / (step + exchange))
                rows.append((title, machines, gigabits, shares[-1]))
            table.row(machines, streams, 1000 * step, *shares)
    return rows


def check_over_network(model: Model, kernel: str, rounds: int, seconds: float, hosts: str, gigabits: float) -> None:
    """Compare the exchange in the model with ranks on the hosts of a file, over their network. Ranks have a core each.

    Ranks on this machine slow each other down, so if the hosts share it, so do those of the step without exchange.
    """
    H, L, T = MODEL_SHAPE
    print(f"\nRanks of one core over a network of {gigabits:g} Gbit/s; ms per step")
    columns = {"ranks": "d", "without": ".2f", "predicted": ".2f", "measured": ".2f", "ratio": ".2f"}
    table = harness.Table(columns)
    ranks = len(Path(hosts).read_text().split())
    shape = (H, L, OWN_STREAMS * ranks, T)
    workers = {name: Measured(ranks, kernel, shape, each, hosts) for name, each in (("without", 0), ("with", math.inf))}
    times = {name: statistics.median(each) for name, each in measure(workers, rounds, seconds).items()}
    predicted = times["without"] + model.exchange_s(ranks, OWN_STREAMS, gigabits * 1e9 / 8)
    values = [1000 * each for each in (times["without"], predicted, times["with"])]
    table.row(ranks, *values, times["with"] / predicted)


def check_model(model: Model, kernel: str, rounds: int, seconds: float) -> None:
    """Compare the exchange in the model with ranks on this machine that sleep as long as a network would take.

    Ranks slow each other down, so a step without exchange is measured with as many ranks.
    """
    H, L, T = MODEL_SHAPE
    print("\nRanks of one core on this machine, with a sleep for the network; ms per step")
    columns = {"ranks": "d", "Gbit/s": ".0f", "without": ".2f", "predicted": ".2f", "measured": ".2f", "ratio": ".2f"}
    table = harness.Table(columns)
    for ranks in (1, 2, 4):
        shape = (H, L, OWN_STREAMS * ranks, T)
        speeds = (math.inf, 10, 1) if ranks > 1 else (math.inf,)
        workers = {str(gigabits): Measured(ranks, kernel, shape, gigabits) for gigabits in (0, *speeds)}
        times = {name: statistics.median(each) for name, each in measure(workers, rounds, seconds).items()}
        latency = LATENCY_S * COLLECTIVES * math.log2(ranks)  # of a network, which is not in the sleep
        for gigabits in speeds:
            exchange = model.exchange_s(ranks, OWN_STREAMS, gigabits * 1e9 / 8) - latency
            predicted, measured = times["0"] + exchange, times[str(gigabits)]
            table.row(
                ranks, gigabits, *(1000 * each for each in (times["0"], predicted, measured)), measured / predicted
            )


def draw(path: str, rows: list[tuple[str, int, int, float]]) -> None:
    """Draw the shares of the exchange."""
    from matplotlib import pyplot, rcParams
    from matplotlib.ticker import PercentFormatter

    rcParams["svg.fonttype"] = "none"
    titles = list(dict.fromkeys(title for title, *_ in rows))
    figure, axes = pyplot.subplots(1, len(titles), figsize=(9, 3.2), sharey=True, layout="constrained")
    for axis, title in zip(axes, titles, strict=True):
        for gigabits in GIGABITS:
            points = [(machines, share) for name, machines, each, share in rows if (name, each) == (title, gigabits)]
            axis.semilogx(*zip(*points, strict=True), "o-", base=2, label=f"{gigabits} Gbit/s")
        axis.set(xlabel="machines", xticks=MACHINES, xticklabels=MACHINES, ylim=(0, 1), title=title)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("communication, share of a step")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1))
    axes[-1].legend()
    figure.savefig(path)


# ---- kills


def kill_ranks(count: int, seed: int) -> None:
    """Kill a random rank at random moments of a run, which is resumed each time; print how long the others live."""
    moments, longest, killed, saved = random.Random(seed), 0.0, 0, 0
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "model.npz"
        small = ("--hidden-size", "16", "--batch-size", "8", "--seq-len", "20", "--evals", "5000", "--steps", "500000")
        command = [MPIEXEC, "-n", "3", harness.CHARLSTM, "train", "@tweets", "-o", str(model), "-q", "--threads", "1"]
        while killed < count:
            more = ("--resume",) if model.exists() else (*small, "--kernel", "numpy")
            with subprocess.Popen([*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                time.sleep(moments.uniform(0.3, 5))
                ranks = [rank for proxy in _children(process.pid) for rank in _children(proxy)]
                if not ranks:
                    raise SystemExit(f"the run ended by itself, with exit code {process.wait()}")
                os.kill(moments.choice(ranks), signal.SIGKILL)
                longest = max(longest, harness.time_call(partial(_wait_for, ranks)))
            killed += 1
            if model.exists():
                load_run(model)
                saved += 1
    print(
        f"\n{killed} kills: the others ended within {longest:.2f} s; {saved} times there was a checkpoint, which loaded"
    )


def _wait_for(ranks: list[int]) -> None:
    """Wait until all ranks have ended, which nobody may have waited for."""
    until = time.monotonic() + _KILLED_S
    while any(map(_is_running, ranks)):
        if time.monotonic() > until:
            raise SystemExit(f"ranks outlived another by {_KILLED_S:.0f} s")
        time.sleep(0.005)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    return harness.list_processes(pid)[1:]


@click.command()
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(["throughput", "model", "kills"]), help="Default: all."
)
@click.option("--rounds", default=5, show_default=True, help="Turns of each worker.")
@click.option("--seconds", default=1.0, show_default=True, help="Length of a turn.")
@click.option("--kernel", default="numba", show_default=True, help="Kernel of the model.")
@click.option("--kills", default=50, show_default=True, help="Number of kills.")
@click.option("--hosts", help="Check the model over the network of the hosts in a file, one rank each.")
@click.option("--gigabits", default=1.0, show_default=True, help="Speed of that network in Gbit/s.")
@click.option("--picture", help="Draw a picture of the model, for example docs/scaling-mpi.svg.")
@click.option("--worker", nargs=7, hidden=True)
def main(
    parts: tuple[str, ...],
    rounds: int,
    seconds: float,
    kernel: str,
    kills: int,
    hosts: str | None,
    gigabits: float,
    picture: str | None,
    worker: tuple[str, ...] | None,
) -> None:
    """Measure training on several ranks."""
    if worker:
        kind, name, *sizes = worker
        H, L, B, T = map(int, sizes[:4])
        if kind == "rank":
            serve_as_rank(name, H, L, B, T, float(sizes[4]))
        else:
            serve_alone(name, H, L, B, T, int(sizes[4]))
        return
    parts = parts or ("throughput", "model", "kills")
    print(harness.describe_machine(None, "numba", "mpi4py"))
    if "throughput" in parts:
        compare_throughput(rounds, seconds)
    if "model" in parts:
        model = Model(kernel, available_cores(), rounds, seconds)
        if hosts:
            check_over_network(model, kernel, rounds, seconds, hosts, gigabits)
        else:
            rows = print_model(model)
            if picture:
                draw(picture, rows)
            check_model(model, kernel, rounds, seconds)
    if "kills" in parts:
        kill_ranks(kills, seed=1)


if __name__ == "__main__":
    main()
