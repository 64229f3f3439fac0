"""Which compositions have a fused training step; all others take the composed one.

A fused step does what `train_step` does with `loss_and_grad` and the optimiser, to rounding, and
never stores the gradient of a matrix. This is the one place that chooses.
"""

import importlib
from functools import partial

import numpy as np

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

    def step(X, params, context, optimizer, state, rate, factors):
        rate, epsilon = optimizer.advance(state, rate)
        rates = {name: rate * factors.get(name, 1.0) for name in params}
        moments, betas = (state["mean"], state["square"]), (optimizer.beta1, optimizer.beta2)
        extra = None
        if context.dead is not None and encoder.k_aux:
            extra = partial(_gradient_of_dead, encoder, terms[1], params, context)
        return kernel.topk_step(X, params, *moments, encoder.k, extra, rates, betas, epsilon)

    return step


def _is_topk(encoder, terms):
    return (
        getattr(encoder, "selects", None) == "topk"
        and [type(term) for term in terms] == [Reconstruction, AuxK]
        and terms[0].head == "codes"
    )


def _gradient_of_dead(encoder, auxk, params, context, centred, residual):
    """Value of AuxK; which latents are dead, and the gradients of their atoms, rows and biases."""
    latents = np.flatnonzero(context.dead)
    rows = centred[:: context.dead_every]
    Z = encoder.codes_of_dead(rows, params, latents)
    atoms, E = params["components"][latents], -residual[:: context.dead_every]
    value, d_Z, d_D = auxk.of_atoms(Z, atoms, E)
    return value, latents, d_D, *encoder.gradient_of_dead(d_Z, Z, rows)
