"""`charlstm sample`, `score` and `info`: what can be done with a finished model, or one in training."""

import math
import sys
from collections.abc import Sequence

import numpy as np

from charlstm.checkpoint import Checkpoint, load
from charlstm.cli.display import as_json, bits, printable
from charlstm.cli.words import in_bits
from charlstm.config import SECTIONS, SETTINGS
from charlstm.corpus import read_corpus, unix_newlines
from charlstm.errors import CharlstmError, UsageError
from charlstm.sampling import generate
from charlstm.training import evaluate
from charlstm.vocab import UnknownCharactersError
from charlstm.yardsticks import yardsticks

_QUIET = np.errstate(over="ignore", invalid="ignore")  # a broken model is told in one line, not in warnings


@_QUIET
def write_sample(path: str, length: int, temperature: float, prime: str, seed: int | None) -> None:
    """Write a text on standard output as it comes into being."""
    checkpoint = _loaded(path)
    prime = unix_newlines(_standard_input() if prime == "-" else prime)
    try:
        prime.encode()
        checkpoint.vocab.encode(prime)
    except UnicodeEncodeError:
        raise UsageError("--prime: not UTF-8") from None
    except UnknownCharactersError as error:
        raise UsageError(f"--prime: {error}") from None
    rng = np.random.default_rng(seed)
    live = sys.stdout.isatty()
    sys.stdout.write(prime)
    last = prime
    for last in generate(checkpoint.model, checkpoint.vocab, length, rng=rng, temperature=temperature, prime=prime):
        sys.stdout.write(last)
        if live:
            sys.stdout.flush()
    if live and not last.endswith("\n"):
        sys.stdout.write("\n")


@_QUIET
def print_score(path: str, texts: Sequence[str], encoding: str | None, learnt_from: str | None, json: bool) -> None:
    """Print the loss of a text, and those of simpler models that have learnt from another."""
    checkpoint = _loaded(path)
    encoding = encoding or checkpoint.config.data.encoding
    corpus = read_corpus(texts, encoding)
    ids, unknown = corpus.with_vocab(checkpoint.vocab)
    if len(ids) < 2:
        raise CharlstmError(f"too few characters to score: the model knows {len(ids)} of the text's, two are the least")
    simpler: dict[str, float] = {}
    if learnt_from is not None:
        learnt_ids = read_corpus(learnt_from, encoding).with_vocab(checkpoint.vocab)[0]
        if not len(learnt_ids):
            raise CharlstmError(f"--yardsticks {learnt_from}: the model knows none of its characters")
        simpler = yardsticks(learnt_ids, ids, checkpoint.vocab)
    nats = evaluate(checkpoint.model, ids)
    if not math.isfinite(nats):
        raise CharlstmError("the model is broken: its weights are so large that its predictions are not numbers")
    perplexity = math.exp(nats) if nats < 700 else math.inf
    chars = len(ids) - 1
    if json:
        values = {"chars": chars, "nats_per_char": nats, "bpc": bits(nats), "perplexity": perplexity}
        in_nats = {"yardsticks_nats_per_char": simpler} if simpler else {}
        print(as_json({**values, "unknown_chars": unknown, **in_nats}, indent=2))
        return
    left_out = f"; {unknown:,} unknown ones left out" if unknown else ""
    print(f"{nats:.4f} nats per character, {bits(nats):.4f} bits per character, perplexity {perplexity:.3f}")
    print(f"over {chars:,} characters{left_out}")
    if simpler:
        print(f"simpler models, in bits per character: {in_bits(simpler)}")


def _loaded(path: str) -> Checkpoint:
    try:
        return load(path)
    except UsageError as error:
        raise UsageError(f"{error}; --ckpt names the model") from None


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


def _standard_input() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("--prime - reads from standard input, but that is a terminal: pipe or redirect a text into it")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"--prime -: standard input is not UTF-8 (byte {error.start})") from None
