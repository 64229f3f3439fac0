"""How well codes reconstruct, and how their latents are used.

Sums run over blocks of rows in float64, so that a large float32 matrix or a memory map is never
copied whole.
"""

import math

from skdict.metrics._blocks import blocks, centre
from skdict.metrics._checks import (
    check_finite,
    check_number_in,
    check_range,
    matrix_and_reconstruction,
    undefined,
)
from skdict.metrics._counts import fired_counts


def explained_variance(X, X_hat):
    r"""Share of the variance of `X` that a reconstruction explains.

    .. math:: 1 - \frac{\sum_{ij} (\hat x_{ij} - x_{ij})^2}{\sum_{ij} (x_{ij} - \bar x_j)^2}

    with :math:`\bar x_j` the mean of column j. Both sums run over the whole matrix: 1 is a perfect
    reconstruction, 0 is what the column means reach, and there is no lower bound.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Data, of any array library.
    X_hat : array of shape (n_samples, n_features)
        Its reconstruction, of the same library and on the same device.

    Returns
    -------
    float
        NaN, with a warning, where every column of `X` is constant: there is nothing to
        explain, however good `X_hat` is.

    See Also
    --------
    sklearn.metrics.r2_score : The same number with ``multioutput="variance_weighted"``.

    Notes
    -----
    The fraction of variance unexplained, FVU, is 1 minus this number. Other numbers go by these
    names too:

    - :func:`sklearn.metrics.explained_variance_score` removes the mean of the residuals first, so
      that a wrong bias costs nothing, as do all ratios of ``(X_hat - X).var(axis=0)`` to
      ``X.var(axis=0)``. By default it also averages the scores of the columns, so that one of
      little variance counts as much as any other.
    - The mean of the scores of batches or of rows is biased.
    - The normalised mean squared error (NMSE) often divides by the sum of squares of `X` with its
      mean left in, so that of data that are not centred it is smaller than FVU.

    Examples
    --------
    >>> from skdict.metrics import explained_variance
    >>> X = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    >>> explained_variance(X, [[0.0, 1.0], [2.0, 3.0], [4.0, 4.0]])
    0.9375
    """
    function = "explained_variance"
    xp, X, X_hat = matrix_and_reconstruction(function, X, X_hat)
    first, mean = centre(xp, function, X)
    residual_ss = total_ss = 0.0
    for block, block_hat in zip(blocks(xp, X), blocks(xp, X_hat), strict=True):
        check_finite(xp, function, "X_hat", block_hat)
        residual_ss += float(xp.sum((block_hat - block) ** 2))
        total_ss += float(xp.sum((block - first - mean) ** 2))
    check_range(function, residual_ss, total_ss)
    if total_ss == 0:
        return undefined(function, "every column of X is constant. Pass more, or other, samples")
    return 1 - residual_ss / total_ss


def shrinkage(X, X_hat):
    r"""Relative reconstruction bias: below 1, reconstructions are too short.

    .. math:: \gamma = \arg\min_g E\,\|\hat x / g - x\|^2
              = \frac{E\,\|\hat x\|^2}{E\,\langle x, \hat x \rangle}

    where both `x` and its reconstruction are taken less the mean of `X`. Dividing the centred
    reconstruction by :math:`\gamma` is the best rescaling there is. An l1 penalty pulls codes
    towards zero, so that :math:`\gamma < 1`; a least-squares fit has :math:`\gamma = 1`.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Data, of any array library.
    X_hat : array of shape (n_samples, n_features)
        Its reconstruction, of the same library and on the same device.

    Returns
    -------
    float
        NaN, with a warning, where :math:`E\,\langle x, \hat x \rangle` is zero to
        rounding: all rows of `X`, or all rows of `X_hat`, are equal (all codes zero), or the two
        are orthogonal. Negative where data and reconstruction point in opposite directions.

    References
    ----------
    Rajamanoharan et al., "Improving dictionary learning with gated sparse autoencoders",
    arXiv:2404.16014, eq. 10.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import shrinkage
    >>> X = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    >>> shrinkage(X, 0.75 * X)
    0.75
    """
    function = "shrinkage"
    xp, X, X_hat = matrix_and_reconstruction(function, X, X_hat)
    first, mean = centre(xp, function, X)
    data_ss = reconstruction_ss = inner = 0.0
    for block, block_hat in zip(blocks(xp, X), blocks(xp, X_hat), strict=True):
        check_finite(xp, function, "X_hat", block_hat)
        centred, centred_hat = block - first - mean, block_hat - first - mean
        data_ss += float(xp.sum(centred**2))
        reconstruction_ss += float(xp.sum(centred_hat**2))
        inner += float(xp.sum(centred * centred_hat))
    check_range(function, data_ss, reconstruction_ss)
    # Constant reconstructions have inner = 0, which rounding turns into a ratio of +-1e16.
    if abs(inner) <= 1e-12 * math.sqrt(data_ss) * math.sqrt(reconstruction_ss):
        return undefined(
            function,
            "X and X_hat, less the mean of X, have inner product zero. Check that X varies and "
            "that the codes behind X_hat are not all zero",
        )
    return reconstruction_ss / inner


def mean_l0(Z):
    r"""Mean number of non-zero codes of a sample.

    .. math:: \frac{1}{n} \sum_{ij} [z_{ij} \neq 0]

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components)
        Codes. Of a dense array any library will do; explicit zeros of a sparse one do not count.

    Returns
    -------
    float

    Notes
    -----
    Codes that are small and not zero count. Where a method gives only soft zeros, set them to zero
    first, ``np.where(abs(Z) > eps, Z, 0)``, and say which `eps`.

    Examples
    --------
    >>> from skdict.metrics import mean_l0
    >>> mean_l0([[0.0, 1.5, 0.0], [2.0, -1.0, 0.0]])
    1.5
    """
    xp, counts, n_samples = fired_counts("mean_l0", Z)
    return int(xp.sum(counts)) / n_samples


def feature_density(Z):
    r"""Fraction of the samples in which each latent is non-zero.

    .. math:: p_j = \frac{1}{n} \sum_i [z_{ij} \neq 0]

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components)
        Codes. Of a dense array any library will do; explicit zeros of a sparse one do not count.

    Returns
    -------
    density : float64 array of shape (n_components,)
        In the library, and on the device, of `Z`; of numpy where `Z` is sparse.

    Examples
    --------
    >>> from skdict.metrics import feature_density
    >>> feature_density([[0.0, 1.5, 0.0], [2.0, -1.0, 0.0]])
    array([0.5, 1. , 0. ])
    """
    return _density("feature_density", Z)[1]


def dead_fraction(Z):
    r"""Fraction of the latents that are zero in every sample.

    .. math:: \frac{1}{m} \sum_j [p_j = 0]

    with :math:`p_j` from :func:`feature_density`.

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components)
        Codes. Of a dense array any library will do; explicit zeros of a sparse one do not count.

    Returns
    -------
    float

    Notes
    -----
    A latent is dead only with respect to the samples given: report their number. Papers on language
    models often use 10 million tokens.

    Examples
    --------
    >>> from skdict.metrics import dead_fraction
    >>> dead_fraction([[0.0, 1.5, 0.0, 0.0], [2.0, -1.0, 0.0, 0.0]])
    0.5
    """
    xp, density = _density("dead_fraction", Z)
    return _share(xp, density == 0)


def dense_fraction(Z, *, threshold=0.1):
    r"""Fraction of the latents that are non-zero in more than a share `threshold` of the samples.

    .. math:: \frac{1}{m} \sum_j [p_j > \mathrm{threshold}]

    with :math:`p_j` from :func:`feature_density`.

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components)
        Codes. Of a dense array any library will do; explicit zeros of a sparse one do not count.
    threshold : float, default=0.1
        Density in [0, 1] that a dense latent exceeds.

    Returns
    -------
    float

    Examples
    --------
    >>> from skdict.metrics import dense_fraction
    >>> dense_fraction([[0.0, 1.5, 0.0], [2.0, -1.0, 0.0]], threshold=0.5)
    0.3333333333333333
    """
    check_number_in("dense_fraction", "threshold", threshold, low=0, high=1)
    xp, density = _density("dense_fraction", Z)
    return _share(xp, density > threshold)


def _density(function, Z):
    xp, counts, n_samples = fired_counts(function, Z)
    return xp, xp.astype(counts, xp.float64) / n_samples


def _share(xp, mask):
    return int(xp.sum(xp.astype(mask, xp.int64))) / mask.shape[0]
