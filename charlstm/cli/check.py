"""`charlstm check`: what is wrong with someone else's LSTM."""

import contextlib
import dataclasses
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
    cause = "As above." if result.cause in told else printable(result.cause)
    lines += textwrap.wrap(cause, _COLUMNS, initial_indent=_INDENT, subsequent_indent=_INDENT)
    print("\n".join(lines), flush=True)


def _summarize(results: Sequence[Result], failed: Sequence[Result]) -> str:
    if not failed:
        return f"All {len([result for result in results if result.passed])} checks passed."
    return f"{len(failed)} of {len(results)} checks failed. Begin with the first: the others may follow from it."
