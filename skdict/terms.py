"""Terms: summands of the objective, each with its gradient under its value.

Contract::

    hold(X, heads, params, context) -> held                        constant for the derivative
    __call__(X, heads, params, held, grads) -> value, d_heads      may add to grads["components"]
                                                                   and grads["decoder_bias"]

Every term is a mean over samples; d_heads has entries for the heads that the term reads. What a
paper stops the gradient at is what `hold` returns.
"""

import numpy as np

from skdict import codes
from skdict.backend import add_to_rows, namespace, take_rows
from skdict.kernels.dense import matmul
from skdict.kernels.lasso_reference import GAMMA


class Reconstruction:
    """``||Z D + b - X||² / 2n``, with Z the head `head`.

    With R = Z D + b - X:  dZ = R Dᵀ / n,  dD = Zᵀ R / n,  db = 1ᵀ R / n.
    """

    def __init__(self, head="codes"):
        self.head = head

    def hold(self, X, heads, params, context):
        return None

    def __call__(self, X, heads, params, held, grads):
        Z, D = heads[self.head], params["components"]
        residual = _residual(X, Z, params)
        value = _half_mean_square(residual)
        residual /= X.shape[0]
        codes.add_outer(grads["components"], Z, residual)
        grads["decoder_bias"] += namespace(X).sum(residual, axis=0)
        return value, {self.head: codes.codes_gradient(Z, D, residual)}


class HeldReconstruction:
    """``||Z D + b - X||² / 2n`` with D and b held: only Z is differentiated.

    The auxiliary loss of gated autoencoders (Rajamanoharan et al., arXiv 2404.16014, section 3.2):
    dZ = R Dᵀ / n.
    """

    def __init__(self, head):
        self.head = head

    def hold(self, X, heads, params, context):
        return {name: params[name] for name in ("components", "decoder_bias")}

    def __call__(self, X, heads, params, held, grads):
        Z = heads[self.head]
        residual = _residual(X, Z, held)
        value = _half_mean_square(residual)
        residual /= X.shape[0]
        return value, {self.head: codes.codes_gradient(Z, held["components"], residual)}


class AuxK:
    """``weight (||Z D - E||² - ||E||²) / 2n``: dead latents (`aux`) explain the residual E, held.

    Gao et al., arXiv 2406.04093, appendix A.2. Only dead latents see this term, so it competes with
    no other, and neither the paper's division by the energy of E nor its weight of 1/32 is needed.
    A small weight does harm: Adam remembers the larger gradients of the time when the latent was
    alive, for thousands of steps. Neither the reconstruction of E nor E itself contains the bias.
    Less the energy of E, a constant here, the loss does not jump when a latent dies.

    The head is dense, with a row for each sample that the dead look at (``context.dead_rows``) and
    a column for each of them; n is the number of its rows and D stands for their atoms.
    With R = Z D - E:  dZ = weight R Dᵀ / n,  dD = weight Zᵀ R / n.
    """

    def __init__(self, weight=1.0):
        self.weight = weight

    def hold(self, X, heads, params, context):
        if heads["aux"] is None:
            return None
        E = -_residual(X, heads["codes"], params)
        return E[context.dead_rows, :], np.flatnonzero(context.dead)

    def __call__(self, X, heads, params, held, grads):
        if heads["aux"] is None:
            return 0.0, {}
        E, latents = held
        value, d_Z, d_D = self.of_atoms(heads["aux"], take_rows(params["components"], latents), E)
        add_to_rows(grads["components"], latents, d_D)
        return value, {"aux": d_Z}

    def of_atoms(self, Z, D, E):
        """Value, and the gradients with respect to Z and D."""
        residual = matmul(Z, D) - E
        value = self.weight * (_half_mean_square(residual) - _half_mean_square(E))
        residual *= self.weight / Z.shape[0]
        return value, matmul(residual, D.T), matmul(Z.T, residual)


class L1:
    """``alpha sum(Z) / n`` for a non-negative head: dZ = alpha / n where Z > 0.

    `alpha` rises linearly from zero over the first `warmup` steps.
    """

    def __init__(self, alpha, warmup=0, head="codes"):
        self.alpha = alpha
        self.warmup = warmup
        self.head = head

    def hold(self, X, heads, params, context):
        # A float: a NumPy scalar would decide the dtype.
        return float(self.alpha * min(1.0, (context.step + 1) / max(self.warmup, 1)))

    def __call__(self, X, heads, params, held, grads):
        Z = codes.entries(heads[self.head])
        xp = namespace(X)
        weight = held / X.shape[0]
        value = weight * xp.sum(Z, dtype=xp.float64)
        return value, {self.head: codes.with_entries(heads[self.head], weight * codes.positive(Z))}


class CodePenalty:
    """``alpha sum rho(Z) / n`` of codes that are held: they have no gradient.

    rho as in :func:`skdict.kernels.lasso.lasso`.
    """

    def __init__(self, alpha, penalty, width=1.0, head="codes"):
        self.head = head
        self.alpha = alpha
        self.penalty = penalty
        self.width = width

    def hold(self, X, heads, params, context):
        return None

    def __call__(self, X, heads, params, held, grads):
        Z = codes.entries(heads[self.head])
        xp = namespace(Z)
        Z, end = xp.abs(Z), GAMMA * self.alpha
        if self.penalty == "log":
            Z = xp.log1p(Z / self.width)
        elif self.penalty == "mcp":
            Z = xp.where(Z < end, Z - Z * Z / (2 * end or 1.0), xp.zeros_like(Z) + end / 2)
        elif self.penalty == "lp":
            Z = xp.sqrt(Z)
        elif self.penalty == "l0":
            Z = xp.astype(Z > 0, Z.dtype)
        return self.alpha * xp.sum(Z, dtype=xp.float64) / X.shape[0], {}


def _residual(X, Z, params):
    residual = codes.decode(Z, params["components"])
    residual += params["decoder_bias"]
    residual -= X
    return residual


def _half_mean_square(residual):
    xp = namespace(residual)
    return xp.sum(residual * residual, dtype=xp.float64) / (2 * residual.shape[0])
