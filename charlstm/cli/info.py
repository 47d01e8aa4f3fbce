"""`charlstm info`: the contents of a model file."""

import dataclasses

from charlstm.cli.output import as_json, bits
from charlstm.config.settings import SECTION_OF, SECTIONS
from charlstm.errors import printable, shorten
from charlstm.storage.checkpoint import load_run

_SHOWN_CHARS = 200  # of the vocabulary


def print_info(path: str, json: bool) -> None:
    """Print the contents of a checkpoint."""
    run = load_run(path)
    parameters = run.model.network.size
    vocab, best, training = run.model.vocab, run.best, run.training
    step = training.step if training else (run.history[-1].step if run.history else 0)
    if json:
        values = {
            "finished": training is None,
            "step": step,
            "best": best and dataclasses.asdict(best),
            "parameters": parameters,
            "weights": run.weights,
            "vocabulary": vocab.characters,
            "documents": None if vocab.boundary_id is None else int(vocab.counts[vocab.boundary_id]),
            "unknown_character": None if vocab.unknown_id is None else vocab.characters[vocab.unknown_id],
            "corpus": dataclasses.asdict(run.fingerprint),
            "base": run.base and dataclasses.asdict(run.base),
            "config": run.config.sections(),
            "history": [dataclasses.asdict(entry) for entry in run.history],
        }
        print(as_json(values, indent=2))
        return
    print(
        f"model       {run.config.model.num_layers} x {run.config.model.hidden_size} units, {parameters:,} parameters"
    )
    if run.weights != "float32":
        print(f"weights     {run.weights}")
    unknown = "" if vocab.unknown_id is None else ", of which U+FFFD stands for all others"
    boundary = "" if vocab.boundary_id is None else ", and the boundary of documents"
    listed = printable(shorten(vocab.characters, _SHOWN_CHARS))
    print(f"vocabulary  {len(vocab.code_points)} characters{unknown}{boundary}: {listed}")
    documents = "" if vocab.boundary_id is None else f" in {vocab.counts[vocab.boundary_id]:,} documents"
    print(f"corpus      {run.fingerprint.chars:,} characters{documents}, SHA-256 {run.fingerprint.sha256[:16]}...")
    if run.base:
        print(f"started     from {printable(run.base.name) or 'another model'}, SHA-256 {run.base.sha256[:16]}...")
    print(f"training    {'not finished' if training else 'finished'}, step {step:,}")
    if best and best.val_loss is not None:
        read = f" (on {best.val_chars:,} validation characters)" if best.val_chars else ""
        loss = f"{best.val_loss:.4f} nats, {bits(best.val_loss):.4f} bits per character"
        print(f"best        {loss}, step {best.step:,}{read}")
    settings = run.config.format().items()
    for section in SECTIONS:
        print(
            f"{section:<11} {', '.join(f'{name} {value}' for name, value in settings if SECTION_OF[name] == section)}"
        )
    if run.history:
        print(f"evaluations, in bits per character, on {run.history[-1].val_chars:,} validation characters:")
        print(f"{'step':>10} {'epoch':>7} {'training':>9} {'validation':>11} {'rate':>9}")
    for entry in run.history:
        losses = (entry.train_loss, entry.val_loss)
        train_loss, val_loss = ("-" if loss is None else f"{bits(loss):.4f}" for loss in losses)
        row = f"{entry.step:>10,} {entry.epoch:>7.2f} {train_loss:>9} {val_loss:>11}"
        print(f"{row} {entry.learning_rate:>9.2g}")
