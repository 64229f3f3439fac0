"""The public estimators in a size for tests, and data for them.

A new estimator gets one line in `DEFAULTS`.
"""

import functools

import numpy as np
import pytest

from skdict import (
    GatedAutoencoder,
    LassoCoder,
    MatchingPursuitCoder,
    SparseAutoencoder,
    ThresholdCoder,
    TopKAutoencoder,
)

DEFAULTS = {
    SparseAutoencoder: {"alpha": 0.3},
    TopKAutoencoder: {"k": 3},
    GatedAutoencoder: {"alpha": 0.3},
    MatchingPursuitCoder: {"k": 3},
    LassoCoder: {"alpha": 0.3},
    ThresholdCoder: {"k": 3},
}
# Autoencoders with as many options as go together: each law holds with them too.
VARIANTS = {
    "free atoms, annealed": (
        SparseAutoencoder,
        {"penalty": "lp", "atom_norms": "free", "incoherence": 0.01, "load_balancing": 0.1},
    ),
    "measure, hidden layer": (
        SparseAutoencoder,
        {"penalty": "hoyer_square", "encoder_hidden": 7, "alpha": 0.05},
    ),
    "balanced": (TopKAutoencoder, {"load_balancing": 0.001}),
    "topk, hidden layer": (TopKAutoencoder, {"encoder_hidden": (7,), "incoherence": 0.01}),
    "gated, hidden layer": (
        GatedAutoencoder,
        {"encoder_hidden": 7, "incoherence": 0.1, "coherence_limit": 0.5, "load_balancing": 0.1},
    ),
}
CODERS = [MatchingPursuitCoder, LassoCoder, ThresholdCoder]
ESTIMATORS = list(DEFAULTS)
AUTOENCODERS = [SparseAutoencoder, TopKAutoencoder, GatedAutoencoder]


def small(cls, **changes):
    """An estimator of `cls` that fits in a few milliseconds."""
    shared = {"n_components": 16, "max_iter": 4, "batch_size": 32, "warmup": 5, "random_state": 0}
    return cls(**{**shared, "dead_after": 300, **DEFAULTS[cls], **changes})


def _each(classes, by_gradient=False):
    makers = [
        functools.partial(small, cls, dict_update="gradient")
        if by_gradient and cls in CODERS
        else functools.partial(small, cls)
        for cls in classes
    ]
    names = [cls.__name__ for cls in classes]
    for name, (cls, options) in VARIANTS.items() if set(AUTOENCODERS) <= set(classes) else ():
        makers.append(functools.partial(small, cls, **options))
        names.append(name)
    return pytest.mark.parametrize("make", makers, ids=names)


each_estimator = _each(ESTIMATORS)
each_autoencoder = _each(AUTOENCODERS)
each_by_gradient = _each(ESTIMATORS, by_gradient=True)


def data(n_samples=120, n_features=6, dtype="float64", seed=0):
    """Samples of unequal columns about a mean that is not zero."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) * rng.uniform(0.5, 2, n_features)
    return (X + rng.standard_normal(n_features)).astype(dtype)


def fitted(estimator):
    """Public fitted attributes by name."""
    return {name: value for name, value in vars(estimator).items() if is_fitted_name(name)}


def is_fitted_name(name):
    return name.endswith("_") and not name.startswith("_")


def assert_same_fit(one, other):
    """Two estimators are fitted alike, to the bit."""
    assert fitted(one).keys() == fitted(other).keys()
    for name, value in fitted(one).items():
        np.testing.assert_equal(getattr(other, name), value, err_msg=name)
