"""Trials of a coder on sums of k atoms of a random dictionary whose support is known."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import clone

from skdict.backend import to_numpy
from skdict.datasets._ensembles import random_atoms, random_magnitudes
from skdict.metrics._checks import as_matrix, canonical

FUNCTION = "superposition_bitrate"


class Setting(NamedTuple):
    n_components: int
    k: int
    ensemble: str
    magnitudes: str
    n_supports: np.ndarray  # of each dictionary


class Outcomes(NamedTuple):
    """What happened at one number of features, one entry a dictionary."""

    exact: np.ndarray  # supports that were found exactly
    missed: np.ndarray  # share of the active entries that were missed


def as_encoder(coder):
    """``encode(X, dictionary, k)`` of an estimator or a callable."""
    if hasattr(coder, "get_params") and not isinstance(coder, type):
        parameters = coder.get_params(deep=False)
        if "dictionary" in parameters:
            return _encoder_of(coder, parameters)
    elif callable(coder) and not isinstance(coder, type):
        return coder
    what = "is a class" if isinstance(coder, type) else "has no parameter dictionary"
    raise TypeError(
        f"{FUNCTION}: coder={coder!r} {what}. Pass a coder such as "
        "MatchingPursuitCoder(algorithm='mp'), or a function coder(X, dictionary, k) that returns "
        "codes."
    )


def _encoder_of(coder, parameters):
    same = {"n_components": "auto", "sparse_output": True}
    same = {name: value for name, value in same.items() if name in parameters}

    def encode(X, dictionary, k):
        number = {"k": k} if parameters.get("k") is not None else {}
        mine = clone(coder).set_params(dictionary=dictionary, **same, **number)
        if hasattr(mine, "set_output"):
            mine.set_output(transform="default")
        return mine.fit_transform(X)

    return encode


def run(encode, n_features, setting, seed):
    """Outcomes at one number of features; every dictionary has streams of its own."""
    hits = [
        _hits_with(encode, n_features, setting, int(n_supports), [*seed, n_features, i])
        for i, n_supports in enumerate(setting.n_supports)
    ]
    exact = [np.count_nonzero(one == setting.k) for one in hits]
    return Outcomes(np.array(exact), np.array([1 - one.mean() / setting.k for one in hits]))


def _hits_with(encode, n_features, setting, n_supports, seed):
    """Active entries that were found of each support, all on one dictionary."""
    m, k, ensemble, magnitudes, _ = setting
    streams = np.random.SeedSequence(seed).spawn(3)
    atoms, supports, values = map(np.random.default_rng, streams)
    dictionary = random_atoms(atoms, (m, n_features), ensemble, np.float32)
    active = random_supports(supports, n_supports, m, k)
    X = _mixtures(dictionary, active, random_magnitudes(values, active.shape, magnitudes))
    return _hits(_checked(encode(X, dictionary, k), n_supports, m), active)


def random_supports(random, n_supports, n_components, k):
    """Uniform k-subsets of the components, sorted: (n_supports, k)."""
    draws = [
        random.choice(n_components, k, replace=False, shuffle=False) for _ in range(n_supports)
    ]
    return np.sort(draws, axis=1)


def _mixtures(dictionary, active, values):
    values = values.astype(np.float32)
    return np.stack([row @ dictionary[columns] for row, columns in zip(values, active)])


def _checked(Z, n_samples, n_components):
    """Codes that a coder returned, as CSR."""
    if not issparse(Z):
        Z = as_matrix(FUNCTION, "what coder returned", Z)
    if Z.shape != (n_samples, n_components):
        raise ValueError(
            f"{FUNCTION}: coder returned codes of shape {Z.shape}, but (n_samples, n_components) = "
            f"{(n_samples, n_components)} is needed. Return one row for each row of X."
        )
    Z = Z if issparse(Z) else csr_array(to_numpy(Z))
    Z = Z.astype(np.float32) if Z.dtype == bool else Z  # a support says as much
    return canonical(FUNCTION, Z, "what coder returned").tocsr()


def _hits(Z, active):
    """Active entries among the non-zeros of each row, of these the k largest in magnitude."""
    hits = np.empty(len(active), dtype=np.int64)
    for i, columns in enumerate(active):
        row = slice(Z.indptr[i], Z.indptr[i + 1])
        sizes, found = np.abs(Z.data[row]), Z.indices[row]
        order = np.argsort(-sizes, kind="stable")[: columns.size]
        hits[i] = np.isin(columns, found[order[sizes[order] > 0]]).sum()
    return hits
