"""A character-level text generator: an LSTM in pure NumPy.

The names below load on first use, so that `charlstm --help` needs no NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlstm.checkpoint import Checkpoint as Checkpoint
    from charlstm.checkpoint import load as load
    from charlstm.checkpoint import save as save
    from charlstm.config import Config as Config
    from charlstm.config import load_config as load_config
    from charlstm.corpus import Corpus as Corpus
    from charlstm.corpus import corpus_from_text as corpus_from_text
    from charlstm.corpus import read_corpus as read_corpus
    from charlstm.errors import CharlstmError as CharlstmError
    from charlstm.filters import Choice as Choice
    from charlstm.model import CharLSTM as CharLSTM
    from charlstm.sampling import generate as generate
    from charlstm.training import Report as Report
    from charlstm.training import evaluate as evaluate
    from charlstm.training import start as start
    from charlstm.training import train as train
    from charlstm.vocab import Vocab as Vocab

__version__ = "0.1.0"

_HOMES = {
    "CharLSTM": "model",
    "CharlstmError": "errors",
    "Checkpoint": "checkpoint",
    "Choice": "filters",
    "Config": "config",
    "Corpus": "corpus",
    "Report": "training",
    "Vocab": "vocab",
    "corpus_from_text": "corpus",
    "evaluate": "training",
    "generate": "sampling",
    "load": "checkpoint",
    "load_config": "config",
    "read_corpus": "corpus",
    "save": "checkpoint",
    "start": "training",
    "train": "training",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"charlstm.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'charlstm' has no attribute {name!r}")
