"""Tensors of torch on the CPU: compiled kernels over the same memory, and tensors in return."""

import pickle

import numpy as np
import pytest
from estimators import AUTOENCODERS, data, each_estimator, fitted, small

import skdict
from skdict import MatchingPursuitCoder, backend

torch = pytest.importorskip("torch", reason="torch is not installed")


def arrays(estimator):
    return {name: value for name, value in fitted(estimator).items() if hasattr(value, "detach")}


def assert_shares(array, tensor):
    """One memory: what is written to the tensor is seen in the array."""
    assert array.ctypes.data == tensor.data_ptr()


@each_estimator
def test_the_same_bits_as_numpy(make):
    # Catches tensors that are computed by reference kernels, or in another order.
    X = data()
    ours, host = make().fit(torch.asarray(X)), make().fit(X)
    assert {"components_", "decoder_bias_", "dead_latents_"} <= set(arrays(ours))
    for name, value in arrays(ours).items():
        np.testing.assert_array_equal(value.numpy(), getattr(host, name), err_msg=name)
    Z = ours.transform(torch.asarray(X))
    assert isinstance(Z, torch.Tensor)
    np.testing.assert_array_equal(Z.numpy(), host.transform(X))
    X_hat = ours.inverse_transform(Z)
    assert isinstance(X_hat, torch.Tensor)
    np.testing.assert_array_equal(X_hat.numpy(), host.inverse_transform(host.transform(X)))
    assert ours.score(torch.asarray(X)) == host.score(X)


@each_estimator
def test_partial_fit_goes_on(make):
    # Catches a state of training that is lost between tensors.
    X = data()
    ours, host = make(), make()
    for rows in (X[:64], X[64:]):
        ours.partial_fit(torch.asarray(rows))
        host.partial_fit(rows)
    np.testing.assert_array_equal(ours.components_.numpy(), host.components_)


def test_nothing_is_copied():
    # Catches a copy of the data on the way in or of the arrays on the way out.
    X = torch.asarray(data())
    assert_shares(backend.native(X), X)
    array = np.zeros(3)
    assert_shares(array, backend.as_torch(array))
    transposed = torch.asarray(data()).T
    assert_shares(backend.native(transposed), transposed)


def test_gradients_stay_outside():
    # Catches tensors that ask for gradients, which NumPy refuses.
    X = torch.asarray(data()).requires_grad_()
    Z = small(AUTOENCODERS[0]).fit(X).transform(X)
    assert not Z.requires_grad and X.grad is None


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "int64"])
def test_dtypes(name):
    # Catches bfloat16, which NumPy has not, and computation in half precision.
    X = torch.asarray(np.round(4 * data()) / 4).to(getattr(torch, name))
    Z = small(AUTOENCODERS[1]).fit(X).transform(X)
    wide = name in ("float64", "int64")
    assert Z.dtype == (torch.float64 if wide else torch.float32)


@each_estimator
def test_tensors_and_arrays_do_not_mix(make):
    # Catches a model of one that takes the other in silence.
    X = data()
    ours, host = make().fit(torch.asarray(X)), make().fit(X)
    for estimator, other in ((ours, X), (host, torch.asarray(X))):
        for method in ("transform", "score", "partial_fit"):
            with pytest.raises(ValueError, match="same namespace"):
                getattr(estimator, method)(other)


@each_estimator
def test_sparse_codes(make):
    # Catches CSR codes that a model of tensors decodes to arrays of NumPy.
    X = torch.asarray(data())
    estimator = make(sparse_output=True).fit(X)
    Z = estimator.transform(X)
    X_hat = estimator.inverse_transform(Z)
    expected = estimator.inverse_transform(torch.asarray(Z.toarray()))
    assert isinstance(X_hat, torch.Tensor)
    np.testing.assert_allclose(X_hat.numpy(), expected.numpy(), rtol=1e-12, atol=1e-12)


@each_estimator
def test_pickle_and_to_device(make):
    # Catches fitted tensors that do not survive a pickle, or move_to.
    X = torch.asarray(data())
    estimator = make().fit(X)
    for again in (
        pickle.loads(pickle.dumps(estimator)),
        skdict.to_device(estimator, "cpu"),
    ):
        assert torch.equal(again.transform(X), estimator.transform(X))


def test_tensors_as_dictionary():
    # Catches atoms and offsets that only work as arrays.
    X, atoms = data(), np.random.default_rng(1).standard_normal((9, 6))
    offset = torch.full((6,), 0.5, dtype=torch.float64)
    ours = MatchingPursuitCoder(k=2, dictionary=torch.asarray(atoms), offset=offset)
    host = MatchingPursuitCoder(k=2, dictionary=atoms, offset=0.5).fit(X)
    Z = ours.fit(torch.asarray(X)).transform(torch.asarray(X))
    np.testing.assert_array_equal(Z.numpy(), host.transform(X))


def test_tensors_without_values_or_not_dense():
    # Catches torch's own errors, which name neither X nor a way out.
    for X in (torch.ones((4, 3), device="meta"), torch.ones((4, 3)).to_sparse()):
        with pytest.raises(TypeError, match="a dense tensor that has values is needed"):
            small(AUTOENCODERS[0]).fit(X)
    negative = torch.asarray(data() + 1j * data()).conj().imag  # a view that negates
    assert small(AUTOENCODERS[0]).fit(negative).components_.shape == (16, 6)
