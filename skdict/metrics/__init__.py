"""Measures of a fit: reconstruction, use of the latents, agreement with a known dictionary."""

from skdict.metrics.dictionary import DictionaryMatch, dictionary_match
from skdict.metrics.usage import (
    dead_fraction,
    dense_fraction,
    explained_variance,
    feature_density,
    mean_l0,
    shrinkage,
)

__all__ = [
    "DictionaryMatch",
    "dead_fraction",
    "dense_fraction",
    "dictionary_match",
    "explained_variance",
    "feature_density",
    "mean_l0",
    "shrinkage",
]
