"""Property-based tests of sparsity measures, and hypothesis strategies for codes and problems.

Needs hypothesis, which ``pip install skdict[test]`` brings; nothing else in skdict imports it.
"""

try:
    import hypothesis  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"skdict.testing needs hypothesis ({error}). Install it, or skdict with its extra: "
        "pip install skdict[test]."
    ) from error

from skdict.testing.check import Counterexample, check_sparsity_measure
from skdict.testing.strategies import Problem, codes, problems, vectors
from skdict.testing.table import CriteriaTable, criteria_table

__all__ = [
    "Counterexample",
    "CriteriaTable",
    "Problem",
    "check_sparsity_measure",
    "codes",
    "criteria_table",
    "problems",
    "vectors",
]
