"""How alike the atoms of one dictionary are, and how unlike they could be.

Coherence as in Donoho and Huo (2001), its lower bound by Welch (1974).
"""

import math

import numpy as np

from skdict.metrics._checks import as_atoms, check_positive_integer, undefined
from skdict.metrics._similarity import unit_rows

BLOCK_ENTRIES = 2**22  # similarities held at a time: 32 MB, 64 atoms against 65,536

_ONE_ATOM = "components has one atom, and a pair is needed. Pass two or more atoms"


def mutual_coherence(components):
    r"""Largest similarity of two atoms of a dictionary.

    .. math:: \mu = \max_{i \neq j} \frac{|\langle d_i, d_j \rangle|}{\|d_i\|\,\|d_j\|}

    0 where all atoms are orthogonal, 1 where two of them point in the same or in opposite
    directions. The lower it is, the more atoms a sparse code may have and still be found by
    matching pursuit or by an l1 penalty.

    Parameters
    ----------
    components : array of shape (n_components, n_features)
        Atoms, of any length, of any array library. An atom that is zero has similarity 0 to all
        others.

    Returns
    -------
    float
        Without unit, in [0, 1]. NaN, with a warning, where there is one atom only.

    See Also
    --------
    welch_bound : The least that any dictionary of this shape can have.

    Notes
    -----
    Computed on the host in float64: :math:`O(m^2 d)` time for m atoms in d dimensions, and beside
    copies of the dictionary the memory of a block of rows, 32 MB, of the table of similarities.

    References
    ----------
    Donoho, Huo, "Uncertainty principles and ideal atomic decomposition", IEEE Transactions on
    Information Theory 47(7), 2001.

    Examples
    --------
    >>> from skdict.metrics import mutual_coherence
    >>> round(mutual_coherence([[2.0, 0.0], [0.0, -1.0], [3.0, 4.0]]), 12)
    0.8
    """
    D = as_atoms("mutual_coherence", "components", components)
    if len(D) == 1:
        return undefined("mutual_coherence", _ONE_ATOM)
    return _largest_similarity(unit_rows(D))


def welch_bound(n_components, n_features):
    r"""Least mutual coherence that a dictionary of a given shape can have.

    .. math:: \sqrt{\frac{m - d}{d\,(m - 1)}} \quad (m > d), \qquad 0 \quad (m \leq d)

    for m atoms in d dimensions.

    Parameters
    ----------
    n_components : int
        Number of atoms m, at least 1.
    n_features : int
        Number of dimensions d, at least 1.

    Returns
    -------
    float
        Without unit, in [0, 1].

    Notes
    -----
    Only equiangular tight frames meet the bound. Of real atoms there are none with
    :math:`m > d (d + 1) / 2`, where every dictionary lies above it.

    References
    ----------
    Welch, "Lower bounds on the maximum cross correlation of signals", IEEE Transactions on
    Information Theory 20(3), 1974.

    Examples
    --------
    >>> from skdict.metrics import welch_bound
    >>> round(welch_bound(3, 2), 12), welch_bound(2, 2)
    (0.5, 0.0)
    """
    check_positive_integer("welch_bound", "n_components", n_components)
    check_positive_integer("welch_bound", "n_features", n_features)
    m, d = int(n_components), int(n_features)  # of numpy's integers products wrap around
    return math.sqrt((m - d) / (d * (m - 1))) if m > d else 0.0


def coherence_excess(components):
    r"""Mutual coherence of a dictionary less the least that its shape allows.

    .. math:: \mu - \sqrt{\frac{m - d}{d\,(m - 1)}} \quad (m > d), \qquad \mu \quad (m \leq d)

    with :math:`\mu` from :func:`mutual_coherence` and the subtrahend from :func:`welch_bound`: 0
    for an orthogonal dictionary and for an equiangular tight frame.

    Parameters
    ----------
    components : array of shape (n_components, n_features)
        Atoms, of any length, of any array library. Atoms that are zero are left out: no bound
        holds for them.

    Returns
    -------
    float
        Without unit, in [0, 1], to rounding. NaN, with a warning, where there is one atom only.

    Examples
    --------
    The three atoms of the Mercedes-Benz frame are as unlike as three atoms of a plane can be.

    >>> import numpy as np
    >>> from skdict.metrics import coherence_excess
    >>> angles = np.deg2rad([90, 210, 330])
    >>> frame = np.column_stack([np.cos(angles), np.sin(angles)])
    >>> abs(coherence_excess(frame)) < 1e-12
    True
    >>> round(coherence_excess([[2.0, 0.0], [0.0, -1.0], [3.0, 4.0]]), 12)
    0.3
    """
    D = as_atoms("coherence_excess", "components", components)
    if len(D) == 1:
        return undefined("coherence_excess", _ONE_ATOM)
    n_atoms = max(1, np.count_nonzero(D.any(axis=1)))
    return _largest_similarity(unit_rows(D)) - welch_bound(n_atoms, D.shape[1])


def _largest_similarity(U):
    """Largest absolute entry off the diagonal of ``U @ U.T``, block by block."""
    n_components = len(U)
    n_rows = max(1, BLOCK_ENTRIES // n_components)
    largest = 0.0
    for start in range(0, n_components - 1, n_rows):
        # Pairs with earlier atoms were met in earlier blocks: half of the table is enough.
        S = U[start : start + n_rows] @ U[start:].T  # (n_rows, n_components - start)
        np.fill_diagonal(S, 0.0)  # an atom with itself
        largest = max(largest, float(S.max()), -float(S.min()))
    return min(largest, 1.0)  # rounding passes it
