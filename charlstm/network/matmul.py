"""The recurrent product, `h @ w_h.T`, and its backward pass, as fast as the installed BLAS allows.

They take most of the time of training, with few rows (streams) and the same weights at each step of a window. A BLAS
first copies its operands into a layout of its own, which for few rows costs as much as the product. On processors with
AVX-512, OpenBLAS has kernels for small products that need no copy. There the product is made of blocks that fit into
the first cache, which takes four tenths of the time for 8 rows, eight for 32. Elsewhere it is one product over all
gates.
"""

import functools
import math

import numpy as np
from threadpoolctl import threadpool_info

from charlstm.arrays import Floats
from charlstm.network.workspace import PADDING, Workspace, aligned

_SMALL_KERNELS = {"SkylakeX", "Cooperlake", "SapphireRapids"}
_SMALL_PRODUCT = 1_000_000  # multiplications; OpenBLAS has kernels for products up to this size
_BLOCK_ROWS = 256
_BLOCK_FLOATS = 1 << 13  # of a block that is read more than once, as for more than 8 streams
_COLUMNS = (64, 32)  # of a block; narrower ones are slow
_DEPTH = 256  # rows of a batch-invariant block
_WIDTH = 64  # its columns
_FEW_STREAMS = 16
_MIN_STREAMS = 2  # a single row is multiplied by another routine, which sums in another order


class RecurrentMatmul:
    """The products with one layer's `w_h` for B streams.

    Args:
        w_h: [4H, H]; copied.
        batch_size: B.
        work: holds the copies and the results of `forward`.
        backwards: whether `backward` will be called.
    """

    def __init__(self, w_h: Floats, batch_size: int, work: Workspace, backwards: bool = True) -> None:
        B, H = batch_size, w_h.shape[1]
        gates = w_h.reshape(4, H, H)  # [gate, to, from]
        self._rows, self._columns = _block_shape(B, H, w_h.dtype)
        if self._rows:
            self._forward = self._in_blocks(gates.swapaxes(1, 2), work.array("w_h forward", 4 * H * H))
            self._pieces: Floats = work.array("product by rows", H // self._rows, 4, B, H)
            self._by_block = self._pieces.reshape(-1, 4, B, H // self._columns, self._columns).swapaxes(2, 3)
        else:
            self._forward = work.array("w_h forward", H, 4 * H + PADDING)[:, : 4 * H]
            self._forward[...] = w_h.T
            self._product: Floats = work.array("product", B, 4 * H)
        if backwards and self._rows:
            self._backward = self._in_blocks(gates, work.array("w_h backward", 4 * H * H))
        elif backwards:
            self._backward = work.array("w_h backward", 4 * H, H + PADDING)[:, :H]
            self._backward[...] = w_h

    def forward(self, h: Floats) -> Floats:
        """Return `h @ w_h.T` by gate [4, B, H] for h [B, H]. The next call overwrites it."""
        B, H = h.shape
        if not self._rows:
            np.matmul(h, self._forward, out=self._product)
            return self._product.reshape(B, 4, H).swapaxes(0, 1)
        pieces = h.reshape(B, H // self._rows, self._rows).swapaxes(0, 1)
        np.matmul(pieces[:, None, None], self._forward, out=self._by_block)
        total: Floats = self._pieces[0]
        for piece in self._pieces[1:]:
            total += piece
        return total

    def backward(self, dgates: Floats, out: Floats) -> None:
        """Write the gradient of h [B, H] for a gradient of the gates [4, B, H]: `dgates @ w_h`."""
        _, B, H = dgates.shape
        if not self._rows:
            self._product.reshape(B, 4, H).swapaxes(0, 1)[...] = dgates
            np.matmul(self._product, self._backward, out=out)
            return
        pieces = dgates.reshape(4, B, H // self._rows, self._rows).transpose(2, 0, 1, 3)
        np.matmul(pieces[:, :, None], self._backward, out=self._by_block)
        np.add.reduce(self._pieces.reshape(-1, B, H), axis=0, out=out)

    def _in_blocks(self, matrices: Floats, out: Floats) -> Floats:
        """Copy matrices [4, H, H] to blocks [H / rows, 4, H / columns, rows, columns]."""
        H, rows, columns = matrices.shape[1], self._rows, self._columns
        blocks = out.reshape(H // rows, 4, H // columns, rows, columns)
        blocks[...] = matrices.reshape(4, H // rows, rows, H // columns, columns).transpose(1, 0, 3, 2, 4)
        return blocks


def _block_shape(B: int, H: int, dtype: np.dtype[np.floating]) -> tuple[int, int]:
    """Return the rows and columns of a block, or 0 and 0 if the product is not made of blocks."""
    rows = math.gcd(H, _BLOCK_ROWS)
    if dtype == np.float32 and _has_small_kernels():
        for columns in _COLUMNS:
            most = _SMALL_PRODUCT // B if B <= 8 else min(_SMALL_PRODUCT // B, _BLOCK_FLOATS)
            if H % columns == 0 and rows * columns <= most:
                return rows, columns
    return 0, 0


class BatchInvariantMatmul:
    """Products with a matrix [K, N] whose rows are the same, bit for bit, whatever the other rows are.

    BLAS sums in an order that depends on the size of a product and on the position of a row in it. OpenBLAS's kernels
    for AVX-512 do not, for two rows or more, up to `_DEPTH` terms per sum, and multiples of `_WIDTH` columns. For few
    rows, blocks of this size are fastest; for many, blocks of `_DEPTH` rows and all columns, on several cores.
    Elsewhere each row is a product of its own.

    Args:
        matrix: copied.
        batch_size: B, the largest number of rows.
    """

    def __init__(self, matrix: Floats, batch_size: int) -> None:
        K, N = matrix.shape
        if matrix.dtype != np.float32 or not _has_small_kernels():
            self._rows = np.zeros((batch_size, K), matrix.dtype)
            self._sum, self._others = np.empty((batch_size, N), matrix.dtype), list[Floats]()
            by_column = np.ascontiguousarray(matrix.T).T  # a product with one row reads along K
            self._products = [(self._rows[b], by_column, self._sum[b]) for b in range(batch_size)]
            return
        high, wide, rows = -(-K // _DEPTH), -(-N // _WIDTH) * _WIDTH, max(batch_size, _MIN_STREAMS)
        depth, width = -(-K // high), _WIDTH if batch_size <= _FEW_STREAMS else wide  # of a block
        padded = np.zeros((high * depth, wide), matrix.dtype)
        padded[:K, :N] = matrix
        distance = width if width == _WIDTH else width + PADDING
        blocks = aligned(matrix.dtype, high, wide // width, depth, distance)[..., :width]
        blocks[...] = padded.reshape(high, depth, wide // width, width).swapaxes(1, 2)
        whole = np.zeros((rows, high * depth), matrix.dtype)
        left = whole.reshape(rows, high, 1, depth).transpose(1, 2, 0, 3)  # [high, 1, rows, depth]
        parts = np.empty((high, rows, wide), matrix.dtype)
        by_block = parts.reshape(high, rows, wide // width, width).swapaxes(1, 2)
        self._sum, self._others = parts[0, :, :N], list(parts[1:, :, :N])
        self._rows, self._products = whole[:, :K], [(left, blocks, by_block)]

    def __call__(self, rows: Floats) -> Floats:
        """Return the product of rows [B, K] and the matrix. The next call overwrites it."""
        self._rows[: len(rows)] = rows
        for left, right, out in self._products:
            np.matmul(left, right, out=out)
        for part in self._others:
            self._sum += part
        return self._sum[: len(rows)]


@functools.cache
def _has_small_kernels() -> bool:
    return any(blas.get("architecture") in _SMALL_KERNELS for blas in threadpool_info())
