"""Penalised least squares: conditions of optimality, scikit-learn, and laws."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Lasso
from strategies import streams

from skdict.backend import to_numpy
from skdict.coders.lasso import POWERS, in_units
from skdict.kernels.lasso import lasso
from skdict.kernels.lasso_reference import GAMMA, _duality_gap, _prox
from skdict.kernels.threads import use_threads

FEWER = settings(max_examples=25)
NON_CONVEX = [name for name in POWERS if name != "l1"]
forms = st.sampled_from([("cd", True), ("cd", False), ("fista", False)])


def code(
    implementation, X, D, alpha, *, penalty="l1", width=1.0, positive=False, tol=1e-12,
    sweeps=20_000, algorithm="cd", gram=True, first=None,
):  # fmt: skip
    """Dense codes, after a check of the CSR arrays, and how many samples were given up."""
    X, D = implementation.asarray(X), implementation.asarray(D)
    first = None if first is None else implementation.asarray(first)
    arguments = alpha, penalty, width, positive, tol, sweeps, algorithm, first
    solve = implementation.load("lasso").lasso
    *arrays, unfinished = solve(X, D, *arguments, D @ D.T if gram else None)
    indptr, indices, values = (to_numpy(array) for array in arrays)
    Z = sp.csr_array((values, indices, indptr), shape=(X.shape[0], D.shape[0]))
    assert Z.has_canonical_format and (values != 0).all()
    assert indices.dtype == np.int32 and values.dtype == to_numpy(X).dtype
    return Z.toarray(), unfinished


@st.composite
def lasso_problems(draw):
    rng = draw(streams)
    d, m = draw(st.integers(1, 7)), draw(st.integers(1, 12))
    D = rng.standard_normal((m, d)) * rng.uniform(0.3, 3, (m, 1))
    X = rng.standard_normal((draw(st.integers(1, 5)), d))
    return X, D, draw(st.floats(0.02, 1.0)) * float(np.abs(X @ D.T).max())


def objective(X, D, Z, alpha, penalty, width=1.0):
    size = np.abs(Z)
    end = GAMMA * alpha
    rho = {
        "l1": size,
        "log": np.log1p(size / width),
        "mcp": np.where(size < end, size - size**2 / (2 * end), end / 2),
        "lp": np.sqrt(size),
        "l0": (size > 0).astype(float),
    }[penalty]
    return np.sum((X - Z @ D) ** 2, axis=1) / 2 + alpha * rho.sum(axis=1)


@pytest.mark.parametrize("penalty", list(POWERS))
@pytest.mark.parametrize("positive", [False, True])
@settings(max_examples=40)
@given(
    v=st.floats(-6, 6),
    alpha=st.floats(0.05, 3),
    curvature=st.floats(0.1, 4),
    width=st.floats(0.2, 3),
)
def test_prox_is_the_minimum(penalty, positive, v, alpha, curvature, width):
    # would catch: a wrong root, a threshold between local minima, a penalty of other strength
    weight = alpha / curvature
    z = _prox(np.array([v]), weight, penalty, width, positive, alpha)
    grid = np.append(np.linspace(0.0 if positive else -8, 8, 200_001), [0.0, *z])[:, None]

    def value(z):
        return objective(np.array([[v]]), np.ones((1, 1)), z, weight, penalty, width)

    if penalty == "mcp":  # whose shape depends on alpha, not on the weight of the penalty

        def value(z):
            size, end = np.abs(z[:, 0]), GAMMA * alpha
            rho = np.where(size < end, size - size**2 / (2 * end), end / 2)
            return (z[:, 0] - v) ** 2 / 2 + weight * rho

    assert value(z[:, None])[0] <= value(grid).min() + 1e-7
    assert not positive or z[0] >= 0


@FEWER
@given(problem=lasso_problems(), form=forms, positive=st.booleans())
def test_conditions_of_optimality(implementation, problem, form, positive):
    # would catch: atoms that never enter the working set, codes of atoms of unit norm
    X, D, alpha = problem
    options = {"algorithm": form[0], "gram": form[1], "positive": positive}
    Z, unfinished = code(implementation, X, D, alpha, **options)
    assert unfinished == 0
    correlations = (X - Z @ D) @ D.T
    slack = 1e-4 * alpha + 1e-5
    assert (correlations <= alpha + slack).all()
    assert positive or (correlations >= -alpha - slack).all()
    assert_allclose(correlations[Z != 0], alpha * np.sign(Z[Z != 0]), atol=slack)
    assert not positive or (Z >= 0).all()
    gaps = _duality_gap(X, D, Z, alpha, positive)
    assert (gaps <= 1e-12 * np.sum(X**2, axis=1) / 2 + 1e-14).all()


@FEWER
@given(problem=lasso_problems(), form=forms, positive=st.booleans())
def test_equals_scikit_learn(implementation, problem, form, positive):
    # would catch: an alpha of another unit
    X, D, alpha = problem
    options = {"algorithm": form[0], "gram": form[1], "positive": positive}
    Z, _ = code(implementation, X, D, alpha, **options)
    peer = Lasso(
        alpha / X.shape[1], fit_intercept=False, positive=positive, tol=1e-13, max_iter=100_000
    )
    peers = np.array([peer.fit(D.T, x).coef_.copy() for x in X])
    ours, theirs = (objective(X, D, codes, alpha, "l1") for codes in (Z, peers))
    assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("penalty", NON_CONVEX)
@FEWER
@given(problem=lasso_problems(), gram=st.booleans(), positive=st.booleans())
def test_no_single_code_can_be_better(implementation, penalty, problem, gram, positive):
    # would catch: a descent that ends early, or works on another penalty than it is told
    X, D, alpha = problem
    alpha = min(alpha, 1.0)
    options = {"penalty": penalty, "gram": gram, "positive": positive}
    Z, unfinished = code(implementation, X, D, alpha, tol=1e-16, **options)
    assert unfinished == 0
    curvatures = np.sum(D**2, axis=1)
    best = objective(X, D, Z, alpha, penalty)
    for j, w in enumerate(curvatures):
        v = Z[:, j] + (X - Z @ D) @ D[j] / w
        other = Z.copy()
        other[:, j] = _prox(v, alpha / w, penalty, 1.0, positive, alpha)
        assert (objective(X, D, other, alpha, penalty) >= best - 1e-7 * (1 + best)).all()


@pytest.mark.parametrize("penalty", NON_CONVEX)
def test_fista_descends_with_any_penalty(implementation, penalty):
    # would catch: gradient steps that are too long for the penalty
    rng = np.random.default_rng(0)
    X, D = rng.standard_normal((6, 8)), rng.standard_normal((20, 8))
    Z, _ = code(implementation, X, D, 0.5, penalty=penalty, algorithm="fista", gram=False)
    zero = objective(X, D, np.zeros_like(Z), 0.5, penalty)
    assert (objective(X, D, Z, 0.5, penalty) <= zero + 1e-9).all() and Z.any()


@FEWER
@given(problem=lasso_problems(), form=forms)
def test_warm_start(implementation, problem, form):
    # would catch: given codes that are ignored, or correlations that do not know of them
    X, D, alpha = problem
    options = {"algorithm": form[0], "gram": form[1]}
    Z, _ = code(implementation, X, D, alpha, **options)
    again, unfinished = code(implementation, X, D, alpha, first=Z, tol=1e-9, sweeps=1, **options)
    assert unfinished == 0
    assert_allclose(objective(X, D, again, alpha, "l1"), objective(X, D, Z, alpha, "l1"), rtol=1e-8)
    random = np.random.default_rng(0).standard_normal(Z.shape)
    other, _ = code(implementation, X, D, alpha, first=random, **options)
    assert_allclose(objective(X, D, other, alpha, "l1"), objective(X, D, Z, alpha, "l1"), rtol=1e-6)


@pytest.mark.parametrize("gram", [False, True])
def test_samples_given_up_are_counted(implementation, gram):
    # would catch: a limit of sweeps that nothing looks at
    rng = np.random.default_rng(1)
    X, D = rng.standard_normal((9, 8)), rng.standard_normal((24, 8))
    X[4] = 0
    assert code(implementation, X, D, 0.01, sweeps=1, gram=gram)[1] == 8
    assert code(implementation, X, D, 0.1, tol=1e-2, gram=gram)[1] == 0


@pytest.mark.parametrize("form", [("cd", True), ("cd", False), ("fista", False)])
def test_zero_rows_and_zero_atoms(implementation, dtype, form):
    # would catch: a division by the norm of a sample or of an atom
    rng = np.random.default_rng(3)
    X, D = rng.standard_normal((6, 5)), rng.standard_normal((9, 5))
    X[[1, 4]], D[[0, 7]] = 0, 0
    X, D = X.astype(dtype), D.astype(dtype)
    options = {"algorithm": form[0], "gram": form[1], "tol": 1e-5}
    Z, unfinished = code(implementation, X, D, 0.1, **options)
    assert unfinished == 0 and np.isfinite(Z).all()
    assert not Z[[1, 4]].any() and not Z[:, [0, 7]].any()
    assert Z[[0, 2, 3, 5]].any(axis=1).all()
    assert not code(implementation, X, D, 1e6, **options)[0].any()


@pytest.mark.parametrize("penalty", list(POWERS))
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_units(implementation, penalty, scale):
    # would catch: an alpha that is carried over to other units with the wrong power
    rng = np.random.default_rng(4)
    X, D = rng.standard_normal((3, 6)), rng.standard_normal((8, 6))
    Z, _ = code(implementation, X, D, 0.4, penalty=penalty)
    alpha = in_units(0.4, penalty, 1 / scale)
    scaled, _ = code(implementation, scale * X, D, alpha, penalty=penalty, width=scale)
    assert_allclose(scaled, scale * Z, rtol=1e-6, atol=1e-9 * scale)


@pytest.mark.parametrize("gram", [False, True])
def test_result_does_not_depend_on_threads(dtype, gram, many_cores):
    # would catch: scratch memory shared by threads, state carried from one sample to the next
    rng = np.random.default_rng(7)
    X = rng.standard_normal((600, 16)).astype(dtype)
    D = rng.standard_normal((40, 16)).astype(dtype)
    results = []
    for n_jobs in (1, 2):
        with use_threads(n_jobs):
            arguments = 0.5, "l1", 1.0, False, 1e-4, 1000, "cd", None
            results.append(lasso(X, D, *arguments, D @ D.T if gram else None))
    for one, two in zip(*results):
        assert_array_equal(one, two)
