"""Estimators on whatever yields rows: the same rows give the same bits."""

import subprocess
import sys

import numpy as np
import pytest
from estimators import assert_same_fit, data, each_estimator, fitted, small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV

from skdict import LassoCoder, MatchingPursuitCoder, TopKAutoencoder
from skdict.datasets import open_shards

few_examples = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])


def stored(X, folder, cuts=()):
    """X in a file that is mapped, in shards, and as blocks."""
    mapped = np.lib.format.open_memmap(folder / "mapped", "w+", dtype=X.dtype, shape=X.shape)
    mapped[:] = X
    blocks = np.split(X, sorted(cuts))
    (folder / "shards").mkdir()
    for i, block in enumerate(block for block in blocks if len(block)):
        np.save(folder / "shards" / f"{i:03}.npy", block)
    return mapped, folder / "shards", blocks


@each_estimator
@pytest.mark.parametrize("dtype", ["float16", "float32", "int16"])
def test_the_same_rows_give_the_same_bits(make, dtype, tmp_path):
    # Catches an order, a centre or a precision that depends on where the rows lie.
    X = (10 * data(300)).astype(dtype)
    mapped, shards, blocks = stored(X, tmp_path, [20, 20, 111])
    of_array = make().fit(X)
    for X_elsewhere in (mapped, str(shards), open_shards(shards), sorted(shards.iterdir())):
        assert_same_fit(make().fit(X_elsewhere), of_array)
    assert_same_fit(make().fit(blocks), of_array)  # few rows: shuffled as a whole
    assert_same_fit(make(early_stopping=True).fit(mapped), make(early_stopping=True).fit(X))


@each_estimator
def test_more_rows_than_are_mixed_at_once(make, tmp_path):
    # Catches an order of large data that differs from that of arrays, and rows left out.
    X = data(33_500, 4, dtype="float16")
    mapped, shards, blocks = stored(X, tmp_path, [1000, 20_000])
    changes = {"batch_size": 700, "max_iter": 2}
    of_array = make(**changes).fit(X)
    for X_elsewhere in (mapped, shards):
        assert_same_fit(make(**changes).fit(X_elsewhere), of_array)
    in_order = make(shuffle=False, **changes)
    assert_same_fit(in_order.fit(X), make(shuffle=False, **changes).fit(blocks))


@each_estimator
@few_examples
@given(cuts=st.lists(st.integers(0, 120), max_size=5), batch_size=st.integers(1, 130))
def test_blocks_of_any_size(make, cuts, batch_size):
    # Catches batches that end where a block ends.
    X = data()
    blocks = np.split(X, sorted(cuts))
    shared = {"batch_size": batch_size, "shuffle": False}
    assert_same_fit(make(**shared).fit(blocks), make(**shared).fit(X))
    once = make(max_iter=1, **shared).fit(iter(blocks), n_samples=120)
    assert_same_fit(once, make(max_iter=1, **shared).fit(X))
    constant = make(max_iter=1, decay=0, **shared)
    assert_same_fit(constant.fit(iter(blocks)), make(max_iter=1, decay=0, **shared).fit(X))
    assert_same_fit(make(**shared).partial_fit(iter(blocks)), make(**shared).partial_fit(X))


@each_estimator
def test_transform_and_score_read_files(make, tmp_path):
    # Catches methods that know arrays only.
    X = data(5000)
    mapped, shards, _ = stored(X, tmp_path, [1234])
    estimator = make(max_iter=1).fit(X)
    for X_elsewhere in (mapped, str(shards), open_shards(shards)):
        assert_array_equal(estimator.transform(X_elsewhere), estimator.transform(X))
        assert estimator.score(X_elsewhere) == estimator.score(X)
    sparse = make(max_iter=1, sparse_output=True).fit(X)
    assert_array_equal(sparse.transform(shards).toarray(), estimator.transform(X))


def test_iterators_are_one_epoch():
    # Catches passes over nothing, and a rate that cannot fall without a word.
    X = data()
    with pytest.raises(ValueError, match=r"TopKAutoencoder: max_iter=4.*only once.*max_iter=1"):
        small(TopKAutoencoder).fit(iter([X]))
    with pytest.warns(UserWarning, match=r"cannot decay \(decay=0.2\).*n_samples") as seen:
        sae = small(TopKAutoencoder, max_iter="auto").fit(block for block in [X, X])
    assert len(seen) == 1 and seen[0].filename == __file__
    assert sae.n_iter_ == 1 and sae.n_steps_ == 8
    with pytest.raises(ValueError, match=r"120.*500|500.*120"):
        small(TopKAutoencoder, max_iter=1).fit(iter([X]), n_samples=500)
    read = small(TopKAutoencoder, max_iter=1).fit(iter([X, X]), n_samples=150)
    assert read.n_steps_ == 5


def test_what_iterables_cannot(tmp_path):
    # Catches errors from the depths.
    blocks = [data(), data()]
    with pytest.raises(TypeError, match=r"TopKAutoencoder: .*early_stopping"):
        small(TopKAutoencoder, early_stopping=True).fit(blocks)
    sae = small(TopKAutoencoder).fit(blocks)
    for method in (sae.transform, sae.score, sae.fit_transform):
        with pytest.raises(
            TypeError, match=r"TopKAutoencoder: (transform|score|fit_transform) needs"
        ):
            method(blocks)
    with pytest.raises(ValueError, match=r"MatchingPursuitCoder: .*all samples.*n_samples"):
        small(MatchingPursuitCoder, dict_update="mod", max_iter=1, decay=0).fit(iter(blocks))
    coder = small(MatchingPursuitCoder, dict_update="mod", max_iter=1)
    assert coder.fit(iter(blocks), n_samples=240).n_steps_ == 1


def test_n_samples_of_an_array():
    # Catches a number that is believed although it is wrong.
    with pytest.raises(ValueError, match=r"TopKAutoencoder: n_samples=100, but X has 120 rows"):
        small(TopKAutoencoder).fit(data(), n_samples=100)
    assert fitted(small(TopKAutoencoder).fit(data(), n_samples=120.0))
    for n_samples, error in [
        (0, ValueError),
        (-3, ValueError),
        ("120", TypeError),
        (2.5, TypeError),
    ]:
        with pytest.raises(error, match="TopKAutoencoder: n_samples="):
            small(TopKAutoencoder, max_iter=1).fit(iter([data()]), n_samples=n_samples)


def test_widths_must_agree(tmp_path):
    # Catches a fitted model that reads files of another width.
    np.save(tmp_path / "5.npy", data(40, 5))
    sae = small(TopKAutoencoder).fit(data())
    for method in (sae.transform, sae.score, sae.partial_fit):
        with pytest.raises(ValueError, match=r"5 features.* 6"):
            method(str(tmp_path / "5.npy"))
    assert sae.n_features_in_ == 6


def test_blocks_that_are_made_by_a_model():
    # Catches buffers shared by training and by an estimator that yields its rows on another thread.
    X = data(60_000, 4)
    other, pieces = small(TopKAutoencoder).fit(X[:200]), np.split(X, 60)

    def residuals():
        online = small(TopKAutoencoder)
        for rows in pieces:
            online.partial_fit(rows)
            yield rows - other.inverse_transform(other.transform(rows))

    expected = [rows - other.inverse_transform(other.transform(rows)) for rows in pieces]
    make = {"max_iter": 1, "batch_size": 100}
    found = small(TopKAutoencoder, **make).fit(residuals(), n_samples=60_000)
    assert_same_fit(found, small(TopKAutoencoder, **make).fit(iter(expected), n_samples=60_000))


def test_dictionaries_fitted_to_what_is_read_once():
    # Catches a dictionary that is learnt without the first block.
    X = data()
    coder = small(MatchingPursuitCoder, dictionary=small(TopKAutoencoder, max_iter=1))
    coder.set_params(n_components="auto")
    with pytest.raises(ValueError, match=r"(?s)MatchingPursuitCoder: dictionary=.*only once"):
        coder.fit(iter([X, X]), n_samples=240)
    assert_array_equal(coder.fit([X, X]).components_, coder.fit(np.vstack([X, X])).components_)
    with pytest.raises(ValueError, match=r"(?s)dictionary=KMeans.*arrays only"):
        coder.set_params(dictionary=KMeans(2)).fit([X, X])


def test_grid_search_over_shards(tmp_path):
    # Catches shards that scikit-learn cannot index.
    X = data(300)
    _, shards, _ = stored(X, tmp_path, [100])
    search = GridSearchCV(small(TopKAutoencoder), {"k": [2, 4]}, cv=2, n_jobs=2)
    of_array = search.fit(X).cv_results_["mean_test_score"]
    of_shards = search.fit(open_shards(shards)).cv_results_["mean_test_score"]
    np.testing.assert_allclose(of_shards, of_array)
    assert_array_equal(np.asarray(open_shards(shards)), X)


class Counting:
    """Rows in chunks that are slow to read, like those of h5py."""

    def __init__(self, X, n):
        self.X, self.shape, self.dtype, self.chunks = X, X.shape, X.dtype, (n, X.shape[1])
        self.n_read = 0

    def __getitem__(self, key):
        self.n_read += self.X[key].shape[0]
        return self.X[key]


def test_chunks_are_read_once(monkeypatch):
    # Catches transform and score that decompress a chunk for every few rows of it.
    X = data(20_000)
    sae = small(TopKAutoencoder, n_jobs=1).fit(X[:200])
    for method in (sae.transform, sae.score):
        store = Counting(X, 10_000)
        assert_array_equal(method(store), method(X))
        assert store.n_read <= 40_000  # two chunks, each once for each of two threads at most


@pytest.mark.parametrize("cls", [MatchingPursuitCoder, LassoCoder])
def test_given_dictionaries_validate_streams(cls):
    # Catches a given dictionary that reads a whole stream, or none of it.
    X = data()
    coder = small(cls, dictionary=np.eye(6), n_components="auto").fit(iter([X, X]))
    assert coder.components_.shape == (6, 6) and coder.transform(X).shape == (120, 6)


@pytest.mark.parametrize(
    ("X", "error"),
    [
        ("no_such_folder", FileNotFoundError),
        ([], ValueError),
        (iter([]), ValueError),
        (iter([np.zeros(3)]), ValueError),
        (iter([np.zeros((0, 3))]), ValueError),
        (iter([(np.zeros((5, 3)), np.zeros(5))]), ValueError),
        ({"a": 1}, (TypeError, ValueError)),
        (3, (TypeError, ValueError)),
        (None, (TypeError, ValueError)),
    ],
)
def test_odd_input(X, error):
    # Catches odd things that are taken for data, or end in an error from the depths.
    with pytest.raises(error) as info:
        small(TopKAutoencoder, max_iter=1, decay=0).fit(X)
    assert len(str(info.value)) > 20


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from skdict import TopKAutoencoder

def resident(kind):
    return int(Path("/proc/self/status").read_text().split(kind + ":")[1].split()[0]) / 1024

X = np.load(sys.argv[1], mmap_mode="r") if sys.argv[1].endswith(".npy") else sys.argv[1]
sae = TopKAutoencoder(64, k=4, max_iter=1, batch_size=2048, random_state=0)
sae.fit(np.random.default_rng(0).standard_normal((4096, 256)).astype(np.float16))  # compiles
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
sae.fit(X)
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc of Linux")
@pytest.mark.parametrize("kind", ["map", "shards"])
def test_memory_does_not_grow_with_the_data(kind, tmp_path):
    # Catches files that are read whole, or whose pages stay resident.
    n_rows = 400_000  # 205 MB
    X = np.lib.format.open_memmap(tmp_path / "0.npy", "w+", dtype=np.float16, shape=(n_rows, 256))
    block = np.random.default_rng(1).standard_normal((n_rows // 8, 256)).astype(np.float16)
    for i in range(8):
        X[i * len(block) : (i + 1) * len(block)] = block
    X.flush()
    where = tmp_path / "0.npy" if kind == "map" else tmp_path
    command = [sys.executable, "-c", MEMORY, str(where)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Three buffers of 32,768 rows are 50 MB; the rest are batches.
    assert float(done.stdout) < 120
