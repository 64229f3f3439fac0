"""The products, compiled; see :mod:`skdict.kernels.products`.

What bounds them is the gather of atoms (rows of D) or samples (rows of G) from the outer caches;
hence four at a time, so that the row being written is read and stored once for four.
"""

import numpy as np

from skdict.kernels import threads
from skdict.kernels._jit import jit
from skdict.kernels.dense import with_padding
from skdict.kernels.topk_cpu import group_maxima

_ROWS = 64  # rows or columns that a thread takes at a time
_GROUP = 16  # columns whose maximum is looked at first


def decode(indptr, indices, values, D):
    out = np.empty((indptr.size - 1, D.shape[1]), dtype=D.dtype)
    threads.current().blocks(
        lambda start, stop: _decode(indptr, indices, values, D, out, start, stop),
        out.shape[0],
        _ROWS,
        values.size * D.shape[1],
    )
    return out


def codes_gradient(indptr, indices, D, G):
    out = np.empty(indices.size, dtype=D.dtype)
    threads.current().blocks(
        lambda start, stop: _codes_gradient(indptr, indices, D, G, out, start, stop),
        G.shape[0],
        _ROWS,
        indices.size * D.shape[1],
    )
    return out


def add_outer(out, columns, values, G):
    starts, entries, rows = columns
    threads.current().blocks(
        lambda start, stop: _add_outer(out, starts, entries, rows, values, G, start, stop),
        out.shape[0],
        _ROWS,
        entries.size * G.shape[1],
    )
    return out


def column_sum(indptr, indices, values, n_components):
    return _column_sum(indices, values, n_components)


def by_column(indptr, indices, n_components):
    return _by_column(indptr, indices, n_components)


def positive_support(U, bias, in_order=True):
    (n, m), parts = U.shape, {}
    counts = np.zeros(n + 1, dtype=np.int64)
    U = with_padding(U)

    def block(start, stop):
        memory, size = threads.current().buffer, (stop - start) * m
        indices = memory("support indices", (size,), np.int32)
        values = memory("support values", (size,), U.dtype)
        found = _take_positive(U, bias, counts, indices, values, start, stop, in_order)
        parts[start] = indices[:found].copy(), values[:found].copy()

    threads.current().blocks(block, n, _ROWS, U.size)
    if not parts:
        return counts, np.empty(0, dtype=np.int32), np.empty(0, dtype=U.dtype)
    indices, values = zip(*(parts[start] for start in sorted(parts)), strict=True)
    return np.cumsum(counts), np.concatenate(indices), np.concatenate(values)


def to_dense(indptr, indices, values, n_components):
    out = np.zeros((indptr.size - 1, n_components), dtype=values.dtype)
    _fill(indptr, indices, values, out)
    return out


@jit
def _decode(indptr, indices, values, D, out, start, stop):
    d = np.uint64(D.shape[1])
    for row in range(start, stop):
        i = np.uint64(row)
        for c in range(d):
            out[i, c] = 0
        p = indptr[row]
        end = indptr[row + 1]
        while p + 4 <= end:
            j0, j1 = np.uint64(indices[p]), np.uint64(indices[p + 1])
            j2, j3 = np.uint64(indices[p + 2]), np.uint64(indices[p + 3])
            z0, z1, z2, z3 = values[p], values[p + 1], values[p + 2], values[p + 3]
            for c in range(d):
                out[i, c] += (z0 * D[j0, c] + z1 * D[j1, c]) + (z2 * D[j2, c] + z3 * D[j3, c])
            p += 4
        while p < end:
            j0 = np.uint64(indices[p])
            z0 = values[p]
            for c in range(d):
                out[i, c] += z0 * D[j0, c]
            p += 1


@jit
def _codes_gradient(indptr, indices, D, G, out, start, stop):
    d = np.uint64(D.shape[1])
    zero = D.dtype.type(0)
    for row in range(start, stop):
        i = np.uint64(row)
        p = indptr[row]
        end = indptr[row + 1]
        while p + 4 <= end:
            j0, j1 = np.uint64(indices[p]), np.uint64(indices[p + 1])
            j2, j3 = np.uint64(indices[p + 2]), np.uint64(indices[p + 3])
            s0, s1, s2, s3 = zero, zero, zero, zero
            for c in range(d):
                g = G[i, c]
                s0 += g * D[j0, c]
                s1 += g * D[j1, c]
                s2 += g * D[j2, c]
                s3 += g * D[j3, c]
            out[p], out[p + 1], out[p + 2], out[p + 3] = s0, s1, s2, s3
            p += 4
        while p < end:
            j0 = np.uint64(indices[p])
            s0 = zero
            for c in range(d):
                s0 += G[i, c] * D[j0, c]
            out[p] = s0
            p += 1


@jit
def _add_outer(out, starts, entries, rows, values, G, start, stop):
    d = np.uint64(G.shape[1])
    for column in range(start, stop):
        j = np.uint64(column)
        p = starts[column]
        end = starts[column + 1]
        while p + 4 <= end:
            i0, i1 = np.uint64(rows[p]), np.uint64(rows[p + 1])
            i2, i3 = np.uint64(rows[p + 2]), np.uint64(rows[p + 3])
            z0, z1 = values[entries[p]], values[entries[p + 1]]
            z2, z3 = values[entries[p + 2]], values[entries[p + 3]]
            for c in range(d):
                out[j, c] += (z0 * G[i0, c] + z1 * G[i1, c]) + (z2 * G[i2, c] + z3 * G[i3, c])
            p += 4
        while p < end:
            i0 = np.uint64(rows[p])
            z0 = values[entries[p]]
            for c in range(d):
                out[j, c] += z0 * G[i0, c]
            p += 1


@jit
def _column_sum(indices, values, n_components):
    total = np.zeros(n_components)
    for p in range(indices.size):
        total[indices[p]] += values[p]
    return total.astype(values.dtype)


@jit
def _by_column(indptr, indices, n_components):
    starts = np.zeros(n_components + 1, dtype=np.int64)
    for p in range(indices.size):
        starts[indices[p] + 1] += 1
    for j in range(n_components):
        starts[j + 1] += starts[j]
    free = starts[:-1].copy()
    entries = np.empty(indices.size, dtype=np.int64)
    rows = np.empty(indices.size, dtype=np.int32)
    for i in range(indptr.size - 1):
        for p in range(indptr[i], indptr[i + 1]):
            place = free[indices[p]]
            free[indices[p]] = place + 1
            entries[place] = p
            rows[place] = i
    return starts, entries, rows


@jit
def _take_positive(U, bias, counts, indices, values, start, stop, in_order):
    # Most groups of columns have no positive entry and are passed by.
    m = bias.size
    group = max(1, min(_GROUP, m // 8))
    n_groups = m // group
    maxima = np.empty(n_groups + m - group * n_groups, dtype=U.dtype)
    p = 0
    for i in range(start, stop):
        before = p
        group_maxima(U, bias, i, group, n_groups, maxima)
        for g in range(n_groups):
            if maxima[g] > 0:
                for j in range(g, group * n_groups, n_groups):
                    if U[i, j] + bias[j] > 0:
                        indices[p] = j
                        p += 1
        for j in range(group * n_groups, m):
            if U[i, j] + bias[j] > 0:
                indices[p] = j
                p += 1
        if in_order:
            indices[before:p].sort()
        for q in range(before, p):
            values[q] = U[i, indices[q]]
        counts[i + 1] = p - before
    return p


@jit
def _fill(indptr, indices, values, out):
    for i in range(out.shape[0]):
        for p in range(indptr[i], indptr[i + 1]):
            out[i, indices[p]] = values[p]
