"""A run from its file, read as untrusted input. `Run.save` writes it; docs/format.md describes it."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from charlstm.arrays import Floats
from charlstm.config.settings import config_from_sections
from charlstm.errors import CharlstmError, UsageError
from charlstm.network.char_lstm import CharLSTM, State, param_shapes
from charlstm.optim import Optimizer, moments_of
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.npz import DamagedError, NpzReader, demand
from charlstm.storage.run import FORMAT, MAX_ROLLBACKS, VERSION, Evaluation, Run, TrainingState
from charlstm.text.corpus import Fingerprint
from charlstm.text.vocab import Vocab

_MAX_HEADER_BYTES = 4_000_000  # parsed JSON can take twenty times as much


def load(path: str | Path) -> LanguageModel:
    """Return the model in a file: the best weights, and the vocabulary.

    Raises:
        CharlstmError: see `load_run`.
    """
    return load_run(path).model


def load_run(path: str | Path) -> Run:
    """Return the run in a file. `Run.use_corpus` prepares it for further training.

    Raises:
        UsageError: there is no such file, or it cannot be opened.
        CharlstmError: it is not a checkpoint, is damaged, or was written by a newer version.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    try:
        with file:
            return _read(NpzReader(file))
    except (DamagedError, UsageError) as error:
        raise CharlstmError(f"{path} is not a charlstm checkpoint, or is damaged: {error}") from None
    except _VersionError as error:
        raise CharlstmError(f"{path} {error}") from None


class _VersionError(Exception):
    """The file is of a format that this version does not read."""


def _read(npz: NpzReader) -> Run:
    header = _read_header(npz)
    config = config_from_sections(header["config"])
    vocab = _read_vocab(npz)
    shapes = param_shapes(config.model, len(vocab))
    kinds = ("params", *moments_of(config.train), *(("ema",) if config.train.ema_decay else ()))
    expected = {"header", "vocab", "counts", *shapes}
    if header["training"]:
        expected |= {f"training.{kind}.{name}" for kind in kinds for name in shapes} | {"training.h", "training.c"}
    demand(npz.names == expected, "missing or unexpected arrays")
    history = [Evaluation(**entry) for entry in header["history"]]
    best = header["best"] and Evaluation(**header["best"])
    model = LanguageModel(CharLSTM(config.model, _read_params(npz, "", shapes)), vocab)
    run = Run(config, model, Fingerprint(**header["corpus"]), best, history)
    if header["training"]:
        arrays = {kind: _read_params(npz, f"training.{kind}.", shapes) for kind in kinds}
        run.training = _read_training(npz, run, header["training"], arrays)
    return run


def _read_training(npz: NpzReader, run: Run, header: dict[str, Any], arrays: dict[str, Any]) -> TrainingState:
    """Return the training state, given its arrays by kind and by parameter."""
    config = run.config
    demand(header["rollbacks"] <= MAX_ROLLBACKS, "too many rollbacks")
    demand(header["step"] < 1 << 53, "too many steps")
    network, ema = CharLSTM(config.model, arrays.pop("params")), arrays.pop("ema", None)
    optimizer = Optimizer({}, config.train)
    optimizer.moments, optimizer.updates = arrays, header.pop("updates")
    h = _read_finite(npz, "training.h", (config.model.num_layers, None, config.model.hidden_size))
    demand(1 <= h.shape[1] <= config.train.batch_size, "invalid number of streams")
    state = State(h, _read_finite(npz, "training.c", h.shape))
    return TrainingState(network, optimizer, state, _restore_rng(header.pop("rng")), **header, ema=ema)


# What the header holds: a type, a tuple of alternatives, names with their types, or a list of one thing. Other names at
# the top level are ignored, so that later versions can add optional ones.
_LOSS = (float, None)
_EVALUATION = {
    "step": int,
    "epoch": float,
    "chars": int,
    "train_loss": _LOSS,
    "val_loss": _LOSS,
    "learning_rate": float,
}
_HEADER = {
    "config": dict,
    "corpus": {"chars": int, "sha256": str},
    "best": (_EVALUATION, None),
    "history": [_EVALUATION],
    "training": (
        {
            "step": int,
            "skipped": int,
            "rollbacks": int,
            "elapsed_s": float,
            "loss_sum": float,
            "loss_steps": int,
            "updates": int,
            "rng": dict,
        },
        None,
    ),
}


def _read_header(npz: NpzReader) -> dict[str, Any]:
    try:
        data = npz.read("header", "|u1", (None,), max_bytes=_MAX_HEADER_BYTES).tobytes()
        header: dict[str, Any] = json.loads(data, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise DamagedError("its header is not JSON") from None
    demand(isinstance(header, dict) and header.get("format") == FORMAT, f'missing format "{FORMAT}"')
    version = header.get("version")
    if type(version) is int and version > VERSION:
        raise _VersionError(f"was written by a newer charlstm (format {version}); upgrade to read it")
    if type(version) is int and 0 < version < VERSION:
        raise _VersionError(f"was written by an older charlstm (format {version}); train the model again")
    demand(version == VERSION and type(version) is int, "invalid version")
    for name, kind in _HEADER.items():
        demand(name in header and _matches(header[name], kind), f"missing or invalid {name} in its header")
    demand(re.fullmatch("[0-9a-f]{64}", header["corpus"]["sha256"]), "invalid sha256")
    return header


def _matches(value: object, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return any(_matches(value, each) for each in kind)
    if isinstance(kind, list):
        return isinstance(value, list) and all(_matches(item, kind[0]) for item in value)
    if isinstance(kind, dict):
        return (
            isinstance(value, dict)
            and value.keys() == kind.keys()
            and all(_matches(value[name], kind[name]) for name in kind)
        )
    if kind is None:
        return value is None
    if kind is int:
        return type(value) is int and 0 <= value < 2**63
    if kind is float:  # none of the numbers is negative; JSON's 1e999 is infinite
        return type(value) in (int, float) and 0 <= value <= sys.float_info.max  # type: ignore[operator]
    return type(value) is kind


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_vocab(npz: NpzReader) -> Vocab:
    code_points = npz.read("vocab", "<u4", (None,))
    demand(len(code_points), "the vocabulary is empty")
    demand((code_points[1:] > code_points[:-1]).all() and code_points[-1] <= 0x10FFFF, "the vocabulary is not sorted")
    counts = npz.read("counts", "<i8", code_points.shape)
    demand((counts > 0).all(), "the vocabulary has invalid counts")
    return Vocab(code_points, counts)


def _read_params(npz: NpzReader, prefix: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, Floats]:
    return {name: _read_finite(npz, prefix + name, shape) for name, shape in shapes.items()}


def _read_finite(npz: NpzReader, name: str, shape: tuple[int | None, ...]) -> Floats:
    array = npz.read(name, "<f4", shape)
    demand(np.isfinite(array).all(), f"{name} has values that are not finite")
    return array


def _restore_rng(state: dict[str, Any]) -> np.random.Generator:
    rng = np.random.default_rng(0)
    try:
        rng.bit_generator.state = state
    except (TypeError, ValueError, KeyError, OverflowError):
        raise DamagedError("invalid state of the random generator") from None
    return rng
