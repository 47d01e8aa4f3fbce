"""What suits a text and the time there is, what it will cost, and what a run has shown."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from charlstm.checkpoint import Checkpoint
from charlstm.config import Config, TrainConfig
from charlstm.corpus import Corpus
from charlstm.model import param_shapes
from charlstm.training import start, train
from charlstm.workers import available_cores

RARE = 10  # a character that stands less often than this in a text can hardly be learnt
_REFERENCE = Config().replace(hidden_size=256, batch_size=16, seq_len=48)
_SGD_RATE = 4.0  # without momentum, where gradients are clipped to a norm of 1
_SLOWER = 1.55  # the power of its width by which a model is slower; below 2, since wide products are done faster
_SIZES = {  # units, from how many characters on, that the reference model would read in the time
    0: 128,
    4_000_000: 256,
    15_000_000: 384,
    40_000_000: 512,
    110_000_000: 640,
    300_000_000: 768,
}
_AGAINST_REPETITION = {  # from how many passes over the text on: dropconnect, dropout, weight_decay
    0: (0.0, 0.0, 0.0),
    2: (0.1, 0.0, 0.0),
    4: (0.2, 0.0, 0.02),
    10: (0.3, 0.0, 0.03),
    30: (0.4, 0.0, 0.03),
    100: (0.4, 0.3, 0.05),
}
_WARM_UP_STEPS = 3  # in which processes start, and memory is touched for the first time
_MEASURED_S = 0.5
_PROCESS_BYTES = 58_000_000  # Python, NumPy and BLAS
_LINES_CHARS = 20_000_000  # in which lines are compared
_RISEN = 0.005  # of the best loss: what is more than noise
_CLOSE = 0.03  # of the validation loss: a gap that says that the training text is not known any better


def advised(
    corpus: Corpus, given: Mapping[str, Any], speed: Callable[[Config, Corpus], float] | None = None
) -> dict[str, Any]:
    """Return the settings that suit a text and the length of a run, without those that are given.

    What a run can learn depends on how many characters it reads, and how often it reads the same ones. Where time
    limits it, that is measured; otherwise it follows from the settings, so that these always give the same advice.

    Args:
        corpus: the text.
        given: settings that stand, the limit of the run among them.
        speed: of a model on this machine, in characters per second; `measured_speed` unless given.
    """
    config = Config().replace(**given)
    chars = max(len(corpus.split(config.data.val_fraction)[0]), 1)
    if config.train.time_s is not None:
        reference = _REFERENCE.replace(threads=config.train.threads, num_layers=config.model.num_layers)
        to_read = config.train.time_s * (speed or measured_speed)(reference, corpus)
    elif config.train.epochs is not None:
        to_read = config.train.epochs * chars
    else:
        to_read = float((config.train.steps or 0) * _window(_REFERENCE.model.hidden_size, given))
    H: int = given.get("hidden_size") or max(size for least, size in _SIZES.items() if to_read >= least)
    if config.train.time_s is not None:  # in which a larger model reads less
        to_read *= (_REFERENCE.model.hidden_size / H) ** _SLOWER
    elif config.train.epochs is None:
        to_read = float((config.train.steps or 0) * _window(H, given))
    return {name: value for name, value in _recipe(config.train, H, to_read / chars).items() if name not in given}


def _streams(H: int) -> tuple[int, int]:
    """Return batch_size and seq_len: products of large matrices want more rows."""
    return (24, 40) if _REFERENCE.model.hidden_size >= H else (32, 64)


def _window(H: int, given: Mapping[str, Any]) -> int:
    """Return how many characters a window has."""
    B, T = _streams(H)
    window: int = given.get("batch_size", B) * given.get("seq_len", T)
    return window


def _recipe(config: TrainConfig, H: int, passes: float) -> dict[str, Any]:
    """Return the settings for a model of H units that reads a text so many times."""
    dropconnect, dropout, weight_decay = max(
        (least, shares) for least, shares in _AGAINST_REPETITION.items() if passes >= least
    )[1]
    B, T = _streams(H)
    adams_rate = min((6 if dropconnect else 3) / H, 0.02)
    return {
        "hidden_size": H,
        "dropout": dropout,
        "dropconnect": dropconnect,
        "batch_size": B,
        "seq_len": T,
        "learning_rate": round(_SGD_RATE * (1 - config.momentum) if config.optimizer == "sgd" else adams_rate, 4),
        "weight_decay": weight_decay,
        "reset": 0.02,
    }


def measured_speed(config: Config, corpus: Corpus) -> float:
    """Return how many characters a second a model trains on, on this machine, from half a second of training."""
    run = start(config.replace(steps=10**6, evals=1), corpus)
    with closing(train(run, corpus)) as reports:
        first = next(islice(reports, _WARM_UP_STEPS - 1, None))
        last = next(report for report in reports if report.elapsed_s - first.elapsed_s > _MEASURED_S)
    return (last.chars - first.chars) / (last.elapsed_s - first.elapsed_s)


def file_bytes(config: Config, vocab_size: int) -> int:
    """Return about how large the file of a finished model is."""
    return 4 * _params(config, vocab_size) + 12 * vocab_size + 4_000


def memory_bytes(config: Config, corpus: Corpus) -> int:
    """Return about how much memory a training run takes at most, all of its processes together."""
    processes = min(config.train.threads or available_cores(), available_cores())
    B, T, H, L = config.train.batch_size, config.train.seq_len, config.model.hidden_size, config.model.num_layers
    V = len(corpus.vocab)
    weights = (6 + 3 * processes) * _params(config, V)  # gradients, moments, averages, copies for the products
    window = T * B * (L * 10 * H + 2 * V)
    return 4 * (weights + window) + corpus.ids.nbytes + _PROCESS_BYTES * processes + 20_000_000


def _params(config: Config, vocab_size: int) -> int:
    return sum(int(np.prod(shape)) for shape in param_shapes(config.model, vocab_size).values())


def repeated_lines(corpus: Corpus) -> float:
    """Return the share of a text's lines that stand there before; empty ones, and those of far behind, do not count."""
    lines = [line for line in corpus.vocab.decode(corpus.ids[:_LINES_CHARS]).split("\n") if line.strip()]
    return 1 - len(Counter(lines)) / len(lines) if lines else 0.0


def verdict(run: Checkpoint) -> str:
    """Return in words whether a run has learnt or learnt by heart, and what would help; "" without two evaluations."""
    entries = [entry for entry in run.history if entry["val_loss"] is not None and entry["train_loss"] is not None]
    if len(entries) < 2 or run.best is None:
        return ""
    best = min(entries, key=lambda entry: entry["val_loss"])
    last, model = entries[-1], run.config.model
    silenced = max(model.dropout, model.input_dropout, model.dropconnect)
    risen, gap = last["val_loss"] - best["val_loss"], best["val_loss"] - best["train_loss"]
    losses = f"training loss {best['train_loss']:.3f}{' (with dropout)' if silenced else ''}"
    found = (
        f"At the best step, {best['step']:,} of {last['step']:,}: {losses}, validation loss {best['val_loss']:.3f}. "
    )
    if risen > _RISEN * best["val_loss"] and last["train_loss"] > (1 + _RISEN) * best["train_loss"]:
        return f"{found}Since then both have risen: training went astray. What would help: a lower --learning-rate"
    if risen > _RISEN * best["val_loss"]:
        stronger = "more --dropconnect or --dropout, " if silenced < 0.5 else ""
        return (
            f"{found}Since then it has risen by {risen:.3f}: the text is being learnt by heart. "
            f"What would help: {stronger}a smaller model, or less time"
        )
    if gap < _CLOSE * best["val_loss"]:
        return f"{found}The two are close, nothing is learnt by heart. What would help: more time, or a larger model"
    trend = "It was still falling" if last is best else "It falls no more"
    return f"{found}{trend}. What would help: more text, or more time with more --dropconnect"
