"""
Learning dictionaries at low bitrates
=====================================

A sum of k among N atoms carries H = log2 C(N, k) bits in d dimensions. Between the d / H that
matching pursuit needs to find the atoms of a known dictionary and the larger one that one-step
estimates need, "On Bitrates of Very Sparse Superposition Codes" (submitted to ICML 2025, openreview
peR9HAdJnk) leaves room for this: an autoencoder, whose encoder is one step, fails to *learn* the
dictionary where a pursuit would not, which is why its dictionary gains little from better
inference. This script learns dictionaries at such bitrates by TopKAutoencoder and by
MatchingPursuitCoder, and then codes held-out samples by pursuit over what the former learned.

    python examples/papers/low_bitrate_learning.py [--full] [--output doc/papers]

takes half a minute on two cores, or with ``--full`` about twelve minutes of one.
"""

import time
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from report import arguments, mean_interval, reported
from sklearn.frozen import FrozenEstimator

from skdict import MatchingPursuitCoder, ThresholdCoder, TopKAutoencoder
from skdict.datasets import make_superposition, support_entropy
from skdict.metrics import dictionary_match, explained_variance, superposition_bitrate

TUNING_SEED = 1000
Pursuit = partial(MatchingPursuitCoder, positive=True)
# By the gradient the offset would be trained too, and wander off where codes cannot be negative.
by_gradient = partial(Pursuit, dict_update="gradient", offset=0.0)
SETTINGS = {
    "TopK": {
        "default": TopKAutoencoder,
        "rate .005": partial(TopKAutoencoder, learning_rate=0.005),
        "rate .01": partial(TopKAutoencoder, learning_rate=0.01),
    },
    "MP": {
        "online": partial(Pursuit, algorithm="mp"),
        "gradient": partial(by_gradient, algorithm="mp"),
        "gradient, rate .01": partial(by_gradient, algorithm="mp", learning_rate=0.01),
    },
    "OMP": {
        "online": Pursuit,
        "gradient": by_gradient,
        "gradient, rate .01": partial(by_gradient, learning_rate=0.01),
    },
}
# With many atoms a pass of a pursuit costs four of the autoencoder, so that it may make more.
LARGE = {
    "TopK": {
        "rate .01": partial(TopKAutoencoder, learning_rate=0.01),
        "rate .007, 200 passes": partial(TopKAutoencoder, learning_rate=0.007, max_iter=200),
    },
    "MP": {name: SETTINGS["MP"][name] for name in ("online", "gradient, rate .01")},
}
FEW = {
    learner: {name: settings[name] for name in (next(iter(settings)), list(settings)[-1])}
    for learner, settings in SETTINGS.items()
}
CODES = ("TopK's codes", "MP, TopK's atoms", "MP, true atoms")


def sample(problem, ratio, seed):
    """Samples to learn from, samples held out and their codes, and the true atoms."""
    N, k, magnitudes, n_samples = problem
    d = round(ratio * support_entropy(N, k))
    n_test = 2000
    X, D, Z = make_superposition(
        n_samples + n_test, N, d, k, magnitudes=magnitudes, random_state=seed
    )
    X = X.astype(np.float32)
    return X[:-n_test], X[-n_test:], Z[-n_test:], D


def learn(make, problem, X, seed):
    """A fitted learner and how long that took, in seconds."""
    model = make(problem[0], k=problem[1], random_state=seed)
    begin = time.perf_counter()
    model.fit(X)
    return model, time.perf_counter() - begin


def atoms_of(model, problem, X):
    """Atoms to compare with the true ones.

    k codes of 1 always sum to k: a vector v can be taken from every atom, and k v given to the
    offset, without any sample changing. With such codes, hence, each atom is multiplied by its mean
    code where it is active, and gets its part of the offset back.
    """
    _, k, magnitudes, _ = problem
    if magnitudes != "ones":
        return model.components_
    Z = model.transform(X)
    sizes = Z.sum(axis=0) / np.maximum((Z > 0).sum(axis=0), 1)
    return sizes[:, None] * model.components_ + model.decoder_bias_ / k


def share_learned(model, problem, X, D):
    return dictionary_match(atoms_of(model, problem, X), D).recovery_rate


def tune(problem, candidates, ratios):
    """The candidate of each learner with the largest share of true atoms, on a seed of its own."""
    print(f"Tuning on seed {TUNING_SEED}: share of true atoms at d / H = "
          f"{', '.join(f'{r:g}' for r in ratios)}; seconds of a fit")  # fmt: skip
    data = [sample(problem, ratio, TUNING_SEED) for ratio in ratios]
    chosen = {}
    for learner, settings in candidates.items():
        scores = {}
        for name, make in settings.items():
            runs = [learn(make, problem, X, TUNING_SEED) for X, *_ in data]
            shares = [
                share_learned(model, problem, X_test, D)
                for (model, _), (_, X_test, _, D) in zip(runs, data, strict=True)
            ]
            scores[name] = np.mean(shares)
            texts = "  ".join(f"{share:.2f}" for share in shares)
            print(f"  {learner:<5} {name:<22} {texts}  {np.mean([s for _, s in runs]):5.1f} s")
        chosen[learner] = max(scores, key=scores.get)
    print("chosen: " + "; ".join(f"{learner} {name}" for learner, name in chosen.items()) + "\n")
    return {learner: candidates[learner][name] for learner, name in chosen.items()}


def support_scores(sae, problem, X, Z, D):
    """F1 of the support and explained variance, for the three ways of CODES to code X."""
    pursuit = partial(Pursuit, k=problem[1], algorithm="mp")
    atoms = atoms_of(sae, problem, X)
    over_learned = pursuit(dictionary=FrozenEstimator(sae)).fit(X)
    over_true = pursuit(dictionary=D.astype(X.dtype)).fit(X)
    coders = (sae, atoms), (over_learned, atoms), (over_true, D)
    scores = {}
    for name, (coder, learned) in zip(CODES, coders, strict=True):
        codes = coder.transform(X)
        match = dictionary_match(learned, D, codes=codes, true_codes=Z)
        explained = explained_variance(X, coder.inverse_transform(codes))
        scores[name] = match.support_f1, explained
    return scores


def experiment(problem, learners, ratios, n_seeds):
    """Learn at each d / H, print a row each, and return {ratio: {quantity: values over seeds}}."""
    N, k, magnitudes, n_samples = problem
    print(f"N = {N}, k = {k}, H = {support_entropy(N, k):.1f} bits, magnitudes {magnitudes}, "
          f"{n_samples} samples, {n_seeds} seeds")  # fmt: skip
    print("learners and chance: share of true atoms learned +- 95 %, seconds of a fit; codes of "
          "samples held out:\nF1 of the support +- 95 % / explained variance\n")  # fmt: skip
    print("d / H  d  " + "".join(f"{name:<22}" for name in learners)
          + "chance  " + "".join(f"{name:<21}" for name in CODES))  # fmt: skip
    results = {}
    for ratio in ratios:
        found = results[ratio] = {name: [] for name in (*learners, *CODES, "chance")}
        for seed in range(n_seeds):
            X, X_test, Z_test, D = sample(problem, ratio, seed)
            for name, make in learners.items():
                model, seconds = learn(make, problem, X, seed)
                found[name].append((share_learned(model, problem, X_test, D), seconds))
                if name == "TopK":
                    for way, scores in support_scores(model, problem, X_test, Z_test, D).items():
                        found[way].append(scores)
            random = np.random.default_rng(seed).standard_normal(D.shape)
            found["chance"].append((dictionary_match(random, D).recovery_rate, 0.0))
        print_row(ratio, D.shape[1], learners, found)
    print()
    return results


def print_row(ratio, n_features, learners, found):
    def both(name):
        first, second = np.transpose(found[name])
        return *mean_interval(first), second.mean()

    row = f"{ratio:5.2f} {n_features:3d}  "
    for name in learners:
        share, half, seconds = both(name)
        row += f"{f'{share:.2f} +- {half:.2f}, {seconds:.1f} s':<22}"
    row += f"{both('chance')[0]:<8.2f}"
    for name in CODES:
        f1, half, explained = both(name)
        row += f"{f'{f1:.2f} +- {half:.2f} / {explained:.2f}':<21}"
    print(row)


def inference(problem, n_trials):
    """d / H at which MP and the k largest find half the supports of a known dictionary."""
    N, k, magnitudes, _ = problem
    H, needs = support_entropy(N, k), {}
    coders = {"MP": Pursuit(algorithm="mp"), "top-k": ThresholdCoder(positive=True)}
    for name, coder in coders.items():
        found = superposition_bitrate(
            coder,
            n_components=N,
            k=k,
            n_features=np.round(H * 1.3 ** np.arange(-3, 12)).astype(int),
            ensemble="spherical",
            magnitudes=magnitudes,
            n_trials=n_trials,
            n_dictionaries=10,
            random_state=0,
        )
        low, high = found.intervals[0]
        needs[name] = found.dims_per_bit[0]
        print(f"known dictionary, {name:<5}: 50 % of supports exact at d / H = "
              f"{needs[name]:.2f} [{low:.2f}, {high:.2f}]")  # fmt: skip
    print()
    return needs


def learners_of(results):
    (first, *_) = results.values()
    return [name for name in SETTINGS if name in first]


def mean_of(results, name, column=0):
    return np.array([np.mean(found[name], axis=0)[column] for found in results.values()])


def needed(results, name, share=0.5):
    """The smallest d / H tried from which on at least this share of the atoms is learned."""
    enough = mean_of(results, name) >= share
    last = max((i for i, good in enumerate(enough) if not good), default=-1)
    ratios = list(results)
    return ratios[last + 1] if last + 1 < len(ratios) else np.inf


def conclude(results, needs):
    ratios = np.array(list(results))
    between = (ratios > needs["MP"]) & (ratios < needs["top-k"])
    learners = learners_of(results)
    for name in learners:
        shares, seconds = mean_of(results, name), mean_of(results, name, 1)
        print(f"{name:<5} learns half of the atoms from d / H = {needed(results, name):g} on, at "
              f"most {shares.max():.2f}; between the needs of MP and top-k "
              f"{shares[between].min():.2f} or more; {seconds.mean():.1f} s")  # fmt: skip
    best = np.max([mean_of(results, name) for name in learners if name != "TopK"], axis=0)
    gap = best - mean_of(results, "TopK")
    at = int(gap.argmax())
    print(f"largest lead of the better pursuit over TopK: {gap[at]:+.2f}, at d / H = "
          f"{ratios[at]:g}; mean of all: {gap.mean():+.2f}")  # fmt: skip
    gain = mean_of(results, CODES[1]) - mean_of(results, CODES[0])
    right = mean_of(results, "TopK") >= 0.9
    wrong = mean_of(results, "TopK") < 0.5
    for what, where in (("right (share >= .9)", right), ("wrong (share < .5)", wrong)):
        if where.any():
            print(f"pursuit over TopK's atoms, gain in F1 where they are {what}: "
                  f"{gain[where].min():+.2f} to {gain[where].max():+.2f}")  # fmt: skip


def draw(tables, needs):
    figure, axes = plt.subplots(
        2, len(tables), figsize=(5.5 * len(tables), 8), layout="constrained", squeeze=False
    )
    for (above, below), (problem, results) in zip(axes.T, tables.items(), strict=True):
        N, k, magnitudes, _ = problem
        above.set(title=f"N = {N}, k = {k}, magnitudes: {magnitudes.replace('_', '-')}",
                  ylabel="share of true atoms learned")  # fmt: skip
        below.set(xlabel="d / H (dimensions per bit)", ylabel="F1 of the support, held out")
        for axis, names in ((above, learners_of(results)), (below, CODES)):
            curves(axis, results, names)
            low, high = axis.get_xlim()
            for (name, need), style in zip(needs[problem].items(), (":", "--"), strict=True):
                if low < need < high:
                    label = f"{name} over the true atoms:\n50 % of supports exact"
                    axis.axvline(need, color="gray", ls=style, lw=1, label=label)
            axis.legend(fontsize=9, loc="lower right", framealpha=1, edgecolor="none")
    return figure


def curves(axis, results, names):
    for name in names:
        values = [np.transpose(found[name])[0] for found in results.values()]
        means, halves = np.transpose([mean_interval(v) for v in values])
        axis.errorbar(list(results), means, halves, marker="o", capsize=2, label=name)
    ticks = [0.4, 0.5, 0.7, 1, 1.4, 2, 2.8]
    axis.set(xscale="log", ylim=(-0.03, 1.03))
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xlim(0.95 * min(results), 1.05 * max(results))
    axis.minorticks_off()


# (N, k, magnitudes, samples); seeds at most; settings, and d / H at which they are compared; d / H
# of the experiment.
FULL = [
    ((256, 4, "ones", 10_000), 9, SETTINGS, (0.8, 1.4), (0.7, 0.8, 0.9, 1.0, 1.4, 2.8)),
    ((256, 4, "half_normal", 10_000), 9, SETTINGS, (0.8, 1.4), (0.4, 0.5, 0.6, 0.8, 1.4, 2.8)),
    ((1024, 8, "ones", 20_000), 9, LARGE, (1.0,), (0.9, 1.0, 1.4)),
]
SMALL = [((64, 3, "ones", 2_000), 2, FEW, (1.0,), (0.6, 1.2, 2.4))]


def main():
    options = arguments(__doc__, seeds=4)
    tables, needs = {}, {}
    with reported(__file__, options) as save:
        for problem, most, candidates, tuned_at, ratios in FULL if options.full else SMALL:
            print(f"--- N = {problem[0]}, k = {problem[1]}, magnitudes {problem[2]}\n")
            needs[problem] = inference(problem, 400 if options.full else 100)
            learners = tune(problem, candidates, tuned_at)
            tables[problem] = experiment(problem, learners, ratios, min(options.seeds, most))
            conclude(tables[problem], needs[problem])
            print()
        save(draw(tables, needs))


if __name__ == "__main__":
    main()
