"""Atoms of unit norm.

The optimiser keeps them so: :func:`skdict.kernels.adam.adam_unit_rows` projects the gradient on the
tangent of the sphere and normalises after the step.
"""

from skdict.backend import namespace


def unit_rows(components):
    """Rows divided by their Euclidean norm; rows of zeros stay."""
    return norms_and_units(components)[1]


def norms_and_units(components):
    """Euclidean norms of the rows, one for rows of zeros, and the rows divided by them.

    Squares neither overflow nor vanish: rows are divided by their largest entry first.
    """
    xp = namespace(components)
    largest = xp.max(xp.abs(components), axis=1, keepdims=True)
    largest = xp.where(largest == 0, xp.ones_like(largest), largest)
    scaled = components / largest
    norms = xp.sqrt(xp.sum(scaled * scaled, axis=1, keepdims=True))
    norms = xp.where(norms == 0, xp.ones_like(norms), norms)
    return (largest * norms)[:, 0], scaled / norms
