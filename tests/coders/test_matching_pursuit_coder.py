"""Matching pursuit over a given or a learned dictionary."""

import joblib
import numpy as np
import pytest
from estimators import assert_same_fit, data, fitted, small
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import orthogonal_mp
from sklearn.model_selection import GridSearchCV

from skdict import MatchingPursuitCoder, SparseAutoencoder, TopKAutoencoder
from skdict.datasets import make_superposition
from skdict.metrics import dictionary_match, explained_variance, mean_l0

both = pytest.mark.parametrize("algorithm", ["omp", "mp"])
few_examples = settings(max_examples=20)
problems = st.tuples(st.integers(2, 8), st.integers(1, 12), st.integers(0, 2**32 - 1))


def atoms_of_any_norm(n_components=12, n_features=6, seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_components, n_features)) * rng.uniform(0.1, 9, (n_components, 1))


def drawn(problem):
    n_features, n_components, seed = problem
    return data(10, n_features, seed=seed), atoms_of_any_norm(n_components, n_features, seed)


def residuals(coder, X):
    return np.linalg.norm(X - coder.inverse_transform(coder.transform(X)), axis=1)


# ---------------------------------------------------------------------- what a pursuit computes


@few_examples
@given(problem=problems, k=st.integers(1, 4))
def test_omp_agrees_with_scikit_learn(problem, k):
    # Catches another selection or refit than orthogonal_mp's, and codes of normalised atoms.
    X, D = drawn(problem)
    k = min(k, *D.shape)
    norms = np.linalg.norm(D, axis=1)
    reference = np.atleast_2d(orthogonal_mp((D / norms[:, None]).T, X.T, n_nonzero_coefs=k).T)
    codes = MatchingPursuitCoder(k=k, dictionary=D).fit(X).transform(X)
    np.testing.assert_allclose(codes, reference.reshape(codes.shape) / norms, atol=1e-7)


@few_examples
@given(problem=problems, k=st.integers(1, 4))
def test_omp_residual_is_orthogonal_to_chosen_atoms(problem, k):
    # Catches a refit that leaves something of a chosen atom behind.
    X, D = drawn(problem)
    coder = MatchingPursuitCoder(k=min(k, *D.shape), dictionary=D).fit(X)
    Z = coder.transform(X)
    inner = (X - Z @ D) @ D.T
    np.testing.assert_allclose(inner[Z != 0], 0, atol=1e-8)


@both
@pytest.mark.parametrize("positive", [False, True])
@few_examples
@given(problem=problems)
def test_more_steps_never_leave_more(algorithm, positive, problem):
    # Catches a step that adds to the residual, and more non-zero codes than steps.
    X, D = drawn(problem)
    before = np.linalg.norm(X, axis=1)
    for k in range(1, min(D.shape) + 1):
        shared = {"algorithm": algorithm, "positive": positive}
        coder = MatchingPursuitCoder(k=k, dictionary=D, **shared).fit(X)
        Z, after = coder.transform(X), residuals(coder, X)
        assert (Z != 0).sum(axis=1).max() <= k
        assert not positive or Z.min() >= 0
        assert np.all(after <= before * (1 + 1e-10))
        before = after


def test_omp_is_exact_with_as_many_steps_as_features():
    # Catches a pursuit that ends early or loses precision.
    X, D = data(), atoms_of_any_norm()
    assert residuals(MatchingPursuitCoder(k=6, dictionary=D).fit(X), X).max() < 1e-9


@both
def test_first_step_is_the_projection(algorithm):
    # Catches selection by inner products with atoms that were not normalised.
    X, D = data(), atoms_of_any_norm()
    Z = MatchingPursuitCoder(k=1, dictionary=D, algorithm=algorithm).fit(X).transform(X)
    unit = D / np.linalg.norm(D, axis=1, keepdims=True)
    best = np.abs(X @ unit.T).argmax(axis=1)
    expected = np.zeros_like(Z)
    rows = np.arange(len(X))
    expected[rows, best] = np.sum(X * D[best], axis=1) / np.sum(D[best] ** 2, axis=1)
    np.testing.assert_allclose(Z, expected, atol=1e-12)


def test_algorithms_agree_on_orthonormal_atoms():
    # Catches an algorithm that does not reduce to projections where atoms are orthonormal.
    X = data()
    D = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    omp, mp = (
        MatchingPursuitCoder(k=3, dictionary=D, algorithm=name).fit(X).transform(X)
        for name in ("omp", "mp")
    )
    np.testing.assert_allclose(omp, mp, atol=1e-12)


@few_examples
@given(problem=problems, k=st.integers(1, 4))
def test_mp_is_the_plain_recursion(problem, k):
    # Catches an "mp" that refits, or that never returns to an atom: k counts steps.
    X, D = drawn(problem)
    k = min(k, len(D))
    unit = D / np.linalg.norm(D, axis=1, keepdims=True)
    R, expected = X.copy(), np.zeros((len(X), len(D)))
    rows = np.arange(len(X))
    for _ in range(k):
        C = R @ unit.T
        j = np.abs(C).argmax(axis=1)
        expected[rows, j] += C[rows, j]
        R -= C[rows, j, None] * unit[j]
    coder = MatchingPursuitCoder(k=k, dictionary=unit, algorithm="mp").fit(X)
    np.testing.assert_allclose(coder.transform(X), expected, atol=1e-10)


@few_examples
@given(problem=problems, k=st.integers(1, 4))
def test_positive_omp_is_non_negative_least_squares_on_its_support(problem, k):
    # Catches codes that are clipped instead of refitted.
    X, D = drawn(problem)
    k = min(k, *D.shape)
    Z = MatchingPursuitCoder(k=k, dictionary=D, positive=True).fit(X).transform(X)
    for x, z in zip(X, Z, strict=True):
        chosen = np.flatnonzero(z)
        if chosen.size:
            best, _ = nnls(D[chosen].T, x)
            np.testing.assert_allclose(z[chosen], best, atol=1e-7)


@both
@pytest.mark.parametrize("k", [None, 4])
def test_residual_tol(algorithm, k):
    # Catches a tolerance on the squared norm, a pursuit that stops early, and with k=None one that
    # stops for another reason than the tolerance.
    X, D = data(), atoms_of_any_norm()
    shared = {"dictionary": D, "algorithm": algorithm}
    coder = MatchingPursuitCoder(k=k, residual_tol=0.5, **shared).fit(X)
    steps, left = (coder.transform(X) != 0).sum(axis=1), residuals(coder, X)
    assert 0 < np.sum(left <= 0.5)
    if k is None:
        assert left.max() <= 0.5 * (1 + 1e-9)
    else:
        ended = left <= 0.5
        np.testing.assert_allclose(
            left[~ended], residuals(MatchingPursuitCoder(k=k, **shared).fit(X), X[~ended])
        )
        assert 0 < ended.sum() < len(X)
    if algorithm == "omp":  # whose codes count its steps: one less would not have been enough
        for count in range(2, steps.max() + 1):
            shorter = MatchingPursuitCoder(k=count - 1, **shared).fit(X)
            assert np.all(residuals(shorter, X[steps == count]) > 0.5)


@both
def test_residual_tol_that_every_row_meets(algorithm):
    # Catches a first step that is made without asking.
    X = data()
    tol = 1.01 * np.linalg.norm(X, axis=1).max()
    shared = {"dictionary": atoms_of_any_norm(), "algorithm": algorithm, "k": None}
    assert not MatchingPursuitCoder(residual_tol=tol, **shared).fit(X).transform(X).any()


def test_a_pursuit_needs_an_end():
    # Catches endless pursuits, with a given and with a learned dictionary.
    for dictionary in (None, atoms_of_any_norm()):
        with pytest.raises(ValueError, match=r"k=None and residual_tol=None.*Set one of them"):
            MatchingPursuitCoder(k=None, dictionary=dictionary).fit(data())


def test_zero_rows_and_zero_atoms():
    # Catches a division by the norm of an atom or of a sample that is zero.
    X, D = data(), atoms_of_any_norm()
    X[0], D[3] = 0, 0
    Z = MatchingPursuitCoder(k=2, dictionary=D).fit(X).transform(X)
    assert not Z[0].any() and not Z[:, 3].any() and np.isfinite(Z).all()


# ---------------------------------------------------------------------- given dictionaries


def test_an_array_is_used_as_it_is():
    # Catches atoms that are copied with another norm, a constructor parameter that is changed, and
    # training where there is nothing to learn.
    X, D = data(), atoms_of_any_norm()
    before = D.copy()
    coder = MatchingPursuitCoder(k=2, dictionary=D).fit(X)
    np.testing.assert_array_equal(coder.components_, before)
    np.testing.assert_array_equal(coder.decoder_bias_, np.zeros(6))
    assert coder.dictionary is D and coder.n_steps_ == coder.n_iter_ == 0
    assert coder.history_ == {} and coder.loss_curve_ == []
    Z = coder.transform(X)
    np.testing.assert_allclose(coder.inverse_transform(Z), Z @ before)
    assert coder.score(X) == pytest.approx(explained_variance(X, Z @ before))
    # Scaled atoms only scale the codes.
    twice = MatchingPursuitCoder(k=2, dictionary=2 * D).fit(X).transform(X)
    np.testing.assert_allclose(2 * twice, Z)
    assert_same_fit(coder, clone(coder).partial_fit(X))
    assert MatchingPursuitCoder(k=2, dictionary=D).fit(X.astype("f4")).transform(X).dtype == "f4"
    np.testing.assert_array_equal(D, before)


@pytest.mark.parametrize("offset", [0.5, np.arange(6.0), [1, 2, 3, 4, 5, 6]])
def test_offset(offset):
    # Catches an offset that is only subtracted or only added.
    X, D = data(), atoms_of_any_norm()
    coder = MatchingPursuitCoder(k=2, dictionary=D, offset=offset).fit(X)
    np.testing.assert_array_equal(coder.decoder_bias_, np.broadcast_to(offset, 6))
    reference = MatchingPursuitCoder(k=2, dictionary=D).fit(X)
    Z = reference.transform(X - np.asarray(offset))
    np.testing.assert_allclose(coder.transform(X), Z, atol=1e-10)
    np.testing.assert_allclose(coder.inverse_transform(Z), Z @ D + offset)
    # With a learned dictionary a given offset is not trained, and where gradients are, the mean is.
    held = small(MatchingPursuitCoder, offset=offset).fit(X).partial_fit(X)
    np.testing.assert_allclose(held.decoder_bias_, np.broadcast_to(offset, 6), atol=1e-12)
    free = small(MatchingPursuitCoder, dict_update="gradient").fit(X)
    np.testing.assert_allclose(free.decoder_bias_, X.mean(axis=0), atol=0.2)
    assert np.abs(free.decoder_bias_ - X.mean(axis=0)).max() > 1e-6


def test_estimator_as_dictionary():
    # Catches an estimator that is fitted in place, or whose bias is lost.
    X = data()
    sae = small(SparseAutoencoder)
    coder = MatchingPursuitCoder(k=2, dictionary=sae).fit(X)
    assert not fitted(sae) and coder.dictionary is sae
    assert_same_fit(coder.dictionary_, clone(sae).fit(X))
    np.testing.assert_array_equal(coder.components_, coder.dictionary_.components_)
    np.testing.assert_array_equal(coder.decoder_bias_, coder.dictionary_.decoder_bias_)
    coder.set_params(dictionary__alpha=0.9)
    assert sae.alpha == 0.9
    moved = clone(coder).fit(X)
    assert not np.array_equal(moved.components_, coder.components_)
    offset = clone(coder).set_params(offset=0.0).fit(X)
    np.testing.assert_array_equal(offset.decoder_bias_, 0)
    assert MatchingPursuitCoder(k=2, dictionary=PCA(3)).fit(X).transform(X).shape == (120, 3)


def test_a_frozen_estimator_is_used_as_it_is():
    # Catches a fitted dictionary that clone or fit would lose (FrozenEstimator.fit wants a y).
    X = data()
    sae = small(TopKAutoencoder).fit(X)
    before = joblib.hash(vars(sae))
    coder = MatchingPursuitCoder(k=3, dictionary=FrozenEstimator(sae)).fit(X + 1)
    assert joblib.hash(vars(sae)) == before
    np.testing.assert_array_equal(coder.components_, sae.components_)
    np.testing.assert_array_equal(coder.decoder_bias_, sae.decoder_bias_)
    # Better inference over the same dictionary (the amortisation gap).
    assert coder.score(X) > sae.score(X)
    assert_same_fit(clone(coder).fit(X + 1), coder)


def test_grid_search_reaches_the_dictionary():
    # Catches dictionary__ parameters that a clone does not see.
    X = data(200)
    coder = MatchingPursuitCoder(k=2, dictionary=small(SparseAutoencoder))
    search = GridSearchCV(coder, {"dictionary__alpha": [0.1, 0.5], "k": [1, 3]}, cv=2)
    search.fit(X)
    assert search.best_params_["k"] == 3  # explained variance alone chooses the densest codes
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


class NoComponents(BaseEstimator):
    def fit(self, X, y=None):
        return self


def refusals():
    X, D = data(), atoms_of_any_norm()
    narrow = small(TopKAutoencoder).fit(X[:, :3])
    return {
        "features": (X, {"dictionary": D[:, :4]}, r"dictionary has shape \(12, 4\).*6 features"),
        "1-d": (X, {"dictionary": D[0]}, r"dictionary has shape \(6,\)"),
        "NaN": (X, {"dictionary": D * np.nan}, "MatchingPursuitCoder: dictionary.*contains NaN"),
        "zero": (X, {"dictionary": D * 0}, "all 12 atoms of dictionary are zero.*Pass atoms"),
        "zero init": (X, {"dict_init": D * 0}, "all 12 atoms of dict_init are zero"),
        "no rows": (X, {"dictionary": D[:0]}, "all 0 atoms of dictionary"),
        "infinite": (X, {"dictionary": np.where(D > 0, np.inf, D)}, "dictionary contains"),
        "complex": (X, {"dictionary": D * 1j}, "Complex data not supported"),
        "size": (X, {"dictionary": D, "n_components": 5}, "n_components=5, but.*12 atoms.*'auto'"),
        "frozen": (X, {"dictionary": FrozenEstimator(narrow)}, r"shape \(16, 3\).*6 features"),
        "no atoms": (X, {"dictionary": NoComponents()}, "no components_ after fit"),
        "no atoms either": (X, {"dictionary": KMeans(2)}, "no components_ after fit"),
        "offset": (X, {"dictionary": D, "offset": [1.0, 2.0]}, r"offset=.*shape \(6,\)"),
        "NaN offset": (X, {"dictionary": D, "offset": np.nan}, "offset=nan.*finite"),
        "text offset": (X, {"offset": ["a"] * 6}, "offset=.*finite number"),
        "init features": (X, {"dict_init": D[:, :4]}, r"dict_init has shape \(12, 4\)"),
        "init size": (X, {"dict_init": D, "n_components": 5}, "12 atoms, but n_components=5"),
        "inner": (X, {"dictionary": small(TopKAutoencoder, k=0)}, "'k' parameter of TopK"),
    }


@pytest.mark.parametrize("kind", list(refusals()))
def test_dictionaries_that_do_not_fit(kind):
    # Catches a mismatch that is found by a broadcast, or after the earlier fit was lost.
    X, params, message = refusals()[kind]
    coder = MatchingPursuitCoder(k=2, max_iter=1, random_state=0).fit(X)
    before = joblib.hash(vars(coder.set_params(**params)))
    with pytest.raises(ValueError, match=f"(?s){message}"):
        coder.fit(X)
    assert joblib.hash(vars(coder)) == before
    with pytest.raises(NotFittedError):
        MatchingPursuitCoder(k=2, dictionary=FrozenEstimator(TopKAutoencoder())).fit(X)


def test_a_refit_forgets_the_dictionary_estimator():
    # Catches a fitted attribute that belongs to an earlier fit.
    X = data()
    coder = MatchingPursuitCoder(k=2, dictionary=small(SparseAutoencoder)).fit(X)
    for dictionary in (atoms_of_any_norm(), None):
        again = clone(coder).fit(X).set_params(dictionary=dictionary, max_iter=1).fit(X)
        fresh = MatchingPursuitCoder(k=2, dictionary=dictionary, max_iter=1).fit(X)
        assert fitted(again).keys() == fitted(fresh).keys()


# ---------------------------------------------------------------------- learned dictionaries


def test_dict_init():
    # Catches a start that nothing reads; its atoms are normalised, since learned atoms are.
    X, D = data(), atoms_of_any_norm()
    held = {"max_iter": 1, "learning_rate": 1e-12, "dict_update": "gradient"}
    coder = MatchingPursuitCoder(k=2, dict_init=D, **held).fit(X)
    unit = D / np.linalg.norm(D, axis=1, keepdims=True)
    np.testing.assert_allclose(coder.components_, unit, atol=1e-8)


@both
def test_a_dictionary_is_learned(algorithm):
    # Catches atoms that do not follow the data: signed codes, so signs of atoms are free.
    X, D, _ = make_superposition(4000, 24, 16, 2, magnitudes="normal", random_state=0)
    coder = MatchingPursuitCoder(24, k=2, algorithm=algorithm, max_iter=60, random_state=0).fit(X)
    match = dictionary_match(coder.components_, D, signed=False)
    start = small(MatchingPursuitCoder, n_components=24, k=2, max_iter=1, dict_update="gradient")
    start.fit(X)
    assert match.recovery_rate > 0.8
    assert match.recovery_rate > dictionary_match(start.components_, D, signed=False).recovery_rate
    assert coder.score(X) > 0.9 and mean_l0(coder.transform(X)) <= 2


def test_positive_codes_learn_signed_atoms():
    # Catches a positive coder whose training codes are signed.
    X, D, _ = make_superposition(4000, 24, 16, 2, random_state=0)
    coder = MatchingPursuitCoder(24, k=2, positive=True, max_iter=60, random_state=0).fit(X)
    assert coder.transform(X).min() >= 0
    assert dictionary_match(coder.components_, D).recovery_rate > 0.8


def test_unused_atoms_are_replaced():
    # Catches atoms that stay unused for ever: half of them begin where there are no data.
    X, _, _ = make_superposition(3000, 24, 16, 2, random_state=0)
    init = np.random.default_rng(0).standard_normal((24, 17))
    init[:12, :16] *= 1e-3
    init[12:, 16] = 0
    X = np.hstack([X, np.zeros((3000, 1))])
    shared = {"dict_init": init, "k": 2, "random_state": 0, "max_iter": 30}
    never = MatchingPursuitCoder(**shared, dead_after=10**9).fit(X)
    soon = MatchingPursuitCoder(**shared, dead_after=1000).fit(X)
    unused = [np.all(coder.transform(X) == 0, axis=0).sum() for coder in (never, soon)]
    assert unused[0] >= 8 and unused[1] <= 2
    assert soon.score(X) > never.score(X)


def test_a_given_dictionary_is_copied():
    # Catches a model that changes when the caller goes on using the array.
    X = data()
    D = np.random.default_rng(0).standard_normal((9, X.shape[1]))
    coder = MatchingPursuitCoder(k=2, dictionary=D).fit(X)
    before = coder.transform(X)
    D[:] = 0
    np.testing.assert_array_equal(coder.transform(X), before)


def test_partial_fit_goes_on_with_the_dictionary():
    # Catches an estimator that starts afresh with each block, and forgets the ones before.
    X = data(200)
    learned = small(TopKAutoencoder)
    coder = MatchingPursuitCoder(k=2, dictionary=learned).partial_fit(X[:100])
    first = coder.components_.copy()
    coder.partial_fit(X[100:])
    alone = small(TopKAutoencoder).partial_fit(X[:100]).partial_fit(X[100:])
    np.testing.assert_array_equal(coder.components_, alone.components_)
    assert np.abs(coder.components_ - first).max() > 0
    assert not hasattr(learned, "components_")


def test_partial_fit_needs_a_dictionary_that_can_go_on():
    # Catches a silent refit on the last block alone.
    X = data()
    coder = MatchingPursuitCoder(k=2, dictionary=PCA(3)).fit(X)
    for either in (coder, clone(coder)):
        with pytest.raises(ValueError, match="no partial_fit"):
            either.partial_fit(X)


@pytest.mark.parametrize("algorithm", ["omp", "mp"])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_sizes_whose_squares_are_no_numbers(size, algorithm, positive):
    # Catches an absolute threshold, or squares that overflow or vanish.
    X = data()
    D = np.random.default_rng(0).standard_normal((9, X.shape[1]))
    coder = MatchingPursuitCoder(k=3, dictionary=D, algorithm=algorithm, positive=positive)
    usual, other = coder.fit(X).transform(X), coder.fit(X * size).transform(X * size)
    assert np.abs(usual).max() > 0
    np.testing.assert_allclose(other / size, usual, rtol=1e-9)
