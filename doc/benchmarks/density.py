"""Sparse against dense products of ReLU codes by density: everything in a step but the encoder.

    python doc/benchmarks/density.py

Decides `skdict.encoders.DENSE_FROM`, the density from which the dense products are used.
"""

import statistics
import time

import numpy as np
from scipy.stats import norm

import skdict
from skdict import codes, encoders
from skdict.autoencoders.relu import ReLU
from skdict.kernels.threads import use_threads

SHAPES = ((256, 64, 256), (256, 384, 2048), (2048, 384, 2048))
DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
KINDS = {"sparse": True, "dense": False}


def after_product(U, X, D, params, gradient, sparse):
    if sparse:
        U = encoders.positive_entries(U, params["encoder_bias"], U.shape[1])
    _, Z = ReLU().forward(U, params, encoders.INFERENCE)
    residual = codes.decode(Z, D) - X
    codes.add_outer(gradient, Z, residual)
    d_heads = {"codes": codes.codes_gradient(Z, D, residual)}
    d_U, _ = ReLU().backward(d_heads, Z, params)
    codes.add_outer(gradient, d_U[0], X)


def measure(n, d, m, density, rng):
    U = rng.standard_normal((n, m), dtype=np.float32)
    X = rng.standard_normal((n, d), dtype=np.float32)
    D = rng.standard_normal((m, d), dtype=np.float32)
    params = {"encoder_bias": np.full(m, norm.ppf(density), dtype=np.float32)}
    gradient = np.zeros_like(D)
    times = {kind: [] for kind in KINDS}
    for _ in range(8):
        for kind, sparse in KINDS.items():
            with use_threads(None):
                begin = time.perf_counter()
                after_product(U, X, D, params, gradient, sparse)
                times[kind].append(time.perf_counter() - begin)
    return statistics.median(times["sparse"][1:]) / statistics.median(times["dense"][1:])


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    print(f"skdict {skdict.__version__}, numpy {np.__version__}; time sparse / dense")
    print(f"{'batch, features, components':30}" + "".join(f"{p:>8}" for p in DENSITIES))
    for shape in SHAPES:
        ratios = [measure(*shape, density, rng) for density in DENSITIES]
        print(f"{shape!s:30}" + "".join(f"{ratio:8.2f}" for ratio in ratios))
