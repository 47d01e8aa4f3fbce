"""`charlstm sample`: texts on standard output, or in a file."""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from charlstm.beam import beam_search
from charlstm.checkpoint import Checkpoint, temporary_beside
from charlstm.cli.display import as_json, bits, printable, say
from charlstm.cli.reading import QUIET, loaded, read_once, unescaped
from charlstm.cli.signals import as_exits
from charlstm.copying import CopyIndex, index_of, longest_copy
from charlstm.corpus import Corpus, read_corpus, unix_newlines
from charlstm.errors import CharlstmError, UsageError
from charlstm.filters import Choice
from charlstm.patterns import Automaton
from charlstm.sampling import NO_WAY_ON, Rules, Start, Text, begin, generate, write_texts
from charlstm.vocab import UnknownCharactersError, Vocab

_AT_ONCE = 64  # texts that are written side by side
_SHOWN_CHARS = 60
_SHOWN_SEEDS = 10
_AS_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogatepass", "newline": "\n"}


@QUIET
def write_samples(
    path: str,
    *,
    length: int,
    seed: int | None,
    num: int,
    best_of: int,
    beam: int,
    prime: str,
    prime_file: str | None,
    hide_prime: bool,
    unknown: str,
    encoding: str | None,
    choice: Mapping[str, Any],
    rules: Mapping[str, Any],
    stop: Sequence[str],
    pattern: str | None,
    no_copy: int,
    corpus: str | None,
    cite: bool,
    output: str | None,
    json: bool,
    probs: bool,
) -> None:
    r"""Write texts as they come into being, or one after another where there are several.

    Args:
        path: the checkpoint.
        length: characters of each, at most.
        seed: of the first; those after it have the next numbers.
        num: how many texts.
        best_of: of so many, the likeliest is written.
        beam: width of a beam search instead; 0 is off.
        prime: what the texts start with; - is standard input.
        prime_file: a file that holds it instead.
        hide_prime: do not write it.
        unknown: what becomes of characters of the prime that the model does not know: error, skip or nearest.
        encoding: of `prime_file` and `corpus`; that of the training text without.
        choice: fields of `Choice`.
        rules: fields of `Rules` but for the next three.
        stop: texts that end each; see `unescaped`.
        pattern: an expression that each text matches.
        no_copy: runs of so many characters of `corpus` are not completed; 0 is off.
        corpus: a text that copies are looked for in.
        cite: say what of each text stands in it.
        output: a file; - and without, standard output.
        json: write a line of JSON for each text.
        probs: with the probability of each character.
    """
    read_once(prime, prime_file, corpus)
    run = loaded(path)
    encoding = encoding or run.config.data.encoding
    source = None if corpus is None else _in_ids_of(run, corpus, encoding)
    how = Rules(
        **rules,
        stop=tuple(_stop(run.vocab, text) for text in stop),
        pattern=None if pattern is None else Automaton(pattern, run.vocab),
        no_copy=_index(run, source, no_copy) if no_copy else None,
    )
    prime = _prime_of(run.vocab, prime, prime_file, encoding, unknown)
    start = begin(run.model, run.vocab, prime)
    first = secrets.randbits(32) if seed is None else seed
    shown, stuck = "" if hide_prime else prime, list[int]()
    with _opened(output, (path, corpus, prime_file)) as file:
        if num == best_of == 1 and not (beam or json or cite):
            rng = np.random.default_rng(first)
            _write_live(file, shown, generate(run.model, run.vocab, length, start, rng, Choice(**choice), how))
            return
        seeds = range(first, first + num * best_of)
        texts = _best(_texts(run, start, length, seeds, Choice(**choice), how, detailed=probs), best_of)
        if beam:
            texts = iter([(first, beam_search(run.model, run.vocab, start, length, beam, how))])
        for text_seed, text in texts:
            if text.stuck:
                stuck.append(text_seed)
                continue
            copied = _copied(text, run, source) if cite and source else None
            if json:
                cited = {"copied": copied} if copied else {}
                file.write(as_json({"seed": text_seed, "prime": prime, **_as_values(text, probs), **cited}) + "\n")
            else:
                _write_text(file, shown + text.text, copied, text_seed if num > 1 else None)
    if stuck:
        raise CharlstmError(f"{_seeds(stuck)}: {NO_WAY_ON}")


def _write_text(file: TextIO, text: str, copied: Mapping[str, Any] | None, seed: int | None) -> None:
    """Write a text, under its seed where it has one, and say what of it was copied."""
    if seed is not None:
        file.write(f"----- seed {seed}\n")
    file.write(text + (_line_end(text) if seed is not None or file.isatty() else ""))
    if copied:
        file.flush()
        say(_as_words(copied) if seed is None else f"seed {seed}: {_as_words(copied)}")


def _line_end(text: str) -> str:
    return "" if text.endswith("\n") else "\n"


def _seeds(stuck: Sequence[int]) -> str:
    some = ", ".join(map(str, stuck[:_SHOWN_SEEDS]))
    return f"{'seed' if len(stuck) == 1 else 'seeds'} {some}{', ...' if len(stuck) > _SHOWN_SEEDS else ''}"


def _stop(vocab: Vocab, text: str) -> str:
    stop = unescaped(text)
    try:
        vocab.encode(stop)
    except UnknownCharactersError as error:
        raise UsageError(f"--stop would never be met: {error}") from None
    return stop


def _in_ids_of(run: Checkpoint, path: str, encoding: str) -> Corpus:
    corpus = read_corpus(path, encoding)
    return Corpus(run.vocab, corpus.with_vocab(run.vocab)[0], corpus.sha256)


def _index(run: Checkpoint, source: Corpus | None, n: int) -> CopyIndex:
    """Return the index of all runs of n characters: that of a corpus, or the one that the checkpoint brings along."""
    if source is not None:
        return index_of(source.ids, n)
    if run.copies is None:
        raise UsageError("--no-copy needs --corpus FILE, the text that was trained on; or train with --no-copy-index N")
    if run.copies.n != n:
        raise UsageError(f"--no-copy {n}: the model knows runs of {run.copies.n}; give that, or --corpus FILE")
    return run.copies


def _texts(
    run: Checkpoint, start: Start, length: int, seeds: range, choice: Choice, rules: Rules, *, detailed: bool
) -> Iterator[tuple[int, Text]]:
    """Write texts in batches; yield each with its seed."""
    for first in range(0, len(seeds), _AT_ONCE):
        some = seeds[first : first + _AT_ONCE]
        rngs = [np.random.default_rng(seed) for seed in some]
        yield from zip(
            some, write_texts(run.model, run.vocab, start, length, rngs, choice, rules, detailed=detailed), strict=True
        )


def _best(texts: Iterator[tuple[int, Text]], best_of: int) -> Iterator[tuple[int, Text]]:
    """Yield of each so many texts the one whose characters are likeliest; one that is stuck only if all are."""
    while some := list(islice(texts, best_of)):
        yield max(some, key=lambda pair: (not pair[1].stuck, pair[1].mean))


def _write_live(file: TextIO, shown: str, pieces: Iterator[str]) -> None:
    """Write pieces as they come; on a terminal, at once, and end the last line."""
    live = file.isatty()
    file.write(shown)
    last = shown
    for last in pieces:
        file.write(last)
        if live:
            file.flush()
    if live:
        file.write(_line_end(last))


@contextmanager
def _opened(path: str | None, others: Sequence[str | None]) -> Iterator[TextIO]:
    """Give a file that takes the place of what stands at `path` when all is written; without, standard output.

    What is no ordinary file, such as a pipe or a device, is written to as it is.
    """
    if path is None or path == "-":
        yield sys.stdout
        return
    target = Path(os.path.realpath(path))
    for other in others:
        if other is not None and target == Path(os.path.realpath(other)):
            raise UsageError(f"--output {path} is {other} itself, which would be overwritten: name another file")
    ordinary = target.is_file() or not os.path.exists(path)
    written = temporary_beside(target) if ordinary else Path(path)
    try:
        if ordinary:
            written.unlink(missing_ok=True)  # what a killed process of the same number has left
        with as_exits(), open(written, "x" if ordinary else "w", **_AS_TEXT) as file:
            yield file
        if ordinary:
            os.replace(written, target)
    except OSError as error:
        raise UsageError(f"--output {path}: {error.strerror or error}") from None
    finally:
        if ordinary:
            written.unlink(missing_ok=True)


# ---- what is said about a text


def _as_values(text: Text, probs: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "text": text.text,
        "chars": text.chars,
        "log_probability": text.log_probability,
        "bits_per_char": bits(-text.mean),
    }
    if probs:
        values["probs"] = [
            {"char": character, "p": p, "rank": rank, "entropy": bits(entropy)}
            for character, p, rank, entropy in text.details
        ]
    return values


def _copied(text: Text, run: Checkpoint, source: Corpus) -> dict[str, Any]:
    """Return the longest run that a text shares with another, and in which line it stands there first."""
    at, length = longest_copy(run.vocab.encode(text.text), source.ids)
    copied = text.text[at : at + length]
    if not copied:
        return {"chars": 0, "line": None, "text": ""}
    corpus = source.vocab.decode(source.ids)
    return {"chars": length, "line": corpus.count("\n", 0, corpus.find(copied)) + 1, "text": copied}


def _as_words(copied: Mapping[str, Any]) -> str:
    if not copied["chars"]:
        return "nothing of it stands in the corpus"
    shown = copied["text"] if copied["chars"] <= _SHOWN_CHARS else copied["text"][: _SHOWN_CHARS - 3] + "..."
    return f"longest run of the corpus: {copied['chars']} characters, line {copied['line']:,}: '{printable(shown)}'"


# ---- what it starts with


def _prime_of(vocab: Vocab, prime: str, file: str | None, encoding: str, unknown: str) -> str:
    given = _standard_input() if prime == "-" else prime
    text = unix_newlines(given) if file is None else _from_file(file, encoding)
    try:
        text.encode()
        return vocab.adapt(text, unknown)
    except UnicodeEncodeError:
        raise UsageError("--prime: not UTF-8") from None
    except UnknownCharactersError as error:
        raise UsageError(f"--prime: {error}; --unknown skip leaves them out") from None


def _from_file(path: str, encoding: str) -> str:
    try:
        corpus = read_corpus(path, encoding)
    except CharlstmError as error:
        raise UsageError(f"--prime-file: {error}") from None
    return corpus.vocab.decode(corpus.ids)


def _standard_input() -> str:
    if sys.stdin is None:
        raise UsageError("--prime - reads from standard input, but that is closed")
    if sys.stdin.isatty():
        raise UsageError("--prime - reads from standard input, but that is a terminal: pipe or redirect a text into it")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"--prime -: standard input is not UTF-8 (byte {error.start})") from None
