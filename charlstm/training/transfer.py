"""Starting from another model: its weights, with the vocabulary of a new corpus."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from charlstm.arrays import Bools, IntArray
from charlstm.config.settings import ModelConfig
from charlstm.errors import CharlstmError, UsageError, counted
from charlstm.network.char_lstm import CharLSTM, init_network
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.checkpoint import load
from charlstm.storage.run import Base
from charlstm.text.corpus import Dataset
from charlstm.text.vocab import Vocab

ENGLISH = "@english"  # the bundled model
POOR = 3.5  # loss on a corpus, in nats, above which training from scratch may do better; English gets 3.4 on German
_SHORT_CHARS = 2_000_000  # shorter corpora benefit from it
_PIECES, _PIECE_CHARS = 8, 250  # of a corpus, scored to detect English
_MIN_KNOWN = 0.98  # fraction of characters
_MAX_LOSS = 2.6  # nats per character: posts score 2.0, the manual of curl 2.4, Python 2.8, German 3.5


@dataclass(frozen=True)
class Shared:
    """The overlap of two vocabularies.

    `characters` of the new vocabulary are in the old one, `new` ones are not, and `gone` ones are only in the old one.
    """

    characters: int
    new: str
    gone: int


def transfer(model: LanguageModel, vocab: Vocab, config: ModelConfig, rng: np.random.Generator) -> CharLSTM:
    """Return a network with the weights of a model and another vocabulary.

    Characters in both vocabularies keep their columns of `w_x`, rows of `w_out` and output biases, as do the boundary
    and the unknown character if both vocabularies have them. All others get initial weights.

    Args:
        model: to start from.
        vocab: of the new network.
        config: of the new network. Its units and layers must be those of the model.
        rng: source of the initial weights.

    Raises:
        UsageError: the model has another number of units or layers.
    """
    size_of(model, asdict(config))
    network = init_network(config, len(vocab), rng, boundary_id=vocab.boundary_id)
    old, shared = _find_ids(model.vocab, vocab)
    for name, param in network.params.items():
        values = model.network.params[name]
        if name == "layer0.w_x":
            param[:, shared] = values[:, old[shared]]
        elif name in ("w_out", "b_out"):
            param[shared] = values[old[shared]]
        else:
            param[...] = values
    return network


def size_of(model: LanguageModel, given: Mapping[str, Any]) -> dict[str, int]:
    """Return the settings that determine a model's size.

    Raises:
        UsageError: the given settings contradict them.
    """
    size = {name: getattr(model.network.config, name) for name in ("hidden_size", "num_layers")}
    for name, value in size.items():
        if given.get(name, value) != value:
            has = f"{value:,} units per layer" if name == "hidden_size" else counted(value, "layer")
            raise UsageError(f"the model to start from has {has}; omit this setting", name)
    return size


def compare_vocabularies(old: Vocab, new: Vocab) -> Shared:
    """Return the overlap of two vocabularies, without the unknown character."""
    added, shared = new.known - old.known, new.known & old.known
    return Shared(len(shared), "".join(sorted(added)), len(old.known - shared))


def suggest_base(dataset: Dataset) -> list[str]:
    """Return the suggestion to start from the bundled model, if a corpus is short and the model predicts it well."""
    ids = dataset.train_ids
    if not _PIECES * _PIECE_CHARS <= len(ids) < _SHORT_CHARS:
        return []
    try:
        model = load(ENGLISH)
    except CharlstmError:
        return []
    text = _sample_text(dataset)
    known = sum(character in model.vocab.characters for character in text)
    if known < _MIN_KNOWN * len(text) or loss_before(model, dataset) >= _MAX_LOSS:
        return []
    return [f"The corpus is short and looks like English; try --init-from {ENGLISH}, a model trained on English books"]


def loss_before(model: LanguageModel, dataset: Dataset) -> float:
    """Return the loss of a model on a sample of a corpus that it is to learn, in nats per character.

    Characters that it does not know cost as much as guessing, and so do all if its predictions are not finite.
    """
    guessing = math.log(len(model.vocab))
    try:
        score = model.score(_sample_text(dataset))
    except CharlstmError:
        return guessing
    unknown = 0 if score.unknown_scored else score.unknown_chars
    loss = (score.nats_per_char * score.chars + guessing * unknown) / (score.chars + unknown)
    return loss if math.isfinite(loss) else guessing


def _sample_text(dataset: Dataset) -> str:
    """Return a sample of the training text, from several places."""
    ids = dataset.train_ids
    starts = np.linspace(0, max(len(ids) - _PIECE_CHARS, 0), _PIECES).astype(int)
    return "".join(dataset.vocab.decode(ids[start : start + _PIECE_CHARS], "\n") for start in starts)


def base_of(model: LanguageModel, name: str) -> Base:
    """Return the record, for the checkpoint, of the model that a run starts from."""
    digest = hashlib.sha256(model.vocab.code_points.tobytes())
    for param in model.network.params.values():
        digest.update(param.tobytes())
    return Base(name, digest.hexdigest())


def _find_ids(old: Vocab, new: Vocab) -> tuple[IntArray, Bools]:
    """Return the old id of each id in a new vocabulary [V], and whether the old vocabulary has it [V]."""
    found, known = old.find(new.code_points)
    ids = found.astype(np.intp)
    if old.unknown_id is not None and new.unknown_id is not None:
        ids[new.unknown_id], known[new.unknown_id] = old.unknown_id, True
    elif new.unknown_id is not None:
        known[new.unknown_id] = False  # an ordinary character in the old one
    if new.boundary_id is not None:
        ids, known = np.append(ids, old.boundary_id or 0), np.append(known, old.boundary_id is not None)
    return ids, known
