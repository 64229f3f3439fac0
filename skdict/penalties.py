"""Penalties on non-negative codes, each slope under its value.

Contract, for codes Z that may be sparse::

    penalty(Z, progress) -> total, slopes      slopes: entries like those of Z, zero where Z is

`progress` is the share of steps that have passed of those before the fall of the rate, from 0 to 1;
1 where there is no fall. Those of single entries are
functions ``rho(z, width) -> value, slope``. They cost what the l1 norm does where codes are small
against `width` (with ``"lp"``, where they equal it) and less above.
"""

from skdict import codes
from skdict.backend import namespace

VANISHING = 1e-10  # sum of the codes of a sample, up to which it has none
WITH_WIDTH = "log", "lp", "mcp", "tanh"
NEAR_ZERO = 0.01  # of the width, by which "lp" is moved: its slope at zero is not infinite


def l1(z, width):
    return z, namespace(z).ones_like(z)


def log(z, width):
    """``w log(1 + z/w)``; slope ``1 / (1 + z/w)``."""
    z = z / width
    return width * namespace(z).log1p(z), 1 / (1 + z)


def mcp(z, width):
    """``z - z²/2w`` up to w, ``w/2`` from there (Zhang 2010); slope ``(1 - z/w)+``."""
    left = 1 - namespace(z).minimum(z / width, namespace(z).ones_like(z))
    return width / 2 * (1 - left * left), left


def tanh(z, width):
    """``w tanh(z/w)``; slope ``1 - tanh²``."""
    risen = namespace(z).tanh(z / width)
    return width * risen, 1 - risen * risen


def lp(z, width, p):
    """``w ((z/w + δ)^p - δ^p) / p``; slope ``(z/w + δ)^(p-1)``."""
    z = z / width + NEAR_ZERO
    raised = z**p
    return width / p * (raised - NEAR_ZERO**p), raised / z


class OfEntries:
    """The sum of a penalty of single entries."""

    def __init__(self, rho, width):
        self.rho = rho
        self.width = width

    def __call__(self, Z, progress):
        z = codes.entries(Z)
        value, slope = self.rho(z, self.width)
        return _total(value), slope * codes.positive(z)


class Annealed:
    """The sum of ``lp``, whose exponent goes from the first of `exponents` to the last."""

    def __init__(self, width, exponents):
        self.width = width
        self.exponents = exponents

    def __call__(self, Z, progress):
        first, last = self.exponents
        z = codes.entries(Z)
        value, slope = lp(z, self.width, float(first + progress * (last - first)))
        return _total(value), slope * codes.positive(z)


class EffectiveNumber:
    """``((Σ z^p)^(1/p) / (Σ z²)^(1/2))^s`` of each sample, summed, with ``s = 2p / (2 - p)``.

    m equal entries, however large, cost m. With p = 1 it is the square of l1 over l2, which falls
    as the measure of Hoyer rises; with p = 1/2 a power of -pq_mean(1/2, 2) (Hurley & Rickard,
    arXiv 0811.4706). With A = Σ z^p, B = Σ z² and N the value, dz = N s (z^(p-1) / A - z / B).
    """

    def __init__(self, p):
        self.p = p

    def __call__(self, Z, progress):
        z, p = codes.entries(Z), self.p
        xp, power = namespace(z), 2 * p / (2 - p)
        # N does not change when a sample is divided by its sum, and its slopes are divided by it
        # too; so squares do not vanish.
        sums = _row_sums(Z, z)
        empty = xp.astype(sums <= VANISHING, sums.dtype)  # of these all is zero
        unit = _of_samples(Z, 1 / (sums + empty))
        z = z * unit
        fired = codes.positive(z)
        safe = z + (1 - fired)  # lest zero be raised to a negative power
        raised = fired * safe**p
        A, B = (_row_sums(Z, entries) for entries in (raised, z * z))
        A, B = A + empty, B + empty
        N = (1 - empty) * A ** (power / p) / B ** (power / 2)
        of_sample, A, B = (_of_samples(Z, each) for each in (N, A, B))
        return _total(N), unit * fired * of_sample * power * (raised / safe / A - z / B)


class Gini:
    """``Σ (2 r + 1) z_r / Σ z`` of each sample, summed; z_0 is its largest entry.

    m equal entries cost m; with n components it is ``n (1 - gini)``. With N the value and S the sum
    of the sample, dz_r = (2 r + 1 - N) / S.
    """

    def __call__(self, Z, progress):
        z = codes.entries(Z)
        xp, factors = namespace(z), 2 * codes.descending_ranks(Z) + 1
        S = _row_sums(Z, z)
        S = xp.where(S > VANISHING, S, xp.ones_like(S))
        N = _row_sums(Z, factors * z) / S
        slope = (factors - _of_samples(Z, N)) / _of_samples(Z, S)
        return _total(N), slope * codes.positive(z)


SEPARABLE = {"l1": l1, "log": log, "mcp": mcp, "tanh": tanh}
EXPONENTS = {"hoyer_square": 1.0, "pq_mean": 0.5}
NAMES = (*SEPARABLE, "lp", *EXPONENTS, "gini")


def named(name, width=1.0, p=(1.0, 0.5)):
    """The penalty of this name; `p`, of "lp" alone: its exponent, or the first and the last."""
    if name in SEPARABLE:
        return OfEntries(SEPARABLE[name], width)
    if name == "lp":
        first, last = p if isinstance(p, tuple | list) else (p, p)
        return Annealed(width, (first, last))
    return Gini() if name == "gini" else EffectiveNumber(EXPONENTS[name])


def _total(values):
    xp = namespace(values)
    return xp.sum(values, dtype=xp.float64)


def _row_sums(Z, entries):
    return codes.row_sum(codes.with_entries(Z, entries))


def _of_samples(Z, vector):
    return codes.per_sample(Z, vector)
