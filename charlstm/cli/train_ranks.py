"""`charlstm train` on several ranks: what they check, send to one another, and do in step."""

import dataclasses
import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import charlstm
from charlstm.cli.inputs import read_texts
from charlstm.cli.output import warnings_to
from charlstm.cli.requests import TrainRequest
from charlstm.cli.signals import StoppedError, collected
from charlstm.errors import UsageError
from charlstm.network.char_lstm import CharLSTM
from charlstm.network.ranks import Ranks
from charlstm.storage.run import Run
from charlstm.text.corpus import Fingerprint
from charlstm.text.sources import expand
from charlstm.training.loop import Report, train


def check_alike(
    request: TrainRequest, values: Mapping[str, Any] | None, flags: Mapping[str, Any], ranks: Ranks
) -> None:
    """Check that all ranks have the same version, arguments and settings, and texts that all of them can read."""
    given = {**dataclasses.asdict(request), **(values or {}), **flags}
    ranks.compare({"charlstm": charlstm.__version__, **{name: str(value) for name, value in given.items()}})
    for path in expand(request.corpus):
        is_stored = os.path.isfile(path) or os.path.isdir(path)
        if path == "-" or (os.path.exists(path) and not is_stored):
            what = "standard input (-)" if path == "-" else f"data from {path}"
            raise UsageError(f"under mpiexec, {what} reaches only one rank; use a file that all ranks can read")


@contextmanager
def announcing(ranks: Ranks | None) -> Iterator[Callable[[Run, Fingerprint], None]]:
    """Yield a function that sends a run to the other ranks. If an error occurs first, send the error instead."""
    announced = ranks is None

    def announce(run: Run, corpus: Fingerprint) -> None:
        nonlocal announced
        if not announced and ranks:
            announced = True
            ranks.announce((dataclasses.replace(run, dataset=None), corpus))

    try:
        yield announce
    except BaseException as error:
        if not announced and ranks:
            ranks.announce(error)
        raise


def follow(request: TrainRequest, ranks: Ranks) -> int:
    """Train as one of the ranks that neither print nor write; return the exit code."""
    run = _receive_run(request, ranks)
    if run.training is None:
        return 0
    with collected() as received, warnings_to(lambda line: None):
        for _ in reports(run, received, ranks):
            pass
        ranks.gather("saved")
    return 128 + received[0] if run.training else 0


def _receive_run(request: TrainRequest, ranks: Ranks) -> Run:
    """Return the run that rank 0 announces, with the corpus as this rank reads it."""
    run: Run
    run, started_with = ranks.receive()
    if run.training is None:
        return run
    reading = run.config.data.reading
    try:
        corpus = read_texts(request.corpus, reading, output=request.output, may_write=False, quiet=True)
    except StoppedError as stopped:
        ranks.compare(stopped)  # rank 0 waits for this, then removes its files
        raise
    run.fingerprint = corpus.fingerprint
    compare_corpora(run, ranks)
    run.fingerprint = started_with  # it may have been another corpus, with --force
    run.use_corpus(corpus, force=request.force)
    return run


def compare_corpora(run: Run, ranks: Ranks) -> None:
    """Check that all ranks read the same corpus."""
    corpus = run.fingerprint
    ranks.compare({"a corpus of": f"{corpus.chars:,} characters (SHA-256 {corpus.sha256[:8]}...)"})


def reports(run: Run, received: list[int], ranks: Ranks | None) -> Iterator[Report]:
    """Yield the reports of a run until its end, or until a signal, which stops all ranks after the same step."""
    for report in train(run, ranks=ranks):
        yield report
        if report.evaluation and ranks:
            assert run.training is not None
            _compare_weights(run.training.network, ranks)
        signals = ranks.gather(received[:1]) if ranks else [received[:1]]
        if any(signals) and report.progress < 1:
            received += itertools.chain(*signals)
            return


def _compare_weights(network: CharLSTM, ranks: Ranks) -> None:
    """Check that all ranks still have the same weights, which drift apart if processors round differently."""
    checksum = 0
    for param in network.params.values():
        checksum = zlib.crc32(param.data, checksum)
    advice = "processors that differ may round differently; use machines of the same kind"
    ranks.compare({"weights with checksum": f"{checksum:08x}"}, advice)
