"""Which measures obey which laws, as a table with a counterexample for every blank."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from skdict.testing.check import MEASURES, Search, Untried, name_of
from skdict.testing.laws import CRITERIA


@dataclass(frozen=True, eq=False)
class CriteriaTable:
    """Result of :func:`criteria_table`; `print` shows it.

    Attributes
    ----------
    measures : tuple of str
        Names, one per row.
    criteria : tuple of str
        Laws, one per column.
    counterexamples : dict
        ``(measure, criterion)`` to the :class:`Counterexample` of each blank.
    untried : set
        ``(measure, criterion)`` of each question mark: the measure was undefined throughout.
    """

    measures: tuple
    criteria: tuple
    counterexamples: dict
    untried: frozenset

    def obeys(self, measure, criterion):
        """Whether the search tried, and found no counterexample."""
        if measure not in self.measures or criterion not in self.criteria:
            raise ValueError(
                f"CriteriaTable.obeys: {measure!r}, {criterion!r} is no cell of the table. Choose "
                f"one of {self.measures} and one of {self.criteria}."
            )
        cell = measure, criterion
        return cell not in self.counterexamples and cell not in self.untried

    def to_frame(self):
        """A pandas DataFrame with one row per measure and one column per law.

        A cell holds ``"X"``, the counterexample on one line, or ``"?"``.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                f"CriteriaTable.to_frame needs pandas ({error}). Install it, or print the table."
            ) from error
        rows = [[self._cell(m, c) for c in self.criteria] for m in self.measures]
        return pd.DataFrame(rows, index=list(self.measures), columns=list(self.criteria))

    def _cell(self, measure, criterion):
        found = self.counterexamples.get((measure, criterion))
        return self._mark(measure, criterion).strip() if found is None else found.summary()

    def _mark(self, measure, criterion):
        if (measure, criterion) in self.untried:
            return "? "
        return "X " if self.obeys(measure, criterion) else "  "

    def __str__(self):
        width = max(len("measure"), *(len(name) for name in self.measures))
        lines = ["  ".join(["measure".ljust(width), *self.criteria])]
        for name in self.measures:
            marks = [self._mark(name, c) for c in self.criteria]
            lines.append("  ".join([name.ljust(width), *marks]).rstrip())
        if self.counterexamples:
            lines += ["", "Counterexamples, vector and value before -> after:"]
        for (name, criterion), found in self.counterexamples.items():
            lines.append(f"{name.ljust(width)}  {criterion}  {found.summary()}")
        return "\n".join(lines)


def criteria_table(measures=None, *, vectors=None, max_examples=200, rtol=1e-10, atol=1e-12):
    """Search for counterexamples to the six laws for several measures.

    Parameters
    ----------
    measures : sequence of callables or names, or dict of name to callable, default=None
        Each as in :func:`check_sparsity_measure`; None stands for the sixteen of
        :mod:`skdict.metrics`.
    vectors : hypothesis strategy, default=None
        Vectors to search through; None stands for :func:`skdict.testing.vectors`.
    max_examples : int, default=200
        Vectors that each law is tried on.
    rtol : float, default=1e-10
        Relative difference up to which two values are equal.
    atol : float, default=1e-12
        Absolute one, in laws that ask for equal values.

    Returns
    -------
    table : CriteriaTable
        ``print(table)`` shows an X where the search refuted nothing, which is no proof, and below,
        for each blank, the smallest counterexample found; a question mark is a law that could not
        be tried. ``table.to_frame()`` is for pandas.

    Raises
    ------
    AssertionError
        If a measure depends on the order of the entries, before any law is tried.

    Examples
    --------
    >>> from skdict.testing import criteria_table
    >>> table = criteria_table(["gini", "neg_l1"], max_examples=50)
    >>> table.obeys("gini", "D4"), table.obeys("neg_l1", "D4")
    (True, False)
    >>> print(table.counterexamples["neg_l1", "D4"].summary())
    (0, 1) -> (0, 1, 0, 1): -1 -> -2
    """
    named = _named(measures)
    look = Search("criteria_table", vectors, max_examples, rtol, atol)
    counterexamples, untried = {}, set()
    for criterion in ("order", *CRITERIA):
        for name, measure in named.items():
            try:
                found = look.counterexample(measure, criterion, name)
            except Untried:
                untried.add((name, criterion))
                continue
            if found is not None and criterion == "order":
                raise AssertionError(str(found))
            if found is not None:
                counterexamples[name, criterion] = found
    cells = [(name, criterion) for name in named for criterion in CRITERIA]
    counterexamples = {cell: counterexamples[cell] for cell in cells if cell in counterexamples}
    return CriteriaTable(tuple(named), CRITERIA, counterexamples, frozenset(untried & set(cells)))


def _named(measures):
    if measures is None:
        return dict(MEASURES)
    if isinstance(measures, str) or callable(measures):
        measures = [measures]
    if not isinstance(measures, Iterable):
        raise TypeError(f"criteria_table: measures={measures!r} is neither a sequence nor a dict.")
    if isinstance(measures, Mapping):
        named = {str(name): measure for name, measure in measures.items()}
        for measure in named.values():
            name_of(measure)  # an unknown name or no measure at all
    else:
        measures = list(measures)
        named = {name_of(measure): measure for measure in measures}
    if len(named) < len(measures):
        raise ValueError(
            "criteria_table: two measures have the same name. Pass a dict of name to measure."
        )
    if not named:
        raise ValueError("criteria_table: measures is empty. Pass at least one, or None for all.")
    return named
