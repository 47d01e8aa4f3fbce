"""The start of a run from Python: reads the corpus and chooses the settings that are not given."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charlstm.config.presets import load_config
from charlstm.config.settings import Config
from charlstm.errors import UsageError
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.checkpoint import load
from charlstm.storage.run import Run
from charlstm.text.corpus import Corpus, Dataset
from charlstm.text.reader import read_corpus
from charlstm.training.advice import advise
from charlstm.training.loop import new_run
from charlstm.training.transfer import size_of


def start(
    corpus: str | Path | Iterable[str | Path] | Corpus | Dataset,
    config: Config | str | Path | None = None,
    *,
    init_from: LanguageModel | str | Path | None = None,
    **settings: Any,
) -> Run:
    """Return a new run, to be trained by `train`.

    Without `config`, the settings that are not given are chosen to suit the corpus and the time, as by
    `charlstm train`. That measures the speed of this machine for half a second if the run is limited by time.

    Args:
        corpus: a file, a directory, or several that are read in order, as by `read_corpus`; `@tweets` is a bundled
            corpus. Or a corpus already read.
        config: a configuration, or the name of a preset or a YAML file.
        init_from: a model, or its file, whose weights to start from instead of random ones. It determines the units
            and layers; the corpus determines the vocabulary.
        settings: by name, in place of those of `config`, such as `time="2m"` or `hidden_size=128`.

    Raises:
        UsageError: a file cannot be read, or a setting is unknown or out of range.
        CharlstmError: nothing can be learned from this corpus.
    """
    base = config if isinstance(config, Config) else Config() if config is None else load_config(str(config))
    base = base.replace(**settings)
    if not isinstance(corpus, Corpus | Dataset):
        corpus = read_corpus(corpus, **base.data.reading)
    fixed = _settings_of(corpus)
    for name, value in fixed.items():
        if name in settings and base.values()[name] != value:
            raise UsageError(f"the {type(corpus).__name__.lower()} was made with {value}", name)
    base = base.replace(**fixed)
    dataset = corpus.prepare(base.data) if isinstance(corpus, Corpus) else corpus
    model = init_from if isinstance(init_from, LanguageModel | None) else load(init_from)
    given = {name: base.values()[name] for name in settings}
    if model is not None:
        size = size_of(model, given if config is None else base.values())
        base, given = base.replace(**size), given | size
    if config is None:
        base = base.replace(**advise(dataset, given, base=model))
    return new_run(base, dataset, model, "" if isinstance(init_from, LanguageModel | None) else str(init_from))


def _settings_of(corpus: Corpus | Dataset) -> dict[str, Any]:
    """Return the settings that a corpus was made with, which can no longer be chosen."""
    values = {"normalize": corpus.normalize, "documents": corpus.documents, **dataclasses.asdict(corpus.cleaning)}
    if isinstance(corpus, Dataset):
        names: tuple[str, ...] = ("min_count", "val_fraction", "deduplicate")
    else:
        names = ("min_count",) * (corpus.min_count > 1) + ("deduplicate",) * corpus.deduplicate
    return values | {name: getattr(corpus, name) for name in names}
