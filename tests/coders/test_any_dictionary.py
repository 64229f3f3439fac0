"""What all coders do with the dictionary of any other estimator, and with one that they learn."""

import pickle
import tracemalloc

import numpy as np
import pytest
from estimators import AUTOENCODERS, CODERS, assert_same_fit, data, small
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdict import LassoCoder, MatchingPursuitCoder, ThresholdCoder

each_coder = pytest.mark.parametrize("cls", CODERS, ids=[cls.__name__ for cls in CODERS])
GRIDS = {"MatchingPursuitCoder": "k", "LassoCoder": "alpha", "ThresholdCoder": "k"}


@each_coder
@pytest.mark.parametrize("of", AUTOENCODERS)
def test_a_frozen_autoencoder(cls, of):
    # Catches a fitted dictionary that clone, pickle or fit loses, and a bias that is forgotten.
    X = data()
    sae = small(of).fit(X)
    coder = small(cls, n_components="auto", dictionary=FrozenEstimator(sae)).fit(X[:3])
    Z = coder.transform(X)
    by_hand = small(
        cls, n_components="auto", dictionary=sae.components_, offset=sae.decoder_bias_
    ).fit(X)
    np.testing.assert_array_equal(by_hand.transform(X), Z)
    np.testing.assert_array_equal(coder.inverse_transform(Z), by_hand.inverse_transform(Z))
    again = clone(coder)
    with pytest.raises(NotFittedError):
        again.transform(X)
    assert_same_codes(again.fit(X), X, Z)
    assert_same_codes(pickle.loads(pickle.dumps(coder)), X, Z)
    assert_same_codes(pickle.loads(pickle.dumps(clone(coder))).fit(X), X, Z)


def assert_same_codes(coder, X, Z):
    np.testing.assert_array_equal(coder.transform(X), Z)


@each_coder
@pytest.mark.parametrize("frozen", [False, True])
def test_grid_search(cls, frozen):
    # Catches parameters that a clone in a Pipeline does not see.
    X = data(200)
    inner = small(AUTOENCODERS[1])
    scaled = StandardScaler().fit_transform(X)
    dictionary = FrozenEstimator(inner.fit(scaled)) if frozen else inner
    coder = small(cls, n_components="auto", dictionary=dictionary)
    name = GRIDS[cls.__name__]
    grid = {f"{cls.__name__.lower()}__{name}": {"k": [1, 3], "alpha": [0.1, 1.0]}[name]}
    search = GridSearchCV(make_pipeline(StandardScaler(), coder), grid, cv=2).fit(X)
    scores = search.cv_results_["mean_test_score"]
    if cls is MatchingPursuitCoder:
        assert scores[0] < scores[1]
    assert np.isfinite(scores).all() and scores[0] != scores[1]


@each_coder
@pytest.mark.parametrize("dict_update", ["online", "aksvd", "ksvd", "mod", "gradient"])
def test_positive_dictionaries(cls, dict_update):
    # Catches replaced atoms, first ones, or those of a later update with negative entries.
    X = np.abs(data(400, 6)) * np.sign(np.arange(400) % 5 - 0.5)[:, None]
    init = np.random.default_rng(0).standard_normal((16, 6))
    init[:, 0] = 1
    for start, dead_after in ((init, 50), (init, 10**6), (None, 50), (None, 10**6)):
        coder = small(
            cls, dict_init=start, positive=True, positive_dict=True, offset=0.0,
            dict_update=dict_update, dead_after=dead_after, max_iter=8,
        )  # fmt: skip
        coder.fit(X)
        assert coder.components_.min() >= 0
        np.testing.assert_allclose(np.linalg.norm(coder.components_, axis=1), 1)
    init[3] = -1
    with pytest.raises(ValueError, match="row 3 of dict_init has no positive entry"):
        clone(coder).set_params(dict_init=init).fit(X)
    np.testing.assert_allclose(np.linalg.norm(coder.components_, axis=1), 1)
    if dict_update in ("online", "gradient"):
        coder.partial_fit(X)
        assert coder.components_.min() >= 0


@each_coder
@pytest.mark.parametrize("dict_update", ["aksvd", "ksvd", "mod"])
def test_updates_that_need_all_codes_refuse_partial_fit(cls, dict_update):
    # Catches statistics of one block that pass for those of all, or a fit that is lost.
    X = data()
    coder = small(cls, dict_update=dict_update).fit(X)
    before = pickle.dumps(coder)
    with pytest.raises(ValueError, match=f"dict_update='{dict_update}' needs the codes of all"):
        coder.partial_fit(X)
    assert_same_fit(coder, pickle.loads(before))
    with pytest.raises(ValueError, match="'online' or 'gradient'"):
        small(cls, dict_update=dict_update).partial_fit(X)


@each_coder
@pytest.mark.parametrize("dict_update", ["online", "aksvd", "ksvd", "mod"])
def test_ragged_batches(cls, dict_update):
    # Catches a last batch that weighs as much as a whole one, or a division by a size of zero.
    X = data(33)
    for batch_size in (1, 16, 32, 33, 100):
        coder = small(cls, dict_update=dict_update, batch_size=batch_size, max_iter=2).fit(X)
        assert np.isfinite(coder.components_).all()
        assert len(coder.loss_curve_) == 2
        np.testing.assert_allclose(np.linalg.norm(coder.components_, axis=1), 1)


@each_coder
def test_memory_of_transform_does_not_grow_with_the_samples(cls):
    # Catches correlations or dense codes of all samples at once.
    rng = np.random.default_rng(0)
    D = rng.standard_normal((512, 32), dtype=np.float32)
    X = rng.standard_normal((8192, 32), dtype=np.float32)
    coder = small(cls, n_components="auto", dictionary=D, sparse_output=True, n_jobs=1)
    coder.set_params(**({"alpha": 8.0} if "alpha" in coder.get_params() else {})).fit(X[:9])
    coder.transform(X[:600])
    extra = []
    for n in (2048, 8192):
        tracemalloc.start()
        codes = coder.transform(X[:n])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        size = codes.data.nbytes + codes.indices.nbytes + codes.indptr.nbytes
        assert size < 0.2 * n * 512 * 4  # of dense codes: the test would see them
        extra.append(peak - 3 * size)  # parts, whole, and indices of another width
    assert extra[1] < extra[0] + 2**20


@each_coder
def test_a_batch_that_diverges_in_between(cls):
    # Catches a memory of the update that is replaced by that of another one.
    X = data()
    coder = small(cls).partial_fit(X)
    before = coder.components_.copy()
    with pytest.warns(ConvergenceWarning, match="non-finite.*Look for huge values in X"):
        coder.partial_fit(X * 1e200)
    np.testing.assert_array_equal(coder.components_, before)
    coder.partial_fit(X)
    assert np.isfinite(coder.components_).all()


@each_coder
@pytest.mark.parametrize("first", ["online", "gradient"])
def test_another_update_between_blocks(cls, first):
    # Catches a memory of one update that another one reads.
    X = data()
    then = {"online": "gradient", "gradient": "online"}[first]
    coder = small(cls, dict_update=first).partial_fit(X).set_params(dict_update=then)
    before = coder.components_.copy()
    coder.partial_fit(X).partial_fit(X)
    assert np.isfinite(coder.components_).all() and np.abs(coder.components_ - before).max() > 0


@each_coder
@pytest.mark.parametrize("dict_update", ["online", "aksvd", "ksvd", "mod"])
def test_early_stopping_needs_no_warmup(cls, dict_update):
    # Catches parameters of the gradient that delay the end of another update.
    coder = small(cls, dict_update=dict_update, max_iter=90, warmup=10**6)
    coder.set_params(tol=0.9, max_no_improvement=2).fit(data())
    assert coder.n_iter_ == 3


@each_coder
def test_another_frozen_estimator_between_blocks(cls):
    # Catches a dictionary that partial_fit keeps although it was replaced.
    X = data()
    one, two = (FrozenEstimator(small(AUTOENCODERS[1], random_state=i).fit(X)) for i in (0, 1))
    coder = small(cls, n_components="auto", dictionary=one).fit(X)
    coder.set_params(dictionary=two).partial_fit(X)
    np.testing.assert_array_equal(coder.components_, two.components_)


def test_silence_at_the_beginning_is_not_all(recwarn):
    # Catches a warning about all samples that has seen the first ones only.
    rng = np.random.default_rng(0)
    X = np.vstack([1e-3 * rng.standard_normal((1000, 6)), rng.standard_normal((1000, 6))])
    D = rng.standard_normal((12, 6))
    for coder in (LassoCoder(alpha=0.5, dictionary=D), ThresholdCoder(threshold=0.5, dictionary=D)):
        assert coder.fit(X).transform(X).any()
    assert not recwarn
    with pytest.warns(UserWarning, match="all codes of 1000 samples looked at zero"):
        LassoCoder(alpha=1e3, dictionary=D).fit(X)
    with pytest.warns(UserWarning, match="residual_tol=1000.0 makes all codes zero"):
        MatchingPursuitCoder(k=2, residual_tol=1e3, dictionary=D).fit(X[:20])


def test_the_mean_of_a_pca_is_its_offset():
    # Catches codes that have to explain the mean.
    X = data(300) + 5
    pca = PCA(4).fit(X)
    coder = MatchingPursuitCoder(k=4, dictionary=FrozenEstimator(pca)).fit(X)
    np.testing.assert_allclose(coder.decoder_bias_, pca.mean_)
    np.testing.assert_allclose(coder.transform(X), pca.transform(X), atol=1e-10)


class Odd(BaseEstimator):
    """A dictionary with attributes as they are told."""

    def __init__(self, components, bias=None):
        self.components = components
        self.bias = bias

    def fit(self, X, y=None):
        self.components_ = self.components
        if self.bias is not None:
            self.decoder_bias_ = self.bias
        return self


@each_coder
@pytest.mark.parametrize(
    ("dictionary", "message"),
    [
        (Odd(np.full((3, 6), np.nan)), "components_ of dictionary.*contains NaN"),
        (Odd(np.ones((3, 6)), bias=np.ones(4)), r"decoder_bias_ or mean_ of shape \(4,\).*offset"),
        (Odd, "dictionary=Odd is a class. Pass an estimator"),
        ([["a"] * 6], "dictionary is not an array of finite numbers"),
        (np.ones((2, 3, 6)), r"dictionary has shape \(2, 3, 6\)"),
    ],
)
def test_odd_dictionaries(cls, dictionary, message):
    # Catches errors that do not say whose fault it is, or codes that are NaN.
    with pytest.raises(ValueError, match=f"(?s){cls.__name__}: .*{message}"):
        small(cls, n_components="auto", dictionary=dictionary).fit(data())


@each_coder
def test_components_may_be_a_list(cls):
    # Catches an attribute that is taken for an array.
    X, D = data(), np.random.default_rng(0).standard_normal((5, 6))
    odd = small(cls, n_components="auto", dictionary=Odd(D.tolist())).fit(X)
    given = small(cls, n_components="auto", dictionary=D).fit(X)
    np.testing.assert_array_equal(odd.transform(X), given.transform(X))


@each_coder
def test_zero_rows_of_dict_init(cls):
    # Catches a learned atom that has no unit norm.
    init = np.random.default_rng(0).standard_normal((16, 6))
    init[5] = 0
    with pytest.raises(ValueError, match="row 5 of dict_init has no entry other than zero"):
        small(cls, dict_init=init).fit(data())
