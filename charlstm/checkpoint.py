"""A run as one `.npz` file: a model and, until it is finished, its training; read with distrust, written atomically.

docs/format.md describes the file for other programs.
"""

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charlstm.config import Config, config_from_sections
from charlstm.copying import CopyIndex
from charlstm.errors import CharlstmError, UsageError
from charlstm.model import CharLSTM, State, param_shapes
from charlstm.npz import Array, DamagedError, NpzReader, demand, write_npz
from charlstm.optim import Optimizer, moments_of
from charlstm.vocab import Vocab
from charlstm.workspace import Floats

FORMAT, VERSION = "charlstm", 1
MOST_RESCUES = 2
_MOST_HEADER_BYTES = 4_000_000  # as JSON, it can take twenty times as much


@dataclass
class Progress:
    """What a run that is not finished needs in order to go on as if it had never stopped.

    Attributes:
        model: the current weights (the checkpoint itself has the best so far).
        optimizer: the rule of the updates, and its moments.
        state: the recurrent state where the last window ended.
        rng: source of what is random from here on.
        step: windows seen, and with it the place in the text.
        skipped: how many of the last ones had no finite gradient.
        rescues: how often the run went back to its best weights; each halves the learning rate.
        elapsed_s: seconds of training so far.
        loss_sum: sum of the windows' losses since the last evaluation.
        loss_steps: how many windows that sum is of.
        average: running average of the weights, by parameter; None where the settings ask for none.
    """

    model: CharLSTM
    optimizer: Optimizer
    state: State
    rng: np.random.Generator
    step: int = 0
    skipped: int = 0
    rescues: int = 0
    elapsed_s: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    average: dict[str, Floats] | None = None

    def arrays(self) -> dict[str, dict[str, Floats]]:
        """Return all that there is of each parameter's shape, by what it is and by parameter."""
        average = {} if self.average is None else {"average": self.average}
        return {"params": self.model.params, **self.optimizer.moments, **average}


@dataclass
class Checkpoint:
    """A model with what it knows of its making.

    Attributes:
        config: the settings it is trained with.
        vocab: its characters.
        model: the weights to sample from: the best so far.
        corpus: `chars` and `sha256` of the text.
        best: `step` and `val_loss` (nats per character) of the weights; None before the first evaluation, and a
            `val_loss` of None where nothing validates.
        history: one entry per evaluation: `step`, `epoch`, `chars`, `train_loss`, `val_loss`, `learning_rate`.
        progress: what training needs to go on; None once it is finished.
        copies: an index of the runs of the text, where the settings ask for one.
    """

    config: Config
    vocab: Vocab
    model: CharLSTM
    corpus: dict[str, Any]
    best: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    progress: Progress | None = None
    copies: CopyIndex | None = None


# ---- writing


def save(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint: the old file stands until the new one is complete on the disk.

    The same checkpoint gives the same bytes.

    Raises:
        CharlstmError: the file cannot be written, or has weights that are not finite; the old one is as it was.
    """
    if checkpoint.progress and not all(
        _is_finite(array) for arrays in checkpoint.progress.arrays().values() for array in arrays.values()
    ):
        raise CharlstmError(
            f"{path} was not saved: the weights are not finite any more; "
            "start anew with a lower learning_rate, or less l2 or weight_decay"
        )
    target = Path(os.path.realpath(path))  # through a link, not over it
    temporary = temporary_beside(target)
    try:
        file = open(temporary, "xb")  # noqa: SIM115  # a file that stands there is not ours to remove
        try:
            with file:
                write_npz(file, _arrays(checkpoint))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise CharlstmError(f"{path} could not be saved: {error.strerror or error}") from error


def temporary_beside(target: Path) -> Path:
    """Return the name under which this process writes a file before it takes its place."""
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def remove_stale(path: str | Path) -> None:
    """Remove the temporary files that killed runs have left beside a checkpoint."""
    target = Path(os.path.realpath(path))
    for left_over in target.parent.iterdir():
        if re.fullmatch(rf"\.{re.escape(target.name)}\.[0-9]+\.tmp", left_over.name):
            with contextlib.suppress(OSError):
                left_over.unlink()


def _arrays(checkpoint: Checkpoint) -> Iterator[tuple[str, Array]]:
    header = json.dumps(_header(checkpoint), allow_nan=False, separators=(",", ":"))
    yield "header", np.frombuffer(header.encode(), np.uint8)
    yield "vocab", checkpoint.vocab.code_points
    yield "counts", checkpoint.vocab.counts
    yield from checkpoint.model.params.items()
    if checkpoint.copies:
        yield "copies", checkpoint.copies.words
    progress = checkpoint.progress
    if progress:
        for name in checkpoint.model.params:
            for kind, arrays in progress.arrays().items():
                yield f"training.{kind}.{name}", arrays[name]
        yield "training.h", progress.state.h
        yield "training.c", progress.state.c


def _header(checkpoint: Checkpoint) -> dict[str, Any]:
    progress = checkpoint.progress
    return {
        "format": FORMAT,
        "version": VERSION,
        "config": checkpoint.config.sections(),
        "corpus": checkpoint.corpus,
        "best": checkpoint.best,
        "history": checkpoint.history,
        "training": progress
        and {
            "step": progress.step,
            "elapsed_s": progress.elapsed_s,
            "skipped": progress.skipped,
            "rescues": progress.rescues,
            "loss_sum": progress.loss_sum,
            "loss_steps": progress.loss_steps,
            "updates": progress.optimizer.updates,
            "rng": progress.rng.bit_generator.state,
        },
    }


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written to, but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # there is no such thing here
            raise
    finally:
        os.close(descriptor)


# ---- reading


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint, whoever it comes from: nothing in it is executed, all is checked before it is allocated.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        CharlstmError: it is not a charlstm checkpoint, is damaged, or is of a newer format.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115  # what is wrong inside is told in other words
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    try:
        with file:
            return _read(NpzReader(file))
    except (DamagedError, UsageError) as error:
        raise CharlstmError(f"{path} is not a charlstm checkpoint, or is damaged: {error}") from None
    except _NewerError as error:
        raise CharlstmError(f"{path} {error}") from None


class _NewerError(Exception):
    """The file is of a later format."""


def _read(npz: NpzReader) -> Checkpoint:
    header = _read_header(npz)
    config = config_from_sections(header["config"])
    vocab = _read_vocab(npz)
    shapes = param_shapes(config.model, len(vocab))
    training = header["training"]
    averages = ("average",) if config.train.average else ()
    kinds = ("params", *moments_of(config.train), *averages) if training else ()
    prefixes = ("", *(f"training.{kind}." for kind in kinds))
    expected = {"header", "vocab", "counts"} | {prefix + name for prefix in prefixes for name in shapes}
    expected |= {"training.h", "training.c"} if training else set()
    expected |= {"copies"} if config.data.no_copy_index else set()
    demand(npz.names == expected, "it lacks members, or has others")

    def params(prefix: str) -> dict[str, Floats]:
        return {name: _read_finite(npz, prefix + name, shape) for name, shape in shapes.items()}

    model = CharLSTM(config.model, params(""))
    checkpoint = Checkpoint(config, vocab, model, header["corpus"], header["best"], header["history"])
    if config.data.no_copy_index:
        words = npz.read("copies", "<u8", (None,))
        demand(0 < len(words) < 1 << 32, "its index of copies has an odd size")
        checkpoint.copies = CopyIndex(config.data.no_copy_index, words)
    if training:
        optimizer = Optimizer({}, config.train)
        optimizer.moments = {moment: params(f"training.{moment}.") for moment in optimizer.moments}
        optimizer.updates = training["updates"]
        h = _read_finite(npz, "training.h", (config.model.num_layers, None, config.model.hidden_size))
        demand(1 <= h.shape[1] <= config.train.batch_size, "its state has an odd number of streams")
        state = State(h, _read_finite(npz, "training.c", h.shape))
        names = ("step", "skipped", "rescues", "elapsed_s", "loss_sum", "loss_steps")
        counters = {name: training[name] for name in names}
        demand(training["rescues"] <= MOST_RESCUES, "it was rescued too often")
        demand(training["step"] < 1 << 53, "it has taken too many steps")
        average = params("training.average.") if averages else None
        current = CharLSTM(config.model, params("training.params."))
        checkpoint.progress = Progress(current, optimizer, state, _rng(training["rng"]), **counters, average=average)
    return checkpoint


def _read_header(npz: NpzReader) -> dict[str, Any]:
    try:
        data = npz.read("header", "|u1", (None,), most_bytes=_MOST_HEADER_BYTES).tobytes()
        header: dict[str, Any] = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise DamagedError("its header is not JSON") from None
    demand(isinstance(header, dict) and header.get("format") == FORMAT, "its header does not say so")
    version = header.get("version")
    if type(version) is int and version > VERSION:
        raise _NewerError(f"is of format {version}; this charlstm reads {VERSION}: install a newer one")
    demand(type(version) is int and version == VERSION, "its header names no format that there is")
    for name, kind in _HEADER.items():
        demand(name in header and _is(header[name], kind), f"{name} in its header is missing or odd")
    demand(len(header) == len(_HEADER) + 2, "its header has more than there is")
    demand(re.fullmatch("[0-9a-f]{64}", header["corpus"]["sha256"]), "corpus in its header has an odd sha256")
    return header


# What the header holds: a type, a tuple of types to choose from, names with their types, or a list of one thing.
_LOSS = (float, None)
_HEADER = {
    "config": dict,
    "corpus": {"chars": int, "sha256": str},
    "best": ({"step": int, "val_loss": _LOSS}, None),
    "history": [
        {"step": int, "epoch": float, "chars": int, "train_loss": _LOSS, "val_loss": _LOSS, "learning_rate": float}
    ],
    "training": (
        {
            "step": int,
            "skipped": int,
            "rescues": int,
            "elapsed_s": float,
            "loss_sum": float,
            "loss_steps": int,
            "updates": int,
            "rng": dict,
        },
        None,
    ),
}


def _is(value: object, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return any(_is(value, one) for one in kind)
    if isinstance(kind, list):
        return isinstance(value, list) and all(_is(item, kind[0]) for item in value)
    if isinstance(kind, dict):
        return isinstance(value, dict) and value.keys() == kind.keys() and all(_is(value[k], kind[k]) for k in kind)
    if kind is None:
        return value is None
    if kind is int:
        return type(value) is int and 0 <= value < 2**63
    if kind is float:  # none of the numbers is negative; JSON's 1e999 is infinite
        return type(value) in (int, float) and 0 <= value <= sys.float_info.max  # type: ignore[operator]
    return type(value) is kind


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_vocab(npz: NpzReader) -> Vocab:
    code_points = npz.read("vocab", "<u4", (None,))
    demand(len(code_points), "its vocabulary is empty")
    demand((code_points[1:] > code_points[:-1]).all() and code_points[-1] <= 0x10FFFF, "its vocabulary is out of order")
    counts = npz.read("counts", "<i8", code_points.shape)
    demand((counts > 0).all(), "a character of its vocabulary never stands in its text")
    return Vocab(code_points, counts)


def _read_finite(npz: NpzReader, name: str, shape: tuple[int | None, ...]) -> Floats:
    array = npz.read(name, "<f4", shape)
    demand(_is_finite(array), f"{name} has values that are not finite")
    return array


def _is_finite(array: Floats) -> bool:
    return bool(np.isfinite(array).all())


def _rng(state: dict[str, Any]) -> np.random.Generator:
    rng = np.random.default_rng(0)
    try:
        rng.bit_generator.state = state
    except (TypeError, ValueError, KeyError, OverflowError):
        raise DamagedError("the state of its random generator is odd") from None
    return rng
