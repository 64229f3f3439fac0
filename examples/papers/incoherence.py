"""
Keeping atoms apart, and what that is worth
===========================================

Tilde's post "The Rate Distortion Dance of Sparse Autoencoders"
(tilderesearch.com/blog/rate-distortion-saes, 2024) suggests a penalty on the products of different
atoms, sum_(i != j) <d_i, d_j>^2. First it is shown what this sum measures: it is least for tight
frames, to which two copies of one basis belong. Then it and its hinge form, which spares products
up to a limit, are tried at equal L0 on token activations and on synthetic data of a known
dictionary.

    python examples/papers/incoherence.py [--full] [--seeds 3] [--output FOLDER]
"""

from collections import namedtuple
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from load_balancing import tuned
from report import arguments, mean_interval, reported

from skdict import SparseAutoencoder, TopKAutoencoder
from skdict.datasets import load_token_activations, make_superposition
from skdict.metrics import (
    coherence_excess,
    dead_fraction,
    dictionary_match,
    explained_variance,
    mean_l0,
    mutual_coherence,
    welch_bound,
)
from skdict.terms import Incoherence

L0 = 32  # on tokens
LIMIT = 0.2  # of the hinge there
N_TRUE, N_FEATURES, K = 64, 32, 4  # of the synthetic data
SLACK = 0.05  # by which a largest cosine may pass the limit and count as kept
LIMITS = (0.4, 0.6)  # of the hinge there: below and about the largest cosine of true atoms

Size = namedtuple("Size", "rows latents passes plain hinge l1_plain l1_hinge samples epochs more")
SMALL = Size(2000, 448, 6, (1.0,), (10.0,), (1.0,), (10.0,), 2000, 40, 0)
FULL = Size(
    6000, 512, 20, (0.01, 0.1, 1.0, 10.0), (0.1, 1.0, 10.0, 100.0), (0.1, 1.0), (1.0, 10.0),
    4000, 100, 2,
)  # fmt: skip
WEIGHTS = (0.01, 0.1, 1.0)  # of either form on synthetic data

Run = namedtuple("Run", "l0 explained dead coherence excess frame near tail found")


def frame_value(D):
    """Sum over pairs of different atoms of their squared cosines."""
    value, _ = Incoherence(1.0)(None, {}, {"components": D}, None, {"components": np.zeros_like(D)})
    return float(value)


def frame_bound(n_components, n_features):
    """The least that the sum can be, where there are more atoms than dimensions."""
    return n_components * (n_components - n_features) / n_features


def neighbours(D):
    """Largest absolute cosine of each atom with another."""
    U = D / np.linalg.norm(D, axis=1, keepdims=True)
    G = np.abs(U @ U.T)
    np.fill_diagonal(G, 0)
    return G.max(axis=1)


def minimised(D, limit=None, steps=3000, rate=0.02):
    """Unit atoms after descent on the penalty alone."""
    term = Incoherence(1.0, limit)
    for _ in range(steps):
        grads = {"components": np.zeros_like(D)}
        term(None, {}, {"components": D}, None, grads)
        D = D - rate * grads["components"]
        D /= np.linalg.norm(D, axis=1, keepdims=True)
    return D


def constructions(seed=0):
    """Dictionaries of twice as many atoms as dimensions, by name."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((N_FEATURES, N_FEATURES)))
    D = rng.standard_normal((2 * N_FEATURES, N_FEATURES))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    X, _, _ = make_superposition(4000, 2 * N_FEATURES, N_FEATURES, K, random_state=seed)
    learned = TopKAutoencoder(2 * N_FEATURES, k=K, max_iter=40, random_state=seed).fit(X)
    return {
        "two copies of a basis": np.vstack([Q, Q]),
        "random": D,
        "learned by TopK": learned.components_,
        "random, plain form minimised": minimised(D),
        f"random, hinge {LIMITS[0]:g} minimised": minimised(D, LIMITS[0]),
    }


def measure(estimator, X_test, dictionary=None):
    Z, D = estimator.transform(X_test), estimator.components_
    near = neighbours(D)
    return Run(
        mean_l0(Z),
        explained_variance(X_test, estimator.inverse_transform(Z)),
        dead_fraction(Z),
        mutual_coherence(D),
        coherence_excess(D),
        frame_value(D) / frame_bound(*D.shape),
        np.median(near),
        np.quantile(near, 0.99),
        np.nan if dictionary is None else dictionary_match(D, dictionary).recovery_rate,
    )


def variants(plain, hinge, limits):
    """Parameters of an estimator by form and weight."""
    settings = {("off", 0): {}}
    settings |= {("plain", w): {"incoherence": w} for w in plain}
    return settings | {
        (f"hinge {limit:g}", w): {"incoherence": w, "coherence_limit": limit}
        for limit in limits
        for w in hinge
    }


def runs_on_tokens(size, seeds):
    """Runs by method, form, weight and seed."""
    tokens = load_token_activations().data
    X_test, runs, alphas = load_token_activations(subset="test").data, {}, {}
    for seed in range(seeds):
        X = tokens[np.random.default_rng(seed).permutation(len(tokens))[: size.rows]]
        own = {"n_components": size.latents, "max_iter": size.passes, "random_state": seed}
        for key, chosen in variants(size.plain, size.hinge, (LIMIT,)).items():
            runs["TopK", *key, seed] = measure(
                TopKAutoencoder(k=L0, **own, **chosen).fit(X), X_test
            )
        alpha = 1.5
        for key, chosen in variants(size.l1_plain, size.l1_hinge, (LIMIT,)).items():
            make = partial(SparseAutoencoder, **own, **chosen)
            alphas[key], sae = tuned(make, X, X_test, L0, alphas.get(key, alpha))
            alpha = alphas[key]
            runs["L1", *key, seed] = measure(sae, X_test)
    return runs


def recoveries(size, seeds):
    """Runs of TopK by latents, form, weight and seed, and the coherence of the true atoms."""
    runs, truth = {}, []
    for seed in range(seeds):
        problem = {"n_components": N_TRUE, "n_features": N_FEATURES, "k": K}
        X, D, _ = make_superposition(size.samples, random_state=seed, **problem)
        X_test, _, _ = make_superposition(2000, dictionary=D, random_state=1000 + seed, **problem)
        truth.append(mutual_coherence(D))
        for latents in (N_TRUE, 2 * N_TRUE):
            own = {"k": K, "max_iter": size.epochs, "random_state": seed}
            for key, chosen in variants(WEIGHTS, WEIGHTS, LIMITS).items():
                sae = TopKAutoencoder(latents, **own, **chosen).fit(X)
                runs[f"{latents} latents", *key, seed] = measure(sae, X_test, D)
    return runs, truth


def over_seeds(runs, key, field):
    return np.array([getattr(run, field) for (*head, _), run in runs.items() if tuple(head) == key])


def keys_of(runs):
    return list(dict.fromkeys(tuple(head) for *head, _ in runs))


def shown(values, digits=3):
    mean, half = mean_interval(values)
    return f"{mean:.{digits}f} +- {half:.{digits}f}"


def print_constructions(named):
    m, d = 2 * N_FEATURES, N_FEATURES
    print(f"\n{m} atoms in {d} dimensions: the sum is at least {frame_bound(m, d):.1f}, the "
          f"largest cosine at least {welch_bound(m, d):.3f}")  # fmt: skip
    print("                                    sum   sum / bound   largest cosine")
    for name, D in named.items():
        value = frame_value(D)
        print(f"{name:31} {value:7.2f} {value / frame_bound(m, d):13.4f} "
              f"{mutual_coherence(D):16.3f}")  # fmt: skip


def print_runs(runs, title):
    print(f"\n{title}")
    print("             form       weight    L0  explained variance  silent    largest cosine  "
          "over Welch  sum / bound  median near  99 % near             found")  # fmt: skip
    for key in keys_of(runs):
        name, form, weight = key
        l0, dead, excess, frame, near, tail = (
            over_seeds(runs, key, field).mean()
            for field in ("l0", "dead", "excess", "frame", "near", "tail")
        )
        found = over_seeds(runs, key, "found")
        print(f"{name:12} {form:9} {weight:7g} {l0:5.2f} "
              f"{shown(over_seeds(runs, key, 'explained'), 4):>19} {dead:7.2%} "
              f"{shown(over_seeds(runs, key, 'coherence')):>17} {excess:11.3f} {frame:12.3f} "
              f"{near:12.3f} {tail:10.3f} "
              f"{'' if np.isnan(found).any() else shown(found):>17}")  # fmt: skip


def change(runs, key, field):
    """Mean over seeds of the change from no penalty, paired, and half of its interval."""
    off = key[0], "off", 0
    return mean_interval(over_seeds(runs, key, field) - over_seeds(runs, off, field))


def verdict(mean, half):
    return "gains" if mean - half > 0 else "loses" if mean + half < 0 else "neither"


def _yes(condition):
    return "yes" if condition else "no"


def conclude(named, runs, synthetic, truth):
    print("\nconclusions (changes against no penalty, paired by seed, half of the 95 % interval)")
    doubled, bound = named["two copies of a basis"], frame_bound(2 * N_FEATURES, N_FEATURES)
    print(f"two copies of a basis attain the bound of the sum with a largest cosine of 1: "
          f"{_yes(abs(frame_value(doubled) / bound - 1) < 1e-9)}")  # fmt: skip
    for group, fields in (
        (runs, ("explained", "coherence")),
        (synthetic, ("explained", "coherence", "found")),
    ):
        for key in keys_of(group):
            if key[1] == "off":
                continue
            changes = {field: change(group, key, field) for field in fields}
            text = ", ".join(f"{f} {m:+.4f} +- {h:.4f}" for f, (m, h) in changes.items())
            text += f"; score {verdict(*changes['explained'])}"
            if "found" in fields:
                text += f", recovery {verdict(*changes['found'])}"
            if key[1].startswith("hinge"):
                limit = float(key[1].split()[1])
                kept = over_seeds(group, key, "coherence").max() < limit + SLACK
                text += f"; limit kept within {SLACK:g}: {_yes(kept)}"
            print(f"{key[0]}, {key[1]}, {key[2]:g}: {text}")
    print(f"largest cosine of the true atoms: {shown(truth)}")


def draw(runs, synthetic, truth):
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 4.5), layout="constrained")
    for axis, name in ((axes[0], "TopK"), (axes[1], "L1")):
        _trade(axis, runs, name, "explained")
        axis.set(title=f"tokens, {name} at L0 = {L0}", ylabel="held-out explained variance")
        axis.axvline(LIMIT, color="C3", ls=":", lw=1, label="limit of the hinge")
    _trade(axes[2], synthetic, f"{N_TRUE} latents", "found")
    _trade(axes[2], synthetic, f"{2 * N_TRUE} latents", "found", alpha=0.4)
    axes[2].axvline(np.mean(truth), color="0.4", ls="--", lw=1, label="largest of the truth")
    axes[2].set(
        title=f"synthetic, TopK: {N_TRUE} latents; pale: {2 * N_TRUE}",
        ylabel="share of true atoms with cosine > 0.9",
    )
    for axis in axes:
        axis.set(xlabel="largest cosine of two atoms")
        axis.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def _trade(axis, runs, name, field, alpha=1.0):
    """One curve a form, its ends labelled with the weight."""
    forms = dict.fromkeys(form for method, form, _ in keys_of(runs) if method == name)
    for form, color in zip(forms, ("black", "C0", "C3", "C1"), strict=False):
        keys = [key for key in keys_of(runs) if key[:2] == (name, form)]
        x, y = (
            np.transpose([mean_interval(over_seeds(runs, key, f)) for key in keys])
            for f in ("coherence", field)
        )
        axis.errorbar(
            x[0], y[0], y[1], color=color, marker="*" if form == "off" else "o",
            ms=11 if form == "off" else 4, lw=1, elinewidth=0.7, alpha=alpha,
            label=form if alpha == 1 else None,
        )  # fmt: skip
        if len(keys) > 1 and alpha == 1:
            for end, offset in ((0, (6, 5)), (-1, (-4, -13))):
                place = x[0][end], y[0][end]
                axis.annotate(
                    f"{keys[end][2]:g}", place, offset, textcoords="offset points", fontsize=8,
                    color=color,
                )  # fmt: skip


def main():
    options = arguments(__doc__, seeds=3)
    size = FULL if options.full else SMALL
    with reported(__file__, options) as save:
        named = constructions()
        print_constructions(named)
        runs = runs_on_tokens(size, options.seeds)
        print_runs(
            runs,
            f"{size.rows} tokens, {size.latents} latents, {size.passes} passes; means over "
            "seeds, half of the 95 % interval; all but what is about atoms\non held-out tokens; "
            "near: largest cosine of an atom with another; sum and bound are of the plain form",
        )
        seeds = options.seeds + size.more
        synthetic, truth = recoveries(size, seeds)
        print_runs(
            synthetic,
            f"synthetic, TopK: {N_TRUE} atoms in {N_FEATURES} dimensions, {K} a sample, "
            f"{size.samples} samples, {size.epochs} passes, {seeds} seeds;\n"
            "found: share of true atoms with a matched cosine over 0.9",
        )
        conclude(named, runs, synthetic, truth)
        save(draw(runs, synthetic, truth))


if __name__ == "__main__":
    main()
