"""
The amortisation gap of sparse autoencoders
===========================================

An encoder guesses codes in one step; sparse coding finds them by optimisation. O'Neill, Gumran and
Klindt ("Compute Optimal Inference and Provable Amortisation Gap in Sparse Autoencoders", arXiv
2411.13117) prove that an affine map and a ReLU cannot recover sparse codes from fewer features, and
measure the gap on synthetic data, with the codes known, the dictionary known, and neither. This
script repeats that: their setting and their numbers beside ours; a penalty chosen for each method;
more data; codes optimised after training, from the encoder's and from zero; the grid of sizes; and
the operations that it all takes, by :func:`skdict.metrics.flops`.

    python examples/papers/amortisation_gap.py [--full] [--seeds 5] [--output FOLDER]

takes well under a minute on two cores, with ``--full`` about ten.
"""

from typing import NamedTuple

import numpy as np
from amortisation_figure import draw
from amortisation_methods import (
    AS_IN_THE_PAPER,
    dictionary_mcc,
    exhaustive,
    exhaustive_flops,
    gradient_steps,
    latent_mcc,
    of_autoencoder,
    of_scikit_learn,
    optimised,
    problem,
    pursuit,
    quietly,
    sparse_coding,
    untrained_mcc,
    with_codes_known,
    with_dictionary_known,
)
from amortisation_paper import (
    GRID,
    PAPER_CODES,
    PAPER_DICTIONARY,
    PAPER_NEITHER,
    paper_weight,
)
from amortisation_tables import (
    K,
    M,
    N,
    line,
    named,
    paper_shown,
    print_conclusions,
    print_grid,
    shown,
)
from report import arguments, reported

from skdict import MatchingPursuitCoder, SparseAutoencoder, ThresholdCoder
from skdict.metrics import flops

WEIGHTS = (0.0025, 0.05, 0.1, 0.2, 0.4)  # of sum(Z), beside half the squared error
TUNING_SEEDS = (100, 101)
SKLEARN = "DictionaryLearning (scikit-learn)"


class Size(NamedTuple):
    """Steps and updates of training, and where they are looked at; what else is tried."""

    paper_steps: int
    steps: tuple
    updates: tuple
    known_steps: int
    widths: tuple
    weights: tuple
    n_more: int
    gradient_steps: tuple
    shapes: tuple
    grid_steps: int
    scikit_learn: int
    tuned: int


SMALL = Size(
    1200, (120, 600), (10, 60), 200, (32,), (0.0025, 0.1), 4096,
    (1, 10, 100), ((16, 8, 3), (32, 16, 3)), 1200, 10, 1,
)  # fmt: skip
FULL = Size(
    8000, (40, 120, 400, 1200, 4000), (4, 12, 40, 120, 300), 3000, (32, 256), WEIGHTS, 20_000,
    (1, 3, 10, 30, 100, 300, 1000), tuple(GRID), 8000, 100, 2,
)  # fmt: skip


# ---------------------------------------------------------------------- codes known


def codes_known(size, seeds):
    """Latent MCC of encoders that were shown the true codes."""
    results, steps = {}, size.known_steps // 2
    for n_train in (1024, size.n_more):
        for hidden in (None, *size.widths):
            results[named(hidden), n_train] = [
                latent_mcc(with_codes_known(data, hidden, steps, seed), data.test_codes)
                for seed in range(seeds)
                for data in (problem(seed, n_train),)
            ]
    print(f"\nCodes known: encoders trained to the cosine of each latent, {steps} steps.")
    line("latent MCC", "1,024 samples", f"{size.n_more:,}", "paper, 1,024")
    for name in dict.fromkeys(name for name, _ in results):
        values = (shown(results[name, n]) for n in (1024, size.n_more))
        line(name, *values, paper_shown(PAPER_CODES.get(name)))
    return results


# ---------------------------------------------------------------------- dictionary known


def dictionary_known(size, seeds, fair):
    """Latent MCC and operations for a sample, by method, with the true dictionary."""
    results, weights = {}, {"paper": paper_weight(N, M), "chosen": fair}
    for seed in range(seeds):
        data = problem(seed)
        found = {("exhaustive", ""): (exhaustive(data.test, data.dictionary, K), None)}
        for which, weight in weights.items():
            for hidden in (None, *size.widths):
                steps = size.known_steps
                codes = with_dictionary_known(data, hidden, weight, steps, seed)
                found[named(hidden), which] = codes, SparseAutoencoder(N, encoder_hidden=hidden)
            codes = with_dictionary_known(data, None, weight, 4 * size.known_steps, seed)
            found["SAE, 4 times longer", which] = codes, SparseAutoencoder(N)
            for n_steps in size.gradient_steps:
                coder = gradient_steps(data.dictionary, weight, n_steps)
                codes = quietly(coder.transform, data.test)
                found[f"optimisation, {n_steps} steps", which] = codes, coder
        for name, coder in one_sparse(data.dictionary).items():
            found[name, ""] = coder.fit(data.test).transform(data.test), coder
        for key, (codes, estimator) in found.items():
            mcc = latent_mcc(codes, data.test_codes)
            results.setdefault(key, ([], operations(estimator)))[0].append(mcc)
    print_dictionary_known(results, size, weights)
    return results


def one_sparse(D):
    """Coders that are told K, over given atoms."""
    return {
        "largest K correlations": ThresholdCoder(k=K, dictionary=D, positive=True),
        "MP, K steps": MatchingPursuitCoder(k=K, algorithm="mp", dictionary=D, positive=True),
        "OMP, K steps": MatchingPursuitCoder(k=K, dictionary=D, positive=True),
    }


def operations(estimator):
    if estimator is None:
        return exhaustive_flops(N, M, K)
    iterations = getattr(estimator, "max_sweeps", None)
    return flops(estimator, n_features=M, iterations=iterations).encoding


def print_dictionary_known(results, size, weights):
    print(
        f"\nDictionary known, 1,024 samples; encoders trained for {size.known_steps} steps; weight "
        f"{weights['paper']:g}\n(the paper's) and {weights['chosen']:g} (chosen for the SAE below)."
    )
    line("latent MCC", "paper's weight", "chosen weight", "paper", "operations")
    last = f"optimisation, {size.gradient_steps[-1]} steps"
    for name in dict.fromkeys(name for name, _ in results):
        cells = [
            shown(results[name, which][0]) if (name, which) in results else ""
            for which in ("paper", "chosen")
        ]
        if (name, "") in results:
            cells = ["", shown(results[name, ""][0])]
        published = PAPER_DICTIONARY.get("optimisation" if name == last else name)
        cost = next(cost for (other, _), (_, cost) in results.items() if other == name)
        line(name, *cells, paper_shown(published), f"{cost:,}")
    print("  (operations for the codes of a sample)")


# ---------------------------------------------------------------------- neither known


def chosen_weights(size):
    """For each method the weight with the best latent MCC on problems that are not used again."""
    methods = {
        "SAE": lambda *how: of_autoencoder(*how[:2], None, size.steps[-1], how[2])[1],
        "MLP": lambda *how: of_autoencoder(*how[:2], 32, size.steps[-1], how[2])[1],
        "sparse coding": lambda *how: sparse_coding(*how[:2], size.updates[-1], how[2]),
        SKLEARN: lambda *how: of_scikit_learn(*how, size.scikit_learn),
    }
    problems = [(seed, problem(seed)) for seed in TUNING_SEEDS[: size.tuned]]
    print(f"\nLatent MCC by weight, mean of {size.tuned} other problems; * chosen.")
    line("weight", *(f"{weight:g}" for weight in size.weights))
    best = {}
    for name, method in methods.items():
        mean = {
            weight: np.mean([method(data, weight, seed).latent for seed, data in problems])
            for weight in size.weights
        }
        best[name] = max(mean, key=mean.get)
        line(name, *(f"{mean[w]:.3f}{'*' if w == best[name] else ' '}" for w in mean))
    print("  (MLP with 32 hidden units; its weight serves all MLPs)")
    return best


def of_paper(size, seeds):
    """Scores by method in the paper's setting."""
    weight, results = paper_weight(N, M), {}
    for seed in range(seeds):
        data = problem(seed)
        for hidden in (None, *size.widths):
            how = weight, hidden, size.paper_steps, seed
            sae, own = of_autoencoder(data, *how, **AS_IN_THE_PAPER)
            results.setdefault(named(hidden), []).append(own)
            if hidden is None:
                add_optimised(results, data, sae, weight, own)
        own = sparse_coding(data, weight, size.updates[-1], seed)
        results.setdefault("sparse coding", []).append(own)
    return results


def add_optimised(results, data, sae, weight, own):
    for name, warm in (("from zero", False), ("from its codes", True)):
        better = optimised(data, sae, weight, own.flops, warm)
        results.setdefault(f"SAE, optimised {name}", []).append(better)


def of_chosen(best, size, n_train, seeds, budgets):
    """Scores by method with its own weight, by budget: numbers of steps, numbers of updates."""
    curves = {}

    def add(name, budget, own):
        curves.setdefault(name, {}).setdefault(budget, []).append(own)

    for seed in range(seeds):
        data = problem(seed, n_train)
        for i, (steps, updates) in budgets.items():
            for hidden in (None, *size.widths):
                weight = best["SAE" if hidden is None else "MLP"]
                sae, own = of_autoencoder(data, weight, hidden, steps, seed)
                add(named(hidden), i, own)
                if hidden is None and i == len(size.steps) - 1:
                    both = {}
                    add_optimised(both, data, sae, weight, own)
                    for name, (better,) in both.items():
                        add(name, i, better)
            add("sparse coding", i, sparse_coding(data, best["sparse coding"], updates, seed))
            for name, algorithm in (("MP, K steps", "mp"), ("OMP, K steps", "omp")):
                add(name, i, pursuit(data, algorithm, K, updates, seed))
        if n_train == 1024:
            own = of_scikit_learn(data, best[SKLEARN], seed, size.scikit_learn)
            add(SKLEARN, len(size.steps) - 1, own)
    return curves


def neither_known(size, seeds, best):
    last = len(size.steps) - 1
    budgets = dict(enumerate(zip(size.steps, size.updates, strict=True)))
    paper = of_paper(size, seeds)
    curves = of_chosen(best, size, 1024, seeds, budgets)
    more = of_chosen(best, size, size.n_more, seeds, {last: budgets[last]})
    print(f"\nNeither known. The paper's weight, 1,024 samples, {size.paper_steps} steps of 256:")
    line("", "latent MCC", "paper", "dictionary MCC", "paper")
    for name, scores in paper.items():
        published = PAPER_NEITHER.get(name, (None, None))
        columns = []
        for i in (0, 1):
            columns += [shown([score[i] for score in scores]), paper_shown(published[i])]
        line(name, *columns)
    print(
        f"\nNeither known, the chosen weights, {size.steps[-1]} steps of 256 or "
        f"{size.updates[-1]} updates of the atoms:"
    )
    sizes = ("1,024 samples", f"{size.n_more:,}")
    line("", "latent MCC", "dictionary MCC", "operations", "latent MCC", "dictionary MCC")
    line("", sizes[0], sizes[0], "in all", sizes[1], sizes[1])
    for name, by_budget in curves.items():
        scores = by_budget[last]
        columns = [shown([score[i] for score in scores]) for i in (0, 1)]
        cost = np.mean([score.flops for score in scores])
        columns.append("" if np.isnan(cost) else f"{cost:.2e}")
        if name in more:
            columns += [shown([score[i] for score in more[name][last]]) for i in (0, 1)]
        line(name, *columns)
    return paper, curves, more


# ---------------------------------------------------------------------- the grid


def grid(size):
    """Latent MCC by method and shape: the paper's weight, and one that suits better."""
    results = {}
    for shape in size.shapes:
        n, m, k = shape
        data, weight = problem(0, n_components=n, n_features=m, k=k), paper_weight(n, m)
        _, own = of_autoencoder(data, weight, None, size.grid_steps, 0, **AS_IN_THE_PAPER)
        results["SAE", shape] = own.latent
        results["sparse coding", shape] = sparse_coding(data, weight, size.updates[-1], 0).latent
        _, own = of_autoencoder(data, 0.1, None, size.steps[-1], 0)
        results["SAE, weight 0.1", shape] = own.latent
        own = sparse_coding(data, 0.1, size.updates[-1], 0)
        results["sparse coding, weight 0.1", shape] = own.latent
    return results


# ---------------------------------------------------------------------- what follows


def print_chance(seeds):
    rng = np.random.default_rng(0)
    atoms = [
        dictionary_mcc(rng.normal(size=(N, M)), problem(seed).dictionary) for seed in range(20)
    ]
    latents = [untrained_mcc(problem(seed), seed) for seed in range(seeds)]
    print(
        f"N = {N} atoms, M = {M} features, K = {K} active; means of {seeds} problems and their 95 %"
    )
    print("intervals; MCC is |Pearson| after matching; 1,024 test samples; batches of 256.")
    print(f"Chance: dictionary MCC of random atoms {np.mean(atoms):.3f}; latent MCC of an")
    print(f"untrained autoencoder, ReLU of correlations with random atoms, {np.mean(latents):.3f}.")
    return np.mean(latents), np.mean(atoms)


def main():
    options = arguments(__doc__, seeds=5)
    size, seeds = (FULL if options.full else SMALL), options.seeds
    with reported(__file__, options) as save:
        chance = print_chance(seeds)
        encoders = codes_known(size, seeds)
        best = chosen_weights(size)
        known = dictionary_known(size, seeds, best["SAE"])
        paper, curves, more = neither_known(size, seeds, best)
        results = grid(size)
        print_grid(results, size)
        print_conclusions(encoders, known, paper, curves, more, results, size)
        save(draw(encoders, known, curves, results, size, chance))


if __name__ == "__main__":
    main()
