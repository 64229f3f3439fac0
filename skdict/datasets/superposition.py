"""Synthetic sparse features in superposition.

The generator of the synthetic experiments of O'Neill, Gumran, Klindt (2025), arXiv:2411.13117.
"""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from skdict.backend import generator

_MAGNITUDES = ("half_normal", "normal", "ones")


def make_superposition(
    n_samples=1024,
    n_components=16,
    n_features=8,
    k=3,
    *,
    magnitudes="half_normal",
    rates=None,
    noise=0.0,
    dictionary=None,
    random_state=None,
):
    """Draw samples that are sparse sums of more atoms than there are features.

    ``X = codes @ dictionary + noise * E``: each row of `codes` has exactly `k` non-zero entries,
    each row of `dictionary` is a random direction of unit length, and E is standard normal.
    The defaults are those of the amortisation-gap paper [1]_: 16 non-negative sources, 3 of them
    active, seen through 8 features, without noise.

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
        Number of active components of every sample, in [1, n_components].
    magnitudes : {"half_normal", "normal", "ones"}, default="half_normal"
        Law of the active entries: ``|N(0, 1)|``, the signed ``N(0, 1)`` (as in
        :func:`sklearn.datasets.make_sparse_coded_signal`), or the constant 1.
    rates : float, default=None
        How unevenly components are used. None: all k-subsets are equally likely. A number a >= 0:
        Zipf's law, the active components are drawn one after the other, without replacement,
        component j (from 0) with probability proportional to ``1 / (j + 1)**a`` among those left.
        0 equals None; the paper's unevenly used features have a = 1.
    noise : float, default=0.0
        Standard deviation, in the units of X, of normal noise added to every entry of X; finite
        and non-negative.
    dictionary : array-like of shape (n_components, n_features), default=None
        Atoms to use, as they are (any norm). None draws them. Give the dictionary of one call to
        the next to get more samples of the same problem, a test set for instance.
    random_state : int, RandomState instance or None, default=None
        Seed. Atoms, supports, magnitudes and noise are drawn from separate streams: a change of
        `noise`, `dictionary` or `magnitudes` leaves the other draws as they were.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
        The samples.
    dictionary : ndarray of shape (n_components, n_features), float64
        The atoms, of unit Euclidean norm unless given.
    codes : ndarray of shape (n_samples, n_components), float64
        The true codes, k non-zero entries a row. The order of the three is that of
        :func:`sklearn.datasets.make_sparse_coded_signal`.

    Raises
    ------
    ValueError
        If a number is out of its range, `magnitudes` is unknown, or `dictionary` has another shape
        than ``(n_components, n_features)`` or is not finite.
    TypeError
        If a parameter is of the wrong kind.

    Notes
    -----
    With ``rates=a`` and ``k=1`` component j is active in a fraction ``w_j / sum(w)`` of the
    samples, ``w_j = 1 / (j + 1)**a``; with larger `k` the frequencies are more even, since no
    component can be active twice. The paper's code also multiplies the magnitudes of its unevenly
    used features by ``w_j + 0.1`` (w summing to 1), which is not done here.

    References
    ----------
    .. [1] C. O'Neill, A. Gumran, D. Klindt, "Compute Optimal Inference and Provable Amortisation
       Gap in Sparse Autoencoders", ICML 2025, arXiv:2411.13117: the data of its synthetic sparse
       inference experiments.

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
    """
    n_samples = _integer("n_samples", n_samples, 1)
    n_components = _integer("n_components", n_components, 1)
    n_features = _integer("n_features", n_features, 1)
    k = _integer("k", k, 1, n_components)
    exponent = 0.0 if rates is None else _non_negative("rates", rates, "None or a number >= 0")
    noise = _non_negative("noise", noise, "a number >= 0")
    _check_magnitudes(magnitudes)
    if dictionary is not None:
        dictionary = _given_dictionary(dictionary, (n_components, n_features))

    seeds = check_random_state(random_state)
    atoms, supports, values, noises = (generator(seeds) for _ in range(4))
    if dictionary is None:
        dictionary = atoms.standard_normal((n_components, n_features))
        dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    codes = np.zeros((n_samples, n_components))
    active = _supports(supports, codes.shape, k, exponent)
    np.put_along_axis(codes, active, _values(values, active.shape, magnitudes), axis=1)
    X = codes @ dictionary  # (n_samples, n_features)
    if noise > 0:
        X += noise * noises.standard_normal(X.shape)
    return X, dictionary, codes


def _supports(random, shape, k, exponent):
    """Columns of the `k` active entries of each row, in increasing order: (n_samples, k).

    The k smallest of independent exponential arrival times, of rate ``1 / (j + 1)**exponent``, are
    a successive draw without replacement with these weights. Logarithms, so that no weight
    underflows.
    """
    arrival = np.log(random.standard_exponential(shape))
    arrival += exponent * np.log(np.arange(1, shape[1] + 1))
    active = np.argpartition(arrival, k - 1, axis=1)[:, :k]
    # argpartition leaves the order of the first k open, so it may differ between processors
    return np.sort(active, axis=1)


def _values(random, shape, magnitudes):
    if magnitudes == "ones":
        return np.ones(shape)
    normal = random.standard_normal(shape)
    return np.abs(normal) if magnitudes == "half_normal" else normal


def _integer(name, value, lowest, highest=None):
    rule = f"an integer >= {lowest}"
    if highest is not None:
        rule = f"an integer in [{lowest}, n_components={highest}]"
    if not isinstance(value, Integral) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"make_superposition: {name}={value!r} is not an integer. Choose {rule}.")
    if value < lowest or (highest is not None and value > highest):
        raise ValueError(f"make_superposition: {name}={value} is out of range. Choose {rule}.")
    return int(value)


def _non_negative(name, value, rule):
    if not isinstance(value, Real) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"make_superposition: {name}={value!r} is not a number. Choose {rule}.")
    if not 0 <= value < np.inf:
        raise ValueError(f"make_superposition: {name}={value} is out of range. Choose {rule}.")
    return float(value)


def _check_magnitudes(magnitudes):
    choice = "Choose one of " + ", ".join(map(repr, _MAGNITUDES)) + "."
    if not isinstance(magnitudes, str):
        raise TypeError(f"make_superposition: magnitudes={magnitudes!r} is not a string. {choice}")
    if magnitudes not in _MAGNITUDES:
        raise ValueError(f"make_superposition: magnitudes={magnitudes!r} is unknown. {choice}")


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
