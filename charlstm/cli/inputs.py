"""What several commands read: models, with the kernel that computes them, standard input, escapes in arguments."""

import re
import threading
from importlib.util import find_spec

import numpy as np

from charlstm.cli.output import say
from charlstm.errors import UsageError
from charlstm.network.dispatch import choose_kernel
from charlstm.storage.checkpoint import load_run
from charlstm.storage.run import Run

QUIET = np.errstate(over="ignore", invalid="ignore")  # overflowing weights are reported as one error, not as warnings
_LARGE_JOB = 1_000_000  # characters: some ten seconds
_COMPILING_S = 2.0  # loading compiled code takes less


def load_checkpoint(path: str, kernel: str = "numpy") -> Run:
    """Load the run of a model file, whose network is to be computed by a kernel."""
    try:
        run = load_run(path)
    except UsageError as error:
        raise UsageError(f"{error}; name a model file, or train one first") from None
    run.model.network.kernel = prepare_kernel(kernel, run.config.model.hidden_size)
    return run


def prepare_kernel(wanted: str, hidden_size: int, *, quiet: bool = False) -> str:
    """Return the kernel to use, and announce its compilation if that takes a while; see `choose_kernel`."""
    timer = threading.Timer(_COMPILING_S, say, ["Compiling the numba kernel, once on this machine ..."])
    if not quiet:
        timer.start()
    try:
        return choose_kernel(wanted, hidden_size)
    finally:
        timer.cancel()


def suggest_numba(kernel: str, chars: int) -> None:
    """Suggest the compiled kernel for jobs that take a while."""
    if kernel == "numpy" and chars >= _LARGE_JOB:
        install = "" if find_spec("numba") else " (pip install numba)"
        say(f"--kernel numba makes this faster{install}; its results differ from NumPy's in the last digits")


def reading_of(run: Run, encoding: str | None) -> dict[str, str]:
    """Return the settings of `read_corpus`: those of the run, unless another encoding is given."""
    return run.config.data.reading | ({} if encoding is None else {"encoding": encoding})


def check_stdin_once(*paths: str | None) -> None:
    """Refuse to read standard input twice."""
    if paths.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")


def unescape(text: str) -> str:
    r"""Return a text with \n, \t and \\ replaced by a newline, a tab and a backslash."""
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t", "\\": "\\"}[match[1]], text)
