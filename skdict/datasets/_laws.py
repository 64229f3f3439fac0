"""Laws of the support of a sample: drawing it, and its entropy.

Active components are drawn one after the other, without replacement, with probability proportional
to their weights among those that may come next (a successive draw, in the words of sampling
theory).
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy.special import betaln, logsumexp

BLOCK_ENTRIES = 2**22  # of the arrays of (samples, components) that exist at a time
MOST_ORDERED = 14  # largest k of which all subsets are gone through


class SupportLaw(NamedTuple):
    """k of n_components, weights ``1 / (j + 1)**exponent``.

    A component may come next if its parent (-1: none) is active. With probability `correlation` it
    is of a group that has an active component already, if there is one; groups are runs of
    `group_size` components.
    """

    n_components: int
    k: int
    exponent: float = 0.0
    parents: np.ndarray | None = None
    correlation: float = 0.0
    group_size: int = 1

    @property
    def log_weights(self):
        return -self.exponent * np.log(np.arange(1, self.n_components + 1))

    @property
    def groups(self):
        return np.arange(self.n_components) // self.group_size

    @property
    def depends_on_the_drawn(self):
        return self.parents is not None or self.correlation > 0


def draw_supports(random, n_samples, law):
    """Columns of the active components of each sample, in increasing order: (n_samples, k)."""
    if not law.depends_on_the_drawn:
        return _at_once(random, n_samples, law)
    n_rows = max(1, BLOCK_ENTRIES // law.n_components)
    starts = range(0, n_samples, n_rows)
    return np.concatenate([_in_turn(random, min(n_rows, n_samples - i), law) for i in starts])


def _at_once(random, n_samples, law):
    """The k smallest of independent exponential arrival times, whose rates are the weights.

    Logarithms, so that no weight underflows.
    """
    arrival = np.log(random.standard_exponential((n_samples, law.n_components)))
    arrival -= law.log_weights
    active = np.argpartition(arrival, law.k - 1, axis=1)[:, : law.k]
    # argpartition leaves the order of the first k open, so it may differ between processors
    return np.sort(active, axis=1)


def _in_turn(random, n_samples, law):
    """The earliest arrival among those that may come next, k times."""
    shape, rows = (n_samples, law.n_components), np.arange(n_samples)
    parents = np.full(law.n_components, -1) if law.parents is None else law.parents
    groups, log_weights = law.groups, law.log_weights
    available = np.tile(parents < 0, (n_samples, 1))
    joined = np.zeros(shape, dtype=bool)  # of a group that has an active component
    active = np.empty((n_samples, law.k), dtype=np.int64)
    for step in range(law.k):
        arrival = np.log(random.standard_exponential(shape)) - log_weights
        mates = available & joined
        among_mates = (random.random(n_samples) < law.correlation) & mates.any(axis=1)
        allowed = np.where(among_mates[:, None], mates, available)
        active[:, step] = new = np.where(allowed, arrival, np.inf).argmin(axis=1)
        available[rows, new] = False
        available |= parents == new[:, None]
        joined |= groups == groups[new][:, None]
    return np.sort(active, axis=1)


def entropy_bits(law, n_draws, random):
    """Entropy of the support and the standard error of that number."""
    n_supports = math.comb(law.n_components, law.k)
    if law.k == law.n_components:
        return 0.0, 0.0
    if law.exponent == 0 and not law.depends_on_the_drawn:
        return _log2_binomial(law.n_components, law.k), 0.0
    log_probability = _log_probability_in_turn if law.depends_on_the_drawn else _log_probability
    if n_supports <= n_draws:
        every = itertools.combinations(range(law.n_components), law.k)
        logs = np.array([log_probability(np.array(support), law) for support in every])
        logs = logs[logs > -np.inf]
        return abs(float(np.sum(np.exp(logs) * logs) / math.log(2))), 0.0
    n_rows = max(1, BLOCK_ENTRIES // law.n_components)
    bits = []
    for start in range(0, n_draws, n_rows):
        supports = draw_supports(random, min(n_rows, n_draws - start), law)
        bits += [-log_probability(support, law) / math.log(2) for support in supports]
    return float(np.mean(bits)), float(np.std(bits, ddof=1) / math.sqrt(n_draws))


def _log2_binomial(n, k):
    # of a beta function, in which the logarithms of huge factorials do not cancel
    k = min(k, n - k)
    return float(-(np.log1p(n) + betaln(n - k + 1, k + 1)) / math.log(2))


def _log_probability(support, law):
    """Of a support whose components arrive independently.

    All of them have arrived before the first of the others, which comes at rate W, their sum of
    weights: the integral over t of ``W exp(-W t) prod(1 - exp(-w_j t))``. In ``log(W t)`` the
    integrand is smooth and vanishes fast at both ends, so that the trapezoidal rule is precise.
    """
    log_weights = law.log_weights
    relative = log_weights[support] - logsumexp(np.delete(log_weights, support))
    k = support.size
    last = math.log(k + 1 + 40 * math.sqrt(k + 1))  # nothing is left of a gamma law of k + 1 there
    step = min(0.2, 0.6 / math.sqrt(k + 1))
    u = np.arange(last, -40.0, -step)
    z = u[:, None] + relative
    with np.errstate(over="ignore"):
        arrived = np.where(z < -30, z, np.log(-np.expm1(-np.exp(np.maximum(z, -30)))))
    return logsumexp(u - np.exp(u) + arrived.sum(axis=1)) + math.log(step)


def _log_probability_in_turn(support, law):
    """Of a support whose components depend on those before: the sum over all orders.

    By recursion over its 2**k subsets, A, as sets of bits: the probability that A are the first
    ones is that of A without i times that of i next, summed over i in A.
    """
    k = support.size
    if law.parents is not None and not np.isin(law.parents[support], [*support, -1]).all():
        return -math.inf
    bits = (np.arange(2**k)[:, None] >> np.arange(k) & 1).astype(bool)  # (2**k, k)
    following = _next_probabilities(support, law, bits)
    sizes = bits.sum(axis=1)
    first = np.zeros(2**k)
    first[0] = 1
    for size in range(k):
        level = np.flatnonzero(sizes == size)
        for i in range(k):
            subsets = level[~bits[level, i]]
            first[subsets | 1 << i] += first[subsets] * following[subsets, i]
    return math.log(first[-1]) if first[-1] > 0 else -math.inf


def _next_probabilities(support, law, bits):
    """Probability that each component of the support comes next, given each subset: (2**k, k).

    Sums of weights are taken of the components that may come next, within the support and outside,
    without subtractions.
    """
    k = support.size
    weights = np.exp(law.log_weights - law.log_weights.max())
    parents = np.full(law.n_components, -1) if law.parents is None else law.parents
    kinds, group = np.unique(law.groups[support], return_inverse=True)
    place = np.full(law.n_components + 1, -1)  # in the support; the last entry, of roots, is k
    place[support], place[-1] = np.arange(k), k
    enabled_by = place[parents]

    enabled = np.column_stack([bits, np.ones(len(bits), dtype=bool)])
    own = weights[support] * (~bits & enabled[:, enabled_by[support]])  # (2**k, k)
    in_group = np.zeros((k, kinds.size))
    in_group[np.arange(k), group] = 1
    outside = (place[:-1] < 0) & (enabled_by >= 0)
    by_enabler = np.bincount(enabled_by[outside], weights[outside], k + 1)
    total = own.sum(axis=1) + enabled @ by_enabler
    result = own / total[:, None]
    if law.correlation == 0:
        return result
    outside &= np.isin(law.groups, kinds)
    cell = enabled_by[outside] * kinds.size + np.searchsorted(kinds, law.groups[outside])
    by_both = np.bincount(cell, weights[outside], (k + 1) * kinds.size).reshape(k + 1, -1)
    joined = bits @ in_group > 0  # (2**k, n_kinds)
    mates = np.sum(joined * (own @ in_group + enabled @ by_both), axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        among_mates = own * joined[:, group] / mates
    mixed = (1 - law.correlation) * result + law.correlation * among_mates
    return np.where(mates > 0, mixed, result)
