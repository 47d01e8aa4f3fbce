"""Scratch buffers have the requested shape and start at a cache line."""

import numpy as np
import pytest

from charlstm.network.workspace import Workspace, aligned

SIZES = [1, 7, 1000, 100_000]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_aligned_arrays_start_at_a_cache_line(size, dtype):
    array = aligned(dtype, size, 3)
    assert array.shape == (size, 3)
    assert array.ctypes.data % 64 == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_workspace_arrays_start_at_a_cache_line(size, dtype):
    array = Workspace(dtype).array("any", size, 3)
    assert array.shape == (size, 3)
    assert array.ctypes.data % 64 == 0
