"""Where scikit-learn 1.9.1 errs in sparse coding, and skdict must not.

What scikit-learn does is not asserted: it may mend any of them.
"""

import numpy as np
import pytest
from estimators import CODERS, data, small
from sklearn.base import clone
from strategies import unit_dictionary

from skdict import LassoCoder, MatchingPursuitCoder

ALGORITHMS = ["omp", "ols", "mp", "gradient"]
both_forms = pytest.mark.parametrize("precompute", [False, True])
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


def problem(n=60, d=8, m=20):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)), unit_dictionary(rng, m, d)


@both_forms
@each_algorithm
def test_a_tolerance_ends_a_pursuit(algorithm, precompute):
    # `sparse_encode(algorithm="omp", alpha=tol)` ignores the documented tolerance.
    X, D = problem()
    coder = MatchingPursuitCoder(
        k=None, residual_tol=1.0, algorithm=algorithm, precompute=precompute, dictionary=D
    ).fit(X)
    Z = coder.transform(X)
    assert (np.linalg.norm(X - Z @ D, axis=1) <= 1.0).all()
    shorter = np.count_nonzero(Z, axis=1).max() - 1
    Z = clone(coder).set_params(k=shorter, residual_tol=None).fit(X).transform(X)
    assert (np.linalg.norm(X - Z @ D, axis=1) > 1.0).any()


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("cls", CODERS)
def test_float32_stays_float32(cls, n_jobs, many_cores):
    # `sparse_encode` of float32 with n_jobs=2 returns float64.
    X, D = (array.astype("float32") for array in problem())
    coder = small(cls, n_components="auto", dictionary=D, n_jobs=n_jobs).fit(X)
    assert (
        coder.transform(X).dtype == coder.inverse_transform(coder.transform(X)).dtype == "float32"
    )


@both_forms
@each_algorithm
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_data_give_small_codes(algorithm, precompute, positive, dtype):
    # `orthogonal_mp` returns zeros for data of 1e-9.
    X, D = (array.astype(dtype) for array in problem())
    coder = MatchingPursuitCoder(
        k=3, algorithm=algorithm, precompute=precompute, positive=positive, dictionary=D
    ).fit(X)
    factor = X.dtype.type(2.0**-30)  # about 1e-9, and exact
    np.testing.assert_array_equal(coder.transform(X * factor), coder.transform(X) * factor)
    assert (np.count_nonzero(coder.transform(X), axis=1) > 0).all()


def test_small_data_give_small_lasso_codes():
    # The same of an absolute stopping rule of coordinate descent.
    X, D = problem()
    coder = LassoCoder(alpha=0.3, dictionary=D).fit(X)
    small = LassoCoder(alpha=0.3e-9, dictionary=D).fit(X * 1e-9).transform(X * 1e-9)
    np.testing.assert_allclose(small * 1e9, coder.transform(X), atol=1e-9)


@both_forms
@pytest.mark.parametrize("algorithm", ["omp", "ols"])
def test_an_atom_that_is_orthogonal_to_the_sample_is_selected(algorithm, precompute):
    # `orthogonal_mp` stops at [1, 0, 0]: it takes a first correlation of zero for the end.
    D = np.array([[1, 0, 0], [-0.3, 1, 0], [0, 0, 1]])
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    y = np.array([[1, 0.3, 0]])
    coder = MatchingPursuitCoder(k=2, algorithm=algorithm, precompute=precompute, dictionary=D)
    z = coder.fit(y).transform(y)
    assert set(np.flatnonzero(z)) == {0, 1}
    np.testing.assert_allclose(z @ D, y, atol=1e-15)


@both_forms
@each_algorithm
def test_k_above_the_number_of_atoms_or_features(algorithm, precompute):
    # `orthogonal_mp` raises for k above the number of atoms.
    X, D = problem(d=8, m=5)
    coder = MatchingPursuitCoder(k=9, algorithm=algorithm, precompute=precompute, dictionary=D)
    if algorithm in ("omp", "ols"):
        with pytest.warns(UserWarning, match="k=9 exceeds n_components=5; using k=5"):
            coder.fit(X)
        best = X @ np.linalg.pinv(D)
        np.testing.assert_allclose(coder.transform(X), best, atol=1e-10)
    else:  # which may select an atom again, and need more steps than there are atoms
        few = clone(coder).set_params(k=5).fit(X)
        assert coder.fit(X).score(X) > few.score(X)
    X, D = problem(d=4, m=20)
    Z = clone(coder).set_params(dictionary=D).fit(X).transform(X)
    assert (np.count_nonzero(Z, axis=1) <= 9).all()
    if algorithm in ("omp", "ols"):
        np.testing.assert_allclose(Z @ D, X, atol=1e-9)


def test_data_of_integers():
    # Integers are data too.
    X = np.round(data() * 10).astype(int)
    D = unit_dictionary(np.random.default_rng(1), 12, 6)
    coder = MatchingPursuitCoder(k=6, dictionary=D).fit(X)
    np.testing.assert_allclose(coder.inverse_transform(coder.transform(X)), X, atol=1e-8)
