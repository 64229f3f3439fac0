"""Updates of a dictionary from samples and their codes, the codes held or refitted with it.

Contract::

    init(components, n_seen) -> state                   arrays and numbers, copyable
    update(components, X, Z, state) -> components       unit atoms; may change `state`
    forget(atoms, state) -> None                        these atoms are new; may change `state`
    needs_all                                           must X be all samples at once?

`X` is less the offset, of shape (n_samples, n_features); `Z` are codes in CSR, over atoms of unit
norm. All run on the host.
"""

import numpy as np

from skdict.constraints import unit_rows
from skdict.kernels.atoms import descend

FORGETTING = 30.0  # power of the share of all samples seen, by which online statistics fade
ALTERNATIONS = 10
RIDGE = 1e-8  # of MOD, against the mean of the diagonal


class Online:
    """Block coordinate descent on what all samples so far have said (Mairal et al. 2010).

    :func:`skdict.kernels.atoms.descend` on the sums of zᵀ z and zᵀ x over samples. When n samples
    become n + b, what the n have said is multiplied by (n / (n + b)) ** FORGETTING, so that the
    sizes of batches, ragged ones included, only matter by how often the codes follow the
    dictionary.

    Mairal, Julien, et al. "Online learning for matrix factorization and sparse coding." JMLR 11
    (2010), sections 3.2 and 3.4.3.
    """

    needs_all = False

    def __init__(self, positive=False):
        self.positive = positive

    def init(self, components, n_seen=0):
        m, d = components.shape
        zeros = np.zeros((m, m), components.dtype), np.zeros((m, d), components.dtype)
        return {"codes": zeros[0], "samples": zeros[1], "n": n_seen, "first": n_seen > 0}

    def update(self, components, X, Z, state):
        n, b = state["n"], X.shape[0]
        fading = (n / (n + b)) ** FORGETTING
        A, B = state["codes"], state["samples"]
        new = (Z.T @ Z).toarray()
        if state.pop("first", False):
            # Atoms of an earlier training, whose statistics are gone: as if samples that had not
            # faded yet had used each by itself, as often as these use it, or the usual one.
            used = np.maximum(
                new.diagonal(), new.trace() / max(1, np.count_nonzero(new.diagonal()))
            )
            weight = used * n / (b * (1 + FORGETTING))
            A[np.diag_indices_from(A)] = weight
            B[...] = weight[:, None] * components
        A *= fading
        A += new
        B *= fading
        B += Z.T @ X
        state["n"] = n + b
        D = components.copy()
        descend(D, A, B, self.positive)
        return D

    def forget(self, atoms, state):
        state["codes"][atoms, :] = state["codes"][:, atoms] = 0
        state["samples"][atoms, :] = 0


class _Whole:
    """What updates by all samples share: they remember nothing."""

    needs_all = True

    def __init__(self, positive=False):
        self.positive = positive

    def init(self, components, n_seen=0):
        return {}

    def forget(self, atoms, state):
        """Nothing."""


class MOD(_Whole):
    """The method of optimal directions: least squares for all atoms at once.

    D = (Zᵀ Z)⁺ Zᵀ X, then unit norm. Engan, Kjersti, et al. "Method of optimal directions for frame
    design." ICASSP (1999).
    """

    def update(self, components, X, Z, state):
        A = (Z.T @ Z).toarray().astype(np.float64)
        used = np.flatnonzero(A.diagonal() > 0)
        D = components.copy()
        if used.size:
            A = A[np.ix_(used, used)]
            A[np.diag_indices_from(A)] += RIDGE * A.trace() / used.size
            solution = np.linalg.solve(A, (Z.T @ X)[used].astype(np.float64))
            for j, row in zip(used, solution, strict=True):
                D[j] = _unit(row.astype(D.dtype), self.positive, D[j])
        return D


class KSVD(_Whole):
    """One atom after the other, with its codes, to the best rank one of what the rest leaves.

    For atom j, the samples I that use it and E = X_I - Z_I D + z_j d_j: d_j and z_j become the
    first right singular vector of E and E d_j (Aharon et al. 2006). `approximate`: one power step,
    d_j along Eᵀ z_j, then z_j = E d_j (Rubinstein et al. 2008, section 3). For positive atoms the
    best rank one has no closed form: `ALTERNATIONS` such steps, each with negative entries cut.

    Aharon, Michal, et al. "K-SVD: An algorithm for designing overcomplete dictionaries for sparse
    representation." IEEE Transactions on Signal Processing 54.11 (2006).
    Rubinstein, Ron, et al. "Efficient implementation of the K-SVD algorithm using batch orthogonal
    matching pursuit." CS Technion 40.8 (2008).
    """

    def __init__(self, positive=False, positive_codes=False, approximate=False):
        super().__init__(positive)
        self.positive_codes = positive_codes
        self.approximate = approximate

    def update(self, components, X, Z, state):
        D, E = components.copy(), X - Z @ components
        columns, n_turns = Z.tocsc(), ALTERNATIONS if self.positive and not self.approximate else 1
        for j in range(D.shape[0]):
            span = slice(columns.indptr[j], columns.indptr[j + 1])
            users, z = columns.indices[span], columns.data[span]
            if users.size == 0:
                continue
            rows = E[users] + z[:, None] * D[j]
            for _ in range(n_turns):
                if self.approximate or self.positive:
                    direction = z @ rows
                else:
                    direction = _first_right(rows)
                    direction *= np.sign(z @ (rows @ direction)) or 1.0
                D[j] = _unit(direction, self.positive, D[j])
                z = np.maximum(rows @ D[j], 0) if self.positive_codes else rows @ D[j]
            E[users] = rows - z[:, None] * D[j]
        return D


def _first_right(rows):
    # The first right singular vector, from the smaller of the two Gram matrices.
    if rows.shape[0] < rows.shape[1]:
        return np.linalg.eigh(rows @ rows.T)[1][:, -1] @ rows
    return np.linalg.eigh(rows.T @ rows)[1][:, -1]


def _unit(atom, positive, otherwise):
    if positive:
        atom = np.maximum(atom, 0)
    norm = np.linalg.norm(atom)
    return atom / norm if norm > 0 else otherwise


def replace(components, X, reconstruction, unused, random, positive=False):
    """Atoms that are unused become badly coded samples, of unit norm; returns how many did.

    Samples are drawn without replacement with probability proportional to what remains of them
    after the best multiple of their reconstruction: codes that an update has outdated leave
    samples that one atom has just been fitted to, and a second one must not become the same.
    """
    along = np.einsum("ij,ij->i", X, reconstruction)
    squares = np.einsum("ij,ij->i", reconstruction, reconstruction)
    scale = along / np.where(squares > 0, squares, 1)
    residual = X - scale[:, None] * reconstruction
    losses = np.einsum("ij,ij->i", residual, residual, dtype=np.float64)
    atoms = np.maximum(X, 0) if positive else X
    losses[~atoms.any(axis=1)] = 0
    candidates = np.flatnonzero(losses > 1e-10 * max(losses.max(initial=0.0), 1e-300))
    n = min(unused.size, candidates.size)
    if n:
        weights = losses[candidates] / losses[candidates].sum()
        rows = random.choice(candidates, n, replace=False, p=weights)
        components[unused[:n]] = unit_rows(atoms[rows])
    return n
