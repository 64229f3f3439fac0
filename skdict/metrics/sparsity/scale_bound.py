"""The measures of Hurley and Rickard that change with the unit of the codes.

They compare codes of one unit only: normalise the codes, or compare with care. N. Hurley and
S. Rickard, "Comparing measures of sparsity", IEEE Transactions on Information Theory
55(10):4723-4741, 2009 (arXiv:0811.4706). Formulas: Table I. What is undefined, and which laws a
measure obeys, is collected in the user guide.
"""

from skdict.metrics._checks import as_number
from skdict.metrics.sparsity._vectors import by_vector, largest, log_ratios


def neg_l1(Z, *, axis=1):
    r"""The l1 norm, negated.

    .. math:: -\sum_j c_j

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components), or one vector
        Codes of either sign.
    axis : {1, 0}, default=1
        1 measures each row (population sparseness), 0 each column (lifetime sparseness); of one
        vector it means nothing.

    Returns
    -------
    values : float64 array, one value per vector; a float if `Z` is one vector
        At most 0, which is that of a vector of zeros.

    Notes
    -----
    Obeys D3 only.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import neg_l1
    >>> neg_l1([[0.0, 1.0, 2.0, 5.0], [0.0, 0.0, -3.0, 0.0]])
    array([-8., -3.])
    """
    return by_vector("neg_l1", _neg_l1, Z, axis)


def _neg_l1(xp, C, n):
    return 0.0 - xp.sum(C, axis=1)


def neg_lp(Z, *, axis=1, p=0.5):
    r"""The lp quasi-norm with p < 1, negated.

    .. math:: -\Bigl(\sum_j c_j^p\Bigr)^{1/p}

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components), or one vector
        Codes of either sign.
    axis : {1, 0}, default=1
        1 measures each row (population sparseness), 0 each column (lifetime sparseness); of one
        vector it means nothing.
    p : float, default=0.5
        Exponent in (0, 1).

    Returns
    -------
    values : float64 array, one value per vector; a float if `Z` is one vector
        At most 0, which is that of a vector of zeros; -inf where it exceeds the range of float64,
        as with a small p it soon does.

    Raises
    ------
    ValueError
        If `p` is not in (0, 1).

    Notes
    -----
    Obeys D1 and D3.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import neg_lp
    >>> neg_lp([[0.0, 1.0, 4.0, 9.0], [0.0, 0.0, -3.0, 0.0]]).round(12)
    array([-36.,  -3.])
    """
    wanted = "Choose a number between 0 and 1, or use neg_l1 for p = 1."
    p = as_number("neg_lp", "p", p, lambda p: 0 < p < 1, wanted)
    return by_vector("neg_lp", _neg_lp, Z, axis, p=p)


def _neg_lp(xp, C, n, p):
    # The sum, in units of the largest power, is at least 1. Its root is multiplied in two halves,
    # since it may leave the range where the product with a small magnitude does not.
    half = xp.sum(xp.exp(p * log_ratios(xp, C)), axis=1) ** (0.5 / p)
    return 0.0 - half * largest(xp, C)[:, 0] * half


def neg_lp_minus(Z, *, axis=1, p=-1.0):
    r"""Sum of a negative power of the non-zero magnitudes, negated (the paper's :math:`-\ell^p_-`).

    .. math:: -\sum_{j : c_j \ne 0} c_j^p

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components), or one vector
        Codes of either sign.
    axis : {1, 0}, default=1
        1 measures each row (population sparseness), 0 each column (lifetime sparseness); of one
        vector it means nothing.
    p : float, default=-1.0
        Exponent, negative.

    Returns
    -------
    values : float64 array, one value per vector; a float if `Z` is one vector
        At most 0, which is that of a vector of zeros; -inf where it exceeds the range of float64.

    Raises
    ------
    ValueError
        If `p` is not negative.

    Notes
    -----
    Obeys P1 only.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import neg_lp_minus
    >>> neg_lp_minus([[0.0, 1.0, 2.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
    array([-1.7,  0. ])
    """
    wanted = "Choose a negative number, or use neg_lp for 0 < p < 1."
    p = as_number("neg_lp_minus", "p", p, lambda p: p < 0, wanted)
    return by_vector("neg_lp_minus", _neg_lp_minus, Z, axis, p=p)


def _neg_lp_minus(xp, C, n, p):
    powers = xp.where(C > 0, C, xp.ones_like(C)) ** p
    return 0.0 - xp.sum(xp.where(C > 0, powers, xp.zeros_like(C)), axis=1)


def neg_tanh(Z, *, axis=1, a=1.0, b=1.0):
    r"""Sum of saturating magnitudes, negated.

    .. math:: -\sum_j \tanh\bigl((a c_j)^b\bigr)

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components), or one vector
        Codes of either sign.
    axis : {1, 0}, default=1
        1 measures each row (population sparseness), 0 each column (lifetime sparseness); of one
        vector it means nothing.
    a : float, default=1.0
        Inverse of the magnitude at which it saturates, positive.
    b : float, default=1.0
        Exponent, positive.

    Returns
    -------
    values : float64 array, one value per vector; a float if `Z` is one vector
        In [-N, 0]; 0 for a vector of zeros.

    Raises
    ------
    ValueError
        If `a` or `b` is not positive.

    Notes
    -----
    Obeys D3 and, with :math:`b \le 1`, D1. In float64 ``tanh`` is exactly 1 from about 19 on: there
    both hold with equality only.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import neg_tanh
    >>> neg_tanh([[0.0, 1.0, 2.0, 5.0], [0.0, 0.0, 0.0, 0.0]], b=0.5).round(4)
    array([-2.6274,  0.    ])
    """
    wanted = "Choose a positive number."
    a = as_number("neg_tanh", "a", a, lambda a: a > 0, wanted)
    b = as_number("neg_tanh", "b", b, lambda b: b > 0, wanted)
    return by_vector("neg_tanh", _neg_tanh, Z, axis, a=a, b=b)


def _neg_tanh(xp, C, n, a, b):
    # a * c may leave the range where (a c)^b does not; the product of the roots cannot.
    return 0.0 - xp.sum(xp.tanh((a**0.5 * xp.sqrt(C)) ** (2 * b)), axis=1)


def neg_log(Z, *, axis=1):
    r"""Sum of logarithms of one plus the energies, negated.

    .. math:: -\sum_j \log(1 + c_j^2)

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components), or one vector
        Codes of either sign.
    axis : {1, 0}, default=1
        1 measures each row (population sparseness), 0 each column (lifetime sparseness); of one
        vector it means nothing.

    Returns
    -------
    values : float64 array, one value per vector; a float if `Z` is one vector
        At most 0, which is that of a vector of zeros.

    Notes
    -----
    Obeys D3 only.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import neg_log
    >>> neg_log([[0.0, 1.0, 2.0, 5.0], [0.0, 0.0, 0.0, 0.0]]).round(4)
    array([-5.5607,  0.    ])
    """
    return by_vector("neg_log", _neg_log, Z, axis)


def _neg_log(xp, C, n):
    # log(1 + c^2) = 2 log c + log(1 + c^-2), of which a large c takes the second form.
    one = xp.ones_like(C)
    small = xp.where(C > 1, 1 / C, C)
    return 0.0 - xp.sum(xp.log1p(small * small) + 2 * xp.log(xp.where(C > 1, C, one)), axis=1)
