"""A TopK training step by the number of components and by the batch: time and memory.

    python doc/benchmarks/scaling.py [--rounds 5]

For each size a process of its own fits an estimator (one pass of eight batches) and tells the
largest resident memory; then it times steps and the encoder's product in turn, as `topk_step.py`
does. 384 features, k = 32, float32.
"""

import argparse
import json
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
from topk_step import data, in_turn, stepper, versions

from skdict import TopKAutoencoder

FEATURES, K = 384, 32
COMPONENTS = [1024 << i for i in range(8)]
BATCHES = [256 << i for i in range(7)]
FIXED_BATCH, FIXED_COMPONENTS = 1024, 6144
BATCHES_OF_DATA = 8


def resident(kind):
    """Resident memory in MiB: "VmRSS" now, or "VmHWM", the largest since `forget_peak` (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{kind}:")[1].split()[0]) / 1024


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(batch, m, rounds):
    """Median ms of product and step; MiB resident before and at the worst of a fit."""
    rng = np.random.default_rng(0)
    X = data(BATCHES_OF_DATA * batch, FEATURES, 4096, K, rng)
    TopKAutoencoder(64, k=K, max_iter=1).fit(X[:256])  # compiles
    forget_peak()
    before = resident("VmRSS")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TopKAutoencoder(m, k=K, batch_size=batch, max_iter=1, random_state=0).fit(X)
    after = resident("VmHWM")
    step, _ = stepper(X, batch, m, K)
    W = rng.standard_normal((m, FEATURES), dtype=np.float32)
    Z = np.empty((batch, m), dtype=np.float32)

    def product():
        np.matmul(X[:batch], W.T, out=Z)

    times = in_turn({"product": product, "step": step}, rounds)
    product, step = (1e3 * statistics.median(times[name]) for name in ("product", "step"))
    return {"product": product, "step": step, "before": before, "after": after}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", help=argparse.SUPPRESS)  # what a process of its own measures
    arguments = parser.parse_args()
    if arguments.size:
        print(json.dumps(measure(*json.loads(arguments.size), arguments.rounds)))
        return
    print(versions())
    sizes = [(FIXED_BATCH, m) for m in COMPONENTS] + [(n, FIXED_COMPONENTS) for n in BATCHES]
    print(f"\n{FEATURES} features, k {K}. ns: by sample and component. MiB: peak of a fit; what it")
    print("adds to the data and the imported libraries; the weights and their moments.\n")
    print(
        " batch components |   ms product    step ratio |  ns product   step |    MiB  added state"
    )
    for batch, m in sizes:
        command = [sys.executable, __file__, "--rounds", str(arguments.rounds)]
        command += ["--size", json.dumps([batch, m])]
        r = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        product, step, pairs = r["product"], r["step"], 1e6 / (batch * m)
        print(
            f"{batch:6} {m:10} | {product:11.1f} {step:7.1f} {step / product:5.2f} |"
            f" {pairs * product:11.2f} {pairs * step:6.2f} |"
            f" {r['after']:6.0f} {r['after'] - r['before']:6.0f} {6 * m * FEATURES / 2**18:5.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
