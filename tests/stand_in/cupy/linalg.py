"""Linear algebra, by NumPy."""

import numpy as np

from cupy import _function

__all__ = ["norm", "solve", "svd", "inv", "eigh", "cholesky", "qr", "det", "pinv", "slogdet",
           "eigvalsh", "matrix_rank", "tensorsolve", "matrix_power", "lstsq"]  # fmt: skip
for _name in __all__:
    globals()[_name] = _function(getattr(np.linalg, _name), _name)
