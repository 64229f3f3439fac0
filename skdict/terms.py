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
from skdict.backend import add_to_rows, device, is_host, namespace, take_rows
from skdict.constraints import norms_and_units
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
        return _risen(self.alpha, self.warmup, context.step)

    def __call__(self, X, heads, params, held, grads):
        Z = codes.entries(heads[self.head])
        xp = namespace(X)
        weight = held / X.shape[0]
        value = weight * xp.sum(Z, dtype=xp.float64)
        return value, {self.head: codes.with_entries(heads[self.head], weight * codes.positive(Z))}


class Penalty:
    """``alpha sum rho(Z) / n`` for a non-negative head; rho as in :mod:`skdict.penalties`.

    dZ = alpha rho' / n. `alpha` rises as that of :class:`L1`. With `by_norms` rho sees each code
    times the norm of its atom, as atoms of any norm need, lest small codes of large atoms be free
    (Anthropic, "Circuits Updates, April 2024"). With y = z |d|:
    dz = alpha rho'(y) |d| / n,  dd = alpha sum(rho'(y) z) / n  d / |d|.
    """

    def __init__(self, alpha, rho, warmup=0, head="codes", by_norms=False):
        self.alpha = alpha
        self.rho = rho
        self.warmup = warmup
        self.head = head
        self.by_norms = by_norms

    def hold(self, X, heads, params, context):
        return _risen(self.alpha, self.warmup, context.step), context.progress

    def __call__(self, X, heads, params, held, grads):
        Z, (weight, progress) = heads[self.head], held
        weight /= X.shape[0]
        if not self.by_norms:
            value, slopes = self.rho(Z, progress)
            return weight * value, {self.head: codes.with_entries(Z, weight * slopes)}
        norms, units = norms_and_units(params["components"])
        own = codes.per_component(Z, norms)
        value, slopes = self.rho(codes.with_entries(Z, codes.entries(Z) * own), progress)
        slopes *= weight
        of_norms = codes.column_sum(codes.with_entries(Z, slopes * codes.entries(Z)))
        grads["components"] += of_norms[:, None] * units
        return weight * value, {self.head: codes.with_entries(Z, slopes * own)}


class LoadBalance:
    """``weight (m sum(c²) / sum(c)² - 1)`` of the mean codes c of m latents in a batch.

    The square of the coefficient of variation of their load (Shazeer et al., "Outrageously Large
    Neural Networks", arXiv 1701.06538, section 4): zero where all codes sum up to as much.
    With S = sum(c) and Q = sum(c²):  dZ = 2 weight m (c / S² - Q / S³) / n where Z > 0.
    """

    def __init__(self, weight, head="codes"):
        self.weight = weight
        self.head = head

    def hold(self, X, heads, params, context):
        return None

    def __call__(self, X, heads, params, held, grads):
        Z = heads[self.head]
        xp, n = namespace(X), X.shape[0]
        c = codes.column_sum(Z) / n
        S, Q = xp.sum(c), xp.sum(c * c)
        S = S + xp.astype(S == 0, S.dtype)
        factor = self.weight * c.shape[0]
        slopes = 2 * factor / n * (c / S**2 - Q / S**3)
        d_Z = codes.per_component(Z, slopes) * codes.positive(codes.entries(Z))
        value = factor * Q / S**2 - self.weight
        return xp.astype(value, xp.float64), {self.head: codes.with_entries(Z, d_Z)}


class Incoherence:
    """Penalty on products of different atoms, whatever their norms; codes have no part in it.

    With units u of the atoms, as rows of U: without `limit` it is ``weight sum_(i≠j) <u_i, u_j>²``,
    which needs the d x d matrix UᵀU alone: its squares sum up to those of UUᵀ.
    dU = 4 weight U (UᵀU - 1). With it, ``weight sum_(i≠j) (|<u_i, u_j>| - limit)+²``, by blocks of
    UUᵀ. Of dU the part across the atom, divided by its norm, is that of the atom.
    """

    ROWS = 1024  # of UUᵀ at a time

    def __init__(self, weight, limit=None):
        self.weight = weight
        self.limit = limit

    def hold(self, X, heads, params, context):
        return None

    def __call__(self, X, heads, params, held, grads):
        norms, U = norms_and_units(params["components"])
        xp = namespace(U)
        value, d_U = self._frame(U) if self.limit is None else self._hinge(U)
        d_U -= xp.sum(d_U * U, axis=1, keepdims=True) * U
        grads["components"] += 4 * self.weight * d_U / norms[:, None]
        return self.weight * value, {}

    def _frame(self, U):
        xp = namespace(U)
        S = matmul(U.T, U)
        value = xp.sum(S * S, dtype=xp.float64) - U.shape[0]
        return value, matmul(U, S) - U

    def _hinge(self, U):
        xp, value = namespace(U), 0.0
        parts = []
        for start in range(0, U.shape[0], self.ROWS):
            rows = U[start : min(start + self.ROWS, U.shape[0]), :]
            G = matmul(rows, U.T)
            excess = xp.abs(G) - self.limit
            excess = xp.where(excess > 0, excess, xp.zeros_like(excess))
            excess *= 1 - _one_at_own(rows, U, start)
            value = value + xp.sum(excess * excess, dtype=xp.float64)
            parts.append(matmul(excess * xp.sign(G), U))
        return value, xp.concat(parts)


def _risen(alpha, warmup, step):
    # A float: a NumPy scalar would decide the dtype.
    return float(alpha * min(1.0, (step + 1) / max(warmup, 1)))


def _one_at_own(rows, U, start):
    # One where a row meets itself.
    xp = namespace(U)
    place = {} if is_host(xp) else {"device": device(U)}
    return xp.eye(rows.shape[0], U.shape[0], k=start, dtype=U.dtype, **place)


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
