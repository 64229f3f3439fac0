"""Dense products on blocks of rows, and row tiles of the encoder's product.

Each block is one BLAS call on one thread; its shape depends on the operands alone.
"""

from skdict.backend import is_host, namespace
from skdict.kernels import threads

_TILE = 1024  # rows: a single-threaded product loses 7 % at 512, 14 to 28 % at 256
PAD = 16  # columns of a buffer
_SMALL = 1 << 23  # multiply-adds below which a second thread does not pay


def matmul(A, B):
    """``A @ B``, blocks of rows on threads where A and B are numpy arrays."""
    xp = namespace(A)
    if not is_host(xp):
        return A @ B
    out = xp.empty((A.shape[0], B.shape[1]), dtype=A.dtype)
    size = tile_rows(A.shape[0], A.shape[1] * B.shape[1])

    def block(start, stop):
        xp.matmul(A[start:stop], B, out=out[start:stop])

    threads.current().blocks(block, A.shape[0], size)
    return out


def product_tiles(A, B, consume):
    """List of ``consume(A[tile] @ B)`` over tiles of rows, in order.

    The product of a tile lies in a buffer that the next tile overwrites: `consume` must copy what
    it keeps. So the whole product never exists. Rows of the buffer are padded: a stride that is a
    multiple of 4096 bytes slows the product.
    """
    xp = namespace(A)
    if not is_host(xp):
        return [consume(A @ B)]
    n, m = A.shape[0], B.shape[1]
    size = tile_rows(n, A.shape[1] * m)
    parts = [None] * -(-n // size)

    def tile(start, stop):
        buffer = threads.current().buffer("product", (stop - start, m + PAD), A.dtype)[:, :m]
        xp.matmul(A[start:stop], B, out=buffer)
        parts[start // size] = consume(buffer)

    threads.current().blocks(tile, n, size)
    return parts


def tile_rows(n, work_per_row):
    """Rows per block: two blocks for a small batch, else `_TILE`; one if there is little to do."""
    if n * work_per_row < _SMALL:
        return max(n, 1)
    return _TILE if n >= 2 * _TILE else 16 * -(-n // 32)
