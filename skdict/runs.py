"""One fit under way: what it goes back to, when it stops, what is kept of it and shown.

:func:`drive` is the one place in which divergence, early stopping, checkpoints and signals meet the
steps of :func:`skdict.training.train`.
"""

import contextlib
import dataclasses
import math

import numpy as np

from skdict import training
from skdict.backend import asarray_like, device, is_host, namespace, to_numpy
from skdict.batches import batch_of
from skdict.encoders import Context
from skdict.kernels.transfers import uploads_to
from skdict.objective import loss_and_grad

LOOK_EVERY = 1000  # steps of a pass, after which a run is looked at for divergence
DIVERGED = 100.0  # times as far off as no codes, or the first codes if these are worse
PATIENCE = 10  # passes, of early stopping where no other number is given; as in scikit-learn


@dataclasses.dataclass
class Run:
    """What a fit is, between two steps; `as_tree` has all that a checkpoint needs.

    ``epochs`` are the passes made; ``best`` and ``waited`` belong to early stopping; an explained
    variance below ``lowest`` is divergence.
    """

    state: training.TrainState
    feed: training.Feed
    plan: training.Plan
    epochs: list = dataclasses.field(default_factory=list)
    best: float = math.inf
    waited: int = 0
    lowest: float = -math.inf
    finished: bool = False

    def as_tree(self):
        """All of this but the source, as nested dicts of host arrays, numbers, strings and None."""
        own = {name: getattr(self, name) for name in ("best", "waited", "lowest", "finished")}
        fields = (field.name for field in dataclasses.fields(self.state))
        state = {name: _on_host(getattr(self.state, name)) for name in fields}
        state["random"] = self.state.random.bit_generator.state
        state["steps"], epochs = training.table(self.state.steps), training.table(self.epochs)
        held_out, plan = self.feed.held_out, dict(vars(self.plan))
        return {"state": state, "plan": plan, "epochs": epochs, "held_out": held_out, **own}

    @classmethod
    def from_tree(cls, tree, source, shuffle, moments_on_device):
        """The run whose `as_tree` this is, with arrays beside ``source.like``."""
        tree = dict(tree)
        state = dict(tree.pop("state"))
        state["random"] = training.generator_from(state["random"])
        state["steps"] = [training.Step(*row.tolist()) for row in _rows(state["steps"])]
        for name in ("params", "center", *(["optimizer"] if moments_on_device else [])):
            state[name] = beside(source.like, state[name])
        state["silent_for"] = training.counters(state["silent_for"], source.like)
        plan = training.Plan(0, 0, 0.0)
        vars(plan).update(tree.pop("plan"))
        feed = training.Feed(source, shuffle, tree.pop("held_out"))
        epochs = [_epoch(row.tolist()) for row in _rows(tree.pop("epochs"))]
        return cls(training.TrainState(**state), feed, plan, epochs, **tree)


def _rows(table):
    return table if table.size else ()


def _epoch(values):
    epoch = training.Epoch(*values)
    return epoch._replace(dead=int(epoch.dead))


def _on_host(value):
    if isinstance(value, dict):
        return {name: _on_host(each) for name, each in value.items()}
    return value if value is None or np.isscalar(value) or isinstance(value, list) else _host(value)


def _host(value):
    return value if isinstance(value, np.random.Generator) else to_numpy(value)


def on_host(state):
    """A copy of a training state whose arrays are NumPy's."""
    names = ("params", "optimizer", "center", "silent_for", "steps")
    own = {name: getattr(state, name) for name in names}
    own["steps"] = [training.Step(*row) for row in training.table(own["steps"]).tolist()]
    return dataclasses.replace(state, **{name: _on_host(value) for name, value in own.items()})


def move(state, like, moments_too=True):
    """Bring a training state beside `like`, in place, where it is not there already."""
    center = state.center
    there = namespace(center) is namespace(like)
    if there and (is_host(namespace(like)) or device(center) == device(like)):
        return
    for name in ("params", "center", *(["optimizer"] if moments_too else [])):
        setattr(state, name, beside(like, _on_host(getattr(state, name))))
    state.silent_for = training.counters(to_numpy(state.silent_for), like)


def beside(like, value):
    """A host array beside `like` and in its dtype, also within dicts; numbers as they are."""
    if isinstance(value, dict):
        return {name: beside(like, each) for name, each in value.items()}
    if not isinstance(value, np.ndarray):
        return value
    return value if is_host(namespace(like)) else asarray_like(value, like, like.dtype)


class Validation:
    """The objective and the explained variance on rows that are held out of training."""

    def __init__(self, rows):
        self.rows = rows
        self._total = None

    def __call__(self, state, encoder, terms, batch_size):
        """Loss and explained variance."""
        n, context = self.rows.shape[0], Context(None, state.step, slice(None), state.density)
        uploads = uploads_to(state.center)
        loss = unexplained = 0.0
        sums, squares = 0.0, 0.0
        for start in range(0, n, batch_size):
            rows = slice(start, min(n, start + batch_size))
            X, values = batch_of([(self.rows, rows)], state, uploads), []
            memory = training.memory_for_gradients(state.params)
            size = X.shape[0]
            value, _, _ = loss_and_grad(
                state.params, X, encoder, terms, context, grads=memory, values=values
            )
            loss += size * float(value)
            unexplained += size * 2 * float(values[0])
            if self._total is None:
                host = to_numpy(X).astype(np.float64)
                sums, squares = sums + host.sum(axis=0), squares + np.sum(np.square(host))
        if self._total is None:
            self._total = float(squares - np.sum(np.square(sums)) / n)
        score = 1 - unexplained / self._total if self._total > 0 else math.nan
        return loss / n, score


class _Refuge:
    """The last sound parameters, to which a diverging run returns.

    `fallback` gives those of a training that resumes, which have no copy at first.
    """

    def __init__(self, run, fallback):
        self.fallback, self.params = fallback, None
        self.keep(run) if fallback is None else self._keep_counters(run)

    def keep(self, run):
        self.params = copied(run.state.params)
        self._keep_counters(run)

    def _keep_counters(self, run):
        state = run.state
        self.counters = copied({"silent_for": state.silent_for}), state.density

    def restore(self, run, moments):
        state = run.state
        state.params = self.fallback() if self.params is None else self.params
        state.optimizer = moments(state.params, state.n_seen)
        counters, state.density = self.counters
        state.silent_for, state.dead = counters["silent_for"], None


@dataclasses.dataclass
class Watch:
    """What happens around the steps, by way of functions.

    ``moments(params, n_seen)``: fresh ones. ``tasks.begin()`` and ``tasks.end()`` surround a pass;
    the latter says whether the run shall end early. ``saver`` has ``due(step)``, ``save(run)`` and
    ``interrupted``; ``progress`` has ``step(run)``. ``tol`` and ``patience`` (passes, None: no
    limit) are those of early stopping.
    """

    moments: object
    tasks: object = None
    saver: object = None
    progress: object = None
    validation: Validation | None = None
    tol: float = 0.0
    patience: int | None = None


def drive(run, encoder, terms, settings, watch, fallback=None):
    """Train until the plan is done; changes `run`.  Returns None, "diverged" or "interrupted"."""
    if run.finished:
        return None
    state, plan, saver = run.state, run.plan, watch.saver
    refuge = _Refuge(run, fallback)
    _begin_pass(run, watch)
    with contextlib.closing(
        training.train(state, run.feed, encoder, terms, settings, plan)
    ) as events:
        for epoch in events:
            if math.isinf(run.lowest) and state.steps:
                first = training.mean_of(state.steps[:1], 0).explained_variance
                run.lowest = 1 - DIVERGED * max(1.0, 1 - first)
            stop = saver is not None and bool(saver.interrupted)
            due = epoch is None and saver is not None and (stop or saver.due(state.step))
            if (epoch or due or len(state.steps) % LOOK_EVERY == 0) and not _is_sound(run, epoch):
                refuge.restore(run, watch.moments)
                return "diverged"
            if (epoch or len(state.steps) % LOOK_EVERY == 0) and not plan.done(state.step):
                refuge.keep(run)
            if epoch is not None:
                _after_pass(run, epoch, encoder, terms, settings, watch)
                _begin_pass(run, watch)
                continue
            if watch.progress is not None:
                watch.progress.step(run)
            if due:
                refuge.keep(run)  # as in a run that resumes from here
                saver.save(run)
            if stop and not plan.done(state.step):
                return "interrupted"
    run.finished = True
    if saver is not None:
        saver.save(run)
    return None


def _is_sound(run, epoch):
    """Are parameters and the loss of late finite, and is the reconstruction not absurd?"""
    late = epoch or training.mean_of(run.state.steps[-LOOK_EVERY:], 0)
    far_off = late.explained_variance < run.lowest
    return math.isfinite(late.loss) and not far_off and all_finite(run.state.params)


def _begin_pass(run, watch):
    over = run.plan.done(run.state.step) or (run.feed.source.once and run.epochs)
    if watch.tasks is not None and not over:
        watch.tasks.begin()


def _after_pass(run, epoch, encoder, terms, settings, watch):
    state, plan = run.state, run.plan
    if watch.validation is not None:
        loss, score = watch.validation(state, encoder, terms, settings.batch_size)
        epoch = epoch._replace(validation_loss=loss, validation_score=score)
    run.epochs.append(epoch)
    if watch.tasks is not None and watch.tasks.end():
        plan.wind_down(state.step)
    if state.step < settings.warmup:
        return
    loss = epoch.loss if watch.validation is None else epoch.validation_loss
    run.waited = 0 if loss < run.best * (1 - watch.tol) else run.waited + 1
    run.best = min(run.best, loss)
    if watch.patience is not None and run.waited >= watch.patience:
        plan.wind_down(state.step)


def all_finite(params):
    """Are all entries of all arrays finite?"""
    return all(bool(namespace(a).all(namespace(a).isfinite(a))) for a in params.values())


def copied(params):
    """Copies of the arrays, by name."""
    return {name: namespace(a).asarray(a, copy=True) for name, a in params.items()}
