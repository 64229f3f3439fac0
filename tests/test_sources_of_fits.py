"""Estimators on whatever yields rows: the same rows give the same bits."""

import subprocess
import sys

import numpy as np
import pytest
from estimators import assert_same_fit, data, each_estimator, fitted, small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

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
    for method in (sae.transform, sae.score):
        with pytest.raises(TypeError, match=r"TopKAutoencoder: (transform|score) needs rows"):
            method(blocks)
    with pytest.raises(ValueError, match=r"MatchingPursuitCoder: .*all samples.*n_samples"):
        small(MatchingPursuitCoder, dict_update="mod", max_iter=1, decay=0).fit(iter(blocks))
    coder = small(MatchingPursuitCoder, dict_update="mod", max_iter=1)
    assert coder.fit(iter(blocks), n_samples=240).n_steps_ == 1


def test_n_samples_of_an_array():
    # Catches a number that is believed although it is wrong.
    with pytest.raises(ValueError, match=r"TopKAutoencoder: n_samples=100, but X has 120 rows"):
        small(TopKAutoencoder).fit(data(), n_samples=100)
    assert fitted(small(TopKAutoencoder).fit(data(), n_samples=120))


def test_widths_must_agree(tmp_path):
    # Catches a fitted model that reads files of another width.
    np.save(tmp_path / "5.npy", data(40, 5))
    sae = small(TopKAutoencoder).fit(data())
    for method in (sae.transform, sae.score, sae.partial_fit):
        with pytest.raises(ValueError, match=r"5 features.* 6"):
            method(str(tmp_path / "5.npy"))
    assert sae.n_features_in_ == 6


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
