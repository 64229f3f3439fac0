"""Hypothesis strategies for codes, dictionaries and whole problems, as host arrays.

Shapes and kinds are drawn by hypothesis, so that failures shrink; entries come from a seeded
stream.
"""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)
streams = seeds.map(np.random.default_rng)


class Sparse(NamedTuple):
    """A matrix of codes as CSR and dense, with a dictionary and a matrix shaped like the data."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    dense: np.ndarray
    D: np.ndarray
    G: np.ndarray

    @property
    def n_components(self):
        return self.dense.shape[1]


@st.composite
def sparse_problems(draw, dtype="float64"):
    """Codes of any density with empty rows and stored zeros, often with no entry at all."""
    rng = draw(streams)
    n, m, d = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 7))
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    return sparse_problem(rng, n, m, d, density, dtype)


def sparse_problem(rng, n, m, d, density, dtype="float64"):
    mask = rng.random((n, m)) < density
    mask[rng.random(n) < 0.2] = False  # empty rows
    dense = np.where(mask, rng.standard_normal((n, m)), 0.0)
    dense[rng.random((n, m)) < 0.1] = 0.0  # stored zeros
    rows, columns = np.nonzero(mask)
    indptr = np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.int64)
    dense = dense.astype(dtype)
    D = rng.standard_normal((m, d)).astype(dtype)
    G = rng.standard_normal((n, d)).astype(dtype)
    return Sparse(indptr, columns.astype(np.int32), dense[rows, columns], dense, D, G)


def unit_dictionary(rng, n_components, n_features, dtype="float64"):
    """Random atoms of unit norm."""
    D = rng.standard_normal((n_components, n_features))
    return (D / np.linalg.norm(D, axis=1, keepdims=True)).astype(dtype)


@st.composite
def pursuit_problems(draw, overcomplete=True):
    """Data, unit atoms in general position and a number of steps."""
    rng = draw(streams)
    d = draw(st.integers(2, 7))
    m = draw(st.integers(2, 14) if overcomplete else st.integers(1, d))
    X = rng.standard_normal((draw(st.integers(1, 6)), d))
    return X, unit_dictionary(rng, m, d), draw(st.integers(1, min(m, d)))


class Problem(NamedTuple):
    """Data and parameters for any autoencoder: nothing is zero, of unit norm, or tied."""

    X: np.ndarray
    params: dict
    dead: np.ndarray


def problem(rng, n=4, m=6, d=3):
    def normal(*shape, scale):
        return scale * rng.standard_normal(shape)

    params = {
        "components": normal(m, d, scale=0.8),
        "decoder_bias": normal(d, scale=0.5),
        "encoder": normal(m, d, scale=0.9),
        "encoder_bias": normal(m, scale=0.4),
        "gate_bias": normal(m, scale=0.4),
        "magnitude_log_scale": normal(m, scale=0.3),
        "hidden_encoder": normal(d, d, scale=0.9),
        "hidden_bias": normal(d, scale=0.4) + 0.3,
    }
    dead = np.zeros(m, dtype=bool)
    dead[rng.permutation(m)[: max(1, m // 2)]] = True
    return Problem(normal(n, d, scale=1.3) + 0.2, params, dead)


@st.composite
def problems(draw):
    """Tiny problems of autoencoders."""
    sizes = draw(st.integers(1, 4)), draw(st.integers(4, 6)), draw(st.integers(2, 4))
    return problem(draw(streams), *sizes)
