"""What runs on a dask cluster: two processes on this machine."""

import sys
from concurrent.futures import CancelledError

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from estimators import CODERS, assert_same_fit, data, each_autoencoder, each_estimator, small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import skdict.distributed
from skdict import LassoCoder, SparseAutoencoder, TopKAutoencoder
from skdict.datasets import make_superposition
from skdict.distributed.shares import result_of, spread

dask = pytest.importorskip("dask", reason="the arrays under test")
da = pytest.importorskip("dask.array", reason="the arrays under test")
distributed = pytest.importorskip("distributed", reason="the cluster under test")

X = data(400)


@pytest.fixture(scope="module")
def client():
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


def blocks(rows=100, array=X):
    return da.from_array(array, chunks=(rows, array.shape[1]))


def no_warning_of_many_dead(make, **changes):
    return make(dead_after=10_000, **changes)


# ---------------------------------------------------------------------- as in one process


def test_grid_search_on_the_cluster(client):
    # Catches estimators that cannot travel, and results that depend on where they are fitted.
    search = GridSearchCV(small(TopKAutoencoder), {"k": [1, 3], "max_iter": [1, 4]}, cv=2)
    here = clone(search).fit(X)
    with joblib.parallel_config("dask"):
        there = clone(search).fit(X)
    assert there.best_params_ == here.best_params_
    for name in ("mean_test_score", "std_test_score"):
        assert_allclose(there.cv_results_[name], here.cv_results_[name], rtol=1e-9)


def test_fit_and_score_read_blocks_from_the_cluster(client):
    # Catches rows that get lost or change places between the workers and the trainer.
    make = small(TopKAutoencoder, shuffle=False)
    here, there = clone(make).fit(X), clone(make).fit(blocks(70))
    assert_same_fit(there, here)
    assert_allclose(there.score(client.persist(blocks(70))), here.score(X), rtol=1e-12)


# ---------------------------------------------------------------------- transform


def never(block):
    raise AssertionError("computed too early")


@each_estimator
def test_codes_of_a_dask_array(make):
    # Catches codes of blocks that differ from those of the whole, and the wrong kind of blocks.
    model = make().fit(X)
    for lazy in (blocks(), da.from_array(X, chunks=((1, 0, 199, 200), (2, 4)))):
        codes = model.set_params(sparse_output=False).transform(lazy)
        assert isinstance(codes, da.Array) and codes.shape == (400, 16)
        assert codes.chunks[0] == lazy.chunks[0] and codes.dtype == np.float64
        assert_allclose(codes.compute(scheduler="sync"), model.transform(X), atol=1e-10)
        sparse = model.set_params(sparse_output=True).transform(lazy)
        assert sp.issparse(sparse._meta) and sparse._meta.format == "csr"
        csr, expected = sparse.compute(scheduler="sync"), model.transform(X)
        assert type(csr) is type(expected) and csr.indices.dtype == np.int32
        assert_allclose(csr.toarray(), expected.toarray(), atol=1e-10)


@pytest.mark.parametrize("interface", ["sparray", "spmatrix"])
def test_csr_blocks_made_on_the_cluster(client, interface):
    # Catches blocks of the kind that the configuration of the workers says.
    model = small(TopKAutoencoder, sparse_output=True).fit(X)
    with config_context(sparse_interface=interface):
        expected, codes = model.transform(X), model.transform(blocks())
    assert type(codes.compute()) is type(codes._meta) is type(expected)
    assert_allclose(codes.compute().toarray(), expected.toarray(), atol=1e-10)


def test_nothing_is_computed_before_it_is_asked_for():
    # Catches a transform that reads, or that changes when the estimator does.
    model = small(TopKAutoencoder).fit(X.astype(np.float32))
    lazy = blocks(array=X.astype(np.float16)).map_blocks(never, dtype=np.float16, meta=X[:0])
    assert model.transform(lazy).dtype == np.float32
    codes, expected = model.transform(blocks()), model.transform(X)
    model.partial_fit(-X).set_params(k=1)
    assert_allclose(codes.compute(scheduler="sync"), expected, atol=1e-5)


def test_unknown_numbers_of_rows():
    # Catches code that needs the shape; some blocks lose all rows.
    model, kept = small(TopKAutoencoder).fit(X), X[:, 0] > np.quantile(X[:, 0], 0.99)
    lazy = blocks(10)
    codes = model.transform(lazy[lazy[:, 0] > np.quantile(X[:, 0], 0.99)])
    assert np.isnan(codes.shape[0])
    assert_allclose(codes.compute(scheduler="sync"), model.transform(X[kept]), atol=1e-10)


def test_names_of_features_warn_once():
    # Catches a warning for each block.
    model = small(TopKAutoencoder).fit(pd.DataFrame(X, columns=list("abcdef")))
    with pytest.warns(UserWarning, match="feature names") as caught:
        model.transform(blocks(50)).compute(scheduler="sync")
    assert len(caught) == 1


def test_errors_of_transform():
    # Catches errors that come from a worker, later, or not at all.
    model = small(TopKAutoencoder).fit(X)
    with pytest.raises(ValueError, match="set_output"):
        clone(model).fit(X).set_output(transform="pandas").transform(blocks())
    with pytest.raises(ValueError, match="X has 5 features"):
        model.transform(blocks(array=X[:, :5]))
    with pytest.raises(ValueError, match="2D array"):
        model.transform(blocks()[:, 0])
    with pytest.raises(TypeError, match="complex"):
        model.transform(blocks().astype(complex))
    lasso = LassoCoder(dictionary=model).fit(X)
    with pytest.raises(ValueError, match="code_init"):
        lasso.transform(blocks(), code_init=lasso.transform(X))


# ---------------------------------------------------------------------- local steps


@each_autoencoder
@pytest.mark.parametrize("shuffle", [False, True])
def test_one_worker_does_what_fit_does(client, make, shuffle):
    # Catches a schedule, an order or a start of its own, and state that is lost between rounds.
    here = no_warning_of_many_dead(make, shuffle=shuffle).fit(X)
    there = skdict.distributed.fit(
        no_warning_of_many_dead(make, shuffle=shuffle), blocks(), local_steps=7,
        workers=sorted(client.nthreads())[:1],
    )  # fmt: skip
    for name in ("components_", "encoder_", "encoder_bias_", "decoder_bias_"):
        assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-9, atol=1e-12)
    for name, values in here.history_.items():
        assert_allclose(there.history_[name], values, rtol=1e-9)
    assert (there.n_iter_, there.n_steps_) == (here.n_iter_, here.n_steps_)
    assert_array_equal(there.dead_latents_, here.dead_latents_)


@each_autoencoder
@pytest.mark.parametrize("local_steps", [2, 10_000])
def test_averages_of_equals_change_nothing(client, make, local_steps):
    # Catches means that are not means, and moments that are lost or mixed up.
    here = no_warning_of_many_dead(make, shuffle=False).fit(X)
    there = skdict.distributed.fit(
        no_warning_of_many_dead(make, shuffle=False),
        blocks(400, np.concatenate([X, X])),
        local_steps=local_steps,
    )
    assert_allclose(there.components_, here.components_, rtol=1e-6, atol=1e-9)
    assert_allclose(there.encoder_, here.encoder_, rtol=1e-6, atol=1e-9)
    assert_allclose(there.history_["loss"], here.history_["loss"], rtol=1e-6)


@pytest.fixture(scope="module")
def planted():
    return make_superposition(4000, n_components=16, n_features=8, k=3, random_state=0)[0]


@pytest.mark.parametrize("local_steps", [10, 40, 10_000])
def test_two_workers_learn_what_one_does(client, planted, local_steps):
    # Catches averages that destroy what was learnt, runs that differ, and atoms of other norms.
    make = TopKAutoencoder(16, k=3, max_iter=30, warmup=20, random_state=0)
    here, lazy = clone(make).fit(planted), blocks(500, planted)
    there = skdict.distributed.fit(clone(make), lazy, local_steps=local_steps)
    assert there.score(planted) > here.score(planted) - 0.1
    assert_allclose(np.linalg.norm(there.components_, axis=1), 1, rtol=1e-5)
    if local_steps == 40:
        again = skdict.distributed.fit(clone(make), lazy, local_steps=40, client=client)
        assert_same_fit(again, there)
        assert there.n_iter_ == 30 and there.n_steps_ == 30 * 8 == here.n_steps_ // 2
        assert set(there.history_) == set(here.history_)
        assert all(len(values) == 30 for values in there.history_.values())
        explained = there.history_["explained_variance"]
        assert explained[-1] > explained[0]


@pytest.mark.parametrize("sizes", [(400,), (3, 0, 90, 307), (0, 400), (400, 0), (200, 100, 100)])
@pytest.mark.parametrize("persist", [False, True])
def test_any_blocks(client, sizes, persist):
    # Catches rows without a worker, shares without rows, and steps that do not end together.
    lazy = da.from_array(X, chunks=(sizes, 3))
    lazy = client.persist(lazy) if persist else lazy
    model = skdict.distributed.fit(small(TopKAutoencoder), lazy, local_steps=3)
    assert model.n_iter_ == 4 and np.isfinite(model.components_).all()
    assert model.score(X) > 0.3


def test_three_shares_on_two_workers(client):
    # Catches a worker that can have one share only; the rows of unknown blocks; float16.
    lazy = blocks(50, X.astype(np.float16))
    two = sorted(client.nthreads())
    model = skdict.distributed.fit(
        small(TopKAutoencoder), lazy[lazy[:, 0] > -10], local_steps=3, workers=[*two, two[0]]
    )
    assert model.n_steps_ == 4 * 5 and model.components_.dtype == np.float32


@pytest.mark.parametrize("cls", CODERS)
def test_coders_that_follow_the_gradient(client, cls):
    # Catches updates of a dictionary that rounds do not know, and negative atoms in a mean.
    model = small(cls, dict_update="gradient", positive_dict=True, max_iter=2)
    model = skdict.distributed.fit(model, blocks(200), local_steps=3)
    assert model.n_steps_ == 2 * 7 and (model.components_ >= 0).all()
    assert_allclose(np.linalg.norm(model.components_, axis=1), 1, rtol=1e-9)
    with pytest.raises(ValueError, match="dict_update='online'"):
        skdict.distributed.fit(small(cls, dict_update="online"), blocks())
    with pytest.raises(ValueError, match="given dictionary"):
        skdict.distributed.fit(cls(dictionary=X[:5]), blocks())


def test_another_client_than_the_current_one(client):
    # Catches blocks that are computed by whatever scheduler is the default.
    with distributed.Client(client.scheduler.address, set_as_default=False) as other:
        with distributed.Client(processes=False, n_workers=1, dashboard_address=":0"):
            lazy = blocks()[X[:, 0] > -10]
            model = skdict.distributed.fit(small(TopKAutoencoder), lazy, client=other)
    assert_same_fit(model, skdict.distributed.fit(small(TopKAutoencoder), lazy, client=client))


def test_training_goes_on_afterwards(client):
    # Catches a fit that leaves less behind than `fit` does.
    model = skdict.distributed.fit(small(TopKAutoencoder, warm_start=True), blocks())
    before = model.score(X)
    assert set(vars(clone(model).fit(X))) == set(vars(model))
    assert skdict.distributed.fit(model, blocks()).score(X) > before
    assert model.partial_fit(X).n_steps_ == 4 * 7 + 13


def test_divergence_stops_the_fit(client):
    # Catches a model of NaN.
    model = small(SparseAutoencoder, learning_rate=1e200, max_iter=6)
    with pytest.warns(ConvergenceWarning, match="learning_rate"):
        skdict.distributed.fit(model, blocks(), local_steps=7)
    assert np.isfinite(model.components_).all() and model.n_steps_ < 6 * 7


# ---------------------------------------------------------------------- errors


def broken(block, block_info=None):
    if block_info[0]["array-location"][0][0] >= 200:
        raise OSError("no such disk")
    return block


def test_failures_leave_the_estimator_as_it_was(client):
    # Catches a half-fitted estimator, and errors that stay on the worker.
    model = small(TopKAutoencoder).fit(X)
    before = dict(vars(model))
    lazy = blocks().map_blocks(broken, dtype=X.dtype, meta=X[:0])
    with pytest.raises(OSError, match="no such disk"):
        skdict.distributed.fit(model, lazy)
    bad = X.copy()
    bad[317, 2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in row 317"):
        skdict.distributed.fit(model.set_params(shuffle=False), blocks(array=bad))
    model.set_params(shuffle=True)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


class Unfinished:
    def __init__(self, error):
        self.error = error

    def result(self, timeout):
        raise self.error

    def done(self):
        return not isinstance(self.error, TimeoutError)


class ClientOf:
    def __init__(self, *workers):
        self.workers, self.status = workers, "running"

    def nthreads(self):
        return dict.fromkeys(self.workers, 1)


@pytest.mark.parametrize("error", [TimeoutError(), CancelledError()])
def test_a_worker_that_leaves(error):
    # Catches waiting forever for what only that worker may run, and errors that do not name it.
    with pytest.raises(RuntimeError, match="Test: worker tcp://gone has left"):
        result_of(ClientOf("tcp://here"), Unfinished(error), ["tcp://here", "tcp://gone"], "Test")
    with pytest.raises(OSError):
        result_of(ClientOf("tcp://here"), Unfinished(OSError()), ["tcp://here"], "Test")
    closed = ClientOf("tcp://here")
    closed.status = "closed"
    with pytest.raises(RuntimeError, match="Test: the client was closed"):
        result_of(closed, Unfinished(error), ["tcp://here"], "Test")


def test_errors_of_parameters(client, monkeypatch):
    # Catches mistakes that would be found after hours, or by another name.
    model, fit = small(TopKAutoencoder), skdict.distributed.fit
    for value in (0, 1.5, None, True):
        with pytest.raises(ValueError, match=f"local_steps={value}"):
            fit(model, blocks(), local_steps=value)
    with pytest.raises(TypeError, match="dask array"):
        fit(model, X)
    with pytest.raises(TypeError, match="no estimator of skdict"):
        fit(GridSearchCV(model, {}), blocks())
    with pytest.raises(TypeError, match="client='here'"):
        fit(model, blocks(), client="here")
    with pytest.raises(ValueError, match="tcp://nowhere"):
        fit(model, blocks(), workers=["tcp://nowhere"])
    with pytest.raises(ValueError, match="early_stopping"):
        fit(small(TopKAutoencoder, early_stopping=True), blocks())
    with pytest.raises(ValueError, match="device=cuda is not available on a cluster"):
        fit(small(TopKAutoencoder, device="cuda"), blocks())
    with pytest.raises(ValueError, match="max_iter"):
        fit(small(TopKAutoencoder, max_iter=0), blocks())
    with monkeypatch.context() as context:
        context.setattr(distributed, "default_client", default_client_of_nobody)
        with pytest.raises(ValueError, match="no dask client"):
            fit(model, blocks())
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"skdict\[dask\]"):
        fit(model, blocks())
    assert not hasattr(model, "components_")


def default_client_of_nobody():
    raise ValueError("No clients found")


def test_blocks_go_where_they_lie_or_evenly():
    # Catches shares of unequal size, and blocks that travel.
    assert spread([10, 10, 10, 10], "ab") == [[0, 2], [1, 3]]
    assert spread([30, 10, 10, 10, 10], "ab") == [[0, 4], [1, 2, 3]]
    assert spread([10, 10, 10], "ab", ["b", "b", "ab"]) == [[2], [0, 1]]
    assert spread([10, 10], "ab", ["", "c"]) == [[0], [1]]


@pytest.mark.parametrize("change", [lambda b: b[:30], lambda b: np.concatenate([b, b])])
def test_blocks_of_other_sizes_than_announced(client, change):
    # Catches rows that are left out or taken twice without a word.
    other = blocks().map_blocks(change, dtype=X.dtype)
    for shuffle in (False, True):
        with pytest.raises(ValueError, match=r"TopKAutoencoder: chunks of X have .*compute_chunk"):
            small(TopKAutoencoder, shuffle=shuffle).fit(other)
    with pytest.raises(ValueError, match=r"TopKAutoencoder: chunks of X have .*announced"):
        skdict.distributed.fit(small(TopKAutoencoder), other, client=client)
    with pytest.raises(TypeError, match=r"TopKAutoencoder: chunks of X are sparse.*dense"):
        small(TopKAutoencoder).fit(blocks().map_blocks(sp.csr_array))


@pytest.mark.parametrize("sparse", [False, True])
def test_codes_can_be_decoded_lazily(sparse):
    # Catches a round trip that ends half way.
    sae = small(TopKAutoencoder, sparse_output=sparse).fit(X)
    decoded = sae.inverse_transform(sae.transform(blocks()))
    assert isinstance(decoded, da.Array) and decoded.chunks == ((100,) * 4, (6,))
    assert_allclose(decoded.compute(scheduler="sync"), sae.inverse_transform(sae.transform(X)))
    with pytest.raises(ValueError, match=r"TopKAutoencoder: codes have shape \(400, 6\)"):
        sae.inverse_transform(blocks())


def test_blocks_of_any_size_are_computed_once_by_score():
    # Catches a chunk that is computed again for every few rows of it.
    computed = []

    def noted(block, block_info=None):
        computed.append(block_info[0]["chunk-location"])
        return block

    sae = small(TopKAutoencoder).fit(X)
    for rows in (37, 300):
        lazy = blocks(rows).map_blocks(noted, dtype=X.dtype, meta=np.empty((0, 6)))
        computed.clear()
        with dask.config.set(scheduler="synchronous"):  # in this process, where `computed` is
            assert sae.score(lazy) == sae.score(X)
        assert len(computed) == len(set(computed)) == -(-400 // rows)


def test_workers_without_rows_are_told_of(client):
    # Catches half a cluster that does nothing.
    persisted = client.persist(blocks(400))
    with pytest.warns(UserWarning, match=r"1 of 2 workers have rows.*rebalance") as seen:
        skdict.distributed.fit(small(TopKAutoencoder, dead_after=10_000), persisted, client=client)
    assert len(seen) == 1 and seen[0].filename == __file__


def test_closed_clients(client):
    # Catches errors from the depths of a client that is gone.
    closed = distributed.Client(client.cluster.scheduler_address)
    closed.close()
    with pytest.raises(ValueError, match=r"is closed\. Make a new one"):
        skdict.distributed.fit(small(TopKAutoencoder), blocks(), client=closed)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"workers": "tcp://127.0.0.1"}, TypeError, "TopKAutoencoder: workers='tcp.*no list"),
        ({"workers": 2}, TypeError, "TopKAutoencoder: workers=2 is no list"),
        ({"estimator": TopKAutoencoder}, TypeError, "TopKAutoencoder is a class"),
        ({"client": "me"}, TypeError, "cluster.get_client"),
    ],
)
def test_arguments_of_a_wrong_kind(client, changes, error, match):
    # Catches strings that are taken apart, and classes that are taken for estimators.
    arguments = {"estimator": small(TopKAutoencoder), "client": client, **changes}
    with pytest.raises(error, match=match):
        skdict.distributed.fit(X=blocks(), **arguments)
