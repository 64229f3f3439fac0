"""What `skdict.distributed.fit` costs in explained variance, by the number of local steps.

    python doc/benchmarks/local_steps.py [--passes 24]

TopKAutoencoder (768 components, k = 32, batches of 256) on the packaged token activations, 23,000
rows to train on and 3,003 held out. Two worker processes with one thread each; four shares lie two
on each worker, so that their explained variance is that of four workers and their time is not.
Beside them the ordinary `fit`, on as many cores, with three seeds to show how much is chance, and
with batches as large as those of two workers together.

"rounds": how often parameters are averaged. "MB round" and "MB": what the averages send between
workers, in a round and in all. "ms round": of a round, its steps included.
"""

import argparse
import math
import time
import warnings

import dask
import dask.array as da
import distributed
from topk_step import versions

from skdict import TopKAutoencoder
from skdict.datasets import load_token_activations
from skdict.distributed import fit

COMPONENTS, K = 768, 32
LOCAL_STEPS = {2: (1, 10, 100, 1000, None), 4: (10, 100, None)}


def estimator(passes, **changes):
    parameters = {"k": K, "batch_size": 256, "max_iter": passes, "random_state": 0, **changes}
    return TopKAutoencoder(COMPONENTS, **parameters)


def timed(function, *arguments, **options):
    begin = time.perf_counter()
    return function(*arguments, **options), time.perf_counter() - begin


def line(label, steps, model, seconds, rows, held_out, rounds=None, bytes_round=0):
    print(f"{label:22} {steps:>8}", end=" ")
    print(
        f"{model.n_steps_:6} {model.score(held_out):9.4f} {model.dead_latents_.mean():6.1%}", end=""
    )
    print(f" {model.n_iter_ * len(rows) / seconds:9.0f}", end="")
    if rounds:
        numbers = bytes_round / 1e6, rounds * bytes_round / 1e6, 1e3 * seconds / rounds
        print(f" {rounds:7} {numbers[0]:9.1f} {numbers[1]:8.0f} {numbers[2]:9.0f}", end="")
    print(flush=True)


def on_cluster(client, n_shares, local_steps, rows, held_out, passes):
    addresses = sorted(client.nthreads())
    workers = [addresses[i % len(addresses)] for i in range(n_shares)]
    X = da.from_array(rows, chunks=(500, rows.shape[1]))
    most = local_steps or 10**9
    model, seconds = timed(fit, estimator(passes), X, local_steps=most, workers=workers)
    rounds = math.ceil(model.n_steps_ / most)
    arrays = model.components_, model.encoder_, model.encoder_bias_, model.decoder_bias_
    sent = 2 * (n_shares - 1) * sum(array.nbytes for array in arrays)
    label, steps = f"{n_shares} shares", local_steps or "all"
    line(label, steps, model, seconds, rows, held_out, rounds, sent)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--passes", type=int, default=24)
    passes = parser.parse_args().passes
    rows = load_token_activations().data
    held_out = load_token_activations(subset="test").data
    print(f"dask {dask.__version__}, distributed {distributed.__version__}, {versions()}")
    print(f"\n{len(rows)} x {rows.shape[1]}, {COMPONENTS} components, k {K}, {passes} passes\n")
    print(
        f"{'':22} {'local':>8} {'':6} {'held-out':>9}\n{'':22} {'steps':>8} {'steps':>6} "
        f"{'explained':>9} {'dead':>6} {'rows/s':>9} {'rounds':>7} {'MB round':>9} {'MB':>8} "
        f"{'ms round':>9}"
    )
    warnings.simplefilter("ignore")  # of latents that are dead
    estimator(1).fit(rows[:2000])  # compiles
    for seed in range(3):
        model, seconds = timed(estimator(passes, random_state=seed).fit, rows)
        line(f"fit, seed {seed}", "", model, seconds, rows, held_out)
    model, seconds = timed(estimator(passes, batch_size=512).fit, rows)
    line("fit, batches of 512", "", model, seconds, rows, held_out)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    )
    with cluster, distributed.Client(cluster) as client:
        fit(estimator(1), da.from_array(rows[:2000], chunks=(1000, rows.shape[1])))  # imports
        for n_shares, all_steps in LOCAL_STEPS.items():
            for local_steps in all_steps:
                on_cluster(client, n_shares, local_steps, rows, held_out, passes)


if __name__ == "__main__":
    main()
