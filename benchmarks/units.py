"""The units that track features of a text best, and a picture of the text coloured by their cell states.

The table is that of `charlstm report`. For docs/units.svg, a model of the standard library's sources reads modules that
it was not trained on.
"""

import io
from itertools import groupby
from pathlib import Path

import click
import harness
import numpy as np
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text
from session import strip_fonts

from charlstm import load, read_corpus
from charlstm.export.units import Activations, Tracker, find_trackers, record_activations

WIDTH = 100
NEGATIVE, NEUTRAL, POSITIVE = (106, 157, 230), (255, 255, 255), (239, 131, 84)  # red, green, blue
STEPS = 4


def colour(value: float) -> str:
    """Return the background for tanh(c), in steps, so that characters in a row share it."""
    share, end = round(abs(value) * STEPS) / STEPS, POSITIVE if value > 0 else NEGATIVE
    mixed = (round(a + share * (b - a)) for a, b in zip(NEUTRAL, end, strict=True))
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def draw(trackers: list[Tracker], activations: Activations, text: str, start: int, lines: int) -> str:
    """Return an SVG with some lines of a text from `start` on, once for each unit."""
    end = start
    for _ in range(lines):
        end = text.index("\n", end) + 1
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for tracker in trackers:
        heading = f"{tracker.feature}: unit {tracker.unit + 1}, correlation {tracker.correlation:+.2f}"
        console.print(Text(heading, "bold"))
        passage = Text()
        colours = map(colour, activations.cells[start:end, tracker.unit].tolist())
        for background, run in groupby(zip(colours, text[start:end], strict=True), key=lambda pair: pair[0]):
            passage.append("".join(c for _, c in run).replace("\n", " \n"), f"black on {background}")
        console.print(passage)
    return strip_fonts(console.export_svg(title="Cell states", theme=DEFAULT_TERMINAL_THEME))


@click.command()
@click.argument("model")
@click.argument("texts", nargs=-1, required=True)
@click.option("--chars", default=20_000, show_default=True, help="Characters to read.")
@click.option("--feature", "features", multiple=True, help="A feature to draw; repeatable.")
@click.option("--line", default=0, help="First line to draw.")
@click.option("--lines", default=14, show_default=True, help="Number of lines to draw.")
@click.option("--picture", help="SVG file to write.")
def main(
    model: str,
    texts: tuple[str, ...],
    chars: int,
    features: tuple[str, ...],
    line: int,
    lines: int,
    picture: str | None,
) -> None:
    """Print the unit of MODEL that tracks each feature of TEXTS best, and draw some of them."""
    language_model = load(model)
    vocab = language_model.vocab
    text = "".join(c for c in read_corpus(texts).text if c in vocab.characters)[:chars]
    activations = record_activations(language_model, vocab.encode(text).astype(np.intp))
    trackers = find_trackers(activations.cells, text)
    print(harness.describe_machine())
    table = harness.Table({"unit": "d", "correlation": ".2f", "chance": ".2f"}, labels=[t.feature for t in trackers])
    for tracker in trackers:
        table.row(tracker.unit + 1, tracker.correlation, tracker.chance, label=tracker.feature)
    if picture:
        start = sum(map(len, text.splitlines(keepends=True)[:line]))
        shown = [tracker for tracker in trackers if tracker.feature in features] or trackers[:3]
        Path(picture).write_text(draw(shown, activations, text, start, lines), encoding="utf-8")


if __name__ == "__main__":
    main()
