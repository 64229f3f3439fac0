"""Scores of the support that dictionary_match gives when it is given codes."""

import math

import libraries
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from libraries import each_library
from numpy.testing import assert_array_equal
from sklearn.metrics import f1_score, precision_score, recall_score

from skdict.metrics import _support, dictionary_match

FIELDS = ("support_precision", "support_recall", "support_f1")
CONTAINERS = (np.asarray, sp.csr_array, sp.csc_array, sp.csr_matrix, sp.coo_array)


@st.composite
def problems(draw):
    """Dictionaries of any two sizes, and codes of both that are not all zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_features, n_samples = draw(st.integers(2, 5)), draw(st.integers(1, 20))
    sizes = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    dictionaries = [rng.normal(size=(m, n_features)) for m in sizes]
    codes = [rng.normal(size=(n_samples, m)) * (rng.random((n_samples, m)) < 0.4) for m in sizes]
    for Z in codes:
        Z[0, 0] = 1
    return *dictionaries, *codes


def scores(D, D_true, Z, Z_true, **options):
    match = dictionary_match(D, D_true, codes=Z, true_codes=Z_true, **options)
    return tuple(getattr(match, name) for name in FIELDS)


@given(problems())
def test_scores_are_those_of_scikit_learn(problem):
    # Lay both codes side by side, padded with a column of zeros for an atom without a partner:
    # would catch pairs read the wrong way round, and unmatched latents or truths left out.
    D, D_true, Z, Z_true = problem
    rows, columns = dictionary_match(D, D_true).pairs.T
    single = np.setdiff1d(np.arange(len(D)), rows)
    missed = np.setdiff1d(np.arange(len(D_true)), columns)
    fired, true_fired = Z != 0, Z_true != 0
    nothing = np.zeros((len(Z), len(single)), bool), np.zeros((len(Z), len(missed)), bool)
    predicted = np.hstack([fired[:, rows], fired[:, single], nothing[1]]).ravel()
    truth = np.hstack([true_fired[:, columns], nothing[0], true_fired[:, missed]]).ravel()
    expected = [score(truth, predicted) for score in (precision_score, recall_score, f1_score)]
    assert scores(*problem) == pytest.approx(expected, abs=1e-12)


@given(problems(), st.sampled_from(CONTAINERS), st.sampled_from(CONTAINERS), st.integers(1, 60))
def test_containers_and_blocks_agree(problem, container, true_container, entries):
    # would catch blocks that do not line up, a short last block, and a mixed pair
    D, D_true, Z, Z_true = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_support, "BLOCK_ENTRIES", entries)
        got = scores(D, D_true, container(Z), true_container(Z_true))
    assert got == scores(*problem)


@given(problems(), st.integers(0, 2**32 - 1))
def test_scores_ignore_order_and_size(problem, seed):
    # would catch codes taken in the order of the atoms of the other dictionary
    D, D_true, Z, Z_true = problem
    rng = np.random.default_rng(seed)
    latents, truths, samples = (rng.permutation(n) for n in (len(D), len(D_true), len(Z)))
    shuffled = D[latents], D_true[truths], -3 * Z[samples][:, latents], Z_true[samples][:, truths]
    assert scores(*shuffled) == pytest.approx(scores(*problem), abs=1e-12)


@given(problems())
def test_exchanging_the_two_exchanges_precision_and_recall(problem):
    # would catch one of the two divided by the wrong number
    D, D_true, Z, Z_true = problem
    precision, recall, f1 = scores(*problem)
    assert scores(D_true, D, Z_true, Z) == pytest.approx((recall, precision, f1), abs=1e-12)
    assert all(0 <= value <= 1 for value in (precision, recall, f1))


def test_a_shuffled_truth_has_perfect_support(rng):
    # would catch pairs in the order (true, learned): a permutation is rarely its own inverse
    D_true, order = rng.normal(size=(20, 12)), rng.permutation(20)
    Z_true = rng.normal(size=(50, 20)) * (rng.random((50, 20)) < 0.1)
    assert scores(D_true[order], D_true, 2 * Z_true[:, order], Z_true) == (1, 1, 1)


def test_atoms_without_partner_count(rng):
    # would catch scores over the pairs alone: half the truth found, and half the latents useless
    Z = np.ones((5, 4))
    assert scores(np.eye(4)[:2], np.eye(4), Z[:, :2], Z) == (1, 0.5, pytest.approx(2 / 3))
    assert scores(np.eye(4), np.eye(4)[:2], Z, Z[:, :2]) == (0.5, 1, pytest.approx(2 / 3))


def test_scores_follow_the_matching_asked_for():
    # a reversed atom has its partner with signed=False alone
    D, D_true = np.array([[-1.0, 0.0], [0.1, 1.0]]), np.eye(2)
    Z = np.array([[1.0, 0.0], [2.0, 0.0]])
    assert scores(D, D_true, Z, Z, signed=False) == (1, 1, 1)


def test_codes_do_not_change_the_rest():
    # would catch a field in the place of another
    D, D_true = np.eye(3)[[2, 0, 1]], np.eye(3)
    plain = dictionary_match(D, D_true)
    match = dictionary_match(D, D_true, codes=np.eye(3), true_codes=np.eye(3))
    assert all(getattr(plain, name) is None for name in FIELDS)
    assert all(type(getattr(match, name)) is float for name in FIELDS)
    assert match.chance_similarity == plain.chance_similarity
    for name in ("mean_similarity", "recovery_rate", "mmcs", "mcc", "pairs", "similarities"):
        assert_array_equal(getattr(match, name), getattr(plain, name))


def test_explicit_zeros_and_duplicates():
    # would catch entries counted as they are stored, and a caller's matrix that is tidied up
    Z = sp.csr_array(
        (np.array([1.0, -1.0, 0.0, 2.0]), np.array([0, 0, 1, 2]), np.array([0, 3, 4])), (2, 3)
    )
    assert scores(np.eye(3), np.eye(3), Z, Z.toarray()) == (1, 1, 1)
    assert_array_equal(Z.data, [1, -1, 0, 2])
    assert_array_equal(Z.indices, [0, 0, 1, 2])


def test_sparse_codes_stay_sparse(rng):
    # would catch a dense copy: 102 MB as bytes here, of codes with 10,000 entries
    import tracemalloc

    Z = sp.random_array((200_000, 512), density=1e-4, format="csc", rng=rng)
    D = rng.normal(size=(512, 8))
    tracemalloc.start()
    assert scores(D, D, Z, Z) == (1, 1, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25e6


@each_library
def test_other_libraries_and_kinds(library, rng):
    # would catch a numpy function applied to a foreign array, and masks compared with zero
    xp = libraries.load(library)
    D, Z = rng.normal(size=(4, 3)), np.maximum(rng.normal(size=(9, 4)), 0)
    before = Z.copy()
    assert scores(xp.asarray(D), xp.asarray(D), xp.asarray(Z), xp.asarray(Z) != 0) == (1, 1, 1)
    assert_array_equal(Z, before)
    assert scores([[1, 0], [0, 1]], [[1, 0]], [[1, 0]], [[2]]) == (1, 1, 1)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_codes_that_are_all_zero(container):
    # would catch 0/0, a warning that points into the package, and NaN for a ratio that is 0
    D, Z, nothing = np.eye(2), np.eye(2), container(np.zeros((2, 2)))
    cases = {(True, False): {0}, (False, True): {1}, (True, True): {0, 1, 2}}
    for (no_codes, no_truth), undefined in cases.items():
        with pytest.warns(UserWarning) as caught:
            match = dictionary_match(
                D, D, codes=nothing if no_codes else Z, true_codes=nothing if no_truth else Z
            )
        for place, name in enumerate(FIELDS):
            value = getattr(match, name)
            assert math.isnan(value) if place in undefined else value == 0
        expected = [f"dictionary_match: {FIELDS[p]} is undefined and NaN" for p in undefined]
        assert [str(w.message).split(":")[:2] for w in caught] == [e.split(":") for e in expected]
        assert all(w.filename == __file__ for w in caught)


def test_one_of_the_two_is_not_enough():
    # would catch scores that are silently None
    with pytest.raises(ValueError, match=r"dictionary_match: true_codes=None but codes is given"):
        dictionary_match(np.eye(2), np.eye(2), codes=np.eye(2))
    with pytest.raises(ValueError, match=r"codes=None but true_codes is given. Pass both"):
        dictionary_match(np.eye(2), np.eye(2), true_codes=np.eye(2))


def test_shapes_must_agree():
    # would catch codes of other samples, and codes that are transposed or of the other dictionary
    D, D_true = np.eye(3)[:2], np.eye(3)
    Z, Z_true = np.ones((5, 2)), np.ones((5, 3))
    with pytest.raises(ValueError, match="codes has 5 columns but components has 2 atoms"):
        dictionary_match(D, D_true, codes=Z.T, true_codes=Z_true)
    with pytest.raises(ValueError, match="true_codes has 2 columns but true_components has 3"):
        dictionary_match(D, D_true, codes=Z, true_codes=sp.csr_array(Z))
    with pytest.raises(ValueError, match="codes has 5 samples but true_codes has 4"):
        dictionary_match(D, D_true, codes=Z, true_codes=Z_true[:4])


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (np.ones(2), ValueError, r"1 dimension\(s\)"),
        (np.ones((2, 2), dtype=complex), TypeError, "dtype complex128"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), ValueError, "NaN or infinity"),
        (sp.csr_array([[1.0, np.inf], [0.0, 1.0]]), ValueError, "NaN or infinity"),
        (sp.csr_array((2, 2), dtype=complex), TypeError, "dtype complex128"),
    ],
)
def test_bad_codes_are_refused_by_name(bad, error, message):
    # would catch NaN that counts as non-zero, and a sparse matrix that is called Z
    with pytest.raises(error, match=f"dictionary_match: codes .*{message}"):
        dictionary_match(np.eye(2), np.eye(2), codes=bad, true_codes=np.eye(2))
    with pytest.raises(error, match=f"dictionary_match: true_codes .*{message}"):
        dictionary_match(np.eye(2), np.eye(2), codes=np.eye(2), true_codes=bad)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
