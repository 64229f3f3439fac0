"""Random dictionaries and the magnitudes of active entries, in blocks of rows."""

import numpy as np

ENSEMBLES = ("spherical", "gaussian", "rademacher")
MAGNITUDES = ("half_normal", "normal", "ones")
BLOCK_ENTRIES = 2**20  # of the float64 numbers that are drawn at a time


def random_atoms(random, shape, ensemble, dtype=np.float64):
    """A dictionary of shape (n_components, n_features); no second array of its size is made."""
    atoms = np.empty(shape, dtype=dtype)
    n_rows = max(1, BLOCK_ENTRIES // shape[1])
    draw = {"spherical": _spherical, "gaussian": _gaussian, "rademacher": _rademacher}[ensemble]
    for start in range(0, shape[0], n_rows):
        draw(random, atoms[start : start + n_rows])
    return atoms


def _spherical(random, out):
    normal = random.standard_normal(out.shape)
    out[...] = normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _gaussian(random, out):
    out[...] = random.standard_normal(out.shape) / np.sqrt(out.shape[1])


def _rademacher(random, out):
    packed = np.frombuffer(random.bytes(-(-out.size // 8)), dtype=np.uint8)
    out[...] = np.unpackbits(packed, count=out.size).reshape(out.shape)
    out *= 2
    out -= 1
    out /= np.sqrt(out.dtype.type(out.shape[1]))


def random_magnitudes(random, shape, magnitudes):
    """Values of the active entries."""
    if magnitudes == "ones":
        return np.ones(shape)
    normal = random.standard_normal(shape)
    return np.abs(normal) if magnitudes == "half_normal" else normal
