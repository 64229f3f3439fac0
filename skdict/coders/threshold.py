"""One-step codes: correlate with all atoms, and keep some."""

from skdict import codes
from skdict._sklearn import Integral, Interval, Real
from skdict.backend import namespace
from skdict.coders._base import BaseCoder
from skdict.constraints import norms_and_units, unit_rows
from skdict.kernels.dense import Rounded, is_rounded, product_tiles
from skdict.kernels.refit import refit
from skdict.kernels.topk import topk
from skdict.terms import Reconstruction


class Threshold:
    """An encoder with nothing to learn: the k largest correlations, or those above a threshold."""

    rows_at_a_time = 2048  # two tiles of the product

    def __init__(self, k, threshold, positive=False, refit=False, precision="highest"):
        self.k = k
        self.threshold = threshold
        self.positive = positive
        self.refit = refit
        self.precision = precision

    names = ()

    def init(self, components, random):
        return {}

    def forward(self, X, params, context):
        norms, D = norms_and_units(params["components"])
        centred = X - params["decoder_bias"]
        self.n_components = D.shape[0]
        Z = codes.stack(product_tiles(centred, D.T, self._select, self.precision))
        values = codes.entries(Z)
        if is_rounded(centred, self.precision):
            values = codes.entries(codes.codes_gradient(Z, D, centred))
        if self.refit:
            values = refit(centred, D, Z.indptr, Z.indices, self.positive)
        return {"codes": codes.with_entries(Z, values / codes.per_component(Z, norms))}, None

    def backward(self, d_heads, tape, params, grads):
        """Nothing: the codes are held."""

    def for_inference(self, params, n_samples):
        return self

    def rows(self, start, stop):
        return self

    def _select(self, U):
        U = U.product if isinstance(U, Rounded) else U
        xp = namespace(U)
        sizes = xp.maximum(U, xp.zeros_like(U)) if self.positive else xp.abs(U)
        if self.threshold is None:
            bias = xp.zeros_like(sizes[0, :])
            indices, sizes = topk(sizes, bias, min(self.k, U.shape[1]))
            U = xp.take_along_axis(U, xp.astype(indices, xp.int64), axis=1)
            kept, columns = sizes > 0, indices[sizes > 0]
        else:
            kept = sizes > self.threshold
            columns = xp.astype(xp.nonzero(kept)[1], xp.int32)
        counts = xp.astype(xp.count_nonzero(kept, axis=1), xp.int64)
        indptr = xp.concat([xp.zeros_like(counts[:1]), xp.cumulative_sum(counts)])
        return codes.SparseCodes(indptr, columns, U[kept], self.n_components)


class ThresholdCoder(BaseCoder):
    """Sparse codes in one step: correlate with all atoms, and keep some.

    The correlations are those with the atoms divided by their norms. It is what an autoencoder's
    encoder could do without learning, and a baseline for pursuit.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of atoms; "auto" is that of the given dictionary, or 4 times the number of features.
    k : int or None, default=32
        Correlations kept per sample, the largest in magnitude. A k above n_components is clipped
        with a warning. Ignored where `threshold` is set.
    threshold : float or None, default=None
        Keep the correlations above this in magnitude instead, in units of X.
    refit : bool, default=False
        Replace the correlations that are kept by the codes of least squares on their atoms.
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
        Of the correlations with float32 data on a GPU: "highest" is float32, the others round the
        factors of the product, which is faster. They decide what is kept; codes are computed in
        float32. Ignored on the host.

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
    MatchingPursuitCoder : Chooses atoms one after the other.
    sklearn.decomposition.sparse_encode : Its "threshold" also shrinks what it keeps.

    References
    ----------
    .. [1] Mairal, Julien, et al. "Online learning for matrix factorization and sparse coding."
       Journal of Machine Learning Research 11 (2010), section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict import ThresholdCoder
    >>> coder = ThresholdCoder(k=1, dictionary=np.array([[1.0, 0.0], [0.6, 0.8]])).fit([[1.0, 2.0]])
    >>> coder.transform([[1.0, 2.0]])
    array([[0. , 2.2]])
    """

    _parameter_constraints = {
        **BaseCoder._parameter_constraints,
        "k": [Interval(Integral, 1, None, closed="left"), None],
        "threshold": [Interval(Real, 0, None, closed="left"), None],
        "refit": ["boolean"],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        k=32,
        threshold=None,
        refit=False,
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
        self.threshold = threshold
        self.refit = refit

    def _clips_k(self):
        return self.threshold is None

    def _warn_if_too_large(self, rows, components, n_samples, stacklevel):
        if self.threshold is not None:
            C = rows @ unit_rows(components).T
            largest = float((C if self.positive else abs(C)).max())
            self._warn_too_large("threshold", largest, rows.shape[0], n_samples, stacklevel)

    def _parts(self, n_components, unit):
        if self.k is None and self.threshold is None:
            raise ValueError(
                f"{type(self).__name__}: k=None and threshold=None keep nothing. Set one of them."
            )
        threshold = None if self.threshold is None else float(self.threshold) / unit
        how = self.positive, self.refit, self.precision
        return Threshold(self.k, threshold, *how), [Reconstruction()]
