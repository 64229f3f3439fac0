"""The scikit-learn shell around encoders, terms and the training loop."""

import contextlib
import dataclasses
import math
import warnings

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skdict import codes, encoding, training
from skdict._sklearn import (
    Integral,
    Interval,
    Real,
    StrOptions,
    as_configured,
    fit_context,
    output_config,
)
from skdict._validation import check_codes, check_X
from skdict.backend import (
    asarray_like,
    computation_dtype,
    generator,
    namespace,
    to_numpy,
)
from skdict.constraints import unit_rows
from skdict.kernels.threads import use_threads

AUTO_STEPS = 4000  # that max_iter="auto" aims at
AUTO_EPOCHS = (6, 1000)  # and its bounds
FEW_STEPS = 24  # of a pass: as few, and samples come back while the encoder remembers them


class BaseDictionaryEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Training, encoding and decoding, for a shell that names its parts in `_parts`."""

    _parameter_constraints = {
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "warmup": [Interval(Integral, 0, None, closed="left")],
        "decay": [Interval(Real, 0, 1, closed="both")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_no_improvement": [Interval(Integral, 1, None, closed="left"), None],
        "dead_after": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Integral, None, -1, closed="right"),
            None,
        ],
        "verbose": ["verbose"],
        "sparse_output": ["boolean"],
    }
    # The one method of a shell, `_parts(n_components, unit)`, returns an encoder and terms. It may
    # read the parameters and `n_features_in_`; `unit` is the size in X of one unit of the data that
    # the parts will see: `scale_` in training, 1 in `transform`.
    _scale_attribute = "scale_"

    # ------------------------------------------------------------------ fitting

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Learn a dictionary from X.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            float32 and float64 are computed in their own precision, float16 in float32.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        with self._all_or_nothing(), use_threads(self.n_jobs):
            X = check_X(self, X, reset=True, method="fit")
            if not self._fit_given_dictionary(X):
                self._fit_from_data(X)
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None):
        """Pass once over X, in slices of `batch_size` in the order given, and keep the state.

        The rate of learning does not decay. The first call takes centre and scale from the first
        16,384 rows of its X; after `fit`, training goes on from the fitted model.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        self
        """
        fresh = not hasattr(self, "components_")
        with self._all_or_nothing() as before, use_threads(self.n_jobs):
            X = check_X(self, X, reset=fresh, method="partial_fit")
            if not self._fit_given_dictionary(X, resume=True):
                state = self._resume(X, fresh)
                before.pop("_state", None)  # from here on it changes: no way back to it
                self._partial_fit_from_data(X, state, fresh)
        return self

    def _fit_given_dictionary(self, X, resume=False):
        """Set the fitted attributes without training if there is a dictionary; did it?"""
        return False

    def _fit_from_data(self, X):
        self._state = None
        self._warn_if_clipped()
        random = generator(check_random_state(self.random_state))
        order = random.permutation(X.shape[0]) if self.shuffle else None
        warm = self.warm_start and hasattr(self, "components_")
        if warm:
            self._check_continues(X)
        state = self._start(X, order, random, warm)
        encoder, terms = self._parts(self._n_components(), state.scale)
        settings = self._settings(self._repetition(X.shape[0]), X.shape[0])
        steps_per_pass = math.ceil(X.shape[0] / settings.batch_size)
        n_passes = self._n_passes(steps_per_pass)
        plan = training.Plan(state.step, n_passes * steps_per_pass, self._decay())
        epochs = self._run(state, X, encoder, terms, settings, plan, order)
        self._warn_if_silent(state, X, epochs, settings.learning_rate)
        self._set_fitted(state, epochs)
        self.n_iter_, self.n_steps_ = len(epochs), state.step
        self._state = None  # a pickle holds the model, not the optimiser

    def _resume(self, X, fresh):
        if fresh:
            self._warn_if_clipped()
        else:
            self._check_continues(X)
        state = getattr(self, "_state", None)
        if state is None:
            random = generator(check_random_state(self.random_state))
            scale = None if fresh else getattr(self, self._scale_attribute, None)
            state = self._start(X, None, random, not fresh, scale)
            state.step = 0 if fresh else self.n_steps_
        return state

    def _partial_fit_from_data(self, X, state, fresh):
        encoder, terms = self._parts(self._n_components(), state.scale)
        plan = training.Plan(state.step, math.ceil(X.shape[0] / self.batch_size), 0.0)
        earlier = None if fresh else (self.history_, self.n_iter_)
        epochs = self._run(state, X, encoder, terms, self._settings(0.0, X.shape[0]), plan, None)
        # Copies of the matrices, for the state goes on changing them.
        self._set_fitted(dataclasses.replace(state, params=_copied(state.params)), epochs)
        self.n_iter_, self.n_steps_ = len(epochs), state.step
        if earlier is not None:
            history, self.n_iter_ = earlier[0], earlier[1] + len(epochs)
            self.history_ = {
                name: np.concatenate([history.get(name, []), values])
                for name, values in self.history_.items()
            }
            self.loss_curve_ = self.history_["loss"].tolist()
        self._state = state

    def _start(self, X, order, random, warm, held_scale=None):
        center, scale = training.center_and_scale(X, order)
        center, scale = self._center(center), held_scale or scale
        like = asarray_like(np.empty((0, X.shape[1])), X, computation_dtype(X))
        if warm:
            params = training.unfold(self._fitted_params(like), center, scale)
            state = training.start(params, X, random, center, scale)
            state.silent_for[to_numpy(self.dead_latents_)] = self.dead_after
            return state
        n_components = self._n_components()
        encoder, _ = self._parts(n_components, scale)
        atoms = self._first_atoms(X, order, random, n_components, center)
        components = unit_rows(asarray_like(atoms, like, like.dtype))
        bias = asarray_like(np.zeros(X.shape[1]), like, like.dtype)
        params = {"components": components, "decoder_bias": bias, **encoder.init(components)}
        return training.start(params, X, random, center, scale)

    def _center(self, mean):
        return mean

    def _first_atoms(self, X, order, random, n_components, center):
        return random.standard_normal((n_components, X.shape[1]))

    def _check_continues(self, X):
        name, (n_components, n_features) = type(self).__name__, self.components_.shape
        way_out = "Set warm_start=False and call fit to start afresh."
        if X.shape[1] != n_features:
            raise ValueError(
                f"{name}: X has {X.shape[1]} features, but the last fit had {n_features}. {way_out}"
            )
        if self._n_components() != n_components:
            raise ValueError(
                f"{name}: n_components={self._n_components()} differs from the {n_components} "
                f"components fitted before. {way_out}"
            )

    def _fitted_params(self, like=None):
        # Where `like` is given: beside it, and in its dtype.
        encoder, _ = self._parts(self.components_.shape[0], 1.0)
        names = ["components", "decoder_bias", *encoder.init(self.components_[:1, :])]
        params = {name: getattr(self, f"{name}_") for name in names}
        if like is None:
            return params
        return {n: asarray_like(to_numpy(a), like, like.dtype) for n, a in params.items()}

    @np.errstate(over="ignore", invalid="ignore")  # looked for here, once a pass
    def _run(self, state, X, encoder, terms, settings, plan, order):
        epochs, best, waited = [], math.inf, 0
        # What a diverging pass goes back to; the fitted attributes serve a training that resumes.
        resumed = getattr(self, "_state", None) is state
        finite = None if resumed else _copied(state.params)
        silence = state.silent_for.copy(), state.density
        for epoch in training.train(state, X, encoder, terms, settings, plan, order):
            if not (math.isfinite(epoch.loss) and _all_finite(state.params)):
                self._warn_diverged(state, settings.learning_rate)
                if finite is None:
                    fitted = self._fitted_params(state.center)
                    finite = training.unfold(fitted, state.center, state.scale)
                state.params, state.optimizer = finite, self._moments(finite, state.n_seen)
                state.silent_for, state.density = silence
                break
            if not plan.done(state.step):
                finite, silence = _copied(state.params), (state.silent_for.copy(), state.density)
            epochs.append(epoch)
            if self.verbose:
                print(self._progress(len(epochs), state, epoch))
            if state.step < settings.warmup:  # while alpha rises, so does the loss
                continue
            waited = 0 if epoch.loss < best * (1 - self.tol) else waited + 1
            best = min(best, epoch.loss)
            if self.max_no_improvement is not None and waited >= self.max_no_improvement:
                plan.wind_down(state.step)
        self._end_training(encoder)
        return epochs

    def _end_training(self, encoder):
        """What an encoder has to say after training with it."""

    def _progress(self, n_epochs, state, epoch):
        return (
            f"[{type(self).__name__}] epoch {n_epochs}, step {state.step}: loss {epoch.loss:.4g}, "
            f"L0 {epoch.l0:.1f}, dead {epoch.dead}"
        )

    def _warn_diverged(self, state, learning_rate):
        warnings.warn(
            f"{type(self).__name__}: the loss became non-finite before step {state.step} at "
            f"learning_rate={learning_rate:.4g}. Training stopped; the parameters are those of "
            f"the last finite pass, or those it began with. {self._against_divergence()}",
            ConvergenceWarning,
            stacklevel=7,
        )

    def _against_divergence(self):
        return "Lower learning_rate."

    def _set_fitted(self, state, epochs):
        for name, array in training.fold(state).items():
            setattr(self, f"{name}_", array)
        self.history_ = {
            name: np.array([getattr(epoch, name) for epoch in epochs])
            for name in training.Epoch._fields
        }
        self.loss_curve_ = self.history_["loss"].tolist()
        self.dead_latents_ = asarray_like(state.silent_for >= self.dead_after, self.components_)
        setattr(self, self._scale_attribute, float(state.scale))

    def _n_components(self):
        return 4 * self.n_features_in_ if self.n_components == "auto" else self.n_components

    def _n_passes(self, steps_per_pass):
        if self.max_iter != "auto":
            return self.max_iter
        fewest, most = AUTO_EPOCHS
        return min(max(math.ceil(AUTO_STEPS / steps_per_pass), fewest), most)

    def _repetition(self, n_samples):
        """How soon a fit comes back to the same samples: 0, never or late, to 1."""
        steps_per_pass = math.ceil(n_samples / self.batch_size)
        return 0.0 if self._n_passes(steps_per_pass) == 1 else min(1.0, FEW_STEPS / steps_per_pass)

    def _settings(self, repetition, n_samples):
        return training.Settings(
            self.batch_size,
            self._rate(repetition),
            self.warmup,
            self.dead_after,
            getattr(self, "resample_dead", False),
            self._held(),
            self._weight_decay(repetition),
        )

    def _rate(self, repetition):
        return self.learning_rate

    def _decay(self):
        return self.decay

    def _moments(self, params, n_seen):
        """What the update of the parameters remembers, at the beginning."""
        return training.OPTIMIZER.init(params)

    def _weight_decay(self, repetition):
        # The oftener a sample comes back while the encoder remembers it, the more is learnt by
        # heart. Entries of a row are of the order of one over the root of their number; Adam's
        # steps are not, so that what balances them is as much larger.
        decay = float(getattr(self, "weight_decay", 0.0))
        return repetition * decay * math.sqrt(self.n_features_in_)

    def _held(self):
        """Names of parameters that training leaves alone."""
        return ()

    def _warn_if_clipped(self):
        n_components, k = self._n_components(), getattr(self, "k", None)
        if k is not None and k > n_components and self._clips_k():
            warnings.warn(
                f"{type(self).__name__}: k={k} exceeds n_components={n_components}; "
                f"using k={n_components}.",
                UserWarning,
                stacklevel=5,
            )

    def _clips_k(self):
        return True

    def _warn_if_silent(self, state, X, epochs, learning_rate):
        if not hasattr(self, "alpha") or not epochs or epochs[-1].l0 > 0:
            return
        rows = training.standardise(X[: training.FIRST_ROWS, :], state)
        # An atom of unit norm gains at most the norm of a centred sample, and costs alpha.
        norms = np.linalg.norm(to_numpy(rows - state.params["decoder_bias"]), axis=1)
        if norms.max() > 0:  # else no alpha gives codes: all rows are equal
            many = self.alpha > norms.max() / 10
            rate = f"a lower learning_rate than {learning_rate:.4g}, or a smaller alpha"
            warnings.warn(
                f"{type(self).__name__}: all codes are zero with alpha={self.alpha}. Choose "
                f"{'a smaller alpha' if many else rate}: from {norms.max():.3g} on, the largest "
                "norm of a centred sample in units of scale_, no latent is worth its cost.",
                UserWarning,
                stacklevel=5,
            )

    @contextlib.contextmanager
    def _all_or_nothing(self):
        """Put every attribute back if fitting fails, so that an earlier fit stays usable."""
        before = dict(vars(self))
        try:
            yield before
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    # ------------------------------------------------------------------ encoding and decoding

    def transform(self, X):
        """Encode X.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)

        Returns
        -------
        codes : array of shape (n_samples, n_components)
            CSR with int32, sorted indices and no explicit zeros if `sparse_output`; then no dense
            array of this shape exists at any time.
        """
        return self._transform(X)

    def _transform(self, X, prepare=None):
        check_is_fitted(self)
        self._check_container()
        with use_threads(self.n_jobs) as threads:
            X = check_X(self, X, reset=False, method="transform")
            params, encoder = self._inference(X.shape[0])
            encoder = encoder if prepare is None else prepare(encoder)
            if not self.sparse_output:
                return encoding.encode(X, params, encoder, threads)
            parts = encoding.encode_sparse(X, params, encoder, threads)
            shape = (X.shape[0], self.components_.shape[0])
            return as_configured(sp.csr_array(parts, shape=shape))

    def _check_container(self):
        container = output_config("transform", self)["dense"]
        if self.sparse_output and container != "default":
            raise ValueError(
                f"{type(self).__name__}: {container} cannot hold sparse codes. Set "
                "sparse_output=False, or disable it with set_output(transform='default')."
            )

    def _inference(self, n_samples):
        """Parameters and encoder for `transform`, in the units of X."""
        encoder, _ = self._parts(self.components_.shape[0], 1.0)
        params = self._fitted_params()
        return params, encoder.for_inference(params, n_samples)

    def inverse_transform(self, Z):
        """Decode codes: ``Z @ components_ + decoder_bias_``.

        Parameters
        ----------
        Z : array or sparse matrix of shape (n_samples, n_components)

        Returns
        -------
        X_hat : array of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        Z = check_codes(self, Z)
        if sp.issparse(Z):
            return Z @ self.components_ + self.decoder_bias_
        with use_threads(self.n_jobs):
            return codes.decode(Z, self.components_) + self.decoder_bias_

    def score(self, X, y=None):
        """Explained variance of the reconstruction of X.

        One minus the sum of squared residuals over the sum of squares about the mean of X, over the
        whole of X (:func:`skdict.metrics.explained_variance`).

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        score : float
            One is best; NaN where X is constant.
        """
        check_is_fitted(self)
        with use_threads(self.n_jobs):
            X = check_X(self, X, reset=False, method="score")
            return encoding.explained_variance(X, *self._inference(X.shape[0]))

    # ------------------------------------------------------------------ scikit-learn

    @property
    def _n_features_out(self):
        return self.components_.shape[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = not self.sparse_output
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _all_finite(params):
    return all(bool(namespace(a).all(namespace(a).isfinite(a))) for a in params.values())


def _copied(params):
    return {name: namespace(a).asarray(a, copy=True) for name, a in params.items()}
