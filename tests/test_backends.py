"""The same fit on every array library, to rounding; results live where the data live.

No configuration of scikit-learn is needed: skdict dispatches on its own.
"""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from array_api_compat import array_namespace, device
from estimators import data, each_estimator, fitted

from skdict import LassoCoder, MatchingPursuitCoder, training
from skdict.backend import to_numpy

strict = pytest.importorskip("array_api_strict")


@pytest.fixture(params=["numpy", "array_api_strict"])
def other(request):
    """A function that makes arrays of the *other* library than `request.param`."""
    return strict.asarray if request.param == "numpy" else np.asarray


def is_array(value):
    return hasattr(value, "shape")


@each_estimator
def test_same_fit_everywhere(make, xp):
    # Catches a reference kernel, or code between kernels, that computes something else.
    X = data()
    changes = {"algorithm": "fista"} if make.args[0] is LassoCoder else {}
    host, there = make(**changes).fit(X), make(**changes).fit(xp.asarray(X))
    for name, value in fitted(host).items():
        if is_array(value):
            found = to_numpy(getattr(there, name))
            np.testing.assert_allclose(found, value, rtol=1e-7, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(there.loss_curve_, host.loss_curve_, rtol=1e-7)
    codes = to_numpy(there.transform(xp.asarray(X)))
    np.testing.assert_allclose(codes, host.transform(X), rtol=1e-6, atol=1e-8)
    assert there.score(xp.asarray(X)) == pytest.approx(host.score(X))


@each_estimator
def test_same_revival_everywhere(make, xp, monkeypatch):
    # Catches revival (AuxK, resampling) that differs between libraries. A latent that
    # did not fire in the last batch counts as dead; in the decay nothing is resampled any more.
    # With CuPy it begins once the host has looked at the counters, here before each step.
    monkeypatch.setattr(training, "READ_EVERY", 1)
    X = data()
    changes = {"n_components": 64, "dead_after": 10, "decay": 0.5, "learning_rate": 0.02}
    changes |= {"alpha": 4.0} if hasattr(make(), "alpha") else {"k": 1}
    changes |= {"algorithm": "fista"} if make.args[0] is LassoCoder else {}
    host, there = make(**changes).fit(X), make(**changes).fit(xp.asarray(X))
    np.testing.assert_allclose(to_numpy(there.components_), host.components_, atol=1e-6)
    np.testing.assert_array_equal(there.history_["dead"], host.history_["dead"])
    assert host.history_["dead"].max() > 0


@each_estimator
def test_output_follows_input(make, xp, dtype):
    # Catches a silent trip to the host, and a change of precision.
    X = xp.asarray(data(dtype=dtype))
    estimator = make().fit(X).partial_fit(X)
    Z = estimator.transform(X)
    arrays = {name: value for name, value in fitted(estimator).items() if is_array(value)}
    arrays |= {"codes": Z, "X_hat": estimator.inverse_transform(Z)}
    for name, array in arrays.items():
        assert array_namespace(array) is array_namespace(X), name
        if name != "dead_latents_":
            assert array.dtype == X.dtype, name
    assert isinstance(estimator.score(X), float)


@each_estimator
def test_output_stays_on_the_device(make):
    # Catches arrays that are created on the default device.
    X = strict.asarray(data(), device=strict.Device("device1"))
    estimator = make().fit(X)
    Z = estimator.transform(X)
    for array in (
        estimator.components_,
        estimator.dead_latents_,
        Z,
        estimator.inverse_transform(Z),
    ):
        assert device(array) == device(X)
    with pytest.raises(ValueError, match="same device"):
        estimator.transform(strict.asarray(data()))


@each_estimator
def test_mixed_namespaces_are_refused(make, other):
    # Catches a silent conversion, which would hide that data and model live in different places.
    X = data()
    there = other(X)
    here = X if other is strict.asarray else strict.asarray(X)
    estimator = make().fit(here)
    before = copy.deepcopy(to_numpy(estimator.components_))
    for method in ("transform", "score", "partial_fit"):
        with pytest.raises(ValueError, match=rf"{method}\(\) must use the same namespace"):
            getattr(estimator, method)(there)
    with pytest.raises(ValueError, match="must use the same namespace"):
        estimator.inverse_transform(other(np.zeros((2, 16))))
    np.testing.assert_array_equal(to_numpy(estimator.components_), before)


@each_estimator
def test_fit_moves_on_to_another_namespace(make, other):
    # Catches a warm start that mixes the old model's arrays with the new data's.
    X = data()
    here = X if other is strict.asarray else strict.asarray(X)
    estimator = make(warm_start=True).fit(here).fit(other(X))
    assert array_namespace(estimator.components_) is array_namespace(other(X))
    assert np.isfinite(estimator.score(other(X)))


@each_estimator
def test_sparse_codes_of_other_namespaces(make):
    # Catches CSR output or input that only works on numpy; CSR lives on the host.
    X = data()
    dense, sparse = make().fit(strict.asarray(X)), make(sparse_output=True).fit(strict.asarray(X))
    Z, Z_sparse = to_numpy(dense.transform(strict.asarray(X))), sparse.transform(strict.asarray(X))
    assert sp.issparse(Z_sparse) and Z_sparse.format == "csr"
    np.testing.assert_array_equal(Z_sparse.toarray(), Z)
    X_hat = dense.inverse_transform(Z_sparse)
    assert array_namespace(X_hat) is strict
    expected = Z @ to_numpy(dense.components_) + to_numpy(dense.decoder_bias_)
    np.testing.assert_allclose(to_numpy(X_hat), expected, atol=1e-12)


@each_estimator
def test_bad_arrays_of_other_namespaces(make):
    # Catches arrays that bypass scikit-learn's validation, which only knows numpy.
    X = strict.asarray(data())
    bad = {
        "NaN or infinity": X * strict.nan,
        "2D array": X[0, :],
        "minimum of 1 sample": X[:0, :],
        "real numbers": strict.astype(X, strict.complex128),
    }
    for message, array in bad.items():
        estimator = make()
        with pytest.raises((ValueError, TypeError), match=message):
            estimator.fit(array)
        assert not fitted(estimator)


@each_estimator
def test_integers_are_computed_in_float64(make, xp):
    # Catches integer arithmetic, which would truncate centred data.
    X = np.round(10 * data()).astype(np.int64)
    integers, floats = make().fit(xp.asarray(X)), make().fit(xp.asarray(X.astype(np.float64)))
    np.testing.assert_array_equal(to_numpy(integers.components_), to_numpy(floats.components_))
    assert integers.components_.dtype == xp.float64


@each_estimator
def test_pickles_keep_the_namespace(make):
    # Catches fitted arrays that do not survive a pickle.
    X = strict.asarray(data())
    estimator = make().fit(X)
    again = pickle.loads(pickle.dumps(estimator))
    codes = to_numpy(again.transform(X))
    np.testing.assert_array_equal(codes, to_numpy(estimator.transform(X)))


@pytest.mark.parametrize("convert", [np.asarray, strict.asarray, np.ndarray.tolist])
def test_given_dictionary_joins_the_data(convert, xp):
    # Catches a dictionary that stays in its own library although X lives in another.
    X, atoms = data(), np.random.default_rng(1).standard_normal((9, 6))
    coder = MatchingPursuitCoder(k=2, dictionary=convert(atoms)).fit(xp.asarray(X))
    reference = MatchingPursuitCoder(k=2, dictionary=atoms).fit(X)
    assert array_namespace(coder.components_) is array_namespace(xp.asarray(X))
    codes = to_numpy(coder.transform(xp.asarray(X)))
    np.testing.assert_allclose(codes, reference.transform(X), atol=1e-10)
