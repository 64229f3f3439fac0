"""The fused step against the composed one, which is its reference."""

import copy
import importlib

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdict import TopKAutoencoder, revival, training
from skdict.autoencoders.relu import ReLU
from skdict.autoencoders.topk import TopK, TopKEncoder
from skdict.encoders import Affine
from skdict.fusion import fused_step
from skdict.kernels import dense, threads
from skdict.kernels.threads import use_threads
from skdict.terms import L1, AuxK, Reconstruction

kernel = pytest.importorskip("skdict.kernels.topk_step_cpu")


@pytest.fixture(params=["rows", "columns"])
def small_blocks(monkeypatch, request):
    """Blocks of a few rows and atoms, so that small problems have several of each.

    The product is made by tiles of rows, or by blocks of columns as for small batches.
    """
    monkeypatch.setattr(dense, "are_few_rows", lambda n, m: request.param == "columns")
    monkeypatch.setattr(dense, "_FEW_ROWS", 3)
    monkeypatch.setattr(threads, "_SMALL", 1)
    monkeypatch.setattr(dense, "_SMALL", 1)
    monkeypatch.setattr(dense, "_TILE", 8)
    monkeypatch.setattr(kernel, "_ATOMS", 5)


def start(rng, n, d, m, dtype, dead=0.0):
    X = rng.standard_normal((n, d)).astype(dtype)
    D = rng.standard_normal((m, d))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    params = {
        "components": D.astype(dtype),
        "encoder": (D + 0.3 * rng.standard_normal((m, d))).astype(dtype),
        "encoder_bias": (0.3 * rng.standard_normal(m)).astype(dtype),
        "decoder_bias": (0.2 * rng.standard_normal(d)).astype(dtype),
    }
    state = training.start(params, X, rng, np.zeros(d), 1.0)
    state.silent_for[rng.random(m) < dead] = 10**6
    return X, state


def steps(X, state, k, n_steps, fused, held=(), weight=1.0):
    """State and losses after some steps from a copy of `state`."""
    state = copy.deepcopy(state)
    terms = [Reconstruction(), AuxK(weight)]
    options = training.Settings(X.shape[0], 1e-2, 1, 1000, False, held)
    with pytest.MonkeyPatch.context() as patch:
        if not fused:
            patch.setattr(training, "fused_step", lambda *args: None)
        results = [
            training.train_step(state, X, TopKEncoder(k, 4), terms, options) for _ in range(n_steps)
        ]
    return state, results


@pytest.fixture(params=[1 << 13, 1 << 18], ids=["few", "all"])
def dead_work(monkeypatch, request):
    """Let dead latents look at a part of the samples only, or at all."""
    monkeypatch.setattr(revival, "DEAD_WORK", request.param)


@settings(max_examples=40)
@given(st.data())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("small_blocks", "dead_work")
def test_equals_the_composed_step(dtype, data):
    # would catch a wrong gradient, projection, moment or count, with and without dead latents, in
    # one block or several, in samples whose pre-activations are mostly negative
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n, d, m = (data.draw(st.integers(1, most)) for most in (40, 9, 23))
    k, dead = data.draw(st.integers(1, m)), data.draw(st.sampled_from([0.0, 0.4, 1.0]))
    weight = data.draw(st.sampled_from([1.0, 0.25]))
    X, state = start(rng, n, d, m, dtype, dead)
    state.params["encoder_bias"] -= data.draw(st.sampled_from([0.0, 2.0, 100.0]))
    after, results = steps(X, state, k, 2, True, weight=weight)
    expected, others = steps(X, state, k, 2, False, weight=weight)
    # Adam divides by the root of the second moment: where gradients cancel, signs are noise.
    relative, absolute = {"float32": (2e-4, 1e-6), "float64": (1e-9, 1e-13)}[dtype]
    assert_allclose(results[0], others[0], rtol=relative)
    for name, moment in expected.optimizer["mean"].items():
        noise = relative * np.abs(moment).max() + absolute  # a projection may leave nothing else
        assert_allclose(after.optimizer["mean"][name], moment, rtol=relative, atol=noise)
    if dtype == "float64":
        for name, param in expected.params.items():
            assert_allclose(after.params[name], param, rtol=1e-6, atol=1e-6)
        assert_array_equal(after.silent_for, expected.silent_for)
    assert (after.step, after.n_seen) == (expected.step, expected.n_seen) == (2, 2 * n)
    assert_allclose(np.linalg.norm(after.params["components"], axis=1), 1, rtol=1e-5)


def test_held_parameters_stay(small_blocks):
    # would catch a rate that is not that of the parameter
    X, state = start(np.random.default_rng(0), 30, 5, 12, "float64")
    for name in state.params:
        after, _ = steps(X, state, 3, 1, True, held=(name,))
        for other in state.params:
            same = np.array_equal(after.params[other], state.params[other])
            if other == "components" == name:
                assert_allclose(after.params[other], state.params[other], rtol=1e-15)
            else:
                assert same == (other == name)


@pytest.mark.parametrize("dead", [0.0, 0.5])
def test_threads_do_not_change_the_bits(small_blocks, dead):
    # would catch a sum over blocks in the order in which threads finish
    X, state = start(np.random.default_rng(1), 50, 6, 31, "float32", dead)
    results = []
    for n_jobs in (1, 2, 3):
        with use_threads(n_jobs):
            results.append(steps(X, state, 4, 3, True))
    for after, losses in results[1:]:
        assert losses == results[0][1]
        for name, param in after.params.items():
            assert_array_equal(param, results[0][0].params[name])


def test_memory_is_reused_without_traces(small_blocks):
    # would catch what a larger batch left behind in the buffers
    rng = np.random.default_rng(2)
    X, state = start(rng, 40, 6, 20, "float64", 0.3)
    with use_threads(1):
        first = steps(X[:13], state, 3, 2, True)
        steps(100 * X, state, 3, 1, True)
        again = steps(X[:13], state, 3, 2, True)
    assert first[1] == again[1]
    for name, param in first[0].params.items():
        assert_array_equal(param, again[0].params[name])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_loss(bad):
    # would catch ReLU turning NaN into a silent zero
    X, state = start(np.random.default_rng(3), 10, 4, 8, "float64")
    state.params["encoder"][:] = bad
    with np.errstate(all="ignore"):
        _, results = steps(X, state, 2, 1, True)
    assert not np.isfinite(results[0][0])


def test_only_its_own_composition_is_fused():
    # would catch a fused step in place of another objective
    _, state = start(np.random.default_rng(4), 3, 4, 6, "float64")
    topk, aux = TopKEncoder(2, 1), [Reconstruction(), AuxK()]
    assert fused_step(topk, aux, state.params) is not None
    assert fused_step(Affine(TopK(2)), aux, state.params) is None
    assert fused_step(Affine(ReLU()), [Reconstruction(), L1(0.1)], state.params) is None
    assert fused_step(topk, [Reconstruction()], state.params) is None
    assert fused_step(topk, [Reconstruction("gate"), AuxK()], state.params) is None
    assert fused_step(topk, [*aux, L1(0.1)], state.params) is None
    foreign = {name: array_api_strict.asarray(a) for name, a in state.params.items()}
    assert fused_step(topk, aux, foreign) is None


def test_fit_agrees_with_the_composed_fit(monkeypatch):
    # would catch a loop that treats the two differently: batches, decay, dead latents, epochs
    X = np.random.default_rng(5).standard_normal((300, 6))
    estimator = TopKAutoencoder(24, k=3, max_iter=8, batch_size=32, dead_after=200, random_state=0)
    fused = copy.deepcopy(estimator).fit(X)
    monkeypatch.setattr(importlib.import_module("skdict.training"), "fused_step", lambda *a: None)
    composed = copy.deepcopy(estimator).fit(X)
    assert_allclose(fused.loss_curve_, composed.loss_curve_, rtol=1e-6)
    assert_allclose(fused.components_, composed.components_, atol=1e-5)
    assert_array_equal(fused.dead_latents_, composed.dead_latents_)
