"""Adam in plain array code; see :mod:`skdict.kernels.adam`."""

from skdict.backend import namespace


def adam(param, grad, mean, square, rate, beta1, beta2, epsilon):
    xp = namespace(param)
    mean *= beta1
    mean += (1 - beta1) * grad
    square *= beta2
    square += (1 - beta2) * grad * grad
    param -= rate * mean / (xp.sqrt(square) + epsilon)


def adam_unit_rows(param, grad, mean, square, rate, beta1, beta2, epsilon):
    xp = namespace(param)
    tangent = grad - xp.sum(grad * param, axis=1, keepdims=True) * param
    adam(param, tangent, mean, square, rate, beta1, beta2, epsilon)
    norms = xp.sqrt(xp.sum(param * param, axis=1, keepdims=True))
    param /= xp.where(norms > 0, norms, xp.ones_like(norms))
