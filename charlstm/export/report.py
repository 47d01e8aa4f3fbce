"""A report about a model in one HTML file: how it learned, what it writes, what surprises it and what its units do.

The page has no script. Everything from the checkpoint and the text is escaped.
"""

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np

from charlstm.config.settings import SECTION_OF, SECTIONS, SETTINGS
from charlstm.errors import printable
from charlstm.export.assets import digest, read_asset
from charlstm.export.curves import STYLE as CURVES_STYLE
from charlstm.export.curves import draw_curves
from charlstm.export.units import Activations, Tracker, find_trackers, record_activations
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.run import Run

_TEMPERATURES = (0.5, 0.8, 1.1)
_SAMPLE_CHARS = 600
_TEXT_CHARS = 1_500  # coloured by surprise
_UNIT_CHARS = 700  # coloured by a unit
_READ_CHARS = 20_000  # to find units
_WRITTEN_CHARS = 6_000  # by the model, to find units without a text
_SHADES, _BITS_PER_SHADE = 5, 2
_SHOWN = 0.3  # correlation from which a unit is shown
_UNIT_SHADES = 4  # of tanh(c), on each side of zero


def make_report(run: Run, title: str, text: str = "", baselines: Mapping[str, float] | None = None) -> str:
    """Return the report as HTML.

    Args:
        run: whose best weights are described.
        title: of the page.
        text: to colour, and to find units with; best one that was not trained on. Without it, the model writes one.
        baselines: losses of simple models, by name, in nats per character.

    Raises:
        CharlstmError: the predictions are not finite.
    """
    model, written = run.model, not text
    text = text or model.generate(length=_WRITTEN_CHARS, temperature=0.8, seed=0)
    known = "".join(c for c in text[: 2 * _READ_CHARS] if c in model.vocab.characters)[:_READ_CHARS]
    source = "a text that the model has written" if written else "the text"
    sections = [
        f"<h1>{_escape(title)}</h1>",
        f"<p>{_escape(_summarize(run))}</p>",
        _describe_learning(run, baselines),
        _show_samples(model),
        *(_describe_reading(model, known, source) if len(known) > 1 else ()),
        _list_settings(run),
    ]
    style = read_asset("report.css")
    policy = f"default-src 'none'; style-src '{digest(style)}' '{digest(CURVES_STYLE)}'; base-uri 'none'"
    head = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{_escape(title)}</title>\n<style>{style}</style>\n</head>\n"
    )
    body = "\n".join(sections)
    return f"{head}<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"


def _summarize(run: Run) -> str:
    config, best = run.config.model, run.best
    size = f"{config.num_layers} x {config.hidden_size} units, {run.model.network.size:,} parameters"
    characters = f"{len(run.model.vocab.code_points):,} distinct"
    corpus = f"trained on a corpus of {run.fingerprint.chars:,} characters, {characters}"
    if best is None or best.val_loss is None:
        return f"An LSTM of {size}, {corpus}."
    loss = f"{best.val_loss:.4f} nats or {_bits(best.val_loss)} bits per character"
    return f"An LSTM of {size}, {corpus}. Validation loss: {loss}, after {best.epoch:.1f} epochs."


# ---- learning


def _describe_learning(run: Run, baselines: Mapping[str, float] | None) -> str:
    if not run.history:
        return ""
    rows = [
        (f"{entry.step:,}", f"{entry.epoch:.2f}", _bits(entry.train_loss), _bits(entry.val_loss))
        for entry in run.history
    ]
    simple = ""
    if baselines:
        listed = ", ".join(f"{name} {_bits(loss)}" for name, loss in baselines.items())
        simple = f" Dotted: simple models of the same text ({listed})."
    caption = f"Validation loss, and training loss dashed.{simple}"
    return (
        f"<h2>Learning</h2>\n<figure>{draw_curves({'': run.history}, 'epoch', baselines)}"
        f"<figcaption>{_escape(caption)}</figcaption></figure>\n<details><summary>All evaluations</summary>"
        f"{_table(('step', 'epoch', 'training, bits', 'validation, bits'), rows, numbers=True)}</details>"
    )


# ---- texts


def _show_samples(model: LanguageModel) -> str:
    parts = ["<h2>What it writes</h2>"]
    for temperature in _TEMPERATURES:
        text = model.generate(length=_SAMPLE_CHARS, temperature=temperature, seed=1)
        parts.append(f"<h3>Temperature {temperature}</h3>\n<pre>{_escape_text(text)}</pre>")
    return "\n".join(parts)


def _describe_reading(model: LanguageModel, text: str, source: str) -> Iterator[str]:
    """Yield the sections about a text that the model reads."""
    score = model.score(text[:_TEXT_CHARS])
    levels = np.minimum(np.nan_to_num(score.losses) / math.log(2) / _BITS_PER_SHADE, _SHADES).astype(int)
    yield (
        f"<h2>What surprises it</h2>\n<p>The beginning of {source}, {score.bpc:.2f} bits per character. The redder a "
        f"character, the less the model expected it, in steps of {_BITS_PER_SHADE} bits.</p>\n"
        f"<pre>{_colour(score.text, [f's{level}' if level else '' for level in levels.tolist()])}</pre>"
    )
    activations = record_activations(model, model.vocab.encode(text).astype(np.intp))
    H = model.network.config.hidden_size
    yield _show_units(find_trackers(activations.cells, text), activations, text, source, H)
    yield _describe_gates(activations)


def _show_units(
    trackers: Sequence[Tracker], activations: Activations, text: str, source: str, units_per_layer: int
) -> str:
    """Return the table of units, and the text coloured by each unit that follows something."""
    parts = [
        "<h2>What its units do</h2>",
        f"<p>For each feature, the unit whose cell state tanh(c) follows it best over {len(text):,} characters of "
        f"{source}: chosen on the first half, with its correlation on the second. Chance is the largest that the same "
        "search finds when the feature is moved along the text.</p>",
    ]
    if not trackers:
        return "\n".join([*parts, "<p>None of the features occurs often enough in this text.</p>"])
    names = [f"layer {t.unit // units_per_layer + 1}, unit {t.unit % units_per_layer + 1}" for t in trackers]
    rows = [
        (tracker.feature, name, f"{tracker.correlation:+.2f}", f"{tracker.chance:.2f}")
        for tracker, name in zip(trackers, names, strict=True)
    ]
    parts.append(_table(("feature", "unit", "correlation", "chance"), rows))
    start = len(text) // 2
    for tracker, name in zip(trackers, names, strict=True):
        if abs(tracker.correlation) < max(_SHOWN, 2 * tracker.chance):
            continue
        shown = text[start : start + _UNIT_CHARS]
        values = activations.cells[start : start + len(shown), tracker.unit]
        steps = np.rint(values * _UNIT_SHADES).astype(int).tolist()
        classes = [f"{'p' if step > 0 else 'n'}{abs(step)}" if step else "" for step in steps]
        parts.append(f"<h3>{_escape(tracker.feature.capitalize())}: {name}</h3>\n<pre>{_colour(shown, classes)}</pre>")
    parts.append('<p class="soft">Blue: the cell state is negative. Orange: positive.</p>')
    return "\n".join(parts)


def _describe_gates(activations: Activations) -> str:
    """Return how often gates are nearly closed and nearly open, by layer."""
    rows = [
        (
            f"layer {layer + 1}, {gate} gate",
            *(f"{share.mean():.0%}" for share in (closed[k], open_[k])),
            f"{(closed[k] > 0.9).sum():,}",
            f"{(open_[k] > 0.9).sum():,}",
        )
        for layer, (closed, open_) in enumerate(zip(activations.closed, activations.open, strict=True))
        for k, gate in enumerate(("input", "forget", "output"))
    ]
    heading = ("", "below 0.1", "above 0.9", "units nearly always closed", "units nearly always open")
    return (
        "<h2>Its gates</h2>\n<p>How much of the time gates are nearly closed or nearly open, and how many units have a "
        f"gate that is so for nine tenths of the text.</p>\n{_table(heading, rows)}"
    )


# ---- settings


def _list_settings(run: Run) -> str:
    values = run.config.format()
    rows = [
        (section, name, str(value), SETTINGS[name].help.partition(".")[0])
        for section in SECTIONS
        for name, value in values.items()
        if SECTION_OF[name] == section
    ]
    return f"<h2>Settings</h2>\n{_table(('', 'setting', 'value', 'meaning'), rows)}"


# ---- markup


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    cell = '<td class="number">' if numbers else "<td>"
    head = "".join(f"<th>{_escape(title)}</th>" for title in heading)
    body = "".join(f"<tr>{''.join(f'{cell}{_escape(value)}</td>' for value in row)}</tr>\n" for row in rows)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def _colour(text: str, classes: Sequence[str]) -> str:
    """Return a text as HTML, with a class for each character; "" for none."""
    parts = []
    for name, group in groupby(zip(classes, text, strict=True), key=lambda pair: pair[0]):
        escaped = _escape_text("".join(c for _, c in group))
        parts.append(f'<span class="{name}">{escaped}</span>' if name else escaped)
    return "\n" * text.startswith("\n") + "".join(parts)  # HTML drops the first newline in <pre>


def _escape(text: str) -> str:
    return html.escape(printable(text))


def _escape_text(text: str) -> str:
    """Return a text as HTML, with its lines, and with other control characters as escapes."""
    return html.escape("".join(c if c in "\n\t" else printable(c) for c in text))


def _bits(loss: float | None) -> str:
    return "-" if loss is None else f"{loss / math.log(2):.3f}"
