import math

import libraries
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from libraries import each_library
from numpy.testing import assert_allclose

from skdict.metrics import coherence, coherence_excess, mutual_coherence, welch_bound

COHERENCES = (mutual_coherence, coherence_excess)


@st.composite
def dictionaries(draw):
    """Two to twelve atoms in few or many dimensions, one of them perhaps zero or repeated."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    D = rng.normal(size=(draw(st.integers(2, 12)), draw(st.integers(1, 6))))
    D[0] = draw(st.sampled_from([D[0], D[-1], np.zeros(D.shape[1])]))
    return D


def brute_force(D):
    """One pair at a time, straight from the definition."""
    largest = 0.0
    for i, a in enumerate(D):
        for b in D[:i]:
            lengths = np.linalg.norm(a) * np.linalg.norm(b)
            largest = max(largest, abs(a @ b) / lengths if lengths > 0 else 0.0)
    return largest


def mercedes_benz():
    angles = np.deg2rad([90, 210, 330])
    return np.column_stack([np.cos(angles), np.sin(angles)])


@given(dictionaries(), st.integers(1, 200))
def test_coherence_is_that_of_all_pairs_in_any_blocks(D, entries):
    # would catch pairs across blocks left out, an atom paired with itself, a short last block
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coherence, "BLOCK_ENTRIES", entries)
        assert mutual_coherence(D) == pytest.approx(brute_force(D), abs=1e-12)


@given(dictionaries(), st.integers(0, 2**32 - 1))
def test_coherence_ignores_lengths_signs_and_order(D, seed):
    # would catch a missing normalisation, a missing absolute value, and pairs met one way only
    rng = np.random.default_rng(seed)
    factors = rng.choice([-1.0, 1.0], size=(len(D), 1)) * 10 ** rng.uniform(-9, 9, (len(D), 1))
    other = rng.permutation(factors * D)
    for score in COHERENCES:
        assert score(other) == pytest.approx(score(D), abs=1e-12)


@given(dictionaries())
def test_coherence_ignores_rotations(D):
    # would catch a dependence on the coordinates, such as one left out
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(D.shape[1], D.shape[1])))[0]
    assert mutual_coherence(D @ Q) == pytest.approx(mutual_coherence(D), abs=1e-12)


@given(dictionaries())
def test_random_dictionaries_lie_on_or_above_the_bound(D):
    # would catch a bound that is too high, and zero atoms that pull the coherence below it
    assert -1e-12 <= coherence_excess(D) <= mutual_coherence(D) <= 1
    non_zero = D[D.any(axis=1)]
    expected = mutual_coherence(D) - welch_bound(len(non_zero), D.shape[1])
    assert coherence_excess(D) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("d", [2, 5, 40])
def test_orthonormal_basis(d, rng):
    # would catch the diagonal, which would make everything 1
    Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
    assert mutual_coherence(np.eye(d)) == coherence_excess(np.eye(d)) == 0
    assert mutual_coherence(Q) == coherence_excess(Q) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("sign", [1, -1])
def test_equal_and_opposite_atoms(sign, rng):
    # would catch a maximum without absolute values, and rounding beyond 1
    D = rng.normal(size=(30, 7))
    coherence = mutual_coherence(np.vstack([D, sign * 3 * D]))
    assert coherence == pytest.approx(1)
    assert coherence <= 1


def test_equiangular_tight_frames_meet_the_bound():
    # would catch m and d exchanged; 6 atoms in 3 dimensions are the diagonals of an icosahedron
    assert mutual_coherence(mercedes_benz()) == pytest.approx(0.5, abs=1e-12)
    golden = (1 + math.sqrt(5)) / 2
    icosahedron = [
        [0, 1, golden],
        [0, 1, -golden],
        [1, golden, 0],
        [1, -golden, 0],
        [golden, 0, 1],
        [-golden, 0, 1],
    ]
    assert mutual_coherence(icosahedron) == pytest.approx(1 / math.sqrt(5), abs=1e-12)
    for frame in (mercedes_benz(), icosahedron):
        assert coherence_excess(frame) == pytest.approx(0, abs=1e-12)


def test_zero_atoms():
    # would catch 0/0, and the bound of a shape that zero atoms do not fill
    frame = np.vstack([np.eye(2), np.zeros((3, 2))])
    assert mutual_coherence(frame) == coherence_excess(frame) == 0
    assert mutual_coherence(np.zeros((3, 2))) == coherence_excess(np.zeros((3, 2))) == 0


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e200, 1e308])
def test_any_length_of_atom(size):
    # would catch norms that overflow to infinity or underflow to zero
    D = np.array([[0.6, 0.8], [1.0, 0.0]])
    assert mutual_coherence(D * [[size], [1.0]]) == pytest.approx(0.6, rel=1e-12)


@pytest.mark.parametrize("score", COHERENCES)
def test_one_atom_is_undefined(score):
    # would catch a perfect score for a dictionary without pairs, and a warning from inside
    with pytest.warns(UserWarning, match=f"{score.__name__} is undefined and NaN") as caught:
        assert math.isnan(score([[1.0, 2.0]]))
    assert caught[0].filename == __file__


def test_table_of_all_pairs_never_exists(rng, monkeypatch):
    # would catch the (m, m) table, 128 MB here; the dictionary itself is a quarter of a MB
    import tracemalloc

    monkeypatch.setattr(coherence, "BLOCK_ENTRIES", 2**16)
    D = rng.normal(size=(4096, 8))
    tracemalloc.start()
    mutual_coherence(D)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6


@each_library
@pytest.mark.parametrize("score", COHERENCES)
def test_other_libraries_and_kinds(score, library, rng):
    # would catch float32 products, changed inputs, and results that are not plain numbers
    xp = libraries.load(library)
    D = rng.normal(size=(5, 4)).astype(np.float32)
    before = D.copy()
    value = score(xp.asarray(D))
    assert type(value) is float
    assert value == score(D.astype(np.float64))
    assert np.array_equal(D, before)
    assert score([[1, 0], [0, 3]]) == 0


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (np.ones(3), ValueError, r"1 dimension\(s\)"),
        (np.ones((0, 3)), ValueError, "empty"),
        (sp.csr_array(np.eye(3)), TypeError, "sparse csr"),
        ([[1.0, np.nan], [0.0, 1.0]], ValueError, "NaN or infinity"),
    ],
)
@pytest.mark.parametrize("score", COHERENCES)
def test_bad_dictionaries_are_refused_by_name(score, bad, error, message):
    # would catch NaN, which every comparison with a maximum leaves out
    with pytest.raises(error, match=f"{score.__name__}: components .*{message}"):
        score(bad)


# welch_bound


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_welch_bound_is_a_coherence(m, d):
    # would catch a negative root for m < d, a division by m - 1 = 0, and values beyond 1
    bound = welch_bound(m, d)
    assert type(bound) is float
    assert 0 <= bound <= 1
    assert (bound > 0) == (m > d)
    if m > d:
        assert_allclose(bound**2, (m / d - 1) / (m - 1), rtol=1e-12)


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_welch_bound_is_monotone(m, d):
    # more atoms only raise it, more dimensions only lower it: would catch m and d exchanged
    assert welch_bound(m + 1, d) >= welch_bound(m, d) >= welch_bound(m, d + 1)


def test_known_values_of_the_welch_bound():
    # would catch m in place of m - 1
    assert welch_bound(1, 1) == welch_bound(1, 5) == welch_bound(5, 5) == 0
    assert welch_bound(2, 1) == 1
    assert welch_bound(3, 2) == pytest.approx(0.5)
    assert welch_bound(6, 3) == pytest.approx(1 / math.sqrt(5))


def test_welch_bound_of_large_numpy_integers():
    # would catch a product of 32-bit integers that wraps around
    assert welch_bound(np.int32(100_000), np.int32(50_000)) == welch_bound(100_000, 50_000) > 0


@pytest.mark.parametrize(
    "bad, error",
    [(0, ValueError), (-1, ValueError), (2.0, TypeError), ("3", TypeError), (True, TypeError)],
)
def test_sizes_are_checked(bad, error):
    # would catch a shape passed whole, and a root of nonsense
    with pytest.raises(error, match=r"welch_bound: n_components=.*integer >= 1"):
        welch_bound(bad, 2)
    with pytest.raises(error, match=r"welch_bound: n_features=.*integer >= 1"):
        welch_bound(2, bad)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
