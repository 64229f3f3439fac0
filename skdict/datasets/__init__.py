"""Data to fit, test and show dictionaries on: real activations and synthetic superposition.

And activations of your own, in files that need not fit in memory.
"""

from skdict.datasets.shards import open_shards
from skdict.datasets.superposition import make_superposition, support_entropy
from skdict.datasets.tokens import load_token_activations, token_context

__all__ = [
    "load_token_activations",
    "make_superposition",
    "open_shards",
    "support_entropy",
    "token_context",
]
