"""The exceptions that a user can act on, and how their messages quote text."""

import difflib
from collections.abc import Iterable

_SIMILARITY = 0.75  # of names that are suggested; difflib's own 0.6 lets --time pass for --size


class CharlstmError(Exception):
    """An error the user can fix. The message says what happened, where, and what to do.

    The command line prints it as one line and exits with `exit_code`.
    """

    exit_code = 1  # bad data, or a failed run


class UsageError(CharlstmError):
    """An argument, a setting or a path that cannot be used as given.

    Args:
        message: what is wrong with it.
        argument: its name in Python, such as `no_copy`. The command line shows it as a flag.
    """

    exit_code = 2

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.argument is None else f"{self.argument}: {message}"


def shorten(text: str, width: int = 60) -> str:
    """Return `text` cut to `width` characters, the last three of which are then dots."""
    return text if len(text) <= width else text[: width - 3] + "..."


def printable(text: str) -> str:
    """Return `text` with control characters escaped, so that they cannot reach a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(text: str) -> str:
    """Return a text in quotes, printable and shortened. Unlike `repr`, it leaves backslashes as they were typed."""
    mark = '"' if "'" in text else "'"
    return f"{mark}{printable(shorten(text))}{mark}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 file", "2 files"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def suggest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean ...?" with up to three names that start with `name`, or else resemble it; "" without."""
    known = list(names)
    close = [each for each in known if each.startswith(name)] if name else []
    close = close or difflib.get_close_matches(name, known, cutoff=_SIMILARITY)
    return f"; did you mean {' or '.join(close[:3])}?" if close else ""
