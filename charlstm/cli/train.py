"""`charlstm train`: the run, the signals that stop it, and the file that holds it."""

import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any

from charlstm.cli.display import Display, SpikeDetector
from charlstm.cli.inputs import prepare_kernel, read_texts
from charlstm.cli.log import Log, is_log, read_log
from charlstm.cli.mpi import report_death
from charlstm.cli.options import More
from charlstm.cli.output import say, warnings_to
from charlstm.cli.requests import TrainRequest, is_model
from charlstm.cli.resources import check_resources
from charlstm.cli.signals import as_exits, collected
from charlstm.cli.summary import conclude, describe_base, finish, introduce
from charlstm.cli.train_ranks import announcing, check_alike, compare_corpora, follow, reports
from charlstm.config.settings import LIMITS, Config
from charlstm.errors import UsageError
from charlstm.network.ranks import Ranks
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.atomic import remove_stale, temporary_path
from charlstm.storage.checkpoint import load, load_run
from charlstm.storage.ids_file import discard, ids_path, is_ids_file
from charlstm.storage.lock import locked
from charlstm.storage.run import Run
from charlstm.text.corpus import Dataset, Fingerprint
from charlstm.training.advice import advise, measure_speed
from charlstm.training.loop import (
    Report,
    batches_for,
    check_streams,
    epochs_of,
    extend,
    is_out_of_patience,
    is_over,
    new_run,
)
from charlstm.training.transfer import size_of, suggest_base

_SAVE_EVERY_S = 60.0  # and at each evaluation
_SAMPLE_CHARS = 200
_MIN_SAMPLE_CHARS = 20
_SAMPLE_FRACTION = 0.02  # of the time since the previous evaluation that a sample may take
_CHANGEABLE = (*LIMITS, "patience", "threads", "kernel")  # settings that a resumed run may change, by a flag


def run_training(
    request: TrainRequest, values: Mapping[str, Any] | None, flags: Mapping[str, Any], ranks: Ranks | None = None
) -> int:
    """Train, show the progress, keep the output up to date; return the exit code.

    Args:
        request: the arguments and flags of the command.
        values: settings from a YAML file or preset; None to choose those that suit the corpus.
        flags: settings given as flags.
        ranks: the processes that train together, if there are several. Only the first prints and writes.
    """
    with as_exits():
        if ranks is not None:
            check_alike(request, values, flags, ranks)
            if ranks.rank:
                return follow(request, ranks)
        with announcing(ranks) as announce:
            return _lead(request, values, flags, ranks, announce)


def _lead(
    request: TrainRequest,
    values: Mapping[str, Any] | None,
    flags: Mapping[str, Any],
    ranks: Ranks | None,
    announce: Callable[[Run, Fingerprint], None],
) -> int:
    """Train as the only process, or as the first of several; return the exit code."""
    _check_paths(request)
    with locked(request.output):
        remove_stale(request.output)
        _check_writable(request.output)
        chosen: Mapping[str, Any] = {}
        unfinished = request.resume
        try:
            if request.resume:
                run, corpus = _resume(request, values or {}, flags, ranks)
            else:
                run, chosen = _start(request, values, flags, ranks)
                corpus = run.fingerprint
            log = Log(request.log)
            announce(run, corpus)
            unfinished = True  # also if it fails, once it has been saved
            was_finished = run.training is None
            code = _run(request, run, chosen, log, ranks)
            unfinished = was_finished or run.training is not None
        finally:
            if not (request.keep_ids or (unfinished and os.path.exists(request.output))):
                discard(request.output)
        return code


def _run(request: TrainRequest, run: Run, chosen: Mapping[str, Any], log: Log, ranks: Ranks | None) -> int:
    """Train until the end of the run or a signal; return the exit code."""
    display = Display(request.quiet, run.history)
    if run.training is None:
        finish(display, run, request.output, "is already finished")
        more = ("--time", "+5m", *(("--patience", "0") if is_out_of_patience(run) else ()))
        display.say(f"To train it further:\n    {_resume_command(request, ranks, *more)}")
        return 0
    assert run.dataset is not None
    if ranks:
        compare_corpora(run, ranks)
        display.say(f"Training on {ranks.size} ranks, {ranks.on_machine} of them on this machine")
    baselines = introduce(display, run, run.dataset, chosen)
    display.compare_with(baselines)
    if request.resume:
        display.say(f"Resuming at step {run.training.step:,}")
    with collected() as received, warnings_to(display.say), _resume_hint(request, ranks):
        try:
            _train(run, request.output, display, log, received, ranks)
        finally:
            display.close()
            log.close()
        run.save(request.output)
        if ranks:
            ranks.gather("saved")
    if run.training is None:
        conclude(display, run, run.dataset, baselines)
        finish(display, run, request.output, "is finished")
        return 0
    display.say(f"Stopped after step {run.training.step:,} and saved to {request.output}. To resume:")
    display.say(f"    {_resume_command(request, ranks)}")
    if run.best is None:
        display.say("It has not been evaluated: until it is resumed, samples come from its initial weights")
    return 128 + received[0]


def _resume_hint(request: TrainRequest, ranks: Ranks | None) -> AbstractContextManager[None]:
    """Print how to resume the run if this rank is killed."""
    if ranks is None:
        return nullcontext()
    return report_death(request.output, _resume_command(request, ranks))


# ---- starting or resuming a run


def _start(
    request: TrainRequest, values: Mapping[str, Any] | None, flags: Mapping[str, Any], ranks: Ranks | None
) -> tuple[Run, Mapping[str, Any]]:
    """Return a new run, and the settings that were chosen for it."""
    if any(isinstance(flag, More) for flag in flags.values()):
        raise UsageError("a limit with a plus sign extends a run; use it with --resume")
    config = Config().replace(**(values or {})).replace(**flags)
    model = None if request.init_from is None else load(request.init_from)
    if model is not None:
        size = size_of(model, {name: config.values()[name] for name in {**(values or {}), **flags}})
        config, flags = config.replace(**size), {**flags, **size}
    data = config.data
    dataset = read_texts(request.corpus, data.reading, output=request.output, quiet=request.quiet).prepare(data)
    if not request.quiet:
        _say_base(request, model, dataset, {**(values or {}), **flags})
    chosen: Mapping[str, Any] = {}
    with warnings_to((lambda line: None) if request.quiet else say):
        kernel = _prepare_kernel(config, request)
        if values is None:
            chosen = _advise(dataset, {**flags, "kernel": kernel}, ranks, model)
    config = config.replace(kernel=kernel, **chosen)
    check_resources(config, dataset, request.output, ranks)
    if ranks:
        check_streams(config, batches_for(config, dataset), ranks)
    return new_run(config, dataset, model, request.init_from or ""), chosen


def _say_base(request: TrainRequest, model: LanguageModel | None, dataset: Dataset, given: Mapping[str, Any]) -> None:
    """Describe the model that the run starts from; without one, suggest the bundled model where it helps."""
    if model is not None:
        say(describe_base(request.init_from or "", model, dataset))
    elif not given.keys() & {"hidden_size", "num_layers"}:
        for suggestion in suggest_base(dataset):
            say(suggestion)


def _advise(
    dataset: Dataset, given: Mapping[str, Any], ranks: Ranks | None, model: LanguageModel | None
) -> dict[str, Any]:
    """Return the settings that suit the corpus."""
    if ranks is None:
        return advise(dataset, given, base=model)
    cores = ranks.cores

    def measure_rank(config: Config, dataset: Dataset) -> float:
        return measure_speed(config.replace(threads=min(config.train.threads or cores, cores)), dataset)

    return advise(dataset, given, measure_rank, ranks.size, model)


def _resume(
    request: TrainRequest, values: Mapping[str, Any], flags: Mapping[str, Any], ranks: Ranks | None
) -> tuple[Run, Fingerprint]:
    """Return the run in the output file, with its corpus, and the fingerprint of its previous corpus.

    Only flags may change its limits, its number of cores and its kernel.
    """
    run = load_run(request.output)
    started_with = run.fingerprint
    added = {name: flag.value for name, flag in flags.items() if isinstance(flag, More)}
    flags = {name: flag for name, flag in flags.items() if name not in added}
    kept = {name: value for name, value in values.items() if name not in _CHANGEABLE}
    config = run.config.replace(**kept).replace(**flags)
    if "kernel" in flags:
        config = config.replace(kernel=_prepare_kernel(config, request))
    old = run.config.format()
    for name, value in config.format().items():
        if name not in _CHANGEABLE and value != old.get(name):
            started = f"with {name} {old[name]}, not {value}" if name in old else f"without {name}"
            raise UsageError(
                f"--resume: {request.output} was started {started}; "
                "omit that setting, or start a new run with another --output"
            )
    run.use_corpus(
        read_texts(request.corpus, config.data.reading, output=request.output, quiet=request.quiet), force=request.force
    )
    limit = _only_limit({**flags, **added})
    is_new = limit is not None and (run.training is None or limit in added or config.format()[limit] != old.get(limit))
    if run.training is None and limit:
        extend(run, _logged_seconds(request.log))
    run.config = config
    if run.training is not None and run.dataset is not None:
        done = {"steps": run.training.step, "epochs": epochs_of(run), "time": run.training.elapsed_s}
        run.config = config.replace(**{name: done[name] + more for name, more in added.items()})
        check_resources(run.config, run.dataset, request.output, ranks)
        if ranks:
            check_streams(run.config, batches_for(run.config, run.dataset), ranks)
    if limit and is_new:  # a run killed at its old limit only needs its final save
        _refuse_past_limit(run, request.output, limit)
    return run, started_with


def _only_limit(flags: Mapping[str, Any]) -> str | None:
    """Return the name of the limit among some flags, which may have a plus sign; None if there is none."""
    limits = [name for name in LIMITS if name in flags]
    if len(limits) > 1:
        raise UsageError(f"{' and '.join(limits)} are mutually exclusive; give only one of them")
    return limits[0] if limits else None


def _logged_seconds(log: str | None) -> float:
    """Return how long a run has trained according to its log; 0 without one."""
    entries = read_log(log) if log is not None and os.path.isfile(log) else []
    return entries[-1].elapsed_s if entries else 0.0


def _prepare_kernel(config: Config, request: TrainRequest) -> str:
    """Return the kernel to train with."""
    kernel = prepare_kernel(config.train.kernel, config.model.hidden_size, quiet=request.quiet)
    if config.train.kernel == "auto" and find_spec("numba") is None and not request.quiet:
        say("Training is up to twice as fast with Numba: pip install numba")
    return kernel


def _train(run: Run, out: str, display: Display, log: Log, received: list[int], ranks: Ranks | None) -> None:
    """Train until the end of the run, or until a signal is received."""
    assert run.training is not None
    assert run.dataset is not None
    saved_at = time.monotonic()
    chars = batches_for(run.config, run.dataset).chars_after(run.training.step)
    since = (chars, run.training.elapsed_s)  # the previous evaluation
    skipped, spikes, complete = 0, SpikeDetector(), is_over(run)
    for report in reports(run, received, ranks):
        skipped += report.skipped
        complete = report.progress >= 1
        spikes.read(report)
        if report.rolled_back:
            best = run.best.step if run.best else 0
            display.say(
                f"Training diverged at step {report.step:,}: continuing from the weights at step {best:,}, with half "
                "the learning rate"
            )
        chars_per_s = (report.chars - since[0]) / max(report.elapsed_s - since[1], 1e-9)
        display.step(report, chars_per_s)
        if report.evaluation:
            seconds = _SAMPLE_FRACTION * (report.elapsed_s - since[1])
            text = "" if display.quiet else _sample(run, report, seconds)
            display.evaluation(report, report.evaluation, chars_per_s, text)
            since = (report.chars, report.elapsed_s)
            if skipped:
                display.say(f"Updates skipped because their gradients were not finite: {skipped}")
                skipped = 0
            if message := spikes.message():
                display.say(message)
        if report.evaluation or time.monotonic() - saved_at > _SAVE_EVERY_S:
            run.save(out)
            saved_at = time.monotonic()
        if report.evaluation:
            log.write(report.evaluation, report.elapsed_s, chars_per_s)
    if is_out_of_patience(run) and not complete:
        display.say(f"Stopped early: no improvement (--patience {run.config.train.patience})")


def _sample(run: Run, report: Report, seconds: float) -> str:
    """Return a sample from the current weights, cut short after some seconds, but not within its first characters."""
    assert run.training is not None
    deadline = time.monotonic() + seconds
    model = LanguageModel(run.training.network, run.model.vocab)
    pieces = islice(_stream(model, (run.config.train.seed, report.step)), _SAMPLE_CHARS)
    return "".join(islice(pieces, _MIN_SAMPLE_CHARS)) + "".join(
        takewhile(lambda _: time.monotonic() < deadline, pieces)
    )


def _stream(model: LanguageModel, seed: tuple[int, int]) -> Iterator[str]:
    """Yield a text, or one document after another."""
    for n in count():
        yield from model.stream(length=_SAMPLE_CHARS, seed=(*seed, n) if n else seed)
        if model.vocab.boundary_id is None:
            return
        yield "\n"


def _check_paths(request: TrainRequest) -> None:
    """Reject files that cannot be written, or should not be, before anything is done."""
    out, corpus, ids = request.output, request.corpus, ids_path(request.output)
    if models := [path for path in corpus if is_model(path) and not path.startswith("@")]:
        raise UsageError(
            f"train takes texts, not models such as {models[0]}; to resume that run, give its corpus: "
            f"{shlex.join(['charlstm', 'train', 'corpus.txt', '-o', models[0], '--resume'])}"
        )
    for flag, written, others in (("--output", out, corpus), ("--log", request.log, (*corpus, out, str(ids)))):
        for other in others:
            if written is not None and os.path.realpath(written) == os.path.realpath(other):
                raise UsageError(f"{flag} {written} would overwrite {other}; choose another file")
    for directory in filter(os.path.isdir, corpus):
        if request.log is not None and Path(os.path.realpath(directory)) in Path(os.path.realpath(request.log)).parents:
            raise UsageError(f"--log {request.log} is in {directory}, which is part of the corpus; choose another")
    target = Path(os.path.realpath(out))
    if target.is_dir():
        raise UsageError(f"--output {out} is a directory; name a file in it, such as {Path(out) / 'model.npz'}")
    if request.resume and request.init_from is not None:
        raise UsageError("--init-from starts a new run; omit it to resume one")
    if request.resume and not target.exists():
        raise UsageError(f"--resume: {out} does not exist; omit --resume to start a new run")
    if target.exists() and not (request.resume or request.force):
        raise UsageError(
            f"{out} already exists; use --resume to resume it, --force to overwrite it, or another --output"
        )
    if target.exists() and not target.is_file():
        raise UsageError(f"--output {out} is not a regular file; choose another")
    if os.path.exists(ids) and not (request.resume or is_ids_file(ids)):
        raise UsageError(f"--output {out} may overwrite {ids.name}, which is not an ids file; choose another")
    if not target.parent.is_dir():
        raise UsageError(f"--output {out}: directory {target.parent} does not exist")
    if request.log is not None and not (folder := Path(os.path.realpath(request.log)).parent).is_dir():
        raise UsageError(f"--log {request.log}: directory {folder} does not exist")
    if request.log and os.path.isfile(request.log) and os.path.getsize(request.log) and not is_log(request.log):
        raise UsageError(f"--log {request.log} exists and is not a log; choose another file")


def _check_writable(out: str) -> None:
    """Reject an output that cannot be written before anything else is done."""
    try:
        temporary = temporary_path(Path(os.path.realpath(out)))
        try:
            temporary.touch(exist_ok=False)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"--output {out} cannot be written: {error.strerror or error}") from None


def _refuse_past_limit(run: Run, out: str, limit: str) -> None:
    """Reject a limit that leaves nothing to do."""
    assert run.training is not None
    if is_out_of_patience(run):
        stopped = f"{out} stopped early (--patience {run.config.train.patience})"
        raise UsageError(f"--resume: {stopped}; add --patience 0 to train it further")
    if is_over(run):
        so_far = f"step {run.training.step:,}, {run.training.elapsed_s:.0f}s"
        passed = f"--{limit} {run.config.format()[limit]}"
        raise UsageError(f"--resume: {out} has already reached {passed} ({so_far}); choose a larger limit")


def _resume_command(request: TrainRequest, ranks: Ranks | None, *limit: str) -> str:
    launcher = ["mpiexec", "-n", str(ranks.size)] if ranks else []
    files = [f"./{path}" if path.startswith("-") and path != "-" else path for path in request.corpus]
    extras = ["--log", request.log] if request.log else []
    extras += [flag for flag, given in (("--keep-ids", request.keep_ids), ("--quiet", request.quiet)) if given]
    piped = "    (with the same text on standard input)" if "-" in request.corpus else ""
    return (
        shlex.join([*launcher, "charlstm", "train", *files, "-o", request.output, *extras, "--resume", *limit]) + piped
    )
