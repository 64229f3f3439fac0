"""Least squares on given atoms, compiled; see :mod:`skdict.kernels.refit`."""

import numpy as np

from skdict.kernels import threads
from skdict.kernels._jit import jit
from skdict.kernels.pursuit_gram_cpu import orthogonal
from skdict.kernels.pursuit_parts_cpu import bits_of, mask_of

_ROWS = 256


def refit(X, D, indptr, indices, positive):
    values = np.zeros(indices.size, dtype=X.dtype)
    most = int(np.max(np.diff(indptr), initial=0))
    mask = mask_of(X.dtype, positive)

    def block(start, stop):
        C, scores = np.zeros((2, 1, most), dtype=X.dtype)
        memory = (
            np.empty((1, X.shape[1]), dtype=X.dtype),
            np.empty((most, X.shape[1]), dtype=X.dtype),
            np.empty((most, most), dtype=X.dtype),
            np.empty((1, most), dtype=np.int32),
            np.empty((1, most), dtype=X.dtype),
        )
        bits = bits_of(C), bits_of(scores)
        _refit_rows(
            X, D, indptr, indices, positive, values, start, stop, C, scores, bits, mask, memory
        )

    if most:
        threads.current().blocks(block, X.shape[0], _ROWS)
    return values


@jit
def _refit_rows(
    X, D, indptr, indices, positive, values, start, stop, C, scores, bits, mask, memory
):  # fmt: skip
    # Orthogonal pursuit that may select all of a few atoms ends in least squares on them.
    x, atoms, G, places, codes = memory
    counts = np.empty(1, dtype=np.int64)
    squares, tol = np.empty(1), np.full(1, -1.0)
    for row in range(start, stop):
        begin = indptr[row]
        count = indptr[row + 1] - begin
        if count == 0:
            continue
        size = X.dtype.type(0)
        for f in range(X.shape[1]):
            size = max(size, abs(X[row, f]))
        if size == 0:
            continue
        squares[0] = 0
        for f in range(X.shape[1]):
            x[0, f] = X[row, f] / size
            squares[0] += np.float64(x[0, f]) * x[0, f]
        for p in range(count):
            atoms[p, :] = D[indices[begin + p], :]
            C[0, p] = _dot(atoms, p, x, 0)
            for q in range(p + 1):
                G[p, q] = G[q, p] = _dot(atoms, p, atoms, q)
        orthogonal(
            x, squares, tol, C, bits[0], mask, atoms[:count], G, False, positive, scores, bits[1],
            places[:, :count], codes[:, :count], counts,
        )  # fmt: skip
        for p in range(counts[0]):
            values[begin + places[0, p]] = codes[0, p] * size


@jit
def _dot(A, row, B, other):
    r, o = np.uint64(row), np.uint64(other)
    total = A.dtype.type(0)
    for f in range(np.uint64(A.shape[1])):
        total += A[r, f] * B[o, f]
    return total
