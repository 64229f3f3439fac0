"""Row-wise selection of the k largest pre-activations."""

from skdict.backend import namespace
from skdict.kernels import implementation
from skdict.kernels.dense import Rounded, exact_entries


def topk(U, bias, k, in_order=True):
    """Largest `k` entries of each row of ``U + bias``.

    Parameters
    ----------
    U : array of shape (n, m), C-contiguous, float32 or float64
        The product, without bias. Or a :class:`skdict.kernels.dense.Rounded` product, which decides
        what is selected; values are then computed from its factors as they are.
    bias : array of shape (m,), dtype of `U`
    k : int, 0 <= k <= m
    in_order : bool
        Where it is False, columns may come in any order.

    Returns
    -------
    indices : int32 array of shape (n, k)
        Columns in increasing order. Among equal entries the lowest column wins; NaN ranks below
        every number.
    values : array of shape (n, k)
        ``(U + bias)[i, indices[i]]``.

    Notes
    -----
    Deterministic. On a GPU subnormal numbers of float32 count as zero, for CuPy compiles kernels
    so. The CPU version costs O(m) a row with a small constant: maxima of m / 16 strided
    groups of columns, a threshold that about k of them reach, then a look into these groups only.
    """
    if not isinstance(U, Rounded):
        return implementation("topk", namespace(U)).topk(U, bias, k, in_order)
    indices, _ = topk(U.product, bias, k, in_order)
    return indices, exact_entries(U.A, U.B, indices) + namespace(bias).take(bias, indices)
