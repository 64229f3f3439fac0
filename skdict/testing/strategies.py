"""Hypothesis strategies: magnitudes of a vector, codes, and whole sparse-coding problems.

Entries lie on coarse grids and within a factor of 500 of each other. So failures shrink to numbers
that can be read, and a strict inequality that holds is not lost to rounding.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from hypothesis import strategies as st


def vectors(*, min_size=2, max_size=30, zeros=True, distinct=False):
    """Magnitudes on which to test a sparsity measure.

    A mixture of small integers (with ties), hundredths up to 5, powers of two from 1/64 to 4,
    mostly zeros, and one large entry among small ones. Never all zero.

    Parameters
    ----------
    min_size : int, default=2
        Least number of entries.
    max_size : int, default=30
        Largest number of entries.
    zeros : bool, default=True
        Whether entries may be zero.
    distinct : bool, default=False
        Whether all entries differ, by 0.01 at least.

    Returns
    -------
    strategy : hypothesis strategy of float64 arrays of shape (n,)

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from skdict.metrics import gini
    >>> from skdict.testing import vectors
    >>> @settings(max_examples=20)
    ... @given(vectors())
    ... def test_gini_is_never_negative(c):
    ...     assert gini(c) >= 0
    >>> test_gini_is_never_negative()
    """
    if not (1 <= min_size <= max_size):
        raise ValueError(
            f"vectors: min_size={min_size!r}, max_size={max_size!r} are out of range. Choose "
            "integers 1 <= min_size <= max_size."
        )
    least = 0 if zeros else 1
    integers = st.integers(least, 5).map(float)
    hundredths = st.integers(least, 500).map(lambda i: i / 100)
    sizes = {"min_size": min_size, "max_size": max_size}
    if distinct:
        families = [st.lists(hundredths, unique=True, **sizes)]
        if min_size <= 9:
            few = {"min_size": min_size, "max_size": min(max_size, 9)}
            families.insert(0, st.lists(st.integers(least, 9), unique=True, **few))
    else:
        powers = st.integers(-6, 2).map(lambda i: 2.0**i)
        families = [st.lists(kind, **sizes) for kind in (integers, hundredths, powers)]
        families.append(st.lists(st.integers(least, 20), **sizes).map(_one_large))
        if zeros:
            families.append(st.lists(st.just(0.0) | hundredths, **sizes))
    return st.one_of(families).map(lambda c: np.array(c, dtype=np.float64)).filter(np.any)


def _one_large(c):
    return [1 + c[0] // 5, *(entry / 100 for entry in c[1:])]


@st.composite
def codes(draw, *, max_samples=8, max_components=12, signed=False, sparse=False):
    """Codes of any density, with samples that are all zero and latents that never fire.

    Parameters
    ----------
    max_samples : int, default=8
        Largest number of rows.
    max_components : int, default=12
        Largest number of columns.
    signed : bool, default=False
        Whether entries may be negative, as those of a pursuit.
    sparse : bool, default=False
        Whether to give CSR, now and then with a stored zero.

    Returns
    -------
    strategy : hypothesis strategy of float64 arrays of shape (n_samples, n_components), or of CSR

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from skdict.metrics import mean_l0
    >>> from skdict.testing import codes
    >>> @settings(max_examples=20)
    ... @given(codes(sparse=True))
    ... def test_l0_counts_no_stored_zeros(Z):
    ...     assert mean_l0(Z) == mean_l0(Z.toarray())
    >>> test_l0_counts_no_stored_zeros()
    """
    shape = draw(st.integers(1, max_samples)), draw(st.integers(1, max_components))
    density = draw(st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Z = rng.integers(1, 500, size=shape) / 100
    if signed:
        Z *= rng.choice([-1.0, 1.0], size=shape)
    stored = rng.random(shape) < density
    if not sparse:
        return np.where(stored, Z, 0.0)
    Z[rng.random(shape) < 0.1] = 0.0
    rows, columns = np.nonzero(stored)
    return sp.csr_array((Z[rows, columns], (rows, columns)), shape=shape)


class Problem(NamedTuple):
    """Data with the dictionary and the codes behind them: `X` is ``codes @ dictionary``.

    Attributes
    ----------
    X : float64 array of shape (n_samples, n_features)
    dictionary : float64 array of shape (n_components, n_features)
        Atoms of norm 1, in general position.
    codes : float64 array of shape (n_samples, n_components)
        At most `k` non-zeros a row.
    k : int
    """

    X: np.ndarray
    dictionary: np.ndarray
    codes: np.ndarray
    k: int


@st.composite
def problems(draw, *, max_samples=8, max_components=12, max_features=8, signed=False):
    """Exactly sparse data: every sample is a combination of at most k random atoms.

    Parameters
    ----------
    max_samples : int, default=8
        Largest number of samples.
    max_components : int, default=12
        Largest number of atoms.
    max_features : int, default=8
        Largest number of features; at least 2.
    signed : bool, default=False
        Whether codes may be negative.

    Returns
    -------
    strategy : hypothesis strategy of :class:`Problem`

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from skdict import MatchingPursuitCoder
    >>> from skdict.testing import problems
    >>> @settings(max_examples=10, deadline=None)
    ... @given(problems())
    ... def test_pursuit_explains_at_most_everything(problem):
    ...     coder = MatchingPursuitCoder(k=problem.k, dictionary=problem.dictionary)
    ...     Z = coder.fit_transform(problem.X)
    ...     assert (Z != 0).sum(axis=1).max() <= problem.k
    >>> test_pursuit_explains_at_most_everything()
    """
    n, m = draw(st.integers(1, max_samples)), draw(st.integers(1, max_components))
    d = draw(st.integers(2, max_features))
    k = draw(st.integers(1, min(m, d)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dictionary = rng.standard_normal((m, d))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    Z = rng.integers(50, 500, size=(n, m)) / 100
    if signed:
        Z *= rng.choice([-1.0, 1.0], size=(n, m))
    Z[rng.random((n, m)).argsort(axis=1) >= rng.integers(0, k + 1, size=(n, 1))] = 0.0
    return Problem(Z @ dictionary, dictionary, Z, k)
