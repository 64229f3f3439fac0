"""
Which measures of sparsity obey which laws
==========================================

Hurley and Rickard ask six things of a measure of sparsity. What the rich give to the poor lowers it
(Robin Hood), the unit does not matter (Scaling), the same added to all lowers it (Rising Tide),
copies change nothing (Cloning), making one very rich raises it (Bill Gates), and so does one more
zero (Babies). :func:`skdict.testing.criteria_table` searches for counterexamples for the sixteen
measures of :mod:`skdict.metrics`: an X is a law that was not refuted, a blank has its
counterexample.

Then the same search is turned on a measure that one might invent: the share of entries below a
tenth of the largest. It sounds right, and it fails.

    python examples/plot_sparsity_laws.py [--figure sparsity_laws.png]

takes about 20 seconds.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

from skdict.testing import check_sparsity_measure, criteria_table

TITLES = {
    "D1": "Robin Hood",
    "D2": "Scaling",
    "D3": "Rising Tide",
    "D4": "Cloning",
    "P1": "Bill Gates",
    "P2": "Babies",
}


def share_below_a_tenth(c):
    """Of the largest entry: large where one entry towers over the others."""
    return np.mean(c < 0.1 * c.max())


def draw(table, path):
    n_rows, n_columns = len(table.measures), len(table.criteria)
    obeyed = [[table.obeys(name, law) for law in table.criteria] for name in table.measures]
    figure, axis = plt.subplots(figsize=(12, 0.42 * n_rows + 1.2), layout="constrained")
    axis.pcolormesh(np.array(obeyed), cmap="Blues", vmin=-0.15, vmax=1.6, edgecolor="white", lw=2)
    for (name, law), found in table.counterexamples.items():
        before, after = found.summary().split(": ")[0].split(" -> ")
        position = table.criteria.index(law) + 0.5, table.measures.index(name) + 0.5
        axis.text(*position, f"{before} → {after}", ha="center", va="center", fontsize=7)
    for row, marks in enumerate(obeyed):
        for column in np.flatnonzero(marks):
            axis.text(
                column + 0.5, row + 0.5, "X", ha="center", va="center", weight="bold", color="white"
            )
    axis.set_xticks(np.arange(n_columns) + 0.5, [f"{law}\n{TITLES[law]}" for law in table.criteria])
    axis.set_yticks(np.arange(n_rows) + 0.5, table.measures)
    axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axis.spines[:].set_visible(False)
    axis.invert_yaxis()
    axis.set_xlabel(
        "X: no counterexample found; else the vector before → after that refutes the law"
    )
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--figure", default="sparsity_laws.png", help="where the figure goes")
    arguments = parser.parse_args()

    table = criteria_table(max_examples=100)
    print(table)
    print("\nAn invention: the share of entries below a tenth of the largest.\n")
    try:
        check_sparsity_measure(share_below_a_tenth)
    except AssertionError as failure:
        print(failure)
    draw(table, arguments.figure)
    print(f"\nfigure: {arguments.figure}")


if __name__ == "__main__":
    main()
