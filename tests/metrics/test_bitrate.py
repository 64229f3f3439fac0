import math

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit, logit
from scipy.stats import chi2, norm
from sklearn.decomposition import SparseCoder
from sklearn.linear_model import LogisticRegression

from skdict import LassoCoder, MatchingPursuitCoder, ThresholdCoder
from skdict.metrics import _logistic, superposition_bitrate

# Gaussian atoms: correlations with those of the Rademacher ensemble have ties
SMALL = {"n_components": 256, "k": 4, "n_trials": 60, "n_dictionaries": 6, "random_state": 0}
SMALL |= {"ensemble": "gaussian", "reliability": 0.5}
GRID = (10, 20, 30, 50, 80)


def top_k(X, dictionary, k):
    """The one-step estimate in three lines."""
    correlations = X @ dictionary.T / np.linalg.norm(dictionary, axis=1)
    weakest = np.sort(np.abs(correlations), axis=1)[:, -k]
    return np.where(np.abs(correlations) >= weakest[:, None], correlations, 0)


class Coin:
    """Finds one active component with a probability that is logistic in log d."""

    def __init__(self, midpoint, slope, together=False, seed=0):
        self.midpoint, self.slope, self.together = midpoint, slope, together
        self.random = np.random.default_rng(seed)

    def __call__(self, X, dictionary, k):
        probability = expit(self.slope * np.log(dictionary.shape[1] / self.midpoint))
        right = self.random.random(1 if self.together else len(X)) < probability
        best = np.argmax(X @ dictionary.T, axis=1)
        codes = np.zeros((len(X), len(dictionary)))
        codes[np.arange(len(X)), np.where(right, best, (best + 1) % len(dictionary))] = 1
        return codes


@pytest.mark.slow
@pytest.mark.parametrize("together", [False, True])
def test_intervals_cover_the_truth(together):
    # would catch intervals that take supports of one dictionary for independent, or the wrong
    # quantile; of 50 intervals of 90 percent, 36 or fewer cover with a probability below 1e-3
    covered, n_repeats, midpoint, slope = np.zeros(2), 50, 20.0, 4.0
    for seed in range(n_repeats):
        result = superposition_bitrate(
            Coin(midpoint, slope, together, seed),
            n_components=16,
            k=1,
            n_features=(8, 14, 20, 30, 50),
            ensemble="spherical",
            reliability=(0.5, 0.9),
            n_trials=120,
            n_dictionaries=30,
            confidence=0.9,
            random_state=seed,
        )
        truth = midpoint * np.exp(logit(result.reliability) / slope) / result.entropy_bits
        covered += (result.intervals[:, 0] < truth) & (truth < result.intervals[:, 1])
    assert (covered > 36).all() and (covered < n_repeats).any()


def test_curve_levels_and_dispersion_go_together():
    common = dict(n_components=16, k=1, n_features=(8, 12, 16, 24, 36), ensemble="spherical")
    common |= dict(reliability=0.8, n_trials=600, n_dictionaries=60, random_state=0)
    result = superposition_bitrate(Coin(16, 5), **common)
    d = result.dims_per_bit[0] * result.entropy_bits
    assert 1 / (1 + (result.midpoint / d) ** result.slope) == pytest.approx(0.8)
    assert result.entropy_bits == pytest.approx(4)
    assert result.dispersion == pytest.approx(1, abs=0.6)
    clustered = superposition_bitrate(Coin(16, 5, together=True), **common)
    # ten supports of a dictionary share one outcome
    assert clustered.dispersion == pytest.approx(10, rel=0.3)


def test_a_grid_is_found_around_the_rise():
    for midpoint in (3, 20, 100):  # below, at and above one dimension a bit
        result = superposition_bitrate(
            Coin(midpoint, 6), n_components=1024, k=1, ensemble="spherical", random_state=0
        )
        rates = result.successes / result.trials
        assert rates[0] < 0.4 and rates[-1] > 0.9
        assert 0.8 * midpoint < result.midpoint < 1.25 * midpoint
        assert result.n_features[0] > 0.3 * midpoint and result.n_features[-1] < 4 * midpoint


def test_supports_are_the_k_largest_non_zeros():
    # would catch explicit zeros, signs, duplicates or small entries that are taken for a support
    def noisy(X, dictionary, k):
        return top_k(X, dictionary, k) + 1e-9 * np.random.default_rng(0).normal(
            size=(len(X), len(dictionary))
        )

    def negative(X, dictionary, k):
        return -top_k(X, dictionary, k)

    def stored(X, dictionary, k):
        Z = sp.coo_array(top_k(X, dictionary, k))
        rows, columns = Z.coords
        halves = np.concatenate([Z.data / 2, Z.data / 2, np.zeros(Z.nnz)])
        everywhere = np.tile(rows, 3), np.concatenate([columns, columns, (columns + 1) % 256])
        return sp.coo_array((halves, everywhere), shape=Z.shape)

    expected = superposition_bitrate(top_k, n_features=GRID, **SMALL)
    assert 0 < expected.successes[2] < expected.trials[2]
    for coder in (noisy, negative, stored, lambda *args: sp.csc_matrix(top_k(*args))):
        result = superposition_bitrate(coder, n_features=GRID, **SMALL)
        np.testing.assert_array_equal(result.successes, expected.successes)
        np.testing.assert_array_equal(result.errors, expected.errors)


def test_errors_are_the_active_entries_that_are_missed():
    def half(X, dictionary, k):
        Z = top_k(X, dictionary, k)
        return np.where(np.cumsum(Z != 0, axis=1) <= k // 2, Z, 0)

    with pytest.warns(UserWarning, match="do not rise"):
        result = superposition_bitrate(half, n_features=(300, 400), **SMALL)
    np.testing.assert_allclose(result.errors, 0.5)
    assert (result.successes == 0).all()


def test_criteria_differ_in_what_the_levels_mean_only():
    exact = superposition_bitrate(top_k, n_features=GRID, **SMALL)
    errors = superposition_bitrate(top_k, n_features=GRID, criterion="errors", **SMALL)
    for name in ("n_features", "trials", "successes", "success_intervals", "errors"):
        np.testing.assert_array_equal(getattr(exact, name), getattr(errors, name))
    assert (errors.dims_per_bit < exact.dims_per_bit).all()
    assert (np.diff(exact.errors) < 0).all() and (np.diff(exact.successes) >= 0).all()


@pytest.mark.parametrize("bounds", ["success_intervals", "error_intervals"])
def test_error_bars_enclose_the_shares(bounds):
    result = superposition_bitrate(top_k, n_features=GRID, **SMALL)
    share = result.successes / result.trials if bounds[0] == "s" else result.errors
    low, high = getattr(result, bounds).T
    assert (low <= share).all() and (share <= high).all()
    assert (0 <= low).all() and (high <= 1).all() and (high - low).max() < 0.4


def test_estimators_and_functions_agree():
    # would catch an estimator that keeps its own k, or is given other atoms
    coder = ThresholdCoder(k=99, n_components=7).set_output(transform="pandas")
    by_class = superposition_bitrate(coder, n_features=GRID, **SMALL)
    by_function = superposition_bitrate(top_k, n_features=GRID, **SMALL)
    np.testing.assert_array_equal(by_class.errors, by_function.errors)
    assert (coder.k, coder.n_components, coder.dictionary) == (99, 7, None)
    assert not hasattr(coder, "components_")


@pytest.mark.parametrize(
    "coder",
    [
        MatchingPursuitCoder(k=None, residual_tol=1e-3),
        LassoCoder(alpha=0.05, positive=True),
        SparseCoder(np.eye(2), transform_algorithm="omp", transform_n_nonzero_coefs=4),
    ],
    ids=lambda coder: type(coder).__name__,
)
def test_coders_of_several_kinds(coder):
    # would catch parameters that an estimator is given though it has none of that name
    with pytest.warns(UserWarning, match="only the intervals tell"):
        result = superposition_bitrate(coder, n_features=(5, 90), **SMALL)
    assert result.successes[0] < 10 and result.successes[1] == 60


def test_problems_depend_on_the_seed_and_the_number_of_features_only():
    # would catch coders that are compared on different problems
    seen = []

    def watching(X, dictionary, k):
        seen.append((X, dictionary))
        return top_k(X, dictionary, k)

    for grid in (GRID, GRID[1:3]):
        superposition_bitrate(watching, n_features=grid, **SMALL)
    n = SMALL["n_dictionaries"]
    again = seen[len(GRID) * n :]
    for (X, D), (X_again, D_again) in zip(seen[n : 3 * n], again):
        assert (X == X_again).all() and (D == D_again).all()
    assert X.dtype == D.dtype == np.float32
    assert not (seen[0][1] == seen[1][1]).all()
    first, second = (seen[i * n][1].ravel()[:99] for i in (0, 1))  # 10 and 20 features
    assert not np.allclose(first * math.sqrt(10), second * math.sqrt(20))
    other = superposition_bitrate(top_k, n_features=GRID, **{**SMALL, "random_state": 1})
    same = superposition_bitrate(top_k, n_features=GRID, **SMALL)
    assert (other.errors != same.errors).any()


def test_magnitudes_and_ensembles_reach_the_problems():
    def watching(X, dictionary, k):
        seen.append((X, dictionary))
        return top_k(X, dictionary, k)

    seen = []
    for ensemble in ("rademacher", "spherical", "gaussian"):
        superposition_bitrate(watching, n_features=GRID, **{**SMALL, "ensemble": ensemble})
    sizes = [np.linalg.norm(D, axis=1) for _, D in seen[:: len(GRID) * SMALL["n_dictionaries"]]]
    np.testing.assert_allclose(sizes[0], 1, rtol=1e-6)
    np.testing.assert_allclose(sizes[1], 1, rtol=1e-6)
    assert np.ptp(sizes[2]) > 0.1
    even = superposition_bitrate(top_k, n_features=GRID, **SMALL)
    uneven = superposition_bitrate(top_k, n_features=GRID, magnitudes="half_normal", **SMALL)
    assert uneven.successes[-1] < even.successes[-1]  # small entries are hard to see


def test_one_step_decoding_follows_gaussian_crosstalk():
    # The k active correlations are about N(1, k/d), the others N(0, k/d): the least of the former
    # exceeds the largest of the latter in half of the trials at d = k (m_N + m_k)**2, with m_n the
    # median of the largest of n. An oracle that knows nothing of the code.
    n, k = 1024, 8
    median = [norm.ppf(2.0 ** (-1 / count)) for count in (n - k, k)]
    result = superposition_bitrate(
        ThresholdCoder(positive=True),
        n_components=n,
        k=k,
        n_trials=400,
        reliability=0.5,
        random_state=0,
    )
    assert result.midpoint == pytest.approx(k * sum(median) ** 2, rel=0.08)


def test_pursuit_needs_fewer_dimensions_than_one_step():
    pursuit = superposition_bitrate(MatchingPursuitCoder(algorithm="mp"), **SMALL)
    one_step = superposition_bitrate(ThresholdCoder(), **SMALL)
    assert (pursuit.intervals[:, 1] < one_step.intervals[:, 0]).all()


def test_nothing_found_and_everything_found():
    grid = (100, 200)
    with pytest.warns(UserWarning, match=r"\(100: 0, 200: 0\) do not rise .* NaN"):
        never = superposition_bitrate(
            lambda X, D, k: np.zeros((len(X), len(D))), n_features=grid, **SMALL
        )
    assert np.isnan(never.dims_per_bit).all() and np.isnan(never.midpoint)
    low, high = never.intervals.T * never.entropy_bits
    assert (low > 150).all() and np.isposinf(high).all()
    with pytest.warns(UserWarning, match="do not rise"):
        always = superposition_bitrate(top_k, n_features=(1000, 2000), **SMALL)
    low, high = always.intervals.T * always.entropy_bits
    assert (low == 0).all() and (high < 1500).all()
    assert np.isnan(always.dims_per_bit).all()


def test_a_jump_is_placed_between_its_neighbours():
    with pytest.warns(UserWarning, match="only the intervals tell"):
        jump = superposition_bitrate(
            Coin(100, 1e6),
            n_features=(50, 90, 110, 300),
            k=1,
            n_components=16,
            ensemble="spherical",
            random_state=0,
        )
    at, (low, high) = jump.dims_per_bit * 4, jump.intervals.T * 4
    assert np.isposinf(jump.slope)
    assert (90 < at).all() and (at < 110).all()
    assert (50 < low).all() and (low < 91).all() and (109 < high).all() and (high < 300).all()


def test_an_extrapolated_level_is_told():
    with pytest.warns(UserWarning, match="do not reach every level .* extrapolated"):
        result = superposition_bitrate(
            Coin(16, 3),
            n_features=(12, 14, 16, 18),
            k=1,
            n_components=16,
            reliability=0.99,
            random_state=0,
        )
    assert result.dims_per_bit[0] * 4 > 18


def test_one_number_of_features_gives_no_curve():
    # Catches a slope that nothing but a default decides.
    with pytest.warns(UserWarning, match="one number alone, and dims_per_bit is NaN"):
        result = superposition_bitrate(
            Coin(12, 3), n_features=[12, 12], k=1, n_components=16, random_state=0
        )
    assert 0 < result.successes[0] < result.trials[0]
    assert np.isnan(result.dims_per_bit).all() and np.isnan(result.midpoint)
    assert (result.intervals[:, 0] == 0).all() and np.isinf(result.intervals[:, 1]).all()


def test_at_most_19_features_a_bit_are_tried():
    with pytest.warns(UserWarning, match="do not rise"):
        result = superposition_bitrate(
            lambda X, D, k: np.zeros((len(X), len(D))),
            n_components=64,
            k=2,
            n_trials=20,
            n_dictionaries=2,
            random_state=0,
        )
    assert 10 < result.n_features[-1] / result.entropy_bits < 19


def test_results_are_read_only():
    result = superposition_bitrate(top_k, n_features=GRID, **SMALL)
    for value in vars(result).values():
        assert type(value) is float or not value.flags.writeable


@pytest.mark.parametrize("seed", range(5))
def test_fit_is_the_most_likely_and_its_interval_that_of_the_profile(seed):
    random = np.random.default_rng(seed)
    x = np.sort(random.uniform(2, 6, 6))
    n = random.integers(20, 200, 6)
    y = random.binomial(n, expit(random.uniform(1, 4) * (x - 4))) / n
    shares = _logistic.Shares(x, y, n)
    midpoint, slope = _logistic.fit(shares)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(
        np.tile(x, 2)[:, None],
        np.repeat([1, 0], 6),
        sample_weight=np.concatenate([n * y, n - n * y]),
    )
    assert slope == pytest.approx(oracle.coef_[0, 0], rel=1e-4)
    assert midpoint == pytest.approx(-oracle.intercept_[0] / oracle.coef_[0, 0], rel=1e-4)

    slopes = np.linspace(0, 5 * slope, 20_001)

    def least_deviance(point):
        eta = logit(0.9) + slopes[:, None] * (x - point)
        return 2 * np.min(np.sum(n * (np.logaddexp(0, eta) - y * eta), axis=1))

    at = _logistic.crossing((midpoint, slope), 0.9)
    low, high = _logistic.interval(shares, (midpoint, slope), 0.9, 0.95, dispersion=1.5)
    assert low < at < high
    for bound in (low, high):
        excess = least_deviance(bound) - least_deviance(at)
        assert excess == pytest.approx(1.5 * chi2.ppf(0.95, 1), rel=1e-3)


def test_shares_that_fall_have_no_curve():
    shares = _logistic.Shares(np.array([1.0, 2.0, 3.0]), np.array([0.9, 0.5, 0.1]), np.full(3, 50))
    midpoint, slope = _logistic.fit(shares)
    assert math.isnan(midpoint) and slope == 0
    assert _logistic.interval(shares, (midpoint, slope), 0.5, 0.95, 1.0) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    "coder, parameters, error, message",
    [
        ("mp", {}, TypeError, "coder='mp' has no parameter dictionary"),
        (ThresholdCoder, {}, TypeError, "coder=<class .* is a class"),
        (LogisticRegression(), {}, TypeError, "has no parameter dictionary"),
        (top_k, {"k": 256}, ValueError, "k=256 .* below n_components=256"),
        (top_k, {"k": 0}, ValueError, "k=0 is out of range"),
        (top_k, {"n_components": 2.0}, TypeError, "n_components=2.0 is no integer"),
        (top_k, {"n_features": ()}, ValueError, "is empty"),
        (top_k, {"n_features": (10, 0)}, ValueError, "n_features=0 is out of range"),
        (top_k, {"n_features": 10.5}, TypeError, "n_features=10.5 is no integer"),
        (top_k, {"ensemble": "normal"}, ValueError, "ensemble='normal' is unknown"),
        (top_k, {"magnitudes": "unit"}, ValueError, "magnitudes='unit' is unknown"),
        (top_k, {"criterion": "bits"}, ValueError, "criterion='bits' is unknown"),
        (top_k, {"reliability": 1.0}, ValueError, "reliability=1.0 is out of range"),
        (top_k, {"reliability": ()}, ValueError, "is empty"),
        (top_k, {"reliability": "high"}, TypeError, "reliability='high' is no number"),
        (top_k, {"confidence": 95}, ValueError, "confidence=95 is out of range"),
        (top_k, {"n_trials": 5}, ValueError, r"n_dictionaries=6 .* \[2, n_trials=5\]"),
        (top_k, {"n_dictionaries": 1}, ValueError, r"n_dictionaries=1 .* \[2, n_trials=60\]"),
        (lambda X, D, k: X, {}, ValueError, "coder returned codes of shape"),
        (lambda X, D, k: np.full((len(X), len(D)), np.nan), {}, ValueError, "NaN"),
    ],
)
def test_refusals_name_the_way_out(coder, parameters, error, message):
    with pytest.raises(error, match=f"superposition_bitrate: .*{message}"):
        superposition_bitrate(coder, **{**SMALL, "n_features": GRID, **parameters})


@pytest.mark.slow
def test_pursuit_and_one_step_at_their_published_size():
    # The numbers that the paper is about: exact supports, 2**14 components, 16 of them active.
    size = dict(n_components=2**14, k=16, n_trials=200, reliability=0.5, random_state=0)
    bits = 179.7
    grid = np.round(bits * np.array([0.8, 0.9, 1.0, 1.1, 1.5])).astype(int)
    pursuit = superposition_bitrate(MatchingPursuitCoder(algorithm="mp"), n_features=grid, **size)
    grid = np.round(bits * np.array([1.5, 2.4, 2.8, 3.2, 3.6])).astype(int)
    one_step = superposition_bitrate(ThresholdCoder(), n_features=grid, **size)
    assert pursuit.n_features[-1] == one_step.n_features[0]
    assert pursuit.successes[-1] >= 180
    assert one_step.successes[0] <= 20
    assert 2.4 < one_step.dims_per_bit[0] / pursuit.dims_per_bit[0] < 3.8


def test_a_coder_may_return_supports():
    # Catches booleans that are no codes: a support is all that is asked for.
    problem = {
        "n_components": 64,
        "k": 3,
        "n_features": [20, 60],
        "n_trials": 20,
        "random_state": 0,
    }

    def codes(X, dictionary, k):
        return X @ dictionary.T * (X @ dictionary.T > 0.5)

    whole = superposition_bitrate(codes, **problem)
    supports = superposition_bitrate(lambda X, D, k: codes(X, D, k) != 0, **problem)
    np.testing.assert_array_equal(supports.n_features, whole.n_features)
    assert (supports.successes <= whole.successes).all() and supports.successes.any()
