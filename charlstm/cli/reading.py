"""`charlstm info`, and how a model is loaded for reading."""

import re

import numpy as np

from charlstm.checkpoint import Checkpoint, load
from charlstm.cli.display import as_json, bits, printable
from charlstm.config import SECTIONS, SETTINGS
from charlstm.errors import UsageError

QUIET = np.errstate(over="ignore", invalid="ignore")  # a broken model is told in one line, not in warnings


def loaded(path: str) -> Checkpoint:
    """Load the model that --ckpt names."""
    try:
        return load(path)
    except UsageError as error:
        raise UsageError(f"{error}; --ckpt names the model") from None


def read_once(*paths: str | None) -> None:
    """Refuse to read standard input twice."""
    if paths.count("-") > 1:
        raise UsageError("- is standard input, which can be read only once: give it once")


def unescaped(text: str) -> str:
    r"""Return a text in which \n is a line end, \t a tab, and \\ a backslash."""
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t", "\\": "\\"}[match[1]], text)


def print_info(path: str, json: bool) -> None:
    """Print what is inside a checkpoint."""
    checkpoint = load(path)
    parameters = sum(param.size for param in checkpoint.model.params.values())
    progress = checkpoint.progress
    values = {
        "finished": progress is None,
        "step": progress.step if progress else (checkpoint.history[-1]["step"] if checkpoint.history else 0),
        "best": checkpoint.best,
        "parameters": parameters,
        "vocabulary": checkpoint.vocab.decode(range(len(checkpoint.vocab))),
        "corpus": checkpoint.corpus,
        "config": checkpoint.config.sections(),
        "history": checkpoint.history,
    }
    if json:
        print(as_json(values, indent=2))
        return
    model, best = checkpoint.config.model, checkpoint.best
    print(f"model       {model.num_layers} x {model.hidden_size} units, {parameters:,} parameters")
    print(f"characters  {len(checkpoint.vocab)}: {printable(str(values['vocabulary']))}")
    print(f"text        {checkpoint.corpus['chars']:,} characters, SHA-256 {checkpoint.corpus['sha256'][:16]}...")
    print(f"training    {'finished' if progress is None else 'not finished'}, step {values['step']:,}")
    if best and best["val_loss"] is not None:
        loss = best["val_loss"]
        print(f"best        {loss:.4f} nats, {bits(loss):.4f} bits per character, step {best['step']:,}")
    for section in SECTIONS:
        shown = checkpoint.config.shown().items()
        print(f"{section:<11} {', '.join(f'{k} {v}' for k, v in shown if SETTINGS[k].section == section)}")
    if checkpoint.history:
        print(f"{'step':>10} {'epoch':>7} {'training':>9} {'validation':>11} {'rate':>9}")
    for entry in checkpoint.history:
        losses = ["-" if entry[name] is None else f"{entry[name]:.4f}" for name in ("train_loss", "val_loss")]
        row = f"{entry['step']:>10,} {entry['epoch']:>7.2f} {losses[0]:>9} {losses[1]:>11}"
        print(f"{row} {entry['learning_rate']:>9.2g}")
