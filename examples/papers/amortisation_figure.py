"""The figure of ``amortisation_gap.py``."""

import matplotlib.pyplot as plt
import numpy as np
from amortisation_paper import PAPER_NEITHER, published

COLOURS = {
    "SAE": "C0", "MLP 32": "C1", "MLP 256": "C3", "sparse coding": "C2", "MP, K steps": "C4",
    "OMP, K steps": "C5", "largest K": "C7",
}  # fmt: skip
SHORT = {"largest K correlations": "largest K", "exhaustive": "exhaustive search"}
BESIDE = {
    "exhaustive search": (-22, -13), "OMP, K steps": (-24, 7), "MP, K steps": (-14, -14),
    "SAE": (-11, -14), "MLP 256": (-44, 6),
}  # fmt: skip
OF_WEIGHT = {"paper": "the paper's weight", "chosen": "chosen weight", "": ""}


def draw(encoders, known, curves, results, size, chance):
    """Known dictionary; both unknown, codes and atoms by operations; the grid by shape."""
    figure, axes = plt.subplots(2, 3, figsize=(13.5, 8.5), layout="constrained")
    dictionary_known(axes[0, 0], encoders, known, chance[0])
    for i, what in ((0, "latent MCC"), (1, "dictionary MCC")):
        by_operations(axes[0, 1 + i], curves, i, what, chance[i])
    axes[0, 2].annotate("dashed: the paper; dotted: chance", (0.02, 0.95), fontsize=8,
                        xycoords="axes fraction", color="grey")  # fmt: skip
    axes[0, 1].legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    shapes = {m: [s for s in size.shapes if s[1] == m and s[2] == 3] for m in (8, 16, 32)}
    for axis, (m, own) in zip(axes[1], shapes.items(), strict=True):
        grid(axis, results, own, m)
    axes[1, 0].plot([], [], "--x", color="grey", lw=0.8, ms=4, label="the paper")
    axes[1, 0].legend(frameon=False, fontsize=8)
    return figure


def dictionary_known(axis, encoders, known, chance):
    """Every method with the true dictionary, by operations for the codes of a sample."""
    steps = {key: value for key, value in known.items() if key[0].startswith("optimisation")}
    for which, style in (("paper", "-"), ("chosen", "--")):
        points = [(cost, np.mean(mccs)) for (_, w), (mccs, cost) in steps.items() if w == which]
        label = f"optimisation, {OF_WEIGHT[which]}"
        axis.plot(*np.transpose(points), style, color="C2", marker=".", label=label)
    for (name, which), (mccs, cost) in known.items():
        if (name, which) in steps or name.endswith("times longer"):
            continue
        name = SHORT.get(name, name)
        marker = {"exhaustive search": "*"}.get(name, "o" if which else "v")
        filled = {"mfc": "white"} if which == "paper" else {}
        axis.plot(cost, np.mean(mccs), marker, color=COLOURS.get(name, "black"), **filled)
        if which != "paper":
            below = BESIDE.get(name, (7, -3))
            axis.annotate(name, (cost, np.mean(mccs)), xytext=below, textcoords="offset points",
                          fontsize=8, color=COLOURS.get(name, "black"))  # fmt: skip
        if which == "chosen":
            best = max(np.mean(v) for (other, _), v in encoders.items() if other == name)
            axis.plot(cost, best, "D", ms=5, color=COLOURS[name])
    for marker, colour, label in (
        ("o", "white", "encoder, the paper's weight"),
        ("o", "black", "encoder, chosen weight"),
        ("D", "black", "encoder trained on true codes"),
    ):
        axis.plot([], [], marker, color="black", mfc=colour, ms=5, label=label)
    axis.axhline(chance, color="grey", ls=":", lw=1)
    axis.set(xscale="log", xlabel="operations for the codes of a sample", ylabel="latent MCC",
             title="N = 16, M = 8, K = 3: dictionary known", ylim=(None, 1.03))  # fmt: skip
    axis.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.06))


def by_operations(axis, curves, i, what, chance):
    """Neither known: each point a fit of its own, the rate falling to zero at its end."""
    for name, by_budget in curves.items():
        if name not in COLOURS:
            continue
        costs = [np.mean([score.flops for score in scores]) for scores in by_budget.values()]
        means = [np.mean([score[i] for score in scores]) for scores in by_budget.values()]
        axis.plot(costs, means, marker=".", color=COLOURS[name], label=name)
        if name in PAPER_NEITHER:
            axis.axhline(PAPER_NEITHER[name][i], color=COLOURS[name], lw=0.8, ls="--", alpha=0.6)
    axis.axhline(chance, color="grey", ls=":", lw=1)
    axis.set(xscale="log", xlabel="operations, training and inference", ylabel=what,
             title="neither known, chosen weights", ylim=(None, 1.01))  # fmt: skip


def grid(axis, results, shapes, m):
    """The paper's weight: ours by full lines, the paper's by dashed ones."""
    for name in dict.fromkeys(name for name, _ in results):
        ours = [(n, results[name, (n, m, k)]) for n, m, k in shapes]
        if not ours:
            continue
        colour = COLOURS[name.split(",")[0]]
        dash = ":" if "," in name else "-"
        axis.plot(*np.transpose(ours), dash, marker=".", color=colour, label=name)
        theirs = [(shape[0], published(name, shape)) for shape in shapes]
        axis.plot(*np.transpose(theirs), "--", marker="x", ms=4, lw=0.8, color=colour, alpha=0.7)
    axis.set(xscale="log", xlabel="atoms N", ylabel="latent MCC", ylim=(0, 1.03),
             title=f"M = {m} features, K = 3")  # fmt: skip
    ticks = [shape[0] for shape in shapes]
    axis.set_xticks(ticks, [str(n) for n in ticks], minor=False)
    axis.minorticks_off()
