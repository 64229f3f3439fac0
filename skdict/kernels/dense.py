"""Dense products on blocks of rows or columns, and row tiles of the encoder's product.

Each block is one BLAS call on one thread; its shape depends on the operands alone.

On a GPU the encoder's product has a precision: ``"highest"``, that of the data; for float32 also
``"tf32"`` and ``"bf16"``, in which the factors are rounded to 10 or 7 bits of the mantissa and sums
are taken in float32. Other arrays ignore it.
"""

import importlib
import math
import mmap
from typing import NamedTuple

import numpy as np

from skdict.backend import is_gpu, is_host, namespace
from skdict.kernels import threads

_TILE = 1024  # rows: a single-threaded product loses 7 % at 512, 14 to 28 % at 256
_TILE_ENTRIES = 1 << 26  # of the product of a tile: 256 MB in float32
_GRAM_BYTES = 1 << 30  # of the largest Gram matrix that is formed unasked
_GRAM_TILES = (256, 512)  # rows and columns, below and from _MANY: mirrored from the cache
_MANY = 4096
_LARGE = 1 << 22  # bytes from which NumPy asks for huge pages
_MIRROR = 128  # rows and columns of it at a time
_FEW_ROWS = 64  # that a thread takes after a product of few rows
PAD = 16  # columns of a buffer
_SMALL = 1 << 23  # multiply-adds below which a second thread does not pay
GPU_BYTES = 1 << 30  # of the product of a tile on a GPU


class Rounded(NamedTuple):
    """A product of rounded factors, with the factors as they are: ``product`` is about A @ B.T."""

    product: object
    A: object
    B: object


def matmul(A, B, out=None):
    """``A @ B``; on threads where A and B are numpy arrays, and there in `out` if it is given."""
    xp = namespace(A)
    if not is_host(xp):
        return A @ B
    (n, d), m, pool = A.shape, B.shape[1], threads.current()
    out = xp.empty((n, m), dtype=A.dtype) if out is None else out

    def rows(start, stop):
        xp.matmul(A[start:stop], B, out=out[start:stop])

    def columns(start, stop):
        xp.matmul(A, B[:, start:stop], out=out[:, start:stop])

    if are_few_rows(n, m) and n * d * m >= _SMALL:
        pool.blocks(columns, m, 16 * -(-m // 32))
    else:
        pool.blocks(rows, n, tile_rows(n, d, m))
    return out


def gram_fits(D):
    """May the Gram matrix of these atoms be formed unasked?"""
    return D.shape[0] ** 2 * D.dtype.itemsize <= _GRAM_BYTES


def gram(D):
    """``D @ D.T``; on the host the tiles below the diagonal, and their mirror."""
    xp, m = namespace(D), D.shape[0]
    if not is_host(xp):
        return D @ D.T
    G, size = _in_small_pages((m, m), D.dtype), _GRAM_TILES[m >= _MANY]

    def rows(start, stop):  # the longest first
        start, stop = m - stop, m - start
        xp.matmul(D[start:stop], D[start:stop].T, out=G[start:stop, start:stop])
        memory = xp.empty((stop - start, size + PAD), dtype=D.dtype)
        for left in range(0, start, size):
            right = min(left + size, start)
            tile = memory[:, : right - left]
            xp.matmul(D[start:stop], D[left:right].T, out=tile)
            G[start:stop, left:right] = tile
            for i in range(0, stop - start, _MIRROR):
                for j in range(0, right - left, _MIRROR):
                    mirror = tile[i : i + _MIRROR, j : j + _MIRROR].T
                    first, last = left + j, left + j + mirror.shape[0]
                    G[first:last, start + i : start + i + mirror.shape[1]] = mirror

    threads.current().blocks(rows, m, size, m * m * D.shape[1] // 2)
    return G


def _in_small_pages(shape, dtype):
    # NumPy asks for huge pages. Where the host of a virtual machine takes back those that are
    # free, as some do, the first touch of new ones took 2.2 s a GiB; of small ones always 0.4 s.
    size = math.prod(shape) * dtype.itemsize
    if size < _LARGE:
        return np.empty(shape, dtype=dtype)
    return np.frombuffer(mmap.mmap(-1, size, access=mmap.ACCESS_COPY), dtype=dtype).reshape(shape)


def product_of_support(A, B, bias, precision):
    """``U = A @ B`` of arrays that are not NumPy's, of which entries with ``U + bias > 0`` count.

    Which these are, `precision` decides; they themselves are products of factors as they are.
    """
    if not (is_gpu(A) and is_rounded(A, precision)):
        return A @ B
    cuda = importlib.import_module("skdict.kernels.dense_cuda")
    U = cuda.product(A, B.T, precision)
    cuda.refine_positive(U, bias, A, B.T)
    return U


def is_rounded(A, precision):
    """Does a product of A in this precision round its factors?"""
    return precision != "highest" and is_gpu(A) and A.dtype == np.float32


def exact_entries(A, B, indices):
    """Products of each row of A with the rows of B that `indices`, (n, k), names; on a GPU."""
    return importlib.import_module("skdict.kernels.dense_cuda").exact_entries(A, B, indices)


def product_tiles(A, B, consume, precision="highest"):
    """List of ``consume(A[tile] @ B)`` over tiles of rows, in order.

    The product of a tile lies in a buffer that the next tile overwrites: `consume` must copy what
    it keeps. So the whole product never exists, unless there are few rows. Rows of the buffer are
    padded: a stride that is a multiple of 4096 bytes slows the product. With a `precision` that
    rounds, the product comes as :class:`Rounded`.
    """
    if not (is_host(namespace(A)) or is_gpu(A)):
        return [consume(A @ B)]
    parts = {}

    def keep(tile, start, stop):
        parts[start] = consume(tile)

    for_tiles(A, B, keep, precision=precision)
    return [parts[start] for start in sorted(parts)]


def for_tiles(A, B, use, prepare=None, precision="highest"):
    """Call ``use(A[start:stop] @ B, start, stop)`` on threads for tiles of rows.

    ``prepare(start, stop)``, if given, is called before these rows of A are read.
    """
    if is_gpu(A):
        _for_tiles_on_gpu(A, B.T, use, prepare, precision)
        return
    (n, d), m, pool = A.shape, B.shape[1], threads.current()
    if are_few_rows(n, m):
        if prepare is not None:
            prepare(0, n)
        whole = pool.buffer("product", (n, m + PAD), A.dtype)
        matmul(A, B, whole[:, :m])
        pool.blocks(lambda i, j: use(whole[i:j, :m], i, j), n, _FEW_ROWS, n * d * m)
        return

    def tile(start, stop):
        if prepare is not None:
            prepare(start, stop)
        U = threads.current().buffer("product", (stop - start, m + PAD), A.dtype)[:, :m]
        namespace(A).matmul(A[start:stop], B, out=U)
        use(U, start, stop)

    # A block on a thread of its own gains nothing from smaller tiles.
    pool.blocks(tile, n, tile_rows(n if not pool.within_block else max(n, 2 * _TILE), d, m))


def _for_tiles_on_gpu(A, B, use, prepare, precision):
    cuda, xp = importlib.import_module("skdict.kernels.dense_cuda"), namespace(A)
    (n, _), m = A.shape, B.shape[0]
    rounds = is_rounded(A, precision)
    factor = cuda.to_bfloat16(B) if rounds and precision == "bf16" else B  # once for all tiles
    most = max(_FEW_ROWS, GPU_BYTES // (m * A.dtype.itemsize))
    size = -(-n // max(1, -(-n // most)))  # tiles of about one size
    memory = xp.empty((size, m), dtype=A.dtype)
    for start in range(0, n, size):
        stop = min(start + size, n)
        if prepare is not None:
            prepare(start, stop)
        rows = A[start:stop, :]
        U = cuda.product(rows, factor, precision, out=memory[: stop - start, :])
        use(Rounded(U, rows, B) if rounds else U, start, stop)


def are_few_rows(n, m):
    """With few rows each thread would prepare all of B for a product of a part of them."""
    return n < 1024 <= m and n * m <= _TILE_ENTRIES


def tile_rows(n, d, m):
    """Rows per block: two blocks for a small batch, else `_TILE`; one if there is little to do."""
    if n * d * m < _SMALL:
        return max(n, 1)
    rows = _TILE if n >= 2 * _TILE else 16 * -(-n // 32)
    return min(rows, max(32, _TILE_ENTRIES // m))


def with_padding(U):
    """The contiguous array that rows apart from each other are part of; kernels are fast on it."""
    width, rest = divmod(U.strides[0], U.itemsize)
    if U.flags.c_contiguous or rest or U.strides[1] != U.itemsize or width < U.shape[1]:
        return np.ascontiguousarray(U)
    return np.lib.stride_tricks.as_strided(U, (U.shape[0], width))
