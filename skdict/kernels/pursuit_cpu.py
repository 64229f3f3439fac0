"""Pursuit, compiled, blocks of rows on threads; see :mod:`skdict.kernels.pursuit`."""

import numpy as np

from skdict.kernels import pursuit_gram_cpu, pursuit_residual_cpu, threads

_ROWS = 256
_ENTRIES = 1 << 23  # correlations of a block, at most, where all rows of it go on in step


def pursuit(X, D, k, residual_tol, algorithm, positive, gram=None, precision="highest"):
    n = X.shape[0]
    slots = _most_atoms(k, D.shape, algorithm)
    form, n_block = pursuit_gram_cpu, _ROWS
    if gram is None:
        form, n_block = pursuit_residual_cpu, min(_ROWS, max(32, _ENTRIES // D.shape[0]))
    parts = [None] * -(-n // n_block)

    def block(start, stop):
        rows, size, tol = _scaled(X[start:stop], residual_tol)
        squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        n_rows = stop - start
        out = (
            np.empty((n_rows, slots), dtype=np.int32),
            np.empty((n_rows, slots), dtype=X.dtype),
            np.empty(n_rows, dtype=np.int64),
        )
        form.pursue(rows, squares, tol, D, gram, k, algorithm, positive, *out)
        indices, values, counts = out
        kept = np.arange(slots) < counts[:, None]
        parts[start // n_block] = counts, indices[kept], values[kept] * np.repeat(size, counts)

    threads.current().blocks(block, n, n_block)
    counts, indices, values = (np.concatenate(arrays) for arrays in zip(*parts))
    return np.concatenate([[0], np.cumsum(counts)]), indices, values


def _scaled(X, residual_tol):
    """Rows divided by their largest entries, these, and the tolerance for them, -1 for none.

    So squares neither overflow nor vanish.
    """
    size = np.max(np.abs(X), axis=1)
    size[size == 0] = 1
    tol = np.full(size.size, -1.0)
    if residual_tol is not None:
        tol = float(residual_tol) / size.astype(np.float64)
    return X / size[:, None], size, tol


def _most_atoms(k, shape, algorithm):
    """Atoms that a pursuit over a dictionary of this shape may hold at a time."""
    m, d = shape
    most = min(m, d) if algorithm in ("omp", "ols") else m
    return most if k is None else min(most, k)
