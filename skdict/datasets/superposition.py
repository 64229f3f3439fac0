"""Synthetic sparse features in superposition.

The generator of the synthetic experiments of O'Neill, Gumran, Klindt (2025), arXiv:2411.13117, and
of "On bitrates of very sparse superposition codes" (openreview peR9HAdJnk).
"""

import math

import numpy as np
from sklearn.utils import check_random_state

from skdict.backend import generator
from skdict.datasets import _checks
from skdict.datasets._ensembles import ENSEMBLES, MAGNITUDES, random_atoms, random_magnitudes
from skdict.datasets._laws import MOST_ORDERED, SupportLaw, draw_supports, entropy_bits

N_DRAWS = 1000  # supports from which an entropy is estimated
STEEPEST = 600.0  # largest minus smallest log weight


def make_superposition(
    n_samples=1024,
    n_components=16,
    n_features=8,
    k=3,
    *,
    ensemble="spherical",
    magnitudes="half_normal",
    rates=None,
    hierarchy=None,
    correlation=0.0,
    group_size=4,
    noise=0.0,
    dictionary=None,
    return_entropy=False,
    random_state=None,
):
    """Draw samples that are sparse sums of more atoms than there are features.

    ``X = codes @ dictionary + noise * E``: each row of `codes` has exactly `k` non-zero entries,
    each row of `dictionary` is a random vector, and E is standard normal. The defaults are those of
    the amortisation-gap paper [1]_: 16 non-negative sources, 3 of them active, seen through 8
    features, without noise.

    Parameters
    ----------
    n_samples : int, default=1024
        Number of samples, at least 1.
    n_components : int, default=16
        Number of atoms, at least 1.
    n_features : int, default=8
        Number of features, at least 1. The atoms are in superposition where it is smaller than
        `n_components`.
    k : int, default=3
        Number of active components of every sample, in [1, n_components]; with `hierarchy` their
        active ancestors are among them.
    ensemble : {"spherical", "gaussian", "rademacher"}, default="spherical"
        Law of the atoms: directions of unit length, uniform on the sphere; entries
        ``N(0, 1 / n_features)``, of about unit length; or entries ``+-1 / sqrt(n_features)``, of
        unit length [2]_. Ignored with a given `dictionary`.
    magnitudes : {"half_normal", "normal", "ones"}, default="half_normal"
        Law of the active entries: ``|N(0, 1)|``, the signed ``N(0, 1)`` (as in
        :func:`sklearn.datasets.make_sparse_coded_signal`), or the constant 1.
    rates : float, default=None
        How unevenly components are used. None: all k-subsets are equally likely. A number a >= 0:
        Zipf's law, the active components are drawn one after the other, without replacement,
        component j (from 0) with probability proportional to ``1 / (j + 1)**a`` among those left.
        0 equals None; the paper's unevenly used features have a = 1.
    hierarchy : int or array-like of shape (n_components,), default=None
        Which components need another one: a child is active only where its parent is. An array
        holds the parent of each component, -1 for those without. A number b: components 0 to b - 1
        have none, and the children of j are the b components from ``b * (j + 1)`` on. Components
        are drawn one after the other, as with `rates`, among those whose parent is active.
    correlation : float, default=0.0
        How often components are active together that belong to one group. Probability in [0, 1]
        with which the next component is drawn from the groups that have an active one already, as
        long as they have others to give, and not from all components. 1 fills one group after the
        other.
    group_size : int, default=4
        Size of these groups, in [1, n_components]: runs of consecutive components, the last of
        which may be shorter. Ignored where `correlation` is 0.
    noise : float, default=0.0
        Standard deviation, in the units of X, of normal noise added to every entry of X; finite
        and non-negative.
    dictionary : array-like of shape (n_components, n_features), default=None
        Atoms to use, as they are (any norm). None draws them. Give the dictionary of one call to
        the next to get more samples of the same problem, a test set for instance.
    return_entropy : bool, default=False
        Whether to return the entropy of the support, too.
    random_state : int, RandomState instance or None, default=None
        Seed. Atoms, supports, magnitudes and noise are drawn from separate streams: a change of
        `ensemble`, `dictionary`, `magnitudes`, `noise` or of the law of the supports leaves the
        other draws as they were.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
        The samples.
    dictionary : ndarray of shape (n_components, n_features), float64
        The atoms: of unit Euclidean norm, unless given or Gaussian.
    codes : ndarray of shape (n_samples, n_components), float64
        The true codes, k non-zero entries a row. The order of the three is that of
        :func:`sklearn.datasets.make_sparse_coded_signal`.
    entropy : float, if `return_entropy`
        Entropy of the support of a sample in bits, as :func:`support_entropy` has it: exact where
        all supports are equally likely or at most 1,000 exist, else an estimate from 1,000 draws.

    Raises
    ------
    ValueError
        If a number is out of its range, `ensemble` or `magnitudes` is unknown, `dictionary` has
        another shape than ``(n_components, n_features)`` or is not finite, or `hierarchy` has
        another shape or a cycle.
    TypeError
        If a parameter is of the wrong kind.

    See Also
    --------
    support_entropy : The entropy alone, with its standard error.

    Notes
    -----
    With `hierarchy` all sets of k components that hold the parent of each member occur, and without
    `rates` not equally often: each step chooses evenly among the components that may come next.

    With ``rates=a`` and ``k=1`` component j is active in a fraction ``w_j / sum(w)`` of the
    samples, ``w_j = 1 / (j + 1)**a``; with larger `k` the frequencies are more even, since no
    component can be active twice. The paper's code also multiplies the magnitudes of its unevenly
    used features by ``w_j + 0.1`` (w summing to 1), which is not done here.

    References
    ----------
    .. [1] C. O'Neill, A. Gumran, D. Klindt, "Compute Optimal Inference and Provable Amortisation
       Gap in Sparse Autoencoders", ICML 2025, arXiv:2411.13117: the data of its synthetic sparse
       inference experiments.
    .. [2] "On bitrates of very sparse superposition codes", submitted to ICML 2025, openreview
       peR9HAdJnk.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.datasets import make_superposition
    >>> X, dictionary, codes = make_superposition(100, random_state=0)
    >>> X.shape, dictionary.shape, codes.shape
    ((100, 8), (16, 8), (100, 16))
    >>> int((codes[0] > 0).sum())
    3
    >>> bool(np.allclose(X, codes @ dictionary))
    True
    >>> X_test, _, codes_test = make_superposition(50, dictionary=dictionary, random_state=1)

    Two parents, of three children each:

    >>> parents = [-1, -1, 0, 0, 0, 1, 1, 1]
    >>> _, _, codes = make_superposition(100, 8, hierarchy=parents, random_state=0)
    >>> bool((codes[:, 0] > 0)[(codes[:, 2:5] > 0).any(axis=1)].all())
    True
    """
    function = "make_superposition"
    n_samples = _checks.integer(function, "n_samples", n_samples, 1)
    n_components = _checks.integer(function, "n_components", n_components, 1)
    n_features = _checks.integer(function, "n_features", n_features, 1)
    law = _law(function, n_components, k, rates, hierarchy, correlation, group_size)
    noise = _checks.number(function, "noise", noise, "a number >= 0")
    _checks.choice(function, "ensemble", ensemble, ENSEMBLES)
    _checks.choice(function, "magnitudes", magnitudes, MAGNITUDES)
    _checks.boolean(function, "return_entropy", return_entropy)
    if dictionary is not None:
        dictionary = _given_dictionary(dictionary, (n_components, n_features))
    if return_entropy:
        _check_countable(function, law, "Choose smaller ones, or return_entropy=False")

    seeds = check_random_state(random_state)
    atoms, supports, values, noises = (generator(seeds) for _ in range(4))
    if dictionary is None:
        dictionary = random_atoms(atoms, (n_components, n_features), ensemble)
    codes = np.zeros((n_samples, n_components))
    active = draw_supports(supports, n_samples, law)
    np.put_along_axis(codes, active, random_magnitudes(values, active.shape, magnitudes), axis=1)
    X = codes @ dictionary  # (n_samples, n_features)
    if noise > 0:
        X += noise * noises.standard_normal(X.shape)
    if return_entropy:
        return X, dictionary, codes, entropy_bits(law, N_DRAWS, generator(seeds))[0]
    return X, dictionary, codes


def support_entropy(
    n_components,
    k,
    *,
    rates=None,
    hierarchy=None,
    correlation=0.0,
    group_size=4,
    n_draws=1000,
    return_std=False,
    random_state=None,
):
    r"""Entropy in bits of the support that :func:`make_superposition` draws.

    The support is the set of the k active components. Where all are equally likely, their entropy
    is :math:`\log_2 \binom{m}{k}` bits; under every other law it is less.

    Parameters
    ----------
    n_components : int
        Number of components m, at least 1.
    k : int
        Number of active components, in [1, n_components].
    rates : float, default=None
        Exponent of Zipf's law, as in :func:`make_superposition`; so are the next three.
    hierarchy : int or array-like of shape (n_components,), default=None
        Number of children, or parent of each component.
    correlation : float, default=0.0
        Probability with which the next component is drawn from a group with an active one.
    group_size : int, default=4
        Size of the groups.
    n_draws : int, default=1000
        Supports whose probabilities are computed, at least 2.
    return_std : bool, default=False
        Whether to return the standard error too.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    entropy : float
        In bits.
    std : float, if `return_std`
        Standard error of `entropy`: 0 where it is exact, or where all draws are equally likely.

    Raises
    ------
    ValueError
        If a number is out of its range; with `hierarchy` or `correlation` also if k exceeds 14,
        since 2**k numbers are needed for each draw, or if weights leave the range of float64.
    TypeError
        If a parameter is of the wrong kind.

    See Also
    --------
    skdict.metrics.superposition_bitrate : Dimensions that a coder needs for each of these bits.

    Notes
    -----
    Exact where all supports are equally likely, and where at most `n_draws` sets of k components
    exist, which are then all gone through. Otherwise `n_draws` supports S are drawn, and the mean
    of :math:`-\log_2 P(S)` is an unbiased estimate. Each P(S) is exact up to rounding: an integral
    over the time at which the last member arrives, or with `hierarchy` or `correlation` the sum
    over all orders in which the members may have been drawn.

    Examples
    --------
    >>> from skdict.datasets import support_entropy
    >>> round(support_entropy(2**14, 16), 1)
    179.7
    >>> zipf = support_entropy(2**14, 16, rates=1, random_state=0)  # an estimate
    >>> 100 < zipf < 179
    True
    >>> support_entropy(8, 4, correlation=1, group_size=4)  # one group or the other
    1.0
    """
    function = "support_entropy"
    n_components = _checks.integer(function, "n_components", n_components, 1)
    law = _law(function, n_components, k, rates, hierarchy, correlation, group_size)
    n_draws = _checks.integer(function, "n_draws", n_draws, 2)
    _checks.boolean(function, "return_std", return_std)
    _check_countable(function, law, "Choose smaller ones")
    entropy, std = entropy_bits(law, n_draws, generator(check_random_state(random_state)))
    return (entropy, std) if return_std else entropy


def _law(function, n_components, k, rates, hierarchy, correlation, group_size):
    k = _checks.integer(function, "k", k, 1, n_components)
    rule = "None or a number >= 0"
    exponent = 0.0 if rates is None else _checks.number(function, "rates", rates, rule)
    parents = _checks.parents_of(function, hierarchy, n_components)
    rule = "a number in [0, 1]"
    correlation = _checks.number(function, "correlation", correlation, rule, highest=1)
    if correlation > 0:
        group_size = _checks.integer(function, "group_size", group_size, 1, n_components)
    return SupportLaw(n_components, k, exponent, parents, correlation, group_size)


def _check_countable(function, law, way_out):
    if not law.depends_on_the_drawn or law.k == law.n_components:
        return
    if law.k > MOST_ORDERED:
        raise ValueError(
            f"{function}: the entropy under hierarchy or correlation takes 2**k numbers for each "
            f"draw, and k={law.k} exceeds {MOST_ORDERED}. {way_out}."
        )
    if law.exponent * math.log(law.n_components) > STEEPEST:
        raise ValueError(
            f"{function}: the entropy under hierarchy or correlation needs weights in the range of "
            f"float64, and rates={law.exponent} leaves it. {way_out}."
        )


def _given_dictionary(dictionary, shape):
    """A float64 copy of a dictionary of the right kind and shape."""
    try:
        dictionary = np.array(dictionary)
    except ValueError:  # ragged rows
        dictionary = np.empty(0, dtype=object)
    if dictionary.dtype.kind not in "fiu":
        raise TypeError(
            f"make_superposition: dictionary has dtype {dictionary.dtype}. Give a dense array of "
            f"real numbers of shape (n_components, n_features) = {shape}."
        )
    if dictionary.shape != shape:
        raise ValueError(
            f"make_superposition: dictionary has shape {dictionary.shape}, but (n_components, "
            f"n_features) = {shape}. Give n_components and n_features to match it."
        )
    if not np.isfinite(dictionary).all():
        raise ValueError(
            "make_superposition: dictionary holds NaN or infinity. Give finite atoms, or "
            "dictionary=None to draw them."
        )
    return dictionary.astype(np.float64)
