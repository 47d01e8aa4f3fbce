"""`charlstm score`: how well a model predicts texts, their parts, and each character."""

import io
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from charlstm.cli.inputs import QUIET, check_stdin_once, load_checkpoint, read_texts, reading_of, suggest_numba
from charlstm.cli.output import as_json, format_bits, is_terminal, say, scoring_progress
from charlstm.cli.requests import ScoreRequest
from charlstm.errors import CharlstmError, counted, printable, shorten
from charlstm.sampling.language_model import LanguageModel, Score
from charlstm.text.baselines import baseline_losses
from charlstm.text.sources import expand, list_texts
from charlstm.text.vocab import code_points

_SHOWN_CHARS = 80
_MIN_KNOWN = 0.5  # fraction of the characters below which a score is doubtful
_STYLES = ("", "38;5;136", "38;5;166", "38;5;160", "1;38;5;160", "1;4;38;5;160")  # readable on black and on white
_BITS_PER_STYLE = 2


@dataclass(frozen=True)
class _Part:
    """A file, or a line or a document in it."""

    file: str
    number: int | None  # of the line or document, from 1; None for a file
    score: Score


@QUIET
def print_score(request: ScoreRequest) -> None:
    """Print the loss of texts, of their parts, and of simple models trained on another text."""
    check_stdin_once(*request.files, request.baselines)
    run = load_checkpoint(request.checkpoint, request.kernel)
    model, reading = (
        run.model,
        reading_of(run, encoding=request.encoding, include=request.include, field=request.field, raw=request.raw),
    )
    files = list_texts(request.files, reading["include"]) if request.by == "file" else expand(request.files)
    request = replace(request, files=tuple(files))
    texts = [read_texts(file, reading) for file in request.files]
    chars = sum(len(text.ids) for text in texts)
    suggest_numba(request.kernel, chars)
    with scoring_progress(chars) as progress:
        score = model.score(*texts, exact=request.exact, adapt=request.adapt, progress=progress)
    losses = {} if request.baselines is None else _baselines(request.baselines, reading, score, model)
    if request.highlight:
        _print_highlighted(score, request.color)
    elif request.as_json:
        _print_json(score, losses, request)
    else:
        _print_text(score, losses, request)


def _print_text(score: Score, losses: dict[str, float], request: ScoreRequest) -> None:
    unknown = f"; unknown characters{_describe_unknown(score)}" if score.unknown_chars else ""
    print(f"{score.nats_per_char:.4f} nats, {score.bpc:.4f} bits per character, perplexity {score.perplexity:.3f}")
    count = 0 if score.boundaries is None else np.count_nonzero(score.boundaries)
    documents = f"; document ends included: {count:,}" if count else ""
    print(f"over {counted(score.chars, 'character')}{documents}{unknown}")
    known = score.known.mean()
    if known < _MIN_KNOWN:
        say(f"{1 - known:.0%} of the text is not in the model's vocabulary; the score says little about it")
    if losses:
        print(f"baselines, in bits per character: {format_bits(losses)}")
    parts = _list_parts(score, request)
    if parts:
        print(f"{'bits/char':>9} {'chars':>9}  part")
    for part in parts:
        bpc = f"{part.score.bpc:.4f}" if part.score.chars else "-"
        print(f"{bpc:>9} {part.score.chars:>9,}  {_describe_part(part, len(request.files))}")


def _describe_unknown(score: Score) -> str:
    """Return how the unknown characters were treated, and their number."""
    return f"{', scored as one symbol' if score.unknown_scored else ' skipped'}: {score.unknown_chars:,}"


def _describe_part(part: _Part, files: int) -> str:
    """Return where a part is, and how it begins."""
    names = [] if part.number and files == 1 else [printable(part.file)]
    numbers = [str(part.number)] if part.number else []
    return f"{':'.join(names + numbers)}: {printable(shorten(part.score.text, _SHOWN_CHARS))}"


def _print_json(score: Score, losses: dict[str, float], request: ScoreRequest) -> None:
    values = _loss_values(score)
    values["perplexity"] = score.perplexity
    values["unknown_scored"] = score.unknown_scored
    if losses:
        values["baselines_nats_per_char"] = losses
    if request.by:
        values["parts"] = [_part_values(part, request.by) for part in _list_parts(score, request)]
    print(as_json(values, indent=2))


def _loss_values(score: Score) -> dict[str, Any]:
    return {
        "chars": score.chars,
        "nats_per_char": score.nats_per_char,
        "bpc": score.bpc,
        "unknown_chars": score.unknown_chars,
    }


def _part_values(part: _Part, by: str) -> dict[str, Any]:
    """Return a part as JSON values. The text of a file is left out: it can be a whole book."""
    if part.number is None:
        return {"file": part.file, **_loss_values(part.score)}
    return {"file": part.file, by: part.number, **_loss_values(part.score), "text": part.score.text}


def _baselines(path: str, reading: Mapping[str, Any], score: Score, model: LanguageModel) -> dict[str, float]:
    train_ids, _ = read_texts(path, reading).encode_with(model.vocab)
    if not len(train_ids):
        raise CharlstmError(f"--baselines {path}: none of its characters are in the model's vocabulary")
    ids, known = model.vocab.find(code_points(score.text))
    encoded = known | (model.vocab.unknown_id is not None)
    if score.boundaries is not None and model.vocab.boundary_id is not None:
        ids[score.boundaries] = model.vocab.boundary_id
        encoded |= score.boundaries
    return baseline_losses(train_ids, ids[encoded], model.vocab)


def _list_parts(score: Score, request: ScoreRequest) -> list[_Part]:
    """Return the parts that `request` asks for, in its order."""
    if not request.by:
        return []
    parts = []
    for file, whole in zip(request.files, score.split(score.lengths), strict=True):
        by_boundary = whole.document_lengths if request.by == "document" else None
        pieces = whole.split(by_boundary or [len(piece) for piece in _cut(whole.text, request.by)])
        parts += [_Part(file, None if request.by == "file" else n, piece) for n, piece in enumerate(pieces, 1)]
    parts = [part for part in parts if part.score.chars >= request.min_chars]
    if request.sort:
        parts.sort(key=lambda part: -part.score.nats_per_char if part.score.chars else math.inf)
    return parts


def _cut(text: str, by: str) -> list[str]:
    if by == "file":
        return [text]
    return (
        list(io.StringIO(text, newline="\n")) if by == "line" else re.findall(r"(?s:.+?)(?:\n(?:[ \t]*\n)+|\Z)", text)
    )


def _print_highlighted(score: Score, color: str) -> None:
    """Print the text, with badly predicted characters coloured from amber to bold red."""
    shown = [c if c in "\n\t" else printable(c) for c in score.text]
    print("".join(_colour(shown, score) if _use_colour(color) else shown), end="")
    if score.unknown_chars:
        sys.stdout.write("" if score.text.endswith("\n") else "\n")
        sys.stdout.flush()
        say(f"Unknown characters{_describe_unknown(score)}")


def _use_colour(color: str) -> bool:
    return color == "always" or (color == "auto" and is_terminal(sys.stdout) and not os.environ.get("NO_COLOR"))


def _colour(shown: Sequence[str], score: Score) -> Iterator[str]:
    """Yield characters with escapes that give each the style of its loss."""
    bits = np.nan_to_num(score.losses) / math.log(2)
    levels = np.minimum(bits / _BITS_PER_STYLE, len(_STYLES) - 1).astype(int).tolist()
    for level, group in groupby(zip(levels, shown, strict=True), key=lambda pair: pair[0]):
        characters = "".join(c for _, c in group)
        yield f"\x1b[{_STYLES[level]}m{characters}\x1b[0m" if level else characters
