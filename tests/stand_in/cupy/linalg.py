"""Linear algebra, by NumPy."""

import numpy as np

from cupy import _function

__all__ = ["LinAlgError"]
LinAlgError = np.linalg.LinAlgError
for _name in """cholesky cond cross det eig eigh eigvals eigvalsh inv lstsq matmul matrix_power
    matrix_rank matrix_transpose norm pinv qr slogdet solve svd tensorinv tensorsolve""".split():
    globals()[_name] = _function(getattr(np.linalg, _name), _name)
    __all__ += [_name]
