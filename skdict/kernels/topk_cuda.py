"""Row-wise top-k for CuPy; see :mod:`skdict.kernels.topk`.

A radix select, never a sort. Where k is small against the row, maxima of groups of columns leave
few candidates, and the row is read twice.
"""

import cupy
import numpy as np

from skdict.kernels._cuda import THREADS, contiguous, launch, threads_for

GROUPS = 1024  # 4 of each of 256 threads (topk.cu)


def topk(U, bias, k, in_order=True):
    n, m = U.shape
    U, bias = contiguous(U, bias)
    indices, values = cupy.empty((n, k), dtype=np.int32), cupy.empty((n, k), dtype=U.dtype)
    if k == 0 or n == 0:
        return indices, values
    few = np.int32(m >= 2 * GROUPS and k <= GROUPS // 4)
    sizes = np.int32(m), np.int32(k), few
    threads = THREADS if few else threads_for(m)
    launch("topk", "topk_rows", U.dtype, n, U, bias, indices, values, *sizes, threads=threads)
    return indices, values
