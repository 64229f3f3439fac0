"""What all coders do with the dictionary of any other estimator, and with one that they learn."""

import pickle
import tracemalloc

import numpy as np
import pytest
from estimators import AUTOENCODERS, CODERS, assert_same_fit, data, small
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdict import MatchingPursuitCoder

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
    with pytest.raises(ValueError, match="positive_dict=True, but row 3 of dict_init"):
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
