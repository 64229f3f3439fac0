"""What waiting there is before the first step: imports and compilation.

    python doc/benchmarks/startup.py [--rounds 3]

Each figure is from processes of their own, in turn. Compilation is the time of a first fit less
that of a second one in the same process: with an empty cache, as after a fresh installation, and
with the cache that the first process has left.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile

import numba
import numpy as np
import sklearn
from topk_step import processor

import skdict

IMPORT = "import {0}time; b = time.perf_counter(); import {1}; print(time.perf_counter() - b)"
FITS = """
import time
import numpy as np
from skdict import {0}

X = np.random.default_rng(0).standard_normal((2000, 64)).astype("float32")
times = []
for _ in range(2):
    begin = time.perf_counter()
    {0}(256, max_iter=20, {1}).fit(X).transform(X)
    times.append(time.perf_counter() - begin)
print(times[0] - times[1])
"""
ESTIMATORS = {
    "TopKAutoencoder": "k=8",
    "SparseAutoencoder": "alpha=2",
    "GatedAutoencoder": "alpha=2",
}


def seconds(code, cache=None):
    """What a fresh process prints that runs `code`, with numba's cache in the folder `cache`."""
    env = os.environ if cache is None else {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, env=env, capture_output=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = range(parser.parse_args().rounds)
    print(
        f"{processor()}, Python {platform.python_version()}, skdict {skdict.__version__}, "
        f"numba {numba.__version__}, numpy {np.__version__}, scikit-learn {sklearn.__version__}"
    )
    orders = ("", "sklearn"), ("sklearn, ", "skdict")
    imports = [[seconds(IMPORT.format(*order)) for order in orders] for _ in rounds]
    base, ours = (statistics.median(times) for times in zip(*imports, strict=True))
    print(f"import sklearn {base:.2f} s, then import skdict {ours:.2f} s")
    for name, parameter in ESTIMATORS.items():
        code, first, later = FITS.format(name, parameter), [], []
        for _ in rounds:
            with tempfile.TemporaryDirectory() as cache:
                first.append(seconds(code, cache))
                later.append(seconds(code, cache))
        print(
            f"{name}: compilation {statistics.median(first):.1f} s in the first process, "
            f"{statistics.median(later):.2f} s in a later one"
        )


if __name__ == "__main__":
    main()
