"""The products in plain array code, by way of dense matrices; see the module ``products``."""

from skdict.backend import device, namespace


def decode(indptr, indices, values, D):
    return to_dense(indptr, indices, values, D.shape[0]) @ D


def codes_gradient(indptr, indices, D, G):
    xp = namespace(D)
    full = xp.reshape(G @ D.T, (-1,))
    return xp.take(full, _cells(indptr, indices, D.shape[0]), axis=0)


def add_outer(out, columns, values, G):
    out += _dense_columns(columns, values, G.shape[0]) @ G
    return out


def column_sum(indptr, indices, values, n_components):
    xp = namespace(values)
    return xp.sum(to_dense(indptr, indices, values, n_components), axis=0)


def by_column(indptr, indices, n_components):
    xp = namespace(indices)
    entries = xp.argsort(indices, stable=True)
    edges = xp.arange(n_components + 1, dtype=indices.dtype, device=device(indices))
    starts = xp.searchsorted(xp.take(indices, entries, axis=0), edges, side="left")
    return starts, entries, xp.take(_owners(indptr, indices), entries, axis=0)


def positive_support(U, bias, in_order=True):
    xp = namespace(U)
    positive = U + bias > 0
    counts = xp.count_nonzero(positive, axis=1)
    start = xp.zeros(1, dtype=xp.int64, device=device(U))
    indptr = xp.concat([start, xp.cumulative_sum(xp.astype(counts, xp.int64))])
    rows, columns = xp.nonzero(positive)
    values = xp.take(xp.reshape(U, (-1,)), rows * U.shape[1] + columns, axis=0)
    return indptr, xp.astype(columns, xp.int32), values


def to_dense(indptr, indices, values, n_components):
    xp = namespace(values)
    n = indptr.shape[0] - 1
    if values.shape[0] == 0:
        return xp.zeros((n, n_components), dtype=values.dtype, device=device(values))
    return _scatter(_cells(indptr, indices, n_components), values, (n, n_components))


def _dense_columns(columns, values, n_rows):
    xp = namespace(values)
    starts, entries, rows = columns
    shape = (starts.shape[0] - 1, n_rows)
    if entries.shape[0] == 0:
        return xp.zeros(shape, dtype=values.dtype, device=device(values))
    cells = _owners(starts, entries) * n_rows + xp.astype(rows, xp.int64)
    return _scatter(cells, xp.take(values, entries, axis=0), shape)


def _scatter(cells, values, shape):
    # The standard has no scatter: every cell looks itself up in the increasing list of cells.
    xp = namespace(values)
    every = xp.arange(shape[0] * shape[1], dtype=cells.dtype, device=device(values))
    place = xp.searchsorted(cells, every, side="left")
    place = xp.clip(place, 0, cells.shape[0] - 1)
    hit = xp.take(cells, place, axis=0) == every
    found = xp.take(values, place, axis=0)
    return xp.reshape(xp.where(hit, found, xp.zeros_like(found)), shape)


def _cells(indptr, indices, n_components):
    xp = namespace(indices)
    return _owners(indptr, indices) * n_components + xp.astype(indices, xp.int64)


def _owners(indptr, entries):
    xp = namespace(entries)
    every = xp.arange(entries.shape[0], dtype=indptr.dtype, device=device(entries))
    return xp.astype(xp.searchsorted(indptr[1:], every, side="right"), xp.int64)
