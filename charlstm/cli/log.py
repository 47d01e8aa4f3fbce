"""The file that `train --log` writes: one line of JSON per evaluation."""

import contextlib
import dataclasses
import json
from typing import TextIO

from charlstm.cli.output import as_json, bits
from charlstm.errors import CharlstmError, UsageError
from charlstm.storage.checkpoint import matches
from charlstm.storage.run import Evaluation

_LONGEST = 10_000  # line, in characters


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogEntry(Evaluation):
    """An evaluation, with what checkpoints leave out because it differs from machine to machine."""

    elapsed_s: float  # of training, without interruptions
    chars_per_s: float  # since the previous evaluation
    val_bpc: float | None  # the validation loss in bits per character


class Log:
    """A file to append evaluations to; without a path, nothing is written.

    Raises:
        UsageError: the file cannot be opened.
    """

    def __init__(self, path: str | None) -> None:
        try:
            self._file: TextIO | None = None if path is None else open(path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise UsageError(f"--log {path}: {error.strerror or error}") from None

    def write(self, evaluation: Evaluation, elapsed_s: float, chars_per_s: float) -> None:
        """Append an evaluation."""
        if self._file is None:
            return
        entry = LogEntry(
            **dataclasses.asdict(evaluation),
            elapsed_s=elapsed_s,
            chars_per_s=chars_per_s,
            val_bpc=None if evaluation.val_loss is None else bits(evaluation.val_loss),
        )
        try:
            self._file.write(as_json(dataclasses.asdict(entry)) + "\n")
            self._file.flush()
        except OSError as error:
            raise CharlstmError(f"--log {self._file.name}: {error.strerror or error}; the run is saved") from None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a failed write has been reported
                self._file.close()


def is_log(path: str) -> bool:
    """Return whether a file looks like a log."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(1) == b"{"
    return False


def read_log(path: str) -> list[LogEntry]:
    """Return the entries of a log, without those that a resumed or repeated run wrote again.

    Raises:
        CharlstmError: a line is not an entry; the last one may be incomplete.
    """
    known = {field.name for field in dataclasses.fields(LogEntry)}
    entries: list[LogEntry] = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST), ""), 1):
            try:
                values = {name: value for name, value in json.loads(line).items() if name in known}
            except (ValueError, AttributeError, RecursionError):
                values = {}
            if matches(values, LogEntry):
                entry = LogEntry(**values)
                while entries and entries[-1].step >= entry.step:
                    entries.pop()
                entries.append(entry)
            elif line.endswith("\n") or len(line) == _LONGEST:
                raise CharlstmError(f"line {number} of {path} is not an evaluation that train --log writes")
    return entries
