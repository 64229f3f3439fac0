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
    xp = namespace(components)
    # The largest entry first, so that squares neither overflow nor vanish.
    largest = xp.max(xp.abs(components), axis=1, keepdims=True)
    scaled = components / xp.where(largest == 0, xp.ones_like(largest), largest)
    norms = xp.sqrt(xp.sum(scaled * scaled, axis=1, keepdims=True))
    return scaled / xp.where(norms == 0, xp.ones_like(norms), norms)
