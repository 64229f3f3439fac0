import libraries
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from libraries import each_library
from numpy.testing import assert_array_equal

from skdict.metrics import dictionary_match, dictionary_stability

MATCHINGS = ("hungarian", "greedy")


@st.composite
def fits(draw):
    """Two dictionaries of any two sizes, partly alike, in one number of dimensions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_features = draw(st.integers(2, 6))
    sizes = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    D, D_other = (rng.normal(size=(m, n_features)) for m in sizes)
    D[0] = draw(st.sampled_from([D[0], -D_other[0]]))
    return D, D_other


@given(fits(), st.booleans(), st.sampled_from(MATCHINGS))
def test_stability_is_the_mean_over_pairs(problem, signed, matching):
    # would catch division by one of the two sizes, and an option that is not passed on
    match = dictionary_match(*problem, signed=signed, matching=matching)
    stability = dictionary_stability(*problem, signed=signed, matching=matching)
    assert stability == pytest.approx(match.similarities.mean(), abs=1e-12)


@given(fits(), st.booleans(), st.sampled_from(MATCHINGS))
def test_stability_is_symmetric_and_bounded(problem, signed, matching):
    # would catch a true dictionary among the two
    D, D_other = problem
    there = dictionary_stability(D, D_other, signed=signed, matching=matching)
    back = dictionary_stability(D_other, D, signed=signed, matching=matching)
    assert there == pytest.approx(back, abs=1e-12)
    assert type(there) is float
    assert (-1 if signed else 0) <= there <= 1


@given(fits(), st.integers(0, 2**32 - 1))
def test_stability_ignores_lengths_signs_and_order(problem, seed):
    # would catch signed similarities by default: two fits may find an atom and its negative
    D, D_other = problem
    rng = np.random.default_rng(seed)
    factors = rng.choice([-1.0, 1.0], size=(len(D), 1)) * rng.uniform(0.1, 10, (len(D), 1))
    changed = dictionary_stability(rng.permutation(factors * D), D_other)
    assert changed == pytest.approx(dictionary_stability(D, D_other), abs=1e-12)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_the_same_fit_twice(matching, rng):
    # would catch rounding beyond 1, and a smaller fit that is blamed for its size
    D = rng.normal(size=(50, 7))
    for other in (D, D[::-1], D[:20], np.vstack([D, rng.normal(size=(9, 7))])):
        stability = dictionary_stability(D, other, matching=matching)
        assert stability == pytest.approx(1)
        assert stability <= 1


def test_signed_stability_of_reversed_atoms(rng):
    # would catch an absolute value that stays
    D = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert dictionary_stability(D[:1], -D[:1], signed=True) == pytest.approx(-1)
    assert dictionary_stability(D, -D, signed=True) == pytest.approx(0, abs=1e-12)
    assert dictionary_stability(D, -D) == pytest.approx(1)


def test_greedy_is_a_lower_bound(rng):
    # would catch the two names swapped
    D, D_other = rng.normal(size=(2, 40, 6))
    hungarian, greedy = (dictionary_stability(D, D_other, matching=m) for m in MATCHINGS)
    assert greedy < hungarian


@each_library
def test_other_libraries_and_kinds(library, rng):
    # would catch a numpy function applied to a foreign array, float32 products, changed inputs
    xp = libraries.load(library)
    D = rng.normal(size=(5, 4)).astype(np.float32)
    before = D.copy()
    assert dictionary_stability(xp.asarray(D), xp.asarray(D)) == pytest.approx(1, rel=1e-12)
    assert_array_equal(D, before)
    assert dictionary_stability([[1, 0], [0, 1]], [[0, 2]]) == 1


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (np.ones(3), ValueError, r"1 dimension\(s\)"),
        (sp.csr_array(np.eye(3)), TypeError, "sparse csr"),
        ([[1.0, np.nan, 0.0]], ValueError, "NaN or infinity"),
    ],
)
def test_bad_dictionaries_are_refused_by_name(bad, error, message):
    # would catch messages that name dictionary_match or its parameters
    with pytest.raises(error, match=f"dictionary_stability: components .*{message}"):
        dictionary_stability(bad, np.eye(3))
    with pytest.raises(error, match=f"dictionary_stability: other_components .*{message}"):
        dictionary_stability(np.eye(3), bad)


def test_transposed_dictionaries_are_refused():
    # would catch the commonest mistake, atoms as columns
    with pytest.raises(ValueError, match=r"4 features but other_components has 3.*transpose"):
        dictionary_stability(np.ones((3, 4)), np.ones((4, 3)))


@pytest.mark.parametrize(
    "option, error", [({"matching": "optimal"}, ValueError), ({"signed": "no"}, TypeError)]
)
def test_options_are_checked(option, error):
    # would catch a misspelt matching that falls through to the other one, and a truthy "no"
    (name,) = option
    with pytest.raises(error, match=f"dictionary_stability: {name}=.*Choose"):
        dictionary_stability(np.eye(2), np.eye(2), **option)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
