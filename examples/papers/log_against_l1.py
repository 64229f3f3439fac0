"""
Penalties that count active latents better than L1
==================================================

Tilde's post "The Rate Distortion Dance of Sparse Autoencoders" (tilderesearch.com/blog/
rate-distortion-saes, 2024) says that L1 is a poor proxy of the number of active latents, L0, and
that a log penalty is a better one. Here autoencoders that differ in their penalty alone are trained
on token activations of a small language model and compared at equal L0; beside them stand L1 and
log whose decoder is refitted without the penalty, and atoms of free norm. Then the dictionary is
held, and only codes are computed under each penalty. Last, the true dictionary is known: sparse
features in superposition.

    python examples/papers/log_against_l1.py [--full] [--seeds 3] [--output FOLDER]

The data come with skdict.
"""

from collections import namedtuple

import matplotlib.pyplot as plt
import numpy as np
from feature_suppression import L0S, at_l0, evaluated, interval, tokens
from report import arguments, mean_interval, reported
from sklearn.frozen import FrozenEstimator

from skdict import LassoCoder, SparseAutoencoder
from skdict.datasets import make_superposition
from skdict.metrics import dictionary_match

Size = namedtuple("Size", "rows passes n_components names l0s samples steps truths")

# Name: values of alpha, and the other parameters of SparseAutoencoder.
L1_ALPHAS, LOG_ALPHAS = (0.95, 1.9, 3.5), (1.3, 2.3, 4.2)
PENALTIES = {
    "l1": (L1_ALPHAS, {}),
    "log, w = 3": ((1.05, 2.1, 3.9), {"penalty": "log", "penalty_width": 3}),
    "log, w = 1": (LOG_ALPHAS, {"penalty": "log", "penalty_width": 1}),
    "log, w = 0.3": ((1.8, 3.3, 6.8), {"penalty": "log", "penalty_width": 0.3}),
    "mcp, w = 3": ((0.95, 1.9, 3.7), {"penalty": "mcp", "penalty_width": 3}),
    "mcp, w = 1": ((1.6, 3.6, 8.0), {"penalty": "mcp", "penalty_width": 1}),
    "tanh, w = 1": ((1.1, 2.2, 4.3), {"penalty": "tanh", "penalty_width": 1}),
    "lp, w = 1": ((0.42, 0.9, 1.9), {"penalty": "lp", "penalty_width": 1}),
    "gini": ((5.2, 8.0, 13.0), {"penalty": "gini"}),
    "hoyer_square": ((11.5, 17.0, 27.0), {"penalty": "hoyer_square"}),
    "l1, free atoms": ((0.85, 1.7, 3.1), {"atom_norms": "free"}),
    "l1, refit": (L1_ALPHAS, {"repair": "decoder"}),
    "log, w = 1, refit": (
        LOG_ALPHAS, {"penalty": "log", "penalty_width": 1, "repair": "decoder"},
    ),
}  # fmt: skip
ROW_WISE = ("gini", "hoyer_square")
LOGS = ("log, w = 3", "log, w = 1", "log, w = 0.3")
REFITS = ("l1, refit", "log, w = 1, refit")

# Values of alpha for codes over a dictionary that is held, in units of the data.
HELD = {
    "l1": (0.5, 1.0, 2.0),
    "log": (0.4, 0.8, 1.6),
    "mcp": (0.4, 0.8, 1.6),
    "l0": (0.08, 0.3, 1.0),
}

TRUTH = 64, 32, 3  # atoms, features, active at a time
TRUTH_ALPHAS = {
    "l1": (0.25, 0.5, 1.0),
    "log, w = 1": (0.4, 0.8, 1.6),
    "log, w = 0.3": (0.8, 1.6, 3.2),
    "mcp, w = 1": (0.6, 1.2, 2.4),
    "tanh, w = 1": (0.4, 0.8, 1.6),
    "lp, w = 1": (0.15, 0.3, 0.6),
}
SMALL = Size(4000, 15, 256, ("l1", "log, w = 1", *REFITS), (16,), 4000, 1200, 2)
FULL = Size(10_000, 16, 512, tuple(PENALTIES), L0S, 20_000, 2500, len(TRUTH_ALPHAS))

Recovery = namedtuple("Recovery", "alpha l0 explained shrinkage dead similarity recovered")


def of_tokens(size, seeds):
    """Runs by penalty and by seed, and runs of codes over a dictionary that is held."""
    trained, held = {}, {}
    for seed in range(seeds):
        X, test = tokens(size.rows, seed)
        for name in size.names:
            alphas, others = PENALTIES[name]
            for alpha in alphas:
                sae = SparseAutoencoder(
                    size.n_components, alpha=alpha, max_iter=size.passes, random_state=seed,
                    **others,
                )  # fmt: skip
                run = evaluated(sae, X, test, alpha)
                trained.setdefault(name, {}).setdefault(seed, []).append(run)
                if name == "l1" and alpha == L1_ALPHAS[1]:
                    dictionary = sae
        for penalty, alphas in HELD.items():
            held.setdefault(penalty, {})[seed] = [
                evaluated(coder_over(dictionary, penalty, alpha), test, test, alpha)
                for alpha in alphas
            ]
    return trained, held


def coder_over(sae, penalty, alpha):
    """Codes that minimise squared error and a penalty, over the atoms of an autoencoder."""
    return LassoCoder(
        alpha=alpha, penalty=penalty, positive=True, dictionary=FrozenEstimator(sae), gap_tol=1e-3
    )


def of_truth(size, seeds):
    """Recoveries of a known dictionary, by penalty and by seed."""
    N, d, k = TRUTH
    found = {}
    for seed in range(seeds):
        X, D, _ = make_superposition(size.samples, N, d, k, random_state=seed)
        test, _, _ = make_superposition(3000, N, d, k, dictionary=D, random_state=1000 + seed)
        passes = max(256 * size.steps // size.samples, 1)
        for name in list(TRUTH_ALPHAS)[: size.truths]:
            for alpha in TRUTH_ALPHAS[name]:
                sae = SparseAutoencoder(
                    N, alpha=alpha, max_iter=passes, random_state=seed, **PENALTIES[name][1]
                )
                run = evaluated(sae, X, test, alpha)
                match = dictionary_match(sae.components_, D)
                recovery = Recovery(*run[:5], match.mean_similarity, match.recovery_rate)
                found.setdefault(name, {}).setdefault(seed, []).append(recovery)
    return found


def at_common(runs, l0, field="explained"):
    """By name: a value for each seed, at a number of active latents."""
    return {
        name: np.array([at_l0(group, l0, field) for group in seeds.values()])
        for name, seeds in runs.items()
    }


def print_settings(runs, title):
    print(f"\n{title}")
    print("penalty               alpha      L0   explained   shrinkage    dead")
    for name, seeds in runs.items():
        for row in np.mean([[run[:5] for run in group] for group in seeds.values()], axis=0):
            print("{:20} {:6g} {:7.1f} {:11.4f} {:11.3f} {:7.1%}".format(name, *row))


def print_common(runs, l0s, title):
    print(f"\n{title}, at equal L0, interpolated in log L0; +- 95 % over seeds; nan: not reached")
    print("L0   penalty              explained variance   more than l1         shrinkage     dead")
    for l0 in l0s:
        explained, gamma, dead = (
            at_common(runs, l0, field) for field in ("explained", "shrinkage", "dead")
        )
        for name, values in explained.items():
            more = values - explained["l1"]
            rest = gamma[name].mean(), dead[name].mean()
            print(f"{l0:<4} {name:20} {interval(values):20} {interval(more):20} "
                  "{:6.3f} {:9.1%}".format(*rest))  # fmt: skip


def print_truth(found):
    N, d, k = TRUTH
    print(f"\nknown dictionary: {N} atoms, {d} features, {k} active; recovered: share of true "
          "atoms matched with cosine > 0.9;\n+- 95 % over seeds")  # fmt: skip
    print(
        "penalty        alpha     L0   explained   shrinkage   dead   mean cosine        recovered"
    )
    for name, seeds in found.items():
        table = np.array(list(seeds.values()))
        for i, row in enumerate(table.mean(axis=0)):
            cosine, share = (interval(table[:, i, j], ".3f") for j in (5, 6))
            print("{:14} {:5g} {:6.2f} {:11.3f} {:11.3f} {:6.1%}   ".format(name, *row[:5])
                  + f"{cosine:16}   {share}")  # fmt: skip


def _yes(condition):
    return "yes" if condition else "no"


def best_of(explained, names):
    """Names in order, best first, and those whose paired interval to the best includes zero."""
    reached = [name for name in names if np.isfinite(explained[name]).all()]
    order = sorted(reached, key=lambda name: -explained[name].mean())
    gaps = {name: mean_interval(explained[order[0]] - explained[name]) for name in order[1:]}
    return order, [name for name, (gap, half) in gaps.items() if gap <= half]


def conclude(trained, held, found, l0s):
    print("\nconclusions")
    plain = [name for name in trained if name not in REFITS]
    logs = [name for name in LOGS if name in trained]
    for l0 in l0s:
        explained = at_common(trained, l0)
        order, level = best_of(explained, plain)
        print(f"L0 {l0}: most explained first: {'; '.join(order)}")
        print(f"  not told apart from the first: {'; '.join(level) or 'none'}")
        gaps = [mean_interval(explained[name] - explained["l1"]) for name in logs]
        print(f"  every log ahead of l1: {_yes(all(gap > half for gap, half in gaps))}, by "
              f"{min(gaps)[0]:.3f} to {max(gaps)[0]:.3f}")  # fmt: skip
        mean = {name: values.mean() for name, values in explained.items()}
        total = mean["log, w = 1"] - mean["l1"]
        print(f"  share of the lead of log (w = 1) that l1 makes up by refitting: "
              f"{(mean['l1, refit'] - mean['l1']) / total:.0%}; l1 refitted less log refitted: "
              f"{interval(explained['l1, refit'] - explained['log, w = 1, refit'])}")  # fmt: skip
        codes = at_common(held, l0)
        text = "; ".join(
            f"{name} {interval(values - codes['l1'])}" for name, values in codes.items()
            if name != "l1"
        )  # fmt: skip
        print(f"  dictionary held, more than l1: {text}")
    collapsed = {
        name: max(run.dead for group in seeds.values() for run in group)
        for name, seeds in trained.items()
    }
    text = "; ".join(f"{name} {dead:.0%}" for name, dead in collapsed.items() if dead > 0.1)
    print(f"more than a tenth of latents dead at some alpha and seed, at most: {text or 'none'}")
    best = {}
    for name, seeds in found.items():
        table = np.array(list(seeds.values()))
        best[name] = table[:, table[:, :, 6].mean(axis=0).argmax(), 6]
    text = "; ".join(f"{name} {interval(values, '.3f')}" for name, values in best.items())
    print(f"known dictionary, recovered at the best alpha of each: {text}")
    gaps = [mean_interval(values - best["l1"]) for name, values in best.items() if name != "l1"]
    print(f"  some penalty recovers more than l1, beyond the interval: "
          f"{_yes(any(gap > half for gap, half in gaps))}; some less: "
          f"{_yes(any(-gap > half for gap, half in gaps))}")  # fmt: skip


def _styles():
    """Keywords of a line for each name."""
    black, blue = {"color": "black", "lw": 2.2}, {"color": "C0", "lw": 2.2}
    styles = {
        "l1": black, "log, w = 1": blue, "log": blue, "mcp": {"color": "C4"}, "l0": {"color": "C3"},
        "l1, free atoms": {"color": "grey", "ls": ":"},
        "l1, refit": black | {"ls": "--", "marker": "s"},
        "log, w = 1, refit": blue | {"ls": "--", "marker": "s"},
    }  # fmt: skip
    for i, name in enumerate(name for name in PENALTIES if name not in styles):
        row_wise = {"ls": "-.", "marker": "x"} if name in ROW_WISE else {}
        styles[name] = {"color": plt.cm.tab10(i + 1)} | row_wise
    return styles


def draw(trained, held, found):
    figure, axes = plt.subplots(1, 3, figsize=(15, 6), layout="constrained")
    styles, fields = _styles(), ("explained", "explained", "recovered")
    for axis, runs, field in zip(axes, (trained, held, found), fields, strict=True):
        for name, seeds in runs.items():
            points = [[(run.l0, getattr(run, field)) for run in group] for group in seeds.values()]
            style = {"marker": "o", "ms": 4, "label": name} | styles[name]
            axis.plot(*np.mean(points, axis=0).T, **style)
        low, high = axis.get_xlim()
        ticks = [tick for tick in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48) if low <= tick <= high]
        axis.set(xscale="log", xlabel="mean active latents (L0)")
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
    low, high = np.transpose([axis.get_ylim() for axis in axes[:2]])
    for axis in axes[:2]:
        axis.set(ylim=(low.min(), high.max()), ylabel="held-out explained variance")
    axes[0].set(title="tokens, trained under each penalty")
    axes[1].set(title="tokens, one dictionary held, codes by LassoCoder")
    axes[2].set(title="known dictionary", ylabel="share of atoms recovered (cosine > 0.9)")
    for axis in axes:
        axis.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return figure


def main():
    options = arguments(__doc__, seeds=3)
    size, seeds = (FULL, options.seeds) if options.full else (SMALL, 2)
    with reported(__file__, options) as save:
        print(f"tokens: MiniLM activations, {size.rows} rows of 23,000 drawn for each seed, "
              f"{size.n_components} latents, {size.passes} passes; 3,003 held out;\n"
              "w: penalty_width, in units of `scale_`; dead: latents that no held-out token "
              "activates; refit: repair=\"decoder\"")  # fmt: skip
        trained, held = of_tokens(size, seeds)
        found = of_truth(size, seeds)
        print_settings(trained, "tokens, every setting, means over seeds")
        print_common(trained, size.l0s, "tokens")
        print_settings(
            held, f"dictionary of l1 at alpha = {L1_ALPHAS[1]} held, codes by LassoCoder"
        )
        print_common(held, size.l0s, "dictionary held")
        print_truth(found)
        conclude(trained, held, found, size.l0s)
        save(draw(trained, held, found))


if __name__ == "__main__":
    main()
