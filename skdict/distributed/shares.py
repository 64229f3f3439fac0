"""Which worker of a dask cluster gets which rows, and waiting for what it makes of them."""

import contextlib
import warnings
from concurrent.futures import CancelledError
from typing import NamedTuple

LOOK_EVERY = 5.0  # seconds of waiting, after which to look whether all workers are there


class Share(NamedTuple):
    """Blocks of X (futures), where each begins in X, and the worker that has them."""

    address: str
    blocks: list
    begins: list
    n_rows: int


def workers_of(client, wanted, name):
    """Addresses, and the number of threads of each worker."""
    if not (wanted is None or isinstance(wanted, list | tuple | set)):
        raise TypeError(f"{name}: workers={wanted!r} is no list of addresses. Give one, or None.")
    threads = client.nthreads()
    if not threads:
        raise ValueError(
            f"{name}: the cluster has no workers. Add some, or client.wait_for_workers(1)."
        )
    wanted = sorted(threads) if wanted is None else list(wanted)
    missing = sorted(set(wanted) - set(threads))
    if missing or not wanted:
        raise ValueError(
            f"{name}: workers={wanted!r} must name workers of the cluster, which are "
            f"{sorted(threads)}."
        )
    return wanted, threads


@contextlib.contextmanager
def shares_of(client, X, workers, name):
    """A :class:`Share` for each worker that gets rows, and X made of their blocks."""
    from distributed import futures_of

    held = {future.key: future for future in futures_of(X)}
    if all(key in held for key in _keys(X)):
        futures, made = [held[key] for key in _keys(X)], []
        _wait(client, futures, workers, name)
        homes = client.who_has(futures)
        chosen = spread(X.chunks[0], workers, [homes.get(key, ()) for key in _keys(X)])
        _warn_if_idle(chosen, name)
    else:
        if sum(size > 0 for size in X.chunks[0]) < len(workers):
            X = X.rechunk({0: -(-X.shape[0] // len(workers))})
        chosen = spread(X.chunks[0], workers)
        futures = made = _computed(client, X, workers, chosen)
    try:
        _wait(client, made, workers, name)
        rebuild, arguments = X.__dask_postpersist__()
        array = rebuild(dict(zip(_keys(X), futures)), *arguments)
        shares = map(_share_of(X, futures), workers, chosen)
        yield [share for share in shares if share.n_rows], array
    finally:
        for future in made:
            future.release()  # not held by frames of an error


def _warn_if_idle(chosen, name):
    busy = sum(bool(blocks) for blocks in chosen)
    if busy < len(chosen):
        warnings.warn(
            f"{name}: X is persisted, and {busy} of {len(chosen)} workers have rows of it; the "
            "others do nothing. Call client.rebalance(), or make smaller chunks.",
            UserWarning,
            stacklevel=5,
        )


def spread(sizes, workers, homes=None):
    """For each worker the blocks it gets: those that lie there, or evenly by rows.

    `homes` has the addresses of the workers on which each block lies.
    """
    n_rows, blocks = [0] * len(workers), [[] for _ in workers]
    for i, size in enumerate(sizes):
        home = () if homes is None else homes[i]
        here = [j for j, worker in enumerate(workers) if worker in home] or range(len(workers))
        j = min(here, key=n_rows.__getitem__)
        n_rows[j] += size
        blocks[j].append(i)
    return blocks


def result_of(client, future, addresses, name):
    """What a task comes to, on workers at these addresses; an error if one of them has left."""
    while True:
        try:
            return future.result(timeout=LOOK_EVERY)
        except (TimeoutError, CancelledError) as error:
            _check_here(client, addresses, name, error)
            if future.done():  # the error is that of the task
                raise


def _computed(client, X, workers, chosen):
    """Futures of the blocks of X, on the workers that they are for."""
    futures, delayed = [None] * len(X.chunks[0]), X.to_delayed().ravel()
    for address, blocks in zip(workers, chosen):
        made = client.compute([delayed[i] for i in blocks], workers=[address])
        for i, future in zip(blocks, made):
            futures[i] = future
    return futures


def _keys(X):
    return [row[0] for row in X.__dask_keys__()]


def _share_of(X, futures):
    sizes, ends = X.chunks[0], [0]
    for size in sizes:
        ends.append(ends[-1] + size)

    def share(address, blocks):
        n_rows = sum(sizes[i] for i in blocks)
        return Share(address, [futures[i] for i in blocks], [ends[i] for i in blocks], n_rows)

    return share


def _wait(client, futures, addresses, name):
    """Until all are done, be it with an error, which then meets whoever reads them."""
    from distributed import wait

    while True:
        try:
            wait(futures, timeout=LOOK_EVERY)
            return
        except (TimeoutError, CancelledError) as error:
            _check_here(client, addresses, name, error)
            if isinstance(error, CancelledError):
                raise RuntimeError(
                    f"{name}: blocks of X are lost ({error}). The cluster was restarted, or X is "
                    "persisted on another one. Make X again."
                ) from error


def _check_here(client, addresses, name, error):
    # Waiting might not end: what must run on a worker that is gone is never run.
    if client.status != "running":
        raise RuntimeError(f"{name}: the client was closed while it trained.") from error
    here = client.nthreads()
    for address in addresses:
        if address not in here:
            raise RuntimeError(
                f"{name}: worker {address} has left the cluster while it trained. Fit again with "
                "the workers that there are."
            ) from error
