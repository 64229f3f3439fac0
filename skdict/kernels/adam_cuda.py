"""Adam for CuPy; see :mod:`skdict.kernels.adam`.  Bound by memory."""

import numpy as np

from skdict.kernels._cuda import THREADS, contiguous, launch, threads_for


def adam(param, grad, mean, square, rate, beta1, beta2, epsilon):
    (grad,) = contiguous(grad)
    launch(
        "adam", "adam", param.dtype, -(-param.size // THREADS), param, grad, mean, square,
        *scalars(param.dtype, rate, beta1, beta2, epsilon), np.int64(param.size),
    )  # fmt: skip


def adam_unit_rows(param, grad, mean, square, rate, beta1, beta2, epsilon):
    (grad,) = contiguous(grad)
    launch(
        "adam", "adam_unit_rows", param.dtype, param.shape[0], param, grad, mean, square,
        *scalars(param.dtype, rate, beta1, beta2, epsilon), np.int32(param.shape[1]),
        threads=threads_for(param.shape[1]),
    )  # fmt: skip


def scalars(dtype, rate, beta1, beta2, epsilon):
    """What the kernels take behind the arrays: the size below which moments are zero is last."""
    limits = np.finfo(dtype)
    numbers = rate, beta1, 1 - beta1, beta2, 1 - beta2, epsilon, limits.tiny / limits.eps
    return [dtype.type(number) for number in numbers]
