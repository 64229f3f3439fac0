"""From dense codes to sparse ones, in array code for any namespace."""

from skdict.backend import namespace


def nonzeros(Z):
    """CSR of a dense matrix: indptr int64, indices int32 increasing within a row, values."""
    xp = namespace(Z)
    counts = xp.astype(xp.count_nonzero(Z, axis=1), xp.int64)
    rows, columns = xp.nonzero(Z)
    values = xp.take(xp.reshape(Z, (-1,)), rows * Z.shape[1] + columns, axis=0)
    indptr = xp.concat([xp.zeros_like(counts[:1]), xp.cumulative_sum(counts)])
    return indptr, xp.astype(columns, xp.int32), values
