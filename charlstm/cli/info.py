"""`charlstm info`: the contents of a model file."""

import dataclasses
import unicodedata
from typing import Any

from charlstm.cli.output import as_json, bits, print_row
from charlstm.config.settings import SECTION_OF, SECTIONS
from charlstm.errors import counted, printable, shorten
from charlstm.storage.checkpoint import load_run
from charlstm.storage.run import Run

_SHOWN_CHARS = 200  # of the vocabulary
_CIRCLE = "\u25cc"  # carries a combining mark that is shown by itself


def print_info(path: str, json: bool) -> None:
    """Print the contents of a checkpoint."""
    run = load_run(path)
    if json:
        print(as_json(_describe(run), indent=2))
        return
    _print_model(run)
    _print_progress(run)
    _print_settings(run)
    _print_history(run)


def _describe(run: Run) -> dict[str, Any]:
    """Return the values for JSON."""
    vocab = run.model.vocab
    return {
        "finished": run.training is None,
        "step": _step(run),
        "best": run.best and dataclasses.asdict(run.best),
        "parameters": run.model.network.size,
        "weights": run.weights,
        "vocabulary": vocab.characters,
        "documents": None if vocab.boundary_id is None else int(vocab.counts[vocab.boundary_id]),
        "unknown_character": None if vocab.unknown_id is None else vocab.characters[vocab.unknown_id],
        "corpus": dataclasses.asdict(run.fingerprint),
        "base": run.base and dataclasses.asdict(run.base),
        "config": run.config.sections(),
        "history": [dataclasses.asdict(entry) for entry in run.history],
    }


def _step(run: Run) -> int:
    return run.training.step if run.training else (run.history[-1].step if run.history else 0)


def _print_model(run: Run) -> None:
    """Print the size of the model, its vocabulary, and what it comes from."""
    model, vocab = run.config.model, run.model.vocab
    layers, units = counted(model.num_layers, "layer"), counted(model.hidden_size, "unit")
    print_row("model", f"{layers} of {units}, {run.model.network.size:,} parameters")
    if run.weights != "float32":
        print_row("weights", run.weights)
    unknown = "" if vocab.unknown_id is None else ", including U+FFFD for all others"
    boundary = "" if vocab.boundary_id is None else " and a document boundary"
    shown = shorten(vocab.characters, _SHOWN_CHARS)
    listed = printable("".join(_CIRCLE * bool(unicodedata.combining(c)) + c for c in shown))
    print_row("vocabulary", f"{len(vocab.code_points):,} characters{unknown}{boundary}: {listed}")
    documents = "" if vocab.boundary_id is None else f" in {counted(vocab.counts[vocab.boundary_id], 'document')}"
    sha256 = f"SHA-256 {run.fingerprint.sha256[:16]}..."
    print_row("corpus", f"{run.fingerprint.chars:,} characters{documents}, {sha256}")
    if run.base:
        base = printable(run.base.name) or "another model"
        print_row("started", f"from {base}, SHA-256 {run.base.sha256[:16]}...")


def _print_progress(run: Run) -> None:
    """Print how far the run is, and its best evaluation."""
    print_row("training", f"{'not finished' if run.training else 'finished'}, step {_step(run):,}")
    best = run.best
    if best and best.val_loss is not None:
        read = f" (on {best.val_chars:,} validation characters)" if best.val_chars else ""
        loss = f"{best.val_loss:.4f} nats, {bits(best.val_loss):.4f} bits per character"
        print_row("best", f"{loss}, step {best.step:,}{read}")


def _print_settings(run: Run) -> None:
    settings = run.config.format().items()
    for section in SECTIONS:
        values = ", ".join(f"{name} {value}" for name, value in settings if SECTION_OF[name] == section)
        print_row("settings", f"{section}: {values}")


def _print_history(run: Run) -> None:
    """Print a table of the evaluations."""
    if run.history:
        print(f"evaluations, in bits per character, on {run.history[-1].val_chars:,} validation characters:")
        print(f"{'step':>10} {'epoch':>7} {'training':>9} {'validation':>11} {'rate':>9}")
    for entry in run.history:
        losses = (entry.train_loss, entry.val_loss)
        train_loss, val_loss = ("-" if loss is None else f"{bits(loss):.4f}" for loss in losses)
        row = f"{entry.step:>10,} {entry.epoch:>7.2f} {train_loss:>9} {val_loss:>11}"
        print(f"{row} {entry.learning_rate:>9.2g}")
