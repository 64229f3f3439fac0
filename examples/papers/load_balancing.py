"""
Evening out how often latents fire
==================================

Tilde's post "The Rate Distortion Dance of Sparse Autoencoders"
(tilderesearch.com/blog/rate-distortion-saes, 2024) suggests regularisers like those that share the
load among a mixture of experts, without a formula or a result. Two of them are tried: the loss-free
selection bias of Wang et al. (arXiv 2408.15664) with TopK, and the squared coefficient of variation
of Shazeer et al. (arXiv 1701.06538, section 4) with ReLU and gated autoencoders. At equal L0 they
are measured on token activations, and then on synthetic data whose features truly are, or are not,
used evenly.

    python examples/papers/load_balancing.py [--full] [--seeds 3] [--output FOLDER]
"""

from collections import namedtuple
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from report import arguments, mean_interval, reported

from skdict import GatedAutoencoder, SparseAutoencoder, TopKAutoencoder
from skdict.datasets import load_token_activations, make_superposition
from skdict.metrics import (
    dead_fraction,
    density_histogram,
    dictionary_match,
    explained_variance,
    load_entropy,
    load_gini,
    mean_l0,
)

L0 = 32  # on tokens
N_TRUE, N_FEATURES, K = 64, 32, 4  # of the synthetic data
L0_L1 = 2 * K  # there: shrunk codes need more latents than the truth has
FOUND = 0.9  # cosine beyond which a true atom is found
MISS = 0.02  # relative distance from the wanted L0 at which the tuning of alpha ends
EDGES = np.linspace(-3.5, 0, 29)  # log10 of densities

Size = namedtuple("Size", "rows latents passes rates weights gated samples epochs weak more")
RATES = (0, 1e-5, 1e-4, 1e-3, 1e-2)  # strengths for TopK
# Of the penalty: `weights` and `gated` on tokens, `weak` on synthetic data, whose loss is smaller.
SMALL = Size(2000, 128, 10, (0, 1e-5, 1e-2), (0, 100), (), 2000, 40, (0, 1), 0)
FULL = Size(6000, 512, 20, RATES, (0, 10, 100), (0, 100), 4000, 100, (0, 0.1, 1, 10), 1)

Run = namedtuple("Run", "alpha l0 explained dead entropy gini histogram")
Recovery = namedtuple("Recovery", "l0 explained entropy found common rare copies similarity")


def tuned_alpha(l0_at, target, alpha, most=8):
    """An alpha at which ``l0_at(alpha)`` is near `target`, by secants between logarithms."""
    seen = []
    for _ in range(most):
        seen.append((np.log(alpha), np.log(max(l0_at(alpha), 1e-3) / target)))
        if abs(np.expm1(seen[-1][1])) < MISS:
            break
        slope = -1.0
        if len(seen) > 1:
            (x, y), (x_new, y_new) = seen[-2:]
            if x != x_new:
                slope = np.clip((y_new - y) / (x_new - x), -5.0, -0.3)
        alpha = float(np.exp(seen[-1][0] - np.clip(seen[-1][1] / slope, -1.5, 1.5)))
    return float(np.exp(min(seen, key=lambda pair: abs(pair[1]))[0]))


def tuned(make, X, X_test, target, alpha):
    """Fit of the alpha that gives `target` non-zeros a held-out sample, and that alpha."""
    fits = {}

    def l0_at(alpha):
        fits[alpha] = make(alpha=alpha).fit(X)
        return mean_l0(fits[alpha].transform(X_test))

    best = tuned_alpha(l0_at, target, alpha)
    return min(fits.items(), key=lambda item: abs(np.log(item[0] / best)))


def measure(estimator, X_test, alpha=np.nan):
    Z = estimator.transform(X_test)
    return Run(
        alpha,
        mean_l0(Z),
        explained_variance(X_test, estimator.inverse_transform(Z)),
        dead_fraction(Z),
        load_entropy(Z),
        load_gini(Z),
        density_histogram(Z, bins=EDGES).counts,
    )


def runs_on_tokens(size, seeds):
    """Runs by method, strength and seed."""
    tokens = load_token_activations().data
    X_test, runs = load_token_activations(subset="test").data, {}
    shared = {"n_components": size.latents, "max_iter": size.passes}
    for seed in range(seeds):
        X = tokens[np.random.default_rng(seed).permutation(len(tokens))[: size.rows]]
        own = shared | {"random_state": seed}
        for rate in size.rates:
            sae = TopKAutoencoder(k=L0, load_balancing=rate, **own).fit(X)
            runs["TopK", rate, seed] = measure(sae, X_test)
        for name, kind, weights in (
            ("L1", SparseAutoencoder, size.weights),
            ("Gated", GatedAutoencoder, size.gated),
        ):
            alpha = 1.5
            for weight in weights:
                known = runs.get((name, weight, 0))
                make = partial(kind, load_balancing=weight, **own)
                alpha, sae = tuned(make, X, X_test, L0, known.alpha if known else alpha)
                runs[name, weight, seed] = measure(sae, X_test, alpha)
    return runs


def recovery(estimator, X_test, dictionary, use):
    """Agreement with the truth; `use` is how often each true atom occurs."""
    Z = estimator.transform(X_test)
    match = dictionary_match(estimator.components_, dictionary, threshold=FOUND)
    found, common = match.similarities > FOUND, use >= np.median(use)
    D = estimator.components_ / np.linalg.norm(estimator.components_, axis=1, keepdims=True)
    copies = (D @ dictionary.T > FOUND).sum(axis=0)
    return Recovery(
        mean_l0(Z),
        explained_variance(X_test, estimator.inverse_transform(Z)),
        load_entropy(Z),
        match.recovery_rate,
        found[common].mean(),
        found[~common].mean(),
        copies[common].mean(),
        match.mean_similarity,
    )


def recoveries(size, seeds):
    """Recoveries by law, method, latents, strength and seed, and the entropy of the true codes."""
    found, truth = {}, {}
    for law, rates in (("uniform", None), ("Zipf", 1.0)):
        problem = {"n_components": N_TRUE, "n_features": N_FEATURES, "k": K, "rates": rates}
        for seed in range(seeds):
            X, D, _ = make_superposition(size.samples, random_state=seed, **problem)
            X_test, _, codes = make_superposition(
                2000, dictionary=D, random_state=1000 + seed, **problem
            )
            truth[law, seed] = load_entropy(codes)
            # Zipf's components are in order of their rates, and chance has no say in that.
            use = -np.arange(N_TRUE)
            for latents in (N_TRUE, 2 * N_TRUE):
                own = {"n_components": latents, "max_iter": size.epochs, "random_state": seed}
                for rate in size.rates:
                    sae = TopKAutoencoder(k=K, load_balancing=rate, **own).fit(X)
                    key = law, "TopK", latents, rate, seed
                    found[key] = recovery(sae, X_test, D, use)
                alpha = 0.3
                for weight in size.weak:
                    make = partial(SparseAutoencoder, load_balancing=weight, **own)
                    alpha, sae = tuned(make, X, X_test, L0_L1, alpha)
                    key = law, "L1", latents, weight, seed
                    found[key] = recovery(sae, X_test, D, use)
    return found, truth


def over_seeds(runs, key, field):
    return np.array([getattr(run, field) for (*head, _), run in runs.items() if tuple(head) == key])


def shown(values, digits=3):
    mean, half = mean_interval(values)
    return f"{mean:.{digits}f} +- {half:.{digits}f}"


def keys_of(runs):
    return list(dict.fromkeys(tuple(head) for *head, _ in runs))


def print_tokens(runs):
    print(
        "\ntokens: means over seeds, half of the 95 % interval; L0 and all else on held-out tokens"
    )
    print("method strength   alpha    L0   explained variance  silent latents   "
          "load entropy      load gini")  # fmt: skip
    for key in keys_of(runs):
        name, strength = key
        alpha, l0 = (over_seeds(runs, key, field).mean() for field in ("alpha", "l0"))
        columns = [shown(over_seeds(runs, key, f), 4) for f in Run._fields[2:6]]
        print(f"{name:6} {strength:8g} {alpha:7.3f} {l0:5.1f} "
              + "".join(f"{column:>19}" for column in columns))  # fmt: skip


def print_recoveries(found, truth):
    print(f"\nsynthetic: {N_TRUE} atoms in {N_FEATURES} dimensions, {K} a sample; found: share of "
          f"true atoms with a\nmatched cosine over {FOUND}, of all, of the half with the largest "
          "rates, of the other half; copies:\nlearned atoms with such a cosine, a true atom of "
          "the first half")  # fmt: skip
    for law in dict.fromkeys(law for law, _ in truth):
        values = [value for (name, _), value in truth.items() if name == law]
        print(f"load entropy of the true codes, {law}: {shown(values)}")
    print("law     method latents strength    L0  explained entropy            found  "
          "first half  other half  copies   mean similarity")  # fmt: skip
    for key in keys_of(found):
        law, name, latents, strength = key
        l0, explained, entropy, common, rare, copies = (
            over_seeds(found, key, field).mean()
            for field in ("l0", "explained", "entropy", "common", "rare", "copies")
        )
        print(f"{law:7} {name:6} {latents:7} {strength:8g} {l0:5.2f} {explained:10.3f} "
              f"{entropy:7.3f} {shown(over_seeds(found, key, 'found')):>16} {common:11.3f} "
              f"{rare:11.3f} {copies:7.2f} "
              f"{shown(over_seeds(found, key, 'similarity')):>17}")  # fmt: skip


def change(runs, head, strength, field):
    """Mean over seeds of the change from no balancing, paired, and half of its interval."""
    return mean_interval(
        over_seeds(runs, (*head, strength), field) - over_seeds(runs, (*head, 0), field)
    )


def _yes(condition):
    return "yes" if condition else "no"


def conclude(runs, found):
    print("\nconclusions (changes against no balancing, paired by seed, half of the 95 % interval)")
    for name in dict.fromkeys(name for name, *_ in runs):
        strengths = [s for n, s in keys_of(runs) if n == name]
        entropies = [over_seeds(runs, (name, s), "entropy").mean() for s in strengths]
        print(f"tokens, {name}: load entropy rises with every step of the strength: "
              f"{_yes(np.all(np.diff(entropies) > 0))}")  # fmt: skip
        for strength in strengths[1:]:
            mean, half = change(runs, (name,), strength, "explained")
            print(f"tokens, {name}, {strength:g}: explained variance {mean:+.4f} +- {half:.4f}; "
                  f"falls beyond chance: {_yes(mean + half < 0)}")  # fmt: skip
    for law, name, latents, strength in keys_of(found):
        if strength == 0:
            continue
        head = law, name, latents
        changes = {f: change(found, head, strength, f) for f in ("found", "rare", "explained")}
        text = ", ".join(
            f"{label} {changes[field][0]:+.3f} +- {changes[field][1]:.3f}"
            for label, field in (("found", "found"), ("other half", "rare"), ("EV", "explained"))
        )
        worse = any(mean + half < 0 for mean, half in changes.values())
        print(f"{law}, {name}, {latents} latents, {strength:g}: {text}; "
              f"one falls beyond chance: {_yes(worse)}")  # fmt: skip


def draw(runs, found, size):
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    shades = plt.cm.viridis(np.linspace(0, 0.85, len(size.rates)))
    for strengths, name, axis in ((size.rates, "TopK", axes[0, 0]),
                                  (size.weights, "L1", axes[0, 1])):  # fmt: skip
        for strength, shade in zip(strengths, shades, strict=False):
            counts = over_seeds(runs, (name, strength), "histogram").mean(axis=0)
            axis.stairs(counts, EDGES, color=shade, label=f"{strength:g}", lw=1.5)
        axis.axvline(np.log10(L0 / size.latents), color="black", ls=":", label="L0 / latents")
        axis.set(
            title=f"tokens, {name}: densities at L0 = {L0}",
            xlabel="log10 (share of held-out tokens)",
            ylabel="latents",
        )
        title = "bias step" if name == "TopK" else "penalty weight"
        axis.legend(title=title, frameon=False, loc="upper left")
    for name, strengths, axis in (
        ("TopK", size.rates, axes[1, 0]),
        ("L1", size.weak, axes[1, 1]),
    ):
        places = np.arange(len(strengths))
        for law, color in (("uniform", "C0"), ("Zipf", "C3")):
            for latents, style in ((N_TRUE, "-"), (2 * N_TRUE, "--")):
                pairs = [
                    mean_interval(over_seeds(found, (law, name, latents, s), "found"))
                    for s in strengths
                ]
                mean, half = np.transpose(pairs)
                axis.errorbar(places, mean, half, color=color, ls=style, marker="o", ms=4,
                              capsize=2, label=f"{law}, {latents} latents")  # fmt: skip
        axis.set_xticks(places, [f"{s:g}" for s in strengths])
        kind = "bias step" if name == "TopK" else "penalty weight"
        axis.set(
            title=f"synthetic, {name}: true atoms found of {N_TRUE}",
            xlabel=kind,
            ylabel=f"share with cosine > {FOUND}",
            ylim=(0, 1.05),
        )
        axis.legend(frameon=False, loc="lower left")
    return figure


def main():
    options = arguments(__doc__, seeds=3)
    size = FULL if options.full else SMALL
    with reported(__file__, options) as save:
        print(
            f"{size.rows} tokens, {size.latents} latents, {size.passes} passes, L0 = {L0}; "
            f"synthetic: {size.samples} samples,\n{size.epochs} passes, "
            f"{options.seeds + size.more} seeds, L0 = {K} for TopK and {L0_L1} for L1. "
            "Strength: of TopK the step of the\nselection bias, of the others the weight of the "
            "penalty, alpha tuned for each seed"
        )
        runs = runs_on_tokens(size, options.seeds)
        print_tokens(runs)
        found, truth = recoveries(size, options.seeds + size.more)
        print_recoveries(found, truth)
        conclude(runs, found)
        save(draw(runs, found, size))


if __name__ == "__main__":
    main()
