"""Terms alone: values from their formulas, gradients with the heads as free variables."""

import numpy as np
import pytest
from finite_differences import numerical_gradient
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal
from strategies import sparse_problem, streams

from skdict import codes
from skdict.backend import to_numpy
from skdict.encoders import Context
from skdict.penalties import named
from skdict.terms import (
    L1,
    AuxK,
    HeldReconstruction,
    Incoherence,
    LoadBalance,
    Penalty,
    Reconstruction,
)

FEWER = settings(max_examples=10)
HEADS = ("codes", "aux", "gate")
ALL_DEAD = Context(
    np.ones(5, dtype=bool), step=3, progress=0.5
)  # so that the head `aux` has every latent
TERMS = {
    "reconstruction": Reconstruction(),
    "reconstruction of another head": Reconstruction("gate"),
    "held": HeldReconstruction("gate"),
    "auxk": AuxK(0.3),
    "l1": L1(0.7, warmup=8),
    "l1 of another head": L1(1.3, head="gate"),
    "penalty": Penalty(0.7, named("log", 0.9), warmup=8),
    "penalty by norms": Penalty(0.7, named("mcp", 2.0), by_norms=True),
    "annealed": Penalty(0.7, named("lp", 1.0, (1.0, 0.2)), head="gate"),
    "measure by norms": Penalty(0.7, named("hoyer_square"), by_norms=True),
    "load balance": LoadBalance(0.7),
    "incoherence": Incoherence(0.3),
    "incoherence by a limit": Incoherence(0.3, 0.2),
}


def setup(rng, xp, sparse, *, positive=True):
    """Data, heads with positive entries and parameters: as xp's arrays, and as host arrays."""
    n, m, d = 3, 5, 4
    problems = {name: sparse_problem(rng, n, m, d, 0.7) for name in HEADS}
    host = {}
    for name, p in problems.items():
        values = np.abs(p.values) + 0.1 if positive else p.values
        dense = np.zeros((n, m))
        dense[np.repeat(np.arange(n), np.diff(p.indptr)), p.indices] = values
        host[name] = values if sparse and name != "aux" else dense
    X = rng.standard_normal((n, d))
    host["components"], host["decoder_bias"] = rng.standard_normal((m, d)), rng.standard_normal(d)

    def unpack(arrays):
        arrays = {name: xp.asarray(array.copy()) for name, array in arrays.items()}
        heads = {name: arrays.pop(name) for name in HEADS}
        if sparse:
            for name in ("codes", "gate"):
                p = problems[name]
                support = xp.asarray(p.indptr), xp.asarray(p.indices)
                heads[name] = codes.SparseCodes(*support, heads[name], m)
        return heads, arrays

    return X, host, unpack


def evaluate(term, X, heads, params, held, xp):
    grads = {name: xp.zeros_like(array) for name, array in params.items()}
    value, d_heads = term(X, heads, params, held, grads)
    return value, d_heads, grads


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("sparse", [False, True])
@settings(max_examples=4)
@given(rng=streams)
def test_gradient(xp, name, sparse, rng):
    # would catch: an error in a term that another term hides in the whole objective
    term, (host_X, host, unpack) = TERMS[name], setup(rng, xp, sparse)
    X = xp.asarray(host_X)
    heads, params = unpack(host)
    held = term.hold(X, heads, params, ALL_DEAD)
    _, d_heads, grads = evaluate(term, X, heads, params, held, xp)

    def value(moved):
        return evaluate(term, X, *unpack(moved), held, xp)[0]

    expected = numerical_gradient(value, host)
    if name == "held":
        assert not any(to_numpy(array).any() for array in grads.values())
    for key in ("components", "decoder_bias"):
        assert_allclose(to_numpy(grads[key]), expected[key], rtol=1e-8, atol=1e-9, err_msg=key)
    for key in HEADS:
        if key not in d_heads:
            assert_allclose(expected[key], 0, atol=1e-9)
            continue
        stored = host[key] != 0  # a penalty has its slope where a code is positive
        ours = to_numpy(codes.entries(d_heads[key]))
        assert_allclose(ours[stored], expected[key][stored], rtol=1e-8, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("sparse", [False, True])
@FEWER
@given(rng=streams)
def test_values(xp, sparse, rng):
    # would catch: a sum in place of a mean over samples, a lost half, a bias too many
    host_X, host, unpack = setup(rng, xp, sparse)
    X, (heads, params) = xp.asarray(host_X), unpack(host)
    D, b, n = host["components"], host["decoder_bias"], len(host_X)
    Z = {name: to_numpy(codes.to_dense(head)) for name, head in heads.items()}
    error = host_X - Z["codes"] @ D - b
    expected = {
        "reconstruction": np.sum(error**2) / (2 * n),
        "reconstruction of another head": np.sum((host_X - Z["gate"] @ D - b) ** 2) / (2 * n),
        "held": np.sum((host_X - Z["gate"] @ D - b) ** 2) / (2 * n),
        "auxk": 0.3 * (np.sum((error - Z["aux"] @ D) ** 2) - np.sum(error**2)) / (2 * n),
        "l1": 0.7 * 4 / 8 * Z["codes"].sum() / n,
        "l1 of another head": 1.3 * Z["gate"].sum() / n,
    }
    norms = np.linalg.norm(D, axis=1)
    y, load = Z["codes"] * norms, Z["codes"].mean(axis=0)
    expected["penalty"] = 0.7 * 4 / 8 * 0.9 * np.log1p(Z["codes"] / 0.9).sum() / n
    expected["penalty by norms"] = 0.7 * np.where(y < 2, y - y**2 / 4, 1).sum() / n
    raised = ((Z["gate"] + 0.01) ** 0.6 - 0.01**0.6) / 0.6
    expected["annealed"] = 0.7 * raised.sum() / n
    squares = np.sum(y**2, axis=1)
    hoyer = np.sum(y, axis=1) ** 2 / np.where(squares == 0, 1, squares)
    expected["measure by norms"] = 0.7 * hoyer.sum() / n
    variation = np.var(load) / np.mean(load) ** 2 if load.any() else -1.0
    expected["load balance"] = 0.7 * variation
    products = np.abs(D @ D.T / np.outer(norms, norms))[~np.eye(len(D), dtype=bool)]
    expected["incoherence"] = 0.3 * np.sum(products**2)
    expected["incoherence by a limit"] = 0.3 * np.sum(np.maximum(products - 0.2, 0) ** 2)
    for name, term in TERMS.items():
        held = term.hold(X, heads, params, ALL_DEAD)
        value, _, _ = evaluate(term, X, heads, params, held, xp)
        assert_allclose(float(value), expected[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", TERMS)
def test_adds_to_the_gradient_and_changes_nothing_else(xp, name):
    # would catch: a term that overwrites what other terms have added
    term, (host_X, host, unpack) = TERMS[name], setup(np.random.default_rng(0), xp, True)
    X, (heads, params) = xp.asarray(host_X.copy()), unpack(host)
    held = term.hold(X, heads, params, ALL_DEAD)
    _, _, fresh = evaluate(term, X, heads, params, held, xp)
    grads = {key: xp.full_like(array, 2.5) for key, array in params.items()}
    term(X, heads, params, held, grads)
    for key, array in grads.items():
        assert_allclose(to_numpy(array), 2.5 + to_numpy(fresh[key]), rtol=1e-12)
    assert_array_equal(to_numpy(X), host_X)
    for key in HEADS:
        assert_array_equal(to_numpy(codes.entries(heads[key])), host[key])
    for key in ("components", "decoder_bias"):
        assert_array_equal(to_numpy(params[key]), host[key])


def test_true_dictionary_and_codes_have_no_gradient(xp):
    # would catch: a residual of the wrong sign of the bias
    _, host, unpack = setup(np.random.default_rng(0), xp, True, positive=False)
    heads, params = unpack(host)
    X = codes.decode(heads["codes"], params["components"]) + params["decoder_bias"]
    value, d_heads, grads = evaluate(Reconstruction(), X, heads, params, None, xp)
    assert float(value) < 1e-28
    for array in (*grads.values(), d_heads["codes"].values):
        assert_allclose(to_numpy(array), 0, atol=1e-14)


def test_penalty_has_no_slope_at_zero(xp):
    # would catch: silent latents pushed further down
    Z = xp.asarray(np.array([[0.0, 2.0], [0.5, 0.0]]))
    value, d_heads = L1(0.8)(Z, {"codes": Z}, {}, 0.8, {})
    assert float(value) == pytest.approx(0.8 * 2.5 / 2)
    assert_allclose(to_numpy(d_heads["codes"]), [[0, 0.4], [0.4, 0]])


@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_penalty_rises_linearly(warmup):
    # would catch: a penalty that starts at its full weight, or never reaches it
    term = L1(0.8, warmup)
    weights = [term.hold(None, None, None, Context(step=step)) for step in range(10)]
    steps = max(warmup, 1)
    assert_allclose(weights, [0.8 * min(1, (step + 1) / steps) for step in range(10)])


def test_without_dead_latents_auxk_is_nothing(xp):
    # would catch: an auxiliary loss on an absent head
    host_X, host, unpack = setup(np.random.default_rng(0), xp, True)
    heads, params = unpack(host)
    heads["aux"] = None
    term, X = AuxK(0.3), xp.asarray(host_X)
    held = term.hold(X, heads, params, Context())
    value, d_heads, grads = evaluate(term, X, heads, params, held, xp)
    assert held is None and value == 0 and d_heads == {}
    assert not any(to_numpy(array).any() for array in grads.values())


def test_float32_sums_in_double_precision():
    # would catch: a loss of many samples that stops growing
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 50)).astype(np.float32)
    Z = np.zeros((2000, 1), np.float32)
    params = {"components": np.ones((1, 50), np.float32), "decoder_bias": np.zeros(50, np.float32)}
    value, d_heads, grads = evaluate(Reconstruction(), X, {"codes": Z}, params, None, np)
    assert_allclose(float(value), np.sum(X.astype(float) ** 2) / 4000, rtol=1e-7)
    assert d_heads["codes"].dtype == grads["components"].dtype == np.float32
