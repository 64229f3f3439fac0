"""Atoms of unit norm: the projection of a gradient on the sphere's tangent, and the way back.

The optimiser fuses both with its update (:func:`skdict.kernels.adam.adam_unit_rows`).
"""

from skdict.backend import namespace


def project_tangent(gradient, components):
    """Remove from each row of `gradient` its component along the unit atom."""
    xp = namespace(gradient)
    return gradient - xp.sum(gradient * components, axis=1, keepdims=True) * components


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
