"""Adam, compiled; see :mod:`skdict.kernels.adam`.  Bound by memory: seven passes fused into one."""

import numpy as np

from skdict.kernels import threads
from skdict.kernels._jit import jit

_ENTRIES = 1 << 15  # that a thread takes at a time


def adam(param, grad, mean, square, rate, beta1, beta2, epsilon):
    flat = (param.reshape(-1), grad.reshape(-1), mean.reshape(-1), square.reshape(-1))
    scalars = _scalars(param.dtype, rate, beta1, 1 - beta1, beta2, 1 - beta2, epsilon)
    scalars.append(_least(param.dtype))
    threads.current().blocks(
        lambda start, stop: _adam(*flat, *scalars, start, stop), param.size, _ENTRIES
    )


def adam_unit_rows(param, grad, mean, square, rate, beta1, beta2, epsilon):
    scalars = _scalars(param.dtype, rate, beta1, 1 - beta1, beta2, 1 - beta2, epsilon)
    scalars.append(_least(param.dtype))
    threads.current().blocks(
        lambda start, stop: _adam_unit_rows(param, grad, mean, square, *scalars, start, stop),
        param.shape[0],
        max(1, _ENTRIES // param.shape[1]),
    )


def _scalars(dtype, *numbers):
    # 1 - beta in double precision: in float32 0.999 leaves 5e-5 of an error in the difference.
    return [dtype.type(number) for number in numbers]


def _least(dtype):
    """The size below which moments become zero: denormal numbers are slow, and matter to nobody."""
    limits = np.finfo(dtype)
    return dtype.type(limits.tiny / limits.eps)


@jit
def flushed(moment, least):
    return least - least if abs(moment) < least else moment


@jit
def _adam(param, grad, mean, square, rate, beta1, rest1, beta2, rest2, epsilon, least, start, stop):
    for c in range(np.uint64(start), np.uint64(stop)):
        g = grad[c]
        mean[c] = flushed(beta1 * mean[c] + rest1 * g, least)
        square[c] = flushed(beta2 * square[c] + rest2 * g * g, least)
        param[c] -= rate * mean[c] / (np.sqrt(square[c]) + epsilon)


@jit
def _adam_unit_rows(
    param, grad, mean, square, rate, beta1, rest1, beta2, rest2, epsilon, least, start, stop
):
    d = np.uint64(param.shape[1])
    one = param.dtype.type(1)
    for row in range(start, stop):
        j = np.uint64(row)
        radial = param.dtype.type(0)
        for c in range(d):
            radial += grad[j, c] * param[j, c]
        norm2 = param.dtype.type(0)
        for c in range(d):
            g = grad[j, c] - radial * param[j, c]
            mean[j, c] = flushed(beta1 * mean[j, c] + rest1 * g, least)
            square[j, c] = flushed(beta2 * square[j, c] + rest2 * g * g, least)
            param[j, c] -= rate * mean[j, c] / (np.sqrt(square[j, c]) + epsilon)
            norm2 += param[j, c] * param[j, c]
        inverse = one / np.sqrt(norm2) if norm2 > 0 else one
        for c in range(d):
            param[j, c] *= inverse
