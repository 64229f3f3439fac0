"""The measures of Hurley and Rickard that do not depend on the unit of the codes.

N. Hurley and S. Rickard, "Comparing measures of sparsity", IEEE Transactions on Information Theory
55(10):4723-4741, 2009 (arXiv:0811.4706). Formulas: Table I. What is undefined, and which laws a
measure obeys, is collected in the user guide.
"""

import math

from skdict.backend import device
from skdict.metrics._checks import as_number
from skdict.metrics.sparsity._vectors import (
    by_vector,
    largest,
    log_ratios,
    relative,
)


def gini(Z, *, axis=1):
    r"""Gini index of the magnitudes: how unequally they are spread.

    With :math:`c_{(1)} \le \dots \le c_{(N)}` the sorted magnitudes of a vector,

    .. math:: G(c) = 1 - 2 \sum_{k=1}^{N} \frac{c_{(k)}}{\|c\|_1} \cdot \frac{N - k + 1/2}{N}
              = \frac{\sum_{ij} |c_i - c_j|}{2 N \|c\|_1}.

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
        In [0, 1 - 1/N]: 0 where all magnitudes are equal, 1 - 1/N where one is not zero. NaN for a
        vector of zeros.

    Notes
    -----
    Obeys all six laws (D1-D4, P1, P2). So does :func:`pq_mean` with :math:`p \le 1 < q`. The index
    of a *sample*, with the factor N / (N - 1), is another function and breaks cloning (D4).

    O(nnz log k) for a sparse matrix with k entries a vector.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import gini
    >>> gini([[0.0, 1.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    array([0.5, 0. , nan])
    """
    return by_vector("gini", _gini, Z, axis)


def _gini(xp, C, n):
    C = xp.sort(C, axis=1)
    width = C.shape[1]
    ranks = xp.arange(n - width + 1, n + 1, dtype=C.dtype, device=device(C))
    # The weights sum to zero, so that the smallest may be taken off: equal entries give exactly 0.
    least = C[:, :1] if width == n else xp.zeros_like(C[:, :1])
    above, r = (C - least) / C[:, -1:], C / C[:, -1:]
    return xp.sum((2 * ranks - n - 1) * above, axis=1) / (n * xp.sum(r, axis=1))


def hoyer(Z, *, axis=1):
    r"""Hoyer's sparseness: l1/l2 normalised to [0, 1].

    .. math:: \frac{\sqrt N - \|c\|_1 / \|c\|_2}{\sqrt N - 1}

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
        0 where all magnitudes are equal, 1 where one is not zero. NaN for a vector of zeros and for
        vectors of length 1.

    Notes
    -----
    Obeys every law but cloning (D4); babies (P2) with equality where a single entry is not zero.

    References
    ----------
    P. O. Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 5, 2004,
    section 3.1. Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import hoyer
    >>> hoyer([[0.0, 1.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 3.0, 0.0]]).round(4)
    array([0.5394, 0.    , 1.    ])
    """
    return by_vector("hoyer", _hoyer, Z, axis)


def _hoyer(xp, C, n):
    # sqrt(N) - l1/l2 cancels where entries are nearly equal; its product with sqrt(N) + l1/l2 is
    # N times the sum of squares about the mean over l2^2, and what all have in common may go first.
    top = largest(xp, C)
    least = xp.min(C, axis=1, keepdims=True) if C.shape[1] == n else xp.zeros_like(top)
    r, above = C / top, (C - least) / top
    l1, l2 = xp.sum(r, axis=1), xp.sqrt(xp.sum(r * r, axis=1))
    mean = xp.sum(above, axis=1) / n
    about_mean = xp.sum((above - mean[:, None]) ** 2, axis=1) + (n - r.shape[1]) * mean**2
    scale = l2 * (math.sqrt(n) * l2 + l1) * (math.sqrt(n) - 1)
    return xp.clip(n * about_mean / scale, 0.0, 1.0)  # rounding leaves the interval


def l2_l1(Z, *, axis=1):
    r"""Ratio of the l2 to the l1 norm.

    .. math:: \|c\|_2 / \|c\|_1

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
        In :math:`[N^{-1/2}, 1]`. NaN for a vector of zeros.

    Notes
    -----
    Obeys D1, D2, D3 and P1. The paper's summary table does not tick D3 (rising tide), but
    :math:`(\ell_2/\ell_1)^2 = (1 + \mathrm{CV}^2) / N`, and a constant added to every entry lowers
    the coefficient of variation CV.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import l2_l1
    >>> l2_l1([[0.0, 1.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0]]).round(4)
    array([0.6847, 0.5   ])
    """
    return by_vector("l2_l1", _l2_l1, Z, axis)


def _l2_l1(xp, C, n):
    r = relative(xp, C)
    return xp.sqrt(xp.sum(r * r, axis=1)) / xp.sum(r, axis=1)


def kappa_4(Z, *, axis=1):
    r"""Fourth moment over the squared second: a kurtosis about zero.

    .. math:: \kappa_4 = \frac{\sum_j c_j^4}{(\sum_j c_j^2)^2}

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
        In [1/N, 1]. NaN for a vector of zeros.

    See Also
    --------
    scipy.stats.kurtosis : With ``fisher=False`` it is N times this for data of mean zero.

    Notes
    -----
    Sums, not means; the mean is not subtracted, nor is 3. Obeys D2, D3 and P1.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import kappa_4
    >>> kappa_4([[0.0, 1.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0]]).round(4)
    array([0.7133, 0.25  ])
    """
    return by_vector("kappa_4", _kappa_4, Z, axis)


def _kappa_4(xp, C, n):
    squares = relative(xp, C) ** 2
    return xp.sum(squares * squares, axis=1) / xp.sum(squares, axis=1) ** 2


def pq_mean(Z, *, axis=1, p=0.5, q=2.0):
    r"""Ratio of two power means, negated.

    .. math:: -\Bigl(\frac 1 N \sum_j c_j^p\Bigr)^{1/p} \Big/
              \Bigl(\frac 1 N \sum_j c_j^q\Bigr)^{1/q}

    where :math:`p = 0` stands for the geometric mean.

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components), or one vector
        Codes of either sign.
    axis : {1, 0}, default=1
        1 measures each row (population sparseness), 0 each column (lifetime sparseness); of one
        vector it means nothing.
    p : float, default=0.5
        Smaller exponent, p < q.
    q : float, default=2.0
        Larger exponent, q > 0.

    Returns
    -------
    values : float64 array, one value per vector; a float if `Z` is one vector
        In :math:`[-1, -N^{1/q - 1/p}]` for p > 0: -1 where all magnitudes are equal, the upper end
        where one is not zero. For :math:`p \le 0` one zero entry makes it 0, its maximum, whatever
        the others are. NaN for a vector of zeros.

    Raises
    ------
    ValueError
        Unless p < q and q > 0.

    Notes
    -----
    Obeys all six laws for :math:`0 < p \le 1 \le q`, p < q; the paper asks for
    :math:`p \le 1, q > 1`. With p > 1, or with q < 1, D1 (Robin Hood) fails. The PQ index is 1 plus
    this, and ``pq_mean(Z, p=1, q=2)`` is :math:`-1 / (\sqrt N\, \ell_2/\ell_1)`.

    References
    ----------
    Hurley and Rickard (2009), Table I; the measure is missing in arXiv:0811.4706v2. E. Diao et al.,
    "Pruning deep neural networks from a sparsity perspective", ICLR 2023 (PQ index).

    Examples
    --------
    >>> from skdict.metrics import pq_mean
    >>> pq_mean([[0.0, 1.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0]]).round(4)
    array([-0.4935, -1.    ])
    """
    laws = "p <= 1 < q obeys all laws."
    q = as_number("pq_mean", "q", q, lambda q: q > 0, f"Choose q > 0; {laws}")
    p = as_number("pq_mean", "p", p, lambda p: p < q, f"Choose p < q={q:g}; {laws}")
    return by_vector("pq_mean", _pq_mean, Z, axis, p=p, q=q)


def _pq_mean(xp, C, n, p, q):
    logs = log_ratios(xp, C)
    value = 0.0 - xp.exp(_log_power_mean(xp, logs, n, p) - _log_power_mean(xp, logs, n, q))
    return xp.where(xp.any(C > 0, axis=1), value, xp.full_like(value, math.nan))


def _log_power_mean(xp, logs, n, exponent):
    if exponent > 0:
        return _log_mean_exp(xp, exponent * logs, n) / exponent
    least = xp.min(logs, axis=1) - (0.0 if logs.shape[1] == n else math.inf)
    if exponent == 0:
        value = xp.sum(logs, axis=1) / n
    else:
        value = least + _log_mean_exp(xp, exponent * (logs - least[:, None]), n) / exponent
    return xp.where(xp.isfinite(least), value, least)  # -inf where there is a zero


def _log_mean_exp(xp, exponents, n):
    """Logarithm of the mean of ``exp(exponents)``, the largest of which is 0."""
    less = (xp.sum(xp.expm1(exponents), axis=1) - (n - exponents.shape[1])) / n
    mean = xp.sum(xp.exp(exponents), axis=1) / n
    return xp.where(less > -0.5, xp.log1p(less), xp.log(mean))  # small exponents all but cancel


def u_theta(Z, *, axis=1, theta=0.5):
    r"""How much narrower than the range the shortest interval is that holds a share of the entries.

    With :math:`m = \lceil \theta N \rceil` and the sorted magnitudes :math:`c_{(1)} \le \dots`,

    .. math:: 1 - \min_{1 \le i \le N - m + 1}
              \frac{c_{(i + m - 1)} - c_{(i)}}{c_{(N)} - c_{(1)}}

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components), or one vector
        Codes of either sign.
    axis : {1, 0}, default=1
        1 measures each row (population sparseness), 0 each column (lifetime sparseness); of one
        vector it means nothing.
    theta : float, default=0.5
        Share of the entries that the interval holds, in (0, 1).

    Returns
    -------
    values : float64 array, one value per vector; a float if `Z` is one vector
        In [0, 1]; 1 where the share :math:`\theta` of the entries is equal, zeros above all. NaN
        where all magnitudes are equal, and where m = N: the interval then is the range.

    Raises
    ------
    ValueError
        If `theta` is not in (0, 1).

    Notes
    -----
    Obeys D2, D4 and, where m > 1 and no m entries are equal, P1.

    References
    ----------
    Hurley and Rickard (2009), Table I, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import u_theta
    >>> u_theta([[0.0, 1.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0]])
    array([0.8, nan])
    """
    wanted = "Choose a number between 0 and 1."
    theta = as_number("u_theta", "theta", theta, lambda theta: 0 < theta < 1, wanted)
    return by_vector("u_theta", _u_theta, Z, axis, theta=theta)


def _u_theta(xp, C, n, theta):
    m = math.ceil(theta * n * (1 - 1e-12))  # 0.28 * 25 is a little more than 7
    C = xp.sort(C, axis=1)
    width = C.shape[1]
    unseen = n - width  # zeros, before the others
    top, least = C[:, -1], C[:, 0] if unseen == 0 else xp.zeros_like(C[:, 0])
    if m == n:
        return xp.full_like(top, math.nan)
    shortest = xp.full_like(top, math.inf)
    if unseen:  # of the intervals that begin at an unseen zero, the first is the shortest
        shortest = xp.zeros_like(top) if m <= unseen else C[:, m - 1 - unseen]
    if m <= width:
        inside = xp.min(C[:, m - 1 :] - C[:, : width - m + 1], axis=1)
        shortest = xp.where(inside < shortest, inside, shortest)
    return 1 - shortest / xp.where(top > least, top - least, xp.full_like(top, math.nan))
