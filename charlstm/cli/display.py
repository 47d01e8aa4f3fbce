"""The progress of a run: a line and a sample redrawn in place on a terminal, plain lines elsewhere."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charlstm.cli.output import bits, cut_line, is_terminal, line_width, say, terminal_size, wrap_words
from charlstm.errors import printable
from charlstm.storage.run import Evaluation
from charlstm.training.loop import Report

if TYPE_CHECKING:
    pass

_SAMPLE_LINES = 10
_SPIKE = 1.0  # nats above the smoothed loss
_SMOOTHING = 50  # steps
_MARGIN = "    | "
_SPARKS, _SPARK_BARS = 20, "▁▂▃▄▅▆▇█"
_BAR_COLUMNS = 31  # of the bar with the time, in the first hour
_WIDE = 80  # columns, which leave room for labels


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
        say("\n".join(map(wrap_words, line.split("\n"))) if self._on_terminal else line)

    def step(self, report: Report, chars_per_s: float) -> None:
        """Show a step."""
        if report.evaluation and report.evaluation.val_loss is not None:
            self._losses.append(report.evaluation.val_loss)
        if self._bars is None:
            return
        self._loss = report.loss if math.isnan(self._loss) else 0.98 * self._loss + 0.02 * report.loss
        label = "training " * (terminal_size().columns >= _WIDE)
        parts = [f"{label}{bits(self._loss):.3f} bits"]
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
            self._bars.show(
                [f"{_MARGIN}{part}" for line in lines for part in cut_line(line, line_width() - len(_MARGIN))]
            )
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
        left = terminal_size().columns - _BAR_COLUMNS
        shown = ""
        for part in parts:
            longer = f"{shown}, {part}" if shown else part
            shown = longer if len(longer) <= left else shown
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update(progress - self._bar.n)

    def show(self, lines: Sequence[str]) -> None:
        """Show lines beneath the bar, in place of the old ones."""
        from tqdm import tqdm

        rows = min(_SAMPLE_LINES, terminal_size().lines - 2)
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
    """Return losses as little bars, with a | where they fall below a baseline; "" for fewer than two."""
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
            f"{number:,} loss {'spike' if number == 1 else 'spikes'}, up to {bits(highest.loss):,.2f} bits at step "
            f"{highest.step:,}, where the gradient norm was {highest.grad_norm:.2g}"
        )
