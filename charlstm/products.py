"""The recurrent product, `h @ w_h.T`, and the way back through it, as fast as the BLAS at hand can be made to do them.

They take most of the time of training, with few rows (streams) and the same weights at each step of a window. A BLAS
copies what it multiplies into a form of its own first, which for few rows costs as much as the product. OpenBLAS has
kernels for small products that need no copy, for processors with AVX-512: with these, the product is made of narrow
blocks, each small enough, and takes half to nine tenths of the time. Elsewhere it is one product over all gates.
"""

import functools

import numpy as np
from threadpoolctl import threadpool_info

from charlstm.workspace import Floats, Workspace

_SMALL_PRODUCT = 1_000_000  # multiplications; the most that OpenBLAS takes for small
_SMALL_KERNELS = {"SkylakeX", "Cooperlake", "SapphireRapids"}
_BLOCKS = (64, 32)  # columns; narrower ones are slow
_PADDING = 16  # floats: rows whose distance is a power of two would share few places of the cache


class RecurrentProducts:
    """The products with one layer's `w_h` for B streams.

    Args:
        w_h: [4H, H]; copied.
        batch_size: B.
        work: holds the copy and the results of `forward`.
        backwards: whether `backward` is needed too.
    """

    def __init__(self, w_h: Floats, batch_size: int, work: Workspace, backwards: bool = True) -> None:
        B, H = batch_size, w_h.shape[1]
        gates = w_h.reshape(4, H, H)  # [gate, to, from]
        block = _block(B, H, w_h.dtype)
        self._by_gate = work.array("product by gate", 4, B, H)
        if block:
            self._forward = work.array("w_h forward", 4, H // block, H, block)
            self._forward[...] = gates.reshape(4, H // block, block, H).swapaxes(2, 3)
            self._product = self._by_gate
            self._by_block = self._by_gate.reshape(4, B, H // block, block).swapaxes(1, 2)
        else:
            self._forward = work.array("w_h forward", H, 4 * H + _PADDING)[:, : 4 * H]
            self._forward[...] = w_h.T
            self._by_block = work.array("product", B, 4 * H)
            self._product = self._by_block.reshape(B, 4, H).swapaxes(0, 1)
        self._in_blocks = bool(block)
        if backwards and block:
            self._backward = work.array("w_h backward", 4, H // block, H, block)
            self._backward[...] = gates.reshape(4, H, H // block, block).swapaxes(1, 2)
        elif backwards:
            self._backward = work.array("w_h backward", 4 * H, H + _PADDING)[:, :H]
            self._backward[...] = w_h

    def forward(self, h: Floats) -> Floats:
        """Return `h @ w_h.T` by gate [4, B, H] for h [B, H]; the next call overwrites it."""
        np.matmul(h, self._forward, out=self._by_block)
        return self._product

    def backward(self, dgates: Floats, out: Floats) -> None:
        """Write the error of h [B, H] that comes from the error of the gates [4, B, H]: `dgates @ w_h`."""
        if self._in_blocks:
            np.matmul(dgates[:, None], self._backward, out=self._by_block)
            np.add.reduce(self._by_gate, axis=0, out=out)
        else:
            self._product[...] = dgates
            np.matmul(self._by_block, self._backward, out=out)


def _block(B: int, H: int, dtype: np.dtype[np.floating]) -> int:
    """Return how many columns a block has, or 0 where the product is not made of blocks."""
    if dtype == np.float32 and _has_small_kernels():
        for block in _BLOCKS:
            if H % block == 0 and B * H * block <= _SMALL_PRODUCT:
                return block
    return 0


@functools.cache
def _has_small_kernels() -> bool:
    return any(blas.get("architecture") in _SMALL_KERNELS for blas in threadpool_info())
