"""`charlstm plan`: a description of a corpus, the settings that suit it, and the cost of training."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from charlstm.cli.inputs import prepare_kernel, read_texts
from charlstm.cli.output import as_json, format_settings, print_row
from charlstm.config.kinds import as_flag
from charlstm.config.settings import SETTINGS, Config
from charlstm.errors import counted, printable
from charlstm.text.corpus import Corpus, Dataset
from charlstm.training.advice import (
    RARE,
    advise,
    file_bytes,
    measure_speed,
    memory_bytes,
    reference_of,
    repeated_line_fraction,
    suggest_data_settings,
    suggest_documents,
)
from charlstm.training.loop import batches_for, total_steps_of
from charlstm.training.transfer import suggest_base

_LINE_ENDINGS = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}
_SHOWN_RARE = 20


def print_plan(paths: Sequence[str], flags: Mapping[str, Any], json: bool) -> None:
    """Print a description of a corpus and how to train on it."""
    config = Config().replace(**flags)
    config = config.replace(kernel=prepare_kernel(config.train.kernel, config.model.hidden_size, quiet=json))
    corpus = read_texts(paths, config.data.reading)
    dataset = corpus.prepare(config.data)
    settings = advise(dataset, {**flags, "kernel": config.train.kernel})
    config = config.replace(**settings)
    values = {
        **_describe(corpus, dataset),
        "model_vocabulary": len(dataset.vocab.code_points),
        "settings": settings,
        "suggestions": [
            *suggest_data_settings(config, dataset),
            *suggest_documents(corpus, "row" if config.data.field else "line"),
            *(() if flags.keys() & {"hidden_size", "num_layers"} else suggest_base(dataset)),
        ],
        **_estimate_cost(dataset, config),
    }
    if json:
        print(as_json(values, indent=2))
        return
    _print_corpus(values)
    print_row("settings", format_settings(settings))
    print_row("speed", f"{values['chars_per_s']:,.0f} characters/s on this machine")
    print_row("time", f"{values['seconds']:,.0f} s, {_format_epochs(values['epochs'])} epochs")
    print_row("memory", f"{values['memory_mb']:,.0f} MB; model file {values['file_mb']:.1f} MB")
    given = [word for name in flags for word in as_flag(SETTINGS[name], config.format()[name])]
    print("To train with these settings:")
    print(f"    {printable(shlex.join(['charlstm', 'train', *paths, *given]))}")


def _print_corpus(values: Mapping[str, Any]) -> None:
    rare, endings = values["rare"], " and ".join(values["line_endings"]) or "no newlines"
    listed = ", ".join(f"'{printable(c)}' {n}" for c, n in list(rare.items())[:_SHOWN_RARE])
    listed += ", ..." if len(rare) > _SHOWN_RARE else ""
    left = values["model_vocabulary"]
    merged = "" if left == values["vocabulary"] else f", {left} with rare ones merged"
    print_row("corpus", f"{values['chars']:,} characters, {values['vocabulary']:,} distinct{merged}")
    if values["documents"] is not None:
        print_row(
            "documents",
            f"{values['documents']:,}, including {counted(values['copies'], 'copy', 'copies')} of earlier ones",
        )
    print_row("rare", f"{len(rare):,} occurring fewer than {RARE} times{': ' * bool(rare)}{listed}")
    print_row("lines", f"{endings}; {values['repeated_lines']:.1%} repeat an earlier line")
    for suggestion in values["suggestions"]:
        print_row("suggestion", suggestion)


def _format_epochs(epochs: float) -> str:
    return f"{epochs:,.1f}" if epochs >= 1 else f"{epochs:.2g}"


def _describe(corpus: Corpus, dataset: Dataset) -> dict[str, Any]:
    counts = dict(zip(corpus.vocab.characters, corpus.vocab.counts.tolist(), strict=False))  # without the boundary's
    return {
        "chars": corpus.chars,
        "documents": None if corpus.starts is None else len(corpus.starts) - 1,
        "copies": dataset.copies,
        "vocabulary": len(corpus.vocab.code_points),
        "rare": {character: count for character, count in counts.items() if count < RARE},
        "repeated_lines": repeated_line_fraction(corpus),
        "line_endings": sorted(_LINE_ENDINGS[ending] for ending in corpus.line_endings or {"\n"} & counts.keys()),
    }


def _estimate_cost(dataset: Dataset, config: Config) -> dict[str, Any]:
    batches = batches_for(config, dataset)
    chars_per_s = measure_speed(config, dataset)
    steps = total_steps_of(config.train, batches)
    seconds = (config.train.time_s or 0) if steps is None else batches.chars_after(steps) / chars_per_s
    models = [config, *([] if config.train.time_s is None else [reference_of(config)])]  # that train, or are timed
    return {
        "chars_per_s": chars_per_s,
        "seconds": seconds,
        "epochs": seconds * chars_per_s / batches.chars_per_epoch,
        "memory_mb": max(memory_bytes(each, dataset) for each in models) / 1e6,
        "file_mb": file_bytes(config, len(dataset.vocab)) / 1e6,
    }
