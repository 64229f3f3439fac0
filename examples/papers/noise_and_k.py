"""
What noise does to the best k
=============================

Repeats the experiment of Tilde's post "The Rate Distortion Dance of Sparse Autoencoders"
(tilderesearch.com/blog/rate-distortion-saes, 2024), in which autoencoders of several k learn
CIFAR-10 under Gaussian noise and the loss is fitted by a power law in k. Here the loss of the same
models is measured against the noisy and against the clean image, and the ReLU autoencoders under an
L1 penalty, which the post left out because they collapsed, stay in and are counted.

    python examples/papers/noise_and_k.py [--full] [--seeds 2] [--output FOLDER] [--data FOLDER]

Reads ``cifar10_4k.npz`` in the folder of data sets (``X_train`` and ``X_test``, images of 32 x 32 x
3 bytes) or else fetches CIFAR-10 from OpenML.
"""

import sys
import warnings
from collections import namedtuple

import matplotlib.pyplot as plt
import numpy as np
from report import arguments, mean_interval, reported
from scipy.optimize import curve_fit
from sklearn.datasets import fetch_openml
from sklearn.exceptions import ConvergenceWarning

from skdict import SparseAutoencoder, TopKAutoencoder
from skdict.metrics import dead_fraction, explained_variance, mean_l0

SIDE = 8  # of a patch: 8 x 8 x 3 = 192 features
N_COMPONENTS = 2 * SIDE * SIDE * 3
FEW = 32  # the power law is also fitted to k up to this alone

Size = namedtuple("Size", "n_patches n_test passes noises ks alphas blocks draws")
SMALL = Size(3000, 1500, 15, (0.0, 0.2, 0.8), (4, 8, 32, 128), (0.3, 1.0, 10.0), 20, 40)
FULL = Size(
    12_800, 4000, 16, (0.0, 0.1, 0.2, 0.4, 0.8), (4, 8, 16, 32, 64, 128),
    (0.3, 1.0, 3.0, 10.0), 100, 200,
)  # fmt: skip

# Patches with the noise that models see, and the same test patches without it. `unit` is the
# variance of an entry of the clean patches, in which every loss below is measured.
Problem = namedtuple("Problem", "train test clean unit")
Run = namedtuple("Run", "l0 noisy clean fvu dead silent diverged history")


def load_images(folder):
    """Train and test images in [0, 1]; ends the program where there are none to be had."""
    path = folder / "cifar10_4k.npz"
    if path.exists():
        with np.load(path) as arrays:
            return arrays["X_train"] / np.float32(255), arrays["X_test"] / np.float32(255)
    try:
        images = fetch_openml("CIFAR_10", version=1, as_frame=False).data
    except Exception as error:
        sys.exit(f"noise_and_k.py: no {path}, and CIFAR-10 cannot be fetched from OpenML: {error}")
    images = images[:4000].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) / np.float32(255)
    return images[:3200], images[3200:]


def patches(images, n, rng):
    """Patches at random places of random images, one a row."""
    image = rng.integers(len(images), size=n)
    row, column = rng.integers(images.shape[1] - SIDE + 1, size=(2, n))
    places = zip(image, row, column, strict=True)
    return np.stack([images[i, r : r + SIDE, c : c + SIDE].ravel() for i, r, c in places])


def make_problem(images, noise, size, seed):
    """Patches of a seed under Gaussian noise of `noise` standard deviations of the clean ones."""
    rng = np.random.default_rng(seed)
    train, clean = (
        patches(part, n, rng) for part, n in zip(images, (size.n_patches, size.n_test), strict=True)
    )
    unit = float((train - train.mean(axis=0)).var())
    noisy = [
        rows + noise * np.sqrt(unit) * rng.standard_normal(rows.shape, dtype=np.float32)
        for rows in (train, clean)
    ]
    return Problem(*noisy, clean, unit)


def measure(estimator, problem):
    """Fit, then loss on held-out patches against what was coded and against the clean ones."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(problem.train)
        Z = estimator.transform(problem.test)
    X_hat = estimator.inverse_transform(Z)
    return Run(
        mean_l0(Z),
        float(np.mean((X_hat - problem.test) ** 2)) / problem.unit,
        float(np.mean((X_hat - problem.clean) ** 2)) / problem.unit,
        1 - explained_variance(problem.test, X_hat),
        dead_fraction(Z),
        not Z.any(),
        any(issubclass(warning.category, ConvergenceWarning) for warning in caught),
        estimator.history_,
    )


def runs_over(make, settings, images, size, seeds):
    """Runs by noise, setting and seed of what `make` gives for a setting and a seed."""
    runs = {}
    for noise in size.noises:
        for seed in range(seeds):
            problem = make_problem(images, noise, size, seed)
            for setting in settings:
                estimator = make(setting, random_state=seed, max_iter=size.passes)
                runs[noise, setting, seed] = measure(estimator, problem)
    return runs


def make_topk(k, **parameters):
    return TopKAutoencoder(N_COMPONENTS, k=k, **parameters)


def make_l1(alpha, **parameters):
    return SparseAutoencoder(N_COMPONENTS, alpha=alpha, **parameters)


def make_plain_l1(alpha, **parameters):
    """Without what skdict adds against collapse."""
    return make_l1(alpha, resample_dead=False, warmup=0, **parameters)


def make_fast_l1(alpha, **parameters):
    """The same at ten times the rate that is the default."""
    return make_plain_l1(alpha, learning_rate=0.035, **parameters)


def power_law(k, loss):
    """Prefactor and exponent of ``loss = a k^-alpha``, by least squares between logarithms."""
    slope, intercept = np.polyfit(np.log(k), np.log(loss), 1)
    return np.exp(intercept), -slope


def offset_power_law(k, loss):
    """Offset, prefactor and exponent of ``loss = floor + a k^-alpha``, none of them negative."""
    a, alpha = power_law(k, loss)
    start = [0.5 * np.min(loss), a, max(alpha, 0.1)]
    found, _ = curve_fit(
        lambda k, floor, a, alpha: floor + a * k**-alpha,
        np.asarray(k, dtype=float), loss, p0=start, bounds=(0, np.inf), max_nfev=5000,
    )  # fmt: skip
    return tuple(found)


def predicted(parameters, k):
    """The loss of either law."""
    *floor, a, alpha = parameters
    return sum(floor) + a * np.asarray(k, dtype=float) ** -alpha


def misfit(parameters, k, loss):
    """Root mean square of the relative error of a law."""
    return float(np.sqrt(np.mean((predicted(parameters, k) / loss - 1) ** 2)))


def bootstrap(law, k, loss, draws, seed=0):
    """Halves of the 95 % intervals of a law's parameters when points (k, loss) are drawn anew."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < draws:
        chosen = rng.integers(len(k), size=len(k))
        if np.unique(k[chosen]).size >= 3:
            found.append(law(k[chosen], loss[chosen]))
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    return list(zip(low, high, strict=True))


def points(runs, noise, target, most=np.inf):
    """The k and the losses of all runs at one noise."""
    pairs = [
        (k, getattr(run, target))
        for (sigma, k, _), run in runs.items()
        if sigma == noise and k <= most
    ]
    k, loss = map(np.array, zip(*pairs, strict=True))
    return k.astype(float), loss


def mean_by(runs, noise, setting, field):
    """Mean of a field over the seeds, and half its interval."""
    values = [getattr(r, field) for (s, x, _), r in runs.items() if (s, x) == (noise, setting)]
    return mean_interval(values)


def best_ks(runs, size, seeds, target):
    """By noise, the k of least loss of each seed."""
    return {
        noise: [
            min(size.ks, key=lambda k: getattr(runs[noise, k, seed], target))
            for seed in range(seeds)
        ]
        for noise in size.noises
    }


def rises(history):
    """Passes in which the loss rose, passes in which it could have, and the largest rise."""
    loss = np.asarray(history["loss"])
    steps = np.diff(loss) / loss[:-1]
    return int(np.sum(steps > 0)), steps.size, float(max(steps.max(), 0))


def settled(curve, tolerance=0.1):
    """Index from which a curve stays within `tolerance` of its range from where it ends."""
    curve = np.asarray(curve, dtype=float)
    away = np.abs(curve - curve[-1]) > tolerance * np.ptp(curve)
    return int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0


def phases(l0, fvu):
    """Which of two curves settles first: by less than half of the other's time, or neither."""
    if np.ptp(l0) == 0:
        return "L0 is fixed"
    sparsity, reconstruction = settled(l0) + 1, settled(fvu) + 1
    if 2 * sparsity <= reconstruction:
        return "sparsity first"
    if 2 * reconstruction <= sparsity:
        return "reconstruction first"
    return "together"


def follow(sae, problem, blocks, rows=5 * 256):
    """Held-out L0 and FVU after each block of five steps, the rate held."""
    curve = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in range(blocks):
            start = block * rows % (len(problem.train) - rows + 1)
            sae.partial_fit(problem.train[start : start + rows])
            Z = sae.transform(problem.test[:1000])
            fvu = 1 - explained_variance(problem.test[:1000], sae.inverse_transform(Z))
            curve.append((mean_l0(Z), fvu))
    return np.transpose(curve)


def training_curves(images, size):
    """Curves over training by name and noise."""
    makes = {
        "TopK, k = 32": lambda: make_topk(32, random_state=0),
        "L1, alpha = 1": lambda: make_l1(1.0, random_state=0),
        "L1 plain, alpha = 1": lambda: make_plain_l1(1.0, random_state=0),
    }
    return {
        (name, noise): follow(make(), make_problem(images, noise, size, 0), size.blocks)
        for name, make in makes.items()
        for noise in (size.noises[0], size.noises[-1])
    }


def print_losses(runs, size, target, title):
    print(f"\n{title}, in variances of the clean patches: mean, half of the 95 % interval")
    print("noise sd " + "".join(f"{f'k = {k}':>16}" for k in size.ks))
    for noise in size.noises:
        cells = (mean_by(runs, noise, k, target) for k in size.ks)
        print(f"{noise:8.1f} " + "".join(f"{f'{m:.4f} ±{w:.4f}':>16}" for m, w in cells))


def print_fits(runs, size, target, title, offset):
    """Power laws by noise, gives their parameters; `offset`: also those with a floor."""
    fits = {}
    print(f"\n{title}: power laws, [95 % interval of the bootstrap over points (k, seed)]")
    print("error: root mean square of the relative error of the law at the points")
    for most in (np.inf, FEW):
        scope = f"k <= {FEW}" if most == FEW else "all k"
        second = "L = floor + a k^-alpha" if offset else ""
        print((f"{scope:10}  L = a k^-alpha" + " " * 37 + second).rstrip())
        print("noise sd    a" + " " * 21 + "alpha" + " " * 17 + "error"
              + "   floor   a       alpha  [alpha]         error" * offset)  # fmt: skip
        for noise in size.noises:
            k, loss = points(runs, noise, target, most)
            law = fits[most, noise] = power_law(k, loss)
            ends = bootstrap(power_law, k, loss, size.draws)
            line = f"{noise:8.1f}    {_interval(law[0], ends[0])}  {_interval(law[1], ends[1])}"
            line += f"  {misfit(law, k, loss):.3f}"
            if offset and np.unique(k).size > 3:
                law = offset_power_law(k, loss)
                low, high = bootstrap(offset_power_law, k, loss, size.draws)[2]
                line += f"   {law[0]:.4f}  {law[1]:.3f}  {law[2]:6.3f}  [{low:.2f}, {high:.2f}]"
                line += f"  {misfit(law, k, loss):10.3f}"
            print(line)
    return fits


def _interval(value, ends):
    return f"{value:6.3f} [{ends[0]:.3f}, {ends[1]:.3f}]".ljust(22)


def print_l1(runs, size, title):
    """Table of the penalised runs, and their collapses by noise."""
    print(f"\n{title}: means over seeds")
    print("noise sd   alpha       L0   FVU of noisy   loss clean   silent latents")
    for noise in size.noises:
        for alpha in size.alphas:
            l0, fvu, clean, dead = (
                mean_by(runs, noise, alpha, field)[0] for field in ("l0", "fvu", "clean", "dead")
            )
            print(f"{noise:8.1f} {alpha:7.1f} {l0:8.1f} {fvu:14.4f} {clean:12.4f} {dead:16.1%}")
    print("noise sd   runs   all codes 0   FVU >= 1   over 90 % of latents silent   diverged")
    for noise in size.noises:
        group = [run for (sigma, *_), run in runs.items() if sigma == noise]
        print(
            f"{noise:8.1f} {len(group):6} {sum(r.silent for r in group):13} "
            f"{sum(r.fvu >= 1 for r in group):10} {sum(r.dead > 0.9 for r in group):29} "
            f"{sum(r.diverged for r in group):10}"
        )


def print_training(topk, l1, curves):
    print("\npasses after the first in which the training loss rose, and the largest relative rise")
    for name, runs in (("TopK", topk), ("L1", l1)):
        for noise in dict.fromkeys(sigma for sigma, *_ in runs):
            group = [rises(run.history) for (sigma, *_), run in runs.items() if sigma == noise]
            rose, could, largest = (np.array(column) for column in zip(*group, strict=True))
            share = rose.sum() / could.sum()
            print(f"{name:5} noise sd {noise:.1f}: {rose.sum()} of {could.sum()} ({share:.1%}), "
                  f"largest {largest.max():.2%}; "
                  f"in {sum(rose > 0)} of {rose.size} runs")  # fmt: skip
    print("\nheld-out curves, a point every 5 steps; settled: from then on within a tenth of the")
    print("curve's range from its end; first: in half of the other's steps or fewer")
    print("                       noise sd   L0 first    least   last   settled: L0    FVU   order")
    for (name, noise), (l0, fvu) in curves.items():
        print(f"{name:22} {noise:8.1f} {l0[0]:10.1f} {l0.min():8.1f} {l0[-1]:6.1f} "
              f"{5 * settled(l0) + 5:13} {5 * settled(fvu) + 5:6}   {phases(l0, fvu)}")  # fmt: skip


def _yes(condition):
    return "yes" if condition else "no"


def conclude(topk, penalised, curves, fits, size, seeds):
    """What the numbers say about the post's reading."""
    print("\nconclusions")
    l1 = next(iter(penalised.values()))
    growth = (1 + size.noises[-1] ** 2) / (1 + size.noises[0] ** 2)
    for most, scope in ((np.inf, "all k"), (FEW, f"k <= {FEW}")):
        a, alpha = np.transpose([fits[most, noise] for noise in size.noises])
        print(f"prefactor against the noisy image rises at every step of noise, {scope}: "
              f"{_yes(np.all(np.diff(a) > 0))} ({a[-1] / a[0]:.2f} times "
              f"from first to last, the variance of noisy patches {growth:.2f} times)")  # fmt: skip
        spread = np.ptp(alpha) / alpha.mean()
        print(f"exponent barely moves (range under a tenth of its mean), {scope}: "
              f"{_yes(spread < 0.1)} ({alpha.min():.3f} to {alpha.max():.3f})")  # fmt: skip
    best = best_ks(topk, size, seeds, "clean")
    text = ", ".join(
        f"{noise:g}: {'/'.join(map(str, sorted(set(ks))))}" for noise, ks in best.items()
    )
    print(f"best k against the clean image, by noise sd: {text}")
    means = [np.mean(np.log(ks)) for ks in best.values()]
    print("best k against the clean image never rises with noise, and falls: "
          f"{_yes(np.all(np.diff(means) <= 1e-9) and means[-1] < means[0])}")  # fmt: skip
    noisy = best_ks(topk, size, seeds, "noisy")
    print("against the noisy image the largest k is best at every noise: "
          f"{_yes(all(set(ks) == {max(size.ks)} for ks in noisy.values()))}")  # fmt: skip
    for noise in size.noises:
        ks = {k: mean_by(topk, noise, k, "clean")[0] for k in size.ks}
        alphas = {alpha: mean_by(l1, noise, alpha, "clean")[0] for alpha in size.alphas}
        least, alpha = min(ks.values()), min(alphas, key=alphas.get)
        print(f"noise sd {noise:g}: loss against the clean image at k = {max(ks)} is "
              f"{ks[max(ks)] / least:.1f} times the least; TopK's least {least:.4f}, L1's "
              f"{alphas[alpha]:.4f} (alpha = {alpha:g}, "
              f"L0 {mean_by(l1, noise, alpha, 'l0')[0]:.0f})")  # fmt: skip
    for name, runs in penalised.items():
        bad = {key: r.silent or r.fvu >= 1 or r.dead > 0.9 or r.diverged for key, r in runs.items()}
        high = [value for (sigma, *_), value in bad.items() if sigma == size.noises[-1]]
        low = [value for (sigma, *_), value in bad.items() if sigma == size.noises[0]]
        print(f"{name}, collapsed in any of the four ways: {sum(low)} of {len(low)} at noise "
              f"{size.noises[0]:g}, {sum(high)} of {len(high)} at {size.noises[-1]:g}")  # fmt: skip
    orders = [phases(*curve) for (name, _), curve in curves.items() if name.startswith("L1")]
    apart = sum(order != "together" for order in orders)
    print(f"L1: one of L0 and reconstruction settles well before the other in {apart} of "
          f"{len(orders)} curves")  # fmt: skip


def draw(topk, l1, curves, fits, size):
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.5), layout="constrained")
    shades = plt.cm.viridis(np.linspace(0, 0.85, len(size.noises)))
    for noise, shade in zip(size.noises, shades, strict=True):
        for axis, target in zip(axes[0], ("noisy", "clean"), strict=True):
            loss, width = np.transpose([mean_by(topk, noise, k, target) for k in size.ks])
            axis.errorbar(size.ks, loss, width, color=shade, marker="o", ms=4, label=f"{noise:g}")
            if target == "clean":
                axis.plot(size.ks[loss.argmin()], loss.min(), "*", color=shade, ms=15)
        line = predicted(fits[np.inf, noise], size.ks)
        axes[0, 0].plot(size.ks, line, color=shade, ls=":")
        l0, clean = (
            [mean_by(l1, noise, alpha, field)[0] for alpha in size.alphas]
            for field in ("l0", "clean")
        )
        axes[1, 0].plot(l0, clean, color=shade, marker="s", ms=4, ls="--")
        loss = [mean_by(topk, noise, k, "clean")[0] for k in size.ks]
        axes[1, 0].plot(size.ks, loss, color=shade, marker="o", ms=3, lw=1)
    axes[0, 0].set(title="TopK against the noisy patch; dotted: power law over all k")
    axes[0, 1].set(title="the same models against the clean patch; star: best k")
    axes[1, 0].set(title="against the clean patch: L1 (dashed, squares) and TopK", xlabel="mean L0")
    for axis in (*axes[0], axes[1, 0]):
        axis.set(xscale="log", yscale="log", ylabel="held-out loss / variance of clean patches")
    for axis in axes[0]:
        axis.set(xlabel="k")
        axis.set_xticks(size.ks, size.ks)
        axis.minorticks_off()
    axes[0, 0].legend(title="noise sd", frameon=False)
    _draw_curves(axes[1, 1], curves, size)
    return figure


def _draw_curves(axis, curves, size):
    noise = size.noises[-1]
    right = axis.twinx()
    for (name, sigma), (l0, fvu) in curves.items():
        if sigma == noise:
            steps = 5 * np.arange(1, l0.size + 1)
            (line,) = axis.plot(steps, l0, label=name)
            right.plot(steps, fvu, ls=":", color=line.get_color())
    axis.set(title=f"training at noise sd {noise:g}", xlabel="step", ylabel="held-out L0 (solid)")
    right.set(ylabel="held-out FVU of noisy patches (dotted)", ylim=(0, None))
    axis.set(ylim=(0, None))
    axis.legend(frameon=False, loc="upper right")


def main():
    options = arguments(__doc__, seeds=2)
    size, images = FULL if options.full else SMALL, load_images(options.data)
    with reported(__file__, options) as save:
        print(
            f"{size.n_patches} patches of {SIDE} x {SIDE} x 3, {N_COMPONENTS} latents, "
            f"{size.passes} passes; {size.n_test} held-out patches, from other images; noise is "
            "drawn once,\nits sd in units of that of the clean patches' entries"
        )
        topk = runs_over(make_topk, size.ks, images, size, options.seeds)
        penalised = {
            "L1": runs_over(
                make_l1, size.alphas, images, size, min(options.seeds, 2) if options.full else 1
            ),
            "L1 plain": runs_over(make_plain_l1, size.alphas, images, size, 1),
            "L1 plain, 10 times the rate": runs_over(make_fast_l1, size.alphas, images, size, 1),
        }
        curves = training_curves(images, size)
        fits = {}
        for target in ("noisy", "clean"):
            print_losses(topk, size, target, f"TopK, loss against the {target} patch")
            title = f"TopK against the {target} patch"
            fits[target] = print_fits(topk, size, target, title, target == "noisy")
        dead = [run.dead for run in topk.values()]
        print(f"\nTopK: silent latents {min(dead):.1%} to {max(dead):.1%}, of which most at "
              f"noise sd, k = {max(topk, key=lambda key: topk[key].dead)[:2]}")  # fmt: skip
        print("\nL1: at most two seeds; plain: neither warm-up nor resampling, one seed")
        for name, runs in penalised.items():
            print_l1(runs, size, name)
        print_training(topk, penalised["L1"], curves)
        conclude(topk, penalised, curves, fits["noisy"], size, options.seeds)
        save(draw(topk, penalised["L1"], curves, fits["noisy"], size))


if __name__ == "__main__":
    main()
