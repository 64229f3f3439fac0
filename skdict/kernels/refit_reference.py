"""Least squares on given atoms in plain array code; see :mod:`skdict.kernels.refit`."""

import itertools

from skdict.backend import namespace, to_numpy
from skdict.kernels.pursuit_reference import pursuit


def refit(X, D, indptr, indices, positive):
    # Orthogonal pursuit that may select all of a few atoms ends in least squares on them.
    xp = namespace(X)
    values = xp.zeros(indices.shape, dtype=X.dtype)
    ends = [int(end) for end in to_numpy(indptr)]
    for row, (begin, end) in enumerate(itertools.pairwise(ends)):
        if end > begin:
            atoms = xp.take(D, indices[begin:end], axis=0)
            arrays = pursuit(X[row : row + 1, :], atoms, end - begin, None, "omp", positive)
            _, places, codes = (to_numpy(array) for array in arrays)
            for place, code in zip(places, codes, strict=True):
                values[begin + int(place)] = float(code)
    return values
