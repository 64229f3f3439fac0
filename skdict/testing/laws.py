"""The six laws of Hurley and Rickard (2009) as properties that a search tries to refute.

D1 to D4 go back to Dalton (1920); statements as in arXiv:0811.4706, section II.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, assume, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample, Unsatisfiable

from skdict.metrics import sparsity
from skdict.testing.strategies import vectors as default_vectors

MEASURES = sparsity.MEASURES
_GRID = (1.0, 2.0, 4.0, 8.0, 16.0, 0.5, 0.25, 0.125)  # b of P1, in units of the largest entry
_RAISES = (1.0, 0.25, 4.0)  # a in P1, in units of the entry once b was added


@dataclass(frozen=True, eq=False)
class Counterexample:
    """A vector on which a measure fails a law.

    Attributes
    ----------
    measure : str
        Name of the measure.
    criterion : str
        The law, ``"D1"`` to ``"P2"``, or ``"order"``.
    change : str
        What was done to `before`, in words.
    before : float64 array of shape (n,)
    after : float64 array of shape (n_after,)
    value_before : float
    value_after : float
    """

    measure: str
    criterion: str
    change: str
    before: np.ndarray
    after: np.ndarray
    value_before: float
    value_after: float

    def __str__(self):
        law = LAWS[self.criterion]
        return (
            f"{self.measure} fails {self.criterion} ({law.title}): {law.statement}.\n"
            f"  {self.change}\n"
            f"  before: {_text(self.before)}, value {self.value_before:.9g}\n"
            f"  after:  {_text(self.after)}, value {self.value_after:.9g}, not {law.relation}"
        )

    def summary(self):
        """Both vectors and both values on one line."""
        return (
            f"{_text(self.before)} -> {_text(self.after)}: "
            f"{self.value_before:.6g} -> {self.value_after:.6g}"
        )


def check_sparsity_measure(
    measure,
    criteria=("D1", "D2", "D3", "D4", "P1", "P2"),
    *,
    vectors=None,
    max_examples=200,
    rtol=1e-9,
):
    r"""Search for a vector on which a sparsity measure fails one of the six laws.

    A measure `S` of non-negative magnitudes, larger where they are sparser, should obey

    == ============ ===============================================================================
    D1 Robin Hood   what a larger entry gives to a smaller one lowers S, if less than half their gap
    D2 Scaling      all entries times a positive number leave S as it is
    D3 Rising Tide  a positive number added to all entries lowers S
    D4 Cloning      the vector repeated has the same S
    P1 Bill Gates   for each entry there is a b such that, once b is added, more of it raises S
    P2 Babies       a zero beside the others raises S
    == ============ ===============================================================================

    and, before all, must not depend on the order of the entries, which is checked first.

    Parameters
    ----------
    measure : callable or str
        ``measure(c)`` returns a number for an array `c` of shape (n,) with :math:`n \ge 2` entries,
        none negative, not all zero. Or the name of a measure in :mod:`skdict.metrics`.
    criteria : sequence of str, default=("D1", "D2", "D3", "D4", "P1", "P2")
        Laws to check, in this order.
    vectors : hypothesis strategy, default=None
        Vectors to search through; None stands for :func:`skdict.testing.vectors`. For a measure
        with a smaller domain, for example ``vectors(zeros=False)``.
    max_examples : int, default=200
        Vectors that each law is tried on.
    rtol : float, default=1e-9
        Difference, relative to the sum of the two absolute values, up to which they are equal.

    Returns
    -------
    None

    Raises
    ------
    AssertionError
        On the first law that fails, with the smallest counterexample found and both values; or if
        a law could not be tried because the measure was undefined on all vectors.

    Notes
    -----
    No failure is no proof: it says that so many random vectors refute nothing. The search repeats
    itself exactly.

    What the laws leave open is left out: constant vectors for D3, already the least sparse; a
    single non-zero entry for P2, already the sparsest; for P1 everything but three or more entries
    that all differ (of a single non-zero entry nothing can grow sparser, and :math:`u_\theta` does
    not see the others where many are equal). In D1 the two entries differ by a twentieth of the
    larger one or more. Where a value is NaN, or both are the same infinity, nothing is said.

    "There is a b" cannot be searched in full: b runs over the powers of two from 1/8 to 16 times
    the largest entry, and a counterexample to P1 fails for each of them.

    References
    ----------
    Hurley and Rickard, "Comparing measures of sparsity", IEEE Transactions on Information Theory
    55(10), 2009, arXiv:0811.4706.

    Examples
    --------
    >>> from skdict.metrics import gini
    >>> from skdict.testing import check_sparsity_measure
    >>> check_sparsity_measure(gini, max_examples=50)
    >>> def share_of_the_largest(c):
    ...     return c.max() / c.sum()
    >>> check_sparsity_measure(share_of_the_largest, max_examples=50)
    Traceback (most recent call last):
        ...
    AssertionError: share_of_the_largest fails D1 (Robin Hood): ...
    """
    if isinstance(criteria, str):
        criteria = (criteria,)
    unknown = [criterion for criterion in criteria if criterion not in CRITERIA]
    if unknown or not criteria:
        raise ValueError(
            f"check_sparsity_measure: criteria={criteria!r} must name one or more of {CRITERIA}."
        )
    for criterion in ("order", *criteria):
        found = search(measure, criterion, vectors, max_examples, rtol)
        if found is not None:
            raise AssertionError(str(found))


def search(measure, criterion, vectors=None, max_examples=200, rtol=1e-9):
    """Smallest counterexample found, or None."""
    name, law = name_of(measure), LAWS[criterion]
    value = functools.partial(_value, MEASURES[name] if isinstance(measure, str) else measure, name)
    if vectors is None:
        vectors = default_vectors(distinct=criterion == "P1")

    def refutes(alternatives):
        verdict = _refutation(value, law, alternatives, rtol)
        assume(verdict is not _UNDECIDED)
        return verdict is not None

    options = settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    try:
        alternatives = find(law.changes(vectors), refutes, settings=options, random=Random(0))
    except NoSuchExample:
        return None
    except Unsatisfiable:
        raise AssertionError(
            f"{name} could not be tried for {criterion} ({law.title}): it was undefined on every "
            "vector, or no vector had what this law asks for. Pass vectors= on which it is defined."
        ) from None
    change = _refutation(value, law, alternatives, rtol)
    before, after = value(change.before), value(change.after)
    return Counterexample(name, criterion, change.what, change.before, change.after, before, after)


def name_of(measure):
    """Name of a measure as messages give it."""
    if isinstance(measure, str):
        if measure not in MEASURES:
            raise ValueError(f"measure={measure!r} is unknown. Choose one of {tuple(MEASURES)}.")
        return measure
    if not callable(measure):
        raise TypeError(f"measure={measure!r} is neither callable nor the name of a measure.")
    if isinstance(measure, functools.partial):
        given = [repr(a) for a in measure.args]
        given += [f"{key}={value!r}" for key, value in measure.keywords.items()]
        return f"{name_of(measure.func)}({', '.join(given)})"
    return getattr(measure, "__name__", None) or type(measure).__name__


def _value(measure, name, c):
    """Value of a measure as a float; it gets a copy, which it may change."""
    try:
        value = np.asarray(measure(c.copy()))
    except Exception as error:
        error.add_note(f"raised by {name} on the vector {_text(c)}")
        raise
    if value.size != 1 or value.dtype.kind not in "fiub":
        raise TypeError(
            f"{name}: one number is needed for a vector of shape {c.shape}, but it returned "
            f"{value!r}. A measure of matrices can be wrapped: lambda c: measure(c[None, :])[0]."
        )
    return float(value.reshape(()))


# What a law says


class Change(NamedTuple):
    """One comparison: the vector before and after, and what was done to it."""

    before: np.ndarray
    after: np.ndarray
    what: str


class Law(NamedTuple):
    """`changes(vectors)` draws alternatives, each a tuple of changes; one has to hold throughout.

    All laws but P1 have one alternative with one change; those of P1 are the values of b.
    """

    title: str
    statement: str
    relation: str
    changes: Callable


_UNDECIDED = object()


def _refutation(value, law, alternatives, rtol):
    """The first change that breaks the law, None where an alternative holds, or _UNDECIDED."""
    broken = []
    for changes in alternatives:
        for change in changes:
            holds = _holds(value(change.before), value(change.after), law.relation, rtol)
            if not holds:
                broken.append(_UNDECIDED if holds is None else change)
                break
        else:
            return None
    return _UNDECIDED if _UNDECIDED in broken else broken[0]


def _holds(before, after, relation, rtol):
    """Whether the value is lower, higher or equal after a change; None where nothing is said."""
    if math.isnan(before) or math.isnan(after) or (math.isinf(before) and before == after):
        return None
    margin = 0.0  # beside an infinite value
    if math.isfinite(before) and math.isfinite(after):
        margin = rtol * (abs(before) + abs(after)) + 1e-12
    if relation == "lower":
        return after < before - margin
    if relation == "higher":
        return after > before + margin
    return abs(after - before) <= margin


def _one(before, after, what):
    return ((Change(before, after, what),),)


@st.composite
def _order(draw, vectors):
    c = draw(vectors)
    order = draw(st.permutations(range(c.size)))
    return _one(c, c[order], f"the entries in the order {order}")


@st.composite
def _robin_hood(draw, vectors):
    c = draw(vectors)
    gap = c[:, None] - c[None, :]
    pairs = np.argwhere((gap > 0) & (gap >= c[:, None] / 20)).tolist()
    assume(pairs)
    rich, poor = draw(st.sampled_from(pairs))
    a = draw(st.sampled_from([0.5, 0.25, 0.75, 0.1, 0.9, 0.05, 0.95])) * gap[rich, poor] / 2
    after = c.copy()
    after[rich] -= a
    after[poor] += a
    return _one(c, after, f"{a:.6g} taken from entry {rich} and given to entry {poor}")


@st.composite
def _scaling(draw, vectors):
    c = draw(vectors)
    factor = draw(st.sampled_from([2.0, 0.5, 10.0, 0.1, 3.0, 100.0, 0.01, 1000.0, 0.001]))
    return _one(c, factor * c, f"all entries times {factor:g}")


@st.composite
def _rising_tide(draw, vectors):
    c = draw(vectors.filter(lambda c: c.min() < c.max()))
    a = draw(st.sampled_from([1.0, 0.5, 2.0, 0.1, 5.0]))
    return _one(c, c + a, f"{a:g} added to all entries")


@st.composite
def _cloning(draw, vectors):
    c, copies = draw(vectors), draw(st.sampled_from([2, 3]))
    return _one(c, np.tile(c, copies), f"the vector {'twice' if copies == 2 else 'three times'}")


@st.composite
def _bill_gates(draw, vectors):
    c = draw(vectors.filter(lambda c: np.unique(c).size == c.size > 2))
    i = draw(st.integers(0, c.size - 1))
    return tuple(
        tuple(_richer(c, i, b, a * (c[i] + b)) for a in _RAISES) for b in c.max() * np.array(_GRID)
    )


def _richer(c, i, b, a):
    before, after = c.copy(), c.copy()
    before[i] += b
    after[i] += b + a
    what = (
        f"entry {i}, {c[i]:g} at first, has b={b:g} added and then a={a:g}; for each b from "
        f"{min(_GRID):g} to {max(_GRID):g} times the largest entry such an a was found"
    )
    return Change(before, after, what)


@st.composite
def _babies(draw, vectors):
    c = draw(vectors.filter(lambda c: np.count_nonzero(c) > 1))
    return _one(c, np.append(c, 0.0), "a zero appended")


def _text(c):
    """A vector in few characters."""
    entries = [f"{entry:.6g}" for entry in c]
    if len(entries) > 12:
        entries = [*entries[:6], f"... {len(entries)} entries ...", *entries[-5:]]
    return f"({', '.join(entries)})"


LAWS = {
    "order": Law(
        "symmetry", "the order of the entries does not change a sparsity measure", "equal", _order
    ),
    "D1": Law("Robin Hood", "taking from the rich for the poor lowers it", "lower", _robin_hood),
    "D2": Law("Scaling", "multiplying all entries leaves it as it is", "equal", _scaling),
    "D3": Law("Rising Tide", "adding the same to all entries lowers it", "lower", _rising_tide),
    "D4": Law("Cloning", "repeating the vector leaves it as it is", "equal", _cloning),
    "P1": Law(
        "Bill Gates",
        "once an entry is rich enough, making it richer raises it",
        "higher",
        _bill_gates,
    ),
    "P2": Law("Babies", "a zero beside the others raises it", "higher", _babies),
}
CRITERIA = ("D1", "D2", "D3", "D4", "P1", "P2")
