"""Peak extra memory of a sparse transform: 200,000 x 384 rows, 32,768 components, k=32.

    python doc/benchmarks/sparse_memory.py

The model is fitted in a process of its own, so that training does not raise the peak; what is
printed is the rise of the peak resident set of a fresh process over that with model and data loaded
and one row encoded (kernels loaded), and the size of the result, which it contains.
"""

import pickle
import resource
import subprocess
import sys
import tempfile

import numpy as np

from skdict import TopKAutoencoder

N_ROWS, N_FEATURES, N_COMPONENTS, K = 200_000, 384, 32_768, 32


def fit(path):
    X = np.random.default_rng(0).standard_normal((256, N_FEATURES), dtype=np.float32)
    model = TopKAutoencoder(N_COMPONENTS, k=K, max_iter=1, sparse_output=True, random_state=0)
    with open(path, "wb") as file:
        pickle.dump(model.fit(X), file)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB on Linux


def measure(path):
    with open(path, "rb") as file:
        model = pickle.load(file)
    X = np.random.default_rng(1).standard_normal((N_ROWS, N_FEATURES), dtype=np.float32)
    model.transform(X[:1])
    before = peak()
    Z = model.transform(X)
    size = (Z.data.nbytes + Z.indices.nbytes + Z.indptr.nbytes) / 2**20
    print(
        f"{N_ROWS} x {N_FEATURES} rows, {N_COMPONENTS} components, k {K}: {Z.nnz} non-zeros,\n"
        f"extra memory {peak() - before:.0f} MiB, of which the result is {size:.0f} MiB"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["fit"]:
        fit(sys.argv[2])
    elif sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2])
    else:
        with tempfile.NamedTemporaryFile() as file:
            for stage in ("fit", "measure"):
                subprocess.run([sys.executable, __file__, stage, file.name], check=True)
