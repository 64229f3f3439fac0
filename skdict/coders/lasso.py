"""Penalised least squares over a given or a learned dictionary.

Tibshirani, "Regression shrinkage and selection via the lasso", J. R. Stat. Soc. B 58 (1996);
Friedman et al., "Pathwise coordinate optimization", Ann. Appl. Stat. 1 (2007).
"""

import math
import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from skdict import codes
from skdict._sklearn import Integral, Interval, Real, StrOptions
from skdict.backend import asarray_like, is_host, namespace
from skdict.coders._base import BaseCoder
from skdict.kernels.dense import gram
from skdict.kernels.lasso import lasso
from skdict.terms import CodePenalty, Reconstruction

GRAM_BYTES = 1 << 30  # of the largest Gram matrix that is formed unasked
POWERS = {"l1": 1, "log": 2, "mcp": 1, "lp": 1.5, "l0": 2}  # of a unit of the data, in alpha
ROUNDS = 6  # products of residuals with the dictionary that a sample takes without one


def in_units(alpha, penalty, unit):
    """The alpha for data divided by `unit` that gives codes divided by it."""
    power = unit ** POWERS[penalty]
    return alpha / power if power > 0 else math.inf


class Lasso:
    """An encoder with nothing to learn: the codes are held while the atoms learn from them."""

    rows_at_a_time = 512  # two blocks; more would leave threads waiting at the end

    def __init__(
        self,
        alpha,
        penalty,
        width,
        positive,
        gap_tol,
        max_sweeps,
        algorithm,
        precompute="auto",
    ):
        self.settings = alpha, penalty, width, positive, gap_tol, max_sweeps, algorithm
        self.precompute = precompute
        self.gram = None
        self.first = None

    def init(self, components):
        return {}

    def forward(self, X, params, context):
        D = params["components"]
        gram = self._gram(D, X.shape[0]) if self.gram is None else self.gram[0]
        first = None
        if self.first is not None:
            first = asarray_like(self.first.toarray(), X, X.dtype)
        centred = X - params["decoder_bias"]
        # In a unit of their own, so that squares neither overflow nor vanish.
        unit = math.ldexp(1.0, math.frexp(float(namespace(X).max(namespace(X).abs(centred))))[1])
        alpha, penalty, width, *how, algorithm = self.settings
        algorithm = algorithm if is_host(namespace(X)) else "fista"
        settings = in_units(alpha, penalty, unit), penalty, width / unit, *how, algorithm
        first = None if first is None else first / unit
        *arrays, unfinished = lasso(centred / unit, D, *settings, first, gram)
        arrays[2] = arrays[2] * unit
        if unfinished:
            _warn_unfinished(self.settings, unfinished, X.shape[0])
        return {"codes": codes.SparseCodes(*arrays, D.shape[0])}, None

    def backward(self, d_heads, tape, params, grads):
        """Nothing: the codes are held."""

    def for_inference(self, params, n_samples):
        encoder = Lasso(*self.settings, self.precompute)
        encoder.first = self.first
        encoder.gram = (self._gram(params["components"], n_samples),)
        return encoder

    def rows(self, start, stop):
        if self.first is None:
            return self
        encoder = Lasso(*self.settings, self.precompute)
        encoder.gram, encoder.first = self.gram, self.first[start:stop]
        return encoder

    def _gram(self, D, n_samples):
        (m, _d), pays = D.shape, self.precompute
        if pays == "auto":
            fits = is_host(namespace(D)) and m * m * D.dtype.itemsize <= GRAM_BYTES
            pays = fits and m <= 2 * ROUNDS * n_samples and self.settings[-1] == "cd"
        return gram(D) if pays else None


def _warn_unfinished(settings, unfinished, n_samples):
    warnings.warn(
        f"LassoCoder: {unfinished} of {n_samples} samples did not reach gap_tol={settings[4]:g} in "
        f"max_sweeps={settings[5]}. Raise max_sweeps or gap_tol.",
        ConvergenceWarning,
        stacklevel=2,
    )


class LassoCoder(BaseCoder):
    """Sparse codes by penalised least squares, over a given dictionary or one that `fit` learns.

    The codes z of a sample x minimise ``|x - offset - z D|² / 2 + alpha sum_j rho(z_j)``, in units
    of X and over atoms as they are. With ``penalty="l1"``, ``rho(z) = |z|``, the sparse coding of
    the amortisation-gap paper [2]_.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of atoms; "auto" is that of the given dictionary, or 4 times the number of features.
    alpha : float, default=1.0
        Weight of the penalty, in units of X.
    penalty : {"l1", "log", "mcp", "lp", "l0"}, default="l1"
        rho: ``|z|``; ``log(1 + |z|)``; the minimax concave penalty with gamma = 3, which is
        ``|z| - z² / (6 alpha)`` up to 3 alpha and constant from there; the root of ``|z|``; or 1
        for every code. Of the many minima that there are with all but the first, one is found.
    gap_tol : float, default=1e-4
        A sample is done once its duality gap, a bound on what it could still gain, is at most this
        times half its squared norm; with a penalty that is not convex, once no code moves by more
        than the root of this times the norm. In float32, a gap below 1e-6 may be out of reach.
    max_sweeps : int, default=1000
        Sweeps, or gradient steps, after which a sample is given up with a warning.
    algorithm : {"cd", "fista"}, default="cd"
        Coordinate descent over working sets, or accelerated gradient steps of all samples at once.
        Other arrays than NumPy's are always coded by the latter.
    precompute : bool or "auto", default="auto"
        Let ``"cd"`` compute with the Gram matrix of the atoms, or with residuals. "auto": with it,
        where there are enough samples and it has no more than 1 GiB.
    dictionary : array of shape (n_components, n_features), estimator or None, default=None
        None: learned. An array is used as it is, atoms of any norm, and `fit` only validates. An
        estimator is cloned and fitted by `fit`, and its ``components_`` are used; wrap a fitted one
        in :class:`sklearn.frozen.FrozenEstimator` to use it as it is.
    offset : float, array of shape (n_features,) or None, default=None
        Subtracted before coding, and added by `inverse_transform`. None: zero with an array, the
        ``decoder_bias_`` of an estimator, and with a learned dictionary the mean of X.
    positive : bool, default=False
        Codes are at least zero.
    dict_init : array of shape (n_components, n_features) or None, default=None
        First atoms of a learned dictionary; None: random samples of X.
    dict_update : {"online", "aksvd", "ksvd", "mod", "gradient"}, default="online"
        How a learned dictionary follows the codes. ``"online"``: block coordinate descent on
        statistics of all samples so far [1]_, after each batch. ``"ksvd"``, ``"aksvd"`` and
        ``"mod"`` need the codes of all samples at once: K-SVD, its approximation, the method of
        optimal directions; no `partial_fit`. ``"gradient"``: Adam on the squared error, the codes
        held, and the only one that trains ``decoder_bias_``.
    positive_dict : bool, default=False
        Atoms are at least zero.
    batch_size : int, default=256
        Samples per update, and per slice of `partial_fit`; updates that need all samples ignore it.
    max_iter : int or "auto", default="auto"
        Passes over the data. "auto" makes about 1,000 online updates, or 4,000 by the gradient, in
        at least 6 passes, and 50 passes where each is one update.
    learning_rate : float, default=0.002
        Of Adam, with ``dict_update="gradient"``; the next two belong to it too.
    warmup : int, default=100
        Steps over which the rate rises linearly from zero.
    decay : float in [0, 1], default=0.2
        Last fraction of the steps of `fit`, in which the rate falls linearly to zero.
    tol : float, default=0.0
        Relative improvement of the mean loss of a pass that counts as one.
    max_no_improvement : int, default=None
        Passes without improvement after which `fit` goes to the fall of the rate; None: never.
    dead_after : int, default=10000
        Samples without firing after which a latent is dead.
    shuffle : bool, default=True
        Shuffle the rows before each pass of `fit`.
    warm_start : bool, default=False
        Let `fit` begin from the last solution.
    random_state : int, RandomState instance or None, default=None
        Of the first atoms, of shuffling, of replaced atoms.
    n_jobs : int, default=None
        Limit of threads; None: as many as the BLAS pool may use, one inside a joblib worker.
        Results do not depend on it.
    verbose : int, default=0
        If positive, print a line after each pass.
    sparse_output : bool, default=False
        Let `transform` return CSR instead of an array.

    Attributes
    ----------
    components_ : array of shape (n_components, n_features)
        The dictionary: a given one as it is, a learned one with atoms of unit norm as rows.
    decoder_bias_ : array of shape (n_features,)
    dead_latents_ : bool array of shape (n_components,)
        Atoms unused in the last `dead_after` samples of training.
    loss_curve_ : list of float
        Mean objective of each pass, on centred X divided by one scalar.
    history_ : dict of arrays
        One entry a pass: ``loss``, ``l0`` (mean non-zeros a sample), ``dead``, ``learning_rate``.
    n_iter_ : int
        Passes made.
    n_steps_ : int
        Steps made.
    n_features_in_ : int
    feature_names_in_ : array of shape (n_features,)
        Where X has feature names that are all strings.
    dictionary_ : estimator
        The fitted `dictionary`, where that is an estimator.

    See Also
    --------
    MatchingPursuitCoder : Chooses a number of atoms instead of a penalty.
    SparseAutoencoder : The same objective, with codes by a learned encoder.
    sklearn.linear_model.Lasso : Its alpha is ours divided by the number of features.

    References
    ----------
    .. [1] Mairal, Julien, et al. "Online learning for matrix factorization and sparse coding."
       Journal of Machine Learning Research 11 (2010), section 3.
    .. [2] O'Neill, Charles, et al. "Compute Optimal Inference and Provable Amortisation Gap in
       Sparse Autoencoders." arXiv 2411.13117 (2024), section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict import LassoCoder
    >>> from skdict.datasets import make_superposition
    >>> X, dictionary, codes = make_superposition(
    ...     50, n_components=16, n_features=12, k=2, random_state=0
    ... )
    >>> coder = LassoCoder(alpha=0.01, dictionary=dictionary, positive=True).fit(X)
    >>> bool(np.mean((coder.transform(X) > 0.05) == (codes > 0.05)) > 0.95)
    True
    """

    _parameter_constraints = {
        **BaseCoder._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "penalty": [StrOptions(set(POWERS))],
        "gap_tol": [Interval(Real, 0, None, closed="left")],
        "max_sweeps": [Interval(Integral, 1, None, closed="left")],
        "algorithm": [StrOptions({"cd", "fista"})],
        "precompute": ["boolean", StrOptions({"auto"})],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        alpha=1.0,
        penalty="l1",
        gap_tol=1e-4,
        max_sweeps=1000,
        algorithm="cd",
        precompute="auto",
        dictionary=None,
        offset=None,
        positive=False,
        dict_init=None,
        dict_update="online",
        positive_dict=False,
        batch_size=256,
        max_iter="auto",
        learning_rate=2e-3,
        warmup=100,
        decay=0.2,
        tol=0.0,
        max_no_improvement=None,
        dead_after=10_000,
        shuffle=True,
        warm_start=False,
        random_state=None,
        n_jobs=None,
        verbose=0,
        sparse_output=False,
    ):
        super().__init__(
            n_components,
            dictionary,
            offset,
            positive,
            dict_init,
            dict_update,
            positive_dict,
            batch_size,
            max_iter,
            learning_rate,
            warmup,
            decay,
            tol,
            max_no_improvement,
            dead_after,
            shuffle,
            warm_start,
            random_state,
            n_jobs,
            verbose,
            sparse_output,
        )
        self.alpha = alpha
        self.penalty = penalty
        self.gap_tol = gap_tol
        self.max_sweeps = max_sweeps
        self.algorithm = algorithm
        self.precompute = precompute

    def transform(self, X, code_init=None):
        """Encode X.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        code_init : array or CSR of shape (n_samples, n_components), optional
            Codes to begin with, such as those of an autoencoder; None: zeros.

        Returns
        -------
        Z : array or CSR of shape (n_samples, n_components)
        """
        if code_init is None:
            return super().transform(X)
        first = sp.csr_array(code_init)
        shape = np.shape(X)[0], self.components_.shape[0]
        if first.shape != shape or not np.isfinite(first.data).all():
            raise ValueError(
                f"{type(self).__name__}: code_init has shape {first.shape}, but finite codes of "
                f"shape {shape} are needed, a row for each of X and a column for each atom."
            )
        self._first = first
        try:
            return super().transform(X)
        finally:
            del self._first

    def _warn_if_too_large(self, rows, components, stacklevel):
        if self.penalty == "l1":
            C = rows @ components.T
            largest = float((C if self.positive else abs(C)).max())
            self._warn_too_large("alpha", largest, stacklevel)

    def _parts(self, n_components, unit):
        weight = in_units(float(self.alpha), self.penalty, unit)
        how = self.positive, float(self.gap_tol), self.max_sweeps, self.algorithm, self.precompute
        encoder = Lasso(weight, self.penalty, 1 / unit, *how)
        encoder.first = getattr(self, "_first", None)
        return encoder, [Reconstruction(), CodePenalty(weight, self.penalty, 1 / unit)]
