"""Greedy pursuit over a given or a learned dictionary.

Mallat & Zhang, "Matching pursuits with time-frequency dictionaries", IEEE Trans. Signal Processing
41(12), 1993; Pati, Rezaiifar & Krishnaprasad, "Orthogonal matching pursuit", Asilomar 1993.
"""

from skdict import codes
from skdict._sklearn import Integral, Interval, Real, StrOptions
from skdict.backend import is_host, namespace
from skdict.coders._base import BaseCoder
from skdict.constraints import norms_and_units
from skdict.kernels.dense import gram, gram_fits
from skdict.kernels.pursuit import pursuit
from skdict.terms import Reconstruction

REPEATING = ("mp", "gradient")  # may select an atom again
TABLE = 3.0  # what a multiply-add of the table of correlations costs against one of a product


class Pursuit:
    """An encoder with nothing to learn: the codes are held while the atoms learn from them."""

    rows_at_a_time = 512  # two blocks; more would leave threads waiting at the end

    def __init__(
        self,
        k,
        residual_tol=None,
        algorithm="omp",
        positive=False,
        precompute="auto",
        precision="highest",
        prepared=None,
    ):
        self.k = k
        self.residual_tol = residual_tol
        self.algorithm = algorithm
        self.positive = positive
        self.precompute = precompute
        self.precision = precision
        self.prepared = prepared

    names = ()

    def init(self, components, random):
        return {}

    def forward(self, X, params, context):
        norms, D, gram = self.prepared or self._prepare(params["components"], X.shape[0])
        centred = X - params["decoder_bias"]
        how = self.k, self.residual_tol, self.algorithm, self.positive
        arrays = pursuit(centred, D, *how, gram, self.precision)
        Z = codes.SparseCodes(*arrays, D.shape[0])
        factors = codes.per_component(Z, norms)
        return {"codes": codes.with_entries(Z, codes.entries(Z) / factors)}, None

    def backward(self, d_heads, tape, params, grads):
        """Nothing: the codes are held."""

    def for_inference(self, params, n_samples):
        prepared = self._prepare(params["components"], n_samples)
        how = self.k, self.residual_tol, self.algorithm, self.positive
        return Pursuit(*how, self.precompute, self.precision, prepared)

    def rows(self, start, stop):
        return self

    def _prepare(self, components, n_samples):
        # Norms of the atoms, atoms of unit norm, and their Gram matrix where it pays.
        norms, D = norms_and_units(components)
        pays = self.precompute
        if pays == "auto":
            pays = is_host(namespace(components)) and gram_pays(D, n_samples, self.k)
        return norms, D, gram(D) if pays else None


def gram_pays(D, n_samples, k):
    """Is a pursuit faster with the Gram matrix, and does that fit?

    In multiply-adds: half of m² d for the matrix and k² m / 2 a sample for what is read of it, or k
    products of m d a sample.
    """
    (m, d), most = D.shape, min(D.shape)
    steps = most if k is None else min(k, most)
    with_gram = m * d / 2 + n_samples * TABLE * steps * steps / 2
    return gram_fits(D) and with_gram <= n_samples * steps * d


class MatchingPursuitCoder(BaseCoder):
    """Sparse codes by greedy pursuit, over a given dictionary or one that `fit` learns.

    Each step selects the atom that correlates most with what is left of the sample. ``"omp"`` then
    refits the codes of all selected atoms by least squares [2]_; ``"mp"`` only adds the correlation
    to the code of the new one [1]_; ``"gradient"`` moves the codes of all selected atoms along the
    gradient as far as is best [3]_. ``"ols"`` refits like ``"omp"``, but selects the atom with
    which least squares leaves the smallest residual. Atoms of a learned dictionary have unit norm.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of atoms; "auto" is that of the given dictionary, or 4 times the number of features.
    k : int or None, default=32
        Most steps per sample, hence most non-zero codes; with ``"omp"`` and ``"ols"`` a k above
        n_components is clipped with a warning. None: only `residual_tol` ends a pursuit, and of
        ``"mp"`` and ``"gradient"``, where that may take long, 100 times as many steps as
        there are features or atoms, whichever are fewer.
    residual_tol : float or None, default=None
        Stop when the Euclidean norm of the residual of a sample is at most this, in units of X.
    algorithm : {"omp", "ols", "mp", "gradient"}, default="omp"
        Orthogonal matching pursuit, order-recursive least squares, plain matching pursuit, or
        gradient pursuit. ``"mp"`` and ``"gradient"`` make k steps, and may select an atom again.
    precompute : bool or "auto", default="auto"
        Compute with the Gram matrix of the atoms, or with residuals. "auto": whichever is estimated
        to be faster, but with no Gram matrix of more than 1 GiB.
    dictionary : array of shape (n_components, n_features), estimator or None, default=None
        None: learned. An array is used as it is, atoms of any norm, and `fit` only validates. An
        estimator is cloned and fitted by `fit`, and its ``components_`` are used; wrap a fitted one
        in :class:`sklearn.frozen.FrozenEstimator` to use it as it is.
    offset : float, array of shape (n_features,) or None, default=None
        Subtracted before coding, and added by `inverse_transform`. None: zero with an array, the
        ``decoder_bias_`` (or ``mean_``) of an estimator, and with a learned dictionary the mean of
        X.
    positive : bool, default=False
        Codes are at least zero: only positive correlations count, ``"omp"`` and ``"ols"`` refit by
        non-negative least squares, and ``"gradient"`` cuts its steps off at zero.
    dict_init : array of shape (n_components, n_features) or None, default=None
        First atoms of a learned dictionary; None: random samples of X.
    dict_update : {"online", "aksvd", "ksvd", "mod", "gradient"}, default="online"
        How a learned dictionary follows the codes. ``"online"``: block coordinate descent on
        statistics of all samples so far [4]_, after each batch. ``"ksvd"``, ``"aksvd"`` and
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
        Of the correlations with float32 data on a GPU: "highest" is float32, the others round the
        factors of the product, which is faster. They decide which atom is selected; codes are
        computed in float32. For ``"mp"`` and ``"omp"``; ignored on the host.

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
    TopKAutoencoder : Chooses all latents at once, by a learned encoder.
    sklearn.linear_model.orthogonal_mp : The same pursuit.

    References
    ----------
    .. [1] Mallat, Stephane, and Zhifeng Zhang. "Matching pursuits with time-frequency
       dictionaries." IEEE Transactions on Signal Processing 41.12 (1993), section III.
    .. [2] Pati, Yagyensh, et al. "Orthogonal matching pursuit: recursive function approximation
       with applications to wavelet decomposition." Asilomar Conference (1993), section 3.
    .. [3] Blumensath, Thomas, and Mike E. Davies. "Gradient pursuits." IEEE Transactions on Signal
       Processing 56.6 (2008), section III.
    .. [4] Mairal, Julien, et al. "Online learning for matrix factorization and sparse coding."
       Journal of Machine Learning Research 11 (2010), section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict import MatchingPursuitCoder
    >>> from skdict.datasets import make_superposition
    >>> X, dictionary, codes = make_superposition(
    ...     50, n_components=16, n_features=12, k=2, random_state=0
    ... )
    >>> coder = MatchingPursuitCoder(k=2, dictionary=dictionary).fit(X)
    >>> bool(np.mean(np.isclose(coder.transform(X), codes)) > 0.9)
    True
    """

    _parameter_constraints = {
        **BaseCoder._parameter_constraints,
        "k": [Interval(Integral, 1, None, closed="left"), None],
        "residual_tol": [Interval(Real, 0, None, closed="left"), None],
        "algorithm": [StrOptions({"omp", "ols", "mp", "gradient"})],
        "precompute": ["boolean", StrOptions({"auto"})],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        k=32,
        residual_tol=None,
        algorithm="omp",
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
        self.k = k
        self.residual_tol = residual_tol
        self.algorithm = algorithm
        self.precompute = precompute

    def _clips_k(self):
        return self.algorithm not in REPEATING

    def _warn_if_too_large(self, rows, components, n_samples, stacklevel):
        if self.residual_tol is not None:
            xp = namespace(rows)
            largest = float(xp.max(xp.linalg.vector_norm(rows, axis=1)))
            self._warn_too_large("residual_tol", largest, rows.shape[0], n_samples, stacklevel)

    def _parts(self, n_components, unit):
        if self.k is None and self.residual_tol is None:
            raise ValueError(
                f"{type(self).__name__}: k=None and residual_tol=None leave a pursuit without an "
                "end. Set one of them."
            )
        k = self.k if self.k is None or not self._clips_k() else min(self.k, n_components)
        tol = None if self.residual_tol is None else self.residual_tol / unit
        how = self.algorithm, self.positive, self.precompute, self.precision
        return Pursuit(k, tol, *how), [Reconstruction()]
