"""Sparse coders of five libraries on the same data in one run: time, residual, supports.

    pip install -r doc/benchmarks/requirements-coders.txt
    python doc/benchmarks/coders.py [--data FOLDER] [--parts pursuit lasso threads large learning]

Part "pursuit": n samples of d features, sums of k of m unit atoms with normal codes, coded with k
atoms each over the true dictionary, on one thread; the Gram matrix belongs to the time of those who
form one. The libraries take turns, each with an untimed call before the first timed one; "us" is
the median time per sample, "times" the median over rounds of the ratio to skdict's OMP in the same
precision. "residual" is its mean norm against that of the sample, "same" the share of samples whose
support is that of scikit-learn's `orthogonal_mp_gram` in float64. SPAMS' `omp` follows the rule of
OLS, so its residual is to be read beside that of skdict's; dictlearn computes in float64 only. For
SPAMS in float32 eps=0 must be given: without, it stops at once. Of orthogonal-matching-pursuit-gpu,
the algorithm that its authors call fastest, on the CPU. The last line of a table says what bounds
skdict's OMP: two products, and reading what earlier steps have left.

Part "lasso": such samples with noise of a tenth of their norm, and the alpha with which
scikit-learn's codes of the first 200 have about 16 entries. "excess" is the mean of the objective
over that of the best codes found, less one; skdict and scikit-learn stop at a relative duality gap
of 1e-4, SPAMS follows the path to the end.

Part "threads": samples per second of skdict on two threads, against two processes with one each.
Part "large": time and memory of 100,000 samples over 16,384 atoms.
Part "learning": 256 atoms from 5,000 patches (8 x 8) of natural images, k = 5; seconds of each
library, and the held-out share of variance explained when all are coded by the same OMP; means over
three seeds, two threads.
"""

# ruff: noqa: E402

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # SPAMS has a BLAS of its own; parts with threads set theirs

import argparse
import importlib.metadata
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
import scipy.sparse
import threadpoolctl
from sklearn.linear_model import orthogonal_mp_gram

from skdict import LassoCoder, MatchingPursuitCoder
from skdict.metrics import explained_variance

CASES = [  # samples, features, atoms, k
    (2000, 256, 1024, 16),
    (2000, 256, 1024, 32),
    (2000, 512, 2048, 64),
    (400, 512, 8192, 32),
]
LARGE = (100_000, 256, 16_384, 32)
LASSO_CASES = [(2000, 256, 1024, 16), (400, 512, 2048, 16)]
NOISE = 0.1
SLOW = ("scikit-learn", "omp-gpu")  # timed in fewer rounds
PACKAGES = ("numpy", "numba", "scikit-learn", "spams-bin", "dictlearn", "torch")


def planted(n, d, m, k, dtype, seed=0, noise=0.0):
    """Samples that are sums of k unit atoms, with noise of that share of their norm; the atoms."""
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((m, d))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    X = np.zeros((n, d))
    for x in X:
        x += rng.standard_normal(k) @ D[rng.choice(m, k, replace=False)]
    X += noise * np.sqrt(k / d) * rng.standard_normal((n, d))
    return X.astype(dtype), D.astype(dtype)


def coder(D, k, algorithm="omp", n_jobs=1):
    return MatchingPursuitCoder(
        k=k, algorithm=algorithm, dictionary=D, sparse_output=True, n_jobs=n_jobs
    )


def contenders(X, D, k):
    """Functions without arguments that return codes, samples as rows, by label."""
    calls = {}
    for algorithm in ("omp", "ols", "mp", "gradient"):
        fitted = coder(D, k, algorithm).fit(X[:1])
        calls[f"skdict {algorithm}"] = lambda fitted=fitted: fitted.transform(X)
    try:
        import spams

        columns, atoms = np.asfortranarray(X.T), np.asfortranarray(D.T)
        calls["spams"] = lambda: spams.omp(columns, atoms, L=k, eps=0.0, numThreads=1).T
    except ImportError as error:
        print(f"missing: {error}")
    try:
        import dictlearn

        if X.dtype == np.float64:
            calls["dictlearn"] = lambda: dictlearn.sparse_encode(X, D, n_nonzero_coefs=k)
    except ImportError as error:
        print(f"missing: {error}")
    try:
        import torch
        from orthogonal_matching_pursuit_gpu import run_omp

        torch.set_num_threads(1)
        atoms_, rows = torch.from_numpy(D.T.copy()), torch.from_numpy(X)
        calls["omp-gpu"] = lambda: run_omp(
            atoms_, rows, k, normalize=False, fit_intercept=False
        ).numpy()
    except ImportError as error:
        print(f"missing: {error}")
    from sklearn.decomposition import sparse_encode

    calls["scikit-learn"] = lambda: sparse_encode(X, D, algorithm="omp", n_nonzero_coefs=k)
    return calls


def pursuits(case, dtype, rounds):
    n, d, m, k = case
    X, D = planted(n, d, m, k, dtype)
    wide = D.astype(np.float64)
    reference = orthogonal_mp_gram(wide @ wide.T, wide @ X.T.astype(float), n_nonzero_coefs=k).T
    calls, times, codes = contenders(X, D, k), {}, {}
    for turn in range(rounds):
        for name, call in calls.items():
            if name.startswith(SLOW) and turn >= max(1, rounds // 3):
                continue
            if turn == 0:
                codes[name] = call()
            begin = time.perf_counter()
            call()
            times.setdefault(name, []).append(time.perf_counter() - begin)
    print(f"\n{n} samples, {d} features, {m} atoms, k {k}, {dtype}, {rounds} rounds")
    print(f"    {'':18}{'us':>9}{'times':>9}{'residual':>11}{'same':>8}")
    for name, seconds in times.items():
        ratios = [s / own for s, own in zip(seconds, times["skdict omp"], strict=False)]
        Z = codes[name]
        Z = np.asarray(Z.todense()) if hasattr(Z, "todense") else Z
        residual = np.linalg.norm(X - Z @ D, axis=1) / np.linalg.norm(X, axis=1)
        same = np.mean(((Z != 0) == (reference != 0)).all(axis=1))
        print(
            f"    {name:18}{1e6 * statistics.median(seconds) / n:9.1f}"
            f"{statistics.median(ratios):9.2f}{residual.mean():11.2e}{same:8.1%}",
            flush=True,
        )
    print_parts(X, D, k, statistics.median(times["skdict omp"]), rounds)


def print_parts(X, D, k, seconds, rounds):
    """What of skdict's OMP two products take, and how fast it is in the rest."""
    from skdict.kernels.dense import gram

    (n, _), m = X.shape, len(D)
    spent = {}
    for _ in range(rounds):
        for name, call in (("product", lambda: X @ D.T), ("Gram", lambda: gram(D))):
            begin = time.perf_counter()
            call()
            spent.setdefault(name, []).append(time.perf_counter() - begin)
    parts = {name: statistics.median(each) / n for name, each in spent.items()}
    rest = seconds / n - sum(parts.values())
    entries = m * k * k / 2 + 4 * m * k  # of the table; of it, the Gram matrix and correlations
    told = ", ".join(f"{name} {1e6 * each:.1f}" for name, each in parts.items())
    print(
        f"    parts of skdict omp: {told}, rest {1e6 * rest:.1f} us, in which {entries / 1e6:.2f} "
        f"million numbers are read: {entries * X.itemsize / rest / 1e9:.0f} GB/s, of a table of "
        f"{k * m * X.itemsize / 1024:.0f} KiB",
        flush=True,
    )


def objective(X, D, Z, alpha):
    Z = Z.toarray() if hasattr(Z, "toarray") else np.asarray(Z)
    Z, X, D = (A.astype(np.float64) for A in (Z, X, D))
    return np.sum((X - Z @ D) ** 2, axis=1) / 2 + alpha * np.abs(Z).sum(axis=1)


def lassos(case, dtype, rounds):
    from sklearn.decomposition import sparse_encode

    n, d, m, k = case
    X, D = planted(n, d, m, k, dtype, noise=NOISE)
    few = X[:200].astype(np.float64), D.astype(np.float64)
    low, high = 0.0, float(np.abs(few[0] @ few[1].T).max())
    for _ in range(8):
        alpha = (low + high) / 2
        Z = sparse_encode(*few, algorithm="lasso_cd", alpha=alpha)
        low, high = (alpha, high) if np.count_nonzero(Z) > k * len(Z) else (low, alpha)
    calls = {}
    for algorithm in ("cd", "fista"):
        fitted = LassoCoder(
            alpha=alpha, algorithm=algorithm, dictionary=D, sparse_output=True, n_jobs=1
        ).fit(X[:1])
        calls[f"skdict {algorithm}"] = lambda fitted=fitted: fitted.transform(X)
    try:
        import spams

        columns, atoms = np.asfortranarray(X.T), np.asfortranarray(D.T)
        calls["spams lasso"] = lambda: (
            spams.lasso(columns, atoms, lambda1=alpha, mode=2, numThreads=1).T
        )
    except ImportError as error:
        print(f"missing: {error}")
    calls["scikit-learn"] = lambda: sparse_encode(X, D, algorithm="lasso_cd", alpha=alpha)
    times, found = {}, {}
    for turn in range(rounds):
        for name, call in calls.items():
            if name.startswith(SLOW) and turn >= max(1, rounds // 3):
                continue
            if turn == 0:
                found[name] = call()
            begin = time.perf_counter()
            call()
            times.setdefault(name, []).append(time.perf_counter() - begin)
    reached = {name: objective(X, D, Z, alpha) for name, Z in found.items()}
    best = np.min(list(reached.values()), axis=0)
    print(f"\n{n} samples, {d} features, {m} atoms, alpha {alpha:.3g}, {dtype}, {rounds} rounds")
    print(f"    {'':18}{'us':>9}{'times':>9}{'excess':>11}{'L0':>8}")
    for name, seconds in times.items():
        ratios = [s / own for s, own in zip(seconds, times["skdict cd"], strict=False)]
        print(
            f"    {name:18}{1e6 * statistics.median(seconds) / n:9.1f}"
            f"{statistics.median(ratios):9.2f}{np.mean(reached[name] / best - 1):11.1e}"
            f"{np.count_nonzero(scipy.sparse.csr_array(found[name]).data) / n:8.1f}",
            flush=True,
        )


def rate(seconds, n_jobs, seed):
    """Samples per second, over about so many seconds, in float32."""
    X, D = planted(4000, 256, 1024, 16, np.float32, seed)
    fitted = coder(D, 16, n_jobs=n_jobs).fit(X[:1])
    fitted.transform(X)
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        fitted.transform(X)
        calls += 1
    return calls * len(X) / (time.perf_counter() - begin)


def threads(rounds, seconds=2.0):
    def processes(jobs):
        env = os.environ | {"OPENBLAS_NUM_THREADS": str(jobs), "OMP_NUM_THREADS": str(jobs)}
        command = [sys.executable, __file__, "--rate", str(seconds), str(jobs)]
        count = 2 // jobs
        started = [
            subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True, env=env)
            for seed in range(count)
        ]
        return sum(json.loads(one.communicate()[0].splitlines()[-1]) for one in started)

    rates = {jobs: [] for jobs in (1, 2)}
    for _ in range(rounds):
        for jobs, found in rates.items():
            found.append(processes(jobs))
    apart, together = (statistics.median(found) for found in rates.values())
    ratio = statistics.median(t / a for a, t in zip(*rates.values(), strict=True))
    print(
        f"\nOMP, 256 features, 1024 atoms, k 16, float32: two threads {together:,.0f} samples a "
        f"second, two processes of one thread {apart:,.0f}; ratio {ratio:.2f}",
        flush=True,
    )


def memory(field):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def large():
    n, d, m, k = LARGE
    rng = np.random.default_rng(0)
    D = rng.standard_normal((m, d), dtype=np.float32)
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    X = rng.standard_normal((n, d), dtype=np.float32)
    fitted = coder(D, k, n_jobs=None).fit(X[:1])
    fitted.transform(X[:300])  # compiles
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before, begin = memory("VmRSS"), time.perf_counter()
    codes = fitted.transform(X)
    seconds, peak = time.perf_counter() - begin, memory("VmHWM")
    print(
        f"\n{n} samples, {d} features, {m} atoms, k {k}, float32: {seconds:.0f} s, "
        f"{peak - before:.0f} MiB extra, of which codes "
        f"{(codes.data.nbytes + codes.indices.nbytes) / 2**20:.0f}",
        flush=True,
    )


def patches(images, n, rng, size=8):
    """Patches at random places, less their means, of norms of about one."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    places = [rng.integers(extent, size=n) for extent in windows.shape[:3]]
    X = windows[tuple(places)].reshape(n, -1).astype(np.float64)
    X -= X.mean(axis=1, keepdims=True)
    return X / np.sqrt(np.mean(np.sum(X**2, axis=1)))


def learners(X, seed):
    """Functions that return atoms as rows, by label."""
    m, k = 256, 5
    found = {}
    for update in ("online", "aksvd", "ksvd", "mod"):
        found[f"skdict {update}"] = lambda update=update: (
            MatchingPursuitCoder(m, k=k, dict_update=update, offset=0.0, random_state=seed)
            .fit(X)
            .components_
        )
    try:
        import spams

        columns = np.asfortranarray(X.T)
        found["spams"] = lambda: (
            spams.trainDL(
                columns,
                K=m,
                lambda1=k,
                mode=3,
                iter=1000,
                batchsize=512,
                verbose=False,
                numThreads=2,
            ).T
        )
    except ImportError as error:
        print(f"missing: {error}")
    try:
        import dictlearn

        for passes in (50, 100):
            found[f"dictlearn, {passes}"] = lambda passes=passes: (
                dictlearn.DictionaryLearning(
                    m, n_nonzero_coefs=k, max_iter=passes, random_state=seed
                )
                .fit(X)
                .components_
            )
    except ImportError as error:
        print(f"missing: {error}")
    from sklearn.decomposition import MiniBatchDictionaryLearning

    found["scikit-learn"] = lambda: (
        MiniBatchDictionaryLearning(
            m, alpha=0.1, max_iter=20, batch_size=256, transform_algorithm="omp", random_state=seed
        )
        .fit(X)
        .components_
    )
    return found


def learning(folder, seeds=3):
    with np.load(folder / "natural_whitened.npz") as stored:
        images = stored["images"].astype(np.float64)
    seconds, scores = {}, {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        X, held_out = patches(images[:8], 5000, rng), patches(images[8:], 5000, rng)
        for name, learn in learners(X, seed).items():
            if seed == 0 and name.startswith("skdict"):
                MatchingPursuitCoder(16, k=2, max_iter=1).fit(X[:200])  # compiles
            begin = time.perf_counter()
            D = learn()
            seconds.setdefault(name, []).append(time.perf_counter() - begin)
            D = D / np.maximum(np.linalg.norm(D, axis=1, keepdims=True), 1e-12)
            fitted = coder(D, 5, n_jobs=None).fit(held_out)
            found = explained_variance(
                held_out, fitted.inverse_transform(fitted.transform(held_out))
            )
            scores.setdefault(name, []).append(found)
    print(f"\n256 atoms of 5,000 patches, k 5, float64, {seeds} seeds")
    print(f"    {'':18}{'seconds':>9}{'held out':>10}{'least':>9}{'most':>9}")
    for name, found in scores.items():
        print(
            f"    {name:18}{statistics.mean(seconds[name]):9.2f}{statistics.mean(found):10.4f}"
            f"{min(found):9.4f}{max(found):9.4f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = ["pursuit", "lasso", "threads", "large", "learning"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", nargs="+", type=int, default=range(len(CASES)))
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("../shared/data"))
    parser.add_argument("--rate", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rate:
        seconds, n_jobs, seed = given.rate
        print(json.dumps(rate(float(seconds), int(n_jobs), int(seed))))
        return
    warnings.simplefilter("ignore")  # scikit-learn's about premature ends
    found = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    print(f"Python {platform.python_version()}, {', '.join(found)}")
    with threadpoolctl.threadpool_limits(1):
        for case in given.cases if "pursuit" in given.parts else ():
            for dtype in ("float32", "float64"):
                pursuits(CASES[case], dtype, given.rounds)
        for case in LASSO_CASES if "lasso" in given.parts else ():
            for dtype in ("float32", "float64"):
                lassos(case, dtype, given.rounds)
    if "threads" in given.parts:
        threads(given.rounds)
    with threadpoolctl.threadpool_limits(2):
        if "large" in given.parts:
            large()
        if "learning" in given.parts:
            learning(given.data)


if __name__ == "__main__":
    main()
