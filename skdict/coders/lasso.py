"""Penalised least squares over a given or a learned dictionary.

Tibshirani, "Regression shrinkage and selection via the lasso", J. R. Stat. Soc. B 58 (1996);
Friedman et al., "Pathwise coordinate optimization", Ann. Appl. Stat. 1 (2007).
"""

import copy
import math
import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array, check_is_fitted

from skdict import codes
from skdict._sklearn import Integral, Interval, Real, StrOptions
from skdict.backend import asarray_like, is_array_api_obj, is_host, namespace, to_numpy
from skdict.coders._base import BaseCoder
from skdict.kernels.dense import gram, gram_fits
from skdict.kernels.lasso import lasso
from skdict.sources import is_dask
from skdict.terms import CodePenalty, Reconstruction

POWERS = {"l1": 1, "log": 2, "mcp": 1, "lp": 1.5, "l0": 2}  # of a unit of the data, in alpha
ROUNDS = 6  # products of residuals with the dictionary that a sample takes without one


def in_units(alpha, penalty, unit, size=1.0):
    """The alpha for data divided by `unit` and atoms by `size`.

    Codes are then divided by ``unit / size``; with ``"mcp"`` atoms must not be divided.
    """
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        power = np.float64(unit) ** POWERS[penalty] * np.float64(size) ** (2 - POWERS[penalty])
        return float(alpha / power)


def power_of_two(A):
    """The largest one that is at most the largest entry of A in magnitude; 1 for zeros."""
    xp = namespace(A)
    largest = float(xp.max(xp.abs(A)))
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest > 0 else 1.0


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
        self.prepared = None
        self.first = None
        self.unfinished = []  # how many samples were given up, by batch

    names = ()

    def init(self, components, random):
        return {}

    def forward(self, X, params, context):
        D, first = params["components"], None
        if self.first is not None:
            first = asarray_like(self.first.toarray(), X, X.dtype)
        centred = X - params["decoder_bias"]
        # Data and atoms in units of their own, so that squares neither overflow nor vanish.
        unit = power_of_two(centred)
        size, D, gram = self.prepared or self._prepare(D, X.shape[0])
        alpha, penalty, width, *how, algorithm = self.settings
        algorithm = algorithm if is_host(namespace(X)) else "fista"
        alpha, width = in_units(alpha, penalty, unit, size), width / unit * size
        first = None if first is None else first / unit * size
        *arrays, unfinished = lasso(
            centred / unit, D, alpha, penalty, width, *how, algorithm, first, gram
        )
        arrays[2] = arrays[2] / size * unit
        self.unfinished.append(unfinished)
        return {"codes": codes.SparseCodes(*arrays, D.shape[0])}, None

    def backward(self, d_heads, tape, params, grads):
        """Nothing: the codes are held."""

    def for_inference(self, params, n_samples):
        encoder = Lasso(*self.settings, self.precompute)
        encoder.prepared = self._prepare(params["components"], n_samples)
        return encoder

    def beginning_with(self, first):
        """This encoder, beginning with these codes (CSR, a row for each that it encodes)."""
        encoder = copy.copy(self)
        encoder.first = first
        return encoder

    def rows(self, start, stop):
        return self if self.first is None else self.beginning_with(self.first[start:stop])

    def _prepare(self, D, n_samples):
        # The unit of the atoms, they in it, and their Gram matrix where it pays.
        size = 1.0 if self.settings[1] == "mcp" else power_of_two(D)
        D = D / size
        return size, D, self._gram(D, n_samples)

    def _gram(self, D, n_samples):
        pays = self.precompute
        if pays == "auto":
            enough = D.shape[0] <= 2 * ROUNDS * n_samples and self.settings[-1] == "cd"
            pays = is_host(namespace(D)) and gram_fits(D) and enough
        return gram(D) if pays else None


class LassoCoder(BaseCoder):
    """Sparse codes by penalised least squares, over a given dictionary or one that `fit` learns.

    The codes z of a sample x minimise ``|x - offset - z D|² / 2 + alpha sum_j rho(z_j)``, for X and
    atoms as they are. With ``penalty="l1"``, ``rho(z) = |z|``, the sparse coding of
    the amortisation-gap paper [2]_.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of atoms; "auto" is that of the given dictionary, or 4 times the number of features.
    alpha : float, default=1.0
        Weight of the penalty. For X in other units, divided by c: with ``"l1"`` and ``"mcp"``
        alpha is divided by c too, with ``"lp"`` by c to the power of 1.5, with ``"l0"`` and
        ``"log"``, whose codes are measured in units of X, by c².
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
        ``decoder_bias_`` (or ``mean_``) of an estimator, and with a learned dictionary the mean of
        X.
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
        Passes without improvement after which `fit` goes to the fall of the rate; None: never, or
        after 10 with `early_stopping`.
    early_stopping : bool, default=False
        Hold rows out of `fit`, and let improvement be that of the loss on them; X must then be an
        array, or files whose rows can be read in any order.
    validation_fraction : float in (0, 1), default=0.1
        Share of the rows that `early_stopping` holds out, drawn at random; at most 32,768 rows.
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
        1: a progress bar where rich is installed and the output is a terminal, else a line every
        ten seconds and at the end; 2: always lines. They tell rows per second, loss, explained
        variance, mean non-zeros a sample (L0), dead latents and the time left.
    sparse_output : bool, default=False
        Let `transform` return CSR instead of an array.
    device : {"cuda", "cuda:N", "cpu"} or None, default=None
        GPU to which `fit`, `partial_fit`, `transform` and `score` send arrays and files of the
        host, a batch at a time; results and fitted arrays are NumPy's all the same. None: compute
        where X is, which "cpu" insists on. Needs CuPy.
    precision : {"highest", "tf32", "bf16"}, default="highest"
        Ignored: codes are minima, which products of rounded factors would miss.

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
        One entry a pass: ``loss``, ``l0`` (mean non-zeros a sample), ``dead``, ``learning_rate``,
        ``explained_variance`` (of the batches when they were trained on, about the mean of the
        first 16,384 rows), and with `early_stopping` ``validation_loss`` and
        ``validation_score`` (explained variance of the rows held out).
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
        early_stopping=False,
        validation_fraction=0.1,
        dead_after=10_000,
        shuffle=True,
        warm_start=False,
        random_state=None,
        n_jobs=None,
        verbose=0,
        sparse_output=False,
        device=None,
        precision="highest",
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
            early_stopping,
            validation_fraction,
            dead_after,
            shuffle,
            warm_start,
            random_state,
            n_jobs,
            verbose,
            sparse_output,
            device,
            precision,
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
            Of a dask array the codes are a dask array, and nothing is computed yet.
        code_init : array or CSR of shape (n_samples, n_components), optional
            Codes to begin with, such as those of an autoencoder; None: zeros. Not with a dask
            array.

        Returns
        -------
        Z : array or CSR of shape (n_samples, n_components)
        """
        check_is_fitted(self)
        if is_dask(X) and code_init is not None:
            raise ValueError(
                f"{type(self).__name__}: code_init cannot go with a dask array, whose blocks are "
                "encoded later and elsewhere. Leave it out, or transform block by block."
            )
        first = None if code_init is None else self._first_codes(code_init)
        encoders = []

        def prepare(encoder, n_samples):
            encoders.append(encoder)
            return encoder if first is None else encoder.beginning_with(self._for(first, n_samples))

        Z = self._transform(X, prepare)
        for encoder in encoders:  # none yet for a dask array
            self._warn_if_unfinished(encoder, "", stacklevel=4)
        return Z

    def _first_codes(self, code_init):
        if is_array_api_obj(code_init):
            code_init = to_numpy(code_init)
        try:
            first = check_array(
                code_init, accept_sparse="csr", dtype=[np.float64, np.float32],
                input_name="code_init", estimator=self,
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(
                f"{type(self).__name__}: code_init is not an array of finite codes, a row for each "
                f"sample and a column for each atom: {error}"
            ) from error
        return sp.csr_array(np.maximum(first, 0) if self.positive else first)

    def _for(self, first, n_samples):
        shape = n_samples, self.components_.shape[0]
        if first.shape != shape:
            raise ValueError(
                f"{type(self).__name__}: code_init has shape {first.shape}, but {shape} is needed, "
                "a row for each sample and a column for each atom."
            )
        return first

    def _end_training(self, encoder):
        self._warn_if_unfinished(encoder, "in training, ", stacklevel=8)

    def _warn_if_unfinished(self, encoder, where, stacklevel):
        if unfinished := sum(encoder.unfinished):
            warnings.warn(
                f"{type(self).__name__}: {where}{unfinished} times a sample did not reach "
                f"gap_tol={self.gap_tol:g} in max_sweeps={self.max_sweeps}. Raise max_sweeps or "
                "gap_tol.",
                ConvergenceWarning,
                stacklevel=stacklevel,
            )

    def _warn_if_too_large(self, rows, components, n_samples, stacklevel):
        if self.penalty == "l1":
            C = rows @ components.T
            largest = float((C if self.positive else abs(C)).max())
            self._warn_too_large("alpha", largest, rows.shape[0], n_samples, stacklevel)

    def _parts(self, n_components, unit):
        weight = in_units(float(self.alpha), self.penalty, unit)
        how = self.positive, float(self.gap_tol), self.max_sweeps, self.algorithm, self.precompute
        return Lasso(weight, self.penalty, 1 / unit, *how), [
            Reconstruction(),
            CodePenalty(weight, self.penalty, 1 / unit),
        ]
