"""The kernels that compute the loops over time: NumPy's, which is always there, and Numba's."""

import numpy as np
import numpy.typing as npt

from charlstm.network.recurrence import COMPILED_MULTIPLE, LayerArrays, NumpyRecurrence, Recurrence


def recurrence(arrays: LayerArrays, kernel: str) -> Recurrence:
    """Return the loops over time of a kernel; NumPy's where the compiled ones do not fit."""
    if is_compiled(kernel, arrays.gates.shape[3], arrays.gates.dtype):
        from charlstm.network.compiled import CompiledRecurrence

        return CompiledRecurrence(arrays)
    return NumpyRecurrence(arrays)


def is_compiled(kernel: str, hidden_size: int, dtype: npt.DTypeLike) -> bool:
    """Return whether a network with these sizes is computed by compiled loops."""
    return kernel == "numba" and can_compile(hidden_size) and np.dtype(dtype) == np.float32


def can_compile(hidden_size: int) -> bool:
    """Return whether the compiled loops can compute layers of this size: they consist of whole panels."""
    return hidden_size % COMPILED_MULTIPLE == 0
