"""Sparse autoencoder: ReLU codes under a penalty.

Bricken et al. 2023, "Towards Monosemanticity: Decomposing Language Models With Dictionary
Learning", Transformer Circuits.
"""

import dataclasses

import numpy as np

from skdict import codes, penalties, repair
from skdict._sklearn import Interval, Real, StrOptions
from skdict.autoencoders._shared import Autoencoder
from skdict.backend import asarray_like, namespace, to_numpy
from skdict.constraints import norms_and_units
from skdict.encoders import Affine
from skdict.terms import L1, LoadBalance, Penalty, Reconstruction
from skdict.training import FREE_OPTIMIZER


class ReLU:
    """``codes = max(A, 0)`` with ``A = U + encoder_bias``; backward: dA = d_codes where A > 0."""

    support = "encoder_bias"
    heads = ("codes",)

    def init(self, n_components, like):
        xp = namespace(like)
        return {"encoder_bias": xp.zeros_like(like[:, 0])}

    def forward(self, U, params, context):
        A = codes.entries(U) + codes.per_component(U, params["encoder_bias"])
        Z = codes.with_entries(U, A * codes.positive(A))
        return {"codes": Z}, Z

    def backward(self, d_heads, Z, params):
        slope = codes.positive(codes.entries(Z))
        d_A = codes.with_entries(Z, codes.entries(d_heads["codes"]) * slope)
        return [d_A], {"encoder_bias": codes.column_sum(d_A)}


class SparseAutoencoder(Autoencoder):
    """Autoencoder with ReLU codes under a penalty.

    Encodes ``Z = ReLU((X - decoder_bias_) @ encoder_.T + encoder_bias_)`` and decodes
    ``Z @ components_ + decoder_bias_``. The L1 penalty makes codes sparse and also too small: a
    code on its own is ``alpha`` short of its least-squares value (see
    :func:`skdict.metrics.shrinkage`). Atoms have unit norm, so that the penalty cannot be escaped
    by scaling [1]_.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of latents; "auto" is 4 times the number of features.
    alpha : float, default=1.0
        Weight of the penalty: the objective is ``||X - X_hat||^2 / 2 + alpha * sum(Z)``, a mean
        over samples, on centred X divided by `scale_`. In the units of X it is
        ``alpha * scale_``.
    penalty : {"l1", "log", "mcp", "tanh", "lp", "hoyer_square", "pq_mean", "gini"}, default="l1"
        What a sample's codes z cost. With w the `penalty_width`:

        - ``"l1"``: ``sum(z)``.
        - ``"log"``: ``w log(1 + z/w)``, ``"tanh"``: ``w tanh(z/w)``, ``"mcp"``: ``z - z^2 / 2w`` up
          to w and w/2 from there, summed. They cost what l1 does where codes are small and less
          where they are large, so that these are shrunk less. The smaller w, the nearer to counting
          codes, and the more minima there are in which training may end.
        - ``"lp"``: ``w (z/w)^p / p`` [5]_, with z/w moved by 0.01, so that slopes are finite.
        - Measures of Hurley and Rickard, as an effective number of latents that is n for n equal
          codes of any size: ``"hoyer_square"``, ``sum(z)^2 / sum(z^2)``; ``"pq_mean"``, a power of
          the mean with p=1/2 and q=2; ``"gini"``, n_components times ``1 - gini``. They do not
          shrink codes that grow together, and tend to leave many latents dead.
          Other measures have no slope where it would be of use (`n_zeros`, `neg_log`, `kappa_4`,
          `u_theta`), or fall off a cliff at zero.
    penalty_width : float, default=1.0
        Size of codes, of centred X divided by `scale_`, at which the cost of ``"log"``, ``"mcp"``,
        ``"tanh"`` levels off, or at which ``"lp"`` costs what l1 does in slope.
    p : float in [0.01, 1] or pair of them, default=(1.0, 0.5)
        Exponent of ``"lp"``. Of a pair, the exponent goes in equal steps from the first, while the
        rate of `fit` is constant, to the last, in its fall; without a fall, and in `partial_fit`,
        it is the last.
    atom_norms : {"unit", "free"}, default="unit"
        "unit": every step keeps atoms on the sphere. "free": atoms of any norm, by which the
        penalty weighs their codes [6]_; in the end norms pass from atoms to encoder and codes.
    repair : {"scale", "decoder"} or None, default=None
        What `fit` does, in one more pass, against codes that the penalty has made too small, with
        the choice of latents held: "scale" gives each latent's codes the factor of least squares,
        as in [4]_; "decoder" also lets atoms take the directions of least squares. A ridge keeps
        latents that fired rarely near what they were. Either needs memory for n_components^2
        numbers.
    resample_dead : bool, default=True
        Every `dead_after` samples, until the rate begins to fall, point some dead latents at what
        is lacking in the reconstruction of samples, drawn with probability proportional to their
        squared loss (after [2]_, who take the samples themselves).
    batch_size : int, default=256
        Samples per optimiser step, and per slice of `partial_fit`.
    max_iter : int or "auto", default="auto"
        Passes over the data. "auto" makes about 4,000 steps, in 6 to 1,000 passes.
    learning_rate : float, default=0.0035
        Of Adam.
    weight_decay : float, default=0.09
        Decay of the encoder, decoupled from the gradient as in AdamW, so that many passes over few
        samples are not learnt by heart: at each step, rows of latents that are not dead shrink by
        the rate times ``weight_decay * sqrt(n_features)``. Where a pass has more than 24 steps, by
        less in proportion; in a single pass, and in `partial_fit`, not at all.
    encoder_hidden : int or None, default=None
        Width of a hidden layer of ReLUs in the encoder, an MLP then [3]_; ``(h,)`` is h. None:
        one affine map. The decoder stays linear.
    incoherence : float, default=0.0
        Weight of a penalty on products of different atoms, beside the objective:
        ``sum_(i != j) <d_i, d_j>^2``. It evens out the spectrum of the dictionary, and is smallest
        for tight frames. It does not keep atoms apart: two copies of an orthonormal basis are one.
    coherence_limit : float in [0, 1) or None, default=None
        Let the penalty be ``sum_(i != j) (max(|<d_i, d_j>| - coherence_limit, 0))^2``, which does
        push all atoms apart, the harder the larger `incoherence`, without which it is ignored. A
        step then costs ``n_components^2 * n_features`` more. No dictionary meets a limit below the
        Welch bound (:func:`skdict.metrics.welch_bound`).
    load_balancing : float, default=0.0
        Weight of a penalty on uneven use: the squared coefficient of variation, over the latents,
        of the mean of codes in a batch. Where some features truly are much rarer than others, it
        spreads the common ones over several latents.
    warmup : int, default=100
        Steps over which the rate and alpha rise linearly from zero.
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
        Of the first atoms, of shuffling, of resampling.
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
        Of the encoder's product with float32 data on a GPU: "highest" is float32, the others round
        its factors, which is faster. They decide which latents are not zero; the codes of these are
        computed in float32. Ignored on the host.

    Attributes
    ----------
    components_ : array of shape (n_components, n_features)
        The dictionary: atoms of unit norm as rows.
    encoder_ : array of shape (n_components, n_features)
        Or (n_components, h) with `encoder_hidden`.
    hidden_encoder_ : array of shape (h, n_features)
        With `encoder_hidden`.
    hidden_bias_ : array of shape (h,)
        Likewise.
    encoder_bias_ : array of shape (n_components,)
    decoder_bias_ : array of shape (n_features,)
    shrinkage_ : array of shape (2,)
        Where there was a repair: :func:`skdict.metrics.shrinkage` of the rows that were trained on,
        before and after. There is no repair, and none of these, after a fit that diverged.
    scale_ : float
        Root mean square of the entries of X about their column means, by which X is divided in
        training (1 where that is 0).
    dead_latents_ : bool array of shape (n_components,)
        Latents silent for the last `dead_after` samples of training.
    loss_curve_ : list of float
        Mean objective of each pass, on centred X divided by `scale_`.
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

    See Also
    --------
    GatedAutoencoder : Without the shrinkage.
    TopKAutoencoder : The number of active latents is a parameter.

    References
    ----------
    .. [1] Bricken, Trenton, et al. "Towards Monosemanticity: Decomposing Language Models With
       Dictionary Learning." Transformer Circuits Thread (2023), section "Sparse Autoencoder Setup".
    .. [2] The same, appendix "Neuron Resampling".
    .. [3] O'Neill, Charles, Alim Gumran, and David Klindt. "Compute Optimal Inference and Provable
       Amortisation Gap in Sparse Autoencoders." ICML (2025), arXiv 2411.13117.
    .. [4] Wright, Benjamin, and Lee Sharkey. "Addressing Feature Suppression in SAEs." (2024),
       who train the scales instead.
    .. [5] Karvonen, Adam, et al. "Measuring Progress in Dictionary Learning for Language Model
       Interpretability with Board Game Models." arXiv 2408.00113 (2024).
    .. [6] Templeton, Adly, et al. "Circuits Updates - April 2024." Transformer Circuits Thread.

    Examples
    --------
    >>> from skdict import SparseAutoencoder
    >>> from skdict.datasets import make_superposition
    >>> X, dictionary, codes = make_superposition(
    ...     2000, n_components=16, n_features=8, k=3, random_state=0
    ... )
    >>> sae = SparseAutoencoder(16, alpha=0.2, max_iter=20, random_state=0).fit(X)
    >>> sae.transform(X).shape
    (2000, 16)
    >>> bool(sae.score(X) > 0.5)
    True
    """

    _parameter_constraints = {
        **Autoencoder._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "penalty": [StrOptions(set(penalties.NAMES))],
        "penalty_width": [Interval(Real, 0, None, closed="neither")],
        "p": [Interval(Real, 0.01, 1, closed="both"), tuple, list],
        "atom_norms": [StrOptions({"unit", "free"})],
        "repair": [StrOptions({"scale", "decoder"}), None],
        "resample_dead": ["boolean"],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        alpha=1.0,
        penalty="l1",
        penalty_width=1.0,
        p=(1.0, 0.5),
        atom_norms="unit",
        repair=None,
        resample_dead=True,
        batch_size=256,
        max_iter="auto",
        learning_rate=3.5e-3,
        weight_decay=0.09,
        encoder_hidden=None,
        incoherence=0.0,
        coherence_limit=None,
        load_balancing=0.0,
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
        self.n_components = n_components
        self.alpha = alpha
        self.penalty = penalty
        self.penalty_width = penalty_width
        self.p = p
        self.atom_norms = atom_norms
        self.repair = repair
        self.resample_dead = resample_dead
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.encoder_hidden = encoder_hidden
        self.incoherence = incoherence
        self.coherence_limit = coherence_limit
        self.load_balancing = load_balancing
        self.warmup = warmup
        self.decay = decay
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.dead_after = dead_after
        self.shuffle = shuffle
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.sparse_output = sparse_output
        self.device = device
        self.precision = precision

    def _parts(self, n_components, unit):
        terms = [Reconstruction(), self._penalty()]
        if self.load_balancing:
            terms.append(LoadBalance(float(self.load_balancing)))
        return Affine(ReLU(), self.precision, self._hidden()), self._with_incoherence(terms)

    def _penalty(self):
        rho, free = self._rho(), self.atom_norms == "free"
        if self.penalty == "l1" and not free:
            return L1(self.alpha, self.warmup)
        return Penalty(self.alpha, rho, self.warmup, by_norms=free)

    def _rho(self):
        p = self.p
        pair = list(p) if isinstance(p, tuple | list) else [p, p]
        valid = [isinstance(n, Real) and not isinstance(n, bool) and 0.01 <= n <= 1 for n in pair]
        if valid != [True, True]:
            raise ValueError(
                f"{type(self).__name__}: p={p!r} is neither an exponent nor a pair of them. Give "
                "numbers in [0.01, 1], such as 0.5 or (1.0, 0.5)."
            )
        return penalties.named(self.penalty, float(self.penalty_width), p)

    def _settings(self, repetition, n_samples):
        settings = super()._settings(repetition, n_samples)
        free = self.atom_norms == "free"
        return settings._replace(optimizer=FREE_OPTIMIZER) if free else settings

    def _normalised(self, params):
        if self.atom_norms == "unit":
            return params
        norms, units = norms_and_units(params["components"])
        encoder = params["encoder"] * norms[:, None]
        bias = params["encoder_bias"] * norms
        return {**params, "components": units, "encoder": encoder, "encoder_bias": bias}

    def _check_passes(self, source):
        super()._check_passes(source)
        if self.repair is not None and source.once:
            raise ValueError(
                f"{type(self).__name__}: repair={self.repair!r} needs one more pass over X, but X "
                "is an iterator, which can be read only once. Set repair=None, or pass an object "
                "that can be read again."
            )

    def _finished(self, run, encoder):
        if self.repair is None:
            return run.state
        params = self._normalised(run.state.params)
        moments = repair.moments_of(run, params, encoder)
        host = {name: to_numpy(array) for name, array in params.items()}
        host, self._shrinkage = repair.repaired(host, moments, self.repair)
        params = {
            name: asarray_like(array, params[name], params[name].dtype)
            for name, array in host.items()
        }
        return dataclasses.replace(run.state, params=params)

    def _fitted_attributes(self, state, epochs):
        attributes = super()._fitted_attributes(state, epochs)
        if hasattr(self, "_shrinkage"):
            attributes["shrinkage_"] = vars(self).pop("_shrinkage")
        return attributes

    def _against_divergence(self):
        sentences, width = [super()._against_divergence()], self.penalty_width
        if self.penalty in penalties.WITH_WIDTH and width != 1:
            sentences.append(f"Or choose a penalty_width nearer to 1 than {width:.4g}.")
        if self.repair is not None:
            sentences.append("There was no repair.")
        return " ".join(sentences)

    def _costs(self, norms):
        if self.penalty == "l1":
            return super()._costs(norms)
        # Of a latent on its own: what its code gains, over what it costs.
        largest, rho = norms.max(), self._rho()
        codes_ = np.linspace(0.001, 1, 200) * largest
        costs = np.array([float(rho(np.full((1, 1), z), 1.0)[0]) for z in codes_])
        most = np.max((codes_ * largest - codes_**2 / 2) / costs)
        return most, "by the penalty of its code for the largest sample"
