"""Row-wise top-k in plain array code; see :mod:`skdict.kernels.topk`."""

from skdict.backend import namespace


def topk(U, bias, k):
    xp = namespace(U)
    A = U + bias
    ranked = xp.where(xp.isnan(A), -xp.inf, A)
    order = xp.argsort(-ranked, axis=1, stable=True)
    indices = xp.sort(order[:, :k], axis=1)
    return xp.astype(indices, xp.int32), xp.take_along_axis(A, indices, axis=1)
