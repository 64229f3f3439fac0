"""Dimensions per bit that a coder needs to decode superposition codes.

The figure of merit of "On bitrates of very sparse superposition codes" (submitted to ICML 2025,
openreview peR9HAdJnk).
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest
from scipy.stats import t as student
from sklearn.utils import check_random_state

from skdict.datasets import support_entropy
from skdict.datasets._ensembles import ENSEMBLES, MAGNITUDES
from skdict.metrics import _logistic
from skdict.metrics._checks import as_number, check_choice, check_positive_integer
from skdict.metrics._trials import Setting, as_encoder, run

FUNCTION = "superposition_bitrate"
BETWEEN = "Choose a number above 0 and below 1."
CRITERIA = ("exact", "errors")
N_PILOT = 20  # trials at each number of features that is tried for a grid
PILOT_STEP, PILOT_LIMIT = 1.25, 16.0  # in dimensions per bit, from 1 up or down
N_GRID = 8


@dataclass(frozen=True, eq=False)
class SuperpositionBitrate:
    """Result of :func:`superposition_bitrate`; arrays are numpy's and read-only.

    Attributes
    ----------
    entropy_bits : float
        Entropy of the support, ``log2 C(n_components, k)``.
    reliability : float64 array of shape (n_levels,)
        The levels asked for.
    dims_per_bit : float64 array of shape (n_levels,)
        Number of features over `entropy_bits` at which the fitted curve reaches each level; NaN,
        with a warning, where no curve could be fitted.
    intervals : float64 array of shape (n_levels, 2)
        Bounds of `dims_per_bit`, of the confidence asked for; 0 below or infinity above where the
        trials give no bound.
    n_features : int array of shape (n_grid,)
        Numbers of features tried, increasing.
    trials : int array of shape (n_grid,)
        Supports drawn at each.
    successes : int array of shape (n_grid,)
        Supports that were found exactly, whatever the criterion.
    success_intervals : float64 array of shape (n_grid, 2)
        Wilson's intervals of the probability to find a support exactly.
    errors : float64 array of shape (n_grid,)
        Mean share of the active entries that were missed.
    error_intervals : float64 array of shape (n_grid, 2)
        Student's intervals of `errors`, over dictionaries.
    midpoint, slope : float
        The fitted curve ``1 / (1 + (midpoint / d) ** slope)`` of what the criterion counts, d the
        number of features. An infinite slope: success jumps from never to always.
    dispersion : float
        Variance of what the criterion counts over that of as many independent outcomes, yes or no:
        between dictionaries, or about the curve if that is larger. The intervals of `dims_per_bit`
        are wider by about its root. Below 1 with ``criterion="errors"``, where a trial averages k
        entries.
    """

    entropy_bits: float
    reliability: np.ndarray
    dims_per_bit: np.ndarray
    intervals: np.ndarray
    n_features: np.ndarray
    trials: np.ndarray
    successes: np.ndarray
    success_intervals: np.ndarray = field(repr=False)
    errors: np.ndarray
    error_intervals: np.ndarray = field(repr=False)
    midpoint: float
    slope: float
    dispersion: float


def superposition_bitrate(
    coder,
    *,
    n_components=2**14,
    k=16,
    n_features=None,
    ensemble="rademacher",
    magnitudes="ones",
    criterion="exact",
    reliability=(0.5, 0.9),
    n_trials=200,
    n_dictionaries=20,
    confidence=0.95,
    random_state=None,
):
    r"""Dimensions per bit that a coder needs to find the support of superposition codes.

    A support is one of the :math:`\binom{m}{k}` sets of k among m components, all equally likely,
    and carries :math:`H = \log_2 \binom{m}{k}` bits. The sum of its atoms, of a random dictionary
    in d dimensions, is handed to the coder. What is returned is d / H where it succeeds with a
    given reliability [1]_.

    Parameters
    ----------
    coder : estimator or callable
        An estimator with a parameter ``dictionary``: it is cloned, with the random dictionary, and
        with `k` where its own k is not None. Or a function ``coder(X, dictionary, k)`` that returns
        codes, dense or sparse, of shape (n_samples, n_components). X and the dictionary, atoms as
        rows, are float32 arrays. The support is that of the non-zeros; of more than k of them, the
        k largest in magnitude.
    n_components : int, default=16384
        Number of atoms m.
    k : int, default=16
        Number of active components, below `n_components`.
    n_features : int or array-like of int, default=None
        Numbers of features d to try. None: 8 of them, around the rise from failure to success,
        which is looked for with 20 trials at each of a few numbers, at most 19 features a bit.
    ensemble : {"spherical", "gaussian", "rademacher"}, default="rademacher"
        Law of the dictionary, as in :func:`skdict.datasets.make_superposition`.
    magnitudes : {"half_normal", "normal", "ones"}, default="ones"
        Law of the active entries, likewise.
    criterion : {"exact", "errors"}, default="exact"
        What `reliability` speaks of. ``"exact"``: the probability that the support is found without
        an error. ``"errors"``: 1 minus the expected share of the k active entries that are missed.
        As a support found has at most k entries, no more are wrongly in it than are missed.
    reliability : float or array-like of float, default=(0.5, 0.9)
        Levels above 0 and below 1.
    n_trials : int, default=200
        Supports at each number of features.
    n_dictionaries : int, default=20
        Dictionaries among which these are divided, at least 2. Fewer are faster, for a coder reads
        each of them once for all of its supports.
    confidence : float, default=0.95
        Probability with which an interval covers the truth.
    random_state : int, RandomState instance or None, default=None
        Seed. Two coders with the same seed are given the same problems at the same number of
        features.

    Returns
    -------
    SuperpositionBitrate

    Warns
    -----
    UserWarning
        Where the numbers of features do not show the rise: no curve can be fitted, or
        `dims_per_bit` is extrapolated, or two neighbours enclose all of the rise.

    See Also
    --------
    skdict.datasets.support_entropy : Bits of a support, under other laws too.

    Notes
    -----
    Shares of success are fitted by a logistic curve in log d, by maximum likelihood. Intervals of
    `dims_per_bit` are those of the profile likelihood: not symmetric, and infinite on a side that
    the trials do not bound. Supports of one dictionary are not independent, and the curve need not
    be true, so the likelihood is divided by the `dispersion`, which is that between dictionaries or
    that of the shares about the curve, whichever is larger. Neither makes a wrong curve right, and
    with ``criterion="errors"`` it often is: compare ``successes / trials`` or `errors` with it, and
    give numbers of features close to the level of interest.

    Active entries are positive unless their law is ``"normal"``. The package's coders look for
    either sign, which costs a one-step estimate 5 to 9 percent more features; ``positive=True``
    tells them.

    A dictionary takes ``4 * n_components * n_features`` bytes, one at a time. The package's coders
    hold a few copies of it besides.

    References
    ----------
    .. [1] "On bitrates of very sparse superposition codes", submitted to ICML 2025, openreview
       peR9HAdJnk. The paper's law of the dictionary and criterion of reliability are not known to
       us, so compare numbers with care.

    Examples
    --------
    >>> from skdict import MatchingPursuitCoder, ThresholdCoder
    >>> from skdict.metrics import superposition_bitrate
    >>> problem = dict(n_components=256, k=4, n_trials=100, random_state=0)
    >>> pursuit = superposition_bitrate(MatchingPursuitCoder(algorithm="mp"), **problem)
    >>> one_step = superposition_bitrate(ThresholdCoder(), **problem)
    >>> round(pursuit.entropy_bits, 1)
    27.4
    >>> bool(one_step.dims_per_bit[0] > 1.5 * pursuit.dims_per_bit[0])
    True
    >>> bool((pursuit.intervals[:, 0] < pursuit.dims_per_bit).all())
    True
    """
    encode = as_encoder(coder)
    setting = _setting(n_components, k, ensemble, magnitudes, n_trials, n_dictionaries)
    check_choice(FUNCTION, "criterion", criterion, CRITERIA)
    levels = _levels(reliability)
    confidence = as_number(FUNCTION, "confidence", confidence, _inside, BETWEEN)
    grid = None if n_features is None else _given_grid(n_features)
    seed = check_random_state(random_state).randint(0, 2**31 - 1, size=4).tolist()
    entropy = support_entropy(n_components, k)
    if grid is None:
        grid = _grid_around(encode, setting, entropy, criterion, levels, [*seed, 1])
    outcomes = [run(encode, int(d), setting, [*seed, 0]) for d in grid]
    return _summary(grid, outcomes, setting.n_supports, entropy, criterion, levels, confidence)


def _setting(n_components, k, ensemble, magnitudes, n_trials, n_dictionaries):
    for name, value in (("n_components", n_components), ("k", k), ("n_trials", n_trials)):
        check_positive_integer(FUNCTION, name, value)
    check_positive_integer(FUNCTION, "n_dictionaries", n_dictionaries)
    if k >= n_components:
        raise ValueError(
            f"{FUNCTION}: k={k} is out of range. Choose an integer below n_components="
            f"{n_components}: all components together are a support of no bits."
        )
    if not 2 <= n_dictionaries <= n_trials:
        raise ValueError(
            f"{FUNCTION}: n_dictionaries={n_dictionaries} is out of range. Choose an integer in "
            f"[2, n_trials={n_trials}]: intervals need more than one."
        )
    check_choice(FUNCTION, "ensemble", ensemble, ENSEMBLES)
    check_choice(FUNCTION, "magnitudes", magnitudes, MAGNITUDES)
    n_supports = _split(n_trials, n_dictionaries)
    return Setting(n_components, k, ensemble, magnitudes, n_supports)


def _split(n_trials, n_dictionaries):
    counts = np.full(n_dictionaries, n_trials // n_dictionaries)
    counts[: n_trials % n_dictionaries] += 1
    return counts


def _inside(number):
    return 0 < number < 1


def _levels(reliability):
    values = np.ravel(reliability).tolist()
    wanted = "Choose numbers above 0 and below 1, such as (0.5, 0.9)."
    if not values:
        raise ValueError(f"{FUNCTION}: reliability={reliability!r} is empty. {wanted}")
    return np.array([as_number(FUNCTION, "reliability", v, _inside, wanted) for v in values])


def _given_grid(n_features):
    values = np.ravel(n_features).tolist()
    if not values:
        raise ValueError(f"{FUNCTION}: n_features={n_features!r} is empty. Choose integers >= 1.")
    for value in values:
        check_positive_integer(FUNCTION, "n_features", value)
    return np.unique(values)


def _grid_around(encode, setting, entropy, criterion, levels, seed):
    """Numbers of features from where success is rare to where it is common, by a few trials."""
    n_pilot = min(N_PILOT, int(setting.n_supports.sum()))
    pilot = setting._replace(n_supports=_split(n_pilot, min(4, n_pilot)))
    rare, common = levels.min() / 2, (1 + levels.max()) / 2
    rates = {}

    def n_features(step):
        return max(1, round(entropy * PILOT_STEP**step))

    def rate(step):
        if step not in rates:
            outcomes = run(encode, n_features(step), pilot, seed)
            rates[step] = _shares(outcomes, pilot.n_supports, criterion).mean()
        return rates[step]

    low = 0
    while rate(low) > rare and n_features(low) > 1:
        low -= 1
    high = low
    while rate(high) < common and PILOT_STEP ** (high + 1) <= PILOT_LIMIT:
        low = high if rate(high) <= rare else low
        high += 1
    high += 1  # a pilot of few trials may see the rise end too early
    return np.unique(np.linspace(n_features(low), n_features(high), N_GRID).round().astype(int))


def _shares(outcomes, n_supports, criterion):
    """What the criterion counts, as a share of the trials of each dictionary."""
    return outcomes.exact / n_supports if criterion == "exact" else 1 - outcomes.missed


def _summary(grid, outcomes, n_supports, entropy, criterion, levels, confidence):
    n_trials = int(n_supports.sum())
    weights = n_supports / n_trials
    by_dictionary = np.array([_shares(one, n_supports, criterion) for one in outcomes])
    rates = by_dictionary @ weights
    trials = np.full(len(grid), n_trials)
    shares = _logistic.Shares(np.log(grid), rates, trials)
    curve = _logistic.fit(shares)
    between = _between(by_dictionary, rates, n_supports)
    dispersion = max(between, _logistic.misfit(shares, curve))
    at = np.exp([_logistic.crossing(curve, level) for level in levels])
    bounds = [_logistic.interval(shares, curve, level, confidence, dispersion) for level in levels]
    _warn_of_poor_data(grid, rates, at, curve)
    successes = np.array([one.exact.sum() for one in outcomes])
    missed = np.array([one.missed for one in outcomes])
    return SuperpositionBitrate(
        entropy_bits=entropy,
        reliability=_fixed(levels),
        dims_per_bit=_fixed(at / entropy),
        intervals=_fixed(np.exp(bounds) / entropy),
        n_features=_fixed(grid),
        trials=_fixed(trials),
        successes=_fixed(successes),
        success_intervals=_fixed([_wilson(int(s), n_trials, confidence) for s in successes]),
        errors=_fixed(missed @ weights),
        error_intervals=_fixed([_student(m, weights, confidence) for m in missed]),
        midpoint=float(np.exp(curve[0])),
        slope=curve[1],
        dispersion=dispersion,
    )


def _between(by_dictionary, rates, n_supports):
    """Variance between dictionaries over that of independent trials; 1 where all are alike."""
    squares = np.sum(n_supports * (by_dictionary - rates[:, None]) ** 2)
    binomial = (len(n_supports) - 1) * np.sum(rates * (1 - rates))
    return float(squares / binomial) if squares > 0 else 1.0


def _wilson(successes, trials, confidence):
    found = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return found.low, found.high


def _student(values, weights, confidence):
    mean = values @ weights
    error = np.sqrt(np.sum((weights * (values - mean)) ** 2) * len(values) / (len(values) - 1))
    half = student.ppf((1 + confidence) / 2, len(values) - 1) * error
    return np.clip((mean - half, mean + half), 0, 1)


def _warn_of_poor_data(grid, rates, at, curve):
    what = None
    if len(grid) == 1:
        what = "are of one number alone, and dims_per_bit is NaN"
    elif np.isnan(curve[0]):
        what = "do not rise from rare to common success, and dims_per_bit is NaN"
    elif np.count_nonzero((rates > 0) & (rates < 1)) < 2:
        what = "leave the transition between two of them, and only the intervals tell where"
    elif at.min() < grid[0] or at.max() > grid[-1]:
        what = "do not reach every level of reliability, and dims_per_bit is extrapolated"
    if what:
        shown = ", ".join(f"{d}: {rate:.3g}" for d, rate in zip(grid, rates))
        warnings.warn(
            f"{FUNCTION}: the shares of success at n_features ({shown}) {what}. Choose others.",
            UserWarning,
            stacklevel=4,
        )


def _fixed(values):
    array = np.asarray(values)
    array.flags.writeable = False
    return array
