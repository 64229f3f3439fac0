"""Training from files that are larger than the memory allowed, against rows in memory.

    python doc/benchmarks/streaming.py [--gigabytes 8] [--rounds 2] [--folder FOLDER]

Makes float16 rows of 1,024 features in FOLDER (by default a temporary one; deleted afterwards), as
one ``.npy`` file to be mapped and as sixteen shards. Then it fits `TopKAutoencoder` (2,048
components, k = 32, one shuffled pass) on the rows in memory, on the map and on the shards, each in
a process of its own and in turn, after the files were read once so that they are in the page cache.
Each process tells rows per second of `fit` and its largest resident memory beyond what it held
before, which was after a small fit; that includes the model and its moments, told beside it.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scaling import forget_peak, resident
from topk_step import data, versions

from skdict import TopKAutoencoder
from skdict.checkpoints import Checkpoints
from skdict.sources import open_source

FEATURES, COMPONENTS, K, BATCH = 1024, 2048, 32, 2048
SHARDS, BASE = 16, 65_536
KINDS = ("memory", "map", "shards")


def make_rows(folder, n_rows):
    """`n_rows` of float16 in `folder`, twice."""
    base = data(BASE, FEATURES, 8192, K, np.random.default_rng(0)).astype(np.float16)
    rng = np.random.default_rng(1)
    whole = np.lib.format.open_memmap(
        folder / "rows.npy", "w+", dtype=np.float16, shape=(n_rows, FEATURES)
    )
    for start in range(0, n_rows, BASE):
        size = min(BASE, n_rows - start)
        rows = base[rng.permutation(BASE)[:size]]
        rows *= rng.uniform(0.5, 1.5, (size, 1)).astype(np.float16)
        whole[start : start + size] = rows
    (folder / "shards").mkdir()
    for i, shard in enumerate(np.array_split(whole, SHARDS)):
        np.save(folder / "shards" / f"{i:02}.npy", shard)


def warm(folder):
    """Read all files once."""
    for path in sorted(folder.rglob("*.npy")):
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass


def measure(kind, folder):
    """Fit in this process: seconds, and MiB resident."""
    if kind == "memory":
        X = np.load(folder / "rows.npy")
    else:
        X = np.load(folder / "rows.npy", mmap_mode="r") if kind == "map" else folder / "shards"
    rng = np.random.default_rng(0)
    small = rng.standard_normal((4096, FEATURES)).astype(np.float16)
    TopKAutoencoder(64, k=K, max_iter=1).fit(small)  # compiles
    forget_peak()
    before = resident("VmRSS")
    sae = TopKAutoencoder(COMPONENTS, k=K, batch_size=BATCH, max_iter=1, random_state=0)
    begin = time.perf_counter()
    sae.fit(X)
    seconds = time.perf_counter() - begin
    peak = resident("VmHWM")
    explained = float(sae.history_["explained_variance"][-1])
    bits = [float(sae.components_.sum(dtype=np.float64)), float(sae.loss_curve_[-1])]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    reading = {} if kind == "memory" else {"GB/s": reading_alone(X)}
    return {
        **reading, "seconds": seconds, "before": before, "peak": peak, "bits": bits,
        "explained": explained, "read": usage.ru_inblock / 2048,
    }  # fmt: skip


def reading_alone(X, n_groups=20):
    """GB per second of one thread that fills mixing buffers."""
    source = open_source(X, "reading")
    n_bytes, begin = 0, time.perf_counter()
    for i, (array, _) in enumerate(source.chunks(source.order(np.random.default_rng(0)))):
        n_bytes += array.nbytes
        if i + 1 == n_groups:
            break
    return n_bytes / (time.perf_counter() - begin) / 1e9


def in_a_process(kind, folder):
    command = [sys.executable, __file__, "--run", kind, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def saving(folder, n_bytes=2**30):
    """GB per second of a checkpoint, flushed to the disk; and of verifying and reading it."""
    tree, step = {"matrix": np.random.default_rng(0).random(n_bytes // 8)}, 1
    with Checkpoints(folder / "checkpoints", 1, "saving") as checkpoints:
        begin = time.perf_counter()
        checkpoints.save(step, tree, {})
        saved = time.perf_counter()
        checkpoints.last({})
        read = time.perf_counter()
    rates = n_bytes / 1e9 / (saved - begin), n_bytes / 1e9 / (read - saved)
    print(
        f"a checkpoint of 1 GiB: saved at {rates[0]:.2f} GB/s, verified and read at {rates[1]:.2f}"
    )


def report(results, n_rows):
    state = 3 * 2 * COMPONENTS * FEATURES * 4 / 2**20  # two matrices with two moments each
    print(f"\n{n_rows} rows x {FEATURES} float16 = {n_rows * FEATURES * 2 / 1e9:.2f} GB")
    print(f"{COMPONENTS} components, k = {K}, batch {BATCH}; model and moments {state:.0f} MiB")
    print("             krows/s   of memory   MiB before   MiB more   read from disk   explained")
    usual = statistics.median(n_rows / r["seconds"] for r in results["memory"])
    for kind in KINDS:
        rates = [n_rows / r["seconds"] for r in results[kind]]
        more = max(r["peak"] - r["before"] for r in results[kind])
        before = max(r["before"] for r in results[kind])
        read = max(r["read"] for r in results[kind])
        rate, explained = statistics.median(rates), results[kind][0]["explained"]
        print(
            f"{kind:10} {rate / 1e3:9.2f} {rate / usual:10.1%} {before:12.0f} {more:10.0f} "
            f"{read:12.0f} MiB {explained:11.4f}"
        )
        print(f"{'':10} each round: {', '.join(f'{rate / 1e3:.2f}' for rate in rates)}")
        if "GB/s" in results[kind][0]:
            speed = statistics.median(r["GB/s"] for r in results[kind])
            print(f"{'':10} reading alone, in shuffled order: {speed:.2f} GB/s")
    same = {str(r["bits"]) for kind in KINDS for r in results[kind]}
    print(f"components and loss are {'the same' if len(same) == 1 else 'NOT THE SAME'} in all")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--run", choices=KINDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(measure(given.run, given.folder)))
        return
    print(versions())
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        n_rows = int(given.gigabytes * 2**30 / (2 * FEATURES))
        make_rows(folder, n_rows)
        results = {kind: [] for kind in KINDS}
        for _ in range(given.rounds):
            for kind in KINDS:
                warm(folder)
                results[kind].append(in_a_process(kind, folder))
        report(results, n_rows)
        saving(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
