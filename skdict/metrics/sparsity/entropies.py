"""The three entropies among the measures of Hurley and Rickard.

N. Hurley and S. Rickard, "Comparing measures of sparsity", IEEE Transactions on Information Theory
55(10):4723-4741, 2009 (arXiv:0811.4706). Formulas: Table I.
"""

import math

from skdict.backend import device
from skdict.metrics.sparsity._vectors import by_vector, relative


def entropy_shannon(Z, *, axis=1):
    r"""Shannon entropy of the energies: **larger for denser codes**, as the paper prints it.

    .. math:: H_S = -\sum_j t_j \log t_j^2, \qquad t_j = c_j^2 / \|c\|_2^2

    with :math:`0 \log 0 = 0`: twice the entropy of t in nats.

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
        In :math:`[0, 2 \log N]`: 0 where one entry is not zero, the upper end where all magnitudes
        are equal. NaN for a vector of zeros.

    Notes
    -----
    The paper prints it, and :func:`entropy_shannon_modified`, the wrong way round; the functions
    stay with the paper, scorers negate both. Obeys D2 (scaling), which the paper's summary table
    does not tick. Negated it obeys D2, D3 and P1.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import entropy_shannon
    >>> entropy_shannon([[0.0, 1.0, 2.0, 5.0], [0.0, 0.0, 3.0, 0.0]]).round(4)
    array([1.0679, 0.    ])
    """
    return by_vector("entropy_shannon", _entropy_shannon, Z, axis)


def _entropy_shannon(xp, C, n):
    # With r = 1 for one largest entry and s the sum of the other squares, every term of
    # 2 log(1 + s) - 4 sum r^2 log r / (1 + s) is positive: nothing cancels near 0.
    r = relative(xp, C)
    squares = r * r
    entries = xp.arange(r.shape[1], dtype=xp.int64, device=device(r))
    others = entries[None, :] != xp.argmax(r, axis=1)[:, None]
    s = xp.sum(xp.where(others, squares, xp.zeros_like(squares)), axis=1)
    weighted = squares * xp.log(xp.where(r > 0, r, xp.ones_like(r)))
    value = 2 * xp.log1p(s) - 4 * xp.sum(weighted, axis=1) / (1 + s)
    return xp.where(xp.any(r > 0, axis=1), value, xp.full_like(value, math.nan))


def entropy_shannon_modified(Z, *, axis=1):
    r"""Shannon's formula on the magnitudes themselves, without normalisation.

    .. math:: H_S' = -\sum_j c_j \log c_j^2

    with :math:`0 \log 0 = 0`.

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
        0 for a vector of zeros.

    Notes
    -----
    Obeys none of the laws. Negated it obeys D1, so that scorers negate it, as they do
    :func:`entropy_shannon`.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import entropy_shannon_modified
    >>> entropy_shannon_modified([[0.0, 1.0, 2.0, 5.0], [0.0, 0.0, 0.0, 0.0]]).round(4)
    array([-18.867,   0.   ])
    """
    return by_vector("entropy_shannon_modified", _entropy_shannon_modified, Z, axis)


def _entropy_shannon_modified(xp, C, n):
    logs = xp.log(xp.where(C > 0, C, xp.ones_like(C)))
    return 0.0 - 2 * xp.sum(C * logs, axis=1)


def entropy_gaussian(Z, *, axis=1):
    r"""Gaussian entropy diversity.

    .. math:: H_G = -\sum_j \log c_j^2

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
        ``inf`` where an entry is zero, the limit from above: on codes with zeros it tells nothing.

    Notes
    -----
    Obeys D1 and D3 on vectors without zeros, and P2, in which it rises to ``inf``.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import entropy_gaussian
    >>> entropy_gaussian([[1.0, 1.0, 2.0, 5.0], [0.0, 1.0, 2.0, 5.0]]).round(4)
    array([-4.6052,     inf])
    """
    return by_vector("entropy_gaussian", _entropy_gaussian, Z, axis)


def _entropy_gaussian(xp, C, n):
    unseen = 0.0 if C.shape[1] == n else float("inf")
    return unseen - 2 * xp.sum(xp.log(C), axis=1)
