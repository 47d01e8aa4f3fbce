"""What several commands read: models, standard input, escapes in arguments."""

import re

import numpy as np

from charlstm.errors import UsageError
from charlstm.storage.checkpoint import load_run
from charlstm.storage.run import Run

QUIET = np.errstate(over="ignore", invalid="ignore")  # overflowing weights are reported as one error, not as warnings


def load_checkpoint(path: str) -> Run:
    """Load the run of a model file."""
    try:
        return load_run(path)
    except UsageError as error:
        raise UsageError(f"{error}; name a model file, or train one first") from None


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
