"""The array types, each defined once. The letters in comments are explained in `network/layers`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]  # float32 in use, float64 in checks
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.unsignedinteger[Any]]  # a text, in the narrowest type that holds its ids
IntArray = npt.NDArray[np.intp]  # ids and other indices, ready to index with
Int64s = npt.NDArray[np.int64]
CodePoints = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]
Hashes = UInt64s

Params = Mapping[str, Floats]  # by name
Grads = dict[str, Floats]  # with the keys of the parameters
LayerParams = dict[str, Floats]  # of one layer, by the names within it
