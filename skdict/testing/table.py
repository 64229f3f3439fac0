"""Which measures obey which laws, as a table with a counterexample for every blank."""

from collections.abc import Mapping
from dataclasses import dataclass

from skdict.testing.laws import CRITERIA, MEASURES, name_of, search


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
    """

    measures: tuple
    criteria: tuple
    counterexamples: dict

    def obeys(self, measure, criterion):
        """Whether no counterexample was found."""
        return (measure, criterion) not in self.counterexamples

    def to_frame(self):
        """A pandas DataFrame with one row per measure and one column per law.

        A cell holds ``"X"``, or the counterexample on one line.
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
        if self.obeys(measure, criterion):
            return "X"
        return self.counterexamples[measure, criterion].summary()

    def __str__(self):
        width = max(len("measure"), *(len(name) for name in self.measures))
        lines = ["  ".join(["measure".ljust(width), *self.criteria])]
        for name in self.measures:
            marks = ["X " if self.obeys(name, c) else "  " for c in self.criteria]
            lines.append("  ".join([name.ljust(width), *marks]).rstrip())
        if self.counterexamples:
            lines += ["", "Counterexamples, vector and value before -> after:"]
        for (name, criterion), found in self.counterexamples.items():
            lines.append(f"{name.ljust(width)}  {criterion}  {found.summary()}")
        return "\n".join(lines)


def criteria_table(measures=None, *, vectors=None, max_examples=200, rtol=1e-9):
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
    rtol : float, default=1e-9
        Relative difference up to which two values are equal.

    Returns
    -------
    table : CriteriaTable
        ``print(table)`` shows an X where the search refuted nothing, which is no proof, and below,
        for each blank, the smallest counterexample found; ``table.to_frame()`` is for pandas.

    Raises
    ------
    AssertionError
        If a measure depends on the order of the entries.

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
    counterexamples = {}
    for name, measure in named.items():
        for criterion in ("order", *CRITERIA):
            found = search(measure, criterion, vectors, max_examples, rtol)
            if found is not None and criterion == "order":
                raise AssertionError(str(found))
            if found is not None:
                counterexamples[name, criterion] = found
    return CriteriaTable(tuple(named), CRITERIA, counterexamples)


def _named(measures):
    if measures is None:
        return dict(MEASURES)
    if isinstance(measures, Mapping):
        named = dict(measures)
    elif isinstance(measures, str) or callable(measures):
        named = {name_of(measures): measures}
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
