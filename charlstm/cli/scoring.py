"""`charlstm score`: how well a model predicts texts, and their parts, and each character."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from charlstm.cli.display import as_json, bits, printable, say
from charlstm.cli.reading import QUIET, loaded, read_once
from charlstm.cli.words import in_bits
from charlstm.corpus import read_corpus
from charlstm.errors import CharlstmError, UsageError
from charlstm.training import eval_streams, surprises
from charlstm.vocab import Ids, Vocab
from charlstm.workspace import Floats
from charlstm.yardsticks import yardsticks

_SHOWN_CHARS = 80
_COLOURS = (None, 229, 221, 214, 208, 196)  # of a terminal's 256, from yellow to red
_BITS_PER_COLOUR = 2


@dataclass(frozen=True)
class Part:
    """A piece of a text, and how well it was predicted.

    Attributes:
        where: what it is called: a file, or the number of a line or document.
        text: of the characters that count.
        nats: the loss of each.
    """

    where: str
    text: str
    nats: Floats

    @property
    def mean(self) -> float:
        """Nats per character; of none, 0."""
        return float(self.nats.mean(dtype=np.float64)) if len(self.nats) else 0.0

    def as_values(self) -> dict[str, Any]:
        """Return this as JSON shows it."""
        return {"where": self.where, "chars": len(self.nats), **_as_values(self.mean), "text": self.text}


@QUIET
def print_score(
    path: str,
    files: Sequence[str],
    *,
    encoding: str | None,
    learnt_from: str | None,
    by: str | None,
    sort: bool,
    highlight: bool,
    exact: bool,
    json: bool,
) -> None:
    """Print the loss of texts, that of their parts, and those of simpler models that have learnt from another text."""
    if sort and not by:
        raise UsageError("--sort needs --by file, line or document")
    if highlight and (by or learnt_from is not None or json):
        raise UsageError("--highlight writes nothing but the text: it does not go with --by, --yardsticks or --json")
    read_once(*files, learnt_from)
    run = loaded(path)
    encoding = encoding or run.config.data.encoding
    texts = [read_corpus(file, encoding).with_vocab(run.vocab) for file in files]
    ids, unknown = np.concatenate([ids for ids, _ in texts]), sum(unknown for _, unknown in texts)
    if len(ids) < 2:
        raise CharlstmError(f"too few characters to score: the model knows {len(ids)} of the text's, two are the least")
    simpler = _yardsticks_of(learnt_from, encoding, ids, run.vocab) if learnt_from is not None else {}
    nats = surprises(run.model, ids, 1 if exact else eval_streams(ids))
    mean = float(nats.mean(dtype=np.float64))
    if not math.isfinite(mean):
        raise CharlstmError("the model is broken: its weights are so large that its predictions are not numbers")
    pieces = [(file, len(known)) for file, (known, _) in zip(files, texts, strict=True)]
    parts = list(_parts(run.vocab.decode(ids), pieces, nats, by)) if by else []
    if sort:
        parts.sort(key=lambda part: -part.mean)
    if json:
        values = {"chars": len(nats), **_as_values(mean), "perplexity": _perplexity(mean), "unknown_chars": unknown}
        values |= {"yardsticks_nats_per_char": simpler} if simpler else {}
        values |= {"parts": [part.as_values() for part in parts]} if by else {}
        print(as_json(values, indent=2))
        return
    if highlight:
        print(_coloured(run.vocab.decode(ids), nats), end="")
        if unknown:
            say(f"{unknown:,} characters that the model does not know are left out")
        return
    left_out = f"; {unknown:,} unknown ones left out" if unknown else ""
    print(f"{mean:.4f} nats per character, {bits(mean):.4f} bits per character, perplexity {_perplexity(mean):.3f}")
    print(f"over {len(nats):,} characters{left_out}")
    if simpler:
        print(f"simpler models, in bits per character: {in_bits(simpler)}")
    for part in parts:
        shown = part.text if len(part.text) <= _SHOWN_CHARS else part.text[: _SHOWN_CHARS - 3] + "..."
        print(f"{bits(part.mean):9.4f} {len(part.nats):>9,}  {printable(part.where)}: {printable(shown)}")


def _yardsticks_of(path: str, encoding: str, ids: Ids, vocab: Vocab) -> dict[str, float]:
    learnt = read_corpus(path, encoding).with_vocab(vocab)[0]
    if not len(learnt):
        raise CharlstmError(f"--yardsticks {path}: the model knows none of its characters")
    return yardsticks(learnt, ids, vocab)


def _as_values(nats: float) -> dict[str, Any]:
    return {"nats_per_char": nats, "bpc": bits(nats)}


def _perplexity(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf


def _parts(text: str, files: Sequence[tuple[str, int]], nats: Floats, by: str) -> Iterator[Part]:
    """Cut texts that stand one after another into parts.

    Args:
        text: all of them.
        files: the name and the length of each.
        nats: of all characters but the first.
        by: file, line, or document, which empty lines part.
    """
    at = 0
    for file, length in files:
        for n, piece in enumerate(_cut(text[at : at + length], by), 1):
            where = file if by == "file" else f"{file}:{n}" if len(files) > 1 else str(n)
            yield Part(where, piece, nats[max(at - 1, 0) : max(at + len(piece) - 1, 0)])
            at += len(piece)


def _cut(text: str, by: str) -> list[str]:
    if by == "file":
        return [text]
    return re.findall(r".*\n|.+" if by == "line" else r"(?s:.+?)(?:\n(?:[ \t]*\n)+|\Z)", text)


def _coloured(text: str, nats: Floats) -> str:
    """Return a text for a terminal, in which what surprised the model is coloured, from yellow to red."""
    shown = [c if c in "\n\t" else printable(c) for c in text]
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return "".join(shown)
    levels = [0, *np.minimum(nats / math.log(2) / _BITS_PER_COLOUR, len(_COLOURS) - 1).astype(int).tolist()]
    pieces = []
    for level, group in groupby(zip(levels, shown, strict=True), key=lambda pair: pair[0]):
        run = "".join(c for _, c in group)
        pieces.append(f"\x1b[38;5;{_COLOURS[level]}m{run}\x1b[0m" if level else run)
    return "".join(pieces)
