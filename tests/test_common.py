"""scikit-learn's own checks, on every public estimator and without an expected failure."""

import importlib.util
import os
from unittest import SkipTest

import pytest
from estimators import CODERS, ESTIMATORS, small
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skdict import LassoCoder

# scikit-learn runs these on its own estimators, but not within check_estimator.
FURTHER_CHECKS = [
    "check_param_validation",
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
]
# A thousand updates of a dictionary take half a minute in array_api_strict.
CHECKED = [cls(max_iter=5) if cls in CODERS else cls() for cls in ESTIMATORS]
DISPATCHES = os.environ.get("SCIPY_ARRAY_API") == "1"
each_class = pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
needs_dispatch = pytest.mark.skipif(
    not DISPATCHES,
    reason="set SCIPY_ARRAY_API=1, or scikit-learn skips its array-API checks in silence",
)


# Where they are installed, scikit-learn's checks of these must run, on the CPU.
REQUIRED = ["array_api_strict"] + ["torch"] * bool(importlib.util.find_spec("torch"))


def must_run(check, namespaces=REQUIRED):
    keywords = getattr(check, "keywords", {})
    absent = keywords.get("device_name") in ("cuda", "xpu", "mps")
    return keywords.get("array_namespace") in namespaces and not absent


@parametrize_with_checks(CHECKED)
def test_estimator_checks(estimator, check):
    # Catches whatever breaks scikit-learn's conventions; a failed check raises. With
    # SCIPY_ARRAY_API=1 a check on REQUIRED libraries that is skipped is a failure, too.
    try:
        assert check(estimator) is None
    except SkipTest as skipped:
        if DISPATCHES and must_run(check):
            pytest.fail(f"a check of the array API was skipped: {skipped}")
        raise


@each_class
@pytest.mark.parametrize("name", REQUIRED)
@needs_dispatch
def test_array_api_checks_exist(cls, name):
    # Catches a tag that takes the array-API checks out of those that test_estimator_checks runs.
    checks = [check for _, check in estimator_checks_generator(cls()) if must_run(check, [name])]
    names = {check.func.__name__ for check in checks}
    expected = {"check_array_api_input", "check_array_api_same_namespace"}
    assert names >= (expected if name == "array_api_strict" else {"check_array_api_input"})


@each_class
@pytest.mark.parametrize("name", REQUIRED)
@needs_dispatch
def test_array_api_values(cls, name):
    # Catches a namespace in which another model is learned (check_estimator only compares types).
    try:
        estimator_checks.check_array_api_input(
            cls.__name__,
            small(cls, algorithm="fista") if cls is LassoCoder else small(cls),
            array_namespace=name,
            device_name="cpu" if name == "torch" else "CPU_DEVICE",
            dtype_name="float64",
            check_values=True,
        )
    except SkipTest as skipped:
        pytest.fail(str(skipped))
    assert cls().__sklearn_tags__().array_api_support


@pytest.mark.parametrize("name", FURTHER_CHECKS)
@each_class
def test_further_estimator_checks(cls, name):
    # Catches broken messages about parameters, feature names, and pandas or polars output.
    assert getattr(estimator_checks, name)(cls.__name__, cls()) is None
