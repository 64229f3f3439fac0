"""Derivatives of a scalar function of named arrays, by central differences of fourth order."""

import numpy as np

STEP = 2.0**-11
# f'(x) = sum of weight * f(x + offset * STEP) / STEP + O(STEP^4)
STENCIL = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}


def numerical_gradient(function, arrays):
    """Gradient of ``function(arrays)``, entry by entry, as a dict like `arrays` (host, float64).

    `function` gets a new dict of new arrays each time; `arrays` is left alone.
    """
    return {name: _gradient(function, arrays, name) for name in arrays}


def _gradient(function, arrays, name):
    gradient = np.zeros_like(arrays[name])
    for index in np.ndindex(gradient.shape):
        for offset, weight in STENCIL.items():
            moved = {key: array.copy() for key, array in arrays.items()}
            moved[name][index] += offset * STEP
            gradient[index] += weight * float(function(moved)) / STEP
    return gradient
