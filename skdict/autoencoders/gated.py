"""Gated autoencoder: Rajamanoharan et al., "Improving Dictionary Learning with Gated Sparse
Autoencoders", arXiv 2404.16014."""

from skdict import codes
from skdict._sklearn import Interval, Real
from skdict.autoencoders._shared import Autoencoder
from skdict.backend import namespace
from skdict.encoders import Affine
from skdict.terms import L1, HeldReconstruction, LoadBalance, Reconstruction


class Gated:
    """A gate that chooses and a magnitude that measures, on one encoder matrix (section 3.2).

        gate  = ReLU(P)               P = U + gate_bias
        codes = 1[P > 0] ReLU(M)      M = exp(r) U + encoder_bias      r = magnitude_log_scale

    backward, with no gradient through the step:
        dM = 1[P > 0] 1[M > 0] d_codes        dP = 1[P > 0] d_gate
        dU = exp(r) dM + dP                   dr = sum over samples of dM exp(r) U
    """

    support = "gate_bias"
    heads = ("codes", "gate")

    def init(self, n_components, like):
        xp = namespace(like)
        zero = xp.zeros_like(like[:, 0])
        return {
            "encoder_bias": zero,
            "gate_bias": xp.asarray(zero, copy=True),
            "magnitude_log_scale": xp.asarray(zero, copy=True),
        }

    def forward(self, U, params, context):
        u = codes.entries(U)
        P = u + codes.per_component(U, params["gate_bias"])
        scale = namespace(u).exp(params["magnitude_log_scale"])
        scaled = u * codes.per_component(U, scale)
        M = scaled + codes.per_component(U, params["encoder_bias"])
        open_ = codes.positive(P)
        heads = {
            "codes": codes.with_entries(U, M * codes.positive(M) * open_),
            "gate": codes.with_entries(U, P * open_),
        }
        return heads, (heads, scaled)

    def backward(self, d_heads, tape, params):
        heads, scaled = tape
        xp = namespace(scaled)
        Z, gate = heads["codes"], heads["gate"]
        d_M = codes.entries(d_heads["codes"]) * codes.positive(codes.entries(Z))
        d_P = codes.entries(d_heads["gate"]) * codes.positive(codes.entries(gate))
        factor = codes.per_component(Z, xp.exp(params["magnitude_log_scale"]))
        d_params = {
            "encoder_bias": codes.column_sum(codes.with_entries(Z, d_M)),
            "gate_bias": codes.column_sum(codes.with_entries(Z, d_P)),
            "magnitude_log_scale": codes.column_sum(codes.with_entries(Z, d_M * scaled)),
        }
        return [codes.with_entries(Z, factor * d_M + d_P)], d_params


class GatedAutoencoder(Autoencoder):
    """Autoencoder that decides with a gate which latents fire, and measures apart how strongly.

    With ``U = (X - decoder_bias_) @ encoder_.T`` it encodes
    ``Z = 1[U + gate_bias_ > 0] * ReLU(exp(magnitude_log_scale_) * U + encoder_bias_)`` and decodes
    ``Z @ components_ + decoder_bias_``. The penalty acts on the gate alone, so magnitudes are not
    shrunk; a second reconstruction from ``ReLU(U + gate_bias_)``, through the decoder and its bias
    held constant, keeps the gate meaningful [1]_. Atoms have unit norm.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of latents; "auto" is 4 times the number of features.
    alpha : float, default=1.0
        Weight of the penalty ``sum(ReLU(gate pre-activations))``, beside ``||X - X_hat||^2 / 2``
        and an auxiliary loss of the same form; means over samples, on centred X divided by
        `scale_`. In the units of X it is ``alpha * scale_``.
    resample_dead : bool, default=True
        Every `dead_after` samples, until the rate begins to fall, point some dead latents at what
        is lacking in the reconstruction of samples, drawn with probability proportional to their
        squared loss (after [2]_, who take the samples themselves).
    batch_size : int, default=256
        Samples per optimiser step, and per slice of `partial_fit`.
    max_iter : int or "auto", default="auto"
        Passes over the data. "auto" makes about 4,000 steps, in 6 to 1,000 passes.
    learning_rate : float, default=0.0045
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
        of the mean of gates in a batch. Where some features truly are much rarer than others, it
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
        Bias of the magnitudes.
    gate_bias_ : array of shape (n_components,)
    magnitude_log_scale_ : array of shape (n_components,)
        r of the paper.
    decoder_bias_ : array of shape (n_features,)
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
    SparseAutoencoder : One path for both; its codes are too small.
    TopKAutoencoder : The number of active latents is a parameter.

    References
    ----------
    .. [1] Rajamanoharan, Senthooran, et al. "Improving Dictionary Learning with Gated Sparse
       Autoencoders." arXiv 2404.16014 (2024), section 3.2 and appendix G.
    .. [2] Bricken, Trenton, et al. "Towards Monosemanticity: Decomposing Language Models With
       Dictionary Learning." Transformer Circuits Thread (2023), appendix "Neuron Resampling".
    .. [3] O'Neill, Charles, Alim Gumran, and David Klindt. "Compute Optimal Inference and Provable
       Amortisation Gap in Sparse Autoencoders." ICML (2025), arXiv 2411.13117.

    Examples
    --------
    >>> from skdict import GatedAutoencoder
    >>> from skdict.datasets import make_superposition
    >>> X, dictionary, codes = make_superposition(
    ...     2000, n_components=16, n_features=8, k=3, random_state=0
    ... )
    >>> sae = GatedAutoencoder(16, alpha=0.2, max_iter=20, random_state=0).fit(X)
    >>> sae.transform(X).shape
    (2000, 16)
    >>> bool(sae.score(X) > 0.5)
    True
    """

    _parameter_constraints = {
        **Autoencoder._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "resample_dead": ["boolean"],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        alpha=1.0,
        resample_dead=True,
        batch_size=256,
        max_iter="auto",
        learning_rate=4.5e-3,
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
        terms = [
            Reconstruction(),
            L1(self.alpha, self.warmup, head="gate"),
            HeldReconstruction(head="gate"),
        ]
        if self.load_balancing:
            terms.append(LoadBalance(float(self.load_balancing), head="gate"))
        return Affine(Gated(), self.precision, self._hidden()), self._with_incoherence(terms)
