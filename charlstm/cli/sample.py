"""`charlstm sample`: texts on standard output, or in a file."""

import io
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from charlstm.cli.inputs import QUIET, check_stdin_once, load_checkpoint, unescape
from charlstm.cli.output import as_json, bits, say
from charlstm.cli.requests import SampleRequest
from charlstm.cli.signals import as_exits
from charlstm.errors import CharlstmError, UsageError, quote
from charlstm.sampling.beam import beam_search
from charlstm.sampling.generate import NO_CONTINUATION, Prefix, Sample, Sampler
from charlstm.storage.atomic import replace_file, temporary_path
from charlstm.text.corpus import Corpus, convert_newlines
from charlstm.text.overlap import find_longest_overlap
from charlstm.text.reader import read_corpus
from charlstm.text.vocab import UnknownCharactersError, Vocab

_BATCH_SIZE = 64  # texts generated side by side
_SHOWN_SEEDS = 10
_AS_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogatepass", "newline": "\n"}


@QUIET
def write_samples(request: SampleRequest) -> None:
    """Write one text while it is generated, or several in order."""
    check_stdin_once(request.prime, request.prime_file, request.corpus)
    run = load_checkpoint(request.checkpoint)
    model, encoding = run.model, request.encoding or run.config.data.encoding
    source = None if request.corpus is None else read_corpus(request.corpus, encoding)
    params = replace(request.params, stop=tuple(map(unescape, request.params.stop)))
    sampler = model.sampler(params, source)
    prime = _read_prime(model.vocab, request, encoding)
    prefix = model.read(prime)
    seed = secrets.randbits(32) if request.seed is None else request.seed
    with _open_output(request) as file:
        if request.num == request.best_of == 1 and not (request.beam or request.as_json or request.cite):
            shown = "" if request.hide_prime else prime
            _write_live(file, shown, sampler.stream(prefix, np.random.default_rng(seed)))
            return
        if request.beam:
            samples = iter([(seed, beam_search(sampler, prefix, request.beam))])
        else:
            seeds = range(seed, seed + request.num * request.best_of)
            samples = _keep_best(_generate(sampler, prefix, seeds, detailed=request.probs), request.best_of)
        stuck = _write_all(file, request, prime, samples, model.vocab, source)
    if stuck:
        raise CharlstmError(f"{_list_seeds(stuck)}: {NO_CONTINUATION}")


def _generate(sampler: Sampler, prefix: Prefix, seeds: range, *, detailed: bool) -> Iterator[tuple[int, Sample]]:
    """Generate texts in batches; yield each with its seed."""
    for first in range(0, len(seeds), _BATCH_SIZE):
        some = seeds[first : first + _BATCH_SIZE]
        rngs = [np.random.default_rng(seed) for seed in some]
        yield from zip(some, sampler.generate_batch(prefix, rngs, detailed=detailed), strict=True)


def _keep_best(samples: Iterator[tuple[int, Sample]], best_of: int) -> Iterator[tuple[int, Sample]]:
    """Yield the most likely of each group of texts; one that is stuck only if all are."""
    while some := list(islice(samples, best_of)):
        yield max(some, key=lambda pair: (not pair[1].stuck, pair[1].mean_log_probability))


# ---- output


def _write_all(
    file: TextIO,
    request: SampleRequest,
    prime: str,
    samples: Iterator[tuple[int, Sample]],
    vocab: Vocab,
    source: Corpus | None,
) -> list[int]:
    """Write texts in order; return the seeds of those that got stuck, which are not written."""
    stuck = []
    for seed, sample in samples:
        if sample.stuck:
            stuck.append(seed)
            continue
        copied = _find_copy(sample, vocab, source) if request.cite and source else None
        if request.as_json:
            values = {"seed": seed, "prime": prime, **_describe(sample, request.probs)}
            file.write(as_json(values | ({"copied": copied} if copied else {})) + "\n")
        else:
            text = ("" if request.hide_prime else prime) + sample.text
            _write_text(file, text, copied, seed if request.num > 1 else None)
    return stuck


def _write_text(file: TextIO, text: str, copied: Mapping[str, Any] | None, seed: int | None) -> None:
    """Write a text, under its seed if there is one, and report what it copies."""
    if seed is not None:
        file.write(f"----- seed {seed}\n")
    file.write(text + (_final_newline(text) if seed is not None or file.isatty() else ""))
    if copied:
        file.flush()
        message = _copy_message(copied)
        say(message if seed is None else f"seed {seed}: {message}")


def _write_live(file: TextIO, shown: str, pieces: Iterator[str]) -> None:
    """Write pieces as they come; on a terminal, flush each of them and end the last line."""
    live = file.isatty()
    file.write(shown)
    last = shown
    for last in pieces:
        file.write(last)
        if live:
            file.flush()
    if live:
        file.write(_final_newline(last))


def _final_newline(text: str) -> str:
    return "" if text.endswith("\n") else "\n"


@contextmanager
def _open_output(request: SampleRequest) -> Iterator[TextIO]:
    """Open the output file, which replaces an old one when it is complete; by default, standard output.

    Anything but a regular file, such as a pipe or a device, is written to directly.
    """
    path = request.output
    if path is None or path == "-":
        yield sys.stdout
        return
    target = Path(os.path.realpath(path))
    for other in (request.checkpoint, request.corpus, request.prime_file):
        if other is not None and target == Path(os.path.realpath(other)):
            raise UsageError(f"--output {path} would overwrite {other}; choose another file")
    try:
        with as_exits():
            if target.is_file() or not os.path.exists(path):
                temporary_path(target).unlink(missing_ok=True)  # left by a killed process with the same id
                with replace_file(path) as binary:
                    file = io.TextIOWrapper(binary, **_AS_TEXT)
                    yield file
                    file.detach()  # writes the rest, and leaves closing to `replace_file`
            else:
                with open(path, "w", **_AS_TEXT) as file:
                    yield file
    except OSError as error:
        raise UsageError(f"--output {path}: {error.strerror or error}") from None


# ---- what a text is like


def _describe(sample: Sample, probs: bool) -> dict[str, Any]:
    """Return a sample as JSON values."""
    values: dict[str, Any] = {
        "text": sample.text,
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
    """Return the longest substring that a text shares with the corpus, and its first line there."""
    start, length = find_longest_overlap(vocab.encode(sample.text), source.mark_unknown(vocab))
    copied = sample.text[start : start + length]
    if not copied:
        return {"chars": 0, "line": None, "text": ""}
    corpus = source.vocab.decode(source.ids)
    return {"chars": length, "line": corpus.count("\n", 0, corpus.find(copied)) + 1, "text": copied}


def _copy_message(copied: Mapping[str, Any]) -> str:
    if not copied["chars"]:
        return "the text shares no characters with the corpus"
    where = f"length {copied['chars']:,}, corpus line {copied['line']:,}"
    return f"longest substring shared with the corpus: {where}: {quote(copied['text'])}"


def _list_seeds(seeds: Sequence[int]) -> str:
    some = ", ".join(map(str, seeds[:_SHOWN_SEEDS]))
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {some}{', ...' if len(seeds) > _SHOWN_SEEDS else ''}"


# ---- the prime


def _read_prime(vocab: Vocab, request: SampleRequest, encoding: str) -> str:
    """Return the text to continue, in characters of the vocabulary."""
    argument = "prime" if request.prime_file is None else "prime_file"
    if request.prime_file is not None:
        prime = _read_file(request.prime_file, encoding)
    else:
        prime = convert_newlines(_read_stdin() if request.prime == "-" else request.prime)
    try:
        prime.encode()
        return vocab.adapt(prime, request.unknown)
    except UnicodeEncodeError:
        raise UsageError("not UTF-8", argument) from None
    except UnknownCharactersError as error:
        raise UsageError(f"{error}; --unknown skip leaves them out", argument) from None


def _read_file(path: str, encoding: str) -> str:
    try:
        corpus = read_corpus(path, encoding)
    except CharlstmError as error:
        raise UsageError(str(error), "prime_file") from None
    return corpus.vocab.decode(corpus.ids)


def _read_stdin() -> str:
    if sys.stdin is None:
        raise UsageError("cannot read from standard input (-): it is closed", "prime")
    if sys.stdin.isatty():
        raise UsageError("cannot read from standard input (-): it is a terminal; pipe text into it", "prime")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 (byte {error.start})", "prime") from None
