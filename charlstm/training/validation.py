"""The evaluations of a run: how much text they read, and which weights are kept."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from charlstm.arrays import Floats, Ids, Params
from charlstm.config.settings import TrainConfig
from charlstm.network.char_lstm import CharLSTM
from charlstm.network.evaluation import MAX_STREAMS, eval_streams, evaluate
from charlstm.network.ranks import Parallel
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.run import Evaluation, Run, TrainingState

WORSE_THAN_GUESSING = 1.0  # nats above a uniform guess: the weights have diverged
_BUDGET = 0.1  # characters read by all evaluations, as a fraction of those trained on
_DURING = 0.5  # of the budget; the rest is for the best weights, at the end
_MIN_CHARS = 500  # per evaluation; reading them takes about as long as a step
_MIN_FINAL_CHARS = 2_000  # of the evaluation at the end
_PIECE_CHARS = 64  # read by each stream of a short evaluation


def evaluate_run(
    run: Run, training: TrainingState, parallel: Parallel, position: Evaluation, val_ids: Ids, progress: float
) -> tuple[Evaluation, bool]:
    """Evaluate the current weights and their average, and keep the better of them if they are the best so far.

    Args:
        run: its history and its best weights are updated.
        training: the current weights.
        parallel: computes with the network of `training`.
        position: of the run, without losses.
        val_ids: the whole validation text. All evaluations of a run read the same sample of it.
        progress: the fraction of the run completed.

    Returns:
        The evaluation, and whether it is the best so far.
    """
    train_loss = training.loss_sum / training.loss_steps if training.loss_steps else None
    training.loss_sum, training.loss_steps = 0.0, 0
    chars = _sample_chars(run, len(val_ids), position.chars / progress)
    loss, weights = _better_weights(training, parallel, val_ids, chars)
    val_loss = loss if math.isfinite(loss) else None
    evaluation = replace(position, train_loss=train_loss, val_loss=val_loss, val_chars=chars)
    run.history.append(evaluation)
    is_best = _is_best(run, evaluation, validated=len(val_ids) >= 2)
    if is_best:
        run.best = evaluation
        network = CharLSTM(run.config.model, weights, boundary_id=training.network.boundary_id)
        run.model = LanguageModel(network.copy(), run.model.vocab)
    return evaluation, is_best


def validate_best(run: Run, training: TrainingState, parallel: Parallel, chars: int) -> None:
    """Evaluate the best weights on the whole validation text, or on as large a sample as the budget allows.

    Args:
        run: `run.best` is replaced.
        training: its weights are replaced for the time of the evaluation.
        parallel: computes with the network of `training`.
        chars: trained on by the run.
    """
    assert run.dataset is not None
    if run.best is None or run.best.val_loss is None:
        return
    spent = sum(entry.val_chars for entry in run.history) * _evaluated_networks(run.config.train)
    left = int(_BUDGET * chars) - spent
    allowed = max(left, run.config.train.eval_chars or 0, run.best.val_chars, _MIN_FINAL_CHARS)
    val_ids = run.dataset.val_ids
    whole = run.config.train.eval_chars == 0 or allowed >= len(val_ids)
    streams = eval_streams(val_ids if whole else val_ids[:allowed])
    with _swapped(training.network.params, run.model.network.params):
        loss = evaluate(parallel, val_ids, streams, None if whole else allowed // streams)
    if math.isfinite(loss):
        run.best = replace(run.best, val_loss=loss, val_chars=len(val_ids) if whole else allowed)


def count_plateaus(history: Sequence[Evaluation]) -> tuple[int, int]:
    """Return the number of evaluations without improvement, and the length of the current run of them.

    Without validation, the training loss counts. A validation loss that is not finite is no improvement.
    """
    validated = any(entry.val_loss is not None for entry in history)
    best, total, trailing = math.inf, 0, 0
    for entry in history:
        if entry.train_loss is None:  # no updates, or a rollback
            continue
        loss = entry.val_loss if validated else entry.train_loss
        if loss is not None and loss < best:
            best, trailing = loss, 0
        else:
            total, trailing = total + 1, trailing + 1
    return total, trailing


def _sample_chars(run: Run, val_chars: int, total_chars: float) -> int:
    """Return the number of validation characters that each evaluation reads.

    Args:
        run: the number does not change after its first evaluation.
        val_chars: of the whole validation text.
        total_chars: that the run will have been trained on.
    """
    config = run.config.train
    if run.history:
        return run.history[-1].val_chars
    if config.eval_chars is not None:
        return min(max(config.eval_chars, 2), val_chars) if config.eval_chars else val_chars
    share = _DURING * _BUDGET * total_chars / (config.evals * _evaluated_networks(config))
    return min(max(int(share), _MIN_CHARS), val_chars)


def _evaluated_networks(config: TrainConfig) -> int:
    """Return 2 if the moving average of the weights is evaluated too, otherwise 1."""
    return 2 if config.ema_decay else 1


def _better_weights(
    training: TrainingState, parallel: Parallel, val_ids: Ids, chars: int
) -> tuple[float, dict[str, Floats]]:
    """Return the lower validation loss of the weights and their moving average, and these weights."""
    loss, weights = _val_loss(parallel, val_ids, chars), training.network.params
    if training.ema is None:
        return loss, weights
    with _swapped(training.network.params, training.ema):
        ema_loss = _val_loss(parallel, val_ids, chars)
    return (ema_loss, training.ema) if ema_loss <= loss else (loss, weights)


def _is_best(run: Run, evaluation: Evaluation, *, validated: bool) -> bool:
    """Return whether an evaluation is the best so far; without validation, the last one is."""
    if evaluation.train_loss is None:
        return False
    if evaluation.train_loss > math.log(len(run.model.vocab)) + WORSE_THAN_GUESSING:
        return False
    improved = evaluation.val_loss is not None and (run.best_loss is None or evaluation.val_loss < run.best_loss)
    return improved or not validated


def _val_loss(parallel: Parallel, val_ids: Ids, chars: int) -> float:
    """Return the loss on a sample of the validation text; infinity without a text, or if the loss is not finite.

    Args:
        parallel: predicts.
        val_ids: the whole validation text.
        chars: to be read, in short pieces spread evenly over the text.
    """
    if len(val_ids) < 2:
        return math.inf
    streams = min(max(chars // _PIECE_CHARS, 1), MAX_STREAMS)
    loss = evaluate(parallel, val_ids, streams, max(chars // streams, 1))
    return loss if math.isfinite(loss) else math.inf


@contextmanager
def _swapped(params: Params, others: Params) -> Iterator[None]:
    """Temporarily replace the values of parameters, in place, since processes may share them."""
    own = {name: param.copy() for name, param in params.items()}
    try:
        assign(params, others)
        yield
    finally:
        assign(params, own)


def assign(params: Params, values: Params) -> None:
    """Copy values into parameters, in place."""
    for name, param in params.items():
        param[...] = values[name]
