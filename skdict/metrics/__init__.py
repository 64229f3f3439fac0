"""Measures of codes and of a fit: sparsity, reconstruction, use, agreement with a dictionary."""

from skdict.metrics.bitrate import SuperpositionBitrate, superposition_bitrate
from skdict.metrics.coherence import coherence_excess, mutual_coherence, welch_bound
from skdict.metrics.dictionary import DictionaryMatch, dictionary_match
from skdict.metrics.flops import Flops, flops
from skdict.metrics.load import DensityHistogram, density_histogram, load_entropy, load_gini
from skdict.metrics.scorers import codes_scorer, sparsity_scorer
from skdict.metrics.sparsity import (
    entropy_gaussian,
    entropy_shannon,
    entropy_shannon_modified,
    gini,
    hoyer,
    kappa_4,
    l2_l1,
    n_near_zeros,
    n_zeros,
    neg_l1,
    neg_log,
    neg_lp,
    neg_lp_minus,
    neg_tanh,
    pq_mean,
    u_theta,
)
from skdict.metrics.stability import dictionary_stability
from skdict.metrics.usage import (
    dead_fraction,
    dense_fraction,
    explained_variance,
    feature_density,
    mean_l0,
    shrinkage,
)

__all__ = [
    "DensityHistogram",
    "DictionaryMatch",
    "Flops",
    "SuperpositionBitrate",
    "codes_scorer",
    "coherence_excess",
    "dead_fraction",
    "dense_fraction",
    "density_histogram",
    "dictionary_match",
    "dictionary_stability",
    "entropy_gaussian",
    "entropy_shannon",
    "entropy_shannon_modified",
    "explained_variance",
    "feature_density",
    "flops",
    "gini",
    "hoyer",
    "kappa_4",
    "l2_l1",
    "load_entropy",
    "load_gini",
    "mean_l0",
    "mutual_coherence",
    "n_near_zeros",
    "n_zeros",
    "neg_l1",
    "neg_log",
    "neg_lp",
    "neg_lp_minus",
    "neg_tanh",
    "pq_mean",
    "shrinkage",
    "sparsity_scorer",
    "superposition_bitrate",
    "u_theta",
    "welch_bound",
]
