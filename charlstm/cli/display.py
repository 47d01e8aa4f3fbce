"""What is said while training, on standard error: a bar on a terminal, plain lines elsewhere."""

import contextlib
import json
import math
import os
import sys
from typing import Any, TextIO

from charlstm.errors import CharlstmError, UsageError
from charlstm.training import Report

_SAMPLE_LINES = 10
_SPIKE = 1.0  # nats above the usual loss
_SMOOTHING = 50  # steps


def say(line: str) -> None:
    """Write a line, or more, to standard error; where that is closed or full, the work goes on without."""
    try:
        sys.stderr.write("\n".join(map(printable, line.split("\n"))) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # full, closed, never there
        pass


class Display:
    """Shows how a run goes: a bar on a terminal; elsewhere, and at each evaluation, lines.

    Args:
        quiet: show nothing.
        val_loss: the best so far, in nats per character, for a run that goes on.
    """

    def __init__(self, quiet: bool, val_loss: float | None = None) -> None:
        self.quiet = quiet
        self._bar = None if quiet or not _is_terminal(sys.stderr) else _bar()
        self._loss = math.nan  # smoothed
        self._val_loss = val_loss

    def say(self, line: str) -> None:
        """Show a line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.clear()
        if not self.quiet:
            say(line)

    def step(self, report: Report, chars_per_s: float) -> None:
        """Show one more step."""
        if report.evaluated:
            self._val_loss = report.val_loss
        if self._bar is None:
            return
        self._loss = report.loss if math.isnan(self._loss) else 0.98 * self._loss + 0.02 * report.loss
        validation = "" if self._val_loss is None else f" (validation {bits(self._val_loss):.3f})"
        self._bar.set_postfix_str(f"{bits(self._loss):.3f} bits{validation}, {chars_per_s:,.0f} chars/s", refresh=False)
        try:
            self._bar.update(report.progress - self._bar.n)
        except (OSError, ValueError):  # the terminal is gone
            self._bar = None

    def evaluation(self, report: Report, chars_per_s: float, text: str) -> None:
        """Show the result of an evaluation, and what the model writes by now."""
        losses = [
            f"{name} {loss:.3f} nats ({bits(loss):.3f} bits)"
            for name, loss in (("training", report.train_loss), ("validation", report.val_loss))
            if loss is not None
        ]
        self.say(
            f"step {report.step:,}  {report.progress:.0%}  epoch {report.epoch:.2f}  {'  '.join(losses)}  "
            f"{chars_per_s:,.0f} characters/s{'  best so far' if report.is_best and report.val_loss else ''}"
        )
        for line in text.split("\n")[:_SAMPLE_LINES]:
            self.say(f"    | {printable(line)}")

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Spikes:
    """Notes losses far above the usual one; what they mean is for the user to say."""

    def __init__(self) -> None:
        self._usual: float | None = None  # smoothed
        self._highest: Report | None = None
        self._number = 0

    def see(self, report: Report) -> None:
        """Take note of a step."""
        if report.skipped:
            return
        usual = report.loss if self._usual is None else self._usual
        if report.loss > usual + _SPIKE:
            self._number += 1
            if self._highest is None or report.loss > self._highest.loss:
                self._highest = report
        self._usual = usual + (report.loss - usual) / _SMOOTHING

    def told(self) -> str:
        """Return what there is to say since it was last told; nothing, if there is nothing."""
        number, highest = self._number, self._highest
        self._number, self._highest = 0, None
        if highest is None:
            return ""
        return (
            f"{number} {'loss was' if number == 1 else 'losses were'} far above the usual, the highest "
            f"{highest.loss:.2f} nats at step {highest.step:,}, gradient norm {highest.grad_norm:.2g}"
        )


class Log:
    """A file of JSON lines, one per evaluation; none without a path.

    Raises:
        UsageError: the file cannot be opened.
    """

    def __init__(self, path: str | None) -> None:
        try:
            self._file: TextIO | None = None if path is None else open(path, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise UsageError(f"--log {path}: {error.strerror or error}") from None

    def write(self, report: Report, chars_per_s: float) -> None:
        """Append an evaluation."""
        if self._file is None:
            return
        entry = {
            "step": report.step,
            "epoch": report.epoch,
            "chars": report.chars,
            "elapsed_s": report.elapsed_s,
            "train_loss": report.train_loss,
            "val_loss": report.val_loss,
            "val_bpc": None if report.val_loss is None else bits(report.val_loss),
            "learning_rate": report.learning_rate,
            "chars_per_s": chars_per_s,
        }
        try:
            self._file.write(as_json(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise CharlstmError(f"--log {self._file.name}: {error.strerror or error}; the run is saved") from None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written has been told
                self._file.close()


def bits(nats: float) -> float:
    """Return nats as bits."""
    return nats / math.log(2)


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a JSON document; what is not finite is null, since JSON has no such numbers."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in value.items()}
    return json.dumps(finite, ensure_ascii=False, allow_nan=False, indent=indent)


def printable(text: str) -> str:
    """Return `text` with control characters written as escapes, so that they cannot reach a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def _bar() -> Any:
    from tqdm import tqdm

    form = "{percentage:3.0f}%|{bar:16}| {elapsed}<{remaining}{postfix}"
    return tqdm(total=1.0, bar_format=form, dynamic_ncols=True, leave=True, file=sys.stderr)
