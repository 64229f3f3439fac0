"""The six laws of Hurley and Rickard (2009): what each does to a vector, and what must follow.

D1 to D4 go back to Dalton (1920); statements as in arXiv:0811.4706, section II.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

_GRID = (1.0, 2.0, 4.0, 8.0, 16.0, 0.5, 0.25, 0.125)  # b of P1, in units of the largest entry
_RAISES = (1.0, 0.25, 4.0)  # a in P1, in units of the entry once b was added


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
    least = np.maximum(c[:, None] / 20, c.max() / 1000)
    pairs = np.argwhere(gap >= least).tolist()
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
    factor = draw(st.sampled_from([2.0, 0.5, 10.0, 0.1, 3.0, 1e3, 1e-3, 1e6, 1e-6]))
    return _one(c, factor * c, f"all entries times {factor:g}")


@st.composite
def _rising_tide(draw, vectors):
    c = draw(vectors.filter(lambda c: c.min() < c.max()))
    a = draw(st.sampled_from([1.0, 0.5, 2.0, 0.1, 5.0])) * c.max()
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


def text_of(c):
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
