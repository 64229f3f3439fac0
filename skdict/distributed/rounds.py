"""Local steps and their mean, as functions that change no argument: what the workers run.

Local SGD (Stich, "Local SGD Converges Fast and Communicates Little", arXiv 1805.09767) with Adam in
place of SGD, whose moments stay where the steps are, as in DiLoCo (Douillard et al., "DiLoCo:
Distributed Low-Communication Training of Language Models", arXiv 2311.08105); instead of the outer
optimiser of the latter, the plain mean.
"""

import contextlib
import copy
import dataclasses
from typing import NamedTuple

import numpy as np

from skdict import training
from skdict.constraints import unit_rows
from skdict.kernels.threads import use_threads
from skdict.runs import all_finite, copied
from skdict.sources import JoinedRows


class Recipe(NamedTuple):
    """What does not change from round to round; `dtype` is that of the rows."""

    estimator: str
    encoder: object
    terms: list
    settings: training.Settings
    shuffle: bool
    dtype: np.dtype


class News(NamedTuple):
    """A few numbers of a round, as :class:`skdict.training.Epoch`.

    The passes that ended in it, means over all its steps, and the explained variance of the first;
    of all shares together, the first is a list of such lists. ``finite``: are all parameters?
    """

    epochs: list
    late: training.Epoch | None
    first: float | None
    finite: bool = True


class Shared(NamedTuple):
    """What all shares agree on after a round, or what one of them makes of it."""

    params: dict
    silent_for: np.ndarray
    density: float
    news: News | None = None


def run_round(before, shared, n_steps, plan, recipe, begins, n_rows, n_threads, *blocks):
    """Steps on the blocks of one share, from the parameters of all.

    `before` is what this returned in the round before, first of all ``(state, None)`` with a state
    without arrays to learn. Returns the state, again without parameters, and a :class:`Shared`.
    """
    state = _continued(before[0], shared)
    source = JoinedRows(blocks, recipe.dtype, recipe.estimator, begins)
    if source.n_rows != n_rows:
        raise ValueError(
            f"{recipe.estimator}: chunks of X have {source.n_rows} rows where {n_rows} were "
            "announced. Call X.compute_chunk_sizes(), or tell map_blocks the chunks."
        )
    feed, parts = training.Feed(source, recipe.shuffle), (recipe.encoder, recipe.terms)
    epochs, made = [], []
    with contextlib.ExitStack() as stack:
        stack.enter_context(use_threads(n_threads))
        stack.enter_context(np.errstate(over="ignore", invalid="ignore"))  # looked for afterwards
        steps = training.train(state, feed, *parts, recipe.settings, plan)
        stack.enter_context(contextlib.closing(steps))
        for epoch in steps if n_steps else ():
            if epoch is not None:
                epochs.append(epoch)
                continue
            made.append(state.steps[-1])
            if len(made) == n_steps and not plan.done(state.step):
                break
    news = News(epochs, None, None)
    if made:
        late, first = (training.mean_of(steps, 0) for steps in (made, made[:1]))
        news = News(epochs, late, first.explained_variance)
    result = Shared(state.params, state.silent_for, state.density, news)
    return dataclasses.replace(state, params=None, silent_for=None), result


def _continued(state, shared):
    """The state of one share with what all agree on; copies, for steps work in place."""
    params = copied(shared.params)
    moments = copy.deepcopy(state.optimizer) or training.OPTIMIZER.init(params)
    return dataclasses.replace(
        state,
        params=params,
        optimizer=moments,
        silent_for=shared.silent_for.copy(),
        density=shared.density,
        random=copy.deepcopy(state.random),
        steps=list(state.steps),
    )


def average(weights, settings, *results):
    """Mean of what the shares made of the parameters; a latent is silent if it is so in all.

    `weights` add up to one. What one share alone says stays as it is, to the bit.
    """
    if len(results) == 1:
        params = results[0].params
    else:
        params = {name: _mean(weights, results, name) for name in results[0].params}
        if "components" in settings.optimizer.unit_rows:
            params["components"] = unit_rows(params["components"])
        if settings.project is not None:
            settings.project(params)
    silent_for = np.min([result.silent_for for result in results], axis=0)
    density = float(np.dot(weights, [result.density for result in results]))
    dead = int(np.count_nonzero(silent_for >= settings.dead_after))
    told = [(result.news, weight) for result, weight in zip(results, weights) if result.news.late]
    late = mean_epoch([news.late for news, _ in told], [weight for _, weight in told], dead)
    first = float(np.mean([news.first for news, _ in told]))
    epochs = [result.news.epochs for result in results]
    news = News(epochs, late, first, all_finite(params))
    return Shared(params, silent_for, density, news)


def _mean(weights, results, name):
    total = 0.0
    for weight, result in zip(weights, results, strict=True):  # in float64, in this order
        total = total + weight * result.params[name].astype(np.float64)
    return total.astype(results[0].params[name].dtype)


def mean_epoch(epochs, weights, dead):
    """One :class:`skdict.training.Epoch` of those of the shares."""
    loss, l0, explained = (
        float(np.average([getattr(epoch, name) for epoch in epochs], weights=weights))
        for name in ("loss", "l0", "explained_variance")
    )
    return training.Epoch(loss, l0, dead, epochs[0].learning_rate, explained)
