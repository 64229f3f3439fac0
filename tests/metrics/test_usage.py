import math
import warnings

import libraries
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import explained_variance_score, r2_score

from skdict.backend import to_numpy
from skdict.metrics import (
    _blocks,
    dead_fraction,
    dense_fraction,
    explained_variance,
    feature_density,
    mean_l0,
    shrinkage,
)

USAGE = (mean_l0, feature_density, dead_fraction, dense_fraction)
RECONSTRUCTION = (explained_variance, shrinkage)
SPARSE = (sp.csr_array, sp.csc_array, sp.csr_matrix, sp.csc_matrix, sp.coo_array, sp.lil_array)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=libraries.LIBRARIES)
def library(request):
    return libraries.load(request.param)


@pytest.fixture
def small_blocks(monkeypatch):
    """Seven entries a block, so that a small matrix has many blocks, the last of them short."""
    monkeypatch.setattr(_blocks, "BLOCK_ENTRIES", 7)


@st.composite
def problems(draw):
    """Data with an offset, and a reconstruction of any quality."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples, n_features = draw(st.integers(2, 30)), draw(st.integers(1, 6))
    X = rng.normal(size=(n_samples, n_features)) + draw(st.sampled_from([0.0, 3.0, -1e4]))
    noise = rng.normal(size=X.shape) * draw(st.sampled_from([0.01, 0.5, 3.0]))
    return X, X + noise + draw(st.sampled_from([0.0, 0.7]))


codes = arrays(
    np.float64,
    st.tuples(st.integers(1, 12), st.integers(1, 6)),
    elements=st.sampled_from([0.0, -0.0, 0.0, 1.0, -2.5, 1e-300]),
)


# explained_variance


@given(problems())
def test_explained_variance_is_variance_weighted_r2(problem):
    # would catch a wrong mean, a mean over columns or blocks, and residuals that lose their bias
    X, X_hat = problem
    expected = r2_score(X, X_hat, multioutput="variance_weighted")
    assert_allclose(explained_variance(X, X_hat), expected, rtol=1e-9, atol=1e-9)


def test_explained_variance_is_not_the_score_of_scikit_learn(rng):
    # would catch the two traps that the docstring names: free bias, equal weight of columns
    X = rng.normal(size=(50, 3)) * [1.0, 5.0, 0.1]
    shifted = X + 1.0
    assert explained_variance_score(X, shifted) == pytest.approx(1)
    assert explained_variance(X, shifted) < 0.95
    scrambled = X.copy()
    scrambled[:, 2] = 0
    assert explained_variance_score(X, scrambled) < 0.7 < 0.99 < explained_variance(X, scrambled)


@given(problems(), st.sampled_from([0.125, 1.0, 64.0]), st.integers(0, 2**32 - 1))
def test_reconstruction_scores_ignore_order_and_scale(problem, scale, seed):
    # would catch a dependence on the row that the sums are shifted by, and an absolute tolerance
    X, X_hat = problem
    order = np.random.default_rng(seed).permutation(len(X))
    for score in RECONSTRUCTION:
        assert_allclose(score(scale * X[order], scale * X_hat[order]), score(X, X_hat), rtol=1e-7)


def test_reconstruction_scores_are_those_of_one_block(rng, monkeypatch):
    # would catch a short last block left out or counted twice, and means taken block by block
    X = rng.normal(size=(23, 3)).cumsum(axis=0)
    X_hat = 0.8 * X + rng.normal(size=X.shape)
    whole = [score(X, X_hat) for score in RECONSTRUCTION]
    for entries in (1, 3, 7, 30, 69, 70):
        monkeypatch.setattr(_blocks, "BLOCK_ENTRIES", entries)
        assert_allclose([score(X, X_hat) for score in RECONSTRUCTION], whole, rtol=1e-12)


def test_known_values_of_explained_variance(rng):
    # would catch a sign or an offset: perfect, the column means, twice the distance from the mean
    X = rng.normal(size=(40, 5))
    mean = X.mean(axis=0)
    assert explained_variance(X, X) == 1
    assert explained_variance(X, np.tile(mean, (40, 1))) == pytest.approx(0, abs=1e-12)
    assert explained_variance(X, mean + 3 * (X - mean)) == pytest.approx(-3)


def test_sums_run_in_float64(rng):
    # float32 sums of 300,000 squares about a mean of 1000 are off in the second digit or worse
    X = (1000 + rng.normal(size=(300_000, 2))).astype(np.float32)
    X_hat = (X + 0.1 * rng.normal(size=X.shape)).astype(np.float32)
    wide, wide_hat = X.astype(np.float64), X_hat.astype(np.float64)
    centred, centred_hat = wide - wide.mean(axis=0), wide_hat - wide.mean(axis=0)
    expected = 1 - ((wide_hat - wide) ** 2).sum() / (centred**2).sum()
    assert explained_variance(X, X_hat) == pytest.approx(expected, rel=1e-10)
    expected = (centred_hat**2).sum() / (centred * centred_hat).sum()
    assert shrinkage(X, X_hat) == pytest.approx(expected, rel=1e-10)


def test_memory_map_is_read_in_blocks(tmp_path, rng):
    # would catch a copy of the whole: float64 versions of X and X_hat take 64 MB here
    import tracemalloc

    paths = tmp_path / "X.npy", tmp_path / "X_hat.npy"
    for path in paths:
        np.save(path, rng.normal(size=(40_000, 100)).astype(np.float32))
    X, X_hat = (np.load(path, mmap_mode="r") for path in paths)
    tracemalloc.start()
    explained_variance(X, X_hat), shrinkage(X, X_hat), mean_l0(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float16, np.float32])
def test_dtypes(rng, dtype):
    # would catch differences of unsigned integers that wrap, and float16 sums that overflow
    X, X_hat = (rng.integers(0, 2, size=(200, 4)) * 100).astype(dtype), np.zeros((200, 4), dtype)
    expected = explained_variance(X.astype(float), X_hat.astype(float))
    assert explained_variance(X, X_hat) == pytest.approx(expected)
    assert mean_l0(X) == np.count_nonzero(X) / 200


@pytest.mark.parametrize("row", [[0.0, 0.0], [0.1, -1e8], [1 / 3, 1e-30]])
@pytest.mark.parametrize("score", RECONSTRUCTION)
def test_constant_data_are_undefined(score, row):
    # would catch 0/0, and rounding of the mean of 0.1 taken for variance
    X = np.tile(row, (7, 1))
    for X_hat in (X, X + 1.0):
        with pytest.warns(UserWarning, match=f"{score.__name__} is undefined and NaN"):
            assert math.isnan(score(X, X_hat))


def test_one_sample_is_undefined():
    # would catch a perfect score for the smallest possible evaluation set
    with pytest.warns(UserWarning, match="every column of X is constant"):
        assert math.isnan(explained_variance([[1.0, 2.0]], [[1.0, 2.0]]))


# shrinkage


@given(problems(), st.sampled_from([0.1, 0.9, 1.0, 1.5]), st.integers(1, 3))
def test_shrinkage_of_a_scaled_projection_is_the_scale(problem, scale, rank):
    # would catch the reciprocal, the square root, and a forgotten mean: all projections have 1
    X, _ = problem
    mean = X.mean(axis=0)
    V = np.linalg.svd(X - mean, full_matrices=False)[2][:rank]
    assert_allclose(shrinkage(X, mean + scale * (X - mean) @ V.T @ V), scale, rtol=1e-6)


@given(problems())
def test_shrinkage_is_the_best_rescaling(problem):
    # would catch any formula that is not the argmin: least squares of X on X_hat gives 1/gamma
    X, X_hat = problem
    mean = X.mean(axis=0)
    centred, centred_hat = (X - mean).ravel(), (X_hat - mean).ravel()
    best = np.linalg.lstsq(centred_hat[:, None], centred, rcond=None)[0][0]
    assert_allclose(shrinkage(X, X_hat) * best, 1, rtol=1e-6)


@given(problems(), st.integers(0, 2**32 - 1))
def test_constant_reconstruction_has_no_shrinkage(problem, seed):
    # dead codes: the decoder bias is never quite the mean, and rounding would give +-1e16
    X, _ = problem
    bias = X.mean(axis=0) + np.random.default_rng(seed).normal(size=X.shape[1])
    with pytest.warns(UserWarning, match="not all zero"):
        assert math.isnan(shrinkage(X, np.tile(bias, (len(X), 1)).astype(np.float32)))


def test_opposite_reconstruction_has_negative_shrinkage(rng):
    # would catch an absolute value or a clip that hides a sign error in a decoder
    X = rng.normal(size=(20, 3))
    X -= X.mean(axis=0)
    assert shrinkage(X, -0.5 * X) == pytest.approx(-0.5)


# counts


@given(codes)
def test_counts_agree_with_their_definition(Z):
    # would catch "> 0" or "sum > 0" for "non-zero" (negative codes, 1e-300), and a swapped axis
    fired = Z != 0
    density = fired.mean(axis=0)
    assert mean_l0(Z) == pytest.approx(fired.sum(axis=1).mean())
    assert_allclose(feature_density(Z), density, rtol=1e-15)
    assert dead_fraction(Z) == pytest.approx(np.mean(~fired.any(axis=0)))
    assert dense_fraction(Z) == pytest.approx(np.mean(density > 0.1))
    assert mean_l0(Z) == pytest.approx(feature_density(Z).sum())


@given(codes, st.sampled_from(SPARSE))
def test_sparse_codes_count_as_dense_ones(Z, container):
    # would catch explicit zeros that count, and trailing columns without entries that get lost
    S = container(Z)
    if S.format in ("csr", "csc"):
        S.data[::2] = 0
    dense = S.toarray()
    assert mean_l0(S) == mean_l0(dense)
    assert_array_equal(feature_density(S), feature_density(dense))
    assert dead_fraction(S) == dead_fraction(dense)
    assert dense_fraction(S, threshold=0.3) == dense_fraction(dense, threshold=0.3)


def test_duplicate_entries_are_one_and_the_input_stays():
    # entries 1 and -1 at one place are a zero; counting them must not tidy the caller's matrix
    Z = sp.csr_array((np.array([1.0, -1.0, 2.0]), np.array([0, 0, 1]), np.array([0, 2, 3])), (2, 3))
    assert mean_l0(Z) == 0.5
    assert_array_equal(feature_density(Z), [0, 0.5, 0])
    assert_array_equal(Z.data, [1, -1, 2])
    assert_array_equal(Z.indices, [0, 0, 1])


def test_sparse_codes_without_entries():
    # an estimator whose codes are all zero returns just this
    Z = sp.csr_array((4, 3))
    assert mean_l0(Z) == 0
    assert dead_fraction(Z) == 1
    assert_array_equal(feature_density(Z), np.zeros(3))


@pytest.mark.parametrize("count", range(11))
def test_dense_threshold_is_exclusive(count):
    # would catch >= and a density whose rounding passes its own value, such as 3 * (1 / 10)
    Z = (np.arange(10) < count).astype(float)[:, None]
    assert dense_fraction(Z, threshold=count / 10) == 0
    assert dense_fraction(Z, threshold=max(0, count - 0.5) / 10) == (count > 0)


@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_counts_beyond_a_byte(dtype):
    # would catch sums kept in the uint8 that masks are cast to
    assert_array_equal(feature_density(np.ones((1000, 2), dtype)), [1, 1])


# array libraries


def test_every_library_gives_the_same(library, rng, small_blocks):
    # would catch a function that only numpy has, and results that leave the library or are 0-d
    X, noise = rng.normal(size=(2, 11, 3))
    Z = np.maximum(noise, 0)
    X_lib, X_hat_lib, Z_lib = (library.asarray(array) for array in (X, X + noise, Z))
    for score in RECONSTRUCTION:
        value = score(X_lib, X_hat_lib)
        assert type(value) is float
        assert value == pytest.approx(score(X, X + noise), rel=1e-12)
    for count in (mean_l0, dead_fraction, dense_fraction):
        assert type(count(Z_lib)) is float
        assert count(Z_lib) == count(Z)
    density = feature_density(Z_lib)
    assert type(density) is type(Z_lib)
    assert density.dtype == library.float64
    assert_array_equal(to_numpy(density), feature_density(Z))
    assert mean_l0(Z_lib != 0) == mean_l0(Z)


def test_libraries_and_devices_do_not_mix():
    # would catch a silent copy, or an error from deep inside that names neither argument
    strict = pytest.importorskip("array_api_strict")
    X = np.eye(3)
    with pytest.raises(TypeError, match="X is a numpy array but X_hat is a array_api_strict array"):
        explained_variance(X, strict.asarray(X))
    there = strict.asarray(X, device=strict.Device("device1"))
    with pytest.raises(ValueError, match="Move one of them"):
        shrinkage(strict.asarray(X), there)


def test_data_frames_and_lists_are_read(rng):
    # would catch a namespace lookup that fails on what numpy can read
    pd = pytest.importorskip("pandas")
    X, X_hat = rng.normal(size=(2, 6, 2))
    expected = explained_variance(X, X_hat)
    assert explained_variance(pd.DataFrame(X), pd.DataFrame(X_hat)) == expected
    assert explained_variance(X.tolist(), X_hat.tolist()) == expected


# refusals

BAD = [
    (np.ones(3), ValueError, r"1 dimension\(s\), shape \(3,\)"),
    (np.ones((2, 2, 2)), ValueError, "3 dimension"),
    (3.0, ValueError, "0 dimension"),
    (np.ones((0, 3)), ValueError, "empty"),
    (np.ones((3, 0)), ValueError, "empty"),
    ([["a", "b"]], TypeError, "dtype <U1, and real numbers are needed"),
    (np.array([[1, None]]), TypeError, "dtype object"),
    (np.ones((2, 2), dtype=complex), TypeError, "dtype complex128"),
    ([[1.0, 2.0], [3.0]], ValueError, "rows of equal length"),
    (np.array([[1.0, np.nan]]), ValueError, "NaN or infinity"),
    (np.array([[np.inf, 1.0]], dtype=np.float32), ValueError, "NaN or infinity"),
]


@pytest.mark.parametrize("bad, error, message", BAD)
def test_bad_input_is_refused_by_name(bad, error, message):
    # would catch NaN that counts as non-zero or turns the score NaN, and nameless messages
    for count in USAGE:
        with pytest.raises(error, match=f"{count.__name__}: Z .*{message}"):
            count(bad)
    good = np.ones(np.shape(bad)) if error is ValueError and "NaN" in message else np.ones((1, 2))
    for score in RECONSTRUCTION:
        with pytest.raises(error, match=f"{score.__name__}: X .*{message}"):
            score(bad, good)
        with pytest.raises(error, match=f"{score.__name__}: X_hat .*{message}"):
            score(good, bad)


@pytest.mark.parametrize("score", RECONSTRUCTION)
def test_shapes_must_agree(score):
    # would catch broadcasting: one row, or one column, against many
    X = np.arange(6.0).reshape(3, 2)
    for shape in ((1, 2), (3, 1), (2, 3), (4, 2)):
        with pytest.raises(ValueError, match=r"X_hat has shape .* but X has shape \(3, 2\)"):
            score(X, np.ones(shape))


def test_sparse_input_is_refused_or_checked():
    # would catch an object array made of a sparse matrix, and NaN among its entries
    S = sp.csr_array(np.eye(3))
    with pytest.raises(TypeError, match=r"X is a sparse csr matrix.*X\.toarray\(\)"):
        explained_variance(S, np.eye(3))
    with pytest.raises(ValueError, match="mean_l0: Z contains NaN"):
        mean_l0(S * np.nan)
    with pytest.raises(TypeError, match="complex"):
        mean_l0(S * 1j)
    with pytest.raises(ValueError, match="empty"):
        mean_l0(sp.csr_array((0, 3)))


@pytest.mark.parametrize(
    "threshold, error",
    [
        (-0.1, ValueError),
        (1.5, ValueError),
        (math.nan, ValueError),
        ("a", TypeError),
        (True, TypeError),
    ],
)
def test_threshold_is_checked(threshold, error):
    # would catch NaN, which compares false with everything, and percent in place of shares
    with pytest.raises(error, match="dense_fraction: threshold="):
        dense_fraction(np.eye(2), threshold=threshold)


def test_overflow_is_an_error():
    # would catch inf / inf, a NaN that nothing explains
    X = np.array([[1e200], [-1e200]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for score in RECONSTRUCTION:
            with pytest.raises(ValueError, match="range of float64"):
                score(X, X)


def test_inputs_are_left_alone(rng):
    # would catch centring in place: float64 blocks are views of the caller's array
    pair = rng.normal(size=(2, 9, 3))
    before = pair.copy()
    explained_variance(*pair), shrinkage(*pair)
    assert np.array_equal(pair, before)
