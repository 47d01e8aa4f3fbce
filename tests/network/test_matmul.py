"""The recurrent and the batch-invariant products equal the plain ones, with every strategy."""

import numpy as np
import pytest

from charlstm.network.matmul import (
    BlockMatmul,
    WholeMatmul,
    aligned,
    batch_invariant_matmul,
    has_small_kernels,
    recurrent_matmul,
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_aligned_arrays_start_at_a_cache_line(size, dtype):
    array = aligned(dtype, size, 3)
    assert array.shape == (size, 3)
    assert array.ctypes.data % 64 == 0


@pytest.mark.parametrize("small_kernels", [True, False])
@pytest.mark.parametrize(("B", "H"), [(1, 1), (3, 7), (5, 32), (8, 64), (16, 96), (33, 192), (70, 256), (4, 512)])
def test_recurrent_products_equal_plain_products(B, H, small_kernels, rng):
    w_h, h, dz = (rng.standard_normal(shape).astype(np.float32) for shape in ((4 * H, H), (B, H), (4, B, H)))
    recurrent = recurrent_matmul(B, H, np.float32, small_kernels=small_kernels)
    recurrent.load(w_h)
    recurrent.load_backward(w_h)
    expected = (h @ w_h.T).reshape(B, 4, H).swapaxes(0, 1) * np.array([1, 0.5, 0.5, 0.5])[:, None, None]
    np.testing.assert_allclose(recurrent.forward(h), expected, rtol=1e-4, atol=1e-4)
    dh = np.empty((B, H), np.float32)
    recurrent.backward(dz, out=dh)
    np.testing.assert_allclose(dh, dz.swapaxes(0, 1).reshape(B, 4 * H) @ w_h, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("B", "H", "dtype", "small_kernels", "strategy"),
    [
        (8, 256, np.float32, True, BlockMatmul),
        (32, 256, np.float32, True, BlockMatmul),
        (32, 1024, np.float32, True, BlockMatmul),
        (500, 512, np.float32, True, WholeMatmul),
        (8, 100, np.float32, True, WholeMatmul),
        (8, 256, np.float64, True, WholeMatmul),
        (8, 256, np.float32, False, WholeMatmul),
    ],
)
def test_blocks_are_used_only_where_they_are_fast(B, H, dtype, small_kernels, strategy):
    assert isinstance(recurrent_matmul(B, H, dtype, small_kernels=small_kernels), strategy)


@pytest.mark.parametrize(("B", "width"), [(8, 64), (32, 32)])
def test_blocks_are_narrower_where_more_streams_reread_them(B, width):
    strategy = recurrent_matmul(B, 256, np.float32, small_kernels=True)
    assert isinstance(strategy, BlockMatmul)
    assert strategy.block == (256, width)


@pytest.mark.parametrize("small_kernels", [True, False])
@pytest.mark.parametrize(("K", "N"), [(1, 5), (65, 64), (128, 512), (130, 96), (300, 2048)])
def test_rows_of_a_batch_invariant_product_do_not_depend_on_their_number(K, N, small_kernels, rng):
    small_kernels = small_kernels and has_small_kernels()  # blocks are batch-invariant only with these kernels
    matrix, rows = (rng.standard_normal(shape).astype(np.float32) for shape in ((K, N), (65, K)))

    def multiply(rows, batch_size):
        product = batch_invariant_matmul(matrix, batch_size, small_kernels=small_kernels)
        product(rows)
        return product.out[: len(rows)]

    alone = np.concatenate([multiply(rows[b : b + 1], 1) for b in range(len(rows))])
    np.testing.assert_allclose(alone, rows @ matrix, rtol=1e-4, atol=1e-4)
    for B in (2, 3, 8, 33, 65):
        np.testing.assert_array_equal(multiply(rows[:B], 65), alone[:B])
        np.testing.assert_array_equal(multiply(rows[-B:], B), alone[-B:])


@pytest.mark.parametrize("batch_size", [1, 5, 40])
@pytest.mark.parametrize(("K", "N"), [(5, 3), (300, 96), (600, 200)])
def test_blocks_of_a_batch_invariant_product_equal_the_plain_product(K, N, batch_size, rng):
    matrix, rows = (rng.standard_normal(shape).astype(np.float32) for shape in ((K, N), (batch_size, K)))
    product = batch_invariant_matmul(matrix, batch_size, small_kernels=True)
    product(rows)
    np.testing.assert_allclose(product.out, rows @ matrix, rtol=1e-4, atol=1e-3)
