"""The fused step against the composed one, which is its reference."""

import copy
import importlib

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdict import (
    GatedAutoencoder,
    SparseAutoencoder,
    TopKAutoencoder,
    encoders,
    revival,
    training,
)
from skdict.autoencoders.gated import Gated
from skdict.autoencoders.relu import ReLU
from skdict.autoencoders.topk import TopK, TopKEncoder
from skdict.encoders import Affine, Context
from skdict.fusion import fused_step
from skdict.kernels import dense, threads
from skdict.kernels.threads import use_threads
from skdict.terms import L1, AuxK, HeldReconstruction, Reconstruction

kernel = pytest.importorskip("skdict.kernels.sparse_step_cpu")
ARCHITECTURES = ("topk", "relu", "gated")


def parts_of(name, k=3, weight=1.0):
    """Encoder and terms of an architecture."""
    if name == "topk":
        return TopKEncoder(k, 4), [Reconstruction(), AuxK(weight)]
    if name == "relu":
        return Affine(ReLU()), [Reconstruction(), L1(weight, warmup=3)]
    penalty = L1(weight, warmup=3, head="gate")
    return Affine(Gated()), [Reconstruction(), penalty, HeldReconstruction("gate")]


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
    monkeypatch.setattr(encoders, "DENSE_FROM", 2.0)  # no batch is dense


@pytest.fixture(params=[1 << 15, 1 << 25], ids=["few", "all"])
def dead_work(monkeypatch, request):
    """Let dead latents look at a part of the samples only, or at all."""
    monkeypatch.setattr(revival, "DEAD_WORK", request.param)


def start(rng, n, d, m, dtype, parts, dead=0.0, shift=0.0):
    """Data and a state with random parameters, whose thresholds are higher by `shift`."""
    X = rng.standard_normal((n, d)).astype(dtype)
    D = rng.standard_normal((m, d))
    D = (D / np.linalg.norm(D, axis=1, keepdims=True)).astype(dtype)
    params = {
        "components": D,
        "decoder_bias": np.zeros(d, dtype=dtype),
        **parts[0].init(D, np.random.default_rng(0)),
    }
    for name, array in params.items():
        if name != "components":
            array += (0.3 * rng.standard_normal(array.shape)).astype(dtype)
        if name in ("encoder_bias", "gate_bias"):
            array -= np.asarray(shift, dtype=dtype)
    state = training.start(params, X, rng, np.zeros(d), 1.0)
    state.silent_for[rng.random(m) < dead] = 10**6
    return X, state


def steps(X, state, parts, n_steps, fused=True, **options):
    """State and losses after some steps from a copy of `state`."""
    state = copy.deepcopy(state)
    options = {"resample": False, **options}
    options = training.Settings(X.shape[0], 1e-2, 1, 1000, **options)
    with pytest.MonkeyPatch.context() as patch:
        if not fused:
            patch.setattr(training, "fused_step", lambda *args: None)
        results = [training.train_step(state, X, *parts, options) for _ in range(n_steps)]
    return state, results


@settings(max_examples=30)
@given(st.data())
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("small_blocks", "dead_work")
def test_equals_the_composed_step(dtype, name, data):
    # would catch a wrong gradient, projection, moment or count, with and without dead latents, in
    # one block or several, in samples whose pre-activations are mostly or all negative
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n, d, m = (data.draw(st.integers(1, most)) for most in (40, 9, 23))
    k, weight = data.draw(st.integers(1, m)), data.draw(st.sampled_from([1.0, 0.25]))
    decay = data.draw(st.sampled_from([0.0, 3.0]))
    dead, shift = (data.draw(st.sampled_from(s)) for s in ([0.0, 0.4, 1.0], [0.0, 2.0, 100.0]))
    parts = parts_of(name, k, weight)
    X, state = start(rng, n, d, m, dtype, parts, dead, shift)
    # In float32 the noise of the first step may choose other latents in the second.
    n_steps = 2 if dtype == "float64" else 1
    after, results = steps(X, state, parts, n_steps, weight_decay=decay)
    expected, others = steps(X, state, parts, n_steps, fused=False, weight_decay=decay)
    # Adam divides by the root of the second moment: where gradients cancel, signs are noise; with
    # one feature the projection cancels all of a gradient, of size ten.
    relative, absolute = {"float32": (2e-4, 4e-6), "float64": (1e-9, 1e-13)}[dtype]
    assert_allclose(results[0], others[0], rtol=relative)
    for key, moment in expected.optimizer["mean"].items():
        noise = relative * np.abs(moment).max() + absolute  # a projection may leave nothing else
        assert_allclose(after.optimizer["mean"][key], moment, rtol=relative, atol=noise)
    for key, moment in expected.optimizer["square"].items():
        noise = relative * moment.max() + absolute**2
        assert_allclose(after.optimizer["square"][key], moment, rtol=2 * relative, atol=noise)
    if dtype == "float64":
        for key, param in expected.params.items():
            assert_allclose(after.params[key], param, rtol=1e-6, atol=1e-6)
        assert_array_equal(after.silent_for, expected.silent_for)
    assert (after.step, after.n_seen) == (expected.step, expected.n_seen) == (n_steps, n_steps * n)
    assert_allclose(np.linalg.norm(after.params["components"], axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_held_parameters_stay(small_blocks, name):
    # would catch a rate that is not that of the parameter
    parts = parts_of(name)
    X, state = start(np.random.default_rng(0), 30, 5, 12, "float64", parts)
    for held in state.params:
        after, _ = steps(X, state, parts, 1, factors={held: 0.0})
        for key in state.params:
            same = np.array_equal(after.params[key], state.params[key])
            if key == "components" == held:
                assert_allclose(after.params[key], state.params[key], rtol=1e-15)
            else:
                assert same == (key == held)


@pytest.mark.parametrize("name", ["relu", "gated"])
def test_resamples_the_same_latents(small_blocks, name):
    # would catch a residual of another batch
    parts = parts_of(name)
    X, state = start(np.random.default_rng(6), 40, 5, 12, "float64", parts)
    state.silent_for[[2, 7]] = 10**6
    for bias in state.params.keys() & {"encoder_bias", "gate_bias"}:
        state.params[bias][[2, 7]] = -100.0
    state.n_seen = 999
    after, _ = steps(X, state, parts, 1, resample=True)
    expected, _ = steps(X, state, parts, 1, fused=False, resample=True)
    assert not np.allclose(after.params["components"][2], state.params["components"][2])
    for key, param in expected.params.items():
        assert_allclose(after.params[key], param, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dead", [0.0, 0.5])
def test_threads_do_not_change_the_bits(small_blocks, many_cores, dead, name):
    # would catch a sum over blocks in the order in which threads finish
    parts, results = parts_of(name), []
    X, state = start(np.random.default_rng(1), 50, 6, 31, "float32", parts, dead)
    state.n_seen = 920  # latents are resampled in the second step, where any are dead
    for n_jobs in (1, 2, 3):
        with use_threads(n_jobs):
            results.append(steps(X, state, parts, 3, resample=name != "topk"))
    for after, losses in results[1:]:
        assert losses == results[0][1]
        for key, param in after.params.items():
            assert_array_equal(param, results[0][0].params[key])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_memory_is_reused_without_traces(small_blocks, name):
    # would catch what a larger batch left behind in the buffers
    parts = parts_of(name)
    X, state = start(np.random.default_rng(2), 40, 6, 20, "float64", parts, 0.3)
    with use_threads(1):
        first = steps(X[:13], state, parts, 2)
        steps(100 * X, state, parts, 1)
        for memory in (threads.current(), *threads.current()._inner):
            for buffer in memory._buffers.values():
                buffer[...] = -1 if buffer.dtype.kind == "i" else np.nan
        again = steps(X[:13], state, parts, 2)
    assert first[1] == again[1]
    for key, param in first[0].params.items():
        assert_array_equal(param, again[0].params[key])


@pytest.mark.parametrize("fused", [True, False])
def test_the_encoder_of_dead_latents_does_not_decay(fused):
    # would catch: nothing left of a latent when it is revived
    parts = parts_of("relu")
    X, state = start(np.random.default_rng(7), 20, 4, 9, "float64", parts, dead=0.5, shift=100.0)
    dead = state.silent_for > 0
    after, _ = steps(X, state, parts, 1, fused, weight_decay=3.0)
    before, encoder = state.params["encoder"], after.params["encoder"]
    assert dead.any() and not dead.all()
    assert_array_equal(encoder[dead], before[dead])
    assert_allclose(encoder[~dead], before[~dead] * (1 - 1e-2 * 3.0), rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_loss(bad):
    # would catch ReLU turning NaN into a silent zero
    parts = parts_of("topk")
    X, state = start(np.random.default_rng(3), 10, 4, 8, "float64", parts)
    state.params["encoder"][:] = bad
    with np.errstate(all="ignore"):
        _, results = steps(X, state, parts, 1)
    assert not np.isfinite(results[0][0])


def test_only_known_compositions_are_fused():
    # would catch a fused step in place of another objective
    topk, aux = parts_of("topk")
    relu, penalised = parts_of("relu")
    _, state = start(np.random.default_rng(4), 3, 4, 6, "float64", parts_of("gated"))
    for name in ARCHITECTURES:
        assert fused_step(*parts_of(name), state.params) is not None
    assert fused_step(Affine(TopK(2)), aux, state.params) is None
    assert fused_step(topk, [Reconstruction()], state.params) is None
    assert fused_step(topk, [Reconstruction("gate"), AuxK()], state.params) is None
    assert fused_step(topk, [*aux, L1(0.1)], state.params) is None
    assert fused_step(relu, aux, state.params) is None
    assert fused_step(relu, penalised[::-1], state.params) is None
    foreign = {name: array_api_strict.asarray(a) for name, a in state.params.items()}
    assert fused_step(topk, aux, foreign) is None


@pytest.mark.parametrize("name", ["relu", "gated"])
def test_dense_batches_take_the_composed_step(name):
    # would catch sparse products of codes that are not sparse, and a step made twice
    parts = parts_of(name)
    X, state = start(np.random.default_rng(4), 30, 4, 6, "float64", parts, shift=-100.0)
    update = training.OPTIMIZER, state.optimizer, 0.1, {}, {}
    assert fused_step(*parts, state.params)(X, state.params, Context(), *update) is None
    after, results = steps(X, state, parts, 2)
    expected, others = steps(X, state, parts, 2, fused=False)
    assert results == others and after.optimizer["step"] == 2
    for key, param in expected.params.items():
        assert_array_equal(after.params[key], param)


@pytest.mark.parametrize(
    "estimator",
    [
        TopKAutoencoder(60, k=1),
        SparseAutoencoder(60, alpha=1.5),
        GatedAutoencoder(60, alpha=1.5),
    ],
    ids=["topk", "relu", "gated"],
)
def test_fit_agrees_with_the_composed_fit(monkeypatch, estimator):
    # would catch a loop that treats the two differently: batches, decay, dead latents, epochs
    X = np.random.default_rng(5).standard_normal((300, 6))
    monkeypatch.setattr(encoders, "DENSE_FROM", 2.0)
    settings_ = {"max_iter": 8, "batch_size": 32, "learning_rate": 0.03, "warmup": 5}
    estimator.set_params(dead_after=40, random_state=0, **settings_)
    fused = copy.deepcopy(estimator).fit(X)
    monkeypatch.setattr(importlib.import_module("skdict.training"), "fused_step", lambda *a: None)
    composed = copy.deepcopy(estimator).fit(X)
    assert_allclose(fused.loss_curve_, composed.loss_curve_, rtol=1e-6)
    assert_allclose(fused.components_, composed.components_, atol=1e-5)
    assert_array_equal(fused.history_["dead"], composed.history_["dead"])
    assert fused.history_["dead"].max() > 0
