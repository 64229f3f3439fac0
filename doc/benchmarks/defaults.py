"""How far are the defaults from the best that one change of them finds, on rows held out?

    python doc/benchmarks/defaults.py [--data FOLDER] [--estimator NAME] [--data-set NAME]

Every estimator is fitted with nothing set but k or alpha, and n_components; then with one change at
a time: learning rate times 1/3 or 3, batch size times 1/4 or 4, passes times 2. A changed batch
size keeps max_iter="auto", as for a user who sets it alone. The search uses at most 6,000 rows. The
score is explained variance (TopK) or the whole objective (the penalised two), both on rows held
out; the objective is evaluated by the library, in training's units. FAILS marks what lacks more
than 0.02 of explained variance, or 3 % of the objective. Beside it, from a fit at the defaults on
the whole set: explained variance and mean L0 of its held-out rows. One seed.
"""

import argparse
import math
import pathlib
import time

import numpy as np
import scipy
import sklearn
from sklearn.datasets import load_digits

import skdict
from skdict import GatedAutoencoder, SparseAutoencoder, TopKAutoencoder, training
from skdict.encoders import Context
from skdict.metrics import mean_l0
from skdict.objective import loss_and_grad

ESTIMATORS = {"topk": TopKAutoencoder, "sparse": SparseAutoencoder, "gated": GatedAutoencoder}
COMPONENTS = {"digits": 256, "mnist": 1024, "patches": 768, "minilm": 1536, "clinc": 1024}
SPARSITY = {  # k of TopK; alpha of the other two, for a mean L0 of about 10 to 40
    "topk": {"digits": 8, "mnist": 32, "patches": 32, "minilm": 32, "clinc": 32},
    "sparse": {"digits": 1.0, "mnist": 1.0, "patches": 1.0, "minilm": 1.0, "clinc": 1.0},
    "gated": {"digits": 1.0, "mnist": 1.5, "patches": 1.0, "minilm": 2.0, "clinc": 1.5},
}
SEARCH_ROWS = 6000
HELD_OUT_ROWS = 3000  # that the search is scored on, at most
PATCHES = (40_000, 4_000)  # to train on, held out
PAST_WARMUP = Context(step=10**9)


def load(name, folder):
    """All rows to train on, in random order, and those held out: float32."""
    random = np.random.default_rng(0)
    if name == "digits":
        X = random.permutation(load_digits().data)
        rows = X[: round(0.8 * len(X))], X[round(0.8 * len(X)) :]
    elif name == "mnist":
        with np.load(folder / "mnist_12k.npz") as file:
            rows = [file[part].reshape(-1, 784) for part in ("X_train", "X_test")]
    elif name == "patches":
        with np.load(folder / "cifar10_4k.npz") as file:
            images = [file[part] for part in ("X_train", "X_test")]
        rows = [patches(some, n, random) for some, n in zip(images, PATCHES)]
    elif name == "minilm":
        rows = [np.load(folder / f"minilm_layer3_{part}.npy") for part in ("train", "test")]
    else:
        with np.load(folder / "clinc_minilm.npz") as file:
            rows = [file[part] for part in ("X_train", "X_test")]
    return [random.permutation(part).astype(np.float32) for part in rows]


def patches(images, n_patches, random, size=8):
    """Colour patches at random places of random images, as rows."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    places = [random.integers(extent, size=n_patches) for extent in windows.shape[:3]]
    return windows[tuple(places)].reshape(n_patches, -1)


def changes(model, n_rows):
    """The single changes of the defaults that the search tries, by name."""
    passes = model._n_passes(math.ceil(n_rows / model.batch_size))
    rate = model._rate(model._repetition(n_rows))
    return {
        "defaults": {},
        "rate / 3": {"learning_rate": rate / 3},
        "rate x 3": {"learning_rate": rate * 3},
        "batch / 4": {"batch_size": model.batch_size // 4},
        "batch x 4": {"batch_size": model.batch_size * 4},
        "passes x 2": {"max_iter": 2 * passes},
    }


def objective(model, X):
    """The objective of training on the rows of X, in training's units, with alpha risen."""
    center, scale = model.decoder_bias_, model.scale_  # any centre cancels
    params = training.unfold(model._fitted_params(), center, scale)
    encoder, terms = model._parts(model.components_.shape[0], scale)
    loss, _, _ = loss_and_grad(params, (X - center) / scale, encoder, terms, PAST_WARMUP)
    return float(loss)


def make(estimator, data_set, **settings):
    """An estimator with k or alpha, n_components, and `settings`."""
    name = "k" if estimator == "topk" else "alpha"
    given = {name: SPARSITY[estimator][data_set], **settings}
    return ESTIMATORS[estimator](COMPONENTS[data_set], random_state=0, n_jobs=1, **given)


def search(estimator, data_set, X, X_test):
    """Scores by name of the change, printed as they come."""
    scores = {}
    for name, settings in changes(make(estimator, data_set), len(X)).items():
        begin = time.perf_counter()
        model = make(estimator, data_set, **settings).fit(X)
        seconds = time.perf_counter() - begin
        variance = model.score(X_test)
        scores[name] = variance if estimator == "topk" else objective(model, X_test)
        print(
            f"    {name:12}{scores[name]:9.4f}   EV {variance:.4f}, "
            f"L0 {mean_l0(model.transform(X_test)):.1f}, "
            f"dead {np.mean(model.dead_latents_):.1%}, {model.n_steps_} steps, {seconds:.0f} s",
            flush=True,
        )
    return scores


def judge(estimator, scores):
    """The best change, and what the defaults lack: a difference, or a share of the best."""
    best = (max if estimator == "topk" else min)(scores, key=scores.get)
    if estimator == "topk":
        return best, scores[best] - scores["defaults"]
    return best, scores["defaults"] / scores[best] - 1


def row(estimator, data_set, folder):
    """One row of the table."""
    X, X_test = load(data_set, folder)
    scores = search(estimator, data_set, X[:SEARCH_ROWS], X_test[:HELD_OUT_ROWS])
    best, lacking = judge(estimator, scores)
    verdict = "" if lacking <= (0.02 if estimator == "topk" else 0.03) else "  FAILS"
    model = make(estimator, data_set).fit(X)
    return (
        f"{estimator:8}{data_set:9}{SPARSITY[estimator][data_set]:5}{COMPONENTS[data_set]:6}"
        f"{scores['defaults']:10.4f}{scores[best]:10.4f}  {best:11}"
        f"{lacking:8.4f}{len(X):8}{model.score(X_test):8.4f}"
        f"{mean_l0(model.transform(X_test)):7.1f}{verdict}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("../shared/data"))
    parser.add_argument("--estimator", choices=ESTIMATORS, action="append")
    parser.add_argument("--data-set", choices=COMPONENTS, action="append")
    given = parser.parse_args()
    print(
        f"skdict {skdict.__version__}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"scikit-learn {sklearn.__version__}; score: explained variance (topk), objective (others)"
    )
    heading = (
        f"{'':17}{'k, α':>5}{'n':>6}{'defaults':>10}{'best':>10}  {'found by':11}"
        f"{'lacking':>8}{'rows':>8}{'EV':>8}{'L0':>7}"
    )
    rows = []
    for estimator in given.estimator or ESTIMATORS:
        for data_set in given.data_set or COMPONENTS:
            rows.append(row(estimator, data_set, given.data))
            print(heading, rows[-1], sep="\n", flush=True)
    print("", heading, *rows, sep="\n")


if __name__ == "__main__":
    main()
