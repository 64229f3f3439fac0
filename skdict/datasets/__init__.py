"""Data to fit, test and show dictionaries on: real activations and synthetic superposition."""

from skdict.datasets.superposition import make_superposition
from skdict.datasets.tokens import load_token_activations, token_context

__all__ = ["load_token_activations", "make_superposition", "token_context"]
