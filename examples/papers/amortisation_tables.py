"""What ``amortisation_gap.py`` prints of its results."""

import numpy as np
from amortisation_paper import PAPER_NEITHER, published, sparse_coding_step
from report import mean_interval

N, M, K = 16, 8, 3
ENOUGH = 0.75  # latent MCC that methods take so many operations to reach


def named(hidden):
    return "SAE" if hidden is None else f"MLP {hidden}"


def line(name, *columns):
    print(f"  {name:<34}" + "".join(f"{column:>17}" for column in columns))


def shown(values):
    mean, width = mean_interval(values)
    return f"{mean:.3f} ± {width:.3f}"


def paper_shown(value):
    return "" if value is None else f"{value:.3f}"


def print_grid(results, size):
    print(
        f"\nThe grid: latent MCC, one problem of 1,024 samples each, beside the paper's; SAE of "
        f"{size.grid_steps} steps\nwith the paper's weight, of {size.steps[-1]} with 0.1; "
        f"{size.updates[-1]} updates of sparse coding."
    )
    names = ["SAE", "sparse coding", "SAE, weight 0.1", "sparse coding, weight 0.1"]
    line("N, M, K", "SAE (paper)", "coding (paper)", "SAE, 0.1", "coding, 0.1")
    for shape in size.shapes:
        cells = []
        for name in names:
            paper = published(name, shape)
            behind = "" if np.isnan(paper) else f" ({paper:.2f})"
            cells.append(f"{results[name, shape]:.2f}{behind}")
        line("{}, {}, {}".format(*shape), *cells)


def yes(condition):
    return "yes" if condition else "no"


def print_conclusions(encoders, known, paper, curves, more, results, size):
    def mean(scores, i=0):
        return np.mean([score[i] for score in scores])

    last, most = len(size.steps) - 1, size.gradient_steps[-1]
    exact = np.min(known["exhaustive", ""][0])
    best = max(np.mean(values) for (name, _), values in encoders.items() if name == "SAE")
    print("\nConclusions")
    print(f"  exact recovery by exhaustive search, latent MCC at least {exact:.4f}")
    print(f"  best affine map and ReLU, trained on true codes: {best:.3f}, gap {1 - best:.3f}")
    true = np.mean(known[f"optimisation, {most} steps", "paper"][0])
    learnt = [mean(paper[name]) for name in ("SAE", "SAE, optimised from zero")]
    gain = true - np.mean(known["SAE", "paper"][0])
    print(
        f"  optimised codes gain {gain:.3f} with the true dictionary, "
        f"{learnt[1] - learnt[0]:.3f} with the SAE's (paper: 0.358, 0.017)"
    )
    warm = mean(paper["SAE, optimised from its codes"])
    print(f"  a warm start changes that by {warm - learnt[1]:+.3f}")
    print_agreement(paper)
    chosen = {name: mean(by_budget[last]) for name, by_budget in curves.items()}
    order = chosen["SAE"] < chosen["MLP 32"] < chosen["sparse coding"]
    print(f"  SAE < MLP 32 < sparse coding with chosen weights: {yes(order)}")
    for name in ("SAE", "sparse coding"):
        print(
            f"  {name}: latent MCC {mean(paper[name]):.3f} with the paper's weight, "
            f"{chosen[name]:.3f} with its own, {mean(more[name][last]):.3f} with "
            f"{size.n_more:,} samples"
        )
    print_operations(curves)
    print_agreement_of_grid(results, size)
    as_coded, correct = sparse_coding_step(N, M, 1024)
    print(f"  a step of the paper's sparse coding: {as_coded:,} operations as its code counts,")
    print(f"  {correct:,} in truth, {as_coded / correct:.0f} times fewer")


def print_agreement(paper):
    for i, what in ((0, "latent"), (1, "dictionary")):
        gaps = {
            name: np.mean([score[i] for score in paper[name]]) - theirs[i]
            for name, theirs in PAPER_NEITHER.items()
            if name in paper
        }
        name = max(gaps, key=lambda name: abs(gaps[name]))
        most = f"{gaps[name]:+.3f} ({name})"
        print(f"  ours less the paper's {what} MCC, the largest of {len(gaps)}: {most}")


def print_operations(curves):
    print(f"  operations, training and inference, by which the mean latent MCC is {ENOUGH}:")
    for name, by_budget in curves.items():
        costs = [
            np.mean([score.flops for score in scores])
            for scores in by_budget.values()
            if np.mean([score.latent for score in scores]) >= ENOUGH
        ]
        if len(by_budget) > 1:
            print(f"    {name:<20}" + (f"{min(costs):.1e}" if costs else "not reached"))


def print_agreement_of_grid(results, size):
    for name in ("SAE", "sparse coding"):
        gaps = [results[name, shape] - published(name, shape) for shape in size.shapes]
        print(
            f"  grid, {name}: ours less the paper's {np.mean(gaps):+.2f} on average, from "
            f"{min(gaps):+.2f} to {max(gaps):+.2f}"
        )
    for what, names in (
        ("the paper's weight", ("SAE", "sparse coding")),
        ("weight 0.1", ("SAE, weight 0.1", "sparse coding, weight 0.1")),
    ):
        better = sum(results[names[1], shape] > results[names[0], shape] for shape in size.shapes)
        print(f"  grid, {what}: sparse coding beats the SAE in {better} of {len(size.shapes)}")
    theirs = sum(published("sparse coding", s) > published("SAE", s) for s in size.shapes)
    print(f"  grid, in the paper: in {theirs} of {len(size.shapes)}")
