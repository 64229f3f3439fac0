"""The encoder's product for CuPy, at a precision of its own; see :mod:`skdict.kernels.dense`.

cuBLAS is told the precision with each call: what CuPy is set to, and its handle, stay as they are.
"""

import cupy
import numpy as np
from cupy.cuda import cublas, device

from skdict.kernels._cuda import THREADS, contiguous, launch, threads_for
from skdict.kernels.products_cuda import codes_gradient

# Of cuBLAS's enumerations cudaDataType_t and cublasComputeType_t; -1: the default algorithm.
_REAL_32, _REAL_64, _BFLOAT_16 = 0, 1, 14
_COMPUTE_32, _COMPUTE_64, _COMPUTE_TF32 = 68, 70, 77
_TRANSPOSED, _AS_IT_IS, _ALGORITHM = 1, 0, -1


def product(A, B, precision, out=None):
    """``A @ B.T`` for A (n, d) and B (m, d); of float32, B may be rounded to bfloat16 already."""
    (n, d), m = A.shape, B.shape[0]
    out = cupy.empty((n, m), dtype=A.dtype) if out is None else out
    kind, kind_out, compute = _REAL_32, _REAL_32, _COMPUTE_32
    if A.dtype == np.float64:
        kind, kind_out, compute = _REAL_64, _REAL_64, _COMPUTE_64
    elif precision == "bf16":
        kind = _BFLOAT_16
        A, B = to_bfloat16(A), B if B.dtype == np.uint16 else to_bfloat16(B)
    elif precision == "tf32":
        compute = _COMPUTE_TF32
    A, B = contiguous(A, B)
    if 0 in (n, m, d):
        out[...] = 0
        return out
    one, zero = (np.array(number, dtype=out.dtype) for number in (1, 0))
    # cuBLAS counts columns first: to it out is (m, n), and it is Bᵀ transposed times Aᵀ.
    cublas.gemmEx(
        device.get_cublas_handle(), _TRANSPOSED, _AS_IT_IS, m, n, d, one.ctypes.data,
        B.data.ptr, kind, d, A.data.ptr, kind, d, zero.ctypes.data,
        out.data.ptr, kind_out, m, compute, _ALGORITHM,
    )  # fmt: skip
    return out


def to_bfloat16(A):
    """A float32 array rounded to bfloat16, as uint16."""
    (A,) = contiguous(A)
    out = cupy.empty(A.shape, dtype=np.uint16)
    launch("dense", "round_to_bfloat16", np.float32, -(-A.size // THREADS), A, out,
           np.int64(A.size))  # fmt: skip
    return out


def exact_entries(A, B, indices):
    """Products of each row of A with the rows of B that `indices`, (n, k), names."""
    n, k = indices.shape
    indptr = cupy.arange(n + 1, dtype=np.int64) * k
    return codes_gradient(indptr, indices.reshape(-1), B, A).reshape(n, k)


def refine_positive(U, bias, A, B):
    """Entries of U with ``U + bias > 0`` become ``A @ B.T``, in place."""
    A, B, bias = contiguous(A, B, bias)
    (n, m), d = U.shape, A.shape[1]
    arrays = U, bias, A, B, np.int32(m), np.int32(d)
    launch("dense", "refine_positive", U.dtype, n, *arrays, threads=threads_for(m))
