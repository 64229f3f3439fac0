"""The two measures of Hurley and Rickard that count zeros.

N. Hurley and S. Rickard, "Comparing measures of sparsity", IEEE Transactions on Information Theory
55(10):4723-4741, 2009 (arXiv:0811.4706). Formulas: Table I.
"""

from skdict.metrics._checks import as_number
from skdict.metrics.sparsity._vectors import by_vector, count


def n_zeros(Z, *, axis=1):
    r"""Number of entries that are zero (the paper's :math:`\ell_0`).

    .. math:: \#\{j : c_j = 0\}

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components), or one vector
        Codes of either sign. Explicit zeros of a sparse matrix are zeros.
    axis : {1, 0}, default=1
        1 measures each row (population sparseness), 0 each column (lifetime sparseness); of one
        vector it means nothing.

    Returns
    -------
    values : float64 array, one value per vector; a float if `Z` is one vector
        Integers in [0, N]; N for a vector of zeros.

    See Also
    --------
    mean_l0 : Mean number of entries that are *not* zero.

    Notes
    -----
    Obeys D2 and P2.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import n_zeros
    >>> n_zeros([[0.0, 1.0, 2.0, 5.0], [0.0, 0.0, 3.0, 0.0]])
    array([1., 3.])
    """
    return by_vector("n_zeros", _n_zeros, Z, axis)


def _n_zeros(xp, C, n):
    return n - count(xp, C > 0)


def n_near_zeros(Z, *, axis=1, eps=1e-3):
    r"""Number of entries whose magnitude is at most `eps` (the paper's :math:`\ell_0^\epsilon`).

    .. math:: \#\{j : c_j \le \epsilon\}

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components), or one vector
        Codes of either sign.
    axis : {1, 0}, default=1
        1 measures each row (population sparseness), 0 each column (lifetime sparseness); of one
        vector it means nothing.
    eps : float, default=1e-3
        Largest magnitude that counts as zero, in the unit of `Z`; at least 0.

    Returns
    -------
    values : float64 array, one value per vector; a float if `Z` is one vector
        Integers in [0, N]; N for a vector of zeros.

    Raises
    ------
    ValueError
        If `eps` is negative.

    Notes
    -----
    Obeys P2 only.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import n_near_zeros
    >>> n_near_zeros([[0.0, 1.0, 2.0, 5.0], [0.0, -1e-6, 3.0, 0.0]])
    array([1., 3.])
    """
    wanted = "Choose a number of at least 0."
    eps = as_number("n_near_zeros", "eps", eps, lambda eps: eps >= 0, wanted)
    return by_vector("n_near_zeros", _n_near_zeros, Z, axis, eps=eps)


def _n_near_zeros(xp, C, n, eps):
    return n - count(xp, C > eps)
