"""How the work is shared among the latents: evenness, inequality and histogram of densities.

The densities are those of :func:`skdict.metrics.feature_density`.
"""

from numbers import Integral
from typing import NamedTuple

import numpy as np

from skdict.backend import to_numpy
from skdict.metrics._checks import undefined
from skdict.metrics._counts import fired_counts
from skdict.metrics.sparsity import gini

_NOTHING_FIRED = "no code is non-zero. Pass the codes of more samples, or refit"


class DensityHistogram(NamedTuple):
    """Result of :func:`density_histogram`, in arrays of numpy.

    Attributes
    ----------
    counts : int array of shape (n_bins,)
        Number of latents in each bin.
    edges : float64 array of shape (n_bins + 1,)
        Edges of the bins, in log10 of density.
    n_dead : int
        Number of latents that never fired, which have no logarithm and are in no bin.
    """

    counts: np.ndarray
    edges: np.ndarray
    n_dead: int


def load_entropy(Z):
    r"""Evenness of the load of the latents: their normalised entropy.

    .. math:: \frac{-\sum_j q_j \log q_j}{\log m}, \qquad q_j = \frac{p_j}{\sum_l p_l}

    with :math:`p_j` from :func:`skdict.metrics.feature_density`: 1 where all latents fire equally
    often, 0 where one of them does everything.

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components)
        Codes. Of a dense array any library will do; explicit zeros of a sparse one do not count.

    Returns
    -------
    float
        Without unit, in [0, 1]. NaN, with a warning, where no code is non-zero, and where there
        is one latent only.

    See Also
    --------
    load_gini : Another measure of the same, 0 for equal shares.

    Notes
    -----
    Only how often a latent fires counts, not how strongly. :math:`m^{\mathrm{load\_entropy}}` is
    the number of latents that, firing equally often, would have this entropy.

    References
    ----------
    Pielou, "The measurement of diversity in different types of biological collections", Journal
    of Theoretical Biology 13, 1966 (evenness).

    Examples
    --------
    >>> from skdict.metrics import load_entropy
    >>> load_entropy([[1.0, 0.0, 0.0, 2.0], [0.0, -3.0, 0.5, 0.0]])
    1.0
    >>> load_entropy([[1.0, 0.0, 0.0, 0.0], [0.0, -3.0, 0.0, 0.0]])
    0.5
    """
    counts, _ = _host_counts("load_entropy", Z)
    if not counts.any():
        return undefined("load_entropy", _NOTHING_FIRED)
    if len(counts) == 1:
        return undefined("load_entropy", "Z has one column, and one latent shares with none")
    m, fired = len(counts), counts[counts > 0]
    shares = fired / fired.sum()
    # Taken as the distance from equal shares, whose logarithms are exact zeros.
    divergence = np.sum(shares * np.log(fired * m / fired.sum()))
    return max(0.0, min(1.0, 1 - float(divergence / np.log(m))))  # rounding passes both ends


def load_gini(Z):
    r"""Inequality of the load of the latents: the Gini index of their densities.

    .. math:: \frac{\sum_{j,l} |p_j - p_l|}{2 m \sum_j p_j}
              = \frac{\sum_k (2k - m - 1) (p_{(k)} - p_{(1)})}{m \sum_j p_j}

    with :math:`p_j` from :func:`skdict.metrics.feature_density` and :math:`p_{(k)}` the k-th
    smallest of them: 0 where all latents fire equally often, :math:`1 - 1/m` where one of them
    does everything.

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components)
        Codes. Of a dense array any library will do; explicit zeros of a sparse one do not count.

    Returns
    -------
    float
        Without unit, in [0, 1 - 1/m]. NaN, with a warning, where no code is non-zero.

    See Also
    --------
    load_entropy : Another measure of the same, 1 for equal shares.

    References
    ----------
    Gini, "Measurement of inequality of incomes", The Economic Journal 31, 1921.

    Examples
    --------
    >>> from skdict.metrics import load_gini
    >>> load_gini([[1.0, 0.0, 0.0, 2.0], [0.0, -3.0, 0.5, 0.0]])
    0.0
    >>> load_gini([[1.0, 0.0, 0.0, 0.0], [0.0, -3.0, 0.0, 0.0]])
    0.5
    """
    counts, _ = _host_counts("load_gini", Z)
    if not counts.any():
        return undefined("load_gini", _NOTHING_FIRED)
    return gini(counts.astype(np.float64))


def density_histogram(Z, *, bins=30):
    r"""Histogram of log10 of the densities of the latents that fired.

    Densities, :math:`p_j` of :func:`skdict.metrics.feature_density`, spread over orders of
    magnitude. Dead latents, :math:`p_j = 0`, are counted apart.

    Parameters
    ----------
    Z : array or scipy sparse matrix of shape (n_samples, n_components)
        Codes. Of a dense array any library will do; explicit zeros of a sparse one do not count.
    bins : int or array of shape (n_bins + 1,), default=30
        Number of bins of equal width from log10(1 / n_samples), one sample, to 0, all of them; or
        the increasing edges of the bins, in log10 of density. As in :func:`numpy.histogram`, a
        bin holds its lower edge, the last one its upper edge too, and what lies outside given
        edges is in no bin.

    Returns
    -------
    DensityHistogram
        Named tuple of ``counts``, ``edges`` and ``n_dead``; arrays are numpy's, on the host.

    Notes
    -----
    With a number of bins every latent is counted once, in a bin or in `n_dead`, and the edges
    depend on the number of samples alone: histograms over equally many samples can be compared
    bin by bin. Over other numbers of samples, pass the same edges. Many bins leave gaps at the
    left, where densities are multiples of 1 / n_samples. One sample has densities 0 and 1 only,
    and its bins run from -0.5 to 0.5.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import density_histogram
    >>> Z = np.zeros((100, 4))
    >>> Z[:, 0] = Z[:20, 1] = Z[0, 2] = 1.0
    >>> density_histogram(Z, bins=2)
    DensityHistogram(counts=array([1, 2]), edges=array([-2., -1.,  0.]), n_dead=1)
    """
    counts, n_samples = _host_counts("density_histogram", Z)
    edges = _edges(bins, n_samples)
    fired = counts[counts > 0]
    in_bins = np.histogram(np.log10(fired / n_samples), bins=edges)[0]
    return DensityHistogram(in_bins, edges, len(counts) - len(fired))


def _host_counts(function, Z):
    _, counts, n_samples = fired_counts(function, Z)
    return to_numpy(counts), n_samples


def _edges(bins, n_samples):
    wanted = "Choose an integer >= 1, or two or more increasing edges in log10 of density."
    if isinstance(bins, Integral) and not isinstance(bins, bool):
        if bins < 1:
            raise ValueError(f"density_histogram: bins={bins!r} is out of range. {wanted}")
        lowest = np.log10(np.array([1 / n_samples]))  # rounded as the values are
        return np.histogram_bin_edges(lowest, int(bins), range=(lowest[0], 0.0))
    try:
        edges = np.array(to_numpy(bins), dtype=np.float64)
    except (TypeError, ValueError):
        edges = np.empty(())
    if edges.ndim == 0:
        raise TypeError(
            f"density_histogram: bins={bins!r} is neither an integer nor an array. {wanted}"
        )
    if edges.ndim != 1 or len(edges) < 2 or not (edges[:-1] < edges[1:]).all():  # NaN neither
        raise ValueError(f"density_histogram: bins={bins!r} are no increasing edges. {wanted}")
    return edges
