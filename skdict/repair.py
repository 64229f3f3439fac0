"""Repair of codes that a penalty has made too small, with the encoder held.

Wright & Sharkey, "Addressing Feature Suppression in SAEs" (2024), insert one scale a latent between
encoder and decoder and train it without the penalty; here scales, or the whole decoder, are the
least squares solution over all rows. Both follow from moments of codes and data, in training's
units, that one pass collects.
"""

import contextlib
import dataclasses

import numpy as np
import scipy.linalg
import scipy.sparse

from skdict import codes
from skdict.backend import to_numpy
from skdict.batches import batch_of, batches
from skdict.constraints import norms_and_units
from skdict.encoders import INFERENCE
from skdict.kernels.transfers import uploads_to

RIDGE = 1e-6  # towards no change, against the mean variance of a code: for what never fires
SCALES_WITHIN = 0.5  # of one: how far off scales are expected to be,
ATOMS_WITHIN = 2.0  # and atoms, in norm. Both from trials on tokens, digits and superposition
ROWS = 2048  # whose codes are collected at a time


@dataclasses.dataclass
class Moments:
    """Of n samples the means of codes z and data x; about these, covariances and the variance of x,
    all features together."""

    n: int
    z: np.ndarray
    x: np.ndarray
    zz: np.ndarray
    zx: np.ndarray
    xx: float

    @classmethod
    def of(cls, pairs):
        """Of pairs of blocks: codes as host CSR, data as host array."""
        n, z, x, zz, zx, xx = 0, 0.0, 0.0, 0.0, 0.0, 0.0
        for Z, X in pairs:
            n += X.shape[0]
            Z, X = Z.astype(np.float64), X.astype(np.float64)
            z, x = z + Z.sum(axis=0), x + X.sum(axis=0)
            zz, zx, xx = zz + (Z.T @ Z).toarray(), zx + Z.T @ X, xx + np.vdot(X, X)
        z, x = z / n, x / n
        return cls(n, z, x, zz / n - np.outer(z, z), zx / n - np.outer(z, x), xx / n - x @ x)

    def bias(self, D):
        """The decoder bias that is best for the dictionary D."""
        return self.x - self.z @ D

    def unexplained(self, D):
        """Variance of ``x - z D``, all features together."""
        return max(0.0, float(self.xx - 2 * np.vdot(self.zx, D) + np.vdot(self.zz @ D, D)))

    def shrinkage(self, D, bias):
        """As :func:`skdict.metrics.shrinkage`: ``E|x_hat|² / E<x, x_hat>`` about the mean of x."""
        off = bias - self.bias(D)
        products = np.vdot(self.zx, D)
        return float((np.vdot(self.zz @ D, D) + off @ off) / products) if products else np.nan


def moments_of(run, params, encoder):
    """Moments over the rows that a run trains on."""
    source, state = run.feed.source, run.state
    uploads, order = uploads_to(state.center), source.order(None, run.feed.held_out)

    def pairs():
        with contextlib.closing(source.chunks(order, 0)) as chunks:
            for pieces in batches(chunks, ROWS):
                X = batch_of(pieces, state, uploads)
                Z = encoder.forward(X, params, INFERENCE)[0]["codes"]
                yield scipy.sparse.csr_array(codes.to_csr(Z), shape=Z.shape), to_numpy(X)

    return Moments.of(pairs())


def scales(moments, D):
    """A factor for each latent's codes, not negative: the best, with D and the encoder held.

    ``((Zᵀ Z) ∘ (D Dᵀ)) s = diag(D Xᵀ Z)`` about the means, with a ridge towards one: the variance
    of what is unexplained over that by which factors are expected to be off. So those of latents
    that fired a few times stay near one. Where a factor would be negative it is zero, and the
    others are solved for again.
    """
    A = moments.zz * (D @ D.T)
    rest = np.sum(moments.zx * D, axis=1) - A.sum(axis=1)  # what s - 1 is solved for
    A[np.diag_indices_from(A)] += _ridge(moments, D, D.shape[1] * SCALES_WITHIN**2)
    s, kept = np.ones(D.shape[0]), np.ones(D.shape[0], dtype=bool)
    while kept.any():
        fixed = A[np.ix_(kept, ~kept)].sum(axis=1)  # of those whose s - 1 is -1
        s = np.zeros_like(s)
        s[kept] = 1 + _solved(A[np.ix_(kept, kept)], rest[kept] + fixed)
        if (s >= 0).all():
            break
        kept &= s > 0
    return s


def decoder(moments, D):
    """The dictionary of least squares for the codes as they are, with a ridge towards D."""
    A = np.array(moments.zz)
    rest = moments.zx - A @ D
    A[np.diag_indices_from(A)] += _ridge(moments, D, ATOMS_WITHIN**2)
    return D + _solved(A, rest)


def repaired(params, moments, how):
    """Parameters whose decoder, or scales of codes, are of least squares, and the shrinkage of
    both: before and after.

    Atoms of unit norm stay so: rows of the encoder and its bias take up scales and norms, which a
    ReLU passes on. A new decoder bias is taken back where the encoder reads the data.
    """
    D, bias = (params[name].astype(np.float64) for name in ("components", "decoder_bias"))
    before = moments.shrinkage(D, bias)
    if how == "decoder":
        norms, units = norms_and_units(decoder(moments, D))
    else:
        norms, units = scales(moments, D), D
    new = norms[:, None] * units
    change = moments.bias(new) - bias
    params = {**params, "components": units, "decoder_bias": bias + change}
    first, bias_name = "encoder", "encoder_bias"
    if "hidden_encoder" in params:
        first, bias_name = "hidden_encoder", "hidden_bias"
    params[bias_name] = params[bias_name] + params[first] @ change
    for name in ("encoder", "encoder_bias"):
        params[name] = (params[name].T * norms).T
    after = moments.shrinkage(new, params["decoder_bias"])
    return params, np.array([before, after])


def _ridge(moments, D, expected):
    least = RIDGE * (np.diag(moments.zz).mean() or 1.0)
    return least + moments.unexplained(D) / (moments.n * expected)


def _solved(A, B):
    return scipy.linalg.solve(A, B, assume_a="pos")
