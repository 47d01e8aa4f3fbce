"""`charlstm check`: what is wrong with someone else's LSTM."""

import contextlib
import dataclasses
import re
import sys
import textwrap
import threading
from collections.abc import Collection, Sequence
from typing import TextIO

from charlstm.cli.output import as_json
from charlstm.diagnosis.checks import Result, iter_results
from charlstm.errors import printable

_INDENT = 8 * " "
_COLUMNS = 100
_SPACE = "\u00a0"  # unbreakable, for a space until the text is wrapped
_ADVICE = "Begin with the first: the others may follow from it."
_OPTIONAL = ("windows", "update")
_PATIENCE_S = 20.0
_SLOW = (
    'Still running. Training belongs under `if __name__ == "__main__":`, and 16 units are enough to find a mistake.\n'
)


def print_check(path: str, json: bool) -> int:
    """Print the results of all checks of a program; return 1 if one fails, else 0."""
    impatient = threading.Timer(_PATIENCE_S, _say_slow, [sys.stderr])  # which the program's output is kept from
    impatient.daemon = True
    impatient.start()
    results: list[Result] = []
    try:
        for result in iter_results(path):
            if not json:
                _print_result(result, {each.cause for each in results} - {""})
            results.append(result)
    finally:
        impatient.cancel()
    failed = [result for result in results if result.passed is False]
    if json:
        checks = [dataclasses.asdict(result) for result in results]
        print(as_json({"file": path, "passed": not failed, "checks": checks}, indent=2))
    else:
        print(_summarize(results, failed))
    return 1 if failed else 0


def _say_slow(stderr: TextIO | None) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, missing
        stderr.write(_SLOW)  # type: ignore[union-attr]
        stderr.flush()  # type: ignore[union-attr]


def _print_result(result: Result, told: Collection[str]) -> None:
    """Print a line for a check, and the likely cause under a failure, unless it has been given."""
    lines = [printable(line) for line in str(dataclasses.replace(result, cause="")).split("\n")]
    if result.passed is not False:  # what a crash shows keeps its lines
        lines = [lines[0], *(part for line in lines[1:] for part in _wrap(line.strip()))]
    cause = "As above." if result.cause in told else printable(result.cause)
    print("\n".join([*lines, *_wrap(cause)]), flush=True)


def _wrap(text: str) -> list[str]:
    """Return the lines of a text, indented. Formulas in backticks are not broken."""
    whole = re.sub("`[^`]*`", lambda formula: formula[0].replace(" ", _SPACE), text)
    lines = textwrap.wrap(whole, _COLUMNS, initial_indent=_INDENT, subsequent_indent=_INDENT, break_long_words=False)
    return [line.replace(_SPACE, " ") for line in lines]


def _summarize(results: Sequence[Result], failed: Sequence[Result]) -> str:
    made = [result for result in results if result.passed is not None]
    skipped = len(results) - len(made)
    note = f", {skipped} {'was' if skipped == 1 else 'were'} skipped" if skipped else ""
    lines = []
    undefined = [name for name in _OPTIONAL if name not in {result.name for result in results}]
    if undefined and len(results) > 1:  # the program runs
        are = "is" if len(undefined) == 1 else "are"
        lines.append(f"{' and '.join(undefined)} {are} not defined, and so not checked.")
    if failed:
        advice = f" {_ADVICE}" * (len(failed) > 1)
        lines.append(f"{len(failed)} of {len(made)} checks failed{note}.{advice}")
    else:
        lines.append(f"All {len(made)} checks passed{note}.")
    return "\n".join(lines)
