"""Explained variance and shrinkage against mean L0: gated and ReLU autoencoders over alpha.

    SKDICT_DATA=folder python doc/benchmarks/pareto.py

Token activations of MiniLM, layer 3 (minilm_layer3_train.npy to train on, minilm_layer3_test.npy
held out, in the folder $SKDICT_DATA), 2048 latents, six passes, everything else at its default. At
mean L0 of 16, 32 and 64 the figures are read off the table: linear in log L0 between neighbours.
"""

import os
import pathlib
import time

import numpy as np

import skdict
from skdict import GatedAutoencoder, SparseAutoencoder
from skdict.metrics import mean_l0, shrinkage

ALPHAS = {
    SparseAutoencoder: (0.7, 1.0, 1.4, 2.0, 2.8),
    GatedAutoencoder: (1.0, 1.4, 2.0, 2.8, 4.0),
}
LEVELS = (16, 32, 64)


def table(estimator, alphas, X, X_test):
    rows = []
    for alpha in alphas:
        begin = time.perf_counter()
        model = estimator(2048, alpha=alpha, max_iter=6, random_state=0).fit(X)
        seconds = time.perf_counter() - begin
        codes = model.transform(X_test)
        gamma = shrinkage(X_test, model.inverse_transform(codes))
        rows.append((mean_l0(codes), model.score(X_test), gamma))
        dead = np.mean(model.dead_latents_)
        print(
            f"{estimator.__name__:17}{alpha:6.1f}{rows[-1][0]:8.1f}{rows[-1][1]:10.4f}"
            f"{gamma:8.4f}{dead:8.2%}{seconds:8.0f}",
            flush=True,
        )
    return np.array(sorted(rows))


def main():
    folder = pathlib.Path(os.environ.get("SKDICT_DATA", "../shared/data"))
    X = np.load(folder / "minilm_layer3_train.npy").astype(np.float32)
    X_test = np.load(folder / "minilm_layer3_test.npy").astype(np.float32)
    print(f"skdict {skdict.__version__}, numpy {np.__version__}, {X.shape[0]} rows")
    print(f"{'':17}{'alpha':>6}{'L0':>8}{'variance':>10}{'gamma':>8}{'dead':>8}{'fit, s':>8}")
    tables = {e: table(e, alphas, X, X_test) for e, alphas in ALPHAS.items()}
    print(f"\nat mean L0{'':7}{'L0':>6}{'':8}{'variance':>10}{'gamma':>8}")
    for level in LEVELS:
        for estimator, rows in tables.items():
            if not rows[0, 0] <= level <= rows[-1, 0]:
                raise SystemExit(f"L0 {level} is outside of the table; widen ALPHAS")
            at = [np.interp(np.log(level), np.log(rows[:, 0]), rows[:, i]) for i in (1, 2)]
            print(f"{estimator.__name__:17}{level:6}{'':8}{at[0]:10.3f}{at[1]:8.3f}")


if __name__ == "__main__":
    main()
