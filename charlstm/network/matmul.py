"""The matrix products that need more than one call of `np.matmul`: one class per strategy, chosen by a function.

The recurrent product takes most of the time of training, with few streams and the same weights at each step of a
window. A BLAS first copies its operands into a layout of its own, which for few streams costs as much as the product.
On processors with AVX-512, OpenBLAS has kernels for small products that need no copy. There the product is made of
blocks that fit into the L1 cache, which takes four tenths of the time for 8 streams, eight for 32. Elsewhere it is
one product over all gates.
"""

import functools
import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

from charlstm.arrays import Floats
from charlstm.network.cores import blas_architectures

_CACHE_LINE = 64  # bytes
_PADDING = 16  # floats after a row: rows a power of two apart would compete for the same cache lines
_SMALL_KERNELS = {"SkylakeX", "Cooperlake", "SapphireRapids"}
_MAX_SMALL_PRODUCT = 1_000_000  # multiplications that OpenBLAS has small kernels for
_MAX_BLOCK_HEIGHT = 256
_STREAMS_PER_PASS = 8  # for more, a kernel rereads the block
_MAX_REREAD_BLOCK = 1 << 13  # floats of a block that is reread, and must stay in the L1 cache
_BLOCK_WIDTHS = (64, 32)  # narrower ones are slow
_INVARIANT_HEIGHT, _INVARIANT_WIDTH = 256, 64  # of a block whose products do not depend on the number of streams
_ROW_BLOCK, _ROW_WIDTH = 1 << 16, 16  # floats of a block of columns, and what their number is a multiple of
_FEW_STREAMS = 16
_MIN_ROWS = 2  # a single row is multiplied by another routine, which sums in another order


@functools.cache
def has_small_kernels() -> bool:
    """Return whether a loaded OpenBLAS has kernels for small products."""
    return not _SMALL_KERNELS.isdisjoint(blas_architectures())


def aligned(dtype: npt.DTypeLike, *shape: int) -> Floats:
    """Return a new, uninitialised array that starts at a cache line: AVX-512 reads whole lines."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.empty(math.prod(shape) + _CACHE_LINE // itemsize, dtype)
    first = -memory.ctypes.data % _CACHE_LINE // itemsize
    return memory[first : first + math.prod(shape)].reshape(shape)


# ---- the recurrent product


class RecurrentMatmul(Protocol):
    """The products with one layer's `w_h` [4H, H], forward and backward, for B streams."""

    def load(self, w_h: Floats) -> None:
        """Copy weights for `forward`, with those of the gates i, f and o halved."""

    def load_backward(self, w_h: Floats) -> None:
        """Copy weights for `backward`."""

    def forward(self, h: Floats) -> Floats:
        """Return z = `h @ w_h.T` by gate [4, B, H] for h [B, H], halved for i, f and o. The next call overwrites it."""

    def backward(self, dz: Floats, out: Floats) -> None:
        """Write `dz @ w_h` [B, H] for dz [4, B, H]."""


def recurrent_matmul(B: int, H: int, dtype: npt.DTypeLike, *, small_kernels: bool | None = None) -> RecurrentMatmul:
    """Return the fastest strategy; `small_kernels` overrides the detection."""
    if np.dtype(dtype) == np.float32 and (has_small_kernels() if small_kernels is None else small_kernels):
        height = math.gcd(H, _MAX_BLOCK_HEIGHT)
        max_block = _MAX_SMALL_PRODUCT // B
        if B > _STREAMS_PER_PASS:
            max_block = min(max_block, _MAX_REREAD_BLOCK)
        for width in _BLOCK_WIDTHS:
            if H % width == 0 and height * width <= max_block:
                return BlockMatmul(B, H, height, width, dtype)
    return WholeMatmul(B, H, dtype)


class WholeMatmul:
    """One product over all gates, with padded rows."""

    def __init__(self, B: int, H: int, dtype: npt.DTypeLike) -> None:
        self._w_forward = aligned(dtype, H, 4 * H + _PADDING)[:, : 4 * H]
        self._w_backward = aligned(dtype, 4 * H, H + _PADDING)[:, :H]
        self._product = aligned(dtype, B, 4 * H)
        self._by_gate = self._product.reshape(B, 4, H).swapaxes(0, 1)  # [4, B, H], a view

    def load(self, w_h: Floats) -> None:
        self._w_forward[...] = w_h.T
        self._w_forward[:, w_h.shape[1] :] *= 0.5

    def load_backward(self, w_h: Floats) -> None:
        self._w_backward[...] = w_h

    def forward(self, h: Floats) -> Floats:
        np.matmul(h, self._w_forward, out=self._product)
        return self._by_gate

    def backward(self, dz: Floats, out: Floats) -> None:
        self._by_gate[...] = dz
        np.matmul(self._product, self._w_backward, out=out)


class BlockMatmul:
    """The matrix of each gate is cut into blocks [height, width]; the products along the height are summed."""

    def __init__(self, B: int, H: int, height: int, width: int, dtype: npt.DTypeLike) -> None:
        self.block = height, width
        self._w_forward = aligned(dtype, H // height, 4, H // width, height, width)
        self._w_backward = aligned(dtype, H // height, 4, H // width, height, width)
        self._partial_sums = aligned(dtype, H // height, 4, B, H)  # one per row of blocks
        self._by_block = self._partial_sums.reshape(-1, 4, B, H // width, width).swapaxes(2, 3)

    def load(self, w_h: Floats) -> None:
        H = w_h.shape[1]
        self._cut(w_h.reshape(4, H, H).swapaxes(1, 2), self._w_forward)
        self._w_forward[:, 1:] *= 0.5

    def load_backward(self, w_h: Floats) -> None:
        H = w_h.shape[1]
        self._cut(w_h.reshape(4, H, H), self._w_backward)

    def forward(self, h: Floats) -> Floats:
        pieces = h.reshape(len(h), -1, self.block[0]).swapaxes(0, 1)
        # [H / height, 1, 1, B, height] @ [H / height, 4, H / width, height, width]
        np.matmul(pieces[:, None, None], self._w_forward, out=self._by_block)
        z: Floats = self._partial_sums[0]
        for partial_sum in self._partial_sums[1:]:
            z += partial_sum
        return z

    def backward(self, dz: Floats, out: Floats) -> None:
        _, B, H = dz.shape
        pieces = dz.reshape(4, B, -1, self.block[0]).transpose(2, 0, 1, 3)
        np.matmul(pieces[:, :, None], self._w_backward, out=self._by_block)
        np.add.reduce(self._partial_sums.reshape(-1, B, H), axis=0, out=out)

    def _cut(self, matrices: Floats, out: Floats) -> None:
        """Copy the matrices of the gates [4, H, H] to blocks."""
        H, (height, width) = matrices.shape[1], self.block
        out[...] = matrices.reshape(4, H // height, height, H // width, width).transpose(1, 0, 3, 2, 4)


# ---- products that do not depend on the batch


class BatchInvariantMatmul(Protocol):
    """Products with a matrix [K, N], each row of which is the same, bit for bit, whatever the other rows are.

    BLAS sums in an order that depends on the size of a product and on the position of a row in it.
    """

    out: Floats  # [batch_size, N]

    def __call__(self, rows: Floats) -> None:
        """Write the product of up to `batch_size` rows [B, K] and the matrix into the first rows of `out`."""


def batch_invariant_matmul(
    matrix: Floats, batch_size: int, *, small_kernels: bool | None = None
) -> BatchInvariantMatmul:
    """Return the fastest strategy for up to `batch_size` rows; `small_kernels` as for `recurrent_matmul`."""
    if matrix.dtype == np.float32 and (has_small_kernels() if small_kernels is None else small_kernels):
        return InvariantBlockMatmul(matrix, batch_size)
    return RowMatmul(matrix, batch_size)


class RowMatmul:
    """A vector product for each row, by one block of columns after another, which stays in the L2 cache."""

    def __init__(self, matrix: Floats, batch_size: int) -> None:
        K, N = matrix.shape
        matrix = np.array(matrix.T, order="C").T  # a copy, contiguous along K, as a vector product reads
        width = max(_ROW_BLOCK // K // _ROW_WIDTH, 1) * _ROW_WIDTH
        self._rows = np.zeros((batch_size, 1, K), matrix.dtype)
        self.out = np.empty((batch_size, N), matrix.dtype)
        columns = [slice(start, start + width) for start in range(0, N, width)]
        self._blocks = [(matrix[:, block], self.out[:, None, block]) for block in columns]

    def __call__(self, rows: Floats) -> None:
        self._rows[: len(rows), 0] = rows
        for block, out in self._blocks:
            np.matmul(self._rows, block, out=out)  # NumPy calls a vector product for each row


class InvariantBlockMatmul:
    """Products of blocks whose sums do not depend on the batch.

    With OpenBLAS's kernels for AVX-512, that holds for two rows or more, up to `_INVARIANT_HEIGHT` terms per sum, and
    multiples of `_INVARIANT_WIDTH` columns: all such widths give the same bits. For few streams, the narrowest blocks
    are fastest; for many, blocks of all columns, on several cores.
    """

    def __init__(self, matrix: Floats, batch_size: int) -> None:
        K, N = matrix.shape
        n_blocks, columns = -(-K // _INVARIANT_HEIGHT), -(-N // _INVARIANT_WIDTH) * _INVARIANT_WIDTH
        height, streams = -(-K // n_blocks), max(batch_size, _MIN_ROWS)
        width = _INVARIANT_WIDTH if batch_size <= _FEW_STREAMS else columns
        padded = np.zeros((n_blocks * height, columns), matrix.dtype)
        padded[:K, :N] = matrix
        row_stride = width if width == _INVARIANT_WIDTH else width + _PADDING
        self._blocks = aligned(matrix.dtype, n_blocks, columns // width, height, row_stride)[..., :width]
        self._blocks[...] = padded.reshape(n_blocks, height, columns // width, width).swapaxes(1, 2)
        whole = np.zeros((streams, n_blocks * height), matrix.dtype)
        self._rows = whole[:, :K]
        self._operand = whole.reshape(streams, n_blocks, 1, height).transpose(1, 2, 0, 3)
        partial_sums = np.empty((n_blocks, streams, columns), matrix.dtype)
        self._by_block = partial_sums.reshape(n_blocks, streams, columns // width, width).swapaxes(1, 2)
        self.out, self._others = partial_sums[0, :batch_size, :N], list(partial_sums[1:, :batch_size, :N])

    def __call__(self, rows: Floats) -> None:
        self._rows[: len(rows)] = rows
        np.matmul(self._operand, self._blocks, out=self._by_block)
        for partial_sum in self._others:
            self.out += partial_sum
