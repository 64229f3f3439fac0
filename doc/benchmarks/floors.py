"""What bounds each stage of a TopK training step: floors from measured rates, and measured times.

    python doc/benchmarks/floors.py [--rounds 15]

A floor is the time that the bytes of a stage take at a rate measured in the same run, on the same
threads, by loops that do nothing else; its arithmetic is left out, but for the product:

    product    ``X @ W.T`` by BLAS on its own threads: the unit of all bars
    streaming  reading and writing an array far larger than the caches
    reading    the same, reading alone
    gathering  adding random rows of an array of the size in question to one row

The product's floor is BLAS's own time, so that floors in units of the product begin at 1. Caches
that keep a part of the state from one step to the next can beat a floor; a stage whose loops wait
for branches or latencies does not reach it. A stage's time is the sum over threads, divided by
their number ("batch" and "sort by column": from its begin to its end); "rest" is everything else in
the step: dispatch, waiting for the other thread, small arrays.
"""

import statistics
import time

import numpy as np
from topk_step import PAUSE, UNTIMED, data, in_turn, over_shapes, stepper, time_of

import skdict.kernels.sparse_step_cpu as kernel
from skdict import training
from skdict.backend import namespace
from skdict.kernels import topk_cpu
from skdict.kernels._jit import jit
from skdict.kernels.threads import current, use_threads

LARGE = 1 << 26  # entries, beyond all caches
PASSES = 7


@jit
def stream(array, start, stop):
    for i in range(start, stop):
        array[i] = array[i] * array.dtype.type(0.5) + array.dtype.type(1)


@jit
def read(array, start, stop):
    parts = np.zeros(64, dtype=array.dtype)
    width = np.uint64(64)
    for block in range(start // 64, stop // 64):
        offset = np.uint64(block) * width
        for c in range(width):
            parts[c] += array[offset + c]
    return parts.sum()


@jit
def gather(array, rows, start, stop):
    total = np.zeros(array.shape[1], dtype=array.dtype)
    for p in range(start // 4, stop // 4):
        i0, i1 = np.uint64(rows[4 * p]), np.uint64(rows[4 * p + 1])
        i2, i3 = np.uint64(rows[4 * p + 2]), np.uint64(rows[4 * p + 3])
        for c in range(np.uint64(array.shape[1])):
            total[c] += (array[i0, c] + array[i1, c]) + (array[i2, c] + array[i3, c])
    return total


def rate(function, n_entries, n_bytes):
    """Bytes per second of ``function(start, stop)`` over all entries, in blocks on the threads."""
    size = -(-n_entries // (current().n_threads * 64)) * 64
    times = []
    for _ in range(PASSES):
        times.append(time_of(lambda: current().blocks(function, n_entries, size, 1 << 40)))
    return n_bytes / statistics.median(times[1:])


def rates(shape):
    """Bytes per second by kind of access."""
    n, d, m, k = shape
    random = np.random.default_rng(0)
    large = np.ones(LARGE, dtype=np.float32)
    found = {
        "streaming": rate(lambda i, j: stream(large, i, j), LARGE, 8 * LARGE),
        "reading": rate(lambda i, j: read(large, i, j), LARGE, 4 * LARGE),
    }
    for name, n_rows in (("atoms", m), ("samples", n)):
        array = random.standard_normal((n_rows, d), dtype=np.float32)
        rows = random.integers(n_rows, size=n * k).astype(np.int32)
        found[name] = rate(
            lambda i, j, array=array, rows=rows: gather(array, rows, i, j), n * k, 4 * n * k * d
        )
    return found


def floors(shape, found, product):
    """Seconds by stage, and what they are made of."""
    n, d, m, k = shape
    batch, state, gathered = 4 * n * d, 24 * m * d, 4 * n * k * d
    return {
        "batch": (2 * batch / found["streaming"], "its rows: read, written"),
        "product": (product, "BLAS"),
        "selection": (4 * n * m / found["reading"], "pre-activations read once"),
        "reconstruction": (gathered / found["atoms"], "an atom gathered per code"),
        "sort by column": (32 * n * k / found["streaming"], "four numbers per code: read, written"),
        "update": (
            2 * gathered / found["samples"] + 2 * state / found["streaming"],
            "two samples gathered per code; two matrices and four moments, read and written",
        ),
    }


def stages(step, rounds):
    """Median seconds of a step, and by stage."""
    parts = {
        "batch": (training, "batch_of"),
        "product": (namespace(np.empty(0)), "matmul"),
        "selection": (topk_cpu, "topk"),
        "reconstruction": (kernel, "reconstruct"),
        "sort by column": (kernel, "_by_column"),
        "update": (kernel, "_update_atoms"),
    }
    alone = {"batch", "sort by column"}  # called by one thread, whichever it uses within
    spent = {name: [] for name in parts}
    originals = {name: getattr(*where) for name, where in parts.items()}

    def timed(name):
        def call(*arguments, **named):
            begin = time.perf_counter()
            result = originals[name](*arguments, **named)
            spent[name].append(time.perf_counter() - begin)
            return result

        return call

    whole, by_stage = [], {name: [] for name in parts}
    for name, (module, attribute) in parts.items():
        setattr(module, attribute, timed(name))
    try:
        for _ in range(rounds):
            time.sleep(PAUSE)
            with use_threads(None) as threads:
                for _ in range(UNTIMED):
                    step()
                for times in spent.values():
                    times.clear()
                whole.append(time_of(step))
            for name, times in spent.items():
                share = 1 if name in alone else threads.n_threads
                by_stage[name].append(sum(times) / share)
    finally:
        for name, (module, attribute) in parts.items():
            setattr(module, attribute, originals[name])
    return statistics.median(whole), {n: statistics.median(t) for n, t in by_stage.items()}


def run(shape, rounds):
    n, d, m, k = shape
    X = data(4 * n, d, m, k, np.random.default_rng(0))
    W = np.random.default_rng(1).standard_normal((m, d), dtype=np.float32)
    Z = np.empty((n, m), dtype=np.float32)
    step, _ = stepper(X, n, m, k)
    times = in_turn({"product": lambda: np.matmul(X[:n], W.T, out=Z)}, rounds)
    product = statistics.median(times["product"])
    with use_threads(None):
        found = rates(shape)
    bounds = floors(shape, found, product)
    whole, measured = stages(step, rounds)
    print(f"\nbatch {n}, features {d}, components {m}, k {k}")
    print(f"product {2e-9 * n * d * m / product:.0f} GF/s; GB/s: streaming", end="")
    print(f" {found['streaming'] / 1e9:.0f}, reading {found['reading'] / 1e9:.0f},", end="")
    print(f" gathering atoms {found['atoms'] / 1e9:.0f}, samples {found['samples'] / 1e9:.0f}")
    print(f"{'':16} floor ms products | measured ms products | floor made of")
    rest = whole - sum(measured.values())
    total = sum(bound for bound, _ in bounds.values())
    lines = [(name, *bounds[name], measured[name]) for name in bounds]
    lines += [("rest", 0.0, "", rest), ("step", total, "", whole)]
    for name, bound, made_of, seconds in lines:
        print(
            f"{name:16}{1e3 * bound:9.2f} {bound / product:8.3f} | {1e3 * seconds:11.2f} "
            f"{seconds / product:8.3f} | {made_of}".rstrip(" |"),
            flush=True,
        )


if __name__ == "__main__":
    over_shapes(run, __doc__)
