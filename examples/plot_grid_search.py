"""
Sparse features in a pipeline, and how many of them a classifier needs
======================================================================

``Pipeline([scaler, autoencoder, LogisticRegression])`` on handwritten digits, with a grid search
over k of a :class:`skdict.TopKAutoencoder` and over alpha of a :class:`skdict.SparseAutoencoder`.

The search goes through the accuracy of the classifier, and takes the sparsest code whose accuracy
is within a hundredth of the best. Explained variance on its own would be of no use as a criterion:
the denser the code, the more it explains, so it always chooses the densest code of the grid, the
largest k and the smallest alpha. The table shows both side by side.

    python examples/plot_grid_search.py [--figure grid_search.png]

takes about a minute on two cores.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from skdict import SparseAutoencoder, TopKAutoencoder
from skdict.metrics import mean_l0


def accuracy(pipeline, X, y):
    return pipeline.score(X, y)


def explained_variance(pipeline, X, y):
    """Of the autoencoder on what reaches it."""
    return pipeline[1].score(pipeline[:1].transform(X))


def l0(pipeline, X, y):
    return mean_l0(pipeline[:2].transform(X))


SCORING = {"accuracy": accuracy, "explained_variance": explained_variance, "l0": l0}
N_FOLDS = 3


def sparsest_within_a_hundredth(results):
    """Index of the candidate to refit."""
    accuracy = results["mean_test_accuracy"]
    good_enough = accuracy >= accuracy.max() - 0.01
    return int(np.where(good_enough, results["mean_test_l0"], np.inf).argmin())


def search(autoencoder, grid, X, y):
    pipeline = Pipeline(
        [
            ("scale", MinMaxScaler()),
            ("codes", autoencoder),
            ("classify", LogisticRegression(max_iter=2000)),
        ]
    )
    refit = sparsest_within_a_hundredth
    found = GridSearchCV(pipeline, grid, scoring=SCORING, refit=refit, cv=N_FOLDS, n_jobs=2)
    return found.fit(X, y)


def show(name, found):
    """Print a table; return its columns and the chosen row."""
    results = found.cv_results_
    values = np.array([next(iter(params.values())) for params in results["params"]], dtype=float)
    columns = {key: results[f"mean_test_{key}"] for key in SCORING}
    print(f"\n{name:>8}  accuracy  explained variance  mean L0")
    for i, value in enumerate(values):
        marks = ["chosen"] if i == found.best_index_ else []
        if columns["explained_variance"].argmax() == i:
            marks.append("explained variance would choose this")
        print(
            f"{value:8g}  {columns['accuracy'][i]:8.3f}  {columns['explained_variance'][i]:18.3f}"
            f"  {columns['l0'][i]:7.1f}  {'; '.join(marks)}"
        )
    return values, columns, found.best_index_


def draw(tables, path):
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    for axis, (name, (values, columns, chosen)) in zip(axes, tables.items(), strict=True):
        for key, marker in (("accuracy", "o"), ("explained_variance", "s")):
            axis.plot(values, columns[key], marker=marker, label=key.replace("_", " "))
        accuracy = columns["accuracy"][chosen]
        axis.plot(values[chosen], accuracy, "*", ms=16, color="black", label="chosen")
        axis.set(xlabel=name, xscale="log", title=f"digits, search over {name}")
        axis.set_xticks(values, [f"{value:g}" for value in values])
        axis.minorticks_off()
    axes[0].set_ylabel("mean over the folds")
    axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--figure", default="grid_search.png", help="where the figure goes")
    arguments = parser.parse_args()

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    shared = {"n_components": 256, "max_iter": 100, "random_state": 0}
    topk = search(TopKAutoencoder(**shared), {"codes__k": [2, 4, 8, 16, 32, 64]}, X_train, y_train)
    tables = {"k": show("k", topk)}
    relu = search(
        SparseAutoencoder(**shared),
        {"codes__alpha": [0.1, 0.2, 0.4, 0.8, 1.6]},
        X_train,
        y_train,
    )
    tables["alpha"] = show("alpha", relu)
    for name, found in (("TopK", topk), ("ReLU", relu)):
        print(f"test accuracy, {name}: {found.best_estimator_.score(X_test, y_test):.3f}")
    draw(tables, arguments.figure)
    print(f"figure: {arguments.figure}")


if __name__ == "__main__":
    main()
