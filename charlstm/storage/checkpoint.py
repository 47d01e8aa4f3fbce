"""A run from its file, read as untrusted input. `Run.save` writes it; docs/format.md describes it."""

import dataclasses
import json
import os
import re
import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, BinaryIO, cast, get_args, get_origin

import numpy as np

from charlstm.arrays import Floats
from charlstm.config.presets import bundled_models
from charlstm.config.settings import config_from_sections
from charlstm.errors import CharlstmError, UsageError
from charlstm.network.char_lstm import CharLSTM, State, param_shapes
from charlstm.optim import Optimizer, moments_of
from charlstm.sampling.language_model import LanguageModel
from charlstm.storage.npz import DamagedError, NpzReader, demand
from charlstm.storage.run import (
    COUNTERS,
    FORMAT,
    MAX_ROLLBACKS,
    VERSION,
    VERSION_COMPACT,
    Base,
    Evaluation,
    Run,
    TrainingState,
)
from charlstm.storage.weights import FORMATS, Format, members_of, read_param
from charlstm.text.corpus import Fingerprint
from charlstm.text.vocab import Vocab

_MAX_HEADER_BYTES = 4_000_000  # parsed JSON can take twenty times as much
_HEADER: dict[str, Any] = {  # other names are ignored, so that later versions can add optional ones
    "config": dict,
    "corpus": Fingerprint,
    "best": Evaluation | None,
    "history": list[Evaluation],
    "training": dict | None,
}
_SINCE_0_3 = {"val_chars", "far_off"}  # missing in files of 0.2, where they are zero
_TRAINING = {
    **{field.name: field.type for field in dataclasses.fields(TrainingState) if field.name in COUNTERS},
    "updates": int,
    "rng": dict,
}


def load(path: str | Path) -> LanguageModel:
    """Return the model in a file, or a bundled one (`@english`): the best weights, and the vocabulary.

    Raises what `load_run` raises.
    """
    return load_run(path).model


def load_run(path: str | Path) -> Run:
    """Return the run in a file, or of a bundled model. `Run.use_corpus` prepares it for further training.

    Raises:
        UsageError: there is no such file, or it cannot be opened.
        CharlstmError: it is not a checkpoint, is damaged, or was written by another version.
    """
    with _open(str(path)) as file:
        return read_run(file, str(path))


def read_run(file: BinaryIO, name: str) -> Run:
    """Return the run in an open file; `name` stands for it in messages.

    Raises:
        CharlstmError: it is not a checkpoint, is damaged, or was written by another version.
    """
    try:
        return _read(NpzReader(file))
    except (DamagedError, UsageError) as error:
        raise CharlstmError(f"{name} is not a charlstm checkpoint, or is damaged: {error}") from None
    except _VersionError as error:
        raise CharlstmError(f"{name} {error}") from None


def _open(path: str) -> BinaryIO:
    if path.startswith("@") and not os.path.exists(path):
        known = bundled_models()
        if path not in known:
            raise UsageError(f"{path}: no such bundled model; choose from {', '.join(known)}")
        return cast(BinaryIO, known[path].open("rb"))
    try:
        return open(path, "rb")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


class _VersionError(Exception):
    """The file has a format that this version does not read."""


def _read(npz: NpzReader) -> Run:
    header = _read_header(npz)
    config = config_from_sections(header["config"])
    vocab = _read_vocab(npz, has_unknown=config.data.min_count > 1, has_boundary=config.data.documents != "none")
    shapes = param_shapes(config.model, len(vocab))
    kinds = ("params", *moments_of(config.train), *(("ema",) if config.train.ema_decay else ()))
    weights: Format = header.get("weights", "float32")
    expected = {"header", "vocab", "counts", *members_of(shapes, weights)}
    if header["training"] is not None:
        expected |= {f"training.{kind}.{name}" for kind in kinds for name in shapes} | {"training.h", "training.c"}
    demand(npz.names == expected, "missing or unexpected arrays")
    params = {name: read_param(npz, name, shape, weights) for name, shape in shapes.items()}
    model = LanguageModel(CharLSTM(config.model, params, boundary_id=vocab.boundary_id), vocab)
    best = None if header["best"] is None else Evaluation(**header["best"])
    history = [Evaluation(**entry) for entry in header["history"]]
    base = header.get("base") and Base(**header["base"])
    run = Run(config, model, Fingerprint(**header["corpus"]), best, history, base=base, weights=weights)
    if header["training"] is not None:
        arrays = {
            kind: {name: read_param(npz, f"training.{kind}.{name}", shape) for name, shape in shapes.items()}
            for kind in kinds
        }
        run.training = _read_training(npz, run, header["training"], arrays)
    return run


def _read_training(npz: NpzReader, run: Run, header: dict[str, Any], arrays: dict[str, Any]) -> TrainingState:
    """Return the training state, given its arrays by kind and by parameter."""
    config = run.config
    demand(_has_fields(header, _TRAINING), "missing or invalid training in its header")
    demand(header["rollbacks"] <= MAX_ROLLBACKS, "too many rollbacks")
    demand(header["step"] < 1 << 53, "too many steps")
    boundary_id = run.model.vocab.boundary_id
    network, ema = CharLSTM(config.model, arrays.pop("params"), boundary_id=boundary_id), arrays.pop("ema", None)
    optimizer = Optimizer({}, config.train)
    optimizer.moments, optimizer.updates = arrays, header.pop("updates")
    h = _read_finite(npz, "training.h", (config.model.num_layers, None, config.model.hidden_size))
    demand(1 <= h.shape[1] <= config.train.batch_size, "invalid number of streams")
    state = State(h, _read_finite(npz, "training.c", h.shape))
    return TrainingState(network, optimizer, state, _restore_rng(header.pop("rng")), **header, ema=ema)


def _read_header(npz: NpzReader) -> dict[str, Any]:
    try:
        data = npz.read("header", "|u1", (None,), max_bytes=_MAX_HEADER_BYTES).tobytes()
        header: dict[str, Any] = json.loads(data, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise DamagedError("its header is not JSON") from None
    demand(isinstance(header, dict) and header.get("format") == FORMAT, f'missing format "{FORMAT}"')
    version = header.get("version")
    if type(version) is int and version > VERSION_COMPACT:
        raise _VersionError(f"was written by a newer charlstm (format {version}); upgrade to read it")
    if type(version) is int and 0 < version < VERSION:
        raise _VersionError(f"was written by an older charlstm (format {version}); train the model again")
    demand(version in (VERSION, VERSION_COMPACT) and type(version) is int, "invalid version")
    for name, kind in _HEADER.items():
        demand(name in header and matches(header[name], kind), f"missing or invalid {name} in its header")
    demand(matches(header.get("base"), Base | None), "invalid base in its header")
    demand(header.get("weights", "float32") in FORMATS, "invalid weights in its header")
    compact = header.get("weights", "float32") != "float32"
    demand(compact == (version == VERSION_COMPACT), "its version does not match its weights")
    demand(not (compact and header["training"]), "an unfinished run has weights that are not float32")
    for fingerprint in filter(None, (header["corpus"], header.get("base"))):
        demand(re.fullmatch("[0-9a-f]{64}", fingerprint["sha256"]), "invalid sha256")
    return header


def matches(value: object, kind: Any) -> bool:
    """Return whether a JSON value is of a type: of the fields of a dataclass, an item of a union, or a plain type."""
    if isinstance(kind, UnionType):
        return any(matches(value, each) for each in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(matches(item, *get_args(kind)) for item in value)
    if dataclasses.is_dataclass(kind):
        return _has_fields(value, {field.name: field.type for field in dataclasses.fields(kind)})
    if kind is int:
        return type(value) is int and 0 <= value < 2**63
    if kind is float:  # none of the numbers is negative; JSON's 1e999 is infinite
        return type(value) in (int, float) and 0 <= value <= sys.float_info.max  # type: ignore[operator]
    return value is None if kind is NoneType else type(value) is kind


def _has_fields(value: object, kinds: dict[str, Any]) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() <= kinds.keys() <= value.keys() | _SINCE_0_3
        and all(matches(value[name], kinds[name]) for name in value)
    )


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_vocab(npz: NpzReader, *, has_unknown: bool, has_boundary: bool) -> Vocab:
    code_points = npz.read("vocab", "<u4", (None,))
    demand(len(code_points), "the vocabulary is empty")
    demand((code_points[1:] > code_points[:-1]).all() and code_points[-1] <= 0x10FFFF, "the vocabulary is not sorted")
    counts = npz.read("counts", "<i8", (len(code_points) + has_boundary,))
    demand((counts > 0).all(), "the vocabulary has invalid counts")
    return Vocab(code_points, counts, has_unknown=has_unknown, has_boundary=has_boundary)


def _read_finite(npz: NpzReader, name: str, shape: tuple[int | None, ...]) -> Floats:
    array = npz.read(name, "<f4", shape)
    demand(np.isfinite(array).all(), f"{name} has values that are not finite")
    return array


def _restore_rng(state: dict[str, Any]) -> np.random.Generator:
    rng = np.random.default_rng(0)
    try:
        rng.bit_generator.state = state
    except (TypeError, ValueError, KeyError, OverflowError):
        raise DamagedError("invalid random number generator state") from None
    return rng
