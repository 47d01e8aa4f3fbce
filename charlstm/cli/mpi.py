"""Runs under mpiexec: detecting mpiexec, joining the other ranks, and ending all of them."""

import os
import platform
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from charlstm.errors import UsageError

if TYPE_CHECKING:
    from charlstm.network.ranks import Ranks

_JOIN_S = 60  # how long a process waits for the others to start
# Variables that launchers set for each process: the number of processes, its rank, and its rank on its machine.
_VARIABLES = (
    ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"),  # MPICH, Intel MPI
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),  # Open MPI
    ("SLURM_NTASKS", "PMIX_RANK", "SLURM_LOCALID"),  # srun --mpi=pmix
)
_WATCH = 'read -r ended || { printf "%s" "$1"; [ -e "$0" ] && printf "%s\\n" "$2" || printf "%s\\n" "$3"; } >&2'


def launched_ranks() -> int:
    """Return the number of processes that mpiexec started with this one; 1 without it."""
    return _launch()[0]


def _launch() -> tuple[int, int]:
    """Return the number of processes, and the rank of this one on its machine."""
    for size, rank, on_machine in _VARIABLES:
        if os.environ.get(size, "").isdecimal() and os.environ.get(rank, "").isdecimal():
            return int(os.environ[size]), int(os.environ.get(on_machine, os.environ[rank]))
    return 1, 0


def run_on_ranks(command: Callable[["Ranks"], tuple[int, str]]) -> int:
    """Run a command on all ranks; return the exit code.

    An error that all ranks have is printed once. An error that only some have ends the others.

    Args:
        command: returns its exit code, and a message if it failed.
    """
    from charlstm.cli.output import say_error

    try:
        ranks = _join()
    except UsageError as error:
        if _launch()[1] == 0:
            say_error(f"{platform.node()}: {error}")
            _end_launch(error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    if ranks.rank:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        code, message = command(ranks)
    except Exception as error:
        code, message = 1, "lost the connection to another rank; check machines and network, then use --resume"
        if not type(error).__module__.startswith("mpi4py"):
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
    if not code:
        return 0
    if message and ranks.rank == 0:
        say_error(message)
    if not ranks.all_fail():
        if message and ranks.rank:
            say_error(f"rank {ranks.rank} on {platform.node()}: {message}")
        ranks.abort(code)
    return code


def _end_launch(code: int) -> None:
    """End all processes under MPICH's mpiexec, without MPI. The others wait for this one to join.

    The launchers of other MPIs end all processes when one of them fails.
    """
    if os.environ.get("PMI_FD", "").isdecimal():
        with suppress(OSError):
            os.write(int(os.environ["PMI_FD"]), f"cmd=abort exitcode={code}\n".encode())


def _join() -> "Ranks":
    """Return the ranks that mpiexec started.

    Raises:
        UsageError: mpi4py is missing, or uses a different MPI.
    """
    if hasattr(signal, "alarm"):
        signal.alarm(_JOIN_S)  # without mpi4py on one machine, the others would wait for it forever
    try:
        with warnings.catch_warnings(action="ignore"):  # about a different MPI, which is an error below
            from mpi4py import MPI
    except (ImportError, RuntimeError):  # RuntimeError: without an MPI library
        raise UsageError("under mpiexec, charlstm needs mpi4py: pip install mpi4py mpich") from None
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)
    if MPI.COMM_WORLD.Get_size() != launched_ranks():
        library = MPI.Get_library_version().splitlines()[0]
        raise UsageError(
            f"mpiexec started {launched_ranks()} processes, but mpi4py finds {MPI.COMM_WORLD.Get_size()}: it uses "
            f"a different MPI ({library}); use the mpiexec of that MPI"
        )
    from charlstm.network.ranks import Ranks

    return Ranks(MPI.COMM_WORLD)


@contextmanager
def report_death(output: str, command: str) -> Iterator[None]:
    """Print how to resume the run in a file if this process is killed. mpiexec kills all ranks when one of them dies.

    Args:
        output: the file, which may not exist yet.
        command: that resumes the run.
    """
    lines = (
        "The run was killed, or one of its ranks died",
        f". To resume from the last save: {command}",
        ", before it was first saved",
    )
    try:
        watcher = subprocess.Popen(["sh", "-c", _WATCH, output, *lines], stdin=subprocess.PIPE, start_new_session=True)
    except OSError:  # no shell
        yield
        return
    try:
        yield
    finally:
        watcher.communicate(b"\n")
