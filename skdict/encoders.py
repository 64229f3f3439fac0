"""Encoders: from a batch to heads, the named codes that terms read.

Contract of an encoder::

    init(components, random) -> params                    what it learns, by fitted name
    names                                                 of these
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
from skdict.backend import asarray_like, is_host, namespace, to_numpy
from skdict.kernels import products
from skdict.kernels.dense import matmul, product_of_support, product_tiles


class Context(NamedTuple):
    """Facts about the run; never arrays to learn.

    ``dead``: host mask (n_components,) of latents that have been silent too long, None where there
    are none (so in `transform`); ``step``: optimiser steps taken before this one; ``dead_rows``:
    samples of the batch that dead latents look at (:func:`skdict.revival.dead_every`);
    ``density``: the share of codes that were not zero in the last step; ``still``: on a GPU, where
    the host may know the dead of some steps ago, which of them are so still, (n_dead,) beside the
    parameters; ``progress``: the share, from 0 to 1, of the steps before the rate falls that have
    been taken, 1 where it does not fall.
    """

    dead: object = None
    step: int = 0
    dead_rows: slice = slice(None)
    density: float = 1.0
    still: object = None
    progress: float = 1.0


INFERENCE = Context()


class Hidden:
    """``H = ReLU((X - b) Vᵀ + hidden_bias)`` with V the `hidden_encoder`, between X and U.

    The MLP encoder of the amortisation-gap paper (O'Neill et al., arXiv 2411.13117). Backward, with
    dA = dH where H > 0:  dV = dAᵀ (X - b)  d(hidden_bias) = 1ᵀ dA  db -= (1ᵀ dA) V.
    """

    names = ("hidden_encoder", "hidden_bias")

    def __init__(self, width):
        self.width = width

    def init(self, components, random):
        # Pairs v and -v, so that the layer can be passed as it is: relu(a) - relu(-a) = a. Those of
        # d pairs at a time are an orthonormal basis.
        d = components.shape[1]
        n_bases = -(-self.width // (2 * d))
        bases = [np.linalg.qr(random.standard_normal((d, d)))[0] for _ in range(n_bases)]
        halves = np.concatenate(bases)
        V = np.stack([halves, -halves], axis=1).reshape(-1, d)[: self.width]
        V = asarray_like(V, components, components.dtype)
        return {"hidden_encoder": V, "hidden_bias": namespace(V).zeros_like(V[:, 0])}

    def forward(self, centred, params):
        xp = namespace(centred)
        A = matmul(centred, params["hidden_encoder"].T) + params["hidden_bias"]
        return xp.maximum(A, xp.zeros_like(A))  # NaN stays NaN

    def backward(self, d_H, H, centred, params, grads):
        d_A = d_H * codes.positive(H)
        of_bias = namespace(d_A).sum(d_A, axis=0)
        grads["hidden_encoder"] += matmul(d_A.T, centred)
        grads["hidden_bias"] += of_bias
        grads["decoder_bias"] -= of_bias @ params["hidden_encoder"]


def reading(directions, params):
    """Rows of the encoder that respond to directions of the data, (n, d); all are host arrays.

    With a hidden layer as it begins, to their part in the span of its rows: with n orthonormal
    bases of pairs v and -v, ``sum_v relu(<v, x>) <v, direction>`` is n times that product.
    """
    if "hidden_encoder" not in params:
        return directions
    V = to_numpy(params["hidden_encoder"])
    h, d = V.shape
    return directions @ V.T * min(1.0, 2 * d / h)


class Affine:
    """An affine map, then an activation.

    The linear algebra of an autoencoder, with b the decoder bias, D the components, W the encoder::

        forward    U = (X - b) Wᵀ    Z = activation(U)    X̂ = Z D + b    R = X̂ - X
        backward   dZ = R Dᵀ / n     dU = activation'(dZ)
                   dW = dUᵀ (X - b)  dD = Zᵀ R / n        db = 1ᵀ R / n - (1ᵀ dU) W

    With a `hidden` layer H takes the place of X - b in U and dW.

    U exists a tile of rows at a time, unless much of it is needed. An activation that takes tiles
    (top-k) must not keep a view of them.

    `precision` is that of the product U on a GPU (:mod:`skdict.kernels.dense`); it decides which
    codes are not zero, the values of these are computed in the precision of the data.
    """

    rows_at_a_time = 2048  # two tiles of the product

    def __init__(self, activation, precision="highest", hidden=None):
        self.activation = activation
        self.precision = precision
        self.hidden = hidden

    def init(self, components, random):
        xp = namespace(components)
        first = {} if self.hidden is None else self.hidden.init(components, random)
        rows = components
        if first:
            rows = asarray_like(reading(to_numpy(components), first), components, components.dtype)
        return {
            **first,
            "encoder": xp.asarray(rows, copy=True),  # starts as the transposed decoder
            **self.activation.init(components.shape[0], components),
        }

    @property
    def names(self):
        first = () if self.hidden is None else self.hidden.names
        return (*first, "encoder", *self.activation.init(1, np.ones((1, 1))))

    def forward(self, X, params, context):
        centred = X - params["decoder_bias"]
        inputs = centred if self.hidden is None else self.hidden.forward(centred, params)
        W = params["encoder"]

        def activate(U):
            return self.activation.forward(U, params, context)

        if self.activation.support is None:
            heads, tape = codes.stack(product_tiles(inputs, W.T, activate, self.precision))
        else:
            bias = params[self.activation.support]
            heads, tape = activate(sparse_or_dense(inputs, W.T, bias, self.precision))
        return heads, (centred, inputs, tape)

    def backward(self, d_heads, tape, params, grads):
        centred, inputs, tape = tape
        d_U, d_params = self.activation.backward(d_heads, tape, params)
        for gradient in d_U:
            codes.add_outer(grads["encoder"], gradient, inputs)
            if self.hidden is not None:
                d_H = codes.decode(gradient, params["encoder"])
                self.hidden.backward(d_H, inputs, centred, params, grads)
                continue
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
