"""A logistic curve through shares of successes, and intervals for where it reaches a level.

Profile likelihood, as in Venzon & Moolgavkar, Applied Statistics 37(1):87-94, 1988.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit, xlogy
from scipy.stats import chi2

STEEPEST = 1e4  # change of the logit between two neighbouring x at which a curve is a step
REACH = math.log(2**10)  # how far from the x a bound is looked for


class Shares(NamedTuple):
    """Shares y of successes among n trials at increasing x."""

    x: np.ndarray
    y: np.ndarray
    n: np.ndarray


def fit(shares):
    """Midpoint and slope of the most likely curve ``expit(slope * (x - midpoint))``, slope >= 0.

    The slope is infinite where the shares jump from 0 to 1. The midpoint is NaN where they do not
    rise, or are all 0 or all 1, or where there is one of them.
    """
    x, y, n = shares
    if y.max() == 0 or y.min() == 1:
        return math.nan, math.inf
    if x.size == 1:
        return math.nan, 0.0
    if np.isin(y, (0, 1)).all() and (np.diff(y) >= 0).all():
        first = int(np.argmax(y))
        return float(x[first - 1 : first + 1].mean()), math.inf
    centre, scale = x.mean(), np.ptp(x)
    u = (x - centre) / scale

    def loss(parameters):
        eta = parameters[0] + parameters[1] * u
        residual = n * (expit(eta) - y)
        value = np.sum(n * (np.logaddexp(0, eta) - y * eta))
        return value / n.sum(), np.array([residual.sum(), residual @ u]) / n.sum()

    bounds = ((None, None), (0, _steepest(x) * scale))
    precise = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    found = minimize(loss, (0.0, 1.0), jac=True, method="L-BFGS-B", bounds=bounds, options=precise)
    intercept, slope = found.x
    if slope <= 1e-9:
        return math.nan, 0.0
    return float(centre - scale * intercept / slope), float(slope / scale)


def crossing(curve, level):
    """The x at which the curve reaches `level`."""
    midpoint, slope = curve
    return midpoint + logit(level) / slope if slope > 0 else math.nan


def misfit(shares, curve):
    """Deviance of the shares from the curve, for each degree of freedom; about 1 if it is true."""
    x, y, n = shares
    if x.size < 3 or math.isnan(curve[0]) or math.isinf(curve[1]):
        return 0.0
    eta = curve[1] * (x - curve[0])
    saturated = np.sum(n * (xlogy(y, y) + xlogy(1 - y, 1 - y)))
    return float(2 * (saturated + _loss(shares, eta)) / (x.size - 2))


def interval(shares, curve, level, confidence, dispersion):
    """Profile likelihood interval of the crossing, infinite where the shares give no bound.

    `dispersion` is the variance of y over the binomial one, y (1 - y) / n.
    """
    x, y, _ = shares
    lowest, highest = x[0] - REACH, x[-1] + REACH
    at = crossing(curve, level)
    if math.isnan(at):
        if 0 < y.max() and y.min() < 1:
            return -math.inf, math.inf
        at = highest if y.max() == 0 else lowest
    least = _profile(shares, at, level)
    enough = dispersion * chi2.ppf(confidence, 1) / 2

    def excess(point):
        return _profile(shares, point, level) - least - enough

    lowest, highest = min(lowest, at), max(highest, at)
    lower = -math.inf if excess(lowest) <= 0 else brentq(excess, lowest, at)
    upper = math.inf if excess(highest) <= 0 else brentq(excess, at, highest)
    return lower, upper


def _profile(shares, point, level):
    """Negative log-likelihood, least over the slopes, of curves through (point, level)."""
    x, y, n = shares
    distance, start = x - point, logit(level)

    def derivative(slope):
        return np.sum(n * (expit(start + slope * distance) - y) * distance)

    steepest = _steepest(x)
    if derivative(0.0) >= 0:
        slope = 0.0
    elif derivative(steepest) <= 0:
        slope = steepest
    else:
        slope = brentq(derivative, 0.0, steepest, xtol=1e-12 * steepest)
    return _loss(shares, start + slope * distance)


def _loss(shares, eta):
    return np.sum(shares.n * (np.logaddexp(0, eta) - shares.y * eta))


def _steepest(x):
    return STEEPEST / np.diff(x).min() if x.size > 1 else STEEPEST
