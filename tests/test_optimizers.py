"""Adam against a plain loop of the paper's algorithm, and the schedule of its rate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import seeds, unit_dictionary

from skdict.backend import to_numpy
from skdict.optimizers import Adam, rate_factor

SHAPES = {"components": (4, 3), "decoder_bias": (3,), "encoder": (4, 3)}
FEWER = settings(max_examples=15)


def start(rng):
    params = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    return {**params, "components": unit_dictionary(rng, *SHAPES["components"])}


def gradients(rng, n_steps):
    return [
        {name: rng.standard_normal(shape) for name, shape in SHAPES.items()} for _ in range(n_steps)
    ]


def textbook(params, steps, rates, beta1, beta2, epsilon, factors, unit_rows):
    """Kingma & Ba, algorithm 1, line by line; unit rows are projected before and after."""
    params = {name: array.copy() for name, array in params.items()}
    m = {name: np.zeros_like(array) for name, array in params.items()}
    v = {name: np.zeros_like(array) for name, array in params.items()}
    for t, (grads, rate) in enumerate(zip(steps, rates, strict=True), start=1):
        for name, param in params.items():
            g = grads[name]
            if name in unit_rows:
                g = g - np.sum(g * param, axis=1, keepdims=True) * param
            m[name] = beta1 * m[name] + (1 - beta1) * g
            v[name] = beta2 * v[name] + (1 - beta2) * g * g
            m_hat, v_hat = m[name] / (1 - beta1**t), v[name] / (1 - beta2**t)
            step = rate * factors.get(name, 1.0) * m_hat / (np.sqrt(v_hat) + epsilon)
            params[name] = param - step
            if name in unit_rows:
                params[name] /= np.linalg.norm(params[name], axis=1, keepdims=True)
    return params


@FEWER
@given(
    seed=seeds,
    betas=st.tuples(st.floats(0, 0.99), st.floats(0.1, 0.999)),
    epsilon=st.sampled_from([1e-8, 1e-3, 0.5]),
    unit_rows=st.sampled_from([(), ("components",)]),
)
def test_equals_the_algorithm_of_the_paper(xp, seed, betas, epsilon, unit_rows):
    # would catch: bias corrections at the wrong step, an epsilon that is not corrected with them
    rng = np.random.default_rng(seed)
    params, steps, rates = start(rng), gradients(rng, 7), rng.random(7)
    factors = {"decoder_bias": 1.7}
    expected = textbook(params, steps, rates, *betas, epsilon, factors, unit_rows)
    optimizer = Adam(*betas, epsilon, unit_rows)
    ours = {name: xp.asarray(array.copy()) for name, array in params.items()}
    state = optimizer.init(ours)
    for grads, rate in zip(steps, rates):
        grads = {name: xp.asarray(array) for name, array in grads.items()}
        optimizer.update(ours, grads, state, float(rate), factors)
    for name, array in expected.items():
        assert_allclose(to_numpy(ours[name]), array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_update_is_in_place(xp):
    # would catch: an optimiser that works on copies of parameters or moments
    params = {name: xp.asarray(array) for name, array in start(np.random.default_rng(0)).items()}
    before = {name: np.array(to_numpy(array)) for name, array in params.items()}
    optimizer = Adam()
    state = optimizer.init(params)
    held = dict(params), dict(state["mean"]), dict(state["square"])
    grads = {name: xp.ones_like(array) for name, array in params.items()}
    optimizer.update(params, grads, state, 0.1, {})
    assert state["step"] == 1
    for name in params:
        assert params[name] is held[0][name] and not (to_numpy(params[name]) == before[name]).all()
        for array, same in ((state["mean"][name], held[1]), (state["square"][name], held[2])):
            assert array is same[name] and to_numpy(array).any()


def test_state_starts_at_zero(xp):
    # would catch: moments of two parameters that share memory, moments that are not zero
    params = {name: xp.ones(shape) for name, shape in SHAPES.items()}
    state = Adam().init(params)
    assert state["step"] == 0
    assert state["mean"].keys() == state["square"].keys() == params.keys()
    state["mean"]["components"] += 1
    for moments in (state["mean"], state["square"]):
        for name, array in moments.items():
            assert array.shape == SHAPES[name]
            changed = moments is state["mean"] and name == "components"
            assert_array_equal(to_numpy(array), 1 if changed else 0)


def test_factor_zero_holds_a_parameter(xp):
    # would catch: a held parameter that moves
    params = {name: xp.asarray(array) for name, array in start(np.random.default_rng(0)).items()}
    before = {name: np.array(to_numpy(array)) for name, array in params.items()}
    optimizer = Adam()
    grads = {name: xp.ones_like(array) for name, array in params.items()}
    optimizer.update(params, grads, optimizer.init(params), 0.1, {"encoder": 0.0})
    assert_array_equal(to_numpy(params["encoder"]), before["encoder"])
    assert not np.allclose(to_numpy(params["components"]), before["components"])


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.0])
def test_weight_decay_is_decoupled(xp, factor):
    # would catch: a decay that goes through the moments, or hits all
    rng = np.random.default_rng(0)
    params, grads = start(rng), gradients(rng, 1)[0]
    shrunk = {**params, "encoder": params["encoder"] * 0.7}
    results = []
    for values, shrink in ((params, {"encoder": 0.7}), (shrunk, {})):
        ours = {name: xp.asarray(array.copy()) for name, array in values.items()}
        optimizer = Adam()
        given = {name: xp.asarray(array) for name, array in grads.items()}
        factors = {"encoder": factor}
        optimizer.update(ours, given, optimizer.init(ours), 0.1, factors, shrink)
        results.append({name: to_numpy(array) for name, array in ours.items()})
    for name, array in results[0].items():
        assert_allclose(array, results[1][name], rtol=1e-13, err_msg=name)


# ---------------------------------------------------------------- the schedule

plans = st.tuples(st.integers(0, 30), st.integers(0, 60), st.integers(1, 60))


@given(plan=plans)
def test_schedule(plan):
    # would catch: a rate of zero or above one, a jump at a corner, a fall that begins early
    warmup, decay_start, total = plan
    factors = [rate_factor(step, warmup, decay_start, total) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    for step, factor in enumerate(factors):
        if step >= warmup and step < decay_start:
            assert factor == 1
        if step + 1 < warmup and step < decay_start:
            assert factor == pytest.approx((step + 1) / warmup)
    # the fall is a straight line that would reach zero at the end
    fall = [f for step, f in enumerate(factors) if step >= max(decay_start, warmup)]
    if fall:
        assert_allclose(np.diff([*fall, 0.0]), -1 / (total - decay_start))


@given(step=st.integers(0, 10**6), warmup=st.integers(0, 100))
def test_without_decay_the_rate_never_falls(step, warmup):
    # would catch: partial_fit whose rate decays
    factor = rate_factor(step, warmup, decay_start=5, total=5)
    assert factor == min(1.0, (step + 1) / max(warmup, 1))
