import math
import pickle
from dataclasses import FrozenInstanceError
from itertools import permutations

import libraries
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from libraries import each_library
from numpy.testing import assert_allclose, assert_array_equal

from skdict.metrics import _similarity, dictionary, dictionary_match

METRICS = ("cosine", "pearson")
MATCHINGS = ("hungarian", "greedy")


@st.composite
def dictionaries(draw, max_atoms=5):
    """Learned and true atoms of any two numbers, of any length, some of them zero or repeated."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_atoms, n_true = draw(st.integers(1, max_atoms)), draw(st.integers(1, max_atoms))
    n_features = draw(st.integers(3, 6))
    D, D_true = rng.normal(size=(n_atoms, n_features)), rng.normal(size=(n_true, n_features))
    D[0] = draw(st.sampled_from([D[0], D_true[0], np.zeros(n_features)]))
    D_true[-1] = draw(st.sampled_from([D_true[-1], D_true[0], np.zeros(n_features)]))
    return D, D_true


options = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(METRICS),
        "signed": st.booleans(),
        "matching": st.sampled_from(MATCHINGS),
    }
)


def similarity(a, b, metric, signed):
    """One pair at a time, straight from the definition."""
    if metric == "pearson":
        a, b = a - a.mean(), b - b.mean()
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    value = a @ b / lengths if lengths > 0 else 0.0
    return value if signed else abs(value)


def table(D, D_true, metric, signed):
    return np.array([[similarity(a, b, metric, signed) for b in D_true] for a in D])


def best_sum(S):
    """Largest sum over all one-to-one pairings, by trying every one."""
    if S.shape[0] > S.shape[1]:
        S = S.T
    rows = np.arange(S.shape[0])
    return max(S[rows, list(c)].sum() for c in permutations(range(S.shape[1]), S.shape[0]))


def greedy_values(S):
    """The greedy matching as it is defined: take the largest entry, strike its row and column."""
    values = []
    while S.size:
        i, j = np.unravel_index(S.argmax(), S.shape)
        values.append(S[i, j])
        S = np.delete(np.delete(S, i, axis=0), j, axis=1)
    return np.array(values)


@given(dictionaries(), st.sampled_from(METRICS), st.booleans())
def test_hungarian_is_the_best_of_all_pairings(problem, metric, signed):
    # would catch a minimised sum, a transposed table, and a mean over pairs instead of true atoms
    D, D_true = problem
    match = dictionary_match(D, D_true, metric=metric, signed=signed)
    expected = best_sum(table(D, D_true, metric, signed))
    assert_allclose(match.mean_similarity * len(D_true), expected, atol=1e-9)


@given(dictionaries(max_atoms=9), st.sampled_from(METRICS), st.booleans())
def test_greedy_takes_the_largest_remaining(problem, metric, signed):
    # would catch a stale row maximum after its column was taken
    D, D_true = problem
    match = dictionary_match(D, D_true, metric=metric, signed=signed, matching="greedy")
    expected = greedy_values(table(D, D_true, metric, signed))
    assert_allclose(np.sort(match.similarities), np.sort(expected), atol=1e-9)


@given(dictionaries(max_atoms=8), st.sampled_from(METRICS), st.booleans())
def test_greedy_is_a_lower_bound(problem, metric, signed):
    # would catch the two names swapped
    hungarian, greedy = (
        dictionary_match(*problem, metric=metric, signed=signed, matching=matching)
        for matching in MATCHINGS
    )
    assert greedy.mean_similarity <= hungarian.mean_similarity + 1e-12
    assert greedy.mmcs == hungarian.mmcs


@given(dictionaries(), options, st.sampled_from([0.0, 0.3, 0.9]))
def test_fields_agree_with_each_other(problem, options, threshold):
    # would catch pairs out of order with similarities, an atom used twice, >= for >, mmcs by rows
    D, D_true = problem
    S = table(D, D_true, options["metric"], options["signed"])
    match = dictionary_match(D, D_true, threshold=threshold, **options)
    n_true = len(D_true)
    assert match.pairs.shape == (min(len(D), n_true), 2)
    assert len(set(match.pairs[:, 0])) == len(set(match.pairs[:, 1])) == len(match.pairs)
    assert_array_equal(match.pairs[:, 1], np.sort(match.pairs[:, 1]))
    assert_allclose(match.similarities, S[match.pairs[:, 0], match.pairs[:, 1]], atol=1e-9)
    assert match.mean_similarity == pytest.approx(match.similarities.sum() / n_true)
    assert match.recovery_rate == pytest.approx(np.sum(match.similarities > threshold) / n_true)
    assert match.mmcs == pytest.approx(S.max(axis=0).mean(), abs=1e-9)
    assert match.mcc == pytest.approx(match.similarities.mean())
    if len(D) >= n_true:
        assert match.mean_similarity <= match.mmcs + 1e-12


@given(dictionaries(), options, st.integers(0, 2**32 - 1))
def test_scores_ignore_lengths_and_order_of_atoms(problem, options, seed):
    # would catch a missing normalisation of either side, and scores that hang on the order
    D, D_true = problem
    rng = np.random.default_rng(seed)
    lengths, true_lengths = (rng.uniform(0.1, 10, size=(len(A), 1)) for A in problem)
    other = rng.permutation(D * lengths), rng.permutation(D_true * true_lengths)
    match, expected = dictionary_match(*other, **options), dictionary_match(*problem, **options)
    assert_allclose(match.mmcs, expected.mmcs, atol=1e-9)
    if options["matching"] == "hungarian":  # ties may lead the greedy one elsewhere
        assert_allclose(match.mean_similarity, expected.mean_similarity, atol=1e-9)


@given(dictionaries(), options, st.integers(0, 2**32 - 1))
def test_folding_ignores_signs(problem, options, seed):
    # would catch absolute values taken after the matching in place of before
    D, D_true = problem
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(len(D), 1))
    options = {**options, "signed": False}
    flipped, expected = (dictionary_match(A, D_true, **options) for A in (signs * D, D))
    assert_allclose(flipped.similarities, expected.similarities, atol=1e-12)


@given(dictionaries(), st.sampled_from(METRICS))
def test_swapping_the_two_keeps_the_sum(problem, metric):
    # would catch atoms of one side treated otherwise than those of the other
    D, D_true = problem
    there, back = (
        dictionary_match(D, D_true, metric=metric),
        dictionary_match(D_true, D, metric=metric),
    )
    assert_allclose(there.similarities.sum(), back.similarities.sum(), atol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("matching", MATCHINGS)
def test_a_shuffled_and_scaled_truth_is_found(rng, metric, matching):
    # would catch pairs in the order (true, learned): a permutation is rarely its own inverse
    D_true = rng.normal(size=(20, 12))
    order = rng.permutation(20)
    match = dictionary_match(3 * D_true[order], D_true, metric=metric, matching=matching)
    assert match.mean_similarity == pytest.approx(1)
    assert match.recovery_rate == 1
    assert match.mmcs == pytest.approx(1)
    assert_array_equal(order[match.pairs[:, 0]], match.pairs[:, 1])


def test_similarities_do_not_exceed_one(rng):
    # would catch rounding that breaks arccos(similarity) and 1 - similarity >= 0 downstream
    D = rng.normal(size=(300, 7))
    match = dictionary_match(D, D)
    assert match.similarities.max() <= 1
    assert match.mmcs <= 1


def test_missing_features_count_zero():
    # would catch the mean over pairs, by which half a dictionary scores 1
    match = dictionary_match(np.eye(4)[:2], np.eye(4))
    assert match.mean_similarity == match.recovery_rate == match.mmcs == 0.5
    assert match.mcc == 1
    assert_array_equal(match.pairs, [[0, 0], [1, 1]])


def test_surplus_atoms_cost_nothing(rng):
    # would catch division by the number of learned atoms
    D_true = np.eye(4)
    match = dictionary_match(np.vstack([rng.normal(size=(5, 4)), D_true]), D_true)
    assert match.mean_similarity == match.recovery_rate == 1
    assert_array_equal(match.pairs[:, 0], [5, 6, 7, 8])


def test_reversed_atoms():
    # with signed similarity -d does not recover d; without, it does
    match = dictionary_match(-np.eye(1, 3), np.eye(1, 3))
    assert (match.mean_similarity, match.recovery_rate, match.mmcs) == (-1, 0, -1)
    match = dictionary_match(-np.eye(1, 3), np.eye(1, 3), signed=False)
    assert (match.mean_similarity, match.recovery_rate, match.mmcs) == (1, 1, 1)


def test_duplicates_inflate_mmcs_only():
    # would catch mmcs computed from the matched pairs, or a matching that is not one to one
    truth = np.array([[1.0, 0.0], [1.0, 0.1]])
    match = dictionary_match(np.array([[1.0, 0.05], [0.0, 1.0]]), truth)
    assert match.mmcs > 0.99
    assert match.recovery_rate == 0.5


def test_greedy_can_be_worse():
    # would catch one algorithm behind both names: 1 + cos 36° = 1.81 against 2 cos 18° = 1.90
    angles = np.deg2rad([0, 18, 36])
    D = np.column_stack([np.cos(angles), np.sin(angles)])
    learned, truth = D[[1, 0]], D[[2, 1]]
    greedy = dictionary_match(learned, truth, matching="greedy").mean_similarity
    assert greedy == pytest.approx((1 + np.cos(angles[2])) / 2)
    assert dictionary_match(learned, truth).mean_similarity > greedy


@pytest.mark.parametrize(
    "metric, value", [("cosine", 0.0), ("pearson", 0.0), ("pearson", 0.1), ("pearson", 1e8 + 1 / 3)]
)
def test_atoms_without_direction_have_similarity_zero(metric, value, recwarn):
    # would catch NaN from 0/0, and a constant atom whose rounding errors correlate with something
    D = np.vstack([np.full(7, value), np.arange(7.0)])
    match = dictionary_match(D, D, metric=metric)
    assert_allclose(match.similarities, [0, 1], atol=1e-15)
    assert match.mmcs == pytest.approx(0.5)
    assert not recwarn


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e200, 1e308])
def test_any_length_of_atom(size):
    # would catch norms that overflow to infinity or underflow to zero
    D = np.array([[0.6, 0.8], [-0.8, 0.6]])
    assert dictionary_match(size * D, D).mean_similarity == pytest.approx(1)


def test_chance_level_of_random_dictionaries(rng):
    # the published value, .67 for 16 atoms in 8 dimensions, holds for |Pearson| and not the cosine
    means = [
        dictionary_match(
            *rng.normal(size=(2, 16, 8)), metric="pearson", signed=False
        ).mean_similarity
        for _ in range(100)
    ]
    assert np.mean(means) == pytest.approx(0.67, abs=0.01)


# Mean |Pearson| and |cosine| of matched atoms, and MMCS, of two random dictionaries of N atoms in
# d dimensions, as simulated apart from this package.
CHANCE = {
    (16, 8): (0.67, 0.63, 0.69),
    (32, 8): (0.74, 0.70, 0.75),
    (128, 8): (0.84, 0.80, 0.83),
    (16, 16): (0.48, 0.46, 0.51),
    (64, 16): (0.59, 0.57, 0.60),
    (32, 32): (0.38, 0.38, 0.40),
    (128, 32): (0.46, 0.46, 0.48),
}


@pytest.mark.parametrize("shape", CHANCE)
def test_chance_levels_are_those_of_random_dictionaries(shape, rng):
    # would catch random atoms of another distribution, number or metric, and signs left in
    levels = []
    for D_true in rng.normal(size=(4, *shape)):  # they vary with the true atoms, by .01 at N = 16
        pearson, cosine = (
            dictionary_match(np.ones(shape), D_true, metric=metric, signed=False)
            for metric in ("pearson", "cosine")
        )
        levels.append((pearson.chance_similarity, cosine.chance_similarity, cosine.chance_mmcs))
    assert_allclose(np.mean(levels, axis=0), CHANCE[shape], atol=0.02)


@pytest.mark.parametrize("sizes", [(24, 40), (40, 40), (70, 40)])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("matching", MATCHINGS)
@pytest.mark.parametrize("metric", METRICS)
def test_random_atoms_score_zero_when_corrected(sizes, metric, signed, matching, rng):
    # would catch an option, or the number of learned atoms, that the chance level is not told
    D, D_true = (rng.normal(size=(m, 12)) for m in sizes)
    match = dictionary_match(D, D_true, metric=metric, signed=signed, matching=matching)
    assert match.corrected_similarity == pytest.approx(0, abs=0.06)
    assert match.corrected_mmcs == pytest.approx(0, abs=0.06)


@given(dictionaries(), options)
def test_correction_follows_its_formula(problem, options):
    # would catch one score corrected by the chance of the other; more than 1 where all are alike
    match = dictionary_match(*problem, **options)
    for score, chance, corrected in (
        (match.mean_similarity, match.chance_similarity, match.corrected_similarity),
        (match.mmcs, match.chance_mmcs, match.corrected_mmcs),
    ):
        assert type(chance) is type(corrected) is float
        assert corrected * (1 - chance) == pytest.approx(score - chance, abs=1e-12)
        assert corrected <= 1 + 1e-12


def test_perfect_match_scores_one_when_corrected(rng):
    # would catch a chance that is subtracted and not divided out; with half of the atoms the best
    # mean similarity is a half
    D_true = rng.normal(size=(20, 12))
    match = dictionary_match(3 * D_true[::-1], D_true)
    assert match.corrected_similarity == pytest.approx(1)
    assert match.corrected_mmcs == pytest.approx(1)
    match = dictionary_match(D_true[:10], D_true)
    chance = match.chance_similarity
    assert match.corrected_similarity == pytest.approx((0.5 - chance) / (1 - chance))


def test_chance_is_computed_at_first_access_and_once(rng, monkeypatch):
    # would catch five matchings that nobody asked for, and five for each of the four numbers
    matchings = []

    def counted(S, matching):
        matchings.append(S.shape)
        return _similarity.match(S, matching)

    monkeypatch.setattr(dictionary, "match", counted)
    match = dictionary_match(rng.normal(size=(4, 3)), rng.normal(size=(5, 3)))
    assert len(matchings) == 1
    repr(match)
    assert len(matchings) == 1
    numbers = match.chance_similarity, match.chance_mmcs
    assert len(matchings) == 6
    assert (match.chance_similarity, match.chance_mmcs) == numbers
    assert match.corrected_similarity < 1 and match.corrected_mmcs < 1
    assert matchings == [(4, 5)] * 6


def test_chance_does_not_follow_the_callers_arrays(rng):
    # would catch a view of the true atoms that is read after the caller has changed them
    D, D_true = rng.normal(size=(2, 6, 4))
    match, expected = dictionary_match(D, D_true), dictionary_match(D, D_true).chance_similarity
    D_true[:] = D_true[0]
    assert match.chance_similarity == expected


def test_chance_is_reproducible_and_not_met_by_accident():
    # would catch a seed that examples use: their true atoms would be among the random ones
    for seed in (0, 1, 42, 123, 1234):
        D_true = np.random.default_rng(seed).normal(size=(30, 20))
        match = dictionary_match(D_true, D_true)
        assert match.chance_similarity == dictionary_match(D_true, D_true).chance_similarity < 0.5


@pytest.mark.parametrize("accessed", [False, True])
def test_result_can_be_pickled(accessed, rng):
    # would catch a closure in the result, and a chance level lost on the way
    match = dictionary_match(*rng.normal(size=(2, 6, 4)))
    if accessed:
        assert match.chance_similarity < 1
    copy = pickle.loads(pickle.dumps(match))
    assert copy.chance_similarity == match.chance_similarity
    assert copy.corrected_mmcs == match.corrected_mmcs
    assert copy.mcc == match.mcc
    assert_array_equal(copy.pairs, match.pairs)


@pytest.mark.parametrize("metric, n_features", [("cosine", 1), ("pearson", 2)])
def test_scores_that_are_one_by_chance_cannot_be_corrected(metric, n_features, rng):
    # would catch 0/0, or 1e-16 over 1e-16
    D, D_true = rng.normal(size=(2, 5, n_features))
    match = dictionary_match(D, D_true, metric=metric, signed=False)
    assert match.chance_similarity == pytest.approx(1)
    for name in ("corrected_similarity", "corrected_mmcs"):
        with pytest.warns(UserWarning, match=f"DictionaryMatch.{name} is undefined") as caught:
            assert math.isnan(getattr(match, name))
        assert caught[0].filename == __file__


@each_library
def test_other_libraries_and_kinds(library, rng):
    # would catch a numpy function applied to a foreign array, float32 products, changed inputs
    xp = libraries.load(library)
    D = rng.normal(size=(5, 4)).astype(np.float32)
    before = D.copy()
    match = dictionary_match(xp.asarray(D), xp.asarray(D[::-1].copy()))
    assert type(match.pairs) is type(match.similarities) is np.ndarray
    assert type(match.mean_similarity) is type(match.recovery_rate) is type(match.mmcs) is float
    assert_allclose(match.similarities, 1, rtol=1e-12)
    assert_array_equal(D, before)
    assert dictionary_match([[1, 0], [0, 1]], [[0, 2]]).mean_similarity == 1


def test_result_is_immutable():
    # would catch a result that a caller can change under another caller's feet
    match = dictionary_match(np.eye(2), np.eye(2))
    with pytest.raises(FrozenInstanceError):
        match.mmcs = 1.0
    for array in (match.pairs, match.similarities):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    "bad, error, message",
    [
        (np.ones(3), ValueError, r"1 dimension\(s\)"),
        (np.ones((0, 3)), ValueError, "empty"),
        ([["a", "b", "c"]], TypeError, "dtype <U1"),
        (sp.csr_array(np.eye(3)), TypeError, "sparse csr"),
        ([[1.0, np.nan, 0.0]], ValueError, "NaN or infinity"),
    ],
)
def test_bad_dictionaries_are_refused_by_name(bad, error, message):
    # would catch NaN atoms, which scipy refuses with a message that names nothing
    with pytest.raises(error, match=f"dictionary_match: components .*{message}"):
        dictionary_match(bad, np.eye(3))
    with pytest.raises(error, match=f"dictionary_match: true_components .*{message}"):
        dictionary_match(np.eye(3), bad)


def test_transposed_dictionaries_are_refused():
    # would catch the commonest mistake, atoms as columns
    with pytest.raises(ValueError, match=r"has 4 features but true_components has 3.*transpose"):
        dictionary_match(np.ones((3, 4)), np.ones((4, 3)))


@pytest.mark.parametrize(
    "option, error",
    [
        ({"metric": "euclidean"}, ValueError),
        ({"metric": None}, ValueError),
        ({"matching": "optimal"}, ValueError),
        ({"signed": "no"}, TypeError),
        ({"threshold": 90}, ValueError),
        ({"threshold": None}, TypeError),
    ],
)
def test_options_are_checked(option, error):
    # would catch a misspelt metric that falls through to the other one, and a truthy "no"
    (name,) = option
    with pytest.raises(error, match=f"dictionary_match: {name}=.*Choose"):
        dictionary_match(np.eye(2), np.eye(2), **option)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
