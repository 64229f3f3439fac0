"""Row-wise top-k in plain array code; see :mod:`skdict.kernels.topk`."""

from skdict.backend import namespace


def topk(U, bias, k, in_order=True):
    xp = namespace(U)
    A = U + bias
    missing = xp.isnan(A)
    order = xp.argsort(xp.where(missing, -xp.inf, A), axis=1, descending=True, stable=True)
    missing = xp.astype(xp.take_along_axis(missing, order, axis=1), xp.int8)
    last = xp.argsort(missing, axis=1, stable=True)  # NaN behind -inf
    order = xp.take_along_axis(order, last, axis=1)
    indices = xp.sort(order[:, :k], axis=1)
    return xp.astype(indices, xp.int32), xp.take_along_axis(A, indices, axis=1)
