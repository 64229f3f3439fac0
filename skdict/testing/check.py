"""The search for a counterexample to a law, by hypothesis."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import numpy as np
from hypothesis import HealthCheck, Phase, assume, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample, Unsatisfiable

from skdict.metrics._checks import as_number
from skdict.metrics.sparsity import MEASURES
from skdict.testing.laws import CRITERIA, LAWS, text_of
from skdict.testing.strategies import vectors as default_vectors

_RAISED = "raised by "
_UNDECIDED = object()


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
            f"  before: {text_of(self.before)}, value {self.value_before:.9g}\n"
            f"  after:  {text_of(self.after)}, value {self.value_after:.9g}, not {law.relation}"
        )

    def summary(self):
        """Both vectors and both values on one line."""
        return (
            f"{text_of(self.before)} -> {text_of(self.after)}: "
            f"{self.value_before:.6g} -> {self.value_after:.6g}"
        )


def check_sparsity_measure(
    measure,
    criteria=("D1", "D2", "D3", "D4", "P1", "P2"),
    *,
    vectors=None,
    max_examples=200,
    rtol=1e-10,
    atol=1e-12,
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
        with a smaller domain, for example ``vectors(zeros=False)``. Entries of one vector that
        differ by many orders of magnitude let strict laws fail by rounding.
    max_examples : int, default=200
        Vectors that each law is tried on.
    rtol : float, default=1e-10
        Difference, relative to the sum of the two absolute values, up to which they are equal.
    atol : float, default=1e-12
        In D2, D4 and the order, which ask for equal values, what they may differ by besides.

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
    itself exactly. It is a whole hypothesis test: call it from a plain one, not inside of
    ``@given``.

    What the laws leave open is left out: constant vectors for D3, already the least sparse; a
    single non-zero entry for P2, already the sparsest; for P1 everything but three or more entries
    that all differ (of a single non-zero entry nothing can grow sparser, and :math:`u_\theta` does
    not see the others where many are equal). In D1 the two entries differ by a twentieth of the
    larger one, and by a thousandth of the largest, or more. Where a value is NaN, or both are the
    same infinity, nothing is said.

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
    criteria = _as_criteria(criteria)
    look = Search("check_sparsity_measure", vectors, max_examples, rtol, atol)
    for criterion in ("order", *criteria):
        found = look.counterexample(measure, criterion)
        if found is not None:
            raise AssertionError(str(found))


def _as_criteria(criteria):
    listed = (criteria,) if isinstance(criteria, str) else criteria
    if not isinstance(listed, Iterable) or not (listed := tuple(listed)):
        listed = (None,)
    if not set(listed) <= set(CRITERIA):
        raise ValueError(
            f"check_sparsity_measure: criteria={criteria!r} must name one or more of {CRITERIA}."
        )
    return listed


class Untried(AssertionError):
    """A law that no vector could be compared on."""


class Search:
    """A search with checked options; `function` is named in errors."""

    def __init__(self, function, vectors, max_examples, rtol, atol):
        self.function = function
        if vectors is not None and not isinstance(vectors, st.SearchStrategy):
            raise TypeError(
                f"{function}: vectors={vectors!r} is no hypothesis strategy. Pass, for example, "
                "skdict.testing.vectors(zeros=False)."
            )
        self.vectors = None if vectors is None else vectors.map(self._admissible)
        for name, value in (("rtol", rtol), ("atol", atol)):
            as_number(function, name, value, lambda number: number >= 0, "Choose a number >= 0.")
        self.rtol, self.atol = rtol, atol
        self.options = settings(
            max_examples=max_examples,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )

    def counterexample(self, measure, criterion, name=None):
        """Smallest counterexample found, or None; raises :class:`Untried`."""
        name, law = name or name_of(measure), LAWS[criterion]
        measure = MEASURES[measure] if isinstance(measure, str) else measure
        value = functools.partial(_value, measure, name)

        def refutes(alternatives):
            verdict = self._refutation(value, law, alternatives)
            assume(verdict is not _UNDECIDED)
            return verdict is not None

        vectors = self.vectors
        if vectors is None:
            vectors = default_vectors(distinct=criterion == "P1")
        try:
            found = find(law.changes(vectors), refutes, settings=self.options, random=Random(0))
        except NoSuchExample:
            return None
        except Unsatisfiable:
            raise Untried(
                f"{name} could not be tried for {criterion} ({law.title}): it was undefined on "
                "every vector, or no vector had what this law asks for. Pass vectors= on which it "
                "is defined."
            ) from None
        except Exception as error:  # hypothesis adds what it drew, in terms of this module
            error.__notes__ = [n for n in getattr(error, "__notes__", []) if n.startswith(_RAISED)]
            raise
        change = self._refutation(value, law, found)
        before, after = value(change.before), value(change.after)
        return Counterexample(
            name, criterion, change.what, change.before, change.after, before, after
        )

    def _refutation(self, value, law, alternatives):
        """The first change that breaks the law, None where one holds, or _UNDECIDED."""
        broken = []
        for changes in alternatives:
            for change in changes:
                holds = self._holds(value(change.before), value(change.after), law.relation)
                if not holds:
                    broken.append(_UNDECIDED if holds is None else change)
                    break
            else:
                return None
        return _UNDECIDED if _UNDECIDED in broken else broken[0]

    def _holds(self, before, after, relation):
        """Whether the value is lower, higher or equal after; None where nothing is said."""
        if math.isnan(before) or math.isnan(after) or (math.isinf(before) and before == after):
            return None
        margin = 0.0  # beside an infinite value
        if math.isfinite(before) and math.isfinite(after):
            margin = self.rtol * (abs(before) + abs(after))
        if relation == "lower":
            return after < before - margin
        if relation == "higher":
            return after > before + margin
        return abs(after - before) <= margin + self.atol

    def _admissible(self, c):
        """A vector that the user's strategy drew, as float64."""
        try:
            array = np.array(c, dtype=np.float64)
        except (TypeError, ValueError):
            array = np.empty(())
        if array.ndim != 1 or array.size < 2 or not np.isfinite(array).all():
            rule = "two or more finite numbers"
        elif array.min() < 0 or array.max() == 0:
            rule = "magnitudes, none negative and not all zero: take abs, filter with numpy.any"
        else:
            return array
        raise ValueError(f"{self.function}: vectors= drew {c!r}, and a vector needs {rule}.")


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
        error.add_note(f"{_RAISED}{name} on the vector {text_of(c)}")
        raise
    if value.size != 1 or value.dtype.kind not in "fiub":
        raise TypeError(
            f"{name}: one number is needed for a vector of shape {c.shape}, but it returned "
            f"{value!r}. A measure of matrices can be wrapped: lambda c: measure(c[None, :])[0]."
        )
    return float(value.reshape(()))
