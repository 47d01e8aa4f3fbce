"""`charlstm train`: the run, the signals that stop it, and the file that holds it."""

import os
import shlex
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from charlstm.advice import advised
from charlstm.checkpoint import Checkpoint, load, remove_stale, save, temporary_beside
from charlstm.cli.display import Display, Log, Spikes, say
from charlstm.cli.signals import as_exits, collected
from charlstm.cli.words import conclude, finish, introduce
from charlstm.config import LIMITS, Config
from charlstm.copying import index_of
from charlstm.corpus import Corpus, read_corpus
from charlstm.errors import CharlstmError, UsageError
from charlstm.filters import Choice
from charlstm.lock import locked
from charlstm.sampling import generate
from charlstm.training import Report, batches_of, is_over, out_of_patience, start, train

_SAVE_EVERY_S = 60.0  # and at each evaluation
_SAMPLE_CHARS = 200


def run_training(
    paths: Sequence[str],
    out: str,
    values: Mapping[str, Any] | None,
    flags: Mapping[str, Any],
    *,
    resume: bool,
    force: bool,
    log: str | None,
    quiet: bool,
) -> int:
    """Train, show how it goes, keep `out` up to date; return the exit code.

    Args:
        paths: the texts.
        out: the checkpoint to write, or to go on with.
        values: settings from a YAML file or preset; without, what suits the text.
        flags: settings given as flags.
        resume: go on with `out`.
        force: overwrite `out`; with `resume`, accept another text.
        log: file for JSON lines.
        quiet: show nothing.
    """
    _check_paths(paths, out, log, resume=resume, force=force)
    with as_exits(), locked(out):
        remove_stale(out)
        _try_to_write(out)
        if resume:
            chosen: Mapping[str, Any] = {}
            run, corpus = _taken_up(paths, out, values or {}, flags, force=force)
        else:
            run, corpus, chosen = _begun(paths, values, flags, quiet=quiet)
        to_go_on = _command_to_go_on(paths, out, log, quiet)
        return _run(run, corpus, chosen, out, Log(log), to_go_on, quiet=quiet)


def _run(
    run: Checkpoint,
    corpus: Corpus,
    chosen: Mapping[str, Any],
    out: str,
    log_file: Log,
    to_go_on: str,
    *,
    quiet: bool,
) -> int:
    """Train from where a run is, to its end or a signal; return the exit code."""
    display = Display(quiet, (run.best or {}).get("val_loss"))
    if run.progress is None:
        finish(display, run, out, "is finished already")
        return 0
    introduce(display, run, corpus, chosen)
    with collected() as received, _warnings_to(display.say):
        try:
            _train(run, corpus, out, display, log_file, received)
        finally:
            display.close()
            log_file.close()
        save(run, out)
    if run.progress is None:
        conclude(display, run, corpus)
        finish(display, run, out, "is finished")
        return 0
    display.say(f"Stopped after step {run.progress.step:,} and saved as {out}. To go on:")
    display.say(f"    {to_go_on}")
    return 128 + received[0]


def _begun(
    paths: Sequence[str], values: Mapping[str, Any] | None, flags: Mapping[str, Any], *, quiet: bool
) -> tuple[Checkpoint, Corpus, Mapping[str, Any]]:
    """Return a new run, its text, and the settings that were chosen for it."""
    config = Config().replace(**(values or {})).replace(**flags)
    corpus = read_corpus(paths, config.data.encoding)
    chosen: Mapping[str, Any] = {}
    if values is None:
        with _warnings_to((lambda line: None) if quiet else say):
            chosen = advised(corpus, flags)
    return start(config.replace(**chosen), corpus), corpus, chosen


def _taken_up(
    paths: Sequence[str], out: str, values: Mapping[str, Any], flags: Mapping[str, Any], *, force: bool
) -> tuple[Checkpoint, Corpus]:
    """Return a run that goes on, and its text."""
    run = _resumed(out, values, flags)
    corpus = _matched(run, read_corpus(paths, run.config.data.encoding), force=force)
    _refuse_end_in_the_past(run, corpus, out, flags)
    return run, corpus


def _train(run: Checkpoint, corpus: Corpus, out: str, display: Display, log: Log, received: Sequence[int]) -> None:
    """Train until the end, or until a signal has been received."""
    assert run.progress is not None
    chars_per_step = batches_of(run.config, corpus.split(run.config.data.val_fraction)[0]).chars
    saved_at = time.monotonic()
    since = (run.progress.step * chars_per_step, run.progress.elapsed_s)  # chars and seconds at the evaluation before
    skipped, spikes = 0, Spikes()
    for report in train(run, corpus):
        skipped += report.skipped
        spikes.see(report)
        if report.rescued:
            step = run.best["step"] if run.best else 0
            display.say(
                f"The loss or the weights were not finite any more at step {report.step:,}: "
                f"going on from the weights of step {step:,} at half the learning rate"
            )
        chars_per_s = (report.chars - since[0]) / max(report.elapsed_s - since[1], 1e-9)
        display.step(report, chars_per_s)
        if report.evaluated:
            display.evaluation(report, chars_per_s, "" if display.quiet else _sample(run, report))
            since = report.chars, report.elapsed_s
            if skipped:
                display.say(f"{skipped} updates were skipped, because their gradients were not finite")
                skipped = 0
            if words := spikes.told():
                display.say(words)
        if report.evaluated or time.monotonic() - saved_at > _SAVE_EVERY_S:
            save(run, out)
            saved_at = time.monotonic()
        if report.evaluated:
            log.write(report, chars_per_s)
        if received and report.progress < 1:
            return
    if out_of_patience(run):
        display.say(f"Ended early: no evaluation in the last {run.config.train.patience} was better (--patience)")


def _sample(run: Checkpoint, report: Report) -> str:
    assert run.progress is not None
    rng = np.random.default_rng([run.config.train.seed, report.step])
    return "".join(generate(run.progress.model, run.vocab, _SAMPLE_CHARS, "", rng, Choice(0.8)))


@contextmanager
def _warnings_to(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell warnings as lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: tell(str(message))
        yield


def _check_paths(paths: Sequence[str], out: str, log: str | None, *, resume: bool, force: bool) -> None:
    """Refuse files that cannot be written, or should not, before anything is done."""
    for flag, written, others in (("--out", out, paths), ("--log", log, (*paths, out))):
        for other in others:
            if written is not None and os.path.realpath(written) == os.path.realpath(other):
                raise UsageError(f"{flag} {written} is {other} itself, which would be overwritten: name another file")
    target = Path(os.path.realpath(out))
    if target.is_dir():
        raise UsageError(f"--out {out} is a folder; name a file in it, such as {Path(out) / 'model.npz'}")
    if resume and not target.exists():
        raise UsageError(f"--resume: there is no {out} to go on with; leave --resume out to start")
    if target.exists() and not (resume or force):
        raise UsageError(f"{out} exists: --resume goes on with it, --force overwrites it, -o names another file")
    if target.exists() and not target.is_file():
        raise UsageError(f"--out {out} is not an ordinary file: name another")
    if not target.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {target.parent}")


def _try_to_write(out: str) -> None:
    """Refuse an output that cannot be written before anything else is done."""
    try:
        temporary = temporary_beside(Path(os.path.realpath(out)))
        try:
            temporary.touch(exist_ok=False)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: nothing can be written there: {error.strerror or error}") from None


def _resumed(out: str, values: Mapping[str, Any], flags: Mapping[str, Any]) -> Checkpoint:
    """Load a run; let only the place where it ends be changed, and how many cores it uses, and only by a flag."""
    run = load(out)
    kept = {name: value for name, value in values.items() if name not in (*LIMITS, "threads")}
    config = run.config.replace(**kept).replace(**flags)
    ours, theirs = run.config.shown(), config.shown()
    for name, value in theirs.items():
        if name not in (*LIMITS, "threads") and value != ours[name]:
            raise UsageError(
                f"--resume: {out} was started with {name} {ours[name]}, not {value}; "
                "leave that out to go on, or start anew with another --out"
            )
    run.config = config
    return run


def _matched(run: Checkpoint, corpus: Corpus, *, force: bool) -> Corpus:
    """Return the corpus in the ids of the run's vocabulary, once it is clear that it is the right one."""
    if corpus.sha256 == run.corpus["sha256"]:
        return corpus
    if not force:
        raise CharlstmError(
            f"the text is another one than the run was started with ({len(corpus.ids):,} characters instead of "
            f"{run.corpus['chars']:,}): give the same files in the same order, or --force to go on with this one"
        )
    ids, unknown = corpus.with_vocab(run.vocab)
    if unknown:
        raise CharlstmError(f"the text has {unknown:,} characters that the model does not know: start a new run for it")
    run.corpus = {"chars": len(ids), "sha256": corpus.sha256}
    run.best, run.history = None, []  # what was good was so on the other text
    if run.progress:
        run.model = run.progress.model.copy()
    if run.copies:
        run.copies = index_of(ids, run.copies.n)
    return Corpus(run.vocab, ids, corpus.sha256)


def _refuse_end_in_the_past(run: Checkpoint, corpus: Corpus, out: str, flags: Mapping[str, Any]) -> None:
    limit = next((name for name in LIMITS if name in flags), None)
    if limit is None or not is_over(run, corpus):
        return
    if run.progress is None:
        raise UsageError(
            f"--resume: {out} is finished, and cannot be taken further; start a new run with another --out"
        )
    so_far = f"step {run.progress.step:,}, after {run.progress.elapsed_s:.0f}s"
    raise UsageError(f"--resume: {out} is at {so_far}, past --{limit} {run.config.shown()[limit]}: give a larger one")


def _command_to_go_on(paths: Sequence[str], out: str, log: str | None, quiet: bool) -> str:
    files = [f"./{path}" if path.startswith("-") and path != "-" else path for path in paths]
    extras = (["--log", log] if log else []) + (["--quiet"] if quiet else [])
    piped = "    (with the same text on standard input)" if "-" in paths else ""
    return shlex.join(["charlstm", "train", *files, "-o", out, *extras, "--resume"]) + piped
