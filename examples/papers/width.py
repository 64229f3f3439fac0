"""
Width: what a dictionary does with more atoms than it needs
===========================================================

Dictionaries with as many atoms as there are features, and more, up to as many as there are training
samples: do they explain held-out samples better, or do their atoms split, absorb each other, and
become copies of samples? Bricken et al., "Towards Monosemanticity" (2023, section "Feature
Splitting"), saw features split in larger dictionaries; Chanin et al., "A is for Absorption" (arXiv
2409.14507), saw latents of a general feature fall silent where a latent of a special one had taken
in its direction.

On token activations that come with skdict, and on synthetic samples with a known hierarchy: a child
is active only where its parent is.

    python examples/papers/width.py [--full] [--seeds 4] [--output doc/papers]
"""

import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
from report import arguments, mean_interval, reported
from scipy.optimize import linear_sum_assignment

from skdict import MatchingPursuitCoder, SparseAutoencoder, TopKAutoencoder
from skdict.datasets import load_token_activations, make_superposition
from skdict.metrics import explained_variance, mean_l0

SMALL = {"tokens": (768, (384, 768)), "hierarchy": (1024, (32, 128, 512)), "steps": (90, 300)}
FULL = {
    "tokens": (3072, (384, 768, 1536, 3072)),
    "hierarchy": (1024, (32, 64, 128, 256, 1024)),
    "steps": (300, 1500),
}
BATCH, TOKEN_SEEDS = 256, 3
ALIKE, SAME, LEANS = 0.7, 0.9, 0.3  # cosines: a latent of a true atom, a copy, a part of a parent


def learners(n_components, passes, ks, alpha, seed):
    """Autoencoders by name; that with an l1 penalty needs twice the passes to settle."""
    shared = {"n_components": n_components, "random_state": seed}
    made = {f"TopK, k={k}": TopKAutoencoder(k=k, max_iter=passes, **shared) for k in ks}
    relu = SparseAutoencoder(alpha=alpha, max_iter=2 * passes, **shared)
    return {**made, f"ReLU, alpha={alpha:g}": relu}


def unit(A):
    return A / np.maximum(np.linalg.norm(A, axis=1, keepdims=True), 1e-30)


# ------------------------------------------------------------------ measures


def reconstruction(estimator, X, X_test):
    """Explained variance and use of latents; the atoms that fire on X, and held-out codes on them.

    "by OMP": held-out rows coded anew by pursuit with as many atoms a row.
    """
    Z, Z_test = estimator.transform(X), estimator.transform(X_test)
    train, test = (explained_variance(rows, estimator.inverse_transform(codes))
                   for rows, codes in ((X, Z), (X_test, Z_test)))  # fmt: skip
    fired, l0 = np.any(Z != 0, axis=0), mean_l0(Z_test)
    atoms, offset = estimator.components_[fired], estimator.decoder_bias_
    near = nearest(atoms, X, offset)
    found = {
        "train": train,
        "test": test,
        "gap": train - test,
        "by OMP": by_pursuit(atoms, offset, X_test, max(1, round(l0))),
        "L0": l0,
        "silent": 1 - np.mean(fired),
        "nearest": np.median(near),
        "copies": np.mean(near > SAME),
        "twins": twins(atoms),
    }
    return found, atoms, Z_test[:, fired]


def by_pursuit(atoms, offset, X, k):
    """Explained variance of X by non-negative orthogonal matching pursuit."""
    coder = MatchingPursuitCoder(k=min(k, len(atoms)), dictionary=atoms, offset=offset)
    codes = coder.set_params(positive=True).fit(X).transform(X)
    return explained_variance(X, coder.inverse_transform(codes))


def nearest(components, X, offset):
    """Cosine of each atom with the nearest row of X less the offset."""
    return (unit(components) @ unit(X - offset).T).max(axis=1)


def twins(components):
    """Share of the atoms that have a cosine above `SAME` with another one."""
    S = unit(components) @ unit(components).T
    np.fill_diagonal(S, -1.0)
    return float(np.mean(S.max(axis=1) > SAME))


def splitting(components, true_components):
    """Mean number of latents with a cosine above `ALIKE` to a true atom that has any."""
    counts = np.sum(unit(components) @ unit(true_components).T > ALIKE, axis=0)
    return float(counts[counts > 0].mean()) if counts.any() else math.nan


def recovered(components, true_components):
    """Share of the true atoms that have a latent with a cosine above `ALIKE`."""
    return float(np.mean(np.any(unit(components) @ unit(true_components).T > ALIKE, axis=0)))


def absorption(components, codes, true_components, true_codes, parents):
    """Fraction absorbed among all pairs of a sample and an active child with its parent.

    Absorbed: the latent matched to the parent is silent, and the atom matched to the child has a
    cosine above `LEANS` with the true parent. Pairs count where both have a match above `ALIKE`.
    """
    S = unit(components) @ unit(true_components).T
    latents, atoms = linear_sum_assignment(S, maximize=True)
    match = np.full(true_components.shape[0], -1)
    match[atoms] = np.where(S[latents, atoms] > ALIKE, latents, -1)
    absorbed = total = 0
    for child, parent in enumerate(parents):
        if parent < 0 or match[child] < 0 or match[parent] < 0:
            continue
        both = (true_codes[:, child] != 0) & (true_codes[:, parent] != 0)
        leans = S[match[child], parent] > LEANS
        absorbed += np.sum(codes[both, match[parent]] == 0) * leans
        total += np.sum(both)
    return absorbed / total if total else math.nan


# ------------------------------------------------------------------ runs


def passes_for(steps, n_samples):
    return math.ceil(steps / math.ceil(n_samples / BATCH))


def tokens(options, size):
    """Per width, estimator and seed: what is measured on token activations."""
    everything = load_token_activations().data
    X_test = load_token_activations(subset="test").data
    n_samples, widths = size["tokens"]
    results = {}
    for seed in range(min(options.seeds, TOKEN_SEEDS)):
        X = everything[np.random.default_rng(seed).permutation(len(everything))[:n_samples]]
        for m in widths:
            passes = passes_for(size["steps"][0], n_samples)
            for name, estimator in learners(m, passes, (8, 32), 2.0, seed).items():
                found, _, _ = reconstruction(estimator.fit(X), X, X_test)
                results.setdefault((name, m), []).append(found)
            mean = X.mean(axis=0)
            found = {"by OMP": by_pursuit(X[:m] - mean, mean, X_test, 32)}
            results.setdefault(("training rows, k=32", m), []).append(found)
    return results


FAMILIES, CHILDREN, FEATURES, ACTIVE = 16, 3, 32, 4


def families():
    """Parent of each component, -1 for the first of each family."""
    first = np.repeat(np.arange(FAMILIES) * (CHILDREN + 1), CHILDREN + 1)
    return np.where(np.arange(first.size) == first, -1, first)


def hierarchical(n_samples, seed, dictionary=None):
    return make_superposition(
        n_samples,
        n_components=FAMILIES * (CHILDREN + 1),
        n_features=FEATURES,
        k=ACTIVE,
        hierarchy=families(),
        correlation=0.5,
        group_size=CHILDREN + 1,
        noise=0.05,
        dictionary=dictionary,
        random_state=seed,
    )


def hierarchy(options, size):
    """Per width, estimator and seed: what is measured on families of parents and children."""
    n_samples, widths = size["hierarchy"]
    results = {}
    for seed in range(options.seeds):
        X, D, _ = hierarchical(n_samples, seed)
        X_test, _, true_codes = hierarchical(4000, seed + 1000, D)
        for m in widths:
            passes = passes_for(size["steps"][1], n_samples)
            for name, estimator in learners(m, passes, (2, ACTIVE), 0.7, seed).items():
                found, atoms, Z = reconstruction(estimator.fit(X), X, X_test)
                found["splits"] = splitting(atoms, D)
                found["found"] = recovered(atoms, D)
                found["absorbed"] = absorption(atoms, Z, D, true_codes, families())
                results.setdefault((name, m), []).append(found)
        coder = MatchingPursuitCoder(k=ACTIVE, dictionary=D, positive=True).fit(X)
        Z = coder.transform(X_test)
        found = {
            "by OMP": explained_variance(X_test, coder.inverse_transform(Z)),
            "nearest": np.median(nearest(D, X, 0.0)),
            "copies": np.mean(nearest(D, X, 0.0) > SAME),
            "absorbed": absorption(D, Z, D, true_codes, families()),
        }
        results.setdefault(("true atoms", D.shape[0]), []).append(found)
    return results


# ------------------------------------------------------------------ tables


def values(results, name, m, measure):
    return np.array([found.get(measure, math.nan) for found in results[name, m]])


def names_of(results):
    return list(dict.fromkeys(name for name, _ in results))


def widths_of(results, name):
    return [m for known, m in results if known == name]


def table(title, results, measures):
    print(f"{title}\n{'':20}{'atoms':>6}" + "".join(f"{measure:>17}" for measure in measures))
    for name in names_of(results):
        for m in widths_of(results, name):
            line = f"{name:20}{m:6}"
            for measure in measures:
                mean, half = mean_interval(values(results, name, m, measure))
                digits = 2 if measure in ("L0", "splits") else 3
                text = f"{mean:.{digits}f} +- {half:.{digits}f}"
                line += f"{'-' if np.isnan(mean) else text:>17}"
            print(line)
    print()


def best_width(results, name):
    """The width of the best mean held-out explained variance; is it surely above the widest?"""
    widths = widths_of(results, name)
    best = max(widths, key=lambda m: values(results, name, m, "test").mean())
    difference = values(results, name, best, "test") - values(results, name, widths[-1], "test")
    mean, half = mean_interval(difference)
    return best, mean, half


def conclude(data, results, rising):
    """Print, for each estimator, the best width, and what rises from the fewest atoms to most."""
    print(f"{data}:")
    for name in names_of(results):
        widths = widths_of(results, name)
        if np.isnan(values(results, name, widths[0], "test")).any():
            continue
        best, lost, half = best_width(results, name)
        sure = "sure" if lost > half else "not sure"
        end = "the widest" if best == widths[-1] else f"{lost:.3f} +- {half:.3f} is lost ({sure})"
        print(f"  {name}: held-out rows are explained best by {best} atoms; at {widths[-1]}: {end}")
        for measure in rising:
            first, last = (values(results, name, m, measure) for m in (widths[0], widths[-1]))
            mean, half = mean_interval(last - first)
            if np.isnan(mean):
                continue
            verdict = "no sure change" if abs(mean) <= half else "rises" if mean > 0 else "falls"
            print(f"    {measure:8} {first.mean():6.3f} -> {last.mean():6.3f}  "
                  f"(change {mean:+.3f} +- {half:.3f}: {verdict})")  # fmt: skip
    print()


# ------------------------------------------------------------------ figure

PANELS = {
    "tokens": (
        ("test", "explained variance, held-out tokens"),
        ("gap", "explained variance, training less held-out"),
        ("nearest", "cosine with the nearest training row (median)"),
    ),
    "hierarchy": (
        ("test", "explained variance, held-out samples"),
        ("splits", f"latents (cosine > {ALIKE}) a true atom found"),
        ("absorbed", "share of active parents absorbed by a child"),
    ),
}


def draw_lines(axis, results, measure, style="-"):
    for i, name in enumerate(names_of(results)):
        widths = widths_of(results, name)
        points = [mean_interval(values(results, name, m, measure)) for m in widths]
        means, halves = np.array(points).T
        if np.isnan(means).all():
            continue
        if len(widths) == 1:
            axis.axhline(means[0], color="grey", ls=":", lw=1, label=name)
        else:
            colour = "grey" if name.startswith("training rows") else f"C{i}"
            label = None if style == "--" and colour != "grey" else name
            axis.errorbar(widths, means, halves, color=colour, marker="os^D"[i], ls=style,
                          markerfacecolor="white" if style == "--" else colour, capsize=2,
                          label=label)  # fmt: skip


def draw(both):
    figure, axes = plt.subplots(2, 3, figsize=(12.5, 8.5), layout="constrained")
    for row, (data, results) in zip(axes, both.items(), strict=True):
        for axis, (measure, label) in zip(row, PANELS[data], strict=True):
            draw_lines(axis, results, measure)
            if measure == "test":
                draw_lines(axis, results, "by OMP", "--")
                axis.legend(frameon=False, fontsize=8)
            axis.set_xscale("log", base=2)
            axis.set_xticks(widths_of(results, names_of(results)[0]))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.set(ylabel=label, xlabel="atoms")
            axis.grid(alpha=0.3)
    axes[0, 0].set_title("solid: own codes; dashed: coded by OMP", fontsize=9)
    axes[0, 1].set_title("token activations, 384 features")
    true = FAMILIES * (CHILDREN + 1)
    axes[1, 1].set_title(f"parents of {CHILDREN} children, {FEATURES} features, {true} true atoms")
    return figure


def main():
    options = arguments(__doc__, seeds=4)
    size = FULL if options.full else SMALL
    warnings.filterwarnings("ignore", "TopKAutoencoder: .* latents did not fire", UserWarning)
    warnings.filterwarnings("ignore", "SparseAutoencoder: .* latents did not fire", UserWarning)
    with reported(__file__, options) as save:
        both = {"tokens": tokens(options, size), "hierarchy": hierarchy(options, size)}
        print("Means over seeds and 95 % intervals. by OMP: held-out rows coded by pursuit;")
        print("silent: share of atoms that no training row uses; of the others, nearest: median")
        print("of the cosine with the nearest training row; copies, twins: share with a cosine")
        print(f"above {SAME} with a training row, with another atom\n")
        common = ["train", "test", "gap", "by OMP", "L0", "silent", "nearest", "copies", "twins"]
        n_samples = size["tokens"][0]
        table(f"Token activations, {n_samples} training rows", both["tokens"], common)
        n_samples = size["hierarchy"][0]
        table(f"Families, {n_samples} training rows", both["hierarchy"], common)
        measures = ["splits", "found", "absorbed"]
        print(f"splits: latents with a cosine above {ALIKE} to a true atom that has any; found:")
        print("share of true atoms that have any; absorbed: share of the parents active with a")
        print("child whose latent is silent, where the atom of the child has a cosine above")
        print(f"{LEANS} with the parent")
        table("Families, against the true atoms", both["hierarchy"], measures)
        memory = ("gap", "by OMP", "nearest", "copies", "twins")
        conclude("Token activations", both["tokens"], memory)
        conclude("Families", both["hierarchy"], (*memory, "splits", "found", "absorbed"))
        save(draw(both))


if __name__ == "__main__":
    main()
