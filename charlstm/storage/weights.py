"""How a model file stores weights: as float32, float16 or int8. They are always read as float32."""

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

import numpy as np

from charlstm.arrays import Array, Floats
from charlstm.errors import UsageError
from charlstm.storage.npz import NpzReader, demand

Format = Literal["float32", "float16", "int8"]
FORMATS: tuple[Format, ...] = get_args(Format)
_SCALE = ".scale"  # appended to the name of a matrix
_LEVELS = 127  # of int8, on each side of zero


def encode_params(params: Mapping[str, Floats], weights: Format) -> Iterator[tuple[str, Array]]:
    """Yield the arrays that store the parameters.

    As int8, each row of a matrix has a float32 scale, chosen so that its largest weight becomes -127 or
    127. Biases stay float32.

    Raises:
        UsageError: a weight is too large for float16.
    """
    for name, param in params.items():
        if weights == "float16":
            with np.errstate(over="ignore"):
                half = param.astype(np.float16)
            if not np.isfinite(half).all():
                raise UsageError(f"{name} has weights too large for float16; use int8 or float32")
            yield name, half
        elif weights == "int8" and param.ndim == 2:
            largest = np.abs(param).max(axis=1)  # [rows]
            scale = np.where(largest > 0, largest / _LEVELS, 1).astype(np.float32)
            scale = np.maximum(scale, np.finfo(np.float32).tiny)
            yield name, np.rint(param / scale[:, None]).clip(-_LEVELS, _LEVELS).astype(np.int8)
            yield name + _SCALE, scale
        else:
            yield name, param


def read_param(npz: NpzReader, name: str, shape: tuple[int, ...], weights: Format = "float32") -> Floats:
    """Read one parameter as float32.

    Raises:
        DamagedError: it is missing or invalid, or has values that are not finite.
    """
    if weights == "int8" and len(shape) == 2:
        param = _decode(npz.read(name, "|i1", shape), npz.read(name + _SCALE, "<f4", shape[:1]))
    else:
        param = _decode(npz.read(name, "<f2" if weights == "float16" else "<f4", shape))
    demand(np.isfinite(param).all(), f"{name} has values that are not finite")
    return param


def round_params(params: Mapping[str, Floats], weights: Format) -> dict[str, Floats]:
    """Return the parameters as they are after saving and loading."""
    arrays = dict(encode_params(params, weights))
    return {name: _decode(arrays[name], arrays.get(name + _SCALE)) for name in params}


def members_of(shapes: Mapping[str, tuple[int, ...]], weights: Format) -> set[str]:
    """Return the names of the arrays that hold parameters with these shapes."""
    matrices = {name for name, shape in shapes.items() if len(shape) == 2}
    return {*shapes, *(name + _SCALE for name in matrices if weights == "int8")}


def _decode(array: Array, scale: Floats | None = None) -> Floats:
    """Return a parameter as float32."""
    wide: Floats = array.astype(np.float32)
    if scale is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            wide *= scale[:, None]
    return wide
