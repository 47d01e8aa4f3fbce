"""How `charlstm sample` writes its texts and reports on them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TextIO

import numpy as np

from charlstm.cli.inputs import unescape
from charlstm.cli.output import as_json, bits, say
from charlstm.cli.requests import SampleRequest
from charlstm.errors import CharlstmError, quote
from charlstm.sampling.generate import NO_CONTINUATION, Sample, StopDetector
from charlstm.sampling.params import SamplingParams
from charlstm.text.corpus import Corpus
from charlstm.text.overlap import find_longest_overlap
from charlstm.text.vocab import Vocab

MAX_REDRAWS = 100
_SHOWN_SEEDS = 10


@dataclass(frozen=True)
class Draw:
    """A text, and how it came about."""

    seed: int
    prime: str
    sample: Sample
    redraws: int = 0  # earlier texts of this seed, which did not fit
    fits: bool = True  # whether it can be written


class TextWriter:
    """Writes texts in order, and reports on them.

    Several texts are written one per line if they have one line each, otherwise under headings; or with a separator.

    Args:
        file: where to.
        request: how.
        params: its sampling parameters, without escapes.
        vocab: of the model.
        source: the corpus, for --cite.
    """

    def __init__(
        self, file: TextIO, request: SampleRequest, params: SamplingParams, vocab: Vocab, source: Corpus | None
    ) -> None:
        self._file, self._request, self._params, self._vocab, self._source = file, request, params, vocab, source
        self._separator = None if request.separator is None else unescape(request.separator)
        one_line = "\n" in params.stop or params.lines == 1 or (params.documents and "\n" not in vocab.characters)
        self._headings = request.several and self._separator is None and not one_line
        self._started = False  # whether a text has been written
        self._open = False  # whether the last line has yet to be ended
        self._texts = self._redrawn = 0
        self._cut: list[int] = []  # seeds of these texts
        self._too_long: list[int] = []
        self._stuck: list[int] = []

    def write(self, draw: Draw) -> None:
        """Write a text if it fits, and report what it copies."""
        self._texts += 1
        self._redrawn += draw.redraws > 0
        if not draw.fits:
            (self._stuck if draw.sample.stuck else self._too_long).append(draw.seed)
            return
        if self._request.params.ends_itself and not draw.sample.stopped:
            self._cut.append(draw.seed)
        copied = _find_copy(draw.sample, self._vocab, self._source) if self._request.cite and self._source else {}
        if self._request.as_json:
            values = _describe(draw, self._request.probs) | ({"copied": copied} if copied else {})
            self._file.write(as_json(values) + "\n")
            return
        self._write_text(draw)
        if copied:
            self._end_line()
            self._file.flush()
            say(f"seed {draw.seed}: {_copy_message(copied)}" if self._request.several else _copy_message(copied))

    def _write_text(self, draw: Draw) -> None:
        if self._separator is not None and self._started:
            self._file.write(self._separator)
        if self._headings:
            self._file.write(f"----- seed {draw.seed}\n")
        text = shown_prime(draw.prime, self._request) + draw.sample.text
        self._file.write(text)
        self._started, self._open = True, not text.endswith("\n")
        if self._request.several and self._separator is None:
            self._end_line()

    def write_live(self, prime: str, pieces: Iterator[str], detector: StopDetector) -> None:
        """Write the only text while it is generated; on a terminal, piece by piece.

        Raises:
            CharlstmError: it cannot be continued. What was generated before is written, and its line ended.
        """
        live = self._file.isatty()
        try:
            for piece in filter(None, chain([shown_prime(prime, self._request)], pieces)):
                self._file.write(piece)
                self._open = not piece.endswith("\n")
                if live:
                    self._file.flush()
        except CharlstmError:
            self._end_line()
            self._file.flush()
            raise
        if self._request.params.ends_itself and not detector.stopped:
            self._cut.append(0)

    def end(self) -> None:
        """End the last line where something else follows it."""
        if self._request.several or self._params.documents or self._cut or self._file.isatty():
            self._end_line()
        self._file.flush()

    def report(self) -> None:
        """Report texts that were cut or generated again.

        Raises:
            CharlstmError: some texts were not written.
        """
        limit = self._request.max_chars
        if self._cut:
            which = (
                f"the text{'s' * (len(self._cut) > 1)} with {_list_seeds(self._cut)}"
                if self._request.several
                else "the text"
            )
            say(f"{which} did not end within {self._params.max_length:,} characters; use --length to change the limit")
        if self._redrawn and not self._too_long:
            say(f"regenerated to stay within {limit:,} characters: {self._redrawn:,} of {self._texts:,} texts")
        reasons = []
        if self._stuck:
            reasons.append(f"{_list_seeds(self._stuck)}: {NO_CONTINUATION}")
        if self._too_long:
            failed = f"{len(self._too_long):,} of {self._texts:,} texts did not end within {limit:,} characters"
            advice = "use a larger --max-chars or a lower --temperature"
            reasons.append(f"{failed} in {MAX_REDRAWS} more attempts ({_list_seeds(self._too_long)}); {advice}")
        if reasons:
            raise CharlstmError("; ".join(reasons))

    def _end_line(self) -> None:
        if self._open:
            self._file.write("\n")
        self._open = False


def shown_prime(prime: str, request: SampleRequest) -> str:
    """Return the part of a prime that is written: all or nothing."""
    return "" if request.hide_prime else prime


def _describe(draw: Draw, probs: bool) -> dict[str, Any]:
    """Return a text as JSON values."""
    sample = draw.sample
    values: dict[str, Any] = {
        "seed": draw.seed,
        "prime": draw.prime,
        "text": sample.text,
        "full_text": draw.prime + sample.text,
        "chars": sample.chars,
        "log_probability": sample.log_probability,
        "bits_per_char": bits(-sample.mean_log_probability),
    }
    if probs:
        values["probs"] = [
            {"char": character, "p": p, "rank": rank, "entropy": bits(entropy)}
            for character, p, rank, entropy in sample.details
        ]
    return values


def _find_copy(sample: Sample, vocab: Vocab, source: Corpus) -> dict[str, Any]:
    """Return the longest substring that a text shares with the corpus, and its first line or document there."""
    start, length = find_longest_overlap(vocab.encode(sample.text), source.mark_unknown(vocab))
    copied = sample.text[start : start + length]
    unit = "line" if source.starts is None else "document"
    if not copied:
        return {"chars": 0, unit: None, "text": ""}
    corpus = source.text
    at = corpus.find(copied)
    number = corpus.count("\n", 0, at) + 1 if source.starts is None else np.searchsorted(source.starts, at + 1)
    return {"chars": length, unit: int(number), "text": copied}


def _copy_message(copied: Mapping[str, Any]) -> str:
    if not copied["chars"]:
        return "the text shares no characters with the corpus"
    unit = "line" if "line" in copied else "document"
    where = f"length {copied['chars']:,}, corpus {unit} {copied[unit]:,}"
    return f"longest substring shared with the corpus: {where}: {quote(copied['text'])}"


def _list_seeds(seeds: Sequence[int]) -> str:
    some = ", ".join(map(str, seeds[:_SHOWN_SEEDS]))
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {some}{', ...' if len(seeds) > _SHOWN_SEEDS else ''}"
