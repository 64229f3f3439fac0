"""Public functions and their implementations agree in names and arguments."""

import importlib
import importlib.resources
import inspect

import pytest

from skdict.kernels import CUDA

KERNELS = ("topk", "products", "adam", "pursuit", "lasso", "refit", "atoms")


def public_functions(module):
    return {
        name: inspect.signature(function)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


@pytest.mark.parametrize("kind", ["reference", "cpu"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_same_names_and_arguments(kernel, kind):
    # would catch: an argument renamed, reordered or given a default in one place only
    documented = public_functions(importlib.import_module(f"skdict.kernels.{kernel}"))
    implemented = public_functions(importlib.import_module(f"skdict.kernels.{kernel}_{kind}"))
    assert documented
    assert implemented == documented


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", sorted(CUDA & set(KERNELS)))
def test_same_on_a_gpu(kernel, cupy):
    # would catch: the same; there kernels may share more with each other
    documented = public_functions(importlib.import_module(f"skdict.kernels.{kernel}"))
    implemented = public_functions(importlib.import_module(f"skdict.kernels.{kernel}_cuda"))
    assert {name: implemented[name] for name in documented} == documented


def test_all_kernels_are_compared():
    # would catch: a new kernel that nobody added above
    folder = importlib.resources.files("skdict.kernels")
    names = {path.name for path in folder.iterdir()}
    found = {name.removesuffix("_reference.py") for name in names if name.endswith("_reference.py")}
    assert found == set(KERNELS)
