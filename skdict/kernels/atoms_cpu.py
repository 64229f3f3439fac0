"""Descent on atoms, compiled; see :mod:`skdict.kernels.atoms`.

What the statistics ask of a block of atoms comes from one product; within the block, each atom
that moves corrects what is asked of those after it.
"""

import numpy as np

from skdict.kernels._jit import jit
from skdict.kernels.dense import matmul

_BLOCK = 64  # atoms


def descend(D, A, B, positive):
    for start in range(0, D.shape[0], _BLOCK):
        block = slice(start, start + _BLOCK)
        _descend_block(D, A, B[block] - matmul(A[block], D), start, positive)


@jit
def _descend_block(D, A, asked, start, positive):
    # asked = B - A D of the block
    count, d = asked.shape
    atom = np.empty(d, dtype=D.dtype)
    for p in range(count):
        j = start + p
        pivot = A[j, j]
        if pivot <= 0:
            continue
        for f in range(d):
            value = D[j, f] + asked[p, f] / pivot
            atom[f] = D.dtype.type(0) if positive and value < 0 else value
        # A sum in a loop that stores would be vectorised or not by where the arrays lie in memory,
        # and its last bit with it.
        square = 0.0
        for f in range(d):
            square += np.float64(atom[f]) * atom[f]
        if square == 0:
            continue
        factor = D.dtype.type(1 / np.sqrt(square))
        for f in range(d):
            atom[f] *= factor
        for f in range(d):
            old = D[j, f]
            D[j, f] = atom[f]
            atom[f] -= old
        for q in range(p + 1, count):
            a = A[start + q, j]
            if a != 0:
                for f in range(d):
                    asked[q, f] -= a * atom[f]
