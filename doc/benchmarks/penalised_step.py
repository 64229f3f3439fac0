"""Training steps of ReLU and gated autoencoders against the encoder's product, from the first on.

    python doc/benchmarks/penalised_step.py [--data FOLDER]

On token activations of MiniLM. Codes begin dense, so the first steps need dense products; dense
steps are timed once each, for L0 falls meanwhile. Then alpha is moved, every ten steps, to where
mean L0 is near 32, and held where it is; "settled" steps are timed after two hundred steps more,
in turn with the product.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from topk_step import in_turn, versions

from skdict import GatedAutoencoder, SparseAutoencoder, training
from skdict.kernels.threads import use_threads

CASES = [  # estimator, components, batch
    (SparseAutoencoder, 2048, 2048),
    (GatedAutoencoder, 2048, 2048),
    (SparseAutoencoder, 6144, 2048),
    (GatedAutoencoder, 6144, 2048),
    (SparseAutoencoder, 2048, 256),
    (GatedAutoencoder, 2048, 256),
]
L0 = 32
FIRST = 5  # dense steps
MOVING, HELD = 1500, 200  # steps while alpha moves, less and less, and while it does not
ROUNDS = 15


def stepper(estimator, X):
    """A function that makes one training step on the next batch, as `fit` would; returns its L0.

    With the alpha that the estimator has by then.
    """
    estimator.n_features_in_ = X.shape[1]
    rng = np.random.default_rng(0)
    state = estimator._start(X[: training.FIRST_ROWS], X[:0], rng, warm=False)
    n = estimator.batch_size
    settings = estimator._settings(estimator._repetition(X.shape[0]), X.shape[0])
    order, position = rng.permutation(X.shape[0]), 0

    def step():
        nonlocal position
        rows = order[position : position + n]
        position = (position + n) % (X.shape[0] - n)
        encoder, terms = estimator._parts(estimator.n_components, state.scale)
        return training.train_step(
            state, training.batch_of([(X, rows)], state), encoder, terms, settings
        )[1]

    return step


def run(cls, m, batch, X):
    estimator = cls(m, alpha=1.0, batch_size=batch, random_state=0)
    W = np.random.default_rng(1).standard_normal((m, X.shape[1]), dtype=np.float32)
    Z = np.empty((batch, m), dtype=np.float32)

    def product():
        np.matmul(X[:batch], W.T, out=Z)

    with use_threads(None):
        step = stepper(estimator, X)
        step()  # compiles, allocates
        first, first_l0 = [], []
        for _ in range(FIRST):
            begin = time.perf_counter()
            first_l0.append(step())
            first.append(time.perf_counter() - begin)
        for _ in range(estimator.warmup):
            step()
        for turn in range(MOVING // 10):
            exponent = 0.2 * (1 - 10 * turn / MOVING)
            estimator.alpha *= (statistics.mean(step() for _ in range(10)) / L0) ** exponent
        for _ in range(HELD):
            step()
    l0 = []
    times = in_turn({"product": product, "step": lambda: l0.append(step())}, ROUNDS)
    base = statistics.median(times["product"])
    ratio = statistics.median(s / p for s, p in zip(times["step"], times["product"], strict=True))
    print(
        f"{cls.__name__:18} {estimator.alpha:5.2f} {m:10} {batch:6} {1e3 * base:9.1f} | "
        f"{statistics.median(first) / base:6.2f} {statistics.median(first_l0):7.0f} | "
        f"{ratio:6.2f} {statistics.median(l0):6.1f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    X = np.load(arguments.data / "minilm_layer3_train.npy").astype(np.float32)
    print(versions())
    print(f"\n{'':53} |  first steps   |   settled")
    print("                   alpha components  batch ms product |  ratio      L0 |  ratio     L0")
    for case in CASES:
        run(*case, X)


if __name__ == "__main__":
    main()
