"""Documentation says what the code accepts and what a fit leaves behind."""

import ast
import inspect
import re

import numpy as np
import pandas as pd
import pytest
from estimators import CODERS, ESTIMATORS, data, fitted, small

import skdict
from skdict import (
    SparseAutoencoder,
    datasets,
    distributed,
    metrics,
    model_selection,
    testing,
)

# Functions, and classes that are called like functions; results are documented by attributes.
FUNCTIONS = [
    thing
    for module in (metrics, datasets, model_selection, testing, distributed)
    for thing in (getattr(module, name) for name in module.__all__)
    if inspect.isfunction(thing) or module is model_selection
]
METHODS = [
    getattr(cls, name)
    for cls in ESTIMATORS
    for name in ("fit", "partial_fit", "transform", "inverse_transform", "score")
]
PUBLIC = [*ESTIMATORS, *FUNCTIONS]
each_public = pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: thing.__name__)


def section(thing, title):
    """Lines of a numpydoc section."""
    found = re.search(
        rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", inspect.getdoc(thing), re.M | re.S
    )
    return found.group(1).splitlines() if found else []


def entries(thing, title):
    """Name -> type of the entries of a section, `a, b : type` split."""
    heads = [line for line in section(thing, title) if line and not line.startswith(" ")]
    return {
        name.strip().lstrip("*"): kind.strip()
        for names, _, kind in (head.partition(" : ") for head in heads)
        for name in names.split(",")
    }


@pytest.mark.parametrize("thing", [*PUBLIC, *METHODS], ids=lambda thing: thing.__qualname__)
def test_documented_parameters_are_the_accepted_ones(thing):
    # Catches a parameter that was added, renamed or reordered in one of the two places only.
    accepted = [name for name in inspect.signature(thing).parameters if name != "self"]
    assert list(entries(thing, "Parameters")) == accepted


@each_public
def test_documented_defaults_are_the_real_ones(thing):
    # Catches a default that changed in the signature only.
    for name, kind in entries(thing, "Parameters").items():
        parameter = inspect.signature(thing).parameters[name]
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        default = parameter.default
        stated = re.search(r"default=(.*)$", kind)
        assert (stated is None) == (default is inspect.Parameter.empty), name
        if stated:
            assert ast.literal_eval(stated.group(1)) == default, name


@each_public
def test_examples_and_summary(thing):
    # Catches a public name without an example, or whose first sentence does not fit one line.
    assert any(line.startswith(">>>") for line in section(thing, "Examples"))
    assert inspect.getdoc(thing).split("\n\n")[0].endswith(".")


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_attributes_section_names_what_a_fit_leaves(cls):
    # Catches fitted attributes without documentation, and documented ones that do not exist.
    X = pd.DataFrame(data(), columns=list("abcdef"))
    always = set(fitted(small(cls).fit(X)))
    options = {"encoder_hidden": 3, "load_balancing": 0.1, "repair": "scale"}
    options = {name: value for name, value in options.items() if hasattr(cls(), name)}
    exist = always | set(fitted(small(cls, **options).fit(X)))  # those that options bring
    documented = set(entries(cls, "Attributes"))
    if cls in CODERS:
        learned = small(SparseAutoencoder)
        given = cls(dictionary=learned).fit(X)
        assert set(fitted(given)) == exist | {"dictionary_"}
        exist |= {"dictionary_"}
    assert documented == exist
    # Catches names that come and go: a plain array and partial_fit leave the same ones.
    plain = small(cls).partial_fit(np.asarray(X))
    assert set(fitted(plain)) == always - {"feature_names_in_"}


def test_public_names_are_documented_here():
    # Catches an estimator that is exported but left out of the tests over all estimators.
    exported = {getattr(skdict, name) for name in skdict.__all__}
    assert {thing for thing in exported if inspect.isclass(thing)} == set(ESTIMATORS)
