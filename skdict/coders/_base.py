"""What all coders share: a given dictionary, an offset, and first atoms from the data."""

import copy
import math
import warnings

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_array

from skdict._base import BaseDictionaryEstimator
from skdict._sklearn import HasMethods, Real, StrOptions
from skdict.backend import (
    asarray_like,
    is_array_api_obj,
    namespace,
    take_rows,
    to_numpy,
)
from skdict.batches import batch_of
from skdict.constraints import unit_rows
from skdict.dictionary_updates import KSVD, MOD, Online
from skdict.sources import BlocksSource, is_source

WHOLE_PASSES = 50  # that max_iter="auto" makes where a pass is one update
LOOK_AT = 1000  # rows, for codes that can only be zero
ONLINE_UPDATES, FEWEST_PASSES = 1000, 6  # that it makes online


class BaseCoder(BaseDictionaryEstimator):
    """A coder over a given dictionary, or over one that it learns with its codes held."""

    _parameter_constraints = {
        **BaseDictionaryEstimator._parameter_constraints,
        "dictionary": ["array-like", HasMethods("fit"), None],
        "offset": ["array-like", Real, None],
        "positive": ["boolean"],
        "dict_init": ["array-like", None],
        "dict_update": [StrOptions({"online", "aksvd", "ksvd", "mod", "gradient"})],
        "positive_dict": ["boolean"],
    }
    resample_dead = True  # unused atoms are replaced by badly coded samples
    _updated_by = None  # dict_update of what the state of training remembers
    _scale_attribute = "_scale"  # of training only: parameters of coders are in the units of X

    def __init__(
        self,
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
    ):
        self.n_components = n_components
        self.dictionary = dictionary
        self.offset = offset
        self.positive = positive
        self.dict_init = dict_init
        self.dict_update = dict_update
        self.positive_dict = positive_dict
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.learning_rate = learning_rate
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

    # ------------------------------------------------------------------ a learned dictionary

    def _update(self):
        """How the dictionary follows the codes; None: by the gradient."""
        ksvd = {"ksvd": False, "aksvd": True}
        if self.dict_update in ksvd:
            return KSVD(self.positive_dict, self.positive, ksvd[self.dict_update])
        updates = {"online": Online, "mod": MOD}
        name = self.dict_update
        return updates[name](self.positive_dict) if name in updates else None

    def _settings(self, repetition, n_samples):
        update = self._update()
        settings = super()._settings(repetition, n_samples)._replace(dictionary=update)
        if update is None and self.positive_dict:
            settings = settings._replace(project=non_negative_atoms)
        if update is not None:
            settings = settings._replace(warmup=0)
        if update is None or not update.needs_all:
            return settings
        if n_samples is None:
            raise ValueError(
                f"{type(self).__name__}: dict_update={self.dict_update!r} needs all samples at "
                "once, and X does not tell how many it has. Pass n_samples to fit, or set "
                "dict_update='online'."
            )
        return settings._replace(batch_size=n_samples)

    def _decay(self):
        return super()._decay() if self._update() is None else 0.0

    def _moments(self, params, n_seen):
        update = self._update()
        if update is None:
            return super()._moments(params, n_seen)
        return update.init(to_numpy(params["components"]), n_seen)

    def _against_divergence(self):
        if self._update() is None:
            return super()._against_divergence()
        return "Look for huge values in X."

    def _n_passes(self, steps_per_pass):
        update = self._update()
        if self.max_iter != "auto" or update is None:
            return super()._n_passes(steps_per_pass)
        if update.needs_all:
            return WHOLE_PASSES
        return max(FEWEST_PASSES, math.ceil(ONLINE_UPDATES / steps_per_pass))

    def _start(self, first, like, random, warm, held_scale=None):
        state = super()._start(first, like, random, warm, held_scale)
        n_seen = self.n_steps_ * self.batch_size if warm else 0
        state.optimizer = self._moments(state.params, n_seen)
        return state

    def _resume(self, source, fresh):
        update = self._update()
        if update is not None and update.needs_all:
            raise ValueError(
                f"{type(self).__name__}: dict_update={self.dict_update!r} needs the codes of all "
                "samples at once, which partial_fit has not. Set dict_update to 'online' or "
                "'gradient', or call fit."
            )
        state = super()._resume(source, fresh)
        if self._updated_by not in (None, self.dict_update):  # another one remembers other things
            state.optimizer = self._moments(state.params, state.n_seen)
        self._updated_by = self.dict_update
        return state

    # ------------------------------------------------------------------ a given dictionary

    def _fit_given_dictionary(self, X, source, resume=False, saver=None):
        earlier = vars(self).pop("dictionary_", None)
        if self.dictionary is None:
            return False
        name = type(self).__name__
        if saver is not None:
            raise ValueError(
                f"{name}: checkpoint is of no use with a given dictionary, for nothing is trained. "
                "Leave it out, or fit the dictionary with it."
            )
        self._state = None
        self._parts(1, 1.0)  # checks parameters that only make sense together
        bias = 0.0
        if hasattr(self.dictionary, "fit"):
            self.dictionary_ = self._fitted_dictionary(X, source, earlier, resume)
            atoms = getattr(self.dictionary_, "components_", None)
            if atoms is None:
                raise ValueError(
                    f"{name}: dictionary={self.dictionary!r} has no components_ after fit. Pass an "
                    "estimator that learns a dictionary, or an array of atoms."
                )
            atoms = self._check_atoms("components_ of dictionary", atoms, source.n_features)
            bias = self._bias_of(self.dictionary_, source.n_features)
        else:
            atoms = self._check_atoms("dictionary", self.dictionary, source.n_features)
        if self.n_components != "auto" and self.n_components != atoms.shape[0]:
            raise ValueError(
                f"{name}: n_components={self.n_components}, but the dictionary has "
                f"{atoms.shape[0]} atoms. Leave n_components at 'auto' with a given dictionary."
            )
        like, n_features = source.like, source.n_features
        self.components_ = asarray_like(to_numpy(atoms).copy(), like, like.dtype)
        bias = self._offset(n_features) if self.offset is not None else bias
        bias = np.broadcast_to(np.asarray(bias, dtype=np.float64), (n_features,))
        self.decoder_bias_ = asarray_like(bias.copy(), like, like.dtype)
        self._warn_if_clipped()
        xp = namespace(self.components_)
        self.dead_latents_ = xp.zeros_like(self.components_[:, 0], dtype=xp.bool)
        self.loss_curve_, self.history_ = [], {}
        self.n_iter_ = self.n_steps_ = 0
        rows = asarray_like(to_numpy(_some_rows(source)), like, like.dtype) - self.decoder_bias_
        n_samples = source.n_rows or rows.shape[0]
        self._warn_if_too_large(rows, self.components_, n_samples, stacklevel=6)
        return True

    def _warn_if_too_large(self, rows, components, n_samples, stacklevel):
        """Say so where no code of these rows, less the offset, can be other than zero."""

    def _warn_if_silent(self, state, source, epochs, learning_rate):
        if epochs and epochs[-1].l0 == 0 and not source.once:
            some = _some_rows(source)
            rows = batch_of([(some, slice(0, some.shape[0]))], state)
            rows = (rows - state.params["decoder_bias"]) * state.scale
            components = state.params["components"]
            self._warn_if_too_large(rows, components, source.n_rows, stacklevel=7)

    def _warn_too_large(self, name, largest, n_looked_at, n_samples, stacklevel):
        if getattr(self, name) >= largest > 0:
            of = f" of {n_looked_at} samples looked at" if n_looked_at < n_samples else ""
            warnings.warn(
                f"{type(self).__name__}: {name}={getattr(self, name)} makes all codes{of} zero, as "
                f"does any from {largest:.4g} on. Choose a smaller one; its unit is that of X.",
                UserWarning,
                stacklevel=stacklevel,
            )

    def _bias_of(self, dictionary, n_features):
        # PCA and its kin call it the mean.
        bias = getattr(dictionary, "decoder_bias_", getattr(dictionary, "mean_", None))
        bias = np.zeros(()) if bias is None else np.asarray(to_numpy(bias))
        if bias.shape not in ((), (n_features,)) or not np.isfinite(bias).all():
            raise ValueError(
                f"{type(self).__name__}: dictionary={self.dictionary!r} has a decoder_bias_ or "
                f"mean_ of shape {bias.shape}, but {n_features} finite numbers are needed. Set "
                "offset."
            )
        return bias

    def _fitted_dictionary(self, X, source, earlier, resume):
        if isinstance(self.dictionary, type):
            raise ValueError(
                f"{type(self).__name__}: dictionary={self.dictionary.__name__} is a class. Pass an "
                f"estimator, {self.dictionary.__name__}(...)."
            )
        if not isinstance(self.dictionary, FrozenEstimator):
            self._check_can_read(X, source)
        if isinstance(self.dictionary, FrozenEstimator) or not resume:
            return clone(self.dictionary).fit(X, None)
        earlier = clone(self.dictionary) if earlier is None else earlier
        if not hasattr(earlier, "partial_fit"):
            raise ValueError(
                f"{type(self).__name__}: dictionary={self.dictionary!r} has no partial_fit, so it "
                "cannot go on learning. Call fit with all of X, or wrap a fitted one in "
                "sklearn.frozen.FrozenEstimator."
            )
        return copy.deepcopy(earlier).partial_fit(X)

    def _check_can_read(self, X, source):
        reads = isinstance(self.dictionary, BaseDictionaryEstimator)
        if source.once or (is_source(X) and not isinstance(X, np.ndarray) and not reads):
            why = "which can be read only once" if source.once else "for it reads arrays only"
            raise ValueError(
                f"{type(self).__name__}: dictionary={self.dictionary!r} cannot be fitted to X, "
                f"{why}. Fit it before, and wrap it in sklearn.frozen.FrozenEstimator."
            )

    def _n_components(self):
        if self.n_components == "auto" and self.dictionary is not None:
            return self.components_.shape[0]
        if self.n_components == "auto" and self.dict_init is not None:
            return np.shape(self.dict_init)[0]
        return super()._n_components()

    def _center(self, mean):
        return mean if self.offset is None else self._offset(mean.size)

    def _factors(self):
        return {} if self.offset is None else {"decoder_bias": 0.0}

    def _offset(self, n_features):
        offset = np.asarray(to_numpy(self.offset))
        real = offset.dtype.kind in "fiub"
        if not real or offset.shape not in ((), (n_features,)) or not np.isfinite(offset).all():
            raise ValueError(
                f"{type(self).__name__}: offset={self.offset!r}, but a finite number is needed, or "
                f"an array of shape ({n_features},), one number for each feature of X."
            )
        return np.broadcast_to(offset, (n_features,)).astype(np.float64)

    def _first_atoms(self, first, random, n_components, center):
        if self.dict_init is not None:
            atoms = self._check_atoms("dict_init", self.dict_init, first.shape[1])
            if atoms.shape[0] != n_components:
                raise ValueError(
                    f"{type(self).__name__}: dict_init has {atoms.shape[0]} atoms, but "
                    f"n_components={n_components}. Give as many, or leave n_components at 'auto'."
                )
            atoms = to_numpy(atoms)
            usable = ((atoms > 0) if self.positive_dict else (atoms != 0)).any(axis=1)
            if not usable.all():
                what = "positive entry, and positive_dict=True" if self.positive_dict else "entry"
                raise ValueError(
                    f"{type(self).__name__}: row {int(np.argmin(usable))} of dict_init has no "
                    f"{what}{'' if self.positive_dict else ' other than zero'}. Leave it out, or "
                    "give another atom."
                )
            return np.maximum(atoms, 0) if self.positive_dict else atoms
        # Random samples; random directions where there are too few, and a little of them
        # everywhere, lest two atoms be equal or one be zero.
        noise = super()._first_atoms(first, random, n_components, center)
        rows = random.permutation(first.shape[0])[:n_components]
        samples = to_numpy(take_rows(first, rows)) - center
        size = np.sqrt(np.mean(np.square(samples))) or 1.0
        noise[: rows.size] = samples / size + 0.01 * noise[: rows.size]
        if self.positive_dict:
            positive = (noise > 0).any(axis=1)[:, None]
            return np.where(positive, np.maximum(noise, 0), np.abs(noise))
        return noise

    def _check_atoms(self, parameter, atoms, n_features):
        """Atoms as an array of two dimensions, or an error."""
        if not is_array_api_obj(atoms) or isinstance(atoms, np.ndarray):
            try:
                atoms = check_array(
                    atoms,
                    dtype=[np.float64, np.float32],
                    input_name=parameter,
                    estimator=self,
                    ensure_2d=False,
                    allow_nd=True,
                    ensure_min_samples=0,
                    ensure_min_features=0,
                )
            except ValueError as error:
                raise ValueError(
                    f"{type(self).__name__}: {parameter} is not an array of finite numbers of "
                    f"shape (n_components, n_features): {error}"
                ) from error
        elif not bool(namespace(atoms).all(namespace(atoms).isfinite(atoms))):
            raise ValueError(
                f"{type(self).__name__}: {parameter} contains NaN or infinity. Pass finite atoms."
            )
        if atoms.ndim != 2 or atoms.shape[1] != n_features:
            raise ValueError(
                f"{type(self).__name__}: {parameter} has shape {tuple(atoms.shape)}, but X has "
                f"{n_features} features. Atoms are rows: (n_components, n_features) is needed."
            )
        if not bool(namespace(atoms).any(atoms != 0)):
            raise ValueError(
                f"{type(self).__name__}: all {atoms.shape[0]} atoms of {parameter} are zero, so "
                "they can code nothing. Pass atoms with non-zero entries."
            )
        return atoms


def _some_rows(source):
    # Spread over X, where that can be: recordings may begin with silence.
    if isinstance(source, BlocksSource):
        return source.first(source.order(None), LOOK_AT)
    n = source.n_rows
    return source.take(np.unique(np.linspace(0, n - 1, min(n, LOOK_AT)).astype(np.int64)))


def non_negative_atoms(params):
    """Negative entries of the atoms become zero, in place; those of atoms without others change
    their signs."""
    D = params["components"]
    xp = namespace(D)
    clipped = xp.maximum(D, xp.zeros_like(D))
    kept = xp.any(clipped > 0, axis=1)
    D[...] = xp.where(kept[:, None], unit_rows(clipped), xp.abs(D))
