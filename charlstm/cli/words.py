"""What is said before and after a run: what to hold the loss against, how it went, what to do next."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from charlstm.advice import verdict
from charlstm.checkpoint import Checkpoint
from charlstm.cli.display import Display, bits, printable
from charlstm.config import SETTINGS
from charlstm.copying import GRAM, longest_copy, share_copied
from charlstm.corpus import Corpus
from charlstm.errors import CharlstmError
from charlstm.filters import Choice
from charlstm.sampling import generate
from charlstm.training import batches_of, validation_part
from charlstm.vocab import Ids, Vocab
from charlstm.yardsticks import yardsticks

_METER_CHARS = 2000  # of a sample that is held against the training text
_MOST_SEARCHED_CHARS = 20_000_000  # of the training text; more would take more than some seconds
_SHOWN_CHARS = 60


def introduce(display: Display, run: Checkpoint, corpus: Corpus, chosen: Mapping[str, Any]) -> None:
    """Say what is about to be trained on, with which settings that were chosen, and what simpler models reach there."""
    config = run.config
    train_ids, val_ids = corpus.split(config.data.val_fraction)
    batches = batches_of(config, train_ids)
    parameters = sum(param.size for param in run.model.params.values())
    display.say(
        f"{len(train_ids):,} characters to train on, {len(val_ids):,} to validate, {len(run.vocab)} different ones; "
        f"{config.model.num_layers} x {config.model.hidden_size} units, {parameters:,} parameters"
    )
    if chosen:
        display.say(f"Settings that suit the text and the time: {shown_settings(chosen)}")
    if (batches.batch_size, batches.seq_len) != (config.train.batch_size, config.train.seq_len):
        display.say(
            f"The text is short: {batches.batch_size} streams of {batches.seq_len} characters at a time, instead of "
            f"{config.train.batch_size} of {config.train.seq_len}"
        )
    if config.data.val_fraction and len(val_ids) < 2:
        display.say("The text is too short to set a part aside: there is no validation, the last weights are kept")
    elif len(val_ids) >= 2 and not display.quiet:
        losses = yardsticks(train_ids, validation_part(config, val_ids), run.vocab)
        display.say(f"Validation loss of simpler models, in bits per character: {in_bits(losses)}")


def shown_settings(values: Mapping[str, Any]) -> str:
    """Return settings as the flags that give them."""
    return " ".join(f"--{name.replace('_', '-')} {SETTINGS[name].kind.show(value)}" for name, value in values.items())


def in_bits(losses: dict[str, float]) -> str:
    """Return yardsticks as a line shows them."""
    return ", ".join(f"{name} {bits(loss):.3f}" for name, loss in losses.items())


def conclude(display: Display, run: Checkpoint, corpus: Corpus) -> None:
    """Say whether the text was learnt or learnt by heart, and how much the model copies."""
    if display.quiet:
        return
    if words := verdict(run):
        display.say(words)
    train_ids, val_ids = corpus.split(run.config.data.val_fraction)
    if len(train_ids) <= _MOST_SEARCHED_CHARS:
        with suppress(CharlstmError):  # what is too broken to write has been told by its loss
            display.say(f"Of a sample of {_METER_CHARS:,} characters, {_copies(_sample(run), train_ids, run.vocab)}")
        if len(val_ids) >= _METER_CHARS:
            display.say(f"Of as much of the validation text, {_copies(val_ids[:_METER_CHARS], train_ids, run.vocab)}")


def _sample(run: Checkpoint) -> Ids:
    rng = np.random.default_rng(run.config.train.seed)
    with np.errstate(over="ignore", invalid="ignore"):
        return run.vocab.encode("".join(generate(run.model, run.vocab, _METER_CHARS, "", rng, Choice(0.8))))


def _copies(sample: Ids, train_ids: Ids, vocab: Vocab) -> str:
    at, length = longest_copy(sample, train_ids)
    run = vocab.decode(sample[at : at + length])
    shown = run if length <= _SHOWN_CHARS else run[: _SHOWN_CHARS - 3] + "..."
    return (
        f"{share_copied(sample, train_ids):.1%} of the runs of {GRAM} stand in the training text too; "
        f"the longest run has {length}: '{printable(shown)}'"
    )


def finish(display: Display, run: Checkpoint, out: str, how: str) -> None:
    """Say what came out, and what comes next."""
    best = run.best or {"step": 0, "val_loss": None}
    loss = best["val_loss"]
    result = "" if loss is None else f": validation loss {loss:.3f} nats, {bits(loss):.3f} bits per character"
    display.say(
        f"{out} {how}{result}, at step {best['step']:,}. Next:\n    {shlex.join(['charlstm', 'sample', '--ckpt', out])}"
    )
