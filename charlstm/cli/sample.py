"""`charlstm sample`: the texts that each seed gives, and the file they are written to."""

import io
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, TextIO

import numpy as np

from charlstm.cli.files import open_output
from charlstm.cli.inputs import (
    QUIET,
    check_stdin_once,
    clean_typed,
    load_checkpoint,
    read_texts,
    reading_of,
    suggest_numba,
    unescape,
)
from charlstm.cli.requests import SampleRequest
from charlstm.cli.writer import MAX_REDRAWS, Draw, TextWriter, shown_prime
from charlstm.config.settings import DataConfig
from charlstm.errors import CharlstmError, UsageError
from charlstm.network.cores import blas_threads
from charlstm.sampling.beam import beam_search
from charlstm.sampling.generate import Prefix, Sample, Sampler, StopDetector
from charlstm.sampling.language_model import LanguageModel
from charlstm.sampling.params import DEFAULT_LENGTH, SamplingParams
from charlstm.text.builder import convert_newlines
from charlstm.text.vocab import UnknownCharactersError, Vocab

_BATCH_SIZE = 64  # texts generated side by side
_AS_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogatepass", "newline": "\n"}


@QUIET
def write_samples(request: SampleRequest) -> None:
    """Write one text while it is generated, or several in order."""
    check_stdin_once(request.prime, request.prime_file, request.corpus)
    run = load_checkpoint(request.checkpoint, request.kernel)
    model, reading = run.model, reading_of(run, encoding=request.encoding, field=request.field, raw=request.raw)
    request = _prepare_request(request, run.config.data.documents)
    source = None if request.corpus is None else read_texts(request.corpus, reading)
    reading["documents"] = "none"  # of primes
    params = _prepare_params(request, run.config.data)
    sampler = model.sampler(params, source)
    primes = _read_primes(model.vocab, request, reading, run.config.data)
    if not params.ends_itself:
        suggest_numba(request.kernel, params.max_length * len(primes) * request.num * request.best_of)
    with blas_threads(1), _open_output(request) as file:
        writer = TextWriter(file, request, params, model.vocab, source)
        if request.live:
            detector = StopDetector(params)
            rng = np.random.default_rng(request.seed)
            writer.write_live(primes[0], sampler.stream(model.read(primes[0]), rng, detector), detector)
        else:
            for draw in _draw_all(model, sampler, primes, request):
                writer.write(draw)
        writer.end()
    writer.report()


def _prepare_request(request: SampleRequest, documents: str) -> SampleRequest:
    """Return the request to a model trained on documents, or on one text."""
    params = replace(request.params, documents=documents != "none")
    if request.max_chars and not params.has_end:
        other = "omit --pattern" if params.documents else "a model trained with --documents"
        raise UsageError(f"--max-chars needs --stop or --lines, or {other}")
    separator = request.separator
    if documents == "blank-line" and request.several and not (request.as_json or params.stop or params.lines):
        separator = r"\n\n" if separator is None else separator
    return replace(request, params=params, separator=separator)


def _prepare_params(request: SampleRequest, data: DataConfig) -> SamplingParams:
    """Return the sampling parameters, with stop strings as in the corpus and the length that the request needs."""
    params = replace(request.params, stop=tuple(clean_typed(unescape(text), data) for text in request.params.stop))
    if request.max_chars:
        end = max(map(len, params.stop), default=int(params.documents))  # may follow the last character
        return replace(params, length=request.max_chars + end)
    if request.beam and params.length is None:  # it often repeats itself without end
        return replace(params, length=DEFAULT_LENGTH)
    return params


def _draw_all(model: LanguageModel, sampler: Sampler, primes: Sequence[str], request: SampleRequest) -> Iterator[Draw]:
    """Draw the texts of each prime, in order, with consecutive seeds."""
    seed = secrets.randbits(32) if request.seed is None else request.seed
    for prime in primes:
        prefix, seeds = model.read(prime), range(seed, seed + request.num * request.best_of)
        if request.beam:
            yield Draw(seed, prime, beam_search(sampler, prefix, request.beam))
        else:
            yield from _keep_best(_draw(sampler, prefix, prime, seeds, request), request.best_of)
        seed = seeds.stop


def _draw(sampler: Sampler, prefix: Prefix, prime: str, seeds: range, request: SampleRequest) -> Iterator[Draw]:
    """Draw a text for each seed, in batches."""
    for first in range(0, len(seeds), _BATCH_SIZE):
        yield from _draw_batch(sampler, prefix, prime, seeds[first : first + _BATCH_SIZE], request)


def _draw_batch(sampler: Sampler, prefix: Prefix, prime: str, seeds: range, request: SampleRequest) -> list[Draw]:
    """Draw texts side by side, and those that do not fit again. Each depends on its own seed alone."""
    draws: dict[int, Draw] = {}
    left: Sequence[int] = seeds
    for redraws in range(1 + MAX_REDRAWS * bool(request.max_chars)):
        rngs = [np.random.default_rng([seed, redraws] if redraws else seed) for seed in left]
        for seed, sample in zip(left, sampler.generate_batch(prefix, rngs, detailed=request.probs), strict=True):
            draws[seed] = Draw(seed, prime, sample, redraws, fits=_fits(sample, prime, request))
        left = [seed for seed in left if not draws[seed].fits]
        if not left:
            break
    return [draws[seed] for seed in seeds]


def _fits(sample: Sample, prime: str, request: SampleRequest) -> bool:
    """Return whether a text has an end, and has it within --max-chars."""
    if not request.max_chars:
        return not sample.stuck
    return sample.stopped and len(shown_prime(prime, request)) + len(sample.text) <= request.max_chars


def _keep_best(draws: Iterator[Draw], best_of: int) -> Iterator[Draw]:
    """Yield the most likely of each group of texts; one that does not fit only if none does."""
    while some := list(islice(draws, best_of)):
        yield max(some, key=lambda draw: (draw.fits, draw.sample.mean_log_probability))


@contextmanager
def _open_output(request: SampleRequest) -> Iterator[TextIO]:
    """Open the output file as text; by default, standard output."""
    if request.output in (None, "-"):
        yield sys.stdout
        return
    inputs = (request.checkpoint, request.corpus, request.prime_file)
    with open_output(request.output or "", force=request.force, inputs=inputs) as binary:
        file = io.TextIOWrapper(binary, **_AS_TEXT)
        yield file
        file.detach()  # writes the rest, and leaves closing to `open_output`


# ---- the primes


def _read_primes(vocab: Vocab, request: SampleRequest, reading: Mapping[str, Any], data: DataConfig) -> list[str]:
    """Return the texts to continue, in characters of the vocabulary."""
    argument = "prime" if request.prime_file is None else "prime_file"
    if request.prime_file is not None:
        text = _read_file(request.prime_file, reading)
    else:
        text = clean_typed(convert_newlines(_read_stdin() if request.prime == "-" else request.prime), data)
    lines = text.removesuffix("\n").split("\n") if request.each_line else [text]
    primes = []
    for n, line in enumerate(lines, 1):
        try:
            primes.append(_adapt(line, vocab, request))
        except UsageError as error:
            raise UsageError(f"line {n}: {error}" if request.each_line else str(error), argument) from None
    return primes


def _adapt(prime: str, vocab: Vocab, request: SampleRequest) -> str:
    """Return a text to continue in characters of the vocabulary."""
    try:
        prime.encode()
        prime = vocab.adapt(prime, request.unknown)
    except UnicodeEncodeError:
        raise UsageError("not UTF-8") from None
    except UnknownCharactersError as error:
        raise UsageError(f"{error}; try --unknown nearest for similar ones, or --unknown skip") from None
    if 0 < request.max_chars < len(shown_prime(prime, request)):
        raise UsageError(f"its {len(prime):,} characters exceed --max-chars; raise that, or use --hide-prime")
    return prime


def _read_file(path: str, reading: Mapping[str, Any]) -> str:
    try:
        corpus = read_texts(path, reading)
    except CharlstmError as error:
        raise UsageError(str(error), "prime_file") from None
    return corpus.text


def _read_stdin() -> str:
    if sys.stdin is None:
        raise UsageError("cannot read from standard input (-): it is closed", "prime")
    if sys.stdin.isatty():
        raise UsageError("cannot read from standard input (-): it is a terminal; pipe text into it", "prime")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 (byte {error.start})", "prime") from None
