"""A character-level text generator: an LSTM in pure NumPy.

>>> run = charlstm.start("corpus.txt", time="2m")
>>> for report in charlstm.train(run): ...
>>> run.save("model.npz")
>>> charlstm.load("model.npz").generate("It was ", length=200, temperature=0.8, seed=1)

The names below are imported on first use, so that `charlstm --help` needs no NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlstm.config.presets import load_config as load_config
    from charlstm.config.settings import Config as Config
    from charlstm.diagnosis.checks import Result as Result
    from charlstm.diagnosis.checks import check as check
    from charlstm.errors import CharlstmError as CharlstmError
    from charlstm.errors import UsageError as UsageError
    from charlstm.sampling.language_model import LanguageModel as LanguageModel
    from charlstm.sampling.language_model import Score as Score
    from charlstm.sampling.params import SamplingParams as SamplingParams
    from charlstm.storage.checkpoint import load as load
    from charlstm.storage.checkpoint import load_run as load_run
    from charlstm.storage.run import Evaluation as Evaluation
    from charlstm.storage.run import Run as Run
    from charlstm.text.builder import corpus_from_text as corpus_from_text
    from charlstm.text.corpus import Corpus as Corpus
    from charlstm.text.corpus import Dataset as Dataset
    from charlstm.text.reader import read_corpus as read_corpus
    from charlstm.text.vocab import Vocab as Vocab
    from charlstm.training.loop import Report as Report
    from charlstm.training.loop import train as train
    from charlstm.training.start import start as start

__version__ = "0.2.0"

_MODULES = {
    "CharlstmError": "errors",
    "Config": "config.settings",
    "Corpus": "text.corpus",
    "Dataset": "text.corpus",
    "Evaluation": "storage.run",
    "LanguageModel": "sampling.language_model",
    "Report": "training.loop",
    "Result": "diagnosis.checks",
    "Run": "storage.run",
    "SamplingParams": "sampling.params",
    "Score": "sampling.language_model",
    "UsageError": "errors",
    "Vocab": "text.vocab",
    "check": "diagnosis.checks",
    "corpus_from_text": "text.builder",
    "load": "storage.checkpoint",
    "load_config": "config.presets",
    "load_run": "storage.checkpoint",
    "read_corpus": "text.reader",
    "start": "training.start",
    "train": "training.loop",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"charlstm.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'charlstm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
