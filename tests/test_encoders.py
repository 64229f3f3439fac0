"""Encoders alone: codes from their formulas, and backward for any functional of all heads."""

import numpy as np
import pytest
from finite_differences import numerical_gradient
from hypothesis import assume, given, settings
from numpy.testing import assert_allclose, assert_array_equal
from strategies import problem, problems, unit_dictionary

from skdict import codes, encoders
from skdict.autoencoders.gated import Gated
from skdict.autoencoders.relu import ReLU
from skdict.autoencoders.topk import FIRST_NORM, TopK, TopKEncoder
from skdict.backend import namespace, to_numpy
from skdict.coders.matching_pursuit import Pursuit
from skdict.encoders import INFERENCE, Affine, Context
from skdict.kernels import dense
from skdict.kernels.threads import use_threads

SPARSE, DENSE = 2.0, -1.0  # of encoders.DENSE_FROM: no, or every, batch is dense
ENCODERS = {
    "topk": TopKEncoder(2, 2),
    "relu": Affine(ReLU()),
    "gated": Affine(Gated()),
}
PATHS = [("topk", DENSE), ("relu", DENSE), ("relu", SPARSE), ("gated", DENSE), ("gated", SPARSE)]


@pytest.fixture(params=PATHS, ids=lambda path: f"{path[0]}, {path[1]}", scope="module")
def encoder(request):
    """An encoder, with one path through its activation chosen."""
    name, dense_from = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "DENSE_FROM", dense_from)
        yield ENCODERS[name]


def to(xp, encoder, tiny, dtype="float64"):
    names = (
        "components",
        "decoder_bias",
        *encoder.init(tiny.params["components"], np.random.default_rng(0)),
    )
    return {name: xp.asarray(tiny.params[name].copy(), dtype=getattr(xp, dtype)) for name in names}


def heads_of(encoder, X, params, context=INFERENCE):
    heads, _ = encoder.forward(X, params, context)
    return {name: None if Z is None else to_numpy(codes.to_dense(Z)) for name, Z in heads.items()}


def formulas(encoder, tiny, dead):
    """The heads by their definitions, sample by sample."""
    p = tiny.params
    U = (tiny.X - p["decoder_bias"]) @ p["encoder"].T
    A = U + p["encoder_bias"]
    if isinstance(encoder.activation, ReLU):
        return {"codes": np.maximum(A, 0)}
    if isinstance(encoder.activation, Gated):
        P = U + p["gate_bias"]
        M = np.exp(p["magnitude_log_scale"]) * U + p["encoder_bias"]
        return {"codes": (P > 0) * np.maximum(M, 0), "gate": np.maximum(P, 0)}
    return {"codes": largest(A, 2), "aux": largest(A[:, dead], 2)}


def largest(A, k):
    Z = np.zeros_like(A)
    for row, z in zip(A, Z):
        best = np.argsort(-row)[:k]
        z[best] = np.maximum(row[best], 0)
    return Z


@settings(max_examples=15)
@given(tiny=problems())
def test_heads_equal_their_formulas(xp, encoder, tiny):
    # would catch: a transposed matrix, a bias of the wrong sign, dead latents that are not dead
    params, X = to(xp, encoder, tiny), xp.asarray(tiny.X)
    heads = heads_of(encoder, X, params, Context(tiny.dead))
    expected = formulas(encoder, tiny, tiny.dead)
    assert heads.keys() == expected.keys()
    for name, Z in expected.items():
        assert_allclose(heads[name], Z, atol=1e-12, err_msg=name)


@settings(max_examples=8)
@given(tiny=problems())
def test_backward_of_all_heads(encoder, tiny):
    # would catch: the gradient of one output ignored, gradients overwritten instead of added
    xp = namespace(tiny.X)
    params, context = to(xp, encoder, tiny), Context(tiny.dead)
    heads, tape = encoder.forward(tiny.X, params, context)
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(Z.shape) for name, Z in heads.items()}
    support = {name: codes.to_dense(Z) != 0 for name, Z in heads.items()}

    def functional(moved):
        total = 0.0
        for name, Z in heads_of(encoder, tiny.X, moved, context).items():
            assume(np.array_equal(Z != 0, support[name]))
            total += np.sum(weights[name] * Z)
        return total

    d_heads = {name: on_support(Z, weights[name]) for name, Z in heads.items()}
    grads = {name: np.full_like(array, 0.25) for name, array in params.items()}
    encoder.backward(d_heads, tape, params, grads)
    for name, expected in numerical_gradient(functional, params).items():
        assert_allclose(grads[name] - 0.25, expected, rtol=1e-7, atol=1e-9, err_msg=name)


def on_support(Z, full):
    if not isinstance(Z, codes.SparseCodes):
        return full
    rows = np.repeat(np.arange(len(full)), np.diff(Z.indptr))
    return Z.with_values(full[rows, Z.indices])


@settings(max_examples=10)
@given(tiny=problems())
def test_encode_twice(xp, encoder, tiny):
    # would catch: an encoder that keeps something between calls, or changes what it is given
    params, X = to(xp, encoder, tiny), xp.asarray(tiny.X.copy())
    before = {name: np.array(to_numpy(array)) for name, array in params.items()}
    first = heads_of(encoder, X, params)["codes"]
    heads_of(encoder, X + 1, params, Context(tiny.dead, 5))
    assert_array_equal(heads_of(encoder, X, params)["codes"], first)
    assert_array_equal(to_numpy(X), tiny.X)
    for name, array in before.items():
        assert_array_equal(to_numpy(params[name]), array)


@settings(max_examples=10)
@given(tiny=problems())
def test_rows_are_independent_at_inference(encoder, tiny):
    # would catch: samples encoded by the company they keep
    params = to(namespace(tiny.X), encoder, tiny)
    whole = encoder.for_inference(params, len(tiny.X))
    together = heads_of(whole, tiny.X, params)["codes"]
    for i in range(len(tiny.X)):
        alone = heads_of(encoder.for_inference(params, 1), tiny.X[[i]], params)["codes"]
        assert_allclose(together[[i]], alone, atol=1e-12)


def test_init(xp, encoder, dtype):
    # would catch: an encoder that shares memory with the decoder, biases of another dtype
    components = xp.asarray(unit_dictionary(np.random.default_rng(0), 5, 3, dtype))
    before = np.array(to_numpy(components))
    params = encoder.init(components, np.random.default_rng(0))
    norm = FIRST_NORM if isinstance(encoder, TopKEncoder) else 1
    assert_array_equal(to_numpy(params["encoder"]), norm * before)
    for name, array in params.items():
        assert to_numpy(array).dtype == dtype
        if name != "encoder":
            assert array.shape == (5,) and not to_numpy(array).any()
        array += 1
    assert_array_equal(to_numpy(components), before)
    assert all((to_numpy(array) == 1).all() for name, array in params.items() if name != "encoder")


def test_dtype_is_kept(xp, encoder, dtype):
    # would catch: float32 data computed or returned in float64
    tiny = problem(np.random.default_rng(0))
    params = to(xp, encoder, tiny, dtype)
    X = xp.asarray(tiny.X, dtype=getattr(xp, dtype))
    heads, _ = encoder.forward(X, params, Context(tiny.dead))
    for Z in heads.values():
        assert to_numpy(codes.entries(Z)).dtype == dtype


def test_tiles_change_nothing(monkeypatch, many_cores):
    # would catch: tiles joined in another order, or views of a buffer that the next one overwrites
    encoder = TopKEncoder(3, 2)
    tiny = problem(np.random.default_rng(0), n=1300, m=70, d=40)
    monkeypatch.setattr(dense, "_SMALL", 0)
    assert dense.tile_rows(1300, 40, 70) < 1300  # else there is one tile
    params, context = to(namespace(tiny.X), encoder, tiny), Context(tiny.dead)
    results = []
    for n_jobs in (1, 2):
        with use_threads(n_jobs):
            heads = heads_of(encoder, tiny.X, params, context)
        results.append(heads)
    expected = formulas(encoder, tiny, tiny.dead)
    expected["codes"] = largest(pre_activations(tiny), 3)
    for name, Z in expected.items():
        assert_allclose(results[0][name], Z, atol=1e-10)
        assert_array_equal(results[0][name], results[1][name])


def pre_activations(tiny):
    p = tiny.params
    return (tiny.X - p["decoder_bias"]) @ p["encoder"].T + p["encoder_bias"]


# ---------------------------------------------------------------- particular encoders


@settings(max_examples=20)
@given(tiny=problems())
def test_topk_of_all_latents_is_relu(xp, tiny):
    # would catch: positive entries lost by the selection
    everything, relu = Affine(TopK(len(tiny.dead))), Affine(ReLU())
    params, X = to(xp, relu, tiny), xp.asarray(tiny.X)
    ours, theirs = (heads_of(encoder, X, params)["codes"] for encoder in (everything, relu))
    assert_allclose(ours, theirs, atol=1e-13)


def test_aux_takes_every_dead_latent_where_they_are_few(xp):
    # would catch: more latents asked for than are dead
    tiny = problem(np.random.default_rng(3), n=6)
    dead = np.zeros(6, dtype=bool)
    dead[[1, 4]] = True
    encoder = TopKEncoder(2, k_aux=5)
    heads = heads_of(encoder, xp.asarray(tiny.X), to(xp, encoder, tiny), Context(dead))
    assert_allclose(heads["aux"], np.maximum(pre_activations(tiny), 0)[:, dead])


@pytest.mark.parametrize("rows", [slice(1, None), slice(0, None, 2), slice(2, None, 4)])
def test_aux_looks_at_some_samples(xp, rows):
    # would catch: other samples than those whose errors AuxK takes
    tiny = problem(np.random.default_rng(3), n=9)
    dead = np.array([True, False, True, True, False, False])[: tiny.dead.size]
    encoder = TopKEncoder(2, k_aux=2)
    heads = heads_of(encoder, xp.asarray(tiny.X), to(xp, encoder, tiny), Context(dead, 0, rows))
    assert_allclose(heads["aux"], largest(pre_activations(tiny)[rows, dead], 2), atol=1e-13)


@pytest.mark.parametrize("context", [INFERENCE, Context(None, 3)])
def test_aux_is_absent_without_dead_latents(xp, context):
    # would catch: the auxiliary codes computed at inference
    tiny = problem(np.random.default_rng(3))
    encoder = TopKEncoder(2, k_aux=5)
    params = to(xp, encoder, tiny)
    assert encoder.forward(xp.asarray(tiny.X), params, context)[0]["aux"] is None


def test_gate_that_is_tied_and_unscaled_is_relu(xp):
    # would catch: gate and magnitude exchanged
    tiny = problem(np.random.default_rng(3))
    tiny.params["gate_bias"] = tiny.params["encoder_bias"]
    tiny.params["magnitude_log_scale"] = 0 * tiny.params["encoder_bias"]
    X = xp.asarray(tiny.X)
    gated, relu = Affine(Gated()), Affine(ReLU())
    heads = heads_of(gated, X, to(xp, gated, tiny))
    expected = heads_of(relu, X, to(xp, relu, tiny))["codes"]
    assert_allclose(heads["codes"], expected, atol=1e-13)
    assert_allclose(heads["gate"], expected, atol=1e-13)


def test_few_codes_are_sparse_and_many_are_dense(monkeypatch):
    # would catch: a choice of representation that is upside down
    monkeypatch.setattr(encoders, "DENSE_FROM", 0.2)  # the fixture above may hold another
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((50, 3)), rng.standard_normal((3, 40))
    U = A @ B
    assert_allclose(encoders.sparse_or_dense(A, B, np.zeros(40)), U)
    few = encoders.sparse_or_dense(A, B, np.full(40, -2.5))
    assert isinstance(few, codes.SparseCodes)
    assert_allclose(codes.to_dense(few), np.where(U > 2.5, U, 0))


# ---------------------------------------------------------------- pursuit

PURSUITS = [
    Pursuit(3),
    Pursuit(3, positive=True),
    Pursuit(3, algorithm="mp"),
    Pursuit(None, residual_tol=0.5),
]


@pytest.mark.parametrize("encoder", PURSUITS)
@settings(max_examples=10)
@given(tiny=problems())
def test_pursuit_prepared_or_not(xp, encoder, tiny):
    # would catch: preparation that belongs to other parameters, or a Gram matrix that is wrong
    params, X = to(xp, encoder, tiny), xp.asarray(tiny.X)
    heads, tape = encoder.forward(X, params, Context())
    prepared = encoder.for_inference(params, 10**6)
    assert prepared is not encoder and tape is None
    for one in (prepared, encoder.for_inference(params, 1)):
        assert_allclose(
            heads_of(one, X, params)["codes"], to_numpy(codes.to_dense(heads["codes"])), atol=1e-10
        )
    assert encoder.init(params["components"], np.random.default_rng(0)) == {}


@pytest.mark.parametrize("encoder", PURSUITS)
@pytest.mark.parametrize("size", [1e-25, 1e-3, 1e3, 1e25])
def test_codes_undo_the_norm_of_the_atoms(xp, dtype, encoder, size):
    # would catch: atoms of any norm that change the selection, or norms whose squares overflow
    tiny = problem(np.random.default_rng(5), n=8, m=6, d=4)
    params, X = to(xp, encoder, tiny, dtype), xp.asarray(tiny.X, dtype=getattr(xp, dtype))
    Z = heads_of(encoder, X, params)["codes"].astype(float)
    scaled = {**params, "components": params["components"] * size}
    Z_scaled = heads_of(encoder, X, scaled)["codes"].astype(float)
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    assert_allclose(Z_scaled * size, Z, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("encoder", PURSUITS)
def test_pursuit_ignores_zero_atoms(xp, encoder):
    # would catch: a division by the norm of an atom
    tiny = problem(np.random.default_rng(5), n=8, m=6, d=4)
    tiny.params["components"][2] = 0
    Z = heads_of(encoder, xp.asarray(tiny.X), to(xp, encoder, tiny))["codes"]
    assert np.isfinite(Z).all() and not Z[:, 2].any() and Z.any()
