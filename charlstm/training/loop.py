"""The training loop: a generator of reports on a run, which continues where the run was interrupted. No I/O."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from charlstm.arrays import Ids
from charlstm.config.settings import Config, TrainConfig
from charlstm.errors import CharlstmError, UsageError
from charlstm.network.char_lstm import CharLSTM, State, init_network
from charlstm.network.cores import available_cores
from charlstm.network.dispatch import choose_kernel
from charlstm.network.parallel import DataParallel
from charlstm.network.ranks import Parallel, RankParallel, Ranks
from charlstm.optim import Optimizer, clip_by_global_norm, learning_rate_at, update_ema
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.run import MAX_ROLLBACKS, Evaluation, Run, TrainingState
from charlstm.text.batches import Batches, Window, fit_batches
from charlstm.text.corpus import Dataset
from charlstm.text.shuffle import ShuffledDocuments
from charlstm.training.transfer import base_of, transfer
from charlstm.training.validation import WORSE_THAN_GUESSING, assign, count_plateaus, evaluate_run, validate_best

_MAX_BAD_STEPS = 20  # in a row, before a rollback: updates skipped, or losses far above that of guessing
_MAX_GRADIENT = 1e18  # norm above which the square of a clipped gradient may overflow float32

Clock = Callable[[], float]


class Outcome(Enum):
    """What happened to the update of a step."""

    UPDATED = "updated"
    SKIPPED = "skipped"  # the loss or the gradient was not finite, or too large to square
    DIVERGED = "diverged"  # the weights are no longer finite


@dataclass(frozen=True)
class StepResult:
    """One window trained on."""

    loss: float  # in nats per character
    grad_norm: float  # before clipping
    outcome: Outcome


@dataclass(frozen=True)
class Report:
    """One step of training.

    `step` windows, `epoch` passes over the training text and `chars` characters have been trained on so far, in
    `elapsed_s` seconds; `progress` is the fraction of the run completed, 0 to 1. `loss` is that of the window, in nats
    per character, and `grad_norm` that of its gradient before clipping.
    """

    step: int
    epoch: float
    chars: int
    progress: float
    elapsed_s: float  # including the time before an interruption
    loss: float
    grad_norm: float
    learning_rate: float
    skipped: bool  # no update, or one that made the weights non-finite
    rolled_back: bool = False  # back to the best weights at half the learning rate, because training had diverged
    evaluation: Evaluation | None = None  # the one after this step, if there was one
    is_best: bool = False  # whether the evaluation is the best so far

    def __repr__(self) -> str:
        val_loss = self.evaluation and self.evaluation.val_loss
        validation = "" if val_loss is None else f", validation loss {val_loss:.4f}"
        return f"Report(step {self.step:,}, {self.progress:.1%}, loss {self.loss:.4f}{validation})"


def new_run(config: Config, dataset: Dataset, model: LanguageModel | None = None, name: str = "") -> Run:
    """Return a run that has not taken a step yet.

    Args:
        config: all settings.
        dataset: what to train on.
        model: to start from, instead of random weights. Its units and layers must be those of the settings.
        name: of that model, to be recorded.

    Raises:
        UsageError: the model has another number of units or layers.
        CharlstmError: nothing can be learned from this corpus.
    """
    distinct = len(dataset.vocab.code_points)
    if dataset.vocab.unknown_id is not None and distinct < 3:
        raise CharlstmError(
            f"fewer than two characters in the corpus occur {dataset.min_count:,} times or more; "
            "choose a smaller min_count"
        )
    if distinct < 2:
        content = "contains only one distinct character" if distinct else "is empty"
        raise CharlstmError(f"the corpus {content}; there is nothing to learn")
    config = config.replace(kernel=choose_kernel(config.train.kernel, config.model.hidden_size))
    batches = batches_for(config, dataset)
    rng = np.random.default_rng(config.train.seed)
    if model is None:
        network = init_network(config.model, len(dataset.vocab), rng, boundary_id=dataset.vocab.boundary_id)
    else:
        network = transfer(model, dataset.vocab, config.model, rng)
    optimizer = Optimizer(network.params, config.train)
    training = TrainingState(network, optimizer, network.zero_state(batches.batch_size), rng)
    if config.train.ema_decay:
        training.ema = network.copy().params
    base = None if model is None else base_of(model, name)
    initial = LanguageModel(network.copy(), dataset.vocab)
    return Run(config, initial, dataset.fingerprint, training=training, dataset=dataset, base=base)


def extend(run: Run, seconds: float = 0.0) -> None:
    """Prepare a finished run that has its corpus for further training under a larger limit.

    Training continues from the best weights, with a new optimiser, a zero state and the count of steps, epochs or
    seconds that the run has reached.

    Args:
        run: finished.
        seconds: that it has trained for, where its limit was not a time.
    """
    assert run.dataset is not None
    config, step = run.config.train, run.history[-1].step if run.history else 0
    network = run.model.network.copy()
    state = network.zero_state(batches_for(run.config, run.dataset).batch_size)
    rng = np.random.default_rng((config.seed, step))
    run.training = TrainingState(network, Optimizer(network.params, config), state, rng, step)
    run.training.elapsed_s = config.time_s or seconds
    run.weights = "float32"
    if config.ema_decay:
        run.training.ema = network.copy().params
    if run.best:  # evaluated on the same part of the validation text as those to come
        run.best = next((entry for entry in run.history if entry.step == run.best.step), run.best)


def epochs_of(run: Run) -> float:
    """Return the number of passes over its corpus that an unfinished run has made."""
    assert run.training is not None
    assert run.dataset is not None
    return run.training.step / batches_for(run.config, run.dataset).windows_per_epoch


def batches_for(config: Config, dataset: Dataset) -> Batches:
    """Return the batches of the training text, smaller than configured if it is too short for them."""
    documents = None
    if dataset.train_starts is not None:
        documents = ShuffledDocuments(dataset.train_ids, dataset.train_starts, config.train.seed)
    return fit_batches(dataset.train_ids, config.train.batch_size, config.train.seq_len, documents)


def train(run: Run, clock: Clock = time.monotonic, ranks: Ranks | None = None) -> Generator[Report, None, None]:
    """Train, one window per report, until the limit of the run; then drop the training state.

    Between two reports, `run` is consistent. It can be saved and trained further later, with the same result bit for
    bit (unless it is limited by time, which depends on the clock).

    Args:
        run: a new one, or one from a file with its corpus; changed by training.
        clock: monotonic seconds.
        ranks: among which each window is divided; all of them train the same run, by the clock of the first.

    Raises:
        UsageError: the run was loaded from a file and has no corpus yet, or has fewer streams than there are ranks.
        CharlstmError: training diverged for good, or nothing was learned.
    """
    training, config = run.training, run.config.train
    if training is None:
        return
    if run.dataset is None:
        raise UsageError("this run has no corpus; call run.use_corpus(read_corpus(...)) before training it further")
    batches = batches_for(run.config, run.dataset)
    if ranks:
        check_streams(run.config, batches, ranks)
        clock = ranks.clock if config.time_s is not None else clock
    if training.state.h.shape[1] != batches.batch_size:  # another corpus, shorter or longer
        training.state = training.network.zero_state(batches.batch_size)
    training.network.kernel = _check_kernel(run.config)
    training.optimizer.config = run.config.train  # which may have changed since the run was saved
    with _divide_work(training.network, config, ranks) as parallel:
        parallel.loss(batches.window(training.step), training.state)  # starts the processes before the clock
        yield from _steps(run, training, batches, run.dataset.val_ids, parallel, clock)
        if run.history and not run.best:
            raise CharlstmError(
                f"nothing was learned: every evaluation was far worse than guessing, or not finite; {_advise(run)}"
            )
        validate_best(run, training, parallel, batches.chars_after(training.step))
    run.training = None


def check_streams(config: Config, batches: Batches, ranks: Ranks) -> None:
    """Check that each rank has a stream to train on.

    Raises:
        UsageError: there are too few.
    """
    if batches.batch_size < ranks.size:
        is_short = batches.batch_size < config.train.batch_size
        streams = f"{'the corpus is only long enough for' if is_short else 'it is'} {batches.batch_size}"
        raise UsageError(
            f"{ranks.size} ranks need a batch_size of at least {ranks.size} streams, but {streams}; start fewer ranks"
            f"{'' if is_short else ', or choose a larger batch_size'}"
        )


def _divide_work(network: CharLSTM, config: TrainConfig, ranks: Ranks | None) -> Parallel:
    """Return the network as computed by all cores, and by all ranks if there are several."""
    cores = ranks.cores if ranks else available_cores()
    parallel = DataParallel(network, min(config.threads or cores, cores))
    return RankParallel(parallel, ranks) if ranks else parallel


def _check_kernel(config: Config) -> str:
    """Return the kernel of a run, new or resumed."""
    try:
        return choose_kernel(config.train.kernel, config.model.hidden_size)
    except UsageError as error:
        message = f"this run was trained with the numba kernel, but {str(error).removeprefix('kernel: ')}"
        raise CharlstmError(f"{message}, or continue with --kernel numpy") from None


def train_step(
    training: TrainingState, parallel: Parallel, window: Window, config: TrainConfig, learning_rate: float
) -> StepResult:
    """Train on one window. If the gradient is not finite, weights, moments and state do not change."""
    training.step += 1
    with np.errstate(over="ignore", invalid="ignore"):
        masks = training.network.draw_masks(window.x.shape[1], training.rng)
        before = _reset_streams(training.state, config.state_reset_prob, training.rng)
        loss, grads, after = parallel.loss_and_grads(window, before, masks, config.clip_error)
        grad_norm = clip_by_global_norm(grads, config.clip_norm)
        clipped_norm = min(grad_norm, config.clip_norm or math.inf)
        if not (math.isfinite(loss + grad_norm) and clipped_norm < _MAX_GRADIENT):
            training.skipped += 1
            return StepResult(loss, grad_norm, Outcome.SKIPPED)
        training.skipped = 0
        params = training.network.params
        training.optimizer.update(params, grads, learning_rate)
        if not all(math.isfinite(np.vdot(param, param)) for param in params.values()):
            return StepResult(loss, grad_norm, Outcome.DIVERGED)
    is_far_off = loss > math.log(training.network.vocab_size) + WORSE_THAN_GUESSING
    training.far_off = training.far_off + 1 if is_far_off else 0
    if training.ema is not None:
        update_ema(training.ema, params, config.ema_decay, training.optimizer.updates)
    training.state = after
    training.loss_sum += loss
    training.loss_steps += 1
    return StepResult(loss, grad_norm, Outcome.UPDATED)


def total_steps_of(config: TrainConfig, batches: Batches) -> int | None:
    """Return the number of steps of a run; None if it is limited by time."""
    if config.epochs is not None:
        return math.ceil(config.epochs * batches.windows_per_epoch)
    return config.steps


def is_over(run: Run) -> bool:
    """Return whether a run has reached its limit."""
    if run.training is None:
        return True
    if run.dataset is None:
        return False
    total_steps = total_steps_of(run.config.train, batches_for(run.config, run.dataset))
    return _progress(run.config.train, run.training, total_steps) >= 1


def is_out_of_patience(run: Run) -> bool:
    """Return whether the last evaluations, as many as `patience`, brought no improvement."""
    return 0 < run.config.train.patience <= count_plateaus(run.history)[1]


def _steps(
    run: Run, training: TrainingState, batches: Batches, val_ids: Ids, parallel: Parallel, clock: Callable[[], float]
) -> Iterator[Report]:
    config = run.config.train
    total_steps = total_steps_of(config, batches)
    started = clock() - training.elapsed_s
    plateaus, _ = count_plateaus(run.history)
    while (done := _progress(config, training, total_steps)) < 1 and not is_out_of_patience(run):
        if training.step % batches.windows_per_epoch == 0:
            if config.carry_around:  # each stream continues where the one before it ended
                training.state = training.state.streams(np.arange(-1, batches.batch_size - 1))
            else:
                training.state = training.network.zero_state(batches.batch_size)
        mid_step = done + 0.5 / total_steps if total_steps else done
        learning_rate = learning_rate_at(config, mid_step, plateaus) / 2**training.rollbacks
        result = train_step(training, parallel, batches.window(training.step), config, learning_rate)
        rolled_back = _roll_back_if_diverged(run, training, result, learning_rate)
        training.elapsed_s = clock() - started
        report = Report(
            step=training.step,
            epoch=training.step / batches.windows_per_epoch,
            chars=batches.chars_after(training.step),
            progress=_progress(config, training, total_steps),
            elapsed_s=training.elapsed_s,
            loss=result.loss,
            grad_norm=result.grad_norm,
            learning_rate=learning_rate,
            skipped=result.outcome is not Outcome.UPDATED,
            rolled_back=rolled_back,
        )
        due = _evaluations_due(config, report.progress, report.step, total_steps)
        if due > _evaluations_due(config, done, report.step - 1, total_steps):
            position = Evaluation(report.step, report.epoch, report.chars, None, None, report.learning_rate)
            evaluation, is_best = evaluate_run(run, training, parallel, position, val_ids, report.progress)
            report = replace(report, evaluation=evaluation, is_best=is_best)
            plateaus, _ = count_plateaus(run.history)
            training.elapsed_s = clock() - started
        yield report


def _progress(config: TrainConfig, training: TrainingState, total_steps: int | None) -> float:
    """Return the fraction of the run completed, 0 to 1."""
    if total_steps is not None:
        return min(training.step / total_steps, 1.0)
    return min(training.elapsed_s / (config.time_s or 0), 1.0)


def _evaluations_due(config: TrainConfig, done: float, step: int, total_steps: int | None) -> int:
    """Return the number of evaluations due so far; counted in whole steps where the run is."""
    return int(done * config.evals) if total_steps is None else step * config.evals // total_steps


def _reset_streams(state: State, probability: float, rng: np.random.Generator) -> State:
    """Return the state with each stream reset to zero with some probability."""
    if not probability:
        return state
    kept = rng.random((state.h.shape[1], 1)) >= probability  # [B, 1]
    return State(state.h * kept, state.c * kept)


# ---- rollback


def _roll_back_if_diverged(run: Run, training: TrainingState, result: StepResult, learning_rate: float) -> bool:
    """Return to the best weights if training has diverged, and return whether it has.

    Raises:
        CharlstmError: it has diverged too often.
    """
    is_finite = result.outcome is not Outcome.DIVERGED and training.skipped < _MAX_BAD_STEPS
    if is_finite and training.far_off < _MAX_BAD_STEPS:
        return False
    if training.rollbacks >= MAX_ROLLBACKS:
        reason = "the loss is far above that of guessing" if is_finite else "the loss or the weights are not finite"
        raise CharlstmError(
            f"training diverged: {reason} (step {training.step}, loss {result.loss:.3g}, "
            f"gradient norm {result.grad_norm:.3g}, learning rate {learning_rate:.3g}); {_advise(run)}"
        )
    _roll_back(run, training)
    return True


def _advise(run: Run) -> str:
    """Return what may keep a run like this one from diverging."""
    train = run.config.train
    changes = ["with a lower learning_rate"]
    if not 0 < train.clip_norm <= 1:
        changes.append("with clip_norm 1")
    if train.l2 or train.weight_decay:
        changes.append("with less l2 or weight_decay")
    if run.base is not None:
        changes.append("without init_from")
    return f"start again {' or '.join(filter(None, [', '.join(changes[:-1]), changes[-1]]))}"


def _roll_back(run: Run, training: TrainingState) -> None:
    """Return to the best weights so far, or to the initial ones, with a new optimiser and a reset state."""
    for params in (training.network.params, *([] if training.ema is None else [training.ema])):
        assign(params, run.model.network.params)
    training.optimizer = Optimizer(training.network.params, run.config.train)
    training.state = training.network.zero_state(training.state.h.shape[1])
    training.skipped, training.far_off, training.loss_sum, training.loss_steps = 0, 0, 0.0, 0
    training.rollbacks += 1
