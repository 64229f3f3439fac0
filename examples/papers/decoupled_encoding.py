"""
Encoding apart from learning: does pursuit help on the dictionary of an autoencoder?
====================================================================================

Six estimators learn a dictionary each; then nine encoders code held-out rows with each of the six,
with as many non-zeros in every row as the estimator's own encoder uses. O'Neill, Gumran and Klindt,
"Compute Optimal Inference and Provable Amortisation Gap in Sparse Autoencoders" (arXiv 2411.13117),
ask the same in section 4 with "inference-time optimisation": an encoder of one layer cannot find
the best codes, but is what it loses worth a solver?

Two data sets: token activations that come with skdict, for explained variance, agreement and time;
and sentence vectors with 150 labelled intents (CLINC150, read from ``--data``), on which further
dictionaries are learned, for how well a latent stands for an intent.

    python examples/papers/decoupled_encoding.py [--full] [--seeds 3] [--output doc/papers]
"""

import math
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from decoupled_probes import WIDTHS, probes, raw_probes
from report import arguments, mean_interval, reported
from scipy.optimize import nnls
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from skdict import (
    GatedAutoencoder,
    LassoCoder,
    MatchingPursuitCoder,
    SparseAutoencoder,
    ThresholdCoder,
    TopKAutoencoder,
)
from skdict.datasets import load_token_activations
from skdict.metrics import explained_variance, mean_l0

PURSUITS = {"MP": "mp", "OMP": "omp", "OLS": "ols", "gradient": "gradient"}
ENCODERS = ("own", "own, refit", "top-k", *PURSUITS, "lasso", "lasso, refit")
PROBED = ("own", "own, refit", "top-k", "OMP", "OLS", "lasso")
AUTOENCODERS = ("TopK", "ReLU", "Gated")

# alpha: of the autoencoders, and of the lasso in units of the data, for about k non-zeros a row.
SMALL = {
    "tokens": {"n_components": 256, "k": 8, "alpha": (3.2, 3.9, 2.3)},
    "intents": {"n_components": 128, "k": 8, "alpha": (2.3, 2.6, 1.6)},
    "steps": (240, 120),  # of autoencoders, of coders
}
FULL = {
    "tokens": {"n_components": 768, "k": 16, "alpha": (1.93, 2.65, 1.8)},
    "intents": {"n_components": 512, "k": 16, "alpha": (1.43, 2.15, 1.42)},
    "steps": (1200, 500),
}


def learners(size, data, X, seed):
    """Estimators by name; codes of all are at least zero, as those of autoencoders are."""
    n_components, k, (relu, gated, lasso) = size[data].values()
    unit = float(np.sqrt(np.mean((X - X.mean(axis=0)) ** 2)))
    passes = [math.ceil(steps / math.ceil(X.shape[0] / 256)) for steps in size["steps"]]
    shared = {"n_components": n_components, "random_state": seed}
    trained = {**shared, "max_iter": passes[0]}
    learned = {**shared, "max_iter": passes[1], "positive": True}
    return {
        "TopK": TopKAutoencoder(k=k, **trained),
        "ReLU": SparseAutoencoder(alpha=relu, **trained),
        "Gated": GatedAutoencoder(alpha=gated, **trained),
        "OMP": MatchingPursuitCoder(k=k, **learned),
        "lasso": LassoCoder(alpha=lasso * unit, **learned),
        "top-k": ThresholdCoder(k=k, **learned),
    }


# ------------------------------------------------------------------ encoders


def coder(name, estimator, X, k=None, alpha=None):
    """An encoder over the dictionary of `estimator`, ready to transform X."""
    given = {
        "dictionary": estimator.components_,
        "offset": estimator.decoder_bias_,
        "positive": True,
    }
    if name == "lasso":
        made = LassoCoder(alpha=alpha, **given)
    elif name == "top-k":
        made = ThresholdCoder(k=k, **given)
    else:
        made = MatchingPursuitCoder(k=k, algorithm=PURSUITS[name], **given)
    return made.fit(X)


def row_by_row(name, estimator, X, counts):
    """Codes with at most ``counts[i]`` non-zeros in row i."""
    Z = np.zeros((X.shape[0], estimator.components_.shape[0]), dtype=X.dtype)
    for k in np.unique(counts[counts > 0]):
        rows = counts == k
        Z[rows] = coder(name, estimator, X, int(k)).transform(X[rows])
    return Z


def alpha_at(estimator, X, l0, rounds=20):
    """The alpha at which lasso codes of X have `l0` non-zeros a row in the mean, by bisection."""
    largest = ((X - estimator.decoder_bias_) @ estimator.components_.T).max(axis=1)
    high = float(np.log(np.median(largest)))
    low = high - np.log(50)
    for _ in range(rounds):
        alpha = float(np.exp((low + high) / 2))
        reached = mean_l0(coder("lasso", estimator, X, alpha=alpha).transform(X))
        if abs(reached - l0) <= 0.005 * l0:
            break
        low, high = (np.log(alpha), high) if reached > l0 else (low, np.log(alpha))
    return alpha


def refitted(Z, estimator, X):
    """Non-negative least squares on the support of each row."""
    refit = np.zeros_like(Z)
    D = estimator.components_.astype(np.float64)
    for i, x in enumerate((X - estimator.decoder_bias_).astype(np.float64)):
        support = np.flatnonzero(Z[i])
        if support.size:
            refit[i, support] = nnls(D[support].T, x)[0]
    return refit


def encode(names, estimator, X, alpha):
    """Codes of X by each encoder, `alpha` that of the lasso."""
    Z = {"own": estimator.transform(X)}
    counts = np.count_nonzero(Z["own"], axis=1)
    for name in names:
        if name == "lasso":
            Z[name] = coder(name, estimator, X, alpha=alpha).transform(X)
        elif name.endswith(", refit"):
            Z[name] = refitted(Z[name.split(",")[0]], estimator, X)
        elif name != "own":
            Z[name] = row_by_row(name, estimator, X, counts)
    return Z


# ------------------------------------------------------------------ measures


def support_f1(Z, other):
    """Agreement of two supports over all rows; Jaccard's index is F1 / (2 - F1)."""
    fired, other_fired = Z != 0, other != 0
    return 2 * np.sum(fired & other_fired) / (np.sum(fired) + np.sum(other_fired))


def code_cosine(Z, other):
    return float(np.sum(Z * other) / np.sqrt(np.sum(Z * Z) * np.sum(other * other)))


def time_ratios(estimator, X, alpha, rounds):
    """Time of each encoder on X over that of the own one; and that, in microseconds a row."""
    k = max(1, round(mean_l0(estimator.transform(X))))
    made = {name: coder(name, estimator, X, k, alpha) for name in ("top-k", *PURSUITS, "lasso")}
    made = {"own": estimator, **made}
    seconds = {name: [] for name in made}
    with threadpool_limits(1):
        for _ in range(rounds + 1):  # the first is a warm-up
            for name, encoder in made.items():
                begin = time.perf_counter()
                encoder.transform(X)
                seconds[name].append(time.perf_counter() - begin)
    medians = {name: float(np.median(values[1:])) for name, values in seconds.items()}
    ratios = {name: median / medians["own"] for name, median in medians.items()}
    return ratios, 1e6 * medians["own"] / X.shape[0]


# ------------------------------------------------------------------ runs


def tokens(options, size):
    """Per seed, dictionary and encoder: what is measured on token activations."""
    X, X_test = load_token_activations().data, load_token_activations(subset="test").data
    if not options.full:
        X, X_test = X[::8], X_test[::6]
    results, clocks = [], {}
    for seed in range(options.seeds):
        results.append({})
        for name, estimator in learners(size, "tokens", X, seed).items():
            alpha = alpha_at(estimator, X_test, mean_l0(estimator.fit(X).transform(X_test)))
            Z = encode(ENCODERS, estimator, X_test, alpha)
            results[-1][name] = {
                encoder: {
                    "variance": explained_variance(X_test, estimator.inverse_transform(codes)),
                    "l0": mean_l0(codes),
                    "f1": support_f1(codes, Z["own"]),
                    "cosine": code_cosine(codes, Z["own"]),
                }
                for encoder, codes in Z.items()
            }
            codes = coder("OMP", estimator, X_test, size["tokens"]["k"]).transform(X_test)
            variance = explained_variance(X_test, estimator.inverse_transform(codes))
            results[-1][name]["same k"] = {"variance": variance}
            if seed == 0:
                clocks[name] = time_ratios(estimator, X_test[:1000], alpha, rounds=5)
    return results, clocks


def intents(options, size):
    """Per seed, dictionary and encoder: how well latents stand for intents; None without data."""
    path = options.data / "clinc_minilm.npz"
    if not path.exists():
        print(f"No probes: {path.name} is not in the folder of data sets (see --data).\n")
        return None, None
    with np.load(path, allow_pickle=False) as file:
        kept, test_kept = (slice(None) if options.full else file[name] < 20 for name in
                           ("intent_train", "intent_test"))  # fmt: skip
        X, y = file["X_train"].astype(np.float32)[kept], file["intent_train"][kept].astype(int)
        X_test = file["X_test"].astype(np.float32)[test_kept]
        y_test = file["intent_test"][test_kept].astype(int)
    results = []
    for seed in range(options.seeds):
        results.append({})
        for name, estimator in learners(size, "intents", X, seed).items():
            alpha = alpha_at(estimator, X_test, mean_l0(estimator.fit(X).transform(X_test)))
            Z_train, Z = (encode(PROBED, estimator, rows, alpha) for rows in (X, X_test))
            results[-1][name] = {
                encoder: {
                    **probes(Z_train[encoder], y, Z[encoder], y_test, seed),
                    "variance": explained_variance(X_test, estimator.inverse_transform(Z[encoder])),
                    "l0": mean_l0(Z[encoder]),
                }
                for encoder in Z
            }
    return results, raw_probes(X, y, X_test, y_test)


# ------------------------------------------------------------------ tables


def collected(results, dictionary, encoder, measure):
    """One value a seed."""
    return np.array([result[dictionary][encoder][measure] for result in results])


def table(title, results, encoders, measure, digits=3):
    """Print means over seeds, and for each encoder the widest of their intervals."""
    print(f"{title}\n{'dictionary':10}" + "".join(f"{name:>14}" for name in encoders))
    halves = []
    for dictionary in results[0]:
        cells = [
            mean_interval(collected(results, dictionary, encoder, measure)) for encoder in encoders
        ]
        print(f"{dictionary:10}" + "".join(f"{mean:14.{digits}f}" for mean, _ in cells))
        halves.append([half for _, half in cells])
    widest = np.max(halves, axis=0)
    print(f"{'+- at most':10}" + "".join(f"{half:14.{digits}f}" for half in widest) + "\n")


def differences(title, results, pairs, measure):
    """Print paired differences of two encoders by dictionary; give the signs that are sure."""
    print(title)
    signs = {}
    for dictionary, encoder, base in pairs:
        values = collected(results, dictionary, encoder, measure)
        mean, width = mean_interval(values - collected(results, dictionary, base, measure))
        sure = abs(mean) > width
        signs[dictionary, encoder] = np.sign(mean) if sure else 0
        verdict = ("more" if mean > 0 else "less") if sure else "no sure difference"
        print(f"  {dictionary:6} {encoder:12} - {base:5} {mean:+.3f} +- {width:.3f}  {verdict}")
    print()
    return signs


def print_clocks(clocks):
    encoders = list(next(iter(clocks.values()))[0])
    print("Time a row, one thread, k the mean L0 of the own codes: median of 5 interleaved rounds")
    print("over that of the own encoder, which takes the microseconds of the last column")
    print(f"{'dictionary':10}" + "".join(f"{name:>10}" for name in encoders) + f"{'us':>10}")
    for dictionary, (ratios, own) in clocks.items():
        print(f"{dictionary:10}" + "".join(f"{r:10.1f}" for r in ratios.values()) + f"{own:10.1f}")
    print()


def conclude_tokens(results, k):
    """What pursuit gains on each dictionary, and what a dictionary made for it gains."""
    pairs = [
        (name, encoder, "own")
        for name in AUTOENCODERS
        for encoder in ("own, refit", "OMP", "OLS", "lasso, refit")
    ]
    title = "Explained variance that another encoder adds to the own one, tokens:"
    signs = differences(title, results, pairs, "variance")
    for name in AUTOENCODERS:
        own, refit, omp = (
            1 - collected(results, name, encoder, "variance")
            for encoder in ("own", "own, refit", "OMP")
        )
        print(f"{name}: of the unexplained variance of the own codes OMP leaves "
              f"{np.mean(omp / own):.2f}, least squares on the own support "
              f"{np.mean(refit / own):.2f}")  # fmt: skip
    helps, hurts = (
        [name for name in AUTOENCODERS if signs[name, "OMP"] == sign] for sign in (1, -1)
    )
    print(f"OMP explains more than the own encoder: {', '.join(helps) or 'none'}; "
          f"less: {', '.join(hurts) or 'none'}\n")  # fmt: skip
    print(f"Explained variance by OMP with {k} atoms in every row, and that less the one with the")
    print("dictionary that was learned by OMP:")
    learned = collected(results, "OMP", "same k", "variance")
    for name in results[0]:
        variance = collected(results, name, "same k", "variance")
        mean, half = mean_interval(variance - learned)
        print(f"  {name:6} {variance.mean():.3f}  {mean:+.3f} +- {half:.3f}")
    print()


def conclude_intents(results):
    pairs = [(name, "OMP", "own") for name in AUTOENCODERS]
    for measure, title in (
        ("f1", "Best F1 of a latent, OMP less own codes, intents:"),
        (1, "Balanced accuracy of a probe of 1 latent, OMP less own codes, intents:"),
        (5, "Balanced accuracy of a probe of 5 latents, OMP less own codes, intents:"),
    ):
        signs = differences(title, results, pairs, measure)
        hurt, helped = ([name for (name, _), value in signs.items() if value == sign]
                        for sign in (-1, 1))  # fmt: skip
        print(f"OMP hurts: {', '.join(hurt) or 'none'}; helps: {', '.join(helped) or 'none'}\n")


def print_intents(results, raw):
    for measure, title in (
        ("l0", "Mean L0, intents"),
        ("variance", "Explained variance of held-out sentence vectors"),
        ("f1", "Best F1 of a single latent, mean over intents"),
        *((w, f"Balanced accuracy of probes of {w} latents, mean over intents") for w in WIDTHS),
    ):
        table(title, results, PROBED, measure, 1 if measure == "l0" else 3)
    print(f"Input: best F1 of a coordinate, either sign, {raw['f1']:.3f}; of a ridge classifier on "
          f"all {raw['all f1']:.3f}")  # fmt: skip
    accuracies = ", ".join(f"{width}: {raw[width]:.3f}" for width in (*WIDTHS, "all"))
    print(f"balanced accuracy of probes of coordinates: {accuracies}\n")


# ------------------------------------------------------------------ figure


def draw_panel(axis, results, encoders, measure):
    for i, dictionary in enumerate(results[0]):
        points = [mean_interval(collected(results, dictionary, encoder, measure))
                  for encoder in encoders]  # fmt: skip
        means, halves = np.array(points).T
        places = np.arange(len(encoders)) + 0.1 * (i - 2.5)
        axis.errorbar(places, means, halves, marker="os^DvP"[i], ms=5, ls=":", lw=0.8, capsize=2,
                      color=f"C{i}", label=dictionary)  # fmt: skip
    axis.set_xticks(range(len(encoders)), encoders, rotation=30, ha="right")
    axis.grid(axis="y", alpha=0.3)


def draw(results, probed, raw):
    others = [name for name in ENCODERS if name != "top-k"]
    panels = [(results, others, "variance", "explained variance, held-out tokens"),
              (results, ENCODERS[1:], "f1", "F1 of the support with the own one")]  # fmt: skip
    if probed is not None:
        panels += [(probed, PROBED, "f1", "best F1 of a latent, mean over intents"),
                   (probed, PROBED, 1, "balanced accuracy, probe of 1 latent")]  # fmt: skip
    figure, axes = plt.subplots(len(panels) // 2, 2, figsize=(12, 4.4 * len(panels) // 2),
                                layout="constrained", squeeze=False)  # fmt: skip
    for axis, (source, encoders, measure, label) in zip(axes.flat, panels, strict=True):
        draw_panel(axis, source, encoders, measure)
        axis.set_ylabel(label)
    if raw is not None:
        for axis, measure in zip(axes[1], ("f1", 1), strict=True):
            axis.axhline(raw[measure], color="grey", lw=1, ls="--")
            axis.annotate("best coordinate of the input", (0.99, raw[measure]), va="bottom",
                          ha="right", xycoords=("axes fraction", "data"), fontsize=8,
                          color="grey")  # fmt: skip
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, title="dictionary learned by", loc="outside upper center",
                  ncols=6, frameon=False)  # fmt: skip
    figure.supxlabel("encoder, with as many non-zeros in each row as the dictionary's own encoder",
                     fontsize=11)  # fmt: skip
    return figure


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    options = arguments(__doc__, seeds=3)
    size = FULL if options.full else SMALL
    with reported(__file__, options) as save:
        results, clocks = tokens(options, size)
        for data in ("tokens", "intents"):
            print(f"{data}: {size[data]['n_components']} atoms, about {size[data]['k']} non-zeros")
        print(f"steps of 256 rows: autoencoders {size['steps'][0]}, coders {size['steps'][1]}")
        print("+- at most: the widest 95 % interval over seeds of those above it\n")
        table("Mean L0, tokens", results, ENCODERS, "l0", 1)
        table("Explained variance of held-out tokens", results, ENCODERS, "variance")
        table("F1 of the support with that of the own codes", results, ENCODERS[1:], "f1")
        table("Cosine of the codes with the own codes", results, ENCODERS[1:], "cosine")
        print_clocks(clocks)
        probed, raw = intents(options, size)
        if probed is not None:
            print_intents(probed, raw)
        conclude_tokens(results, size["tokens"]["k"])
        if probed is not None:
            conclude_intents(probed)
        save(draw(results, probed, raw))


if __name__ == "__main__":
    main()
