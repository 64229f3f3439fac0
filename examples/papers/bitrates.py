"""
Dimensions per bit of very sparse superposition codes
=====================================================

A set of k among N atoms of a random dictionary carries H = log2 C(N, k) bits; a decoder gets the
sum of its atoms in d dimensions. "On Bitrates of Very Sparse Superposition Codes" (submitted to
ICML 2025, openreview peR9HAdJnk) says that one-step estimates need about 2.7 dimensions per bit and
matching pursuit about 1.3. This script measures d / H at which skdict's coders find the whole set
in 50 % and 90 % of all cases, and looks for decoders that need less.

    python examples/papers/bitrates.py [--full] [--output doc/papers]

takes half a minute on two cores, or with ``--full`` ten minutes of one. ``--seeds`` is the
number of dictionaries among which trials are divided, at least 2.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from bitrate_coders import (
    SignAtoms,
    above_half,
    beam_search,
    counting_bound,
    message_passing,
    message_passing_limit,
    pursuit_of_ones,
    pursuit_rule,
    pursuit_supports,
    steps_to_explain,
    threshold_rule,
    top_k_rule,
)
from report import arguments, mean_interval, reported, share_interval
from sklearn.exceptions import ConvergenceWarning

from skdict import LassoCoder, MatchingPursuitCoder, ThresholdCoder
from skdict.datasets import support_entropy
from skdict.metrics import superposition_bitrate

LEVELS = (0.5, 0.9, 0.97)

# Name: decoder, and dimensions per bit between which it comes to succeed.
ONE_STEP = np.array([1.5, 1.9, 2.3, 2.7, 3.1, 3.6, 4.2, 5.0])
ALL_OR_NONE = np.array([4.0, 4.6, 5.2, 5.8, 6.4, 7.2, 8.0])
GREEDY = np.array([0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5])
CONVEX = np.array([0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0])
BAYES = np.array([0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9])
WIDE = np.array([0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8])
PAPER = {
    "top-k": (ThresholdCoder(positive=True), ONE_STEP),
    "threshold 1/2": (above_half, ALL_OR_NONE),
    "MP": (MatchingPursuitCoder(algorithm="mp", positive=True), GREEDY),
    "OMP": (MatchingPursuitCoder(algorithm="omp", positive=True), GREEDY),
    "lasso": (LassoCoder(alpha=0.02, positive=True), CONVEX),
}
BEYOND = {
    "OLS": (MatchingPursuitCoder(algorithm="ols", positive=True), GREEDY),
    "MP of ones": (pursuit_of_ones, GREEDY),
    "log penalty": (LassoCoder(alpha=0.02, penalty="log", positive=True), CONVEX),
    "AMP": (message_passing, BAYES),
    "beam of 8": (beam_search(8), BAYES),
    "beam of 32": (beam_search(32), WIDE),
    "beam of 128": (beam_search(128), WIDE),
}
SLOW = ("threshold 1/2", "OMP", "lasso")  # with many atoms, for what they add
BEAMS = ["beam of 8", "beam of 32", "beam of 128"]
COLORS = dict(zip(PAPER | BEYOND, [*(f"C{i}" for i in range(10)), "black", "navy"], strict=True))


def measure(name, n_components, k, n_trials, n_dictionaries):
    """Bitrate of one decoder, and the milliseconds it takes for a code."""
    coder, ratios = (PAPER | BEYOND)[name]
    grid = np.unique(np.round(ratios * support_entropy(n_components, k)).astype(int))
    begin = time.perf_counter()
    with warnings.catch_warnings():  # of grids that miss a level: the intervals say it too
        warnings.filterwarnings("ignore", message="superposition_bitrate", category=UserWarning)
        warnings.filterwarnings("ignore", category=ConvergenceWarning)  # they count as they are
        found = superposition_bitrate(
            coder,
            n_components=n_components,
            k=k,
            n_features=grid,
            reliability=LEVELS,
            n_trials=n_trials,
            n_dictionaries=n_dictionaries,
            random_state=0,
        )
    return found, 1e3 * (time.perf_counter() - begin) / found.trials.sum()


def shown(found, level):
    """Dimensions per bit at a level of LEVELS, with its interval."""
    low, high = found.intervals[level]
    return f"{found.dims_per_bit[level]:5.2f} [{low:.2f}, {high:.2f}]"


def table(title, names, problems, n_trials, n_dictionaries):
    """Measure decoders (rows) on problems (N, k), print, and return the results by (name, N, k)."""
    print(f"{title}\nd / H at which the support is exact in 50, 90, 97 % of {n_trials} trials at "
          f"each of up to 8 values of d,\n{n_dictionaries} dictionaries of random signs; codes 1; "
          "[95 % intervals]; ms: time for a code, dictionaries drawn\n")  # fmt: skip
    heads = "".join(f"{f'{level:.0%}':<21}" for level in LEVELS)
    print(f"{'N':>5} {'k':>3} {'H':>6}  {'decoder':<14} {heads}    ms")
    results = {}
    for N, k in problems:
        for name in names:
            if name in SLOW and N > 2**14:
                continue
            found, ms = measure(name, N, k, n_trials, n_dictionaries)
            results[name, N, k] = found
            levels = "".join(f"{shown(found, level):<21}" for level in range(3))
            bits = f"2^{np.log2(N):.0f}"
            print(f"{bits:>5} {k:>3} {found.entropy_bits:6.1f}  {name:<14} {levels} {ms:5.1f}")
    print()
    return results


def huge(n_components, cases, n_trials):
    """Exact supports over a dictionary of which only bits are held: MP and the k largest."""
    print(f"N = 2^{np.log2(n_components):.0f}: share of {n_trials} supports found exactly, one "
          "dictionary for each line [95 %]")  # fmt: skip
    shares = {}
    for name, k, ratio in cases:
        H = support_entropy(n_components, k)
        rng = np.random.default_rng([k, round(100 * ratio)])
        atoms = SignAtoms(n_components, round(ratio * H), rng)
        draws = [rng.choice(n_components, k, replace=False) for _ in range(n_trials)]
        active = np.sort(draws, axis=1)
        X = np.stack([atoms.rows(row).sum(axis=0) for row in active])
        found = atoms.largest(X, k) if name == "top-k" else pursuit_supports(atoms, X, k)
        hits = int((found == active).all(axis=1).sum())
        missed = 1 - np.mean([np.isin(a, f).mean() for a, f in zip(active, found, strict=True)])
        low, high = share_interval(hits, n_trials)
        shares[name, k, ratio] = hits / n_trials
        print(f"  {name:<6} k = {k:<3} d / H = {ratio:<5} {hits / n_trials:.2f} "
              f"[{low:.2f}, {high:.2f}], active atoms missed {missed:.3f}")  # fmt: skip
    print()
    return shares


def independent(n_components, n_features, n_codewords):
    """OMP of codewords over a dictionary that has nothing to do with them."""
    rng = np.random.default_rng(0)
    atoms = SignAtoms(n_components, n_features, rng)
    words = rng.choice([-1, 1], (n_codewords, n_features)).astype(np.float32)
    steps, half = mean_interval(steps_to_explain(atoms, words, 0.8))
    print(f"OMP over an independent dictionary, N = 2^{np.log2(n_components):.0f}, d = {n_features}"
          f": {steps:.1f} +- {half:.1f} steps explain 80 %\nof the energy of one codeword "
          f"({n_codewords} codewords, +- 95 %); paper, N = 2^20, d = 512: about 30\n")  # fmt: skip


def rules(problems):
    print("rules of thumb, d / H: 8 k ln N (threshold), 4 k ln(N k) (top-k), 2 k ln N (pursuit); "
          "bounds: state evolution\nof AMP (many atoms), and counting (any decoder)\n")  # fmt: skip
    print(f"{'N':>5} {'k':>3}  8k ln N  4k ln Nk  2k ln N  AMP limit  counting")
    for N, k in problems:
        H = support_entropy(N, k)
        bits = f"2^{np.log2(N):.0f}"
        ratios = (rule(N, k) / H for rule in (threshold_rule, top_k_rule, pursuit_rule))
        texts = "".join(f"{ratio:9.2f}" for ratio in ratios)
        print(f"{bits:>5} {k:>3} {texts} {message_passing_limit(N, k) / H:10.2f} "
              f"{counting_bound(k):9.2f}")  # fmt: skip
    print()


def yes(condition):
    return "yes" if condition else "no"


def conclude(results, detail, best, detailed):
    """What the tables say, line by line."""
    N, k = detailed
    at = f"N = 2^{np.log2(N):.0f}, k = {k}"
    one, pursuit = detail["top-k", N, k], detail["MP", N, k]

    def share_at(found, ratio):
        place = np.argmin(abs(found.n_features - ratio * found.entropy_bits))
        return found.successes[place] / found.trials[place]

    mp, top = share_at(pursuit, 1.5), share_at(one, 1.5)
    ratio = one.dims_per_bit[0] / pursuit.dims_per_bit[0]
    print(f"acceptance, {at}, d / H = 1.5: MP {mp:.3f} exact (>= .9: {yes(mp >= 0.9)}), top-k "
          f"{top:.3f} (<= .1: {yes(top <= 0.1)});\n  50 % points, top-k over MP: {ratio:.2f} "
          f"(between 2.4 and 3.8: {yes(2.4 <= ratio <= 3.8)})")  # fmt: skip
    spans = {
        name: np.array([found.dims_per_bit for key, found in results.items() if key[0] == name])
        for name in PAPER
    }
    for name, values in spans.items():
        ends = ", ".join(
            f"{level:.0%} {low:.2f} to {high:.2f}"
            for level, low, high in zip(LEVELS, values.min(axis=0), values.max(axis=0), strict=True)
        )
        print(f"{name}, over {len(values)} (N, k): {ends}")
    lower = [
        found.dims_per_bit < results["MP", N, k].dims_per_bit
        for (name, N, k), found in results.items()
        if name == "lasso"
    ]
    print(f"lasso below MP at 50 % everywhere: {yes(np.all(lower, axis=0)[0])}; "
          f"at 90 %: {yes(np.all(lower, axis=0)[1])}")  # fmt: skip
    for (N, k), found in best.items():
        order = sorted(found, key=lambda name: found[name].dims_per_bit[0])
        texts = ", ".join(f"{name} {found[name].dims_per_bit[0]:.2f}" for name in order[:4])
        print(f"lowest at 50 %, N = 2^{np.log2(N):.0f}, k = {k}: {texts}")


def draw(results, detail, detailed):
    figure, axes = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
    one_step(axes[0], results)
    iterative(axes[1], results)
    success(axes[2], detail, detailed)
    return figure


def scatter(axis, results, name):
    points = sorted((r.entropy_bits, *r.dims_per_bit[:2]) for key, r in results.items()
                    if key[0] == name)  # fmt: skip
    H, half, most = np.array(points).T
    axis.plot(H, half * H, "o", color=COLORS[name], label=f"{name}, 50 %")
    axis.plot(H, most * H, "o", color=COLORS[name], mfc="none", label=f"{name}, 90 %")


def one_step(axis, results):
    problems = sorted({key[1:] for key in results}, key=lambda key: support_entropy(*key))
    H = np.array([support_entropy(*key) for key in problems])
    scatter(axis, results, "threshold 1/2")
    scatter(axis, results, "top-k")
    rule = [top_k_rule(*key) for key in problems]
    axis.plot(H, rule, "k_", markersize=12, label="4 k ln(N k)")
    axis.plot(H, 2.7 * H, "k:", label="2.7 H (paper)")
    axis.set(title="one-step estimates", xlabel="H (bits)", ylabel="dimensions d")
    axis.legend(frameon=False)


def iterative(axis, results):
    problems = sorted({key[1:] for key in results}, key=lambda key: support_entropy(*key))
    H = np.array([support_entropy(*key) for key in problems])
    for name in ("MP", "OMP", "lasso"):
        scatter(axis, results, name)
    rule = [pursuit_rule(*key) for key in problems]
    axis.plot(H, rule, "k_", markersize=12, label="2 k ln N")
    axis.plot(H, 1.3 * H, "k:", label="1.3 H (paper)")
    axis.set(title="iterative decoders", xlabel="H (bits)", ylabel="dimensions d")
    axis.legend(frameon=False)


def success(axis, detail, detailed):
    N, k = detailed
    markers = iter("osv^D<>pP*Xh")
    for (name, *_), found in detail.items():
        share = found.successes / found.trials
        low, high = np.abs(found.success_intervals.T - share)
        ratio = found.n_features / found.entropy_bits
        axis.errorbar(ratio, share, (low, high), label=name, color=COLORS[name], lw=1.2,
                      elinewidth=0.6, markersize=4, marker=next(markers))  # fmt: skip
    axis.axvline(counting_bound(k), color="black", ls=":", lw=1, label="counting bound")
    axis.set_xscale("log", base=2)
    ticks = [0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set(title=f"all decoders, N = 2^{np.log2(N):.0f}, k = {k}", xlabel="d / H (per bit)",
             ylabel="share of supports found exactly")  # fmt: skip
    axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))


def main():
    options = arguments(__doc__, seeds=4)
    powers, ks = ((12, 14, 16), (8, 16, 32)) if options.full else ((10, 12), (8,))
    problems = [(2**power, k) for power in powers for k in ks]
    detailed, other = ((2**14, 16), (2**12, 8)) if options.full else ((2**12, 8), (2**10, 8))
    n_trials, n_more = (100, 200) if options.full else (40, 40)
    n_dictionaries = options.seeds
    for name in PAPER | BEYOND:
        measure(name, 256, 2, 2, 2)  # compiles what it needs, untimed
    with reported(__file__, options) as save:
        results = table("The paper's decoders", PAPER, problems, n_trials, n_dictionaries)
        rules(problems)
        others = [name for name in PAPER | BEYOND if name not in BEAMS]
        detail = table("Past the paper", others, [detailed], n_more, n_dictionaries)
        detail |= table("Beam search", BEAMS[:2], [detailed], n_trials // 2, n_dictionaries)
        names = ["MP", "lasso", "log penalty", "AMP", *(BEAMS if options.full else BEAMS[:2])]
        more = table("The best, elsewhere", names, [other], n_trials, n_dictionaries)
        if options.full:
            cases = [("top-k", k, ratio) for k in (8, 16, 32) for ratio in (1.5, 2.7, 3.4)]
            cases += [("MP", 8, ratio) for ratio in (0.8, 1.0, 1.3)]
            cases += [("MP", 16, ratio) for ratio in (1.0, 1.3)]
            huge(2**20, cases, 60)
            independent(2**20, 512, 20)
        else:
            huge(2**14, [("top-k", 8, 1.5), ("top-k", 8, 2.7), ("MP", 8, 1.3)], 40)
            independent(2**14, 128, 20)
        best = {
            key: {name: found for (name, *where), found in source.items() if tuple(where) == key}
            for key, source in ((detailed, detail), (other, more))
        }
        conclude(results, detail, best, detailed)
        save(draw(results, detail, detailed))


if __name__ == "__main__":
    main()
