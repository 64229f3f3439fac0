"""A TopK training step, and `transform`, against the encoder's matrix product alone, in turn.

    python doc/benchmarks/topk_step.py [--rounds 15]

All run in one process on the threads that BLAS may use. The product is ``X @ W.T`` into
preallocated memory; a step is everything that training does with a batch: taking shuffled rows,
centring and scaling them, loss, gradients, Adam, renormalisation and the count of silent latents;
none of them is dead. `transform` is the method, from the rows of a batch to their codes as CSR.
"""

import argparse
import contextlib
import platform
import statistics
import time
from pathlib import Path

import numba
import numpy as np
import threadpoolctl

import skdict
from skdict import TopKAutoencoder, training
from skdict.kernels.threads import use_threads

PAUSE = 0.12  # seconds
UNTIMED = 5  # calls before the timed one
SHAPES = {"small": (2048, 384, 6144, 32), "large": (4096, 768, 12288, 32)}


def data(n, d, m, k, rng):
    """Sparse combinations of random atoms with a little noise, so that selection is not trivial."""
    atoms = rng.standard_normal((m, d), dtype=np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    X = 0.3 * rng.standard_normal((n, d), dtype=np.float32)
    for _ in range(k):
        X += rng.exponential(size=(n, 1)).astype(np.float32) * atoms[rng.integers(0, m, n)]
    return X


def time_of(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def stepper(X, batch, m, k):
    """Functions that make one step, as `fit` would, on the next shuffled batch; and `transform`."""
    estimator = TopKAutoencoder(m, k=k, batch_size=batch, random_state=0)
    estimator.n_features_in_ = X.shape[1]
    rng = np.random.default_rng(0)
    order = rng.permutation(X.shape[0])
    with use_threads(None):
        state = estimator._start(X[order[: training.FIRST_ROWS]], X[:0], rng, warm=False)
    encoder, terms = estimator._parts(m, state.scale)
    settings = training.Settings(batch, 1e-3, 100, 10_000_000, False, weight_decay=0.1)
    position = 0

    def step():
        nonlocal position
        rows = order[position : position + batch]
        position = (position + batch) % X.shape[0]
        batch_rows = training.batch_of([(X, rows)], state)
        training.train_step(state, batch_rows, encoder, terms, settings)

    def transform(X):
        for name, array in training.fold(state).items():
            setattr(estimator, f"{name}_", array)
        return estimator.set_params(sparse_output=True).transform(X)

    return step, transform


def processor():
    """The name of the processor, as Linux has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "?")


def in_turn(calls, rounds):
    """Seconds by name and round of calls in turn, after a pause and untimed calls of the same kind.

    The pause is for the threads of an earlier BLAS call to stop spinning. "step" runs as in a fit,
    whose threads and buffers live from its first step to its last.
    """
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(PAUSE)
            with use_threads(None) if name == "step" else contextlib.nullcontext():
                for _ in range(UNTIMED):
                    call()
                times[name].append(time_of(call))
    return times


def versions():
    return (
        f"{processor()}, {platform.system()}, Python {platform.python_version()},\n"
        f"skdict {skdict.__version__}, numpy {np.__version__}, numba {numba.__version__}, {blas()}"
    )


def blas():
    """The BLAS that NumPy multiplies with, and its threads; SciPy may have loaded another."""
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").info()
    ours = ([lib for lib in libraries if "numpy" in lib["filepath"]] or libraries)[0]
    return f"{ours['internal_api']} {ours['version']} on {ours['num_threads']} threads"


def over_shapes(run, description):
    """Read the command line, print the versions, then ``run(shape, rounds)``."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shape", choices=[*SHAPES, "all"], default="all")
    arguments = parser.parse_args()
    print(versions())
    for name, shape in SHAPES.items():
        if arguments.shape in (name, "all"):
            run(shape, arguments.rounds)


def run(shape, rounds):
    batch, d, m, k = shape
    X = data(4 * batch, d, m, k, np.random.default_rng(0))
    E = np.random.default_rng(1).standard_normal((m, d), dtype=np.float32)
    Z = np.empty((batch, m), dtype=np.float32)
    step, transform = stepper(X, batch, m, k)

    def product():
        np.matmul(X[:batch], E.T, out=Z)

    calls = {"product": product, "step": step, "transform": lambda: transform(X[:batch])}
    times = in_turn(calls, rounds)
    base = times.pop("product")
    print(
        f"batch {batch}, features {d}, components {m}, k {k}; {rounds} rounds:\n"
        f"    product {1e3 * statistics.median(base):.1f} ms"
    )
    for name, seconds in times.items():
        ratios = [s / b for s, b in zip(seconds, base, strict=True)]
        print(
            f"    {name:9} {1e3 * statistics.median(seconds):.1f} ms, ratio median "
            f"{statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})"
        )


if __name__ == "__main__":
    over_shapes(run, __doc__)
