"""Matrix products through pointers, with the arguments of cuBLAS, which counts columns first."""

import ctypes

import numpy as np
from cupy import _state as fake

_KINDS = {0: np.float32, 1: np.float64, 14: np.uint16}  # of cudaDataType_t; 14: bfloat16
# By cublasComputeType_t (68: float32, 77: TF32, 70: float64): kinds of A and B, and of C.
_SUPPORTED = {(68, 0, 0), (68, 14, 0), (77, 0, 0), (70, 1, 1)}


class CUBLASError(RuntimeError):
    """As the real one."""


def gemmEx(
    handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C, Ctype, ldc,
    computeType, algo,
):  # fmt: skip
    """C = alpha op(A) op(B) + beta C."""
    if Atype != Btype or (computeType, Atype, Ctype) not in _SUPPORTED:
        raise CUBLASError("CUBLAS_STATUS_NOT_SUPPORTED")
    first, second = ((k, m) if transa else (m, k)), ((n, k) if transb else (k, n))
    if lda < first[0] or ldb < second[0] or ldc < m or min(m, n, k) < 0:
        raise CUBLASError("CUBLAS_STATUS_INVALID_VALUE")
    fake.log.append(("gemm", computeType))
    if 0 in (m, n):
        return
    number = _KINDS[Ctype]
    alpha, beta = (_matrix(pointer, number, 1, 1, 1)[0, 0] for pointer in (alpha, beta))
    A, B = _factor(A, Atype, lda, first, computeType), _factor(B, Btype, ldb, second, computeType)
    out = _matrix(C, number, m, n, ldc)
    with np.errstate(all="ignore"):
        product = alpha * ((A.T if transa else A) @ (B.T if transb else B))
        out[...] = product + beta * out if beta else product


def sgemm(handle, transa, transb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc):
    """The product of float32."""
    gemmEx(handle, transa, transb, m, n, k, alpha, A, 0, lda, B, 0, ldb, beta, C, 0, ldc, 68, -1)


def dgemm(handle, transa, transb, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc):
    """The product of float64."""
    gemmEx(handle, transa, transb, m, n, k, alpha, A, 1, lda, B, 1, ldb, beta, C, 1, ldc, 70, -1)


def _factor(pointer, kind, ld, shape, compute):
    values = _matrix(pointer, _KINDS[kind], *shape, ld)
    if kind == 14:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return _tf32(values) if compute == 77 else values


def _tf32(values):
    bits = np.ascontiguousarray(values).view(np.uint32) + np.uint32(0x1000)
    rounded = (bits & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)


def _matrix(pointer, dtype, n_rows, n_columns, ld):
    itemsize = np.dtype(dtype).itemsize
    size = max(0, ld * (n_columns - 1) + n_rows) if n_rows else 0
    memory = (ctypes.c_char * (size * itemsize)).from_address(pointer)
    strides = itemsize, ld * itemsize
    return np.ndarray((n_rows, n_columns), dtype, memory if size else None, 0, strides)
