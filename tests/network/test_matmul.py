"""The recurrent and the batch-invariant products equal the plain ones, with and without small kernels."""

import numpy as np
import pytest

from charlstm.network import matmul
from charlstm.network.matmul import BatchInvariantMatmul, RecurrentMatmul
from charlstm.network.workspace import Workspace


@pytest.mark.parametrize("small_kernels", [True, False])
@pytest.mark.parametrize(("B", "H"), [(1, 1), (3, 7), (5, 32), (8, 64), (16, 96), (33, 192), (70, 256), (4, 512)])
def test_recurrent_products_equal_plain_products(B, H, small_kernels, rng, monkeypatch):
    monkeypatch.setattr(matmul, "_has_small_kernels", lambda: small_kernels)
    w_h, h, dgates = (rng.standard_normal(shape).astype(np.float32) for shape in ((4 * H, H), (B, H), (4, B, H)))
    recurrent = RecurrentMatmul(w_h, B, Workspace(np.float32))
    gates = recurrent.forward(h)
    dh = np.empty((B, H), np.float32)
    np.testing.assert_allclose(gates, (h @ w_h.T).reshape(B, 4, H).swapaxes(0, 1), rtol=1e-4, atol=1e-4)
    recurrent.backward(dgates, out=dh)
    np.testing.assert_allclose(dh, dgates.swapaxes(0, 1).reshape(B, 4 * H) @ w_h, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("B", "H", "dtype", "small_kernels", "shape"),
    [
        (8, 256, np.float32, True, (256, 64)),
        (32, 256, np.float32, True, (256, 32)),
        (32, 1024, np.float32, True, (256, 32)),
        (500, 512, np.float32, True, (0, 0)),
        (8, 100, np.float32, True, (0, 0)),
        (8, 256, np.float64, True, (0, 0)),
        (8, 256, np.float32, False, (0, 0)),
    ],
)
def test_blocks_are_used_only_where_they_are_fast(B, H, dtype, small_kernels, shape, monkeypatch):
    monkeypatch.setattr(matmul, "_has_small_kernels", lambda: small_kernels)
    assert matmul._block_shape(B, H, np.dtype(dtype)) == shape


@pytest.mark.parametrize("small_kernels", [True, False])
@pytest.mark.parametrize(("K", "N"), [(1, 5), (65, 64), (128, 512), (130, 96), (300, 2048)])
def test_rows_of_a_batch_invariant_product_do_not_depend_on_their_number(K, N, small_kernels, rng, monkeypatch):
    if not small_kernels:  # blocks are batch-invariant only with the kernels themselves
        monkeypatch.setattr(matmul, "_has_small_kernels", lambda: False)
    matrix, rows = (rng.standard_normal(shape).astype(np.float32) for shape in ((K, N), (65, K)))
    one = BatchInvariantMatmul(matrix, 1)
    alone = np.concatenate([one(rows[b : b + 1]).copy() for b in range(len(rows))])
    np.testing.assert_allclose(alone, rows @ matrix, rtol=1e-4, atol=1e-4)
    for B in (2, 3, 8, 33, 65):
        np.testing.assert_array_equal(BatchInvariantMatmul(matrix, 65)(rows[:B]), alone[:B])
        np.testing.assert_array_equal(BatchInvariantMatmul(matrix, B)(rows[-B:]), alone[-B:])
