"""Messages on standard error: a progress bar on a terminal, plain lines elsewhere; formats shared by commands."""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from charlstm.config.kinds import flag_of
from charlstm.config.settings import SETTINGS
from charlstm.errors import CharlstmError, UsageError, printable, shorten
from charlstm.storage.run import Evaluation
from charlstm.text.sources import find_files
from charlstm.training.loop import Report

_SAMPLE_LINES = 10
_SPIKE = 1.0  # nats above the smoothed loss
_SMOOTHING = 50  # steps
_MARGIN = "    | "
_SPARKS, _SPARK_BARS = 20, "▁▂▃▄▅▆▇█"
_BAR_COLUMNS = 31  # of the bar with the time, in the first hour
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


class Display:
    """Shows the progress of a run: a line and a sample, redrawn in place on a terminal; plain lines elsewhere.

    Args:
        quiet: show nothing.
        history: the evaluations of a resumed run.
    """

    def __init__(self, quiet: bool, history: Sequence[Evaluation] = ()) -> None:
        self.quiet = quiet
        self._on_terminal = is_terminal(sys.stderr)
        self._bars = _Bars() if self._on_terminal and not quiet else None
        self._loss = math.nan  # smoothed
        self._losses = [entry.val_loss for entry in history if entry.val_loss is not None]
        self._baseline = 0.0

    def compare_with(self, baselines: Mapping[str, float]) -> None:
        """Mark where the validation loss falls below that of n-grams."""
        self._baseline = next((loss for name, loss in baselines.items() if name.endswith("-gram")), 0.0)

    def say(self, line: str) -> None:
        """Show a line, above the bar if there is one."""
        if self.quiet:
            return
        if self._bars is not None:
            self._bars.clear()
        say("\n".join(map(_wrap_words, line.split("\n"))) if self._on_terminal else line)

    def step(self, report: Report, chars_per_s: float) -> None:
        """Show a step."""
        if report.evaluation and report.evaluation.val_loss is not None:
            self._losses.append(report.evaluation.val_loss)
        if self._bars is None:
            return
        self._loss = report.loss if math.isnan(self._loss) else 0.98 * self._loss + 0.02 * report.loss
        parts = [f"{bits(self._loss):.3f} bits"]
        if self._losses:
            parts += [f"validation {bits(self._losses[-1]):.3f}", f"best {bits(min(self._losses)):.3f}"]
            parts += [sparkline(self._losses, self._baseline)]
        parts += [f"{chars_per_s:,.0f} chars/s", f"epoch {report.epoch:.2f}"]
        try:
            self._bars.update(report.progress, [part for part in parts if part])
        except (OSError, ValueError):  # the terminal is gone
            self._bars = None

    def evaluation(self, report: Report, evaluation: Evaluation, chars_per_s: float, text: str) -> None:
        """Show an evaluation, and a sample of the model's current output."""
        lines = [printable(line) for line in text.split("\n")] if text else []
        if self._bars is not None:
            self._bars.show([f"{_MARGIN}{part}" for line in lines for part in _cut(line, _width() - len(_MARGIN))])
            return
        losses = [
            f"{name} {bits(loss):.3f}"
            for name, loss in (("training", evaluation.train_loss), ("validation", evaluation.val_loss))
            if loss is not None
        ]
        best = ["best"] if report.is_best and evaluation.val_loss else []
        parts = [f"{report.progress:4.0%}", f"step {report.step:,}", f"epoch {report.epoch:.2f}"]
        self.say("  ".join([*parts, f"{', '.join(losses)} bits", f"{chars_per_s:,.0f} chars/s", *best]))
        if lines:
            self.say("\n".join(f"{_MARGIN}{line}" for line in lines[:_SAMPLE_LINES]))

    def close(self) -> None:
        """Leave the last state on the terminal."""
        if self._bars is not None:
            self._bars.close()
            self._bars = None


class _Bars:
    """A progress bar with lines of text beneath it, redrawn in place."""

    def __init__(self) -> None:
        from tqdm import tqdm

        form = "{percentage:3.0f}%|{bar:10}| {elapsed}<{remaining}{postfix}"
        self._bar = tqdm(total=1.0, bar_format=form, dynamic_ncols=True, leave=True, file=sys.stderr)
        self._lines: list[tqdm[Any]] = []

    def update(self, progress: float, parts: Sequence[str]) -> None:
        """Show the progress, and as many of the parts as fit, the first before others."""
        left = _terminal_size().columns - _BAR_COLUMNS
        shown = ""
        for part in parts:
            longer = f"{shown}, {part}" if shown else part
            shown = longer if len(longer) <= left else shown
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update(progress - self._bar.n)

    def show(self, lines: Sequence[str]) -> None:
        """Show lines beneath the bar, in place of the old ones."""
        from tqdm import tqdm

        rows = min(_SAMPLE_LINES, _terminal_size().lines - 2)
        while len(self._lines) < min(len(lines), rows):
            at = len(self._lines) + 1
            line = tqdm(total=0, bar_format="{desc}", position=at, dynamic_ncols=True, leave=True, file=sys.stderr)
            self._lines.append(line)
        for k, line in enumerate(self._lines):
            line.set_description_str(lines[k] if k < len(lines) else "")

    def clear(self) -> None:
        """Remove everything until the next update, so that a line can be written."""
        for line in (*reversed(self._lines), self._bar):
            line.clear()

    def close(self) -> None:
        """Leave everything where it is, and the cursor below it."""
        for line in (self._bar, *self._lines):
            line.close()


def sparkline(losses: Sequence[float], baseline: float = 0.0) -> str:
    """Return the course of losses in little bars, with a | where they fall below a baseline; "" for fewer than two."""
    shown = losses[-_SPARKS:]
    if len(shown) < 2:
        return ""
    low, high = min(shown), min(max(shown), 1.5 * min(shown))
    sparks = []
    for k, loss in enumerate(shown):
        if k and loss < baseline <= shown[k - 1]:
            sparks.append("|")
        share = (min(loss, high) - low) / (high - low) if high > low else 0.0
        sparks.append(_SPARK_BARS[round(share * (len(_SPARK_BARS) - 1))])
    return "".join(sparks)


class SpikeDetector:
    """Counts losses far above the smoothed loss."""

    def __init__(self) -> None:
        self._smoothed: float | None = None
        self._highest: Report | None = None
        self._number = 0

    def read(self, report: Report) -> None:
        """Read a step."""
        if report.skipped:
            return
        smoothed = report.loss if self._smoothed is None else self._smoothed
        if report.loss > smoothed + _SPIKE:
            self._number += 1
            if self._highest is None or report.loss > self._highest.loss:
                self._highest = report
        self._smoothed = smoothed + (report.loss - smoothed) / _SMOOTHING

    def message(self) -> str:
        """Return a message about the spikes since the last call; "" if there were none."""
        number, highest = self._number, self._highest
        self._number, self._highest = 0, None
        if highest is None:
            return ""
        return (
            f"{number} loss {'spike' if number == 1 else 'spikes'}, up to {highest.loss:.2f} nats at step "
            f"{highest.step:,}, where the gradient norm was {highest.grad_norm:.2g}"
        )


class Log:
    """A file with one line of JSON per evaluation; without a path, nothing is written.

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
        val_bpc = None if evaluation.val_loss is None else bits(evaluation.val_loss)
        speed = {"elapsed_s": elapsed_s, "chars_per_s": chars_per_s, "val_bpc": val_bpc}
        entry = dataclasses.asdict(evaluation) | speed
        try:
            self._file.write(as_json(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise CharlstmError(f"--log {self._file.name}: {error.strerror or error}; the run is saved") from None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a failed write has been reported
                self._file.close()


def bits(nats: float) -> float:
    """Convert nats to bits."""
    return nats / math.log(2)


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a JSON document, with null for numbers that are not finite, which JSON lacks."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=indent)


def _terminal_size() -> os.terminal_size:
    """Return the size of the terminal, even if standard output is not one."""
    try:
        return shutil.get_terminal_size(os.get_terminal_size(sys.stderr.fileno()))
    except (OSError, ValueError, AttributeError):  # not a terminal, closed, missing
        return shutil.get_terminal_size()


def _width() -> int:
    return min(_terminal_size().columns, _MAX_COLUMNS)


def _wrap_words(line: str) -> str:
    """Return a line wrapped to the terminal. Indented lines are commands to copy, and stay unchanged."""
    if line.startswith(" "):
        return line
    return textwrap.fill(line, _width(), break_long_words=False, break_on_hyphens=False)


def _cut(line: str, width: int) -> list[str]:
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
