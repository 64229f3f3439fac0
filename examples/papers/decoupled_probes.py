"""How well latents stand for classes: the probes of ``decoupled_encoding.py``.

Sparse probing after Gurnee et al., "Finding Neurons in a Haystack" (arXiv 2305.01610): a logistic
regression on the few latents whose means differ most.
"""

import numpy as np
from scipy.special import expit
from sklearn.linear_model import RidgeClassifier

WIDTHS = (1, 2, 5, 10)  # latents a probe may read
OTHERS = 300  # samples of other classes that a probe learns from


def best_f1(scores, labels, test_scores, test_labels):
    """F1 on the test set of the score and threshold that are best on the training set, by class.

    A column of `scores` says "this class" where it exceeds a threshold of at least zero.
    """
    n_classes = int(labels.max()) + 1
    size = np.bincount(labels, minlength=n_classes)
    best = np.full((3, n_classes), -1.0)  # F1, column, threshold
    for j, column in enumerate(scores.T):
        rows = np.flatnonzero(column > 0)
        rows = rows[np.argsort(-column[rows])]
        if not rows.size:
            continue
        hits = np.cumsum(labels[rows, None] == np.arange(n_classes), axis=0)
        f1 = 2 * hits / (np.arange(1, rows.size + 1)[:, None] + size)
        following = np.append(column[rows[1:]], 0.0)
        f1[column[rows] == following] = -1.0  # no threshold parts the two
        at = f1.argmax(axis=0)
        value = f1[at, np.arange(n_classes)]
        better = value > best[0]
        threshold = (column[rows] + following)[at] / 2
        best[:, better] = np.stack([value, np.full(n_classes, j), threshold])[:, better]
    said = test_scores[:, best[1].astype(int)] > best[2]
    true = test_labels[:, None] == np.arange(n_classes)
    return 2 * np.sum(said & true, axis=0) / (np.sum(said, axis=0) + np.sum(true, axis=0))


def strongest(Z, labels, n):
    """The n latents whose means differ most between each class and the others: (classes, n)."""
    belongs = (labels[:, None] == np.arange(labels.max() + 1)).astype(Z.dtype)
    inside, size = belongs.T @ Z, belongs.sum(axis=0)[:, None]
    outside = (Z.sum(axis=0) - inside) / (labels.size - size)
    return np.argsort(-np.abs(inside / size - outside), axis=1)[:, :n]


def logistic(Z, y, rounds=12):
    """Coefficients, bias last, of balanced logistic regressions by Newton's method.

    One for each of ``Z[c]``, of shape (n_samples, n_features), and ``y[c]``; the penalty is half
    the squared norm of the coefficients, as in scikit-learn with C=1.
    """
    Z = np.concatenate([Z, np.ones_like(Z[..., :1])], axis=-1).astype(np.float64)
    share = y.mean(axis=1, keepdims=True)
    weight = np.where(y, 0.5 / share, 0.5 / (1 - share))
    penalty = np.diag(np.append(np.ones(Z.shape[-1] - 1), 1e-9))
    w = np.zeros((Z.shape[0], Z.shape[-1], 1))
    for _ in range(rounds):
        p = expit(Z @ w)[..., 0]
        gradient = Z.mT @ (weight * (p - y))[..., None] + penalty @ w
        hessian = Z.mT @ (Z * (weight * p * (1 - p))[..., None]) + penalty
        w -= np.linalg.solve(hessian, gradient)
    return w[..., 0]


def probe(Z, labels, Z_test, test_labels, columns, seed):
    """Balanced accuracy of a logistic regression on the `columns` of each class, their mean."""
    rng, scale = np.random.default_rng(seed), Z.std(axis=0) + 1e-12
    classes = np.arange(len(columns))
    rows = []
    for label in classes:
        others = rng.choice(np.flatnonzero(labels != label), OTHERS, replace=False)
        rows.append(np.concatenate([np.flatnonzero(labels == label), others]))
    rows = np.stack(rows)  # classes are of equal size
    Z, Z_test = Z / scale, Z_test / scale
    chosen = Z[rows[:, :, None], columns[:, None, :]]
    w = logistic(chosen, labels[rows] == classes[:, None])
    accuracies = []
    for label, (*coefficients, bias) in enumerate(w):
        said = Z_test[:, columns[label]] @ coefficients + bias > 0
        true = test_labels == label
        accuracies.append((np.mean(said[true]) + np.mean(~said[~true])) / 2)
    return float(np.mean(accuracies))


def probes(Z, labels, Z_test, test_labels, seed):
    """Mean over classes of the best F1 of a latent, and of the accuracy of probes by width."""
    found = {"f1": float(np.mean(best_f1(Z, labels, Z_test, test_labels)))}
    ranked = strongest(Z, labels, max(WIDTHS))
    for width in WIDTHS:
        found[width] = probe(Z, labels, Z_test, test_labels, ranked[:, :width], seed)
    return found


def raw_probes(X, y, X_test, y_test):
    """What the input itself tells: its best coordinate, a few of them, and all."""
    both, both_test = np.hstack([X, -X]), np.hstack([X_test, -X_test])
    found = probes(both, y, both_test, y_test, seed=0)
    everything = np.tile(np.arange(X.shape[1]), (int(y.max()) + 1, 1))
    found["all"] = probe(X, y, X_test, y_test, everything, seed=0)
    ridge = RidgeClassifier().fit(X, y)
    scores, test_scores = (1 + ridge.decision_function(rows) for rows in (X, X_test))
    own = []
    for j in range(scores.shape[1]):
        is_label, test_is_label = (np.equal(labels, j).astype(int) for labels in (y, y_test))
        own.append(best_f1(scores[:, [j]], is_label, test_scores[:, [j]], test_is_label)[1])
    return {**found, "all f1": float(np.mean(own))}
