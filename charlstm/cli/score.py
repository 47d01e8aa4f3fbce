"""`charlstm score`: how well a model predicts texts, their parts, and each character."""

import io
import math
import os
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from charlstm.cli.inputs import QUIET, check_stdin_once, load_checkpoint
from charlstm.cli.output import as_json, format_bits, say
from charlstm.cli.requests import ScoreRequest
from charlstm.errors import CharlstmError, printable, shorten
from charlstm.sampling.language_model import LanguageModel, Score
from charlstm.text.baselines import baseline_losses
from charlstm.text.reader import read_corpus

_SHOWN_CHARS = 80
_COLOURS = (None, 229, 221, 214, 208, 196)  # of the 256 of a terminal, from yellow to red
_BITS_PER_COLOUR = 2


@QUIET
def print_score(request: ScoreRequest) -> None:
    """Print the loss of texts, of their parts, and of simple models trained on another text."""
    check_stdin_once(*request.files, request.baselines)
    run = load_checkpoint(request.checkpoint)
    model, encoding = run.model, request.encoding or run.config.data.encoding
    score = model.score(*(read_corpus(file, encoding) for file in request.files), exact=request.exact)
    losses = {} if request.baselines is None else _baselines(request.baselines, encoding, score, model)
    parts = _split(score, request.files, request.by) if request.by else []
    if request.sort:
        parts.sort(key=lambda part: -part[1].nats_per_char)
    if request.as_json:
        _print_json(score, losses, parts, with_parts=bool(request.by))
    elif request.highlight:
        print(_colour(score), end="")
        if score.unknown_chars:
            say(f"Unknown characters skipped: {score.unknown_chars:,}")
    else:
        _print_text(score, losses, parts)


def _print_text(score: Score, losses: dict[str, float], parts: list[tuple[str, Score]]) -> None:
    left_out = f"; unknown characters skipped: {score.unknown_chars:,}" if score.unknown_chars else ""
    print(f"{score.nats_per_char:.4f} nats, {score.bpc:.4f} bits per character, perplexity {score.perplexity:.3f}")
    print(f"over {score.chars:,} characters{left_out}")
    if losses:
        print(f"baselines, in bits per character: {format_bits(losses)}")
    for where, part in parts:
        text = printable(shorten(part.text, _SHOWN_CHARS))
        print(f"{part.bpc:9.4f} {part.chars:>9,}  {printable(where)}: {text}")


def _print_json(score: Score, losses: dict[str, float], parts: list[tuple[str, Score]], *, with_parts: bool) -> None:
    values: dict[str, Any] = {
        "chars": score.chars,
        "nats_per_char": score.nats_per_char,
        "bpc": score.bpc,
        "perplexity": score.perplexity,
        "unknown_chars": score.unknown_chars,
    }
    if losses:
        values["baselines_nats_per_char"] = losses
    if with_parts:
        values["parts"] = [
            {
                "where": where,
                "chars": part.chars,
                "nats_per_char": part.nats_per_char,
                "bpc": part.bpc,
                "text": part.text,
            }
            for where, part in parts
        ]
    print(as_json(values, indent=2))


def _baselines(path: str, encoding: str, score: Score, model: LanguageModel) -> dict[str, float]:
    train_ids, _ = read_corpus(path, encoding).encode_with(model.vocab)
    if not len(train_ids):
        raise CharlstmError(f"--baselines {path}: none of its characters are in the model's vocabulary")
    return baseline_losses(train_ids, score.ids, model.vocab)


def _split(score: Score, files: Sequence[str], by: str) -> list[tuple[str, Score]]:
    """Return the parts of the texts, each with its name: a file, or the number of a line or document in it."""
    names, lengths, text, start = [], [], score.text, 0
    for file, file_length in zip(files, score.lengths, strict=True):
        pieces = _cut(text[start : start + file_length], by)
        lengths += [len(piece) for piece in pieces]
        for n in range(1, len(pieces) + 1):
            names.append(file if by == "file" else f"{file}:{n}" if len(files) > 1 else str(n))
        start += file_length
    return list(zip(names, score.split(lengths), strict=True))


def _cut(text: str, by: str) -> list[str]:
    if by == "file":
        return [text]
    return (
        list(io.StringIO(text, newline="\n")) if by == "line" else re.findall(r"(?s:.+?)(?:\n(?:[ \t]*\n)+|\Z)", text)
    )


def _colour(score: Score) -> str:
    """Return the text for a terminal, with badly predicted characters coloured from yellow to red."""
    shown = [c if c in "\n\t" else printable(c) for c in score.text]
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return "".join(shown)
    bits = score.losses / math.log(2)
    levels = [0, *np.minimum(bits / _BITS_PER_COLOUR, len(_COLOURS) - 1).astype(int).tolist()]
    pieces = []
    for level, group in groupby(zip(levels, shown, strict=True), key=lambda pair: pair[0]):
        characters = "".join(c for _, c in group)
        pieces.append(f"\x1b[38;5;{_COLOURS[level]}m{characters}\x1b[0m" if level else characters)
    return "".join(pieces)
