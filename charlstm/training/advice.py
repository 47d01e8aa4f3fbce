"""Settings that suit a corpus and a time limit, the cost of training, and an assessment of a run."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import islice
from typing import Any
from unicodedata import is_normalized

import numpy as np

from charlstm.config.settings import Config
from charlstm.network.char_lstm import param_shapes
from charlstm.network.cores import available_cores
from charlstm.network.recurrence import COMPILED_MULTIPLE
from charlstm.optim import moments_of
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.run import Evaluation, Run
from charlstm.text.batches import fit_batches
from charlstm.text.corpus import Corpus, Dataset
from charlstm.text.normalize import find_mixed_forms
from charlstm.text.overlap import measure_overlap
from charlstm.text.vocab import describe
from charlstm.training.loop import new_run, train
from charlstm.training.transfer import POOR, loss_before

RARE = 10  # occurrences below which a character can hardly be learned
_REFERENCE = Config().replace(hidden_size=256, batch_size=24, seq_len=40)
_REFERENCE_CHARS = 10_000_000  # read in a run that suits the reference model
_SIZES = (64, 1024)
_SGD_RATE = 4.0  # without momentum, where gradients are clipped to a norm of 1
SLOWDOWN = 1.7  # the power of the width by which a model is slower; below 2, since wide products are efficient
_WARM_UP_STEPS = 3  # in which processes start and memory is first touched
_MEASURED_S = 0.5
_PROCESS_BYTES = {"numpy": 58_000_000, "numba": 220_000_000}  # Python, NumPy, BLAS; and LLVM
_MAX_READ_CHARS = 20_000_000  # part of the text whose lines are compared, and whose Unicode form is checked
_MIN_LINES = 100  # of a list of posts
_MAX_BLANK = 0.02  # fraction of its lines
_SENTENCE, _LONG = 40, 20  # characters; times the median length
_WRAPPED = 0.6  # of the length of long lines, which four fifths of the lines of wrapped prose reach
_UNLIKE = 3.3  # loss in nats on a corpus, above which pretrained weights need the usual rate
_FOREIGN = 3.9  # loss from POOR to which the rate falls to half, and DropConnect to nothing
_BASE_CHARS = 1_600_000  # read in a minute and a half, where the rates for pretrained weights were chosen
_MOST_HALVINGS = 5.0  # of the rate, for pretrained weights
_NOISE = 2.0  # nats, by which losses of single characters differ
_SIGNIFICANT = 0.005  # fraction of a loss that is more than noise
_CLOSE = 0.03  # fraction of a loss within which another is about as high


def advise(
    dataset: Dataset,
    given: Mapping[str, Any],
    speed: Callable[[Config, Dataset], float] | None = None,
    ranks: int = 1,
    base: LanguageModel | None = None,
) -> dict[str, Any]:
    """Return the settings that suit a corpus and the length of a run, without those that are given.

    They depend on the number of characters that the run reads, and on how often it reads the same ones. For a run
    limited by time, that is measured. Otherwise it follows from the settings, so that the advice is reproducible.

    A corpus that repeats itself gets less DropConnect, which keeps a network from learning the repeated passages.

    Pretrained weights need a rate that is the lower, the better they predict the corpus already and the longer the
    run is. They need half the DropConnect, and none where they predict the corpus poorly: there, it can keep them from
    learning at all. docs/english.md has the measurements.

    n ranks get n times the streams, so that each has as many as one alone, and the rate times the square root of n,
    which keeps the noise of the updates the same (Krizhevsky, "One weird trick for parallelizing convolutional neural
    networks", 2014; for optimisers that divide by the gradient's size, Malladi, Lyu, Panigrahi and Arora, "On the SDEs
    and scaling rules for adaptive gradient algorithms", 2022).

    Args:
        dataset: the corpus.
        given: settings that are fixed, including the limit of the run.
        speed: of a model on one rank, in characters per second; by default `measure_speed`.
        ranks: the number of ranks that train.
        base: the model whose weights the run starts from. Its size is given.
    """
    config = Config().replace(**given)
    chars = max(len(dataset.train_ids), 1)
    if config.train.time_s is not None:
        to_read = config.train.time_s * ranks * (speed or measure_speed)(reference_of(config), dataset)
    elif config.train.epochs is not None:
        to_read = config.train.epochs * chars
    else:
        to_read = float((config.train.steps or 0) * _window(_REFERENCE.model.hidden_size, given, ranks))
    width: float = given.get("hidden_size") or _width(to_read)
    if config.train.time_s is not None:  # a larger model reads less in the same time
        to_read *= (_REFERENCE.model.hidden_size / width) ** SLOWDOWN
    elif config.train.epochs is None:
        to_read = float((config.train.steps or 0) * _window(width, given, ranks))
    recipe = _recipe(config, width, to_read / chars, chars)
    if recipe["dropconnect"]:  # otherwise the corpus may be huge
        new = 1 - measure_overlap(dataset.val_ids, dataset.train_ids)  # fraction of the validation text
        recipe["dropconnect"] = round(recipe["dropconnect"] * new, 3)
    if base is not None:
        loss = loss_before(base, dataset)
        halvings = max(_UNLIKE - loss, 0.0) * max(1.4 + 0.4 * math.log2(to_read / _BASE_CHARS), 0.0)
        foreign = min(max((loss - POOR) / (_FOREIGN - POOR), 0.0), 1.0)  # where the loss may explode
        recipe["learning_rate"] = _rounded(recipe["learning_rate"] / 2 ** min(halvings + foreign, _MOST_HALVINGS))
        recipe["dropconnect"] = round(recipe["dropconnect"] * (1 - foreign) / 2, 3)
    recipe["batch_size"] *= ranks
    if "batch_size" not in given:
        recipe["learning_rate"] = _rounded(recipe["learning_rate"] * math.sqrt(ranks))
    if dataset.documents != "none":  # whose boundaries reset the state
        recipe["state_reset_prob"] = 0.0
    B, T = (given.get(name, recipe[name]) for name in ("batch_size", "seq_len"))
    if 2 <= chars < B * T + 1:  # too short for a window
        batches = fit_batches(dataset.train_ids, B, T)
        recipe |= {"batch_size": batches.batch_size, "seq_len": batches.seq_len}
    return {name: value for name, value in recipe.items() if name not in given}


def reference_of(config: Config) -> Config:
    """Return the settings of the model whose speed determines the advice for a run limited by time."""
    return _REFERENCE.replace(
        threads=config.train.threads, num_layers=config.model.num_layers, kernel=config.train.kernel
    )


def _width(to_read: float) -> float:
    """Return the number of units that suits the number of characters which the reference model would read."""
    width: float = _REFERENCE.model.hidden_size * (to_read / _REFERENCE_CHARS) ** 0.25
    return min(max(width, _SIZES[0]), _SIZES[1])


def _streams(width: float) -> tuple[int, int]:
    """Return batch_size and seq_len: larger matrices need more rows to be efficient."""
    return 8 * round((16 + width / 32) / 8), min(round(24 + width / 16), 64)


def _window(width: float, given: Mapping[str, Any], ranks: int) -> int:
    """Return the number of characters in a window."""
    B, T = _streams(width)
    window: int = given.get("batch_size", B * ranks) * given.get("seq_len", T)
    return window


def _recipe(config: Config, width: float, passes: float, chars: int) -> dict[str, Any]:
    """Return the settings for a model of about some width, and a number of passes over a text.

    The more often the text is read, and the more weights there are for each of its characters, the sooner a model
    learns it by heart, and the more regularisation pays off. Several layers need a lower rate than one, or training
    diverges. docs/learning.md has the measurements.
    """
    weights = 4 * width**2 * config.model.num_layers  # recurrent ones
    overfitting = max(math.log2(passes * weights / chars), 0.0)
    train, (B, T) = config.train, _streams(width)
    adams_rate = 0.04 * (_REFERENCE.model.hidden_size / width) ** 0.7 / config.model.num_layers
    return {
        "hidden_size": COMPILED_MULTIPLE * round(width / COMPILED_MULTIPLE),
        "dropout": round(min(max(0.1 * (overfitting - 5), 0.0), 0.3), 3),
        "dropconnect": round(min(0.06 * overfitting, 0.5), 3),
        "batch_size": B,
        "seq_len": T,
        "learning_rate": _rounded(_SGD_RATE * (1 - train.momentum) if train.optimizer == "sgd" else adams_rate),
        "weight_decay": 0.02,
        "state_reset_prob": 0.02,
    }


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


def measure_speed(config: Config, dataset: Dataset) -> float:
    """Return the training speed of a model on this machine in characters per second, from half a second of training."""
    run = new_run(config.replace(steps=10**6, evals=1), dataset)
    with closing(train(run)) as reports:
        first = next(islice(reports, _WARM_UP_STEPS - 1, None))
        last = next(report for report in reports if report.elapsed_s - first.elapsed_s > _MEASURED_S)
    return (last.chars - first.chars) / (last.elapsed_s - first.elapsed_s)


def file_bytes(config: Config, vocab_size: int) -> int:
    """Return the approximate size of the file of a finished model."""
    return 4 * _params(config, vocab_size) + 12 * vocab_size + 4_000


def unfinished_file_bytes(config: Config, dataset: Dataset) -> int:
    """Return the approximate size of the file of a model in training, which also holds the state needed to resume."""
    V, H, L = len(dataset.vocab), config.model.hidden_size, config.model.num_layers
    copies = 1 + len(moments_of(config.train)) + bool(config.train.ema_decay)  # current weights, moments, average
    state = 2 * L * H * (_window_chars(config, dataset) // config.train.seq_len)
    return file_bytes(config, V) + 4 * (copies * _params(config, V) + state)


def memory_bytes(config: Config, dataset: Dataset) -> int:
    """Return the approximate peak memory of a training run, with all of its processes."""
    processes = min(config.train.threads or available_cores(), available_cores())
    V, H, L = len(dataset.vocab), config.model.hidden_size, config.model.num_layers
    weights = (6 + 3 * processes) * _params(config, V)  # gradients, moments, moving average, copies for the products
    floats = 10 if dataset.documents == "none" else 12  # the state before a step too
    window = _window_chars(config, dataset) * (L * floats * H + 2 * V)
    code = processes * _PROCESS_BYTES["numba" if config.train.kernel == "numba" else "numpy"]
    return 4 * (weights + window) + dataset.nbytes + code + 20_000_000


def _window_chars(config: Config, dataset: Dataset) -> int:
    return min(config.train.batch_size * config.train.seq_len, len(dataset.train_ids))  # short texts get short windows


def _params(config: Config, vocab_size: int) -> int:
    return sum(int(np.prod(shape)) for shape in param_shapes(config.model, vocab_size).values())


def _params_per_char(config: Config) -> int:
    """Return the number of weights that one more character in the vocabulary takes."""
    return _params(config, 1) - _params(config, 0)


def repeated_line_fraction(corpus: Corpus) -> float:
    """Return the fraction of the lines of a text that repeat an earlier one. Blank lines do not count."""
    lines = [line for line in corpus.vocab.decode(corpus.ids[:_MAX_READ_CHARS], "\n").split("\n") if line.strip()]
    return 1 - len(Counter(lines)) / len(lines) if lines else 0.0


def suggest_data_settings(config: Config, dataset: Dataset) -> list[str]:
    """Return suggestions for how to read a corpus, in sentences: for rare characters, and for mixed Unicode forms.

    Args:
        config: all settings of the run, which determine the number of weights.
        dataset: the corpus as it is read so far.
    """
    found, vocab = [], dataset.vocab
    kept = [id for id in (vocab.unknown_id, vocab.boundary_id) if id is not None]
    rare = np.count_nonzero(np.delete(vocab.counts, kept) < RARE)
    share = rare * _params_per_char(config) / _params(config, len(vocab))
    if share > 0.5 and len(vocab) - rare >= 2:
        found.append(
            f"{rare:,} of the {len(vocab):,} distinct characters occur fewer than {RARE} times and account for "
            f"{share:.0%} of the model's weights; try --min-count {RARE}"
        )
    mixed = find_mixed_forms(vocab.characters) if config.data.normalize == "none" else None
    if mixed and not is_normalized("NFC", vocab.decode(dataset.train_ids[:_MAX_READ_CHARS], "\n")):
        letter, mark = map(describe, mixed)
        found.append(f"The corpus has both {letter} and {mark}: it mixes Unicode forms; try --normalize NFC")
    return found


def suggest_documents(corpus: Corpus, kind: str = "line") -> list[str]:
    """Return the suggestion to train on documents, if a corpus without documents looks like a list of posts.

    Most of its lines are then about as long as a sentence or more, next to none are blank, and their lengths differ:
    those of wrapped prose are nearly all close to the longest, and lines of code or verse are short.
    """
    if corpus.starts is not None:
        return []
    lengths = np.array([len(line) for line in corpus.vocab.decode(corpus.ids[:_MAX_READ_CHARS]).split("\n")[:-1]])
    filled = lengths[lengths > 0]
    if len(filled) < _MIN_LINES or len(filled) < (1 - _MAX_BLANK) * len(lengths):
        return []
    low, median, high = np.quantile(filled, [0.2, 0.5, 0.95])
    if median < _SENTENCE or high > _LONG * median or low > _WRAPPED * high:
        return []
    return [f"The corpus has {len(filled):,} lines that look like separate posts; try --documents {kind}"]


def assess(run: Run, baselines: Mapping[str, float]) -> str:
    """Return an assessment of a run and what would improve it; "" without an evaluation.

    Args:
        run: finished.
        baselines: the losses of simple models on the validation text, from `baseline_losses`.
    """
    entries = [
        (entry, entry.train_loss, entry.val_loss)
        for entry in run.history
        if entry.train_loss is not None and entry.val_loss is not None
    ]
    if not entries or run.best is None or run.best_loss is None:
        return ""
    best, best_train, _ = min(entries, key=lambda entry: entry[2])
    rates = {"dropout": run.config.model.dropout, "input dropout": run.config.model.input_dropout}
    kinds = [name for name, rate in {**rates, "dropconnect": run.config.model.dropconnect}.items() if rate]
    dropped = f" (with {' and '.join(kinds)})" if kinds else ""
    losses = f"training loss {_bits(best_train)}{dropped}, validation loss {_bits(run.best_loss)} bits per character"
    return f"Best at step {best.step:,} of {entries[-1][0].step:,}: {losses}. {_diagnose(run, entries, baselines)}"


def _diagnose(run: Run, entries: list[tuple[Evaluation, float, float]], baselines: Mapping[str, float]) -> str:
    """Return what limits a run with these evaluations, training losses and validation losses, and what to try."""
    _, best_train, best_val = min(entries, key=lambda entry: entry[2])
    last, last_train, last_val = entries[-1]
    val_loss, risen = run.best_loss or best_val, last_val - best_val
    significant = max(_SIGNIFICANT * best_val, _NOISE / math.sqrt(last.val_chars) if last.val_chars else 0)
    if risen > significant and last_train > (1 + _SIGNIFICANT) * best_train:
        return "Since then, both have risen: training diverged. Try a lower learning rate"
    if val_loss > (1 - _CLOSE) * baselines.get("uniform", math.inf):
        if val_loss > (1 + _CLOSE) * baselines["uniform"]:
            if best_train < (1 - _CLOSE) * baselines["uniform"]:
                return "That is worse than guessing: the end of the corpus, used for validation, differs from the rest"
            return "That is worse than guessing: training diverged. Try a lower learning rate"
        return "That is hardly better than guessing. Train longer, or try a lower learning rate"
    if last.epoch < 1:
        read = f"only {last.epoch:.0%}" if last.epoch >= 0.01 else "less than 1%"
        return f"The run has read {read} of the training text. Train longer"
    if risen > significant:
        stronger = "more dropconnect or dropout, " if _strongest_dropout(run) < 0.5 else ""
        return (
            f"Since then, the validation loss has risen by {_bits(risen)} bits: the model is overfitting. "
            f"Try {stronger}a smaller model, or a shorter run"
        )
    if val_loss > (1 - _CLOSE) * baselines.get("frequencies", math.inf):
        return "That is hardly better than character frequencies. Train longer, or try a lower learning rate"
    if len(entries) > 1 and entries[-2][2] - last_val > _SIGNIFICANT * last_val:
        return "The validation loss was still falling. Train longer"
    order, ngram = next(((name, loss) for name, loss in baselines.items() if name.endswith("-gram")), ("", math.inf))
    if val_loss > ngram:
        advice = "Train longer, or try a larger model" if best_val == last_val else "Try more text, or --init-from"
        return f"A {order} model does better ({_bits(ngram)}). {advice}"
    if best_train > (1 - _CLOSE) * best_val:
        return "They are close: the model is not overfitting. Try a larger model, or train longer"
    if best_val == last_val:
        return "The validation loss has levelled off. Try more text, or train longer"
    return "The validation loss has stopped falling. Try more text, or train longer with more dropconnect"


def _strongest_dropout(run: Run) -> float:
    model = run.config.model
    return max(model.dropout, model.input_dropout, model.dropconnect)


def _bits(nats: float) -> str:
    return f"{nats / math.log(2):.3f}"
