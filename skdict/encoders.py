"""Encoders: from a batch to heads, the named codes that terms read.

Contract of an encoder::

    init(components) -> params                            what it learns, by fitted name
    forward(X, params, context) -> heads, tape            tape: private, for backward
    backward(d_heads, tape, params, grads) -> None        adds into grads
    for_inference(params, n_samples) -> encoder           treats rows independently
    rows(start, stop) -> encoder                          for these of all rows that it encodes
    rows_at_a_time                                        that it encodes best, on one thread

and of an activation, which :class:`Affine` completes to an encoder::

    init(n_components, like) -> params
    forward(U, params, context) -> heads, tape
    backward(d_heads, tape, params) -> list of d_U, d_params
    heads                    their names
    support                  name of a bias: all is zero where ``U + bias <= 0``; U then comes as
                             codes, sparse if few entries remain.  None: U comes in tiles of rows
"""

from typing import NamedTuple

import numpy as np

from skdict import codes
from skdict.backend import is_host, namespace
from skdict.kernels import products
from skdict.kernels.dense import matmul, product_of_support, product_tiles


class Context(NamedTuple):
    """Facts about the run; never arrays to learn.

    ``dead``: host mask (n_components,) of latents that have been silent too long, None where there
    are none (so in `transform`); ``step``: optimiser steps taken before this one; ``dead_rows``:
    samples of the batch that dead latents look at (:func:`skdict.revival.dead_every`);
    ``density``: the share of codes that were not zero in the last step; ``still``: on a GPU, where
    the host may know the dead of some steps ago, which of them are so still, (n_dead,) beside the
    parameters.
    """

    dead: object = None
    step: int = 0
    dead_rows: slice = slice(None)
    density: float = 1.0
    still: object = None


INFERENCE = Context()


class Affine:
    """An affine map, then an activation.

    The linear algebra of an autoencoder, with b the decoder bias, D the components, W the encoder::

        forward    U = (X - b) Wᵀ    Z = activation(U)    X̂ = Z D + b    R = X̂ - X
        backward   dZ = R Dᵀ / n     dU = activation'(dZ)
                   dW = dUᵀ (X - b)  dD = Zᵀ R / n        db = 1ᵀ R / n - (1ᵀ dU) W

    U exists a tile of rows at a time, unless much of it is needed. An activation that takes tiles
    (top-k) must not keep a view of them.

    `precision` is that of the product U on a GPU (:mod:`skdict.kernels.dense`); it decides which
    codes are not zero, the values of these are computed in the precision of the data.
    """

    rows_at_a_time = 2048  # two tiles of the product

    def __init__(self, activation, precision="highest"):
        self.activation = activation
        self.precision = precision

    def init(self, components):
        xp = namespace(components)
        return {
            "encoder": xp.asarray(components, copy=True),  # starts as the transposed decoder
            **self.activation.init(components.shape[0], components),
        }

    def forward(self, X, params, context):
        centred = X - params["decoder_bias"]
        W = params["encoder"]

        def activate(U):
            return self.activation.forward(U, params, context)

        if self.activation.support is None:
            heads, tape = codes.stack(product_tiles(centred, W.T, activate, self.precision))
        else:
            bias = params[self.activation.support]
            heads, tape = activate(sparse_or_dense(centred, W.T, bias, self.precision))
        return heads, (centred, tape)

    def backward(self, d_heads, tape, params, grads):
        centred, tape = tape
        d_U, d_params = self.activation.backward(d_heads, tape, params)
        for gradient in d_U:
            codes.add_outer(grads["encoder"], gradient, centred)
            # Reduced over the batch before it meets W: a vector times a matrix.
            grads["decoder_bias"] -= codes.column_sum(gradient) @ params["encoder"]
        for name, gradient in d_params.items():
            grads[name] += gradient

    def for_inference(self, params, n_samples):
        return self

    def rows(self, start, stop):
        return self


DENSE_FROM = 0.15  # density from which dense products are faster (doc/benchmarks/density.py)


def sparse_or_dense(A, B, bias, precision="highest"):
    """``U = A @ B``, of which only entries with ``U + bias > 0`` count: sparse codes if few do.

    What becomes of the other entries of a dense result is the caller's business.
    """
    if not is_host(namespace(A)):
        return product_of_support(A, B, bias, precision)
    if _is_dense(A, B, bias):
        return matmul(A, B)

    def positive(U):
        return positive_entries(U, bias, B.shape[1])

    tiles = product_tiles(A, B, positive)
    return codes.stack(tiles) if tiles else positive(A @ B)


def positive_entries(U, bias, n_components, in_order=True):
    """Entries of U where ``U + bias > 0``, as sparse codes."""
    return codes.SparseCodes(*products.positive_support(U, bias, in_order), n_components)


def _is_dense(A, B, bias):
    # A sample of rows is enough: the choice only concerns speed.
    U = A[:: max(1, A.shape[0] // 16)] @ B
    return np.count_nonzero(U + bias > 0) > DENSE_FROM * U.size
