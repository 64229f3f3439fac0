"""How estimators are fitted: between the arguments of `fit` and :mod:`skdict.runs`."""

import contextlib
import dataclasses
import math
import warnings

import numpy as np
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state

from skdict import devices, runs, training
from skdict._callbacks import PassTasks
from skdict._configuration import configuration
from skdict._sklearn import Integral, Interval, Real, StrOptions, fit_context
from skdict._validation import arrived, open_X
from skdict._warnings import FitWarnings
from skdict.backend import (
    as_torch,
    asarray_like,
    device,
    generator,
    is_gpu,
    native,
    to_numpy,
)
from skdict.constraints import unit_rows
from skdict.kernels.threads import use_threads
from skdict.progress import Progress
from skdict.saving import saving
from skdict.sources import ArrayRows, BlocksSource

MOST_HELD_OUT = 32_768  # rows, for early stopping: more would not tell more
OF_CALLBACKS = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
AUTO_STEPS = 4000  # that max_iter="auto" aims at
AUTO_EPOCHS = (6, 1000)  # and its bounds
FEW_STEPS = 24  # of a pass: as few, and samples come back while the encoder remembers them


class FittingMixin(FitWarnings, CallbackSupportMixin):
    """`fit` and `partial_fit`, for :class:`skdict._base.BaseDictionaryEstimator`."""

    _parameter_constraints = {
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "warmup": [Interval(Integral, 0, None, closed="left")],
        "decay": [Interval(Real, 0, 1, closed="both")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_no_improvement": [Interval(Integral, 1, None, closed="left"), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
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
        "device": [str, None],
        "precision": [StrOptions({"highest", "tf32", "bf16"})],
    }
    # The one method of a shell, `_parts(n_components, unit)`, returns an encoder and terms. It may
    # read the parameters and `n_features_in_`; `unit` is the size in X of one unit of the data that
    # the parts will see: `scale_` in training, 1 in `transform`.
    _scale_attribute = "scale_"

    # ------------------------------------------------------------------ fitting

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X,
        y=None,
        *,
        n_samples=None,
        checkpoint=None,
        checkpoint_every=1000,
        resume=False,
    ):
        """Learn a dictionary from X.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or what yields its rows
            float32 and float64 are computed in their own precision, float16 and bfloat16 in
            float32. Read a piece at a time, never whole: ``np.memmap``; paths of ``.npy`` and
            ``.safetensors`` files, a folder or a pattern of them
            (:func:`skdict.datasets.open_shards`); what is sliced like an h5py dataset or a zarr
            array; dask arrays; iterables of blocks of rows.
        y : None
            Ignored.
        n_samples : int, optional
            How many rows there are, where X is an iterable, which cannot tell; at most as many are
            read. Without it the rate of learning does not decay if X can be read only once, and
            other iterables are read once through to count.
        checkpoint : str or path, optional
            Folder in which the state of training is saved, the last two of them; None: nowhere.
            While it is given, SIGTERM and Ctrl-C let the step end, save, set the fitted attributes
            and only then have their effect.
        checkpoint_every : int or str, default=1000
            Steps between two checkpoints, or time, such as ``"10min"``.
        resume : bool, default=False
            Go on from the last checkpoint, to the same bits as without interruption; begin where
            there is none. False: the folder must have no checkpoints.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X is not as above, or a checkpoint is damaged or of other parameters or data.
        OSError
            If a checkpoint cannot be written; those before it remain.
        RuntimeError
            If another fit is using the folder of checkpoints.
        """
        keeping, saver = saving(checkpoint, checkpoint_every, resume, type(self).__name__), None
        try:
            with (
                self._all_or_nothing(),
                use_threads(self.n_jobs),
                devices.arrived(X) as (X, returned),
                keeping as saver,
            ):
                source = open_X(self, X, reset=True, method="fit", n_samples=n_samples)
                data = _of_callbacks(X, y, source)
                with self._on_device(source) as place:
                    given = self._fit_given_dictionary(X, source, saver=saver)
                    context = None if given else self._fit_from_data(source, place, saver, data)
                self._end_callbacks(context, data)
                self._return_fitted(returned)
        finally:
            if saver is not None:
                saver.pass_on()
        return self

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None):
        """Pass once over X, in slices of `batch_size` in the order given, and keep the state.

        The rate of learning does not decay. The first call takes centre and scale from the first
        16,384 rows of its X; after `fit`, training goes on from the fitted model.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or what yields its rows, as in `fit`
        y : None
            Ignored.

        Returns
        -------
        self
        """
        fresh = not hasattr(self, "components_")
        with (
            self._all_or_nothing() as before,
            use_threads(self.n_jobs),
            arrived(self, X, "fit" if fresh else "partial_fit") as (X, returned),
        ):
            source = open_X(self, X, reset=fresh, method="partial_fit")
            with self._on_device(source) as place:
                if not self._fit_given_dictionary(X, source, resume=True):
                    source.like = _placed(source.like, place)
                    state = self._resume(source, fresh)
                    state.visiting = place is not None
                    before.pop("_state", None)  # from here on it changes: no way back to it
                    self._partial_fit_from_data(source, state, fresh)
            self._return_fitted(returned)
        return self

    @contextlib.contextmanager
    def _on_device(self, source):
        """Context in which the device that rows visit is the current one; it, or None."""
        name, like = type(self).__name__, source.like
        place = devices.visited(like, self.device, name)
        on_gpu = place or (device(like) if is_gpu(like) else None)
        if on_gpu is None:
            yield None
            return
        resident = 0 if place or source.n_rows is None else source.n_rows * source.n_features
        resident *= np.dtype(source.dtype).itemsize

        def needed(n):
            k, m = getattr(self, "k", None), self._n_components()
            itemsize = np.dtype(like.dtype).itemsize
            return devices.bytes_of_step(n, source.n_features, m, itemsize, k)

        n_rows = min(self.batch_size, source.n_rows or self.batch_size)
        with on_gpu, devices.explaining_memory(name, on_gpu, n_rows, needed, resident):
            yield place

    def _return_fitted(self, returned):
        """Let fitted arrays leave as X came."""
        if returned is not as_torch:
            return
        for name, value in vars(self).items():
            native_array = isinstance(value, np.ndarray) or is_gpu(value)
            if name.endswith("_") and native_array and value.dtype.kind in "fb":
                setattr(self, name, returned(value))

    def _fit_given_dictionary(self, X, source, resume=False, saver=None):
        """Set the fitted attributes without training if there is a dictionary; did it?"""
        return False

    def _fit_from_data(self, source, place, saver, data):
        self._state = None
        source.like = _placed(source.like, place)
        self._warn_if_clipped()
        self._check_passes(source)
        tree = None
        if saver is not None:
            saver.configuration = configuration(self, source)
            tree = saver.last()
        if tree is None:
            run, settings, n_passes = self._new_run(source)
        else:
            on_device = self._settings(0.0, 1).dictionary is None
            run = runs.Run.from_tree(tree, source, self.shuffle, on_device)
            _, settings, n_passes = self._schedule(source, run.feed.held_out)
        run.state.visiting = place is not None
        encoder, terms = self._parts(self._n_components(), run.state.scale)
        context = self._begin_callbacks(n_passes - len(run.epochs), data)
        watch = runs.Watch(
            self._moments,
            tasks=PassTasks(self, context, run, data),
            saver=saver,
            validation=self._validation(run.feed),
            tol=self.tol,
            patience=self._patience(),
        )
        result, state = self._run(run, encoder, terms, settings, watch), run.state
        if result is None:
            state = self._finished(run, encoder)
            self._warn_if_silent(run.state, source, run.epochs, settings.learning_rate)
            self._warn_if_many_are_dead(run)
        self._set_fitted(state, run.epochs)
        self.n_iter_, self.n_steps_ = len(run.epochs), run.state.step
        self._state = None  # a pickle holds the model, not the optimiser
        return context

    def _check_passes(self, source):
        if source.once and self.max_iter not in ("auto", 1):
            raise ValueError(
                f"{type(self).__name__}: max_iter={self.max_iter}, but X is an iterator, which can "
                "be read only once. Set max_iter=1, or pass an object that can be read again, such "
                "as a list of blocks or a class with __iter__."
            )

    def _new_run(self, source):
        random = generator(check_random_state(self.random_state))
        held_out = None
        if self.early_stopping:
            held_out = source.held_out(self.validation_fraction, MOST_HELD_OUT, random)
        feed = training.Feed(source, self.shuffle, held_out)
        warm = self.warm_start and hasattr(self, "components_")
        if warm:
            self._check_continues(source)
        order_from = random.bit_generator.state
        first = source.first(feed.order(random), training.FIRST_ROWS)
        state = self._start(first, source.like, random, warm)
        state.order_from = order_from
        plan, settings, n_passes = self._schedule(source, held_out, state.step)
        return runs.Run(state, feed, plan), settings, n_passes

    def _schedule(self, source, held_out, first_step=0):
        """Plan, settings and number of passes of a fit."""
        if source.n_rows is None:
            if self._decay():
                warnings.warn(
                    f"{type(self).__name__}: X is an iterator that does not tell how many rows it "
                    f"has, so the learning rate cannot decay (decay={self.decay}). Pass n_samples "
                    "to fit, or set decay=0.",
                    UserWarning,
                    stacklevel=6,
                )
            return training.Plan(first_step, math.inf, 0.0), self._settings(0.0, None), 1
        n = source.n_rows - (0 if held_out is None else len(held_out))
        settings = self._settings(0.0 if source.once else self._repetition(n), n)
        steps_per_pass = math.ceil(n / settings.batch_size)
        n_passes = 1 if source.once else self._n_passes(steps_per_pass)
        plan = training.Plan(first_step, n_passes * steps_per_pass, self._decay())
        return plan, settings, n_passes

    def _validation(self, feed):
        if feed.held_out is None:
            return None
        return runs.Validation(feed.source.take(feed.held_out))

    def _patience(self):
        if self.early_stopping and self.max_no_improvement is None:
            return runs.PATIENCE
        return self.max_no_improvement

    def _resume(self, source, fresh):
        if fresh:
            self._warn_if_clipped()
        else:
            self._check_continues(source)
        state = getattr(self, "_state", None)
        if state is not None:
            runs.move(state, source.like, self._settings(0.0, source.n_rows).dictionary is None)
        else:
            random = generator(check_random_state(self.random_state))
            scale = None if fresh else getattr(self, self._scale_attribute, None)
            first = source.first(source.order(None), training.FIRST_ROWS)
            state = self._start(first, source.like, random, not fresh, scale)
            state.step = 0 if fresh else self.n_steps_
        return state

    def _partial_fit_from_data(self, source, state, fresh):
        encoder, terms = self._parts(self._n_components(), state.scale)
        n = math.inf if source.n_rows is None else math.ceil(source.n_rows / self.batch_size)
        run = runs.Run(state, training.Feed(source, False), training.Plan(state.step, n, 0.0))
        settings = self._settings(0.0, source.n_rows)
        earlier = None if fresh else (self.history_, self.n_iter_)
        watch = runs.Watch(self._moments, tol=self.tol, patience=self.max_no_improvement)
        self._run(run, encoder, terms, settings, watch)
        # Copies of the matrices, for the state goes on changing them.
        params = state.params if state.visiting else runs.copied(state.params)
        self._set_fitted(dataclasses.replace(state, params=params), run.epochs)
        self.n_iter_, self.n_steps_ = len(run.epochs), state.step
        if earlier is not None:
            history, self.n_iter_ = earlier[0], earlier[1] + len(run.epochs)
            self.history_ = {
                name: np.concatenate([history.get(name, []), values])
                for name, values in self.history_.items()
            }
            self.loss_curve_ = self.history_["loss"].tolist()
        self._state = state

    def _start(self, first, like, random, warm, held_scale=None):
        """State of a training whose first rows are `first`."""
        center, scale = training.center_and_scale(first)
        center, scale = self._center(center), held_scale or scale
        if warm:
            params = training.unfold(self._fitted_params(like), center, scale)
            silent_for = np.where(to_numpy(self.dead_latents_), self.dead_after, 0)
            return training.start(params, like, random, center, scale, silent_for)
        n_components = self._n_components()
        encoder, _ = self._parts(n_components, scale)
        atoms = self._first_atoms(first, random, n_components, center)
        components = unit_rows(asarray_like(atoms, like, like.dtype))
        bias = asarray_like(np.zeros(like.shape[1]), like, like.dtype)
        params = {
            "components": components,
            "decoder_bias": bias,
            **encoder.init(components, random),
        }
        return training.start(params, like, random, center, scale)

    def _center(self, mean):
        return mean

    def _first_atoms(self, first, random, n_components, center):
        return random.standard_normal((n_components, first.shape[1]))

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

    def _parts_as_fitted(self):
        try:
            return self._parts(self.components_.shape[0], 1.0)
        except (KeyError, TypeError, ValueError):
            self._validate_params()  # names a parameter that has become invalid since
            raise

    def _fitted_params(self, like=None):
        # Where `like` is given: beside it, and in its dtype.
        encoder, _ = self._parts_as_fitted()
        names = ["components", "decoder_bias", *encoder.names]
        params = {name: native(getattr(self, f"{name}_")) for name in names}
        if like is None:
            return params
        return {n: asarray_like(to_numpy(a), like, like.dtype) for n, a in params.items()}

    @np.errstate(over="ignore", invalid="ignore")  # looked for in runs
    def _run(self, run, encoder, terms, settings, watch):
        # A training that resumes goes back to the fitted attributes if it diverges.
        state, fallback = run.state, None
        if getattr(self, "_state", None) is state:

            def fallback():
                fitted = self._fitted_params(state.center)
                return training.unfold(fitted, state.center, state.scale)

        with contextlib.ExitStack() as stack:
            if watch.saver is not None:
                stack.enter_context(watch.saver)
            if self.verbose:
                shown = Progress(type(self).__name__, self.verbose, settings)
                watch.progress = stack.enter_context(shown)
            result = runs.drive(run, encoder, terms, settings, watch, fallback)
        if result == "diverged":
            self._warn_diverged(state, settings.learning_rate)
        self._end_training(encoder)
        return result

    def _end_training(self, encoder):
        """What an encoder has to say after training with it."""

    def _finished(self, run, encoder):
        """The state of a run that is done, or a copy with what is changed in the end."""
        return run.state

    def _set_fitted(self, state, epochs):
        for name, value in self._fitted_attributes(state, epochs).items():
            setattr(self, name, value)

    def _fitted_attributes(self, state, epochs):
        folded = self._normalised(training.fold(state))
        attributes = {f"{name}_": array for name, array in folded.items()}
        names = training.Epoch._fields
        if not self.early_stopping:
            names = [name for name in names if not name.startswith("validation")]
        history = {name: np.array([getattr(epoch, name) for epoch in epochs]) for name in names}
        dead = asarray_like(state.silent_for >= self.dead_after, state.center)
        attributes["dead_latents_"] = dead
        if state.visiting:
            attributes = {name: to_numpy(array) for name, array in attributes.items()}
        return {
            **attributes,
            "history_": history,
            "loss_curve_": history["loss"].tolist(),
            self._scale_attribute: float(state.scale),
        }

    def _normalised(self, params):
        """The same function with atoms of unit norm."""
        return params

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
            self._factors(),
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

    def _factors(self):
        """Factors of the rate by parameter: zero for those that training leaves alone."""
        return {}

    @contextlib.contextmanager
    def _all_or_nothing(self):
        """Put every attribute back if fitting fails, so that an earlier fit stays usable."""
        before = dict(vars(self))
        try:
            yield before
        except BaseException:
            # Except those by which scikit-learn ends callbacks.
            kept = {name: vars(self)[name] for name in OF_CALLBACKS if name in vars(self)}
            vars(self).clear()
            vars(self).update({**before, **kept})
            raise

    # ------------------------------------------------------------------ callbacks, checkpoints

    def _begin_callbacks(self, n_passes, data):
        context = self._init_callback_context(max_subtasks=max(n_passes, 0))
        context.call_on_fit_task_begin(estimator=self, **data)
        return context

    def _end_callbacks(self, context, data):
        if context is None:  # a given dictionary: nothing was trained
            context = self._begin_callbacks(0, data)
        context.call_on_fit_task_end(estimator=self, **data, reconstruction_attributes={})


def _placed(like, place):
    return like if place is None else devices.on_device(like, place)


def _of_callbacks(X, y, source):
    """What callbacks are given: a target too, lest those that score do nothing; here that is X."""
    if isinstance(source, BlocksSource):
        X = None  # rows that cannot be read when a callback wants them
    elif not isinstance(source, ArrayRows):
        X = source
    return {"X": X, "y": X if y is None else y}
