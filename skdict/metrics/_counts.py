"""How often each latent fires; the counts behind every measure of use and of load."""

import numpy as np
from scipy.sparse import issparse

from skdict.backend import namespace
from skdict.metrics._blocks import blocks
from skdict.metrics._checks import as_matrix, canonical, check_finite


def fired_counts(function, Z):
    """Namespace, number of non-zeros of each column (int64), and number of rows."""
    if issparse(Z):
        entries = canonical(function, Z).tocoo(copy=False)
        counts = np.bincount(entries.col[entries.data != 0], minlength=Z.shape[1])
        return namespace(), counts, Z.shape[0]
    Z = as_matrix(function, "Z", Z)
    xp = namespace(Z)
    counts = 0
    for block in blocks(xp, Z, dtype=None):
        check_finite(xp, function, "Z", block)
        fired = block if xp.isdtype(block.dtype, "bool") else block != 0
        counts = counts + xp.sum(xp.astype(fired, xp.uint8), axis=0, dtype=xp.int64)
    return xp, counts, Z.shape[0]
