"""Products of sparse codes for CuPy; see :mod:`skdict.kernels.products`.

Column order is a counting sort whose columns are then put in order by a bitmap of their rows, since
atomic additions place entries in an order of their own: results have the same bits every time, and
the host waits for nothing.
"""

import cupy
import numpy as np

from skdict.kernels import products_reference
from skdict.kernels._cuda import THREADS, contiguous, launch, threads_for


def decode(indptr, indices, values, D):
    n, d = indptr.shape[0] - 1, D.shape[1]
    (D,) = contiguous(D)
    out = cupy.empty((n, d), dtype=D.dtype)
    arrays = indptr, indices, values, D, out
    launch("products", "decode", D.dtype, n, *arrays, np.int32(d), threads=threads_for(d))
    return out


def codes_gradient(indptr, indices, D, G):
    n, d = indptr.shape[0] - 1, D.shape[1]
    D, G = contiguous(D, G)
    out = cupy.empty(indices.shape, dtype=D.dtype)
    arrays = indptr, indices, D, G, out
    launch("products", "codes_gradient", D.dtype, n, *arrays, np.int32(d), threads=threads_for(d))
    return out


def add_outer(out, columns, values, G):
    starts, entries, rows = columns
    (G,) = contiguous(G)
    m, d = out.shape
    arrays = starts, entries, rows, values, G, out
    launch("products", "add_outer", G.dtype, m, *arrays, np.int32(d), threads=threads_for(d))
    return out


def column_sum(indptr, indices, values, n_components):
    return sum_of_columns(by_column(indptr, indices, n_components), values)


def sum_of_columns(columns, values):
    """What :func:`column_sum` gives, of codes whose column order is known."""
    starts, entries, _ = columns
    m = starts.shape[0] - 1
    out, warps = cupy.empty(m, dtype=values.dtype), 4
    arrays = starts, entries, values, out
    launch("products", "sum_columns", values.dtype, -(-m // warps), *arrays, np.int32(m),
           threads=32 * warps)  # fmt: skip
    return out


def by_column(indptr, indices, n_components):
    n, m, nnz = indptr.shape[0] - 1, n_components, indices.shape[0]
    starts, following = cupy.zeros(m + 1, dtype=np.int64), cupy.empty(m, dtype=np.int64)
    placed, placed_rows, entries, rows = (cupy.empty(nnz, dtype=np.int32) for _ in range(4))

    def run(name, n_blocks, *arguments, threads=THREADS):
        launch("products", name, np.float32, n_blocks, *arguments, threads=threads)

    run("count_columns", -(-nnz // THREADS), indices, starts, np.int64(nnz))
    run("sum_up", 1, starts, following, np.int32(m), threads=1024 if m > 4096 else 128)
    run("place_entries", n, indptr, indices, following, placed, placed_rows, threads=32)
    if nnz:
        threads = THREADS if n > 1024 else 32  # a power of two, so that it divides the bitmap
        arrays = starts, placed, placed_rows, entries, rows
        run("order_columns", m, *arrays, np.int32(n), threads=threads)
    return starts, entries, rows


def positive_support(U, bias, in_order=True):
    return products_reference.positive_support(U, bias, in_order)


def to_dense(indptr, indices, values, n_components):
    n = indptr.shape[0] - 1
    out = cupy.zeros((n, n_components), dtype=values.dtype)
    arrays = indptr, indices, values, out
    launch("products", "to_dense", values.dtype, n, *arrays, np.int32(n_components), threads=32)
    return out
