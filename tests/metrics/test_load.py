import math

import libraries
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from libraries import each_library
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import entropy

from skdict.metrics import (
    DensityHistogram,
    _blocks,
    density_histogram,
    feature_density,
    load_entropy,
    load_gini,
)

LOADS = (load_entropy, load_gini)
SPARSE = (sp.csr_array, sp.csc_array, sp.csr_matrix, sp.coo_array)

codes = arrays(
    np.float64,
    st.tuples(st.integers(1, 12), st.integers(2, 7)),
    elements=st.sampled_from([0.0, -0.0, 0.0, 1.0, -2.5, 1e-300]),
)
firing = codes.filter(lambda Z: bool(Z.any()))


def naive_gini(p):
    """Mean absolute difference of all pairs, over twice the mean."""
    return np.abs(p[:, None] - p[None, :]).mean() / (2 * p.mean())


# the two shares


@given(firing)
def test_entropy_is_that_of_scipy(Z):
    # would catch 0 log 0, another base than m, and shares of values in place of counts
    expected = entropy(feature_density(Z)) / np.log(Z.shape[1])
    assert load_entropy(Z) == pytest.approx(expected, abs=1e-12)


@given(firing)
def test_gini_is_that_of_all_pairs(Z):
    # would catch a descending order, k from 0, and a missing factor of two
    assert load_gini(Z) == pytest.approx(naive_gini(feature_density(Z)), abs=1e-12)


@given(firing)
def test_loads_are_bounded(Z):
    # would catch rounding that passes an end, and a negative zero that prints as -0.0
    m = Z.shape[1]
    assert 0 <= load_entropy(Z) <= 1
    assert 0 <= load_gini(Z) <= 1 - 1 / m + 1e-15
    assert all(math.copysign(1, load(Z)) == 1 for load in LOADS)


@given(firing, st.integers(0, 2**32 - 1), st.sampled_from([1e-5, -3.0, 1e200]))
def test_loads_ignore_order_and_size(Z, seed, scale):
    # would catch sums of magnitudes, and a result that hangs on the order of samples or latents
    rng = np.random.default_rng(seed)
    other = (Z != 0) * scale
    other = rng.permutation(rng.permutation(other, axis=0), axis=1)
    for load in LOADS:
        assert load(other) == pytest.approx(load(Z), abs=1e-12)


@given(firing)
def test_loads_ignore_repeated_samples(Z):
    # would catch a normalisation by the number of samples
    for load in LOADS:
        assert load(np.vstack([Z, Z, Z])) == pytest.approx(load(Z), abs=1e-12)


@pytest.mark.parametrize("m", [2, 3, 7, 10, 1000])
def test_extremes_are_exact(m):
    # would catch ends that are only nearly reached, which a comparison with 0 or 1 then misses
    assert load_entropy(np.eye(m)) == load_entropy(np.ones((3, m))) == 1
    assert load_gini(np.eye(m)) == load_gini(np.ones((3, m))) == 0
    one = np.zeros((5, m))
    one[:2, m // 2] = 1
    assert load_entropy(one) == 0
    assert load_gini(one) == pytest.approx(1 - 1 / m, rel=1e-15)


def test_loads_turn_opposite_ways(rng):
    # would catch an entropy subtracted from one: the more a few latents do, the more uneven
    shares = np.array([1.0, 0.5, 0.2, 0.1])
    even, uneven = (rng.random((2000, 4)) < p for p in (0.5 * np.ones(4), shares**2))
    assert load_entropy(even) > load_entropy(uneven)
    assert load_gini(even) < load_gini(uneven)


def test_one_latent():
    # equal load and "one does all" are the same thing here: Gini 0 = 1 - 1/m, entropy 0/0
    assert load_gini(np.ones((3, 1))) == 0
    with pytest.warns(UserWarning, match="load_entropy is undefined and NaN.*one column"):
        assert math.isnan(load_entropy(np.ones((3, 1))))


@pytest.mark.parametrize("Z", [np.zeros((4, 3)), sp.csr_array((4, 3))])
@pytest.mark.parametrize("load", LOADS)
def test_codes_that_are_all_zero_have_no_load(load, Z):
    # would catch 0/0, and a warning that points into the package
    with pytest.warns(UserWarning, match=f"{load.__name__} is undefined and NaN") as caught:
        assert math.isnan(load(Z))
    assert caught[0].filename == __file__


# histogram


@given(codes, st.integers(1, 9))
def test_every_latent_is_counted_once(Z, bins):
    # would catch the rarest or the commonest latents lost to a rounded edge, and log10(0)
    counts, edges, n_dead = density_histogram(Z, bins=bins)
    density = feature_density(Z)
    assert counts.sum() + n_dead == Z.shape[1]
    assert n_dead == np.sum(density == 0)
    assert edges.shape == (bins + 1,)
    if len(Z) > 1:
        assert_allclose(edges[[0, -1]], [-np.log10(len(Z)), 0], atol=1e-12)


@pytest.mark.parametrize("n_samples", [3, 7, 49, 1000, 12345])
def test_rarest_latents_are_in_the_first_bin(n_samples):
    # would catch log10(1/n) rounded otherwise than log10 of the density 1/n
    Z = sp.csr_array(([1.0], ([0], [0])), shape=(n_samples, 1))
    assert density_histogram(Z, bins=5).counts.tolist() == [1, 0, 0, 0, 0]
    edges = density_histogram(Z).edges
    assert density_histogram(Z, bins=edges).counts.sum() == 1


@given(codes, st.lists(st.floats(-4, 1), min_size=2, max_size=6, unique=True))
def test_histogram_over_given_edges(Z, edges):
    # would catch clipping into the outer bins, and edges read as densities
    edges = np.sort(edges)
    density = feature_density(Z)
    result = density_histogram(Z, bins=edges)
    expected, _ = np.histogram(np.log10(density[density > 0]), bins=edges)
    assert_array_equal(result.counts, expected)
    assert_array_equal(result.edges, edges)
    assert result.n_dead == np.sum(density == 0)


def test_histogram_of_known_densities():
    # would catch natural logarithms and an order from dense to rare
    Z = np.zeros((1000, 5))
    for latent, count in enumerate((1, 5, 50, 500)):
        Z[:count, latent] = 1
    histogram = density_histogram(Z, bins=3)
    assert_array_equal(histogram.counts, [2, 1, 1])
    assert_allclose(histogram.edges, [-3, -2, -1, 0])
    assert histogram.n_dead == 1


def test_histogram_without_life_or_with_one_sample():
    # would catch a failure on no values at all, and a range of no width
    histogram = density_histogram(np.zeros((10, 3)), bins=4)
    assert_array_equal(histogram.counts, [0, 0, 0, 0])
    assert histogram.n_dead == 3
    histogram = density_histogram([[1.0, 0.0, 2.0]], bins=3)
    assert_array_equal(histogram.counts, [0, 2, 0])
    assert_allclose(histogram.edges, [-0.5, -1 / 6, 1 / 6, 0.5])


def test_given_edges_are_copied():
    # would catch a result that changes with the caller's array
    edges = np.array([-2.0, -1.0, 0.0])
    histogram = density_histogram(np.eye(3), bins=edges)
    edges[0] = 5
    assert histogram.edges[0] == -2


@pytest.mark.parametrize(
    "bins, error",
    [
        (0, ValueError),
        (-3, ValueError),
        (True, TypeError),
        (2.5, TypeError),
        (None, TypeError),
        ("auto", TypeError),
        ([0.0], ValueError),
        ([], ValueError),
        ([0.0, -1.0], ValueError),
        ([-1.0, -1.0, 0.0], ValueError),
        ([-1.0, math.nan, 0.0], ValueError),
        ([[-1.0, 0.0]], ValueError),
    ],
)
def test_bins_are_checked(bins, error):
    # would catch numpy's own messages, which name neither function nor parameter
    with pytest.raises(error, match=r"density_histogram: bins=.*Choose an integer >= 1"):
        density_histogram(np.eye(2), bins=bins)


# kinds of input


@given(codes, st.sampled_from(SPARSE))
def test_sparse_codes_count_as_dense_ones(Z, container):
    # would catch explicit zeros that count, and latents without entries that get lost
    S = container(Z)
    S.data[::2] = 0
    dense = S.toarray()
    for got, expected in zip(density_histogram(S), density_histogram(dense), strict=True):
        assert_array_equal(got, expected)
    if dense.any():
        assert [load(S) for load in LOADS] == [load(dense) for load in LOADS]


@each_library
def test_every_library_gives_the_same(library, rng, monkeypatch):
    # would catch a numpy function applied to a foreign array, and results that are not numpy's
    xp = libraries.load(library)
    monkeypatch.setattr(_blocks, "BLOCK_ENTRIES", 7)
    Z = np.maximum(rng.normal(size=(11, 3)), 0)
    for load in LOADS:
        assert type(load(xp.asarray(Z))) is float
        assert load(xp.asarray(Z)) == load(Z) == load(xp.asarray(Z) != 0)
    histogram = density_histogram(xp.asarray(Z), bins=xp.asarray([-2.0, -0.3, 0.0]))
    assert isinstance(histogram, DensityHistogram)
    assert type(histogram.counts) is type(histogram.edges) is np.ndarray
    assert type(histogram.n_dead) is int
    assert_array_equal(histogram.counts, density_histogram(Z, bins=[-2.0, -0.3, 0.0]).counts)


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (np.ones(3), ValueError, r"1 dimension\(s\)"),
        (np.ones((0, 3)), ValueError, "empty"),
        (np.ones((2, 2), dtype=complex), TypeError, "dtype complex128"),
        (np.array([[1.0, np.nan]]), ValueError, "NaN or infinity"),
        (sp.csr_array([[1.0, np.inf]]), ValueError, "NaN or infinity"),
    ],
)
@pytest.mark.parametrize("function", [*LOADS, density_histogram])
def test_bad_codes_are_refused_by_name(function, bad, error, message):
    # would catch NaN that counts as non-zero, and messages that name another function
    with pytest.raises(error, match=f"{function.__name__}: Z .*{message}"):
        function(bad)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
