"""Messages before and after a run: the corpus and its baselines, how training went, what to do next."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from charlstm.arrays import Ids
from charlstm.cli.display import Display
from charlstm.cli.output import bits, format_bits, format_settings
from charlstm.config.settings import Config
from charlstm.errors import CharlstmError, counted, quote
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.run import Run
from charlstm.text.baselines import MAX_CHARS, baseline_losses
from charlstm.text.corpus import Dataset
from charlstm.text.overlap import OVERLAP_CHARS, find_longest_overlap, measure_overlap
from charlstm.training.advice import assess, suggest_data_settings
from charlstm.training.loop import batches_for, total_steps_of
from charlstm.training.transfer import POOR, compare_vocabularies, loss_before

_COUNTED_PER_S = 100_000  # characters per second of the run: counting takes about a hundredth of it
_MIN_COUNTED = 200_000
_UNSUITABLE = ". It predicts the corpus poorly; training from scratch, without --init-from, may do better"
_SAMPLE_CHARS = 2000  # of a sample that is compared with the training text
_SAMPLE_DOCUMENTS = 200  # at most


def introduce(display: Display, run: Run, dataset: Dataset, chosen: Mapping[str, Any]) -> dict[str, float]:
    """Describe the corpus and the settings that were chosen; return the losses of simple models, after showing them."""
    config, batches = run.config, batches_for(run.config, dataset)
    in_train = in_val = ""
    if dataset.train_starts is not None:
        in_train = f" in {counted(len(dataset.train_starts) - 1, 'document')}"
        in_val = f" in {dataset.val_documents:,}"
    merged = "" if dataset.vocab.unknown_id is None else " with rare ones merged"
    layers = counted(config.model.num_layers, "layer")
    display.say(
        f"{len(dataset.train_ids):,} training characters{in_train}, {len(dataset.val_ids):,} for validation{in_val}; "
        f"{len(dataset.vocab.code_points):,} distinct characters{merged}; "
        f"{layers} of {config.model.hidden_size:,} units, {run.model.network.size:,} parameters"
    )
    if chosen:
        display.say(f"Settings chosen to suit the corpus: {format_settings(chosen)}")
    if batches.batch_size != config.train.batch_size or batches.seq_len < 0.9 * config.train.seq_len:
        display.say(
            f"The corpus is short: using a batch size of {batches.batch_size} and a window length of {batches.seq_len} "
            f"instead of {config.train.batch_size} and {config.train.seq_len}"
        )
    if dataset.copies:
        display.say(format_copies(dataset))
    if run.training and not run.training.step:
        for suggestion in suggest_data_settings(config, dataset):
            display.say(suggestion)
    if config.data.val_fraction and len(dataset.val_ids) < 2:
        is_single = dataset.train_starts is not None and len(dataset.train_starts) == 2
        why = "has a single document, so none can be held out" if is_single else "is too short"
        display.say(f"The corpus {why} for validation; the final weights will be kept")
    elif len(dataset.val_ids) >= 2 and not display.quiet:
        return _show_baselines(display, run.config, dataset)
    return {}


def describe_base(name: str, base: LanguageModel, dataset: Dataset) -> str:
    """Return a message about the model that a run starts from: the characters in common, and whether it suits."""
    old, new = base.vocab, dataset.vocab
    shared = compare_vocabularies(old, new)
    total = shared.characters + len(shared.new)
    added = f"; new: {quote(shared.new)}" if shared.new else ""
    gone = f"; dropped: {shared.gone:,} of its own" if shared.gone else ""
    boundary = new.boundary_id is not None and old.boundary_id is None
    learned = "; it was trained without --documents, so the document boundary is new" if boundary else ""
    return (
        f"Starting from {name}, which has {shared.characters:,} of the corpus's {total:,} characters"
        f"{added}{gone}{learned}"
    ) + (_UNSUITABLE if loss_before(base, dataset) > POOR else "")


def conclude(display: Display, run: Run, dataset: Dataset, baselines: Mapping[str, float]) -> None:
    """Assess the run, and report how much the model copies."""
    if display.quiet:
        return
    if message := assess(run, baselines):
        display.say(message)
    if len(dataset.train_ids) <= _reading_limit(run.config, dataset):
        with suppress(CharlstmError):  # overflowed weights show in the loss
            display.say(_describe_copying(_sample(run), dataset))


def finish(display: Display, run: Run, out: str, how: str) -> None:
    """Report the result, and the next command."""
    loss, best = run.best_loss, run.best
    result = "" if loss is None else f": validation loss {loss:.3f} nats, {bits(loss):.3f} bits per character"
    if best and run.history and best.val_chars > run.history[-1].val_chars > 0:
        result += f" (on {best.val_chars:,} validation characters instead of {run.history[-1].val_chars:,})"
    several = [] if run.config.data.documents == "none" else ["--num", "20"]
    command = shlex.join(["charlstm", "sample", "--ckpt", out, *several])
    display.say(f"{out} {how}{result}, at step {best.step if best else 0:,}. Next:\n    {command}")


def _reading_limit(config: Config, dataset: Dataset) -> int:
    """Return the length of text that can be counted or searched in a small fraction of a run."""
    batches = batches_for(config, dataset)
    steps = total_steps_of(config.train, batches)
    to_read = _COUNTED_PER_S * (config.train.time_s or 0) if steps is None else batches.chars_after(steps)
    return min(max(int(to_read), _MIN_COUNTED), MAX_CHARS)


def _show_baselines(display: Display, config: Config, dataset: Dataset) -> dict[str, float]:
    """Show and return the losses of simple models."""
    limit = _reading_limit(config, dataset)
    losses = baseline_losses(dataset.train_ids, dataset.val_ids[: limit // 10], dataset.vocab, limit)
    trained_on = f" (trained on {limit:,} characters)" if limit < len(dataset.train_ids) else ""
    display.say(f"Baselines{trained_on}, validation loss in bits per character: {format_bits(losses)}")
    return losses


def format_copies(dataset: Dataset) -> str:
    """Return a message about the documents that equal an earlier one, with an example."""
    copies = counted(dataset.copies, "copy of an earlier document", "copies of earlier documents")
    copies += f"{': ' if dataset.copies == 1 else ', such as '}{quote(dataset.example_copy)}"
    return f"Dropped {copies}" if dataset.deduplicate else f"The corpus has {copies}; --deduplicate drops copies"


def _sample(run: Run) -> Ids:
    """Return the ids of a generated text, or of documents, each with its boundary."""
    vocab, seed = run.model.vocab, run.config.train.seed
    boundary = np.array([] if vocab.boundary_id is None else [vocab.boundary_id], vocab.id_type)
    pieces, chars = [vocab.encode("")], 0
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(_SAMPLE_DOCUMENTS if len(boundary) else 1):
            text = run.model.generate(length=_SAMPLE_CHARS - chars, seed=(seed, n) if n else seed)
            pieces += [vocab.encode(text), boundary]
            chars += len(text)
            if chars >= _SAMPLE_CHARS:
                break
    return np.concatenate(pieces)


def _describe_copying(sample: Ids, dataset: Dataset) -> str:
    """Return how much of a sample occurs in the training text, compared with the validation text."""
    passages = f"{OVERLAP_CHARS}-character passages"
    copied = (
        f"{measure_overlap(sample, dataset.train_ids):.1%} of the {passages} in a sample occur in the training text"
    )
    if len(dataset.val_ids) >= _SAMPLE_CHARS:
        natural = measure_overlap(dataset.val_ids[:_SAMPLE_CHARS], dataset.train_ids)
        copied += f", compared with {natural:.1%} of those in the validation text"
    start, length = find_longest_overlap(sample, dataset.train_ids)
    longest = quote(dataset.vocab.decode(sample[start : start + length], "\n"))
    return f"{copied}. The longest match has {length:,} characters: {longest}"
