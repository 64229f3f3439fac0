"""What the scripts in this folder share: their arguments, where results go, intervals."""

import argparse
import contextlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy import stats

# Data sets that do not come with skdict: $SKDICT_DATA, else a folder beside the checkout.
DATA = Path(os.environ.get("SKDICT_DATA") or Path(__file__).parents[3] / "shared" / "data")


def arguments(documentation, seeds):
    """Parsed command line; `documentation` is that of the script, `seeds` how many by default."""
    title = documentation.strip().split("\n")[0]
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--full", action="store_true", help="the size of the documentation")
    parser.add_argument("--output", type=Path, help="folder for the table and the figure")
    parser.add_argument("--seeds", type=int, default=seeds, help="how many, from 0")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    return parser.parse_args()


@contextlib.contextmanager
def reported(script, options):
    """Context in which what is printed also goes to ``<script>.txt`` in the output folder.

    Gives a function that saves a figure beside it, as ``<script>.png``, or closes it where there is
    no such folder. The first lines tell the command, versions and the processor's kind.
    """
    name = Path(script).stem
    with contextlib.ExitStack() as stack:
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            path = options.output / f"{name}.txt"
            file = stack.enter_context(path.open("w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(_Both(sys.stdout, file)))
        size = " --full" if options.full else ""
        print(f"python examples/papers/{name}.py{size} --seeds {options.seeds}")
        packages = ("skdict", "numpy", "scipy", "scikit-learn", "numba")
        print(", ".join(f"{package} {version(package)}" for package in packages), end="; ")
        print(f"Python {platform.python_version()}, {platform.machine()}\n")

        def save(figure):
            import matplotlib.pyplot as plt

            if options.output is not None:
                figure.savefig(options.output / f"{name}.png", dpi=110)
            plt.close(figure)

        yield save


class _Both:
    def __init__(self, *files):
        self.files = files

    def write(self, text):
        for file in self.files:
            file.write(text)

    def flush(self):
        for file in self.files:
            file.flush()


def mean_interval(values, confidence=0.95):
    """Mean, and half the width of Student's interval for it (NaN for one value)."""
    values = np.asarray(values, dtype=float)
    n = values.size
    if n < 2:
        return float(values.mean()), float("nan")
    width = stats.t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean()), float(width)


def share_interval(successes, trials, confidence=0.95):
    """Wilson's interval for the probability behind `successes` of `trials`."""
    interval = stats.binomtest(int(successes), int(trials)).proportion_ci(confidence, "wilson")
    return float(interval.low), float(interval.high)
