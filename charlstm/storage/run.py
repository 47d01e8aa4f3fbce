"""A run: its settings, its best model, its history and, until it is finished, the state of its training."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from charlstm.arrays import Array, Floats
from charlstm.config.settings import Config
from charlstm.errors import CharlstmError, UsageError
from charlstm.network.char_lstm import CharLSTM, State
from charlstm.optim import Optimizer
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.atomic import replace_file
from charlstm.storage.npz import write_npz
from charlstm.storage.weights import Format, encode_params
from charlstm.text.corpus import Corpus, Dataset, Fingerprint

FORMAT, VERSION = "charlstm", 2
VERSION_COMPACT = 3  # of files with weights narrower than float32
MAX_ROLLBACKS = 2
COUNTERS = ("step", "skipped", "far_off", "rollbacks", "elapsed_s", "loss_sum", "loss_steps")  # of a training state


@dataclass(frozen=True)
class Evaluation:
    """An evaluation after `step` windows, `epoch` passes over the training text and `chars` characters.

    Losses are in nats per character.
    """

    step: int
    epoch: float
    chars: int
    train_loss: float | None  # mean since the previous evaluation; None without updates since then
    val_loss: float | None  # on the validation text; None without one, or if it is not finite
    learning_rate: float  # of the last update
    val_chars: int = 0  # validation characters read


@dataclass(frozen=True)
class Base:
    """The model whose weights a run started from."""

    name: str  # of its file, as given
    sha256: str  # of its vocabulary and weights, as hexadecimal digits


@dataclass(eq=False)
class TrainingState:
    """What a run needs to resume as if never interrupted.

    The step determines the position in the text. The run itself has the best weights.
    """

    network: CharLSTM  # the current weights
    optimizer: Optimizer
    state: State  # at the end of the last window
    rng: np.random.Generator  # source of all further randomness
    step: int = 0  # windows trained on so far
    skipped: int = 0  # updates skipped in a row
    far_off: int = 0  # windows in a row with a loss far above that of guessing
    rollbacks: int = 0  # returns to the best weights, each of which halves the learning rate
    elapsed_s: float = 0.0
    loss_sum: float = 0.0  # of the windows since the last evaluation
    loss_steps: int = 0  # the number of these windows
    ema: dict[str, Floats] | None = None  # moving average of the weights, if the settings ask for one

    def arrays(self) -> dict[str, dict[str, Floats]]:
        """Return all arrays of the shapes of the parameters, by kind and by parameter."""
        ema = {} if self.ema is None else {"ema": self.ema}
        return {"params": self.network.params, **self.optimizer.moments, **ema}

    def header(self) -> dict[str, Any]:
        """Return the rest as JSON values, but for the recurrent state."""
        counters = {name: getattr(self, name) for name in COUNTERS}
        return counters | {"updates": self.optimizer.updates, "rng": self.rng.bit_generator.state}


@dataclass(eq=False)
class Run:
    """A training run, finished or not: its settings, the best model so far, and the history of its evaluations.

    `training` is None once the run is finished. `dataset` is None for a run from a file, until `use_corpus`.
    """

    config: Config
    model: LanguageModel
    fingerprint: Fingerprint  # of the corpus
    best: Evaluation | None = None  # of the best weights
    history: list[Evaluation] = field(default_factory=list)
    training: TrainingState | None = None
    dataset: Dataset | None = None
    base: Base | None = None  # None for a run from scratch
    weights: Format = "float32"  # how its file stores the best weights; others only once it is finished

    def __repr__(self) -> str:
        state = "finished" if self.training is None else f"step {self.training.step:,}"
        loss = "" if self.best_loss is None else f", validation loss {self.best_loss:.4f}"
        return f"Run({state}, {self.model!r}{loss})"

    @property
    def best_loss(self) -> float | None:
        """Validation loss of the best weights, in nats per character; None if there is none."""
        return None if self.best is None else self.best.val_loss

    def use_corpus(self, corpus: Corpus, *, force: bool = False) -> None:
        """Give the run its corpus, from which training can continue.

        Args:
            corpus: the one that the run was started with.
            force: accept a different one of characters that the model can encode. The best weights and the history
                are reset, since they refer to the old corpus.

        Raises:
            CharlstmError: the corpus differs, and `force` is not given, the run is finished, or it has characters
                that the model cannot encode.
        """
        config = self.config.data
        if corpus.documents != config.documents:
            raise CharlstmError(
                f"this run was started with documents {config.documents}, but the corpus was read with documents "
                f"{corpus.documents}; read it in the same way"
            )
        if corpus.fingerprint != self.fingerprint:
            dataset = self._adopt(corpus, force).prepare(replace(config, min_count=1))
            dataset = replace(dataset, min_count=config.min_count)
        else:
            dataset = corpus.prepare(config)
        if dataset.vocab != self.model.vocab:
            raise CharlstmError("the vocabulary of this run does not match its corpus; the model file has been altered")
        self.dataset = dataset

    def save(self, path: str | Path) -> None:
        """Write the run to a file. The old file is replaced only when the new one is complete on the disk.

        The same run gives the same bytes.

        Raises:
            CharlstmError: the file cannot be written, or the weights are not finite. The old file is unchanged.
            UsageError: `weights` is encode_params, and the run is not finished or a weight is too large for it.
        """
        if self.training and self.weights != "float32":
            raise UsageError("an unfinished run can only be stored as float32", "weights")
        if self.training and not all(
            np.isfinite(array).all() for arrays in self.training.arrays().values() for array in arrays.values()
        ):
            raise CharlstmError(
                f"{path} was not saved: the weights are not finite; start again with a lower learning_rate, or with "
                "less l2 or weight_decay"
            )
        try:
            with replace_file(path) as file:
                write_npz(file, self.members())
        except OSError as error:
            raise CharlstmError(f"{path} could not be saved: {error.strerror or error}") from error

    def _adopt(self, corpus: Corpus, force: bool) -> Corpus:
        """Continue with another corpus; return it in the ids of the run's vocabulary."""
        if self.training is None:
            raise CharlstmError(
                "this run is finished and used a different corpus; start a new run, with --init-from to use its weights"
            )
        if not force:
            old, new = self.fingerprint, corpus.fingerprint
            chars = "of the same length" if old.chars == new.chars else f"{new.chars:,} characters, not {old.chars:,}"
            read = {"normalize": corpus.normalize, **dataclasses.asdict(corpus.cleaning)}
            other = [
                f"{name} {self.config.format()[name]}" for name in read if read[name] != self.config.values()[name]
            ]
            raise CharlstmError(
                f"the corpus differs from the one this run was started with ({chars}): "
                f"{f'read it with {other[0]}' if other else 'give the same files in the same order'}, "
                "or use --force to continue with this one"
            )
        ids, unknown = corpus.encode_with(self.model.vocab)
        if unknown and self.model.vocab.unknown_id is None:
            raise CharlstmError(
                f"the corpus has characters outside the model's vocabulary ({unknown:,} in all); start a new run for it"
            )
        self.fingerprint = corpus.fingerprint
        self.best, self.history = None, []
        self.model = LanguageModel(self.training.network.copy(), self.model.vocab)
        return replace(corpus, vocab=self.model.vocab, ids=ids, min_count=self.config.data.min_count)

    def members(self) -> Iterator[tuple[str, Array]]:
        """Yield the arrays of the file by name; docs/format.md describes them."""
        header = {
            "format": FORMAT,
            "version": VERSION if self.weights == "float32" else VERSION_COMPACT,
            "config": self.config.sections(),
            "corpus": dataclasses.asdict(self.fingerprint),
            "best": self.best and dataclasses.asdict(self.best),
            "history": [dataclasses.asdict(entry) for entry in self.history],
            "training": self.training and self.training.header(),
        }
        if self.base:
            header["base"] = dataclasses.asdict(self.base)
        if self.weights != "float32":
            header["weights"] = self.weights
        yield "header", np.frombuffer(json.dumps(header, allow_nan=False, separators=(",", ":")).encode(), np.uint8)
        yield "vocab", self.model.vocab.code_points
        yield "counts", self.model.vocab.counts
        yield from encode_params(self.model.network.params, self.weights)
        if self.training:
            for name in self.model.network.params:
                for kind, arrays in self.training.arrays().items():
                    yield f"training.{kind}.{name}", arrays[name]
            yield "training.h", self.training.state.h
            yield "training.c", self.training.state.c
