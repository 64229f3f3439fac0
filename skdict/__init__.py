"""Sparse dictionary learning for the scikit-learn world."""

from skdict.autoencoders.gated import GatedAutoencoder
from skdict.autoencoders.relu import SparseAutoencoder
from skdict.autoencoders.topk import TopKAutoencoder
from skdict.coders.lasso import LassoCoder
from skdict.coders.matching_pursuit import MatchingPursuitCoder
from skdict.coders.threshold import ThresholdCoder
from skdict.moving import to_device

__version__ = "0.1.0"

__all__ = [
    "GatedAutoencoder",
    "LassoCoder",
    "MatchingPursuitCoder",
    "SparseAutoencoder",
    "ThresholdCoder",
    "TopKAutoencoder",
    "to_device",
]
