"""
Choosing alpha and k by two scores: the Pareto front and the rules for refit
============================================================================

``Pipeline([scaler, autoencoder, LogisticRegression])`` on handwritten digits, with one grid search
over k of a :class:`skdict.TopKAutoencoder` and over alpha of a :class:`skdict.SparseAutoencoder`.

Explained variance alone is of no use as a criterion: the denser the code, the more it explains, so
it always chooses the densest candidate. Hence two scores, explained variance and mean L0,
from one encode of each fold (:func:`skdict.metrics.codes_scorer`).
:func:`skdict.model_selection.pareto_front` says which candidates nobody beats on both, and three
rules choose among them: :func:`skdict.model_selection.sparsest_within` five hundredths of the best
explained variance (the one that is refitted), the same within one hundredth of the best accuracy of
the classifier, and :func:`skdict.model_selection.best_at_most` eight latents a digit.

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
from skdict.metrics import codes_scorer
from skdict.model_selection import best_at_most, pareto_front, sparsest_within

SHARED = {"n_components": 256, "max_iter": 100, "random_state": 0}
GRID = [
    {"codes": [TopKAutoencoder(**SHARED)], "codes__k": [2, 4, 8, 16, 32, 64]},
    {"codes": [SparseAutoencoder(**SHARED)], "codes__alpha": [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]},
]
RULES = {
    "sparsest within 0.05 of the best explained variance": sparsest_within(0.05),
    "sparsest within 0.01 of the best accuracy": sparsest_within(0.01, quality="accuracy"),
    "best explained variance with at most 8 latents": best_at_most(8),
}
SCORES = ("explained_variance", "neg_mean_l0", "gini", "accuracy")

scores_of_codes = codes_scorer(["gini"])


def scoring(pipeline, X, y):
    return {**scores_of_codes(pipeline, X), "accuracy": pipeline.score(X, y)}


def name_of(candidate):
    name = "k" if "codes__k" in candidate else "alpha"
    return f"{name} = {candidate[f'codes__{name}']:g}"


def show(results, chosen):
    """Print one line per candidate, the sparsest first."""
    columns = {score: results[f"mean_test_{score}"] for score in SCORES}
    front = pareto_front(results)
    print(f"{'':12}  mean L0  explained variance   Gini  accuracy  on the front")
    for i in np.argsort(-columns["neg_mean_l0"]):
        marks = [rule for rule, index in chosen.items() if index == i]
        if columns["explained_variance"].argmax() == i:
            marks.append("explained variance would choose this")
        print(
            f"{name_of(results['params'][i]):12}  {-columns['neg_mean_l0'][i]:7.1f}  "
            f"{columns['explained_variance'][i]:18.3f}  {columns['gini'][i]:5.3f}  "
            f"{columns['accuracy'][i]:8.3f}  {'yes' if front[i] else 'no ':3}"
            f"{''.join(f'  <- {mark}' for mark in marks)}"
        )


def draw(results, chosen, path):
    l0 = -results["mean_test_neg_mean_l0"]
    is_topk = np.array(["codes__k" in candidate for candidate in results["params"]])
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for axis, score in zip(axes, ("explained_variance", "accuracy"), strict=True):
        values = results[f"mean_test_{score}"]
        if score == "explained_variance":
            front = np.flatnonzero(pareto_front(results))
            front = front[np.argsort(l0[front])]
            axis.plot(l0[front], values[front], color="grey", lw=1, label="Pareto front")
        axis.plot(l0[is_topk], values[is_topk], "o", label="TopK, over k")
        axis.plot(l0[~is_topk], values[~is_topk], "s", label="ReLU, over alpha")
        for i, candidate in enumerate(results["params"]):
            place = ((-6, 8), "right") if is_topk[i] else ((6, -13), "left")
            style = {"xytext": place[0], "ha": place[1], "textcoords": "offset points"}
            value = name_of(candidate).split()[-1]
            axis.annotate(value, (l0[i], values[i]), fontsize=8, **style)
        for (rule, i), marker in zip(chosen.items(), "*PX", strict=True):
            if rule.endswith("accuracy") == (score == "accuracy"):
                axis.scatter(
                    l0[i], values[i], 260, marker=marker, ec="black", fc="none", label=rule
                )
        axis.set(xlabel="mean L0", ylabel=f"{score.replace('_', ' ')}, mean of folds")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.margins(0.12)
        axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), fontsize=8)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--figure", default="grid_search.png", help="where the figure goes")
    arguments = parser.parse_args()

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    pipeline = Pipeline(
        [
            ("scale", MinMaxScaler()),
            ("codes", TopKAutoencoder(**SHARED)),
            ("classify", LogisticRegression(max_iter=2000)),
        ]
    )
    refit = next(iter(RULES.values()))
    search = GridSearchCV(pipeline, GRID, scoring=scoring, refit=refit, cv=3, n_jobs=2)
    search.fit(X_train, y_train)
    chosen = {rule: choose(search.cv_results_) for rule, choose in RULES.items()}
    show(search.cv_results_, chosen)
    print(f"\nrefitted: {name_of(search.best_params_)}")
    print(f"its accuracy on digits held out: {search.best_estimator_.score(X_test, y_test):.3f}")
    draw(search.cv_results_, chosen, arguments.figure)
    print(f"figure: {arguments.figure}")


if __name__ == "__main__":
    main()
