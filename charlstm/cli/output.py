"""Messages on standard error, and formats shared by commands."""

import contextlib
import json
import math
import os
import shutil
import sys
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from charlstm.config.kinds import flag_of
from charlstm.config.settings import SETTINGS
from charlstm.errors import printable, shorten
from charlstm.text.sources import find_files

_DELAY_S = 1.0  # before a bar appears
_MANY_BYTES = 50_000_000  # reading them takes a second or more
_MAX_COLUMNS = 100  # longer lines are hard to read


def say(line: str) -> None:
    """Write one line or more to standard error. If it is closed or full, the work continues silently."""
    try:
        sys.stderr.write("\n".join(map(printable, line.split("\n"))) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # full, closed, missing
        pass


def say_error(message: str) -> None:
    """Write an error, as one line."""
    say(f"Error: {shorten(printable(' '.join(message.split())), 1000)}")


@contextlib.contextmanager
def warnings_to(say: Callable[[str], None]) -> Iterator[None]:
    """Pass warnings to `say`, one line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: say(str(message))
        yield


def bits(nats: float) -> float:
    """Convert nats to bits."""
    return nats / math.log(2)


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a JSON document, with null for numbers that are not finite, which JSON lacks."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)


def terminal_size() -> os.terminal_size:
    """Return the size of the terminal, even if standard output is not one."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # not a terminal, closed, missing
        return shutil.get_terminal_size()
    return shutil.get_terminal_size(os.terminal_size((size.columns or 80, size.lines or 24)))  # 0: unknown


def line_width() -> int:
    """Return the columns that lines take on the terminal."""
    return min(terminal_size().columns, _MAX_COLUMNS)


def wrap_words(line: str, label: str = "") -> str:
    """Return a line wrapped to the terminal, to the right of its label.

    Indented lines are commands to copy, and stay unchanged.
    """
    if line.startswith(" "):
        return line
    indent = " " * len(label)
    return textwrap.fill(
        line,
        line_width(),
        initial_indent=label,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def format_size(count: int) -> str:
    """Return a number of bytes in kB or MB."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


def print_row(name: str, value: str) -> None:
    """Print a name and its value, wrapped if standard output is a terminal."""
    label = f"{name:12}"
    print(wrap_words(value, label) if is_terminal(sys.stdout) else label + value)


def cut_line(line: str, width: int) -> list[str]:
    """Return a line cut into pieces that take at most `width` columns on a terminal."""
    pieces, columns = [""], 0
    for character in line:
        wide = 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if columns + wide > width:
            pieces.append("")
            columns = 0
        pieces[-1] += character
        columns += wide
    return pieces


def format_settings(values: Mapping[str, Any]) -> str:
    """Return settings as flags."""
    return " ".join(f"{flag_of(name)} {SETTINGS[name].kind.format(value)}" for name, value in values.items())


def format_bits(losses: Mapping[str, float]) -> str:
    """Return losses in nats, by name, as a line in bits."""
    return ", ".join(f"{name} {bits(loss):.3f}" for name, loss in losses.items())


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that can show colours and move the cursor."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def _finite(value: Any) -> Any:
    """Return a value with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def reading_progress(paths: Sequence[str], include: str | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show progress while large texts are read: a bar on a terminal, a line elsewhere.

    Yields a function to call with the number of bytes read so far.
    """
    total = sum(map(os.path.getsize, find_files(paths, include)))
    if quiet or total < _MANY_BYTES:
        yield lambda count: None
    elif not is_terminal(sys.stderr):
        say(f"Reading {total / 1e9:.1f} GB of files ...")
        yield lambda count: None
    else:
        with _counting("Reading", total, "B") as show:
            yield show


@contextlib.contextmanager
def scoring_progress(chars: int) -> Iterator[Callable[[int], None]]:
    """Show progress on a terminal while a text is scored, unless that is quick.

    Yields a function to call with the number of characters scored so far.
    """
    if not is_terminal(sys.stderr):
        yield lambda count: None
        return
    with _counting("Scoring", chars, " characters") as show:
        yield show


@contextlib.contextmanager
def _counting(verb: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from tqdm import tqdm

    form = verb + " {percentage:3.0f}%|{bar:10}| {elapsed}<{remaining}, {rate_fmt}"
    with tqdm(
        total=total,
        bar_format=form,
        unit=unit,
        unit_scale=True,
        dynamic_ncols=True,
        leave=False,
        delay=_DELAY_S,
        file=sys.stderr,
    ) as bar:

        def show(count: int) -> None:
            bar.update(count - bar.n)

        yield show
