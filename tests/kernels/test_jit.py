"""A process that compiles the kernels computes what one does that loads them."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import hashlib
import numpy as np
from skdict import LassoCoder, MatchingPursuitCoder, ThresholdCoder, TopKAutoencoder
X = np.random.default_rng(0).normal(size=(300, 24)).astype("float32")
shared = {"n_components": 48, "max_iter": 3, "random_state": 0}
for estimator in [
    *(MatchingPursuitCoder(k=4, algorithm=name, **shared) for name in ("omp", "ols", "mp")),
    MatchingPursuitCoder(k=4, precompute=False, **shared),
    LassoCoder(alpha=0.5, **shared),
    ThresholdCoder(k=4, **shared),
    TopKAutoencoder(k=4, **shared),
]:
    Z = estimator.fit_transform(X)
    print(estimator, hashlib.sha256(estimator.components_.tobytes() + Z.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_compiled_and_loaded_kernels_agree(tmp_path):
    # Catches calls from kernel to kernel, of which a process that compiles runs another copy.
    compiled, loaded = (
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        ).stdout
        for _ in range(2)
    )
    assert compiled.count("\n") >= 7 and any(tmp_path.rglob("*.nbc"))
    assert compiled == loaded
