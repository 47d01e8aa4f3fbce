"""The training loop: a generator of reports over a checkpoint that goes on where it stopped. No I/O."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from charlstm.batches import Batches, IntArray, Window, fitted
from charlstm.checkpoint import MOST_RESCUES, Checkpoint, Progress
from charlstm.config import Config, TrainConfig
from charlstm.copying import index_of
from charlstm.corpus import Corpus
from charlstm.errors import CharlstmError
from charlstm.layers import Params
from charlstm.model import CharLSTM, State, new_model
from charlstm.optim import Optimizer, average_into, clip_by_global_norm, learning_rate_at
from charlstm.vocab import Ids
from charlstm.workers import Workers, available_cores
from charlstm.workspace import Floats

_MOST_SKIPPED = 20  # updates in a row without a finite gradient, after which there is no hope
_MOST_GRADIENT = 1e18  # norm of a gradient after clipping, of which the square is still a number
_WORSE_THAN_GUESSING = 1.0  # nats above those of guessing among all characters alike: weights that have blown up
_EVAL_STREAMS = 64
_EVAL_WARM_UP = 128  # characters
_EVAL_WINDOW = 64
_ADVICE = "start anew with a lower learning_rate, with clip_norm: 1, or with less l2 or weight_decay"
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Report:
    """One step of training.

    Attributes:
        step: windows seen so far.
        epoch: passes over the training text so far, with the fraction of the current one.
        chars: characters trained on so far.
        progress: the share of the run that is done, 0 to 1.
        elapsed_s: seconds of training so far, those before a resumption included.
        loss: of this window, in nats per character.
        grad_norm: of this window, before clipping.
        learning_rate: of this update.
        skipped: whether there was no update, because the gradient was not finite.
        rescued: whether the run went back to its best weights, because gradients or weights stayed not finite; from
            here on it has half the learning rate.
        evaluated: whether this step ends with an evaluation; only then the following are there:
        train_loss: mean since the evaluation before, in nats per character.
        val_loss: of the validation text, in nats per character; None where there is none.
        is_best: whether these are the best weights so far.
    """

    step: int
    epoch: float
    chars: int
    progress: float
    elapsed_s: float
    loss: float
    grad_norm: float
    learning_rate: float
    skipped: bool
    rescued: bool = False
    evaluated: bool = False
    train_loss: float | None = None
    val_loss: float | None = None
    is_best: bool = False


def start(config: Config, corpus: Corpus) -> Checkpoint:
    """Return a run that has not taken a step yet.

    Raises:
        CharlstmError: nothing can be learnt from this text.
    """
    if len(corpus.vocab) < 2:
        raise CharlstmError("the text consists of one character, again and again: there is nothing to learn")
    batches = batches_of(config, corpus.split(config.data.val_fraction)[0])
    rng = np.random.default_rng(config.train.seed)
    model = new_model(config.model, len(corpus.vocab), rng)
    progress = Progress(model, Optimizer(model.params, config.train), model.zero_state(batches.batch_size), rng)
    if config.train.average:
        progress.average = model.copy().params
    fingerprint = {"chars": len(corpus.ids), "sha256": corpus.sha256}
    copies = index_of(corpus.ids, config.data.no_copy_index) if config.data.no_copy_index else None
    return Checkpoint(config, corpus.vocab, model.copy(), fingerprint, progress=progress, copies=copies)


def batches_of(config: Config, ids: Ids) -> Batches:
    """Return the batches of a training text, smaller than the settings say where it is too short for them."""
    return fitted(ids, config.train.batch_size, config.train.seq_len)


def validation_part(config: Config, val_ids: Ids) -> Ids:
    """Return as much of the validation text as is evaluated while training."""
    return val_ids[: max(config.train.eval_chars, 2) if config.train.eval_chars else None]


def train(
    run: Checkpoint, corpus: Corpus, clock: Callable[[], float] = time.monotonic
) -> Generator[Report, None, None]:
    """Train, one window per report, until the end that the settings name; then drop what only training needs.

    Between two reports `run` is consistent: save it, and the rest can be trained later, with the same result to the bit
    (except that a run limited by time depends on the clock).

    Args:
        run: from `start`, or loaded; changed as training goes on.
        corpus: the text, in the ids of `run.vocab`.
        clock: seconds that only go forward.

    Raises:
        CharlstmError: gradients or weights did not stay finite, or nothing was learnt, or there is no text to train on.
    """
    progress, config = run.progress, run.config.train
    if progress is None:
        return
    train_ids, val_ids = corpus.split(run.config.data.val_fraction)
    val_ids = validation_part(run.config, val_ids)
    batches = batches_of(run.config, train_ids)
    if progress.state.h.shape[1] != batches.batch_size:  # the text is another one, and shorter or longer
        progress.state = progress.model.zero_state(batches.batch_size)
    cores = available_cores()
    with Workers(progress.model, min(config.threads or cores, cores)) as workers:
        yield from _steps(run, progress, batches, val_ids, workers, clock)
    run.progress = None


def evaluate(model: CharLSTM | Workers, ids: Ids, streams: int = 1) -> float:
    """Return the loss of a text in nats per character, given only what stands before each.

    With one stream, the state starts at zero and is carried over the whole text: this defines the loss of a text. More
    streams read as many parts of it at the same time, each from 128 characters before its part, where the state starts
    at zero; that is faster, and the loss is the same to within 1e-3.

    Args:
        model: predicts.
        ids: the text, at least two characters; the first only starts the state.
        streams: parts read side by side.
    """
    losses = _read_in_parts(model.loss, model.zero_state, ids, streams)
    return sum(loss * at.size for at, loss in losses) / (len(ids) - 1)


def surprises(model: CharLSTM, ids: Ids, streams: int = 1) -> Floats:
    """Return the loss of each character of a text but the first, in nats [n - 1]; see `evaluate`."""
    nats = np.empty(len(ids) - 1, np.float32)
    for at, some in _read_in_parts(model.surprises, model.zero_state, ids, streams):
        nats[at] = some
    return nats


def _read_in_parts(
    read: Callable[[Window, State], tuple[_Result, State]], zero_state: Callable[[int], State], ids: Ids, streams: int
) -> Iterator[tuple[IntArray, _Result]]:
    """Read a text in so many streams, window by window; yield which characters these were, and what `read` gave."""
    n = len(ids) - 1
    length = n // streams
    starts = np.arange(streams) * length  # [B]
    state = zero_state(streams)
    if streams > 1:
        state = read(_window(ids, starts + np.arange(-_EVAL_WARM_UP, 0)[:, None]), state)[1]
        for array in state:
            array[:, 0] = 0  # there is nothing before the first part
    for t in range(0, length, _EVAL_WINDOW):
        at = starts + np.arange(t, min(t + _EVAL_WINDOW, length))[:, None]  # [T, B]
        result, state = read(_window(ids, at), state)
        yield at, result
    if length * streams < n:  # the last stream goes on alone
        at = np.arange(length * streams, n)[:, None]  # [T, 1]
        yield at, read(_window(ids, at), state.of(slice(-1, None)))[0]


def eval_streams(ids: Ids) -> int:
    """Return how many streams suit the evaluation of a text: few where it is short, so that they repeat little."""
    return min(max(len(ids) // (8 * _EVAL_WARM_UP), 1), _EVAL_STREAMS)


def _window(ids: Ids, at: IntArray) -> Window:
    return Window(ids[np.maximum(at, 0)].astype(np.intp), ids[np.maximum(at, 0) + 1].astype(np.intp))


def total_steps_of(config: TrainConfig, batches: Batches) -> int | None:
    """Return how many steps a run takes; None where time limits it."""
    if config.epochs is not None:
        return math.ceil(config.epochs * len(batches))
    return config.steps


def _share_done(config: TrainConfig, progress: Progress, total_steps: int | None) -> float:
    if total_steps is not None:
        return min(progress.step / total_steps, 1.0)
    return min(progress.elapsed_s / (config.time_s or 0), 1.0)


def is_over(run: Checkpoint, corpus: Corpus) -> bool:
    """Return whether a run has reached the end that its settings name."""
    if run.progress is None:
        return True
    batches = batches_of(run.config, corpus.split(run.config.data.val_fraction)[0])
    return _share_done(run.config.train, run.progress, total_steps_of(run.config.train, batches)) >= 1


def out_of_patience(run: Checkpoint) -> bool:
    """Return whether the last evaluations were no better than one before, as many as end a run."""
    return 0 < run.config.train.patience <= _plateaus(run.history)[1]


def _evaluations(config: TrainConfig, done: float, step: int, total_steps: int | None) -> int:
    """How many evaluations there should have been; counted in whole steps where the run is."""
    return int(done * config.evals) if total_steps is None else step * config.evals // total_steps


def _steps(
    run: Checkpoint,
    progress: Progress,
    batches: Batches,
    val_ids: Ids,
    workers: Workers,
    clock: Callable[[], float],
) -> Iterator[Report]:
    config = run.config.train
    total_steps = total_steps_of(config, batches)
    begun = clock() - progress.elapsed_s
    plateaus = _plateaus(run.history)[0]
    while (done := _share_done(config, progress, total_steps)) < 1 and not out_of_patience(run):
        if progress.step % len(batches) == 0 and not config.carry_around:
            progress.state = progress.model.zero_state(batches.batch_size)
        now = done + 0.5 / total_steps if total_steps else done
        learning_rate = learning_rate_at(config, now, plateaus) / 2**progress.rescues
        loss, grad_norm = _step(config, progress, workers, batches[progress.step], learning_rate)
        skipped, rescued = progress.skipped > 0, progress.skipped >= _MOST_SKIPPED
        if rescued:
            if progress.rescues >= MOST_RESCUES:
                raise _no_longer_finite(progress.step, loss, grad_norm, learning_rate)
            _rescue(run, progress)
        progress.elapsed_s = clock() - begun
        report = Report(
            step=progress.step,
            epoch=progress.step / len(batches),
            chars=progress.step * batches.chars,
            progress=_share_done(config, progress, total_steps),
            elapsed_s=progress.elapsed_s,
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=learning_rate,
            skipped=skipped,
            rescued=rescued,
        )
        if _evaluations(config, report.progress, report.step, total_steps) > _evaluations(
            config, done, report.step - 1, total_steps
        ):
            report = _evaluated(run, progress, workers, report, val_ids)
            plateaus = _plateaus(run.history)[0]
            progress.elapsed_s = clock() - begun
        yield report
    if run.history and not run.best:
        raise CharlstmError(
            f"nothing was learnt: at each evaluation, losses were far above those of guessing, or not finite; {_ADVICE}"
        )


def _step(
    config: TrainConfig, progress: Progress, workers: Workers, window: Window, learning_rate: float
) -> tuple[float, float]:
    """Learn from one window; where the gradient is not finite, change nothing but the place in the text."""
    progress.step += 1
    with np.errstate(over="ignore", invalid="ignore"):
        masks = progress.model.draw_masks(window.x.shape[1], progress.rng)
        before = _reset(progress.state, config.reset, progress.rng) if config.reset else progress.state
        loss, grads, state = workers.loss_and_grads(window, before, masks, config.clip_error)
        grad_norm = clip_by_global_norm(grads, config.clip_norm)
    progress.skipped += 1
    norm = min(grad_norm, config.clip_norm or math.inf)
    if math.isfinite(loss + grad_norm) and norm < _MOST_GRADIENT:
        progress.skipped = 0
        with np.errstate(over="ignore", invalid="ignore"):
            progress.optimizer.update(progress.model.params, grads, learning_rate)
            if not all(math.isfinite(np.vdot(param, param)) for param in progress.model.params.values()):
                progress.skipped = _MOST_SKIPPED
                return loss, grad_norm
        if progress.average is not None:
            average_into(progress.average, progress.model.params, config.average, progress.optimizer.updates)
        progress.state = state
        progress.loss_sum += loss
        progress.loss_steps += 1
    return loss, grad_norm


def _no_longer_finite(step: int, loss: float, grad_norm: float, learning_rate: float) -> CharlstmError:
    return CharlstmError(
        f"the loss or the weights are not finite any more (step {step}, loss {loss:.3g}, "
        f"gradient norm {grad_norm:.3g}, learning rate {learning_rate:.3g}): {_ADVICE}"
    )


def _rescue(run: Checkpoint, progress: Progress) -> None:
    """Go back to the best weights so far, which are the first ones at worst, with a fresh memory of gradients."""
    for params in (progress.model.params, *([progress.average] if progress.average else [])):
        for name, param in params.items():
            param[...] = run.model.params[name]
    progress.optimizer = Optimizer(progress.model.params, run.config.train)
    progress.state = progress.model.zero_state(progress.state.h.shape[1])
    progress.skipped, progress.loss_sum, progress.loss_steps = 0, 0.0, 0
    progress.rescues += 1


def _reset(state: State, share: float, rng: np.random.Generator) -> State:
    """Return the state with that of some streams, drawn by chance, at zero."""
    going_on = np.greater_equal(rng.random((state.h.shape[1], 1)), share)  # [B, 1]
    return State(state.h * going_on, state.c * going_on)


def _evaluated(run: Checkpoint, progress: Progress, workers: Workers, report: Report, val_ids: Ids) -> Report:
    """Evaluate the current weights and their average, note the better loss, and keep the best weights."""
    train_loss = progress.loss_sum / progress.loss_steps if progress.loss_steps else None
    progress.loss_sum, progress.loss_steps = 0.0, 0
    loss, weights = _finite_loss(workers, val_ids), progress.model.params
    if progress.average is not None:
        with _exchanged(progress.model.params, progress.average):
            loss_of_average = _finite_loss(workers, val_ids)
        if loss_of_average <= loss:
            loss, weights = loss_of_average, progress.average
    val_loss = loss if math.isfinite(loss) else None
    best_loss = run.best["val_loss"] if run.best else None
    is_best = len(val_ids) < 2 or (val_loss is not None and (best_loss is None or val_loss < best_loss))
    is_best &= train_loss is not None and train_loss <= math.log(len(run.vocab)) + _WORSE_THAN_GUESSING
    if is_best:
        run.best = {"step": report.step, "val_loss": val_loss}
        run.model = CharLSTM(run.config.model, weights).copy()
    entry: dict[str, Any] = {"step": report.step, "epoch": report.epoch, "chars": report.chars}
    entry |= {"train_loss": train_loss, "val_loss": val_loss, "learning_rate": report.learning_rate}
    run.history.append(entry)
    return replace(report, evaluated=True, train_loss=train_loss, val_loss=val_loss, is_best=is_best)


def _finite_loss(workers: Workers, val_ids: Ids) -> float:
    """Return the loss of the validation text; infinity where there is none, or where the loss is no number."""
    loss = evaluate(workers, val_ids, eval_streams(val_ids)) if len(val_ids) >= 2 else math.inf
    return loss if math.isfinite(loss) else math.inf


@contextmanager
def _exchanged(params: Params, others: Params) -> Iterator[None]:
    """Put other values into parameters for a while; in place, since processes may have them in common."""
    own = {name: param.copy() for name, param in params.items()}
    try:
        for name, param in params.items():
            param[...] = others[name]
        yield
    finally:
        for name, param in params.items():
            param[...] = own[name]


def _plateaus(history: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Return how many evaluations were no better than one before, and how many of these are the last ones in a row.

    Where nothing validates, the training loss tells.
    """
    best, total, last = math.inf, 0, 0
    for entry in history:
        if entry["train_loss"] is None:  # there were no updates, or the run has just gone back
            continue
        loss = entry["train_loss"] if entry["val_loss"] is None else entry["val_loss"]
        if loss is not None and loss < best:
            best, last = loss, 0
        else:
            total, last = total + 1, last + 1
    return total, last
