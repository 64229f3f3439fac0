"""Linear algebra, by NumPy."""

import numpy as np

from cupy import _function

norm, solve, svd, inv, eigh, cholesky, qr, det, pinv, slogdet, eigvalsh, matrix_rank = (
    _function(getattr(np.linalg, name), name)
    for name in ("norm", "solve", "svd", "inv", "eigh", "cholesky", "qr", "det", "pinv", "slogdet",
                 "eigvalsh", "matrix_rank")
)  # fmt: skip
tensorsolve, matrix_power, lstsq = (
    _function(getattr(np.linalg, name), name) for name in ("tensorsolve", "matrix_power", "lstsq")
)
