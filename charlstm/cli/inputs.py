"""What several commands read: models, with the kernel that computes them, standard input, escapes in arguments."""

import re
import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import numpy as np

from charlstm.cli.output import reading_progress, say
from charlstm.config.settings import DataConfig
from charlstm.errors import UsageError
from charlstm.network.dispatch import choose_kernel
from charlstm.storage.checkpoint import load_run
from charlstm.storage.ids_file import read_with_ids_file
from charlstm.storage.run import Run
from charlstm.text.cleaning import Cleaning, clean_text
from charlstm.text.corpus import Corpus
from charlstm.text.reader import read_corpus

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
    timer = threading.Timer(_COMPILING_S, say, ["Compiling the Numba kernel (only the first time) ..."])
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


def reading_of(run: Run, **given: Any) -> dict[str, Any]:
    """Return the settings of `read_corpus`: those of the run, except for those given that are not None."""
    reading = run.config.data.reading | {name: value for name, value in given.items() if value is not None}
    if given.get("field") is not None and given.get("raw") is None:
        reading["raw"] = False
    elif given.get("raw") and given.get("field") is None:
        reading["field"] = None
    return reading


def read_texts(
    paths: str | Sequence[str],
    reading: Mapping[str, Any],
    *,
    output: str | None = None,
    may_write: bool = True,
    quiet: bool = False,
) -> Corpus:
    """Read texts as a corpus, show the progress, and tell what was found, such as encodings and skipped files.

    Args:
        paths: of the texts.
        reading: the settings of `read_corpus`.
        output: a model file, beside which ids are kept that are too large for memory; None to keep them nowhere.
        may_write: False to use such ids, but not to write them.
        quiet: show nothing.
    """
    names = [paths] if isinstance(paths, str) else paths
    with reading_progress(names, reading["include"], quiet=quiet) as progress:
        if output is None:
            corpus = read_corpus(names, **reading, scratch=_open_scratch, progress=progress)
        else:
            corpus = read_with_ids_file(output, names, reading, progress, may_write=may_write)
    for note in () if quiet else corpus.notes:
        say(note)
    return corpus


def _open_scratch() -> BinaryIO:
    return cast(BinaryIO, TemporaryFile())


def clean_typed(text: str, data: DataConfig) -> str:
    """Return a text that was typed, changed as the corpus was."""
    return clean_text(text, Cleaning(data.unescape_html, data.strip_urls, data.lowercase), data.normalize)


def check_stdin_once(*paths: str | None) -> None:
    """Refuse to read standard input twice."""
    if paths.count("-") > 1:
        raise UsageError("standard input (-) can be read only once")


def unescape(text: str) -> str:
    r"""Return a text with \n, \t and \\ replaced by a newline, a tab and a backslash."""
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t", "\\": "\\"}[match[1]], text)
