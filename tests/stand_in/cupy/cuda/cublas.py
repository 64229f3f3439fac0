"""Matrix products through pointers, with the arguments of cuBLAS, which counts columns first."""

import ctypes

import numpy as np

from cupy import _state as fake

_KINDS = {0: np.float32, 1: np.float64, 14: np.uint16}


def gemmEx(
    handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C, Ctype, ldc,
    computeType, algo,
):  # fmt: skip
    """C = alpha op(A) op(B) + beta C."""
    fake.log.append(("gemm", computeType))
    number = np.float64 if computeType == 70 else np.float32
    one, zero = _matrix(alpha, number, 1, 1, 1)[0, 0], _matrix(beta, number, 1, 1, 1)[0, 0]
    first, second = ((k, m) if transa else (m, k)), ((n, k) if transb else (k, n))
    A, B = _factor(A, Atype, lda, first, computeType), _factor(B, Btype, ldb, second, computeType)
    out = _matrix(C, _KINDS[Ctype], m, n, ldc)
    A, B = A.T if transa else A, B.T if transb else B
    out[...] = one * (A @ B) + (zero * out if zero else 0)


def _factor(pointer, kind, ld, shape, compute):
    values = _matrix(pointer, _KINDS[kind], *shape, ld)
    if kind == 14:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return _tf32(values) if compute == 77 else values


def _tf32(values):
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def _matrix(pointer, dtype, n_rows, n_columns, ld):
    size = ld * (n_columns - 1) + n_rows
    array_type = ctypes.c_char * (size * np.dtype(dtype).itemsize)
    flat = np.frombuffer(array_type.from_address(pointer), dtype=dtype)
    strides = np.dtype(dtype).itemsize, ld * np.dtype(dtype).itemsize
    return np.lib.stride_tricks.as_strided(flat, (n_rows, n_columns), strides)
