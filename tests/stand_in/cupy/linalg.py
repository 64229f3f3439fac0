"""Linear algebra, by NumPy."""

import numpy as np

from cupy import _function

__all__ = [
    "cholesky",
    "det",
    "eigh",
    "eigvalsh",
    "inv",
    "lstsq",
    "matrix_power",
    "matrix_rank",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "tensorsolve",
]  # fmt: skip
for _name in __all__:
    globals()[_name] = _function(getattr(np.linalg, _name), _name)
