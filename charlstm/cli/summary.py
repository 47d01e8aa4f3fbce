"""Messages before and after a run: the corpus and its baselines, how training went, what to do next."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from charlstm.arrays import Ids
from charlstm.cli.output import Display, bits, format_bits, format_settings, quote
from charlstm.config.settings import Config
from charlstm.errors import CharlstmError
from charlstm.storage.run import Run
from charlstm.text.baselines import MAX_CHARS, baseline_losses
from charlstm.text.corpus import Dataset
from charlstm.text.overlap import OVERLAP_CHARS, find_longest_overlap, measure_overlap
from charlstm.training.advice import assess
from charlstm.training.loop import batches_for, total_steps_of

_BASELINE_CHARS_PER_S = 100_000  # of the run: counting takes about a hundredth of it
_MIN_BASELINE_CHARS = 200_000
_SAMPLE_CHARS = 2000  # of a sample that is compared with the training text
_MAX_SEARCHED_CHARS = 20_000_000  # of the training text; searching more takes more than a few seconds


def introduce(display: Display, run: Run, dataset: Dataset, chosen: Mapping[str, Any]) -> dict[str, float]:
    """Describe the corpus and the settings that were chosen; return the losses of simple models, after showing them."""
    config, batches = run.config, batches_for(run.config, dataset)
    display.say(
        f"{len(dataset.train_ids):,} training characters, {len(dataset.val_ids):,} for validation, "
        f"{len(dataset.vocab)} distinct; {config.model.num_layers} x {config.model.hidden_size} units, "
        f"{run.model.network.size:,} parameters"
    )
    if chosen:
        display.say(f"Settings chosen to suit the corpus: {format_settings(chosen)}")
    if batches.batch_size != config.train.batch_size or batches.seq_len < 0.9 * config.train.seq_len:
        display.say(
            f"The corpus is short: using a batch size of {batches.batch_size} and windows of {batches.seq_len} "
            f"characters instead of {config.train.batch_size} and {config.train.seq_len}"
        )
    if config.data.val_fraction and len(dataset.val_ids) < 2:
        display.say("The corpus is too short for validation; the last weights will be kept")
    elif len(dataset.val_ids) >= 2 and not display.quiet:
        return _show_baselines(display, run.config, dataset)
    return {}


def conclude(display: Display, run: Run, dataset: Dataset) -> None:
    """Assess the run, and report how much the model copies."""
    if display.quiet:
        return
    if message := assess(run):
        display.say(message)
    if len(dataset.train_ids) > _MAX_SEARCHED_CHARS:
        return
    with suppress(CharlstmError):  # overflowed weights show in the loss
        overlap = _describe_overlap(_sample(run), dataset)
        display.say(f"In a sample of {_SAMPLE_CHARS:,} characters, {overlap}")
    if len(dataset.val_ids) >= _SAMPLE_CHARS:
        overlap = _describe_overlap(dataset.val_ids[:_SAMPLE_CHARS], dataset)
        display.say(f"For comparison, in the same amount of validation text, {overlap}")


def finish(display: Display, run: Run, out: str, how: str) -> None:
    """Report the result, and the next command."""
    loss = run.best_loss
    result = "" if loss is None else f": validation loss {loss:.3f} nats, {bits(loss):.3f} bits per character"
    step = run.best.step if run.best else 0
    command = shlex.join(["charlstm", "sample", "--ckpt", out])
    display.say(f"{out} {how}{result}, at step {step:,}. Next:\n    {command}")


def _show_baselines(display: Display, config: Config, dataset: Dataset) -> dict[str, float]:
    """Show and return the losses of simple models. Their texts are limited, so that they take little of the run."""
    steps = total_steps_of(config.train, batches_for(config, dataset))
    to_read = _BASELINE_CHARS_PER_S * (config.train.time_s or 0)
    if steps is not None:
        to_read = batches_for(config, dataset).chars_after(steps)
    limit = min(max(int(to_read), _MIN_BASELINE_CHARS), MAX_CHARS)
    losses = baseline_losses(dataset.train_ids, dataset.val_ids[: limit // 10], dataset.vocab, limit)
    trained_on = f" (trained on {limit:,} characters)" if limit < len(dataset.train_ids) else ""
    display.say(f"Baselines{trained_on}, validation loss in bits per character: {format_bits(losses)}")
    return losses


def _sample(run: Run) -> Ids:
    with np.errstate(over="ignore", invalid="ignore"):
        text = run.model.generate(length=_SAMPLE_CHARS, temperature=0.8, seed=run.config.train.seed)
    return run.model.vocab.encode(text)


def _describe_overlap(sample: Ids, dataset: Dataset) -> str:
    start, length = find_longest_overlap(sample, dataset.train_ids)
    longest = quote(dataset.vocab.decode(sample[start : start + length]))
    return (
        f"{measure_overlap(sample, dataset.train_ids):.1%} of the {OVERLAP_CHARS}-character sequences occur in the "
        f"training text; the longest match has length {length}: {longest}"
    )
