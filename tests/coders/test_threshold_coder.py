"""What is particular to ThresholdCoder."""

import numpy as np
import pytest
from estimators import data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.base import clone

from skdict import MatchingPursuitCoder, ThresholdCoder
from skdict.datasets import make_superposition
from skdict.metrics import dictionary_match

problems = st.tuples(st.integers(2, 8), st.integers(2, 12), st.integers(0, 2**32 - 1))
few_examples = settings(max_examples=20)


def drawn(problem):
    n_features, n_components, seed = problem
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((n_components, n_features)) * rng.uniform(0.3, 3, (n_components, 1))
    return data(10, n_features, seed=seed), D


def correlations(X, D):
    return X @ (D / np.linalg.norm(D, axis=1, keepdims=True)).T


@few_examples
@given(problem=problems, k=st.integers(1, 4), positive=st.booleans())
def test_the_k_largest_correlations(problem, k, positive):
    # Catches a selection by inner products with atoms as they are, or by values with their sign.
    X, D = drawn(problem)
    k = min(k, len(D))
    Z = ThresholdCoder(k=k, dictionary=D, positive=positive).fit(X).transform(X)
    C = correlations(X, D)
    sizes = np.maximum(C, 0) if positive else np.abs(C)
    kept = sizes >= np.sort(sizes, axis=1)[:, -k, None]
    expected = np.where(kept & (sizes > 0), C, 0) / np.linalg.norm(D, axis=1)
    np.testing.assert_allclose(Z, expected, atol=1e-12)


@few_examples
@given(problem=problems, threshold=st.floats(0, 3), positive=st.booleans())
def test_those_above_a_threshold(problem, threshold, positive):
    # Catches a threshold in other units, one that shrinks, and a k that is not ignored.
    X, D = drawn(problem)
    coder = ThresholdCoder(k=1, threshold=threshold, dictionary=D, positive=positive).fit(X)
    C = correlations(X, D)
    kept = (C if positive else np.abs(C)) > threshold
    expected = np.where(kept, C, 0) / np.linalg.norm(D, axis=1)
    np.testing.assert_allclose(coder.transform(X), expected, atol=1e-12)


@few_examples
@given(problem=problems, k=st.integers(1, 4), positive=st.booleans())
def test_refit(problem, k, positive):
    # Catches codes of other atoms than those selected, and clipped instead of non-negative ones.
    X, D = drawn(problem)
    k = min(k, *D.shape)
    shared = {"k": k, "dictionary": D, "positive": positive}
    raw = ThresholdCoder(**shared).fit(X).transform(X)
    Z = ThresholdCoder(**shared, refit=True).fit(X).transform(X)
    assert not np.any((Z != 0) & (raw == 0))
    for x, z, first in zip(X, Z, raw, strict=True):
        chosen = np.flatnonzero(first)
        if chosen.size:
            best = nnls(D[chosen].T, x)[0] if positive else np.linalg.lstsq(D[chosen].T, x)[0]
            left = np.linalg.norm(x - z @ D)
            assert left <= np.linalg.norm(x - best @ D[chosen]) + 1e-7


def test_a_refit_of_dependent_atoms():
    # Catches a singular system.
    D = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    X = np.array([[3.0, 1.0], [0.0, 0.0]])
    coder = ThresholdCoder(k=3, dictionary=D, refit=True).fit(X)
    np.testing.assert_allclose(coder.inverse_transform(coder.transform(X)), X, atol=1e-12)


def test_k_of_one_is_the_first_step_of_a_pursuit():
    # Catches a correlation that is divided by the norm of the atom once too often.
    X, D = drawn((6, 12, 0))
    one = ThresholdCoder(k=1, dictionary=D).fit(X).transform(X)
    np.testing.assert_allclose(
        one, MatchingPursuitCoder(k=1, dictionary=D).fit(X).transform(X), atol=1e-12
    )


def test_a_dictionary_is_learned():
    # Catches atoms that do not follow the codes.
    X, D, _ = make_superposition(4000, 16, 16, 1, random_state=0)
    coder = ThresholdCoder(16, k=1, positive=True, max_iter=20, random_state=0).fit(X)
    first = clone(coder).set_params(max_iter=1, dict_update="gradient").fit(X)
    found, before = (dictionary_match(one.components_, D).mmcs for one in (coder, first))
    assert found > 0.85 and found > before + 0.05


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"k": 0}, "'k' parameter of ThresholdCoder"),
        ({"threshold": -1.0}, "'threshold' parameter of ThresholdCoder"),
        ({"k": None}, "k=None and threshold=None keep nothing. Set one of them"),
        ({"refit": "yes"}, "'refit' parameter of ThresholdCoder"),
    ],
)
def test_parameters_out_of_range(params, message):
    # Catches a value that is found out by an error of NumPy's.
    with pytest.raises(ValueError, match=message):
        ThresholdCoder(**params).fit(data())
