"""The parameter `device` where there is no GPU: messages, and nothing else changes."""

import builtins
import subprocess
import sys

import numpy as np
import pytest
from estimators import data, each_estimator, fitted, small

import skdict
from skdict import TopKAutoencoder


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", ""])
@each_estimator
def test_unknown_names(make, device):
    # Catches a name that is taken for something else, or an error that names no way out.
    estimator = make(device=device)
    with pytest.raises(ValueError, match=r"device=.* is unknown. Choose None"):
        estimator.fit(data())
    assert not fitted(estimator)
    with pytest.raises(ValueError, match=r"to_device: device=.* is unknown"):
        skdict.to_device(make(), device)


@pytest.mark.parametrize("device", [0, ("cuda", 0)])
def test_wrong_kinds(device):
    # Catches what only looks like a device.
    with pytest.raises(ValueError, match="'device' parameter"):
        small(TopKAutoencoder, device=device).fit(data())
    with pytest.raises(TypeError, match="is no name of a device"):
        skdict.to_device(small(TopKAutoencoder), device)


@each_estimator
def test_cpu_is_where_the_data_are(make):
    # Catches another result, or another array, only because the host is named.
    X = data()
    one, other = make(device="cpu").fit(X), make().fit(X)
    np.testing.assert_array_equal(one.components_, other.components_)
    np.testing.assert_array_equal(one.transform(X), other.transform(X))


@each_estimator
def test_without_cupy(make, monkeypatch):
    # Catches a bare ImportError, and a fit that had begun.
    imported = builtins.__import__

    def without_cupy(name, *args, **kwargs):
        if name == "cupy":
            raise ImportError("No module named 'cupy'")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_cupy)
    estimator = make(device="cuda")
    for call in (lambda: estimator.fit(data()), lambda: skdict.to_device(make(), "cuda:1")):
        with pytest.raises(ImportError, match=r"needs CuPy.*Install skdict\[cuda13\]"):
            call()
    assert not fitted(estimator)
    fitted_before = make().fit(data()).set_params(device="cuda")
    with pytest.raises(ImportError, match=r"needs CuPy"):
        fitted_before.transform(data())


def test_foreign_arrays_stay_where_they_are():
    # Catches a device that is forced on arrays that have one.
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(ValueError, match="device='cpu', but X is on"):
        small(TopKAutoencoder, device="cpu").fit(strict.asarray(data()))


def test_to_device_copies():
    # Catches a copy that shares its arrays with the original, or loses the state of training.
    X = data()
    original = small(TopKAutoencoder).partial_fit(X)
    moved = skdict.to_device(original, "cpu")
    before = original.components_.copy()
    moved.partial_fit(X)
    np.testing.assert_array_equal(original.components_, before)
    np.testing.assert_array_equal(moved.components_, original.partial_fit(X).components_)


def test_nothing_of_a_gpu_is_loaded():
    # Catches an import of CuPy by those who never asked for it.
    program = (
        "import sys, numpy as np, skdict; X = np.ones((20, 4)) * np.arange(4);"
        "skdict.TopKAutoencoder(4, k=2, max_iter=1).fit(X).transform(X);"
        "print([name for name in sys.modules if name.split('.')[0] in ('cupy', 'torch')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
