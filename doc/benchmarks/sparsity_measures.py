"""Cost of the sparsity measures on CSR: time of all sixteen, and how Gini grows.

    python doc/benchmarks/sparsity_measures.py

Runs on one core. The first table is for 200,000 rows of 16,384 columns with 32 entries each, rows
and columns, medians of three rounds, interleaved; memory is what Python and numpy allocate on top
of the matrix. The second shows that Gini costs what the stored entries cost, whatever the width:
the bar is O(nnz log k) for 1,000,000 x 65,536.
"""

import os
import statistics
import time
import tracemalloc

if hasattr(os, "sched_setaffinity"):  # Linux: before numpy starts any thread
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np
import scipy
import scipy.sparse as sp

import skdict
from skdict.metrics import gini, sparsity

K = 32
ROUNDS = 3


def codes(n, m, k, rng):
    """CSR with k entries in each row, spread over the columns."""
    stride = m // k
    columns = rng.integers(0, stride, (n, k), dtype=np.int32)
    columns += np.arange(k, dtype=np.int32) * stride
    values = rng.standard_exponential(n * k, dtype=np.float32)
    return sp.csr_array((values, columns.ravel(), np.arange(n + 1) * k), shape=(n, m))


def seconds(measure, Z, axis):
    begin = time.perf_counter()
    measure(Z, axis=axis)
    return time.perf_counter() - begin


def extra_mib(measure, Z, axis):
    tracemalloc.start()
    measure(Z, axis=axis)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def all_sixteen(Z):
    times = {(name, axis): [] for name in sparsity.MEASURES for axis in (1, 0)}
    for _ in range(ROUNDS):
        for name, axis in times:
            times[name, axis].append(seconds(sparsity.MEASURES[name], Z, axis))
    size = (Z.data.nbytes + Z.indices.nbytes + Z.indptr.nbytes) / 2**20
    print(f"\n{Z.shape[0]} x {Z.shape[1]}, {K} entries a row, {size:.0f} MiB")
    print(f"{'':26}{'rows':>18}{'columns':>20}")
    print(f"{'':26}{'s':>9}{'extra MiB':>11}{'s':>9}{'extra MiB':>11}")
    totals = [0.0, 0.0]
    for name, measure in sparsity.MEASURES.items():
        line = f"{name:26}"
        for i, axis in enumerate((1, 0)):
            median = statistics.median(times[name, axis])
            totals[i] += median
            line += f"{median:9.3f}{extra_mib(measure, Z, axis):11.0f}"
        print(line)
    print(f"{'all sixteen':26}{totals[0]:9.3f}{'':11}{totals[1]:9.3f}")


def growth(rng):
    print("\nGini of rows; ns per stored entry")
    print(f"{'rows':>10}{'columns':>10}{'k':>6}{'s':>9}{'ns':>8}")
    shapes = [(250_000, 65_536, 32), (1_000_000, 65_536, 32), (1_000_000, 1_024, 32)]
    shapes += [(250_000, 65_536, 8), (250_000, 65_536, 128)]
    for n, m, k in shapes:
        Z = codes(n, m, k, rng)
        median = statistics.median(seconds(gini, Z, 1) for _ in range(ROUNDS))
        print(f"{n:10}{m:10}{k:6}{median:9.3f}{median / Z.nnz * 1e9:8.1f}")


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    print(f"skdict {skdict.__version__}, numpy {np.__version__}, scipy {scipy.__version__}; 1 core")
    all_sixteen(codes(200_000, 16_384, K, rng))
    growth(rng)
