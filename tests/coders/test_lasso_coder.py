"""What is particular to LassoCoder."""

import re
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from estimators import data, small
from sklearn.base import clone
from sklearn.decomposition import sparse_encode
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

from skdict import LassoCoder, SparseAutoencoder, ThresholdCoder
from skdict.datasets import make_superposition
from skdict.metrics import dictionary_match, mean_l0


def atoms(n_components=12, n_features=6, seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_components, n_features)) * rng.uniform(0.3, 3, (n_components, 1))


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("algorithm", ["cd", "fista"])
def test_agrees_with_scikit_learn(positive, algorithm):
    # Catches an alpha in units of training, or atoms that are normalised.
    X, D = data(), atoms()
    ours = LassoCoder(
        alpha=0.7, dictionary=D, positive=positive, algorithm=algorithm, gap_tol=1e-10,
        max_sweeps=100_000,
    ).fit(X)  # fmt: skip
    expected = sparse_encode(
        X, D, algorithm="lasso_cd", alpha=0.7, positive=positive, max_iter=100_000
    )
    residuals = [np.sum((X - Z @ D) ** 2) / 2 for Z in (ours.transform(X), expected)]
    sizes = [0.7 * np.abs(Z).sum() for Z in (ours.transform(X), expected)]
    assert residuals[0] + sizes[0] <= (residuals[1] + sizes[1]) * (1 + 1e-6)
    np.testing.assert_allclose(residuals[0] + sizes[0], residuals[1] + sizes[1], rtol=1e-3)


@pytest.mark.parametrize("penalty", ["l1", "log", "mcp", "lp", "l0"])
def test_penalties(penalty):
    # Catches a penalty that is not what its name says: less shrinkage at the same support.
    X, D, Z = make_superposition(300, 24, 16, 2, noise=0.02, random_state=0)
    coder = LassoCoder(alpha=0.1, penalty=penalty, dictionary=D, positive=True).fit(X)
    found = coder.transform(X)
    assert found.min() >= 0
    large = (Z > 0.5) & (found > 0)
    lost = np.mean(Z[large] - found[large])
    limits = {"l1": (0.05, 0.2), "mcp": (-0.05, 0.04), "l0": (-0.03, 0.03)}
    low, high = limits.get(penalty, (-0.02, 0.1))
    assert low < lost < high
    assert large.sum() > 0.8 * np.sum(Z > 0.5)


def test_alpha_is_in_units_of_the_data():
    # Catches an alpha in units of training with a given dictionary, and absolute thresholds.
    X, D = data(), atoms()
    Z = LassoCoder(alpha=0.5, dictionary=D).fit(X).transform(X)
    for size in (1e-9, 2.0**300, 2.0**-300):
        coder = LassoCoder(alpha=0.5 * size, dictionary=D).fit(X)
        np.testing.assert_allclose(coder.transform(X * size) / size, Z, rtol=1e-6, atol=1e-9)


def test_learned_atoms_and_alpha_in_units_of_the_data():
    # Catches an alpha that training divides wrongly: codes scale with X and alpha.
    X = data(200)
    one = small(LassoCoder, alpha=0.5).fit(X)
    other = small(LassoCoder, alpha=0.5 * 1024).fit(X * 1024)
    np.testing.assert_allclose(one.components_, other.components_, atol=1e-6)
    np.testing.assert_allclose(other.transform(X * 1024) / 1024, one.transform(X), atol=1e-6)
    assert 0 < mean_l0(one.transform(X)) < 16


def test_code_init():
    # Catches codes to begin with that are lost, mixed up between blocks, or kept afterwards.
    X, D = data(5000), atoms(40)
    coder = LassoCoder(alpha=0.3, dictionary=D, sparse_output=True).fit(X)
    Z = coder.transform(X)
    impatient = LassoCoder(
        alpha=0.3, dictionary=D, sparse_output=True, max_sweeps=1, gap_tol=1.01e-4
    ).fit(X)
    again = impatient.transform(X, code_init=Z)  # no warning: nothing is left to do
    np.testing.assert_allclose(again.toarray(), Z.toarray(), atol=1e-3)
    with pytest.warns(ConvergenceWarning, match="did not reach gap_tol=.*Raise max_sweeps"):
        impatient.transform(X)
    dense = coder.transform(X, code_init=Z.toarray())
    np.testing.assert_array_equal(dense.toarray(), coder.transform(X, code_init=Z).toarray())
    for wrong in (Z[:-1], Z[:, :-1]):
        with pytest.raises(ValueError, match=r"code_init has shape.*a row for each sample"):
            coder.transform(X, code_init=wrong)
    for wrong in (sp.csr_array(Z) * np.nan, "x", Z.toarray() * 1j):
        with pytest.raises(ValueError, match="code_init is not an array of finite codes"):
            coder.transform(X, code_init=wrong)
    with pytest.raises(NotFittedError):
        clone(coder).transform(X, code_init=Z)


@pytest.mark.parametrize("algorithm", ["cd", "fista"])
def test_signed_codes_to_begin_with(algorithm):
    # Catches negative codes that a positive coder takes over, for they are optimal among signed.
    X, D = data(), atoms()
    signed = LassoCoder(alpha=0.5, dictionary=D).fit(X).transform(X)
    coder = LassoCoder(alpha=0.5, dictionary=D, positive=True, algorithm=algorithm).fit(X)
    Z = coder.transform(X, code_init=signed)
    assert signed.min() < 0 <= Z.min()
    np.testing.assert_allclose(Z, coder.transform(X), atol=0.05)


def test_code_init_on_threads():
    # Catches codes to begin with that another call on the same coder sees.
    X, D = data(600), atoms()
    coder = LassoCoder(alpha=0.3, dictionary=D, penalty="l0").fit(X)
    first = np.random.default_rng(0).standard_normal((600, 12))
    alone = coder.transform(X), coder.transform(X, code_init=first)
    assert not np.array_equal(*alone)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: coder.transform(X, (None, first)[i % 2]), range(40)))
    for i, Z in enumerate(found):
        np.testing.assert_array_equal(Z, alone[i % 2])


@pytest.mark.parametrize("penalty", ["l1", "log", "lp", "l0"])
@pytest.mark.parametrize("size", [2.0**-90, 2.0**60])
def test_atoms_of_any_size(penalty, size):
    # Catches squares of atoms that vanish or overflow in float32.
    X, D = data(dtype="float32"), atoms().astype("float32")
    power = {"l1": 1, "lp": 0.5, "l0": 0, "log": 0}[penalty]
    usual = LassoCoder(alpha=0.3, penalty=penalty, dictionary=D).fit(X).transform(X)
    if penalty == "log":  # codes are measured in units of X, so only its finiteness is the same
        size = 2.0**10
    other = LassoCoder(alpha=0.3 * size**power, penalty=penalty, dictionary=D * size).fit(X)
    assert np.isfinite(other.transform(X)).all() and usual.any()
    if penalty != "log":
        np.testing.assert_allclose(other.transform(X) * size, usual, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1e200, 1e300, 1e-300])
@pytest.mark.parametrize("penalty", ["l1", "mcp", "l0"])
def test_data_near_the_ends_of_floats(penalty, size):
    # Catches a power of a unit that Python refuses.
    X = data()
    X /= np.abs(X).max()
    coder = LassoCoder(alpha=0.1 * size, penalty=penalty, dictionary=atoms()).fit(X * size)
    assert np.isfinite(coder.transform(X * size)).all()


def test_one_warning_with_the_number_of_samples():
    # Catches a warning for each block, with the number of its samples.
    X, D = data(2000), atoms()
    coder = LassoCoder(alpha=0.01, dictionary=D, max_sweeps=1).fit(X)
    with pytest.warns(ConvergenceWarning, match=r"LassoCoder: (1\d\d\d|2000) times") as record:
        coder.transform(X)
    assert len(record) == 1 and record[0].filename == __file__
    with pytest.warns(ConvergenceWarning, match=r"in training, \d+ times") as record:
        LassoCoder(16, alpha=0.01, max_sweeps=1, max_iter=2).fit(X)
    assert len(record) == 1 and record[0].filename == __file__


def test_codes_of_an_autoencoder_to_begin_with():
    # Catches a warm start in other units, and codes that get worse with inference over the atoms.
    X = data(400)
    sae = small(SparseAutoencoder, max_iter=30).fit(X)
    alpha = sae.alpha * sae.scale_
    coder = LassoCoder(alpha=alpha, dictionary=FrozenEstimator(sae), positive=True).fit(X)

    def objective(Z):
        rest = X - sae.inverse_transform(Z)
        return np.sum(rest**2, axis=1) / 2 + alpha * Z.sum(axis=1)

    first, best = sae.transform(X), coder.transform(X, code_init=sae.transform(X))
    assert np.all(objective(best) <= objective(first) * (1 + 1e-9))
    cold = objective(coder.transform(X))
    np.testing.assert_allclose(objective(best), cold, rtol=1e-3, atol=1e-6)


def test_a_dictionary_is_learned():
    # Catches atoms that do not follow the codes.
    X, D, _ = make_superposition(4000, 24, 16, 2, random_state=0)
    coder = LassoCoder(24, alpha=0.1, positive=True, max_iter=20, random_state=0).fit(X)
    assert dictionary_match(coder.components_, D).recovery_rate > 0.8
    assert coder.loss_curve_[-1] < 0.8 * coder.loss_curve_[0]


def test_grid_search_and_pickle(tmp_path):
    # Catches state that a clone or a pickle does not carry.
    X = data(150)
    search = GridSearchCV(LassoCoder(dictionary=atoms()), {"alpha": [0.1, 1.0]}, cv=2).fit(X)
    assert search.best_params_ == {"alpha": 0.1}
    joblib.dump(search.best_estimator_, tmp_path / "coder")
    again = joblib.load(tmp_path / "coder")
    np.testing.assert_array_equal(again.transform(X), search.best_estimator_.transform(X))
    assert clone(again).get_params()["alpha"] == 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", 0),
        ("alpha", -1.0),
        ("alpha", np.nan),
        ("penalty", "l2"),
        ("gap_tol", -1),
        ("max_sweeps", 0),
        ("algorithm", "lars"),
        ("precompute", "yes"),
    ],
)
def test_parameters_out_of_range(name, value):
    # Catches a value that is found out by an error of NumPy's.
    with pytest.raises(ValueError, match=f"The '{name}' parameter of LassoCoder"):
        LassoCoder(**{name: value}).fit(data())


@pytest.mark.parametrize("cls, name", [(LassoCoder, "alpha"), (ThresholdCoder, "threshold")])
@pytest.mark.parametrize("given", [False, True])
def test_codes_that_can_only_be_zero(cls, name, given, recwarn):
    # Catches silence about a penalty that nothing passes, and a wrong bound in the warning.
    X, D = data(), atoms()
    D = D / np.linalg.norm(D, axis=1, keepdims=True)
    params = {"dictionary": D} if given else {"max_iter": 2, "n_components": 8, "random_state": 0}
    with pytest.warns(
        UserWarning, match=rf"{cls.__name__}: {name}=1000.* from ([\d.]+) on"
    ) as seen:
        cls(**{name: 1000.0}, **params).fit(X)
    assert len(seen) == 1 and seen[0].filename == __file__
    if given:
        bound = float(re.search("from ([\\d.]+) on", str(seen[0].message))[1])
        assert bound == pytest.approx(np.abs(X @ D.T).max(), rel=1e-3)
        assert not cls(**{name: 1.001 * bound}, dictionary=D).fit(X).transform(X).any()
        recwarn.clear()
        assert cls(**{name: 0.9 * bound}, dictionary=D).fit(X).transform(X).any()
        assert not recwarn
