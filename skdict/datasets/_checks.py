"""Checks at the public edge of the generators; below it, everything is trusted."""

from numbers import Integral, Real

import numpy as np


def integer(function, name, value, lowest, highest=None):
    """An integer from `lowest` on, or up to n_components, the `highest`."""
    rule = f"an integer >= {lowest}"
    if highest is not None:
        rule = f"an integer in [{lowest}, n_components={highest}]"
    if not isinstance(value, Integral) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{function}: {name}={value!r} is not an integer. Choose {rule}.")
    if value < lowest or (highest is not None and value > highest):
        raise ValueError(f"{function}: {name}={value} is out of range. Choose {rule}.")
    return int(value)


def number(function, name, value, rule, highest=np.inf):
    """A finite number from 0 to `highest`."""
    if not isinstance(value, Real) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{function}: {name}={value!r} is not a number. Choose {rule}.")
    if not (0 <= value <= highest and value < np.inf):
        raise ValueError(f"{function}: {name}={value} is out of range. Choose {rule}.")
    return float(value)


def choice(function, name, value, allowed):
    """One of the strings `allowed`."""
    rule = "Choose one of " + ", ".join(map(repr, allowed)) + "."
    if not isinstance(value, str):
        raise TypeError(f"{function}: {name}={value!r} is not a string. {rule}")
    if value not in allowed:
        raise ValueError(f"{function}: {name}={value!r} is unknown. {rule}")


def boolean(function, name, value):
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{function}: {name}={value!r} is not a boolean. Choose True or False.")


def parents_of(function, hierarchy, n_components):
    """The parent of each component, -1 for a root; None where all are roots."""
    rule = (
        "Choose None, a number of children >= 1, or an array of the parent of each component, -1 "
        "for those without"
    )
    if hierarchy is None:
        return None
    if isinstance(hierarchy, Integral) and not isinstance(hierarchy, (bool, np.bool_)):
        if hierarchy < 1:
            raise ValueError(f"{function}: hierarchy={hierarchy} is out of range. {rule}.")
        return np.arange(n_components) // min(int(hierarchy), n_components) - 1
    try:
        parents = np.array(hierarchy)
    except ValueError:  # ragged rows
        parents = np.empty(0, dtype=object)
    if parents.dtype.kind not in "iu":
        raise TypeError(f"{function}: hierarchy={hierarchy!r} holds no integers. {rule}.")
    if parents.shape != (n_components,):
        raise ValueError(
            f"{function}: hierarchy has shape {parents.shape}, but {(n_components,)} is needed. "
            f"{rule}."
        )
    parents = parents.astype(np.int64)
    if parents.min() < -1 or parents.max() >= n_components:
        raise ValueError(
            f"{function}: hierarchy holds a parent out of [-1, {n_components - 1}]. {rule}."
        )
    if _is_cyclic(parents):
        raise ValueError(f"{function}: hierarchy has a component that is its own ancestor. {rule}.")
    return parents


def _is_cyclic(parents):
    ancestors = parents
    for _ in range(parents.size.bit_length()):  # of distance 1, 2, 4, ...
        ancestors = np.where(ancestors >= 0, ancestors[ancestors], -1)
    return bool((ancestors >= 0).any())
