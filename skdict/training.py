"""The training loop: it owns all state, and is the only place that changes parameters.

Training runs on centred data divided by one scalar, so that rates and penalties carry over between
data sets; :func:`fold` puts both back into the biases afterwards.
"""

import contextlib
import dataclasses
import math
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from skdict import codes, dictionary_updates, revival
from skdict.backend import (
    asarray_like,
    computation_dtype,
    is_gpu,
    is_host,
    namespace,
    take_rows,
    to_numpy,
)
from skdict.batches import batch_of, batches
from skdict.encoders import Context
from skdict.fusion import fused_step
from skdict.kernels import threads
from skdict.kernels.transfers import uploads_to
from skdict.objective import loss_and_grad
from skdict.optimizers import Adam, rate_factor

FIRST_ROWS = 16_384  # of the stream, from which centre and scale are taken
READ_EVERY = 50  # steps, after which the host reads what is counted on a GPU
OPTIMIZER = Adam()
FREE_OPTIMIZER = Adam(unit_rows=())  # which leaves the norms of atoms alone


class Settings(NamedTuple):
    """What training needs of the estimator's parameters."""

    batch_size: int
    learning_rate: float
    warmup: int
    dead_after: int
    resample: bool
    factors: dict | None = None  # of the rate, by parameter
    weight_decay: float = 0.0  # of the encoder
    dictionary: object = None  # its update with the codes held; None: by the gradient
    project: object = None  # what puts parameters back where they may be, in place, after a step
    optimizer: Adam = OPTIMIZER


@dataclasses.dataclass
class TrainState:
    """Everything that changes while training; copyable and picklable.

    ``params``: arrays by fitted name; ``optimizer``: the moments; ``silent_for``: samples since
    each latent fired, on the host but with CuPy; ``step`` and ``n_seen``: steps taken, samples
    seen; ``random``: host stream; ``center`` (d,) and ``scale``: of the data; ``density``: share of
    codes that were not zero in the last step, one with CuPy. ``visiting``: parameters are on a GPU
    for the time of training only, rows and fitted arrays on the host.

    A GPU counts by itself, and the host looks now and then (:func:`look`): ``dead``, host mask of
    the latents that were dead then. ``looked_at``: samples that had been seen when it could last
    be time to resample.

    Of the pass that is under way: ``order_from``, the state of `random` that its order was drawn
    from, None before; ``row``, how many rows are done; ``steps``, what each step came to.
    """

    params: dict
    optimizer: dict
    silent_for: np.ndarray
    step: int
    n_seen: int
    random: np.random.Generator
    center: object
    scale: float
    density: float = 1.0
    visiting: bool = False
    dead: np.ndarray | None = None
    looked_at: int = 0
    order_from: dict | None = None
    row: int = 0
    steps: list = dataclasses.field(default_factory=list)


class Step(NamedTuple):
    """What a step came to: means over its samples, and the rate.

    ``unexplained`` is the square of the residual, ``total`` that of the data.
    """

    loss: float
    l0: float
    unexplained: float
    total: float
    learning_rate: float = 0.0


class Epoch(NamedTuple):
    """Means over the steps of one pass; `dead` and the rate are those at its end.

    ``explained_variance`` is that of the batches as they were trained on, about the mean of the
    first rows.
    """

    loss: float
    l0: float
    dead: int
    learning_rate: float
    explained_variance: float = math.nan
    validation_loss: float = math.nan
    validation_score: float = math.nan


class Feed(NamedTuple):
    """What is read, pass after pass: a source of rows, and those that are held out of it."""

    source: object
    shuffle: bool
    held_out: object = None

    def order(self, random):
        """Order of a pass; takes it from the stream `random`."""
        return self.source.order(random if self.shuffle else None, self.held_out)


def center_and_scale(rows):
    """Column means of the first rows of the stream, and the rms of their entries about them."""
    rows = to_numpy(rows).astype(np.float64)
    center = rows.mean(axis=0)
    rows -= center
    # The largest entry first, so that squares neither overflow nor vanish; a power of two, so that
    # data times a power of two give the same bits.
    largest = np.abs(rows).max(initial=0.0)
    unit = math.ldexp(1.0, math.frexp(largest)[1] - 1)
    scale = unit * math.sqrt(np.mean(np.square(rows / unit))) if largest > 0 else 1.0
    return center, scale


def start(params, X, random, center, scale, silent_for=None):
    """Fresh state around `params` (in training's units) for data like X."""
    if silent_for is None:
        silent_for = np.zeros(params["components"].shape[0], dtype=np.int64)
    return TrainState(
        params=params,
        optimizer=OPTIMIZER.init(params),
        silent_for=counters(silent_for, X),
        step=0,
        n_seen=0,
        random=random,
        center=asarray_like(center, X, computation_dtype(X)),
        scale=scale,
    )


def counters(host_array, like):
    """Integers that training counts in: beside `like` on a GPU, on the host otherwise."""
    return asarray_like(host_array, like) if is_gpu(like) else host_array


def look(state, settings):
    """Which latents are dead, and what the last steps came to; waits until a GPU has made them."""
    state.dead, n_read = _dead_now(state, settings), len(state.steps)
    while n_read and is_gpu(state.steps[n_read - 1].loss):
        n_read -= 1
    state.steps[n_read:] = [Step(*row) for row in table(state.steps[n_read:]).tolist()]


def _dead_now(state, settings):
    return to_numpy(state.silent_for) >= settings.dead_after


def train_step(state, X, encoder, terms, settings, factor=1.0, progress=1.0):
    """One step on a batch X in training's units; changes `state`.  Returns a :class:`Step`.

    `factor` of the rate; `progress` as in :class:`skdict.encoders.Context`.

    With CuPy the host waits for nothing in it, unless ``settings.resample`` or the dictionary has
    an update of its own; the numbers it returns lie on the GPU.
    """
    if settings.dictionary is not None:
        return _alternate(state, X, encoder, terms, settings, progress)
    n_samples, n_features = X.shape
    dead = state.dead if is_gpu(X) else _dead_now(state, settings)
    if dead is None:
        look(state, settings)
        dead = state.dead
    every = revival.dead_every(n_samples, n_features, dead.size, np.count_nonzero(dead))
    rows = slice(state.step % every, None, every)
    context = Context(
        dead if dead.any() else None, state.step, rows, state.density, progress=progress
    )
    if is_gpu(X) and context.dead is not None:
        silent_for = take_rows(state.silent_for, np.flatnonzero(dead))
        context = context._replace(still=silent_for >= settings.dead_after)
    rate = float(factor * settings.learning_rate)  # a NumPy scalar would decide the dtype
    factors = rate_factors(state.params, settings.factors)
    decay = rate * factors.get("encoder", 1.0) * settings.weight_decay
    shrink = {"encoder": _shrinking(state, settings, decay)} if decay else {}
    update = settings.optimizer, state.optimizer, rate, factors, shrink
    fused = fused_step(encoder, terms, state.params, bool(settings.optimizer.unit_rows))
    resample = settings.resample and _is_time(state, n_samples, settings.dead_after)
    done = fused(X, state.params, context, *update) if fused else None
    if done is None:
        done = _composed_step(X, state.params, encoder, terms, context, *update, resample)
    loss, unexplained, n_fired, residual = done
    revival.count_silence(state.silent_for, n_fired > 0, n_samples)
    if resample:
        dead = _dead_now(state, settings)
        if dead.any():
            revival.resample(state, dead, X, residual)
    if settings.project is not None:
        settings.project(state.params)
    state.step += 1
    state.n_seen += n_samples
    if settings.resample or not is_gpu(X):
        state.looked_at = state.n_seen
    l0 = n_fired.sum() / n_samples
    if not is_gpu(X):
        state.density = float(l0) / dead.size
    return Step(loss, l0, unexplained, _square(X) / n_samples)


def _square(X):
    xp = namespace(X)
    return np.vdot(X, X) if is_host(xp) else xp.sum(X * X)


def _composed_step(
    X, params, encoder, terms, context, optimizer, moments, rate, factors, shrink, with_residual
):
    """What fused steps do, from parts; the residual may be None."""
    memory, values = memory_for_gradients(params), []
    loss, grads, heads = loss_and_grad(
        params, X, encoder, terms, context, grads=memory, values=values
    )
    Z, residual = heads["codes"], None
    if with_residual:
        residual = codes.decode(Z, params["components"]) + params["decoder_bias"] - X
    optimizer.update(params, grads, moments, rate, factors, shrink)
    return loss, 2 * values[0], codes.n_fired(Z), residual


def _alternate(state, X, encoder, terms, settings, progress):
    """Codes with the dictionary held, then the dictionary with the codes held."""
    params, update, n_samples = state.params, settings.dictionary, X.shape[0]
    memory, values = memory_for_gradients(params), []
    context = Context(step=state.step, progress=progress)
    loss, _, heads = loss_and_grad(params, X, encoder, terms, context, grads=memory, values=values)
    Z = heads["codes"]
    centred = to_numpy(X - params["decoder_bias"])
    matrix = sp.csr_array(codes.to_csr(Z), shape=Z.shape)
    D = update.update(to_numpy(params["components"]), centred, matrix, state.optimizer)
    n_fired = to_numpy(codes.n_fired(Z))
    silent_for = to_numpy(state.silent_for)
    revival.count_silence(silent_for, n_fired > 0, n_samples)
    unused = np.flatnonzero(silent_for >= (1 if update.needs_all else settings.dead_after))
    if unused.size:
        n_replaced = dictionary_updates.replace(
            D, centred, matrix @ D, unused, state.random, update.positive
        )
        update.forget(unused[:n_replaced], state.optimizer)
        silent_for[unused[:n_replaced]] = 0
    state.silent_for = counters(silent_for, X)
    atoms = params["components"]
    atoms[...] = asarray_like(D, atoms, atoms.dtype)
    state.step += 1
    state.n_seen += n_samples
    l0 = int(n_fired.sum()) / n_samples
    return Step(loss, l0, 2 * values[0], _square(X) / n_samples)


def _shrinking(state, settings, decay):
    """Factors (n_components, 1) of decay; dead latents keep what a revival begins with."""
    xp, kept = namespace(state.silent_for), max(0.0, 1 - decay)
    factors = xp.where(state.silent_for >= settings.dead_after, 1.0, kept)[:, None]
    return asarray_like(factors, state.center, state.center.dtype)


def memory_for_gradients(params):
    """Arrays like the parameters, on the host the same ones at every step of a run."""
    if not is_host(namespace(params["components"])):
        return None
    memory = threads.current().buffer
    return {n: memory(f"gradient of {n}", a.shape, a.dtype) for n, a in params.items()}


def _is_time(state, n_samples, interval):
    # Since the last step that could resample: on a GPU most cannot.
    return (state.n_seen + n_samples) // interval > state.looked_at // interval


def train(state, feed, encoder, terms, settings, plan):
    """Passes over the rows of `feed`.  Changes `state`.

    Yields None after each step, and an :class:`Epoch` after each pass. `plan` is a :class:`Plan`. A
    caller may call ``plan.wind_down(state.step)`` between passes: the rate then falls to zero at
    once instead of later.
    """
    while not plan.done(state.step) or state.steps:  # steps: killed just before the end of a pass
        if not plan.done(state.step):
            yield from _pass(state, feed, encoder, terms, settings, plan)
        epoch = mean_of(state.steps, n_dead(state, settings))
        state.order_from, state.row, state.steps = None, 0, []
        yield epoch
        if feed.source.once:
            return


def _pass(state, feed, encoder, terms, settings, plan):
    """The steps that are left of the pass that is under way."""
    order, uploads = _order_of_pass(state, feed), uploads_to(state.center)
    with contextlib.closing(feed.source.chunks(order, state.row)) as chunks:
        for pieces in batches(chunks, settings.batch_size):
            factor = plan.factor(state.step, settings.warmup)
            batch = batch_of(pieces, state, uploads)
            looks = not is_gpu(batch) or state.step % READ_EVERY == 0
            if looks and is_gpu(batch):
                look(state, settings)
            resample = settings.resample and looks and not plan.in_decay(state.step)
            step_settings = settings._replace(resample=resample)
            progress = plan.progress(state.step)
            step = train_step(state, batch, encoder, terms, step_settings, factor, progress)
            state.steps.append(step._replace(learning_rate=factor * settings.learning_rate))
            state.row += batch.shape[0]
            yield None
            if plan.done(state.step):
                return


def _order_of_pass(state, feed):
    if state.order_from is None:
        state.order_from = state.random.bit_generator.state
        return feed.order(state.random)
    return feed.order(generator_from(state.order_from))


def generator_from(bit_generator_state):
    """A host stream in a state that another one was in."""
    random = np.random.default_rng(0)
    random.bit_generator.state = bit_generator_state
    return random


def n_dead(state, settings):
    """How many latents are dead."""
    return int(np.count_nonzero(_dead_now(state, settings)))


def table(steps):
    """Steps or epochs as a host array, one a row; what lies on a GPU is read all at once."""
    values = [value for step in steps for value in step]
    on_gpu = [i for i, value in enumerate(values) if is_gpu(value)]
    if on_gpu:
        xp = namespace(values[on_gpu[0]])
        for i, value in zip(on_gpu, to_numpy(xp.stack([values[i] for i in on_gpu]))):
            values[i] = value
    values = np.array([float(value) for value in values], dtype=np.float64)
    return values.reshape(len(steps), -1) if steps else values


def mean_of(steps, dead):
    """The :class:`Epoch` that these steps make up."""
    columns = table(steps).T[:4]
    loss, l0, unexplained, total = (float(np.mean(column)) for column in columns)
    explained = 1 - unexplained / total if total > 0 else math.nan
    return Epoch(loss, l0, dead, float(steps[-1].learning_rate), explained)


class Plan:
    """How many steps, and when the rate begins to fall; without a fall where decay is 0.

    `total` is infinite where nobody knows how many rows there are; then there is no fall.
    """

    def __init__(self, first_step, total, decay):
        self.begin, self.end = first_step, first_step + total
        self.length = round(decay * total) if math.isfinite(total) else 0
        self.decay_start = self.end - self.length

    def done(self, step):
        return step >= self.end

    def in_decay(self, step):
        return step >= self.decay_start and self.length > 0

    def factor(self, step, warmup):
        return rate_factor(step, warmup, self.decay_start, self.end)

    def progress(self, step):
        """Share of the steps before the fall of the rate that have been taken; 1 without a fall."""
        n_steps = self.decay_start - self.begin
        return min(1.0, (step - self.begin) / n_steps) if self.length and n_steps else 1.0

    def wind_down(self, step):
        if not self.in_decay(step):
            self.decay_start, self.end = step, step + self.length


def in_data_units(name):
    """Does the parameter carry the unit of the data? Biases and thresholds do, matrices do not."""
    return name.endswith(("bias", "threshold"))


def rate_factors(params, own=None):
    """Factors of the learning rate: those of their `own`, times sqrt(d) for what has the unit of
    the data.

    Adam's steps have the size of the rate, whatever the gradient. Papers give rates for samples of
    norm one; ours have entries of size one, so norm sqrt(d), and their biases are as much larger.
    """
    factor = math.sqrt(params["decoder_bias"].shape[0])
    factors = {name: factor for name in params if in_data_units(name)}
    own = {name: own[name] * factors.get(name, 1.0) for name in own or {}}
    return {**factors, **own}


def fold(state):
    """Parameters in the units of the data, as new arrays (biases) or the same (matrices).

    With x' = (x - c) / s, act((x' - b') Wᵀ + e') = act((x - c - s b') Wᵀ + s e') / s.
    """
    folded = {}
    for name, array in state.params.items():
        folded[name] = array * state.scale if in_data_units(name) else array
    folded["decoder_bias"] = folded["decoder_bias"] + state.center
    return folded


def unfold(params, center, scale):
    """The inverse of :func:`fold`, as new arrays."""
    xp = namespace(params["components"])
    unfolded = {}
    for name, array in params.items():
        if name == "decoder_bias":
            array = array - asarray_like(center, array, array.dtype)
        unfolded[name] = array / scale if in_data_units(name) else xp.asarray(array, copy=True)
    return unfolded
