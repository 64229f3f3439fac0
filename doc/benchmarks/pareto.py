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
            f"{estimator.__name__:18} alpha {alpha:3.1f}  L0 {rows[-1][0]:6.1f}  "
            f"explained variance {rows[-1][1]:.4f}  gamma {gamma:.4f}  dead {dead:.2%}  "
            f"fit {seconds:.0f} s",
            flush=True,
        )
    return np.array(sorted(rows))


def main():
    folder = pathlib.Path(os.environ.get("SKDICT_DATA", "../shared/data"))
    X = np.load(folder / "minilm_layer3_train.npy").astype(np.float32)
    X_test = np.load(folder / "minilm_layer3_test.npy").astype(np.float32)
    print(f"skdict {skdict.__version__}, numpy {np.__version__}, {X.shape[0]} rows")
    tables = {e: table(e, alphas, X, X_test) for e, alphas in ALPHAS.items()}
    print(f"\n{'at mean L0':>12} " + "".join(f"{e.__name__:>32}" for e in tables))
    for level in LEVELS:
        cells = []
        for rows in tables.values():
            if not rows[0, 0] <= level <= rows[-1, 0]:
                raise SystemExit(f"L0 {level} is outside of the table; widen ALPHAS")
            at = [np.interp(np.log(level), np.log(rows[:, 0]), rows[:, i]) for i in (1, 2)]
            cells.append(f"variance {at[0]:.3f}, gamma {at[1]:.3f}")
        print(f"{level:>12} " + "".join(f"{cell:>32}" for cell in cells))


if __name__ == "__main__":
    main()
