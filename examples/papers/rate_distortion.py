"""
How many bits a sparse code takes
=================================

Tilde's post "The Rate Distortion Dance of Sparse Autoencoders" (tilderesearch.com/blog/
rate-distortion-saes, 2024) looks at a sparse autoencoder as lossy compression: sparsity stands for
the rate, the squared error is the distortion. This script counts the bits. The codes of each
estimator, on token activations of a small language model, are rounded to a step and priced by the
cross-entropy of held-out codes under a model of the training codes, and the error of what is
decoded from the rounded codes is set against that, beside rounded principal components and the
rate-distortion function of a Gaussian of the same covariance.

    python examples/papers/rate_distortion.py [--full] [--seeds 1] [--output FOLDER]

The data come with skdict.
"""

import warnings
from collections import namedtuple

import matplotlib.pyplot as plt
import numpy as np
from report import arguments, reported
from scipy.optimize import brentq
from scipy.special import gammaln
from sklearn.decomposition import PCA

from skdict import (
    GatedAutoencoder,
    LassoCoder,
    MatchingPursuitCoder,
    SparseAutoencoder,
    ThresholdCoder,
    TopKAutoencoder,
)
from skdict.datasets import load_token_activations

TARGETS = (0.5, 0.3, 0.2)  # of FVU
# Steps to which codes are rounded, in root mean squares of the entries of X about their means, and
# the share of a step from which a code is rounded up: more than half makes more of them zero.
STEPS = (1, 1.5, 2, 3, 4, 6)
FINE_STEPS = (1.4, 2, 2.4, 2.8, 3.4, 4, 5, 6, 8)  # of PCA, which has no other parameter
ROUND_UP = (0.5, 0.7)
ROWS = 8000  # of training codes that the model of the rate learns from
BACKOFF = 20.0  # occurrences of a latent at which its own values weigh as much as all latents'

Size = namedtuple("Size", "n_components rows every epochs passes draws")
SMALL = Size(384, 6000, 2, 8, 2, 40)
FULL = Size(768, 23_000, 1, 20, 4, 300)  # epochs of autoencoders, passes of coders

# What a code costs and how far off it is, by held-out sentence: sums of bits for which latents are
# active, of the same under a uniform law, of bits for their values, of active latents, of squares.
Point = namedtuple("Point", "setting step up support uniform values active squares")

ESTIMATORS = {
    "TopKAutoencoder": ("k", (8, 16, 32, 64, 128), TopKAutoencoder, {}),
    "SparseAutoencoder": ("alpha", (1.6, 0.9, 0.5, 0.3, 0.2), SparseAutoencoder, {}),
    "GatedAutoencoder": ("alpha", (4.0, 2.5, 1.6, 1.0, 0.6), GatedAutoencoder, {}),
    "MatchingPursuit, mp": ("k", (8, 16, 32, 64), MatchingPursuitCoder, {"algorithm": "mp"}),
    "MatchingPursuit, omp": ("k", (6, 12, 24, 48), MatchingPursuitCoder, {"algorithm": "omp"}),
    "LassoCoder": ("alpha", (1.6, 1.0, 0.7, 0.5, 0.35), LassoCoder, {}),
    "ThresholdCoder, refit": ("k", (8, 16, 32, 64, 128), ThresholdCoder, {"refit": True}),
}
AUTOENCODERS = (TopKAutoencoder, SparseAutoencoder, GatedAutoencoder)


class RateModel:
    """Bits for rounded codes whose latents are taken for independent, learnt from other codes.

    Whether a latent is active costs the entropy of a coin of its own; the value of an active one
    is drawn from its own histogram, blended with that of all latents. Both are smoothed, so that
    no code is impossible: a value v that never occurred has prior odds of 1 / (|v| (|v| + 1)).
    """

    def __init__(self, Q):
        rows, latents = Q.nonzero()
        values = Q[rows, latents]
        self.rate = (np.bincount(latents, minlength=Q.shape[1]) + 0.5) / (Q.shape[0] + 1)
        self.signed = bool((values < 0).any())
        self.reach = int(np.abs(values).max(initial=1))
        self.seen = np.bincount(latents, minlength=Q.shape[1])
        self.pool = np.bincount(values + self.reach, minlength=2 * self.reach + 1)
        flat = latents * self.pool.size + values + self.reach
        shape = (Q.shape[1], self.pool.size)
        self.own = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)

    def support_bits(self, Q):
        """Bits of each row for which latents are active."""
        odds = np.log2(1 - self.rate) - np.log2(self.rate)
        return -np.log2(1 - self.rate).sum() + (Q != 0) @ odds

    def value_bits(self, Q):
        """Bits of each row for the values of its active latents."""
        rows, latents = Q.nonzero()
        values = Q[rows, latents].astype(np.int64)
        inside = np.abs(values) <= self.reach
        places = np.where(inside, values + self.reach, 0)
        prior = 1 / (np.abs(values) * (np.abs(values) + 1.0)) / (1 + self.signed)
        pooled = (self.pool[places] * inside + prior) / (self.pool.sum() + 1)
        own = self.own[latents, places] * inside
        chance = (own + BACKOFF * pooled) / (self.seen[latents] + BACKOFF)
        return np.bincount(rows, -np.log2(chance), minlength=Q.shape[0])


def uniform_bits(active, n_components):
    """log2 of the number of supports of as many active latents, and log2(n + 1) for how many."""
    log_ways = gammaln(n_components + 1) - gammaln(active + 1) - gammaln(n_components - active + 1)
    return log_ways / np.log(2) + np.log2(n_components + 1)


def gain_of(X, X_hat, centre):
    """The number by which reconstructions about a centre are best multiplied."""
    size = float(np.sum((X_hat - centre) ** 2))
    return float(np.sum((X - centre) * (X_hat - centre))) / size if size else 0.0


def rounded(Z, step, up):
    """Multiples of a step, sizes rounded up from a share `up` of it."""
    return (np.sign(Z) * np.floor(np.abs(Z) / step + (1 - up))).astype(np.int32)


def points_of(estimator, setting, data, steps=STEPS):
    """Points of a fitted estimator at every step."""
    codes = [estimator.transform(X) for X in (data.train[:ROWS], data.test)]
    found = []
    for factor in steps:
        for up in ROUND_UP:
            step = factor * data.scale
            train, test = (rounded(Z, step, up) for Z in codes)
            model, active = RateModel(train), (test != 0).sum(axis=1)
            squares = ((decoded(estimator, train, test, step, data) - data.test) ** 2).sum(axis=1)
            rows = (
                model.support_bits(test), uniform_bits(active, test.shape[1]),
                model.value_bits(test), active, squares,
            )  # fmt: skip
            sums = (np.bincount(data.sentence, row) for row in rows)
            found.append(Point(setting, factor, up, *sums))
    return found


def decoded(estimator, train, test, step, data):
    """Reconstruction of the test rows, by the gain that is best for 3,000 training rows."""
    few, centre = data.train[:ROWS][:3000], data.train.mean(axis=0)
    few_hat, X_hat = (
        estimator.inverse_transform((Q * step).astype(np.float32))
        for Q in (train[: few.shape[0]], test)
    )
    return centre + gain_of(few, few_hat, centre) * (X_hat - centre)


Data = namedtuple("Data", "train test scale sentence tokens spread")


def load_data(size, seed):
    train, test = load_token_activations(), load_token_activations(subset="test")
    rows = np.random.default_rng(seed).permutation(train.data.shape[0])[: size.rows]
    X = train.data[rows]
    sentence = test.sentence - test.sentence.min()
    spread = ((test.data - test.data.mean(axis=0)) ** 2).sum(axis=1)
    return Data(
        X, test.data, float((X - X.mean(axis=0)).std()), sentence,
        np.bincount(sentence), np.bincount(sentence, spread),
    )  # fmt: skip


def all_points(size, seeds):
    """Points by estimator and seed."""
    points = {}
    for seed in range(seeds):
        data = load_data(size, seed)
        for name, (parameter, settings, kind, others) in ESTIMATORS.items():
            passes = size.epochs if kind in AUTOENCODERS else size.passes
            for setting in settings[:: size.every]:
                estimator = kind(
                    size.n_components, max_iter=passes, random_state=seed,
                    **{parameter: setting}, **others,
                )  # fmt: skip
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    estimator.fit(data.train)
                found = points_of(estimator, f"{parameter} = {setting:g}", data)
                points.setdefault((name, seed), []).extend(found)
        points["PCA", seed] = points_of(PCA().fit(data.train), "", data, FINE_STEPS)
    return points, data


def lower_hull(distortion, rate):
    """Indices of the points on the lower convex hull, from the greatest distortion to the least.

    What lies between two of them is reached by using one for some samples and one for the others.
    """
    hull = []
    for i in np.lexsort((rate, -distortion)):
        while hull and rate[i] <= rate[hull[-1]]:  # no more distortion, at no higher a rate
            hull.pop()
        while len(hull) > 1 and _above(distortion, rate, hull[-2], hull[-1], i):
            hull.pop()
        if not hull or distortion[i] < distortion[hull[-1]]:
            hull.append(i)
    return np.array(hull)


def _above(x, y, a, b, c):
    """Whether b lies on or above the line from a to c, x falling."""
    return (y[b] - y[a]) * (x[a] - x[c]) >= (y[c] - y[a]) * (x[a] - x[b])


NOTHING = (1.0, 0.0, 0.0, 0.0, 0.0)  # FVU, three kinds of bits, active latents


def per_token(point, data, weights=None):
    """FVU, bits of the support, the same at a uniform law, of values, and L0, of a point."""
    weights = np.ones(data.tokens.size) if weights is None else weights
    sums = np.array(point[3:7]) @ weights / (weights @ data.tokens)
    return point.squares @ weights / (weights @ data.spread), *sums


def at_target(points, data, target, weights=None):
    """Bits, of which for the support, uniform bits and active latents, a token, at an FVU.

    On the lower hull of the points and of sending nothing, which costs no bit; NaN below its end.
    `weights` counts each held-out sentence as often.
    """
    rows = [per_token(point, data, weights) for point in points]
    fvu, support, uniform, values, active = np.transpose([NOTHING, *rows])
    chosen = lower_hull(fvu, support + values)
    if fvu[chosen[-1]] > target:
        return np.full(4, np.nan)
    columns = (support + values, support, uniform + values, active)
    return np.array([np.interp(-target, -fvu[chosen], column[chosen]) for column in columns])


def gaussian_rate(eigenvalues, fvu):
    """Bits a sample to send a Gaussian of these variances at an FVU: reverse water-filling."""
    total = eigenvalues.sum()
    level = brentq(
        lambda level: np.minimum(level, eigenvalues).sum() - fvu * total, 0, eigenvalues.max()
    )
    return float(np.log2(np.maximum(eigenvalues / level, 1)).sum() / 2)


def by_seeds(points, data, name, target, weights=None):
    seeds = [seed for other, seed in points if other == name]
    return np.mean([at_target(points[name, s], data, target, weights) for s in seeds], axis=0)


def bootstrap(points, data, target, draws):
    """Bits of every estimator at a target, by draw of held-out sentences with replacement."""
    rng, names = np.random.default_rng(0), list(dict.fromkeys(name for name, _ in points))
    n = data.tokens.size
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=draws)
    return {name: [by_seeds(points, data, name, target, w)[0] for w in drawn] for name in names}


def print_points(points, data):
    print("\nevery setting of seed 0 at a step of 2: a token, held out")
    print("estimator               setting        L0     FVU   bits: support   uniform   values"
          "   total")  # fmt: skip
    for (name, seed), group in points.items():
        for point in group:
            if (seed, point.step, point.up) == (0, 2, 0.5):
                fvu, support, uniform, values, active = per_token(point, data)
                print(f"{name:23} {point.setting:12} {active:5.1f} {fvu:7.3f} {support:15.1f} "
                      f"{uniform:9.1f} {values:8.1f} {support + values:7.1f}")  # fmt: skip


def print_targets(points, data, eigenvalues, draws):
    """Table of each target; gives by target the means and the draws."""
    results = {}
    for target in TARGETS:
        drawn = bootstrap(points, data, target, draws)
        results[target] = {name: by_seeds(points, data, name, target) for name in drawn}, drawn
        print(f"\nat FVU {target}: bits a token [95 % interval over held-out sentences]; "
              "nan: not reached")  # fmt: skip
        print("estimator               bits                     support   L0      bits per active"
              "   support at a uniform law")  # fmt: skip
        for name, (bits, support, uniform, active) in results[target][0].items():
            low, high = np.percentile(drawn[name], [2.5, 97.5])
            at_uniform = uniform - bits + support
            print(f"{name:23} {f'{bits:6.1f} [{low:.1f}, {high:.1f}]':24} {support:7.1f} "
                  f"{active:7.1f} {bits / active:13.2f} {at_uniform:16.1f}")  # fmt: skip
        print(f"{'Gaussian':23} {gaussian_rate(eigenvalues, target):6.1f}")
    return results


def conclude(results, eigenvalues):
    print("\nconclusions")
    for target, (means, drawn) in results.items():
        reached = [n for n in means if n != "PCA" and np.isfinite(means[n][0])]
        order = sorted(reached, key=lambda name: means[name][0])
        pca, gaussian = means["PCA"][0], gaussian_rate(eigenvalues, target)
        print(f"at FVU {target}; bits as multiples of PCA's and of the Gaussian's, and in how many "
              "draws more than PCA:")  # fmt: skip
        for name in order:
            more = np.mean(np.array(drawn[name]) > np.array(drawn["PCA"]))
            bits = means[name][0]
            print(f"  {name:23} {bits / pca:.2f} {bits / gaussian:6.2f} {more:8.1%}")
        print(f"  {'PCA':23} 1.00 {pca / gaussian:6.2f}")
        if not order:
            continue
        fewest = sorted(order, key=lambda name: means[name][3])
        print(f"  fewest active latents first: {'; '.join(fewest)}")
        print(f"  pairs of sparse estimators that L0 and bits order alike: {_alike(means, order)}")
        share = [means[name][1] / means[name][0] for name in order]
        print(f"  share of the bits that say which latents are active: "
              f"{min(share):.0%} to {max(share):.0%}")  # fmt: skip


def _alike(means, names):
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    agree = sum((means[a][0] < means[b][0]) == (means[a][3] < means[b][3]) for a, b in pairs)
    return f"{agree} of {len(pairs)}"


def draw(points, data, eigenvalues):
    figure, axes = plt.subplots(1, 2, figsize=(12, 5.5), layout="constrained")
    names = dict.fromkeys(name for name, _ in points)
    for name, color in zip(names, plt.cm.tab10.colors, strict=False):
        rows = [per_token(point, data) for point in points[name, 0]]
        fvu, support, _, values, active = np.transpose([NOTHING, *rows])
        bits = support + values
        hull = lower_hull(fvu, bits)
        style = {"color": color, "ls": "--" if name == "PCA" else "-"}
        axes[0].scatter(bits, fvu, s=8, color=color, alpha=0.4, lw=0)
        axes[0].plot(bits[hull], fvu[hull], marker="o", ms=4, label=name, **style)
        if name != "PCA":
            hull = lower_hull(fvu, active)
            axes[1].plot(active[hull], fvu[hull], marker="o", ms=4, **style)
    levels = np.geomspace(0.05, 0.99, 100)
    rates = [gaussian_rate(eigenvalues, level) for level in levels]
    axes[0].plot(rates, levels, color="black", ls=":", label="Gaussian R(D)")
    axes[0].set(title="by bits", xlabel="bits a token", xlim=(0, 450))
    axes[1].set(title="by active latents", xlabel="mean L0 of the rounded codes", xlim=(0, 70))
    for axis in axes:
        axis.set(ylabel="held-out FVU", ylim=(0, 1))
        for target in TARGETS:
            axis.axhline(target, color="grey", lw=0.5)
    axes[0].legend(frameon=False)
    return figure


def main():
    options = arguments(__doc__, seeds=1)
    size = FULL if options.full else SMALL
    with reported(__file__, options) as save:
        points, data = all_points(size, options.seeds)
        print(
            f"{size.rows} training tokens, {data.test.shape[0]} held out in {data.tokens.size} "
            f"sentences, 384 features, {size.n_components} latents\n"
            f"steps {', '.join(f'{s:g}' for s in STEPS)} times {data.scale:.3f}, the root mean "
            "square of an entry about its mean"
        )
        eigenvalues = np.linalg.eigvalsh(np.cov(data.train.astype(float).T))
        print_points(points, data)
        results = print_targets(points, data, eigenvalues, size.draws)
        conclude(results, eigenvalues)
        save(draw(points, data, eigenvalues))


if __name__ == "__main__":
    main()
