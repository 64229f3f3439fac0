"""What CuPy shows of cuBLAS here, too."""

from cupy_backends.cuda.libs.cublas import CUBLASError, dgemm, gemmEx, sgemm

__all__ = ["CUBLASError", "dgemm", "gemmEx", "sgemm"]
