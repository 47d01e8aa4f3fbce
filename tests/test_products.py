"""The recurrent products equal the naive ones, in blocks and whole."""

import numpy as np
import pytest

from charlstm import products
from charlstm.products import EqualRows, RecurrentProducts
from charlstm.workspace import Workspace, aligned


@pytest.mark.parametrize("small_kernels", [True, False])
@pytest.mark.parametrize(("B", "H"), [(1, 1), (3, 7), (5, 32), (8, 64), (16, 96), (33, 192), (70, 256), (4, 512)])
def test_both_ways_equal_the_plain_products(B, H, small_kernels, rng, monkeypatch):
    monkeypatch.setattr(products, "_has_small_kernels", lambda: small_kernels)
    w_h, h, dgates = (rng.standard_normal(shape).astype(np.float32) for shape in ((4 * H, H), (B, H), (4, B, H)))
    recurrent = RecurrentProducts(w_h, B, Workspace(np.float32))
    gates = recurrent.forward(h)
    dh = np.empty((B, H), np.float32)
    np.testing.assert_allclose(gates, (h @ w_h.T).reshape(B, 4, H).swapaxes(0, 1), rtol=1e-4, atol=1e-4)
    recurrent.backward(dgates, out=dh)
    np.testing.assert_allclose(dh, dgates.swapaxes(0, 1).reshape(B, 4 * H) @ w_h, rtol=1e-4, atol=1e-4)


def test_blocks_are_taken_where_they_are_fast(monkeypatch):
    monkeypatch.setattr(products, "_has_small_kernels", lambda: True)
    float32 = np.dtype(np.float32)
    shapes = [products._block_shape(B, H, float32) for B, H in ((8, 256), (32, 256), (32, 1024), (500, 512), (8, 100))]
    assert shapes == [(256, 64), (256, 32), (256, 32), (0, 0), (0, 0)]
    assert products._block_shape(8, 256, np.dtype(np.float64)) == (0, 0)
    monkeypatch.setattr(products, "_has_small_kernels", lambda: False)
    assert products._block_shape(8, 256, float32) == (0, 0)


@pytest.mark.parametrize("small_kernels", [True, False])
@pytest.mark.parametrize(("K", "N"), [(1, 5), (65, 64), (128, 512), (130, 96), (300, 2048)])
def test_a_row_is_the_same_to_the_bit_among_any_number(K, N, small_kernels, rng, monkeypatch):
    if not small_kernels:
        monkeypatch.setattr(products, "_has_small_kernels", lambda: False)
    matrix, rows = (rng.standard_normal(shape).astype(np.float32) for shape in ((K, N), (65, K)))
    one = EqualRows(matrix, 1)
    alone = np.concatenate([one(rows[b : b + 1]).copy() for b in range(len(rows))])
    np.testing.assert_allclose(alone, rows @ matrix, rtol=1e-4, atol=1e-4)
    for B in (2, 3, 8, 33, 65):
        np.testing.assert_array_equal(EqualRows(matrix, 65)(rows[:B]), alone[:B])
        np.testing.assert_array_equal(EqualRows(matrix, B)(rows[-B:]), alone[-B:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_begin_with_a_line_of_the_cache(dtype):
    for size in (1, 7, 1000, 100_000):
        assert aligned(dtype, size, 3).ctypes.data % 64 == 0
        assert Workspace(dtype).array("any", size, 3).shape == (size, 3)
        assert Workspace(dtype).array("any", size, 3).ctypes.data % 64 == 0
