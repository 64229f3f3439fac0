"""Blocks of rows in float64, so that a large float32 matrix or memory map is never copied whole."""

from skdict.metrics._checks import check_finite

BLOCK_ENTRIES = 2**18  # of one float64 block: 2 MB, which stays in a CPU's cache


def blocks(xp, X, dtype="float64"):
    """Yield consecutive rows of `X` as blocks; `dtype=None` leaves them as they are."""
    n_samples, n_columns = X.shape
    n_rows = max(1, BLOCK_ENTRIES // n_columns)
    for start in range(0, n_samples, n_rows):
        block = X[start : min(start + n_rows, n_samples), :]
        yield block if dtype is None else xp.astype(block, getattr(xp, dtype), copy=False)


def centre(xp, function, X):
    """First row of `X`, and the mean of what is left when it is subtracted.

    Kept apart, the two centre a constant column to exact zeros, whatever its size.
    """
    first = xp.astype(X[:1, :], xp.float64)
    total = xp.zeros_like(first)
    for block in blocks(xp, X):
        check_finite(xp, function, "X", block)
        total = total + xp.sum(block - first, axis=0, keepdims=True)
    return first, total / X.shape[0]
