"""The checks of a program, in order, and their results."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from charlstm.diagnosis.causes import Gradients, Level
from charlstm.diagnosis.forward_checks import (
    NotCheckedError,
    check_halves,
    check_hidden_range,
    check_initial_loss,
    check_inputs,
    check_large_weights,
    check_repetition,
    check_run,
)
from charlstm.diagnosis.network_check import check_network
from charlstm.diagnosis.probe import Probe
from charlstm.diagnosis.program import Finding, Program
from charlstm.diagnosis.source import load_program, run_source
from charlstm.diagnosis.training_checks import check_overfitting, check_update, check_windows


@dataclass(frozen=True)
class Result:
    """The result of one check.

    Attributes:
        name: of the check.
        passed: None if it could not be made.
        measured: what was seen.
        cause: the likely cause of a failure, in a sentence or two.
    """

    name: str
    passed: bool | None
    measured: str
    cause: str = ""

    def __str__(self) -> str:
        status = {True: "ok", False: "FAILED", None: "-"}[self.passed]
        first, *more = self.measured.split("\n")
        lines = [f"{status:<7} {self.name:<24} {first}", *(f"{'':8}{line}" for line in more)]
        return "\n".join([*lines, *([f"{'':8}{self.cause}"] if self.cause else [])])


def check(program: "str | os.PathLike[str] | Mapping[str, Any] | ModuleType") -> list[Result]:
    """Check an LSTM that someone else has written, and name the likely cause of each failure.

    docs/check.md says what the program must define. The global random states and its parameters are restored.

    Args:
        program: its file, a module, or its names and values, such as `globals()`.

    Returns:
        The results, in the order of the checks. The first one that fails is the one to mend first.

    Raises:
        UsageError: the file cannot be read, or a name is missing or is of the wrong type.
    """
    return list(iter_results(program))


def check_source(source: str, path: str) -> dict[str, Result]:
    """Return the results of all checks of a program's text, by name.

    Args:
        source: the text.
        path: names it in messages. Its directory is searched for imports.
    """
    try:
        program = run_source(source, path)
    except Finding as finding:
        return {"runs": _failure("runs", finding)}
    return {result.name: result for result in _iter_checks(program)}


def iter_results(program: "str | os.PathLike[str] | Mapping[str, Any] | ModuleType") -> Iterator[Result]:
    """Yield the results of `check` as they come."""
    try:
        loaded = load_program(program)
    except Finding as finding:
        yield _failure("runs", finding)
        return
    yield from _iter_checks(loaded)


def _iter_checks(program: Program) -> Iterator[Result]:
    try:
        probe = Probe(program)
        yield Result("runs", True, check_run(probe))
        gradients = Gradients(probe)
        for name, function in _checks(probe, gradients):
            try:
                yield Result(name, True, function())
            except NotCheckedError as error:
                yield Result(name, None, str(error))
            except Finding as finding:
                yield _failure(name, finding)
                gradients.unsteady |= name == "repeats"
    except Finding as finding:
        yield _failure("runs", finding)
    finally:
        program.restore()


def _checks(probe: Probe, gradients: Gradients) -> Iterator[tuple[str, Callable[[], str]]]:
    yield "repeats", lambda: check_repetition(probe)
    yield "initial loss", lambda: check_initial_loss(probe)
    yield "inputs", lambda: check_inputs(probe)
    yield "gradients, one step", lambda: _check_gradients(gradients, gradients.one_step)
    yield "gradients, first window", lambda: _check_gradients(gradients, gradients.first)
    yield "gradients, later window", lambda: _check_gradients(gradients, gradients.later)
    yield "halves of a window", lambda: check_halves(probe)
    yield "|h| < 1", lambda: check_hidden_range(probe)
    yield "large weights", lambda: check_large_weights(probe)
    yield "same as charlstm", lambda: check_network(probe, gradients)
    if probe.program.windows is not None:
        yield "windows", lambda: check_windows(probe)
    if probe.program.update is not None:
        yield "update", lambda: check_update(probe)
    yield "overfitting", lambda: check_overfitting(probe)


def _check_gradients(gradients: Gradients, level: Level) -> str:
    """Compare the gradients of a window with finite differences."""
    if not level.wrong:
        return f"largest relative error {level.error:.0e} in {len(level.differences)} blocks"
    count = f"{len(level.wrong)} of {len(level.differences)} blocks are wrong by up to {level.error:.0e} (relative)"
    raise Finding(f"{count}: {level.describe_wrong()}", gradients.cause)


def _failure(name: str, finding: Finding) -> Result:
    return Result(name, False, finding.measured, finding.cause)
