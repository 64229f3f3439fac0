"""Which compositions have a fused training step; all others take the composed one.

A fused step does what `train_step` does with `loss_and_grad` and the optimiser, to rounding, and
never stores the gradient of a matrix. This is the one place that chooses.
"""

import importlib

import numpy as np

from skdict.encoders import Affine
from skdict.kernels import has_compiled
from skdict.terms import AuxK, Reconstruction


def fused_step(encoder, terms, params):
    """A function ``step(X, params, context, optimizer, state, rate, factors)``, or None.

    It updates `params` and `state`, that of the optimiser, and returns the loss and the number of
    samples in which each latent fired.
    """
    if not has_compiled(params["components"]) or not _is_topk(encoder, terms):
        return None
    kernel = importlib.import_module("skdict.kernels.topk_step_cpu")
    activation, weight = encoder.activation, terms[1].weight

    def step(X, params, context, optimizer, state, rate, factors):
        rate, epsilon = optimizer.advance(state, rate)
        aux = None
        if context.dead is not None and activation.k_aux:
            aux = (np.flatnonzero(context.dead), activation.k_aux, weight)
        return kernel.topk_step(
            X,
            params,
            state["mean"],
            state["square"],
            activation.k,
            aux,
            {name: rate * factors.get(name, 1.0) for name in params},
            (optimizer.beta1, optimizer.beta2),
            epsilon,
        )

    return step


def _is_topk(encoder, terms):
    return (
        type(encoder) is Affine
        and getattr(encoder.activation, "selects", None) == "topk"
        and [type(term) for term in terms] == [Reconstruction, AuxK]
        and terms[0].head == "codes"
    )
