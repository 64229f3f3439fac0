"""The gradient of every architecture against central differences, entry by entry.

Selections are locally constant: all ends of a difference must have the support of the middle. What
a term holds constant stays fixed while parameters vary.
"""

from typing import NamedTuple

import numpy as np
import pytest
from finite_differences import numerical_gradient
from hypothesis import assume, given, settings
from numpy.testing import assert_allclose, assert_array_equal
from strategies import problem, problems

from skdict import codes, encoders
from skdict.autoencoders.gated import Gated
from skdict.autoencoders.relu import ReLU
from skdict.autoencoders.topk import TopKEncoder
from skdict.backend import namespace, to_numpy
from skdict.coders.matching_pursuit import Pursuit
from skdict.encoders import Affine, Context, Hidden
from skdict.objective import loss_and_grad
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

SPARSE, DENSE = 2.0, -1.0  # of encoders.DENSE_FROM: no, or every, batch is dense
WARM = 3  # a step at which the penalty has risen half way
TOLERANCE = {"rtol": 1e-7, "atol": 1e-9}


class Case(NamedTuple):
    encoder: object
    terms: list
    names: tuple  # of the parameters beside components and decoder_bias
    dead: bool = False
    dead_rows: slice = slice(None)
    dense_from: float = DENSE


class Held:
    """An encoder that emits given codes."""

    def __init__(self, heads):
        self.heads = heads

    def forward(self, X, params, context):
        return self.heads, None

    def backward(self, d_heads, tape, params, grads):
        pass


AFFINE = ("encoder", "encoder_bias")
GATED = (*AFFINE, "gate_bias", "magnitude_log_scale")
TOPK = TopKEncoder(2, k_aux=2), [Reconstruction(), AuxK(0.3)]
RELU = Affine(ReLU()), [Reconstruction(), L1(0.7, warmup=8)]
GATES = (
    Affine(Gated()),
    [Reconstruction(), L1(0.7, warmup=8, head="gate"), HeldReconstruction("gate")],
)
CASES = {
    "topk": Case(*TOPK, AFFINE),
    "topk, dead latents": Case(*TOPK, AFFINE, dead=True),
    "relu, dense": Case(*RELU, AFFINE),
    "relu, sparse": Case(*RELU, AFFINE, dense_from=SPARSE),
    "gated, dense": Case(*GATES, GATED),
    "gated, sparse": Case(*GATES, GATED, dense_from=SPARSE),
}
SECOND = slice(None, None, 2)
PARTLY = {"dead latents at every second sample": Case(*TOPK, AFFINE, dead=True, dead_rows=SECOND)}
PURSUITS = {
    "mp": Pursuit(2, algorithm="mp"),
    "omp": Pursuit(2),
    "positive omp": Pursuit(2, positive=True),
    "tolerance": Pursuit(None, residual_tol=0.3),
}


def parts(case, problem):
    """Parameters and context of a case."""
    names = ("components", "decoder_bias", *case.names)
    params = {name: problem.params[name] for name in names}
    return params, Context(problem.dead if case.dead else None, WARM, case.dead_rows)


def to(xp, arrays):
    return {name: xp.asarray(array.copy()) for name, array in arrays.items()}


def support(heads):
    return {
        name: None if Z is None else to_numpy(codes.to_dense(Z)) != 0 for name, Z in heads.items()
    }


def check(case, problem, xp, unstable, all_stable=True):
    """Compare the two gradients; `unstable(support)` is called with what ought to be stable.

    Without `all_stable` gives None where not all supports were.
    """
    params, context = parts(case, problem)
    encoder, terms, X = case.encoder, case.terms, xp.asarray(problem.X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "DENSE_FROM", case.dense_from)
        _, grads, heads = loss_and_grad(to(xp, params), X, encoder, terms, context)
        held = [term.hold(X, heads, to(xp, params), context) for term in terms]
        here, same = support(heads), []

        def loss(moved):
            value, _, heads = loss_and_grad(to(xp, moved), X, encoder, terms, context, held)
            there = support(heads)
            same.append(all(np.array_equal(here[name], there[name]) for name in here))
            unstable(same[-1])
            return value

        numerical = numerical_gradient(loss, params)
    if not all_stable and not all(same):
        return None, None
    assert grads.keys() == params.keys()
    for name, expected in numerical.items():
        assert_allclose(to_numpy(grads[name]), expected, **TOLERANCE, err_msg=name)
    return grads, heads


def must_hold(stable):
    assert stable


@pytest.mark.parametrize("name", [*CASES, *PARTLY])
@settings(max_examples=12)
@given(problem=problems())
def test_gradient(name, problem):
    # would catch: any error in a hand-written gradient
    check({**CASES, **PARTLY}[name], problem, namespace(problem.X), assume)


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_gets_a_gradient(name, xp):
    # would catch: a parameter that nothing reads, a head whose gradient is dropped
    case, tiny = CASES[name], problem(np.random.default_rng(4), n=5, m=6, d=3)
    grads, heads = check(case, tiny, xp, must_hold)
    for parameter, gradient in grads.items():
        assert to_numpy(gradient).any(), parameter
    for head, Z in heads.items():
        assert (Z is None) == (head == "aux" and not case.dead)
        if Z is not None:
            assert codes.n_fired(Z).any(), head
            is_host = namespace(tiny.X) is xp
            sparse = "topk" in name or (is_host and case.dense_from == SPARSE)
            assert isinstance(Z, codes.SparseCodes) == (sparse and head != "aux")


HIDDEN = ("hidden_encoder", "hidden_bias")
DEEP = {
    "topk": Case(TopKEncoder(2, 0, hidden=Hidden(3)), [Reconstruction()], (*HIDDEN, *AFFINE)),
    "topk, dead latents": Case(
        TopKEncoder(2, 2, hidden=Hidden(3)), TOPK[1], (*HIDDEN, *AFFINE), True, SECOND
    ),
    "relu, dense": Case(Affine(ReLU(), hidden=Hidden(3)), RELU[1], (*HIDDEN, *AFFINE)),
    "relu, sparse": Case(
        Affine(ReLU(), hidden=Hidden(3)), RELU[1], (*HIDDEN, *AFFINE), dense_from=SPARSE
    ),
    "gated": Case(Affine(Gated(), hidden=Hidden(3)), GATES[1], (*HIDDEN, *GATED)),
    "free atoms": Case(
        Affine(ReLU()),
        [Reconstruction(), Penalty(0.7, named("log"), 8, by_norms=True), LoadBalance(0.2)],
        AFFINE,
    ),
    "incoherence": Case(Affine(ReLU()), [*RELU[1], Incoherence(0.3)], AFFINE),
}


@pytest.mark.parametrize("name", DEEP)
def test_gradient_of_further_parts(name, xp):
    # would catch: a hidden layer that the dead, the decoder bias or a head does not pass through
    case, stable = DEEP[name], 0
    for seed in range(12):
        tiny = problem(np.random.default_rng(seed), n=4, m=6, d=3)
        A = (tiny.X - tiny.params["decoder_bias"]) @ tiny.params["hidden_encoder"].T
        if np.abs(A + tiny.params["hidden_bias"]).min() < 0.05:
            continue  # a difference would cross the kink of a hidden unit
        supports = []
        grads, _ = check(case, tiny, xp, supports.append, all_stable=False)
        if grads is None:
            continue
        stable += 1
        assert all(to_numpy(gradient).any() for gradient in grads.values())
    assert stable >= 2


def test_dead_latents_learn(xp):
    # would catch: an auxiliary loss that reaches the living only
    tiny = problem(np.random.default_rng(4), n=5, m=6, d=3)
    rows = {}
    for name in ("topk", "topk, dead latents"):
        case = CASES[name]
        params, context = parts(case, tiny)
        X = xp.asarray(tiny.X)
        _, grads, heads = loss_and_grad(to(xp, params), X, case.encoder, case.terms, context)
        rows[name] = {key: to_numpy(grads[key]) for key in ("components", "encoder")}
    aux = np.zeros(tiny.dead.size, dtype=bool)
    aux[tiny.dead] = to_numpy(codes.n_fired(heads["aux"])) > 0
    assert aux.any()
    for key in ("components", "encoder"):
        without, with_ = rows["topk"][key], rows["topk, dead latents"][key]
        assert_array_equal(np.any(without != with_, axis=1), aux)


def test_dense_and_sparse_codes_give_one_gradient():
    # would catch: two paths through an activation that differ
    for architecture in ("relu", "gated"):
        tiny = problem(np.random.default_rng(1), n=30, m=12, d=5)
        results = []
        for path in ("dense", "sparse"):
            case = CASES[f"{architecture}, {path}"]
            params, context = parts(case, tiny)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(encoders, "DENSE_FROM", case.dense_from)
                results.append(loss_and_grad(params, tiny.X, case.encoder, case.terms, context))
        (loss, grads, heads), (other_loss, other_grads, other_heads) = results
        assert_allclose(loss, other_loss)
        for name in grads:
            assert_allclose(grads[name], other_grads[name], atol=1e-12)
        for name in heads:
            assert_allclose(codes.to_dense(heads[name]), codes.to_dense(other_heads[name]))


# ---------------------------------------------------------------- held codes


def pursuit_gradient(encoder, tiny, xp):
    params = {name: tiny.params[name] for name in ("components", "decoder_bias")}
    X, terms = xp.asarray(tiny.X), [Reconstruction()]
    _, grads, heads = loss_and_grad(to(xp, params), X, encoder, terms, Context())
    return params, X, terms, grads, heads


@pytest.mark.parametrize("name", PURSUITS)
@settings(max_examples=8)
@given(problem=problems())
def test_gradient_with_held_codes(name, problem, xp):
    # would catch: codes that are not rescaled to atoms of any norm; a gradient through the codes
    params, X, terms, grads, heads = pursuit_gradient(PURSUITS[name], problem, xp)

    def loss(moved):
        return loss_and_grad(to(xp, moved), X, Held(heads), terms, Context())[0]

    for key, expected in numerical_gradient(loss, params).items():
        assert_allclose(to_numpy(grads[key]), expected, **TOLERANCE, err_msg=key)


@pytest.mark.parametrize("name", ["omp", "positive omp"])
@settings(max_examples=12)
@given(problem=problems())
def test_least_squares_codes_need_no_gradient(name, problem):
    # would catch: codes that are not optimal on their support, for which this would be false
    encoder = PURSUITS[name]
    xp = namespace(problem.X)
    params, X, terms, grads, heads = pursuit_gradient(encoder, problem, xp)
    here = support(heads)["codes"]
    atoms = [params["components"][row] for row in here]
    assume(all(len(rows) == 0 or np.linalg.cond(rows) < 10 for rows in atoms))

    def loss(moved):
        value, _, heads = loss_and_grad(moved, X, encoder, terms, Context())
        assume(np.array_equal(support(heads)["codes"], here))
        return value

    for key, expected in numerical_gradient(loss, params).items():
        assert_allclose(grads[key], expected, rtol=1e-5, atol=1e-7, err_msg=key)


@pytest.mark.parametrize("name", PURSUITS)
def test_atoms_and_bias_learn_from_held_codes(name, xp):
    # would catch: a coder that cannot learn, or that has parameters of an encoder
    tiny = problem(np.random.default_rng(4), n=9, m=6, d=4)
    _, _, _, grads, heads = pursuit_gradient(PURSUITS[name], tiny, xp)
    used = to_numpy(codes.n_fired(heads["codes"])) > 0
    assert grads.keys() == {"components", "decoder_bias"}
    assert used.any()
    assert_array_equal(to_numpy(grads["components"]).any(axis=1), used)
    assert to_numpy(grads["decoder_bias"]).any()


# ---------------------------------------------------------------- laws of the objective


@pytest.mark.parametrize("name", CASES)
def test_pure(name, xp):
    # would catch: data or parameters changed on the way, gradients that pile up in given memory
    case, tiny = CASES[name], problem(np.random.default_rng(2))
    host, context = parts(case, tiny)
    params, X = to(xp, host), xp.asarray(tiny.X.copy())
    results = [loss_and_grad(params, X, case.encoder, case.terms, context)]
    memory = {key: xp.full_like(array, 7.0) for key, array in params.items()}
    for _ in range(2):
        results.append(loss_and_grad(params, X, case.encoder, case.terms, context, grads=memory))
        assert results[-1][1] is memory
    assert_array_equal(to_numpy(X), tiny.X)
    for key, array in host.items():
        assert_array_equal(to_numpy(params[key]), array)
        assert_array_equal(to_numpy(memory[key]), to_numpy(results[0][1][key]))
    assert len({float(loss) for loss, _, _ in results}) == 1


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=15)
@given(tiny=problems())
def test_additive_over_equal_blocks(name, tiny):
    # would catch: a sum where a mean is due, samples of a batch that influence each other
    case = CASES[name]
    params, context = parts(case, tiny)
    other = np.random.default_rng(0).standard_normal(tiny.X.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "DENSE_FROM", case.dense_from)
        results = [
            loss_and_grad(params, X, case.encoder, case.terms, context)
            for X in (tiny.X, other, np.vstack([tiny.X, other]))
        ]
    (loss, grads, _), (other_loss, other_grads, _), (both_loss, both, _) = results
    assert_allclose(both_loss, (loss + other_loss) / 2)
    for key in both:
        assert_allclose(both[key], (grads[key] + other_grads[key]) / 2, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=15)
@given(tiny=problems())
def test_relabelling_latents_and_reordering_samples(name, tiny):
    # would catch: a mask or a bias applied to the wrong latent, an order that matters
    case, rng = CASES[name], np.random.default_rng(0)
    params, context = parts(case, tiny)
    m, n = len(params["components"]), len(tiny.X)
    latents, samples = rng.permutation(m), rng.permutation(n)
    relabelled = {
        key: array if key == "decoder_bias" else array[latents] for key, array in params.items()
    }
    dead = None if context.dead is None else context.dead[latents]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "DENSE_FROM", case.dense_from)
        loss, grads, heads = loss_and_grad(params, tiny.X, case.encoder, case.terms, context)
        new_loss, new_grads, new_heads = loss_and_grad(
            relabelled, tiny.X[samples], case.encoder, case.terms, context._replace(dead=dead)
        )
    assert_allclose(new_loss, loss)
    for key, gradient in grads.items():
        expected = gradient if key == "decoder_bias" else gradient[latents]
        assert_allclose(new_grads[key], expected, atol=1e-12)
    for key, Z in heads.items():
        if Z is not None:
            columns = latents
            if key == "aux":  # of the dead alone
                columns = np.searchsorted(np.flatnonzero(context.dead), latents[dead])
            expected = codes.to_dense(Z)[np.ix_(samples, columns)]
            assert_allclose(codes.to_dense(new_heads[key]), expected, atol=1e-12)


def test_head_without_a_term_gets_a_zero_gradient():
    # would catch: a None that reaches an activation, when a term is left out
    tiny = problem(np.random.default_rng(4))
    case = CASES["gated, dense"]
    params, context = parts(case, tiny)
    _, grads, _ = loss_and_grad(params, tiny.X, case.encoder, case.terms[:1], context)
    assert not grads["gate_bias"].any()
    assert grads["encoder_bias"].any()
    case = CASES["topk, dead latents"]
    params, context = parts(case, tiny)
    with_aux = loss_and_grad(params, tiny.X, case.encoder, case.terms[:1], context)
    without = loss_and_grad(params, tiny.X, case.encoder, case.terms[:1], Context(None, WARM))
    for key, gradient in with_aux[1].items():
        assert_array_equal(gradient, without[1][key])
