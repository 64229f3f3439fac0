"""TopK autoencoder: Gao et al., "Scaling and evaluating sparse autoencoders", arXiv 2406.04093."""

import numpy as np

from skdict import codes
from skdict._sklearn import Integral, Interval, Real, StrOptions
from skdict.autoencoders._shared import Autoencoder
from skdict.backend import add_to_rows, namespace, take_rows
from skdict.encoders import Affine
from skdict.kernels.dense import matmul
from skdict.kernels.topk import topk
from skdict.terms import AuxK, Reconstruction

FIRST_NORM = 0.5  # of the encoder's rows, beside atoms of norm one
SHORT, LONG = 5e-3, 3.5e-3  # automatic rates in passes of few and of many steps,
WIDE = 1024  # up to so many components


def relu(A):
    return namespace(A).maximum(A, namespace(A).zeros_like(A))  # NaN stays NaN


class TopK:
    """Keep the k largest pre-activations of each sample, then ReLU.

        codes = ReLU(A on the k largest of A, 0 elsewhere)        A = U + encoder_bias

    backward: dA = d_codes where the code is positive.

    With `balanced`, the k largest of ``A + selection_bias``; the bias has no part in the codes. In
    place of a gradient it gets by how much each latent was kept more often than the mean of all: it
    sinks for those that are busy and rises for those that are not. A latent that is kept and does
    not fire counts too, or its bias would rise without end. The loss-free balancing of Wang
    et al., "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts", arXiv 2408.15664,
    with Adam's normalised step in place of the sign.
    """

    support = None
    heads = ("codes",)

    def __init__(self, k, balanced=False):
        self.k = k
        self.balanced = balanced
        self.in_order = True

    def init(self, n_components, like):
        names = ("encoder_bias", "selection_bias") if self.balanced else ("encoder_bias",)
        return {name: namespace(like).zeros_like(like[:, 0]) for name in names}

    def forward(self, U, params, context):
        bias = params["encoder_bias"]
        if self.balanced:
            bias = bias + params["selection_bias"]
        Z = codes.from_rows(*topk(U, bias, self.k, self.in_order), bias.shape[0])
        if self.balanced:
            Z = Z.with_values(Z.values - codes.per_component(Z, params["selection_bias"]))
        Z = Z.with_values(relu(Z.values))
        return {"codes": Z}, Z

    def backward(self, d_heads, Z, params):
        slope = codes.positive(codes.entries(Z))
        d_A = codes.with_entries(Z, codes.entries(d_heads["codes"]) * slope)
        d_params = {"encoder_bias": codes.column_sum(d_A)}
        if self.balanced:
            kept = namespace(slope).ones_like(slope)
            load = codes.column_sum(codes.with_entries(Z, kept))
            d_params["selection_bias"] = load - namespace(load).mean(load)
        return [d_A], d_params


class TopKEncoder(Affine):
    """The k largest of all latents, and for AuxK (head `aux`) the k_aux largest of the dead.

    `aux` is dense, with a row for each sample that the dead look at and a column for each of them;
    None where none is dead. The k_aux largest may be more where equal entries are the smallest.
    """

    selects = "topk"  # by which a fused step knows it

    def __init__(self, k, k_aux=0, precision="highest", hidden=None, balanced=False):
        super().__init__(TopK(k, balanced), precision, hidden)
        self.k = k
        self.k_aux = k_aux

    def init(self, components, random):
        # Random atoms overlap: the k best of them, each coded by its full correlation, overshoot.
        params = super().init(components, random)
        params["encoder"] *= FIRST_NORM
        return params

    def forward(self, X, params, context):
        heads, tape = super().forward(X, params, context)
        heads["aux"] = latents = None
        if context.dead is not None and self.k_aux:
            latents = np.flatnonzero(context.dead)
            inputs = tape[1][context.dead_rows, :]
            heads["aux"] = self.codes_of_dead(inputs, params, latents, context.still)
        return heads, (tape, context.dead_rows, latents, heads["aux"])

    def backward(self, d_heads, tape, params, grads):
        tape, rows, latents, Z = tape
        super().backward(d_heads, tape, params, grads)
        if Z is None:
            return
        centred, inputs = (array[rows, :] for array in tape[:2])
        d_W, d_bias = self.gradient_of_dead(d_heads["aux"], Z, inputs)
        add_to_rows(grads["encoder"], latents, d_W)
        add_to_rows(grads["encoder_bias"], latents, d_bias)
        W = take_rows(params["encoder"], latents)
        if self.hidden is None:
            grads["decoder_bias"] -= d_bias @ W
        else:
            d_H = matmul(d_heads["aux"] * codes.positive(Z), W)
            self.hidden.backward(d_H, inputs, centred, params, grads)

    def codes_of_dead(self, inputs, params, latents, still=None):
        """Codes of some latents alone, of shape (n_samples, n_latents); zero unless `still`."""
        xp = namespace(inputs)
        U = matmul(inputs, take_rows(params["encoder"], latents).T)
        bias = take_rows(params["encoder_bias"], latents)
        if still is not None:
            never = xp.zeros_like(bias) - float(xp.finfo(bias.dtype).max) / 4
            bias = xp.where(still, bias, never)
        A = U + bias
        if self.k_aux < latents.size:
            smallest = xp.min(topk(U, bias, self.k_aux)[1], axis=1, keepdims=True)
            A = A * xp.astype(A >= smallest, A.dtype)
        return relu(A)

    def gradient_of_dead(self, d_Z, Z, inputs):
        """Gradients of the encoder's rows and biases that made the codes Z."""
        d_A = d_Z * codes.positive(Z)
        return matmul(d_A.T, inputs), namespace(d_A).sum(d_A, axis=0)


class TopKAutoencoder(Autoencoder):
    """Autoencoder that keeps the k largest pre-activations of each sample.

    Encodes ``Z = ReLU(TopK_k((X - decoder_bias_) @ encoder_.T + encoder_bias_))`` and decodes
    ``Z @ components_ + decoder_bias_``; the objective is the squared error alone. Latents that have
    not fired for `dead_after` samples are revived by AuxK: they learn to explain the residual [1]_.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of latents; "auto" is 4 times the number of features.
    k : int, default=32
        Latents kept per sample, in [1, n_components]; fewer are non-zero where fewer of the kept
        pre-activations are positive. A larger k is clipped with a warning.
    batch_size : int, default=256
        Samples per optimiser step, and per slice of `partial_fit`.
    max_iter : int or "auto", default="auto"
        Passes over the data. "auto" makes about 4,000 steps, in 6 to 1,000 passes.
    learning_rate : float or "auto", default="auto"
        Of Adam. "auto" is 0.005 in passes of 24 steps or fewer; 0.0035 in passes of many steps, in
        a single pass and in `partial_fit`, times ``(1024 / n_components) ** 0.6`` with more than
        1,024 latents; in between their geometric mean, weighted by 24 over the number of steps.
    weight_decay : float, default=0.09
        Decay of the encoder, decoupled from the gradient as in AdamW, so that many passes over few
        samples are not learnt by heart: at each step, rows of latents that are not dead shrink by
        the rate times ``weight_decay * sqrt(n_features)``. Where a pass has more than 24 steps, by
        less in proportion; in a single pass, and in `partial_fit`, not at all.
    encoder_hidden : int or None, default=None
        Width of a hidden layer of ReLUs in the encoder, an MLP then [2]_; ``(h,)`` is h. None:
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
        By how much a step moves the `selection_bias_` of latents that fire more or less often than
        most, against the norm of a typical sample; 0.0001 is much, 0 turns it off. Only the choice
        of latents sees this bias, not the codes [3]_. Where some features truly are much rarer than
        others, it spreads the common ones over several latents.
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
        Of the first atoms, of shuffling.
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
    selection_bias_ : array of shape (n_components,)
        Where `load_balancing` is not zero.
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
    SparseAutoencoder : The number of active latents follows from a penalty.
    MatchingPursuitCoder : Chooses latents one after the other instead of at once.

    Notes
    -----
    Departures from the paper, all in the direction of small data: the dead are counted in samples
    (10,000 instead of ten million tokens), the auxiliary loss has weight one, undivided, since only
    dead latents see it (with 1/32 more of them stay dead), and k_aux is half the number of
    features. Where many are dead, they look at every n-th sample of a batch only. Rows of the
    encoder begin with half the norm of the atoms: the k best of many atoms overlap and overshoot.

    References
    ----------
    .. [1] Gao, Leo, et al. "Scaling and evaluating sparse autoencoders." arXiv 2406.04093 (2024),
       sections 2.2, 2.3 and appendix A.
    .. [2] O'Neill, Charles, Alim Gumran, and David Klindt. "Compute Optimal Inference and Provable
       Amortisation Gap in Sparse Autoencoders." ICML (2025), arXiv 2411.13117.
    .. [3] Wang, Lean, et al. "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts."
       arXiv 2408.15664 (2024).

    Examples
    --------
    >>> from skdict import TopKAutoencoder
    >>> from skdict.datasets import make_superposition
    >>> X, dictionary, codes = make_superposition(
    ...     2000, n_components=16, n_features=8, k=3, random_state=0
    ... )
    >>> sae = TopKAutoencoder(16, k=3, max_iter=50, random_state=0).fit(X)
    >>> sae.transform(X).shape
    (2000, 16)
    >>> bool(sae.score(X) > 0.8)
    True
    """

    _parameter_constraints = {
        **Autoencoder._parameter_constraints,
        "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "k": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components="auto",
        *,
        k=32,
        batch_size=256,
        max_iter="auto",
        learning_rate="auto",
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
        self.k = k
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

    def _rate(self, repetition):
        if self.learning_rate != "auto":
            return self.learning_rate
        # The more latents, the less often each fires: its steps, as large as the rate, are noisier,
        # and may lead to where it never fires again. But noise keeps from learning by heart.
        long = LONG * min(1.0, (WIDE / self._n_components()) ** 0.6)
        return SHORT * (long / SHORT) ** (1 - repetition)

    def _parts(self, n_components, unit):
        k_aux = max(1, self.n_features_in_ // 2)
        k, balanced = min(self.k, n_components), self.load_balancing > 0
        encoder = TopKEncoder(k, k_aux, self.precision, self._hidden(), balanced)
        return encoder, self._with_incoherence([Reconstruction(), AuxK()])

    def _settings(self, repetition, n_samples):
        settings = super()._settings(repetition, n_samples)
        factors = {"selection_bias": self.load_balancing / settings.learning_rate}
        return settings._replace(factors=factors)
