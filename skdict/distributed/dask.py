"""Data-parallel training on a dask cluster: :mod:`skdict.distributed.rounds`, sent to workers."""

import contextlib
import dataclasses
import math
import numbers
import operator

from skdict import runs, training
from skdict._base import BaseDictionaryEstimator
from skdict._validation import open_X
from skdict.distributed import rounds
from skdict.distributed.shares import result_of, shares_of, workers_of
from skdict.kernels.threads import use_threads
from skdict.sources import is_dask
from skdict.sources.lazy import DaskRows


def fit(estimator, X, *, local_steps=100, client=None, workers=None):
    """Fit on the workers of a dask cluster, each training on rows of its own.

    Rounds of local steps and averaging (local SGD [1]_, with Adam for SGD as in DiLoCo [2]_): all
    workers begin with the same parameters, each makes up to `local_steps` training steps on its own
    rows, and the parameters are replaced by their mean over the workers, weighted by rows, with
    atoms of unit norm again. Every row is seen as often as by ``estimator.fit(X)``, which does the
    same as one worker does.

    Parameters
    ----------
    estimator : SparseAutoencoder, TopKAutoencoder, GatedAutoencoder, or a coder
        A coder must learn its dictionary by ``dict_update="gradient"``. Fitted in place. Parameters
        that count steps or samples (`warmup`, `decay`, `dead_after`) count those of one worker;
        `max_iter` "auto" makes as many passes as ``fit`` does. `early_stopping`,
        `max_no_improvement` and callbacks are not available, `verbose` shows nothing.
    X : dask.array.Array of shape (n_samples, n_features)
        Blocks of rows stay where they lie if X is persisted, and workers without any do nothing.
        Else they are computed once, spread evenly over the workers, and held there until the end;
        fewer blocks than workers are split.
    local_steps : int, default=100
        Most steps of a worker between two averages. The steps are spread evenly over the rounds.
        The more, the less is sent; there should be ten rounds or more, for parameters that have
        grown apart do not average well (measured in the user guide). Workers finish a round that
        they have begun even if this function is interrupted; ``client.restart()`` ends it.
    client : distributed.Client, default=None
        None: the current one.
    workers : list of str, default=None
        Addresses of workers, each of which gets a share of the rows; one that is named twice gets
        two. None: all workers.

    Returns
    -------
    estimator
        Fitted. As after ``estimator.fit(X)``, but ``n_steps_`` is the number of steps of the worker
        that made most, and the entries of ``history_`` are means over the workers; they are those
        of the parameters that each worker had before they were averaged, and `dead` counts the
        latents that are dead on all workers after the round in which the pass ended.

    Raises
    ------
    ImportError
        If distributed is not installed.
    TypeError
        If X is not a dask array, or `estimator` or `client` is of another kind.
    ValueError
        If there is no client or no worker, or a parameter is out of range or not available.
    RuntimeError
        If a worker leaves the cluster. The estimator is then as before, as after any other error.

    Notes
    -----
    The mean is taken by the first worker: in each round, all others send it their parameters and
    get the mean back, ``2 * (n_workers - 1)`` times the bytes of the parameters. Moments of Adam
    stay where they are. Latents that are dead are resampled by each worker on its own.

    Same seed, same number of workers and a lazy X give the same bits. A persisted X lies on workers
    as it happened.

    References
    ----------
    .. [1] Stich, Sebastian U. "Local SGD converges fast and communicates little." ICLR (2019),
       arXiv 1805.09767.
    .. [2] Douillard, Arthur, et al. "DiLoCo: Distributed low-communication training of language
       models." arXiv 2311.08105 (2023). Its outer optimiser is left out.

    Examples
    --------
    >>> import dask.array as da
    >>> import skdict.distributed
    >>> from distributed import Client
    >>> from skdict import TopKAutoencoder
    >>> from skdict.datasets import make_superposition
    >>> X, dictionary, codes = make_superposition(
    ...     2000, n_components=16, n_features=8, k=3, random_state=0
    ... )
    >>> sae = TopKAutoencoder(16, k=3, max_iter=50, random_state=0)
    >>> with Client(n_workers=2, processes=False, dashboard_address=":0") as client:
    ...     sae = skdict.distributed.fit(sae, da.from_array(X, chunks=(500, 8)), client=client)
    >>> sae.n_iter_, bool(sae.score(X) > 0.8)
    (50, True)
    """
    _check(estimator, X, local_steps)
    client = _client(client)
    estimator._validate_params()
    with estimator._all_or_nothing(), use_threads(estimator.n_jobs), client.as_current():
        source = open_X(estimator, X, reset=True, method="fit")
        estimator._state = None
        workers, threads = workers_of(client, workers, source.estimator)
        with shares_of(client, source.array, workers, source.estimator) as (shares, array):
            _fit(estimator, DaskRows(array, source.estimator), shares, local_steps, client, threads)
    return estimator


def _check(estimator, X, local_steps):
    name = type(estimator).__name__
    if isinstance(estimator, type):
        raise TypeError(f"{estimator.__name__} is a class. Pass an estimator, with parentheses.")
    if not isinstance(estimator, BaseDictionaryEstimator):
        raise TypeError(f"{name} is no estimator of skdict. Pass one, such as TopKAutoencoder().")
    if hasattr(X, "to_dask_array"):
        raise TypeError(f"{name}: X is a data frame. Pass X.to_dask_array(lengths=True).")
    if not is_dask(X):
        raise TypeError(
            f"{name}: X is a {type(X).__name__}, but a dask array is needed. Wrap it by "
            "dask.array.from_array, or call fit."
        )
    integral = isinstance(local_steps, numbers.Integral) and not isinstance(local_steps, bool)
    if not integral or local_steps < 1:
        raise ValueError(
            f"{name}: local_steps={local_steps!r} is out of range. Choose an integer >= 1."
        )
    if getattr(estimator, "dictionary", None) is not None:
        raise ValueError(f"{name}: with a given dictionary nothing is trained. Call fit.")
    if getattr(estimator, "dict_update", "gradient") != "gradient":
        raise ValueError(
            f"{name}: dict_update={estimator.dict_update!r} has no steps that could be averaged. "
            "Set dict_update='gradient', or call fit, which reads the blocks one after the other."
        )
    on_host = estimator.device == "cpu"
    unavailable = [("early_stopping", False), ("max_no_improvement", None), ("repair", None)]
    for parameter, off in [*unavailable, *([] if on_host else [("device", None)])]:
        if getattr(estimator, parameter, off) != off:
            raise ValueError(
                f"{name}: {parameter}={getattr(estimator, parameter)} is not available on a "
                f"cluster. Set {parameter}={off}, or call fit."
            )
    if getattr(estimator, "_skl_callbacks", None):
        raise ValueError(
            f"{name}: callbacks are not called on a cluster. Remove them by set_callbacks(), or "
            "call fit."
        )


def _client(client):
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            "skdict.distributed.fit needs dask and distributed. Install skdict[dask]."
        ) from error
    if client is None:
        try:
            client = distributed.default_client()
        except ValueError as error:
            raise ValueError(
                "There is no dask client. Start one, client = distributed.Client(...), with the "
                "address of a scheduler or, for workers on this machine, without."
            ) from error
    if not isinstance(client, distributed.Client) or client.asynchronous:
        raise TypeError(
            f"client={client!r} is not a distributed.Client that blocks. Pass one, such as "
            "cluster.get_client()."
        )
    if client.status != "running":
        raise ValueError(f"client={client!r} is {client.status}. Make a new one.")
    return client


def _fit(estimator, source, shares, local_steps, client, threads):
    estimator._warn_if_clipped()
    run, _, n_passes = estimator._new_run(source)
    largest = max(share.n_rows for share in shares)
    settings = estimator._settings(estimator._repetition(largest), largest)
    encoder, terms = estimator._parts(estimator._n_components(), run.state.scale)
    recipe = rounds.Recipe(
        source.estimator, encoder, terms, settings, estimator.shuffle, source.array.dtype
    )
    totals = [n_passes * math.ceil(share.n_rows / settings.batch_size) for share in shares]
    plans = [training.Plan(0, total, estimator._decay()) for total in totals]
    cluster = _Cluster(client, shares, threads, recipe, plans)
    with contextlib.closing(cluster):
        shared, run.epochs, n_steps = _train(cluster, run.state, totals, local_steps)
    run.state = dataclasses.replace(
        run.state, params=shared.params, silent_for=shared.silent_for, step=n_steps
    )
    if n_steps < max(totals):
        estimator._warn_diverged(run.state, settings.learning_rate)
    else:
        estimator._warn_if_silent(run.state, source, run.epochs, settings.learning_rate)
        estimator._warn_if_many_are_dead(run)
    estimator._set_fitted(run.state, run.epochs)
    estimator.n_iter_, estimator.n_steps_ = len(run.epochs), n_steps


def _train(cluster, state, totals, local_steps):
    """All rounds: what is shared after them, the passes, and the steps of the longest share."""
    n_rounds = math.ceil(max(totals) / local_steps)
    shared = cluster.begin(state)
    epochs, passes, lowest = [], [[] for _ in totals], -math.inf
    for i in range(n_rounds):
        # Shares of other sizes make their steps in proportion, so that all end together.
        done = [i * total // n_rounds for total in totals]
        after = [(i + 1) * total // n_rounds for total in totals]
        new, news = cluster.round(shared, [b - a for a, b in zip(done, after)])
        if i == 0:
            lowest = 1 - runs.DIVERGED * max(1.0, 1 - news.first)
        far_off = news.late.explained_variance < lowest
        if far_off or not (news.finite and math.isfinite(news.late.loss)):
            return cluster.result(shared), epochs, max(done)
        shared = new
        for own, ended in zip(passes, news.epochs):
            own += ended
        while all(len(own) > len(epochs) for own in passes):
            ended = [own[len(epochs)] for own in passes]
            epochs.append(rounds.mean_epoch(ended, cluster.weights, news.late.dead))
    return cluster.result(shared), epochs, max(totals)


class _Cluster:
    """The shares on their workers, from round to round."""

    def __init__(self, client, shares, threads, recipe, plans):
        self.client, self.shares, self.threads = client, shares, threads
        self.recipe, self.plans, self.states = recipe, plans, []
        n_rows = sum(share.n_rows for share in shares)
        self.weights = [share.n_rows / n_rows for share in shares]
        self.addresses = [share.address for share in shares]

    def begin(self, state):
        """A future of what all begin with; `state` is divided into those of the shares."""
        bare = dataclasses.replace(state, params=None, optimizer=None, silent_for=None)
        streams = state.random.spawn(len(self.shares) - 1)
        others = [dataclasses.replace(bare, random=own, order_from=None) for own in streams]
        self.states = [(each, None) for each in (bare, *others)]
        shared = rounds.Shared(state.params, state.silent_for, state.density)
        # In a list, for a tuple would be scattered by its parts.
        return self.client.scatter([shared], workers=[self.addresses[0]], hash=False)[0]

    def round(self, shared, n_steps):
        """One round: a future of what is shared after it, and its news."""
        results = []
        for i, share in enumerate(self.shares):
            self.states[i] = self._submit(
                share.address, rounds.run_round, self.states[i], shared, n_steps[i], self.plans[i],
                self.recipe, share.begins, share.n_rows, self.threads[share.address], *share.blocks,
            )  # fmt: skip
            # The second of what it returns, there: the moments are not to travel.
            results.append(self._submit(share.address, operator.itemgetter(1), self.states[i]))
        weights, settings = self.weights, self.recipe.settings
        mean = self._submit(self.addresses[0], rounds.average, weights, settings, *results)
        news = self._submit(self.addresses[0], operator.attrgetter("news"), mean)
        return mean, self.result(news)

    def result(self, future):
        return result_of(self.client, future, self.addresses, self.recipe.estimator)

    def close(self):
        for state in self.states:  # their memory is not to be held by frames of an error
            if hasattr(state, "release"):
                state.release()

    def _submit(self, address, function, *arguments):
        return self.client.submit(function, *arguments, workers=[address], pure=False)
