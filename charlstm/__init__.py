"""A character-level text generator: an LSTM in pure NumPy.

The names below load on first use, so that `charlstm --help` needs no NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlstm.checkpoint import Checkpoint as Checkpoint, load as load, save as save
    from charlstm.config import Config as Config, load_config as load_config
    from charlstm.corpus import Corpus as Corpus, corpus_from_text as corpus_from_text, read_corpus as read_corpus
    from charlstm.errors import CharlstmError as CharlstmError
    from charlstm.model import CharLSTM as CharLSTM
    from charlstm.sampling import generate as generate
    from charlstm.training import Report as Report, evaluate as evaluate, start as start, train as train
    from charlstm.vocab import Vocab as Vocab

__version__ = "0.1.0"

_HOMES = {
    "CharLSTM": "model",
    "CharlstmError": "errors",
    "Checkpoint": "checkpoint",
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
