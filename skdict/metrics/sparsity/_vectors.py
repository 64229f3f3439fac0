"""From a matrix, dense or sparse, to the magnitudes of its rows or columns, block by block.

A formula is given ``C`` of shape (n_vectors, width), the magnitudes in float64, and the length `n`
of every vector: what is missing to n are zeros, which it accounts for without seeing them. Of a
sparse matrix, vectors with similar numbers of entries are padded with zeros to one width, at most
twice the smallest of them (or 16), so that time and memory stay proportional to the entries stored.
"""

import math
from numbers import Integral

import numpy as np
from scipy.sparse import issparse

from skdict.backend import is_host, namespace
from skdict.metrics._blocks import BLOCK_ENTRIES
from skdict.metrics._checks import as_array, canonical, check_finite, check_kind_and_shape

DEVICE_BLOCK_ENTRIES = 2**24  # elsewhere a block must be worth launching a kernel


def by_vector(function, formula, Z, axis, **parameters):
    """Value of ``formula(xp, C, n, **parameters)`` for each vector: a float64 array.

    A float where Z is itself one vector.
    """
    if isinstance(axis, (bool, np.bool_)) or not isinstance(axis, Integral):
        raise TypeError(f"{function}: axis={axis!r} is no integer. Choose 1, rows, or 0, columns.")
    if axis not in (0, 1):
        raise ValueError(f"{function}: axis={axis} is out of range. Choose 1, rows, or 0, columns.")

    def values(xp, C, n):
        with np.errstate(all="ignore"):  # 0/0 and log 0 give the values that are documented
            return formula(xp, C, n, **parameters)

    if issparse(Z):
        return _sparse(values, canonical(function, Z), axis)
    Z = as_array(function, "Z", Z)
    if Z.ndim == 1:
        if Z.shape[0] == 0:
            raise ValueError(f"{function}: Z is empty, shape (0,). Pass at least one entry.")
        return float(_dense(function, values, Z[None, :], 1)[0])
    return _dense(function, values, Z, axis)


def _dense(function, values, Z, axis):
    check_kind_and_shape(function, "Z", Z)
    xp = namespace(Z)
    n_vectors, n = Z.shape[1 - axis], Z.shape[axis]
    size = max(16, (BLOCK_ENTRIES if is_host(xp) else DEVICE_BLOCK_ENTRIES) // n)
    results = []
    for start in range(0, n_vectors, size):
        stop = min(start + size, n_vectors)
        block = Z[start:stop, :] if axis == 1 else Z[:, start:stop].T
        C = xp.abs(xp.astype(block, xp.float64))
        if is_host(xp):  # sums along strides are slower, and less exact
            C = np.ascontiguousarray(C)
        check_finite(xp, function, "Z", C)
        results.append(values(xp, C, n))
    return results[0] if len(results) == 1 else xp.concat(results)


def _sparse(values, Z, axis):
    Z = Z.tocsr() if axis == 1 else Z.tocsc()
    n, counts, data = Z.shape[axis], np.diff(Z.indptr), Z.data
    if not data.size:
        data = np.zeros(1)  # there must be something to point at
    out = np.empty(counts.size)
    for vectors, width in _alike(counts):
        entries = np.arange(width)
        stored = entries < counts[vectors, None]
        where = np.where(stored, Z.indptr[vectors, None] + entries, 0)
        C = np.where(stored, np.abs(data[where].astype(np.float64)), 0.0)
        out[vectors] = values(namespace(), C, n)
    return out


def _alike(counts):
    """Yield indices of vectors with similar numbers of entries, and the largest such number."""
    order = np.argsort(counts, kind="stable")
    ascending = counts[order]
    start = 0
    while start < order.size:
        similar = max(2 * int(ascending[start]), 16)
        stop = int(np.searchsorted(ascending, similar, side="right"))
        width = max(int(ascending[stop - 1]), 1)
        stop = min(stop, start + max(1, BLOCK_ENTRIES // width))
        yield order[start:stop], max(int(ascending[stop - 1]), 1)
        start = stop


# What several formulas need


def largest(xp, C):
    """Largest magnitude of each vector, as a column."""
    return xp.max(C, axis=1, keepdims=True)


def relative(xp, C):
    """Magnitudes in units of the largest of their vector, so that powers stay in range."""
    top = largest(xp, C)
    return C / xp.where(top > 0, top, xp.ones_like(top))


def count(xp, mask):
    """Number of true entries of each row, in float64."""
    return xp.sum(xp.astype(mask, xp.float64), axis=1)


def log_ratios(xp, C):
    """Logarithms of the magnitudes in units of the largest of their vector; of zeros, -inf."""
    logs = xp.log(C) - xp.log(largest(xp, C))
    return xp.where(C > 0, logs, xp.full_like(C, -math.inf))
