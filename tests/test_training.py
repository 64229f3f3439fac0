"""The training loop: units of the data, one step, passes, and their plan."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import problem, streams

from skdict import TopKAutoencoder, batches, codes, revival, training
from skdict.autoencoders.gated import Gated
from skdict.autoencoders.relu import ReLU
from skdict.autoencoders.topk import TopKEncoder
from skdict.backend import generator, to_numpy
from skdict.constraints import unit_rows
from skdict.encoders import INFERENCE, Affine, Context
from skdict.objective import loss_and_grad
from skdict.sources import ArrayRows
from skdict.terms import L1, AuxK, Reconstruction
from skdict.training import Feed, Plan, Settings

FEWER = settings(max_examples=25)
ENCODERS = {"topk": TopKEncoder(2, 2), "relu": Affine(ReLU()), "gated": Affine(Gated())}
TERMS = [Reconstruction(), L1(0.1)]
SETTINGS = Settings(batch_size=4, learning_rate=0.01, warmup=1, dead_after=10**9, resample=False)


def make_state(rng, encoder, xp=np, n=12, m=6, d=4, center=None, scale=1.0, dtype="float64"):
    """A state around random parameters, with atoms of unit norm, and data."""
    tiny = problem(rng, n, m, d)
    tiny.params["components"] = np.asarray(unit_rows(tiny.params["components"]))
    names = (
        "components",
        "decoder_bias",
        *encoder.init(tiny.params["components"], np.random.default_rng(0)),
    )
    kind = getattr(xp, dtype)
    params = {name: xp.asarray(tiny.params[name], dtype=kind) for name in names}
    X = xp.asarray(tiny.X, dtype=kind)
    center = np.zeros(d) if center is None else center
    return training.start(params, X, np.random.default_rng(0), center, scale), X


def host(arrays):
    return {name: np.array(to_numpy(array)) for name, array in arrays.items()}


# ---------------------------------------------------------------- units


@FEWER
@given(rng=streams, name=st.sampled_from(list(ENCODERS)), scale=st.floats(0.01, 100))
def test_unfold_inverts_fold(xp, rng, name, scale):
    # would catch: a parameter that is scaled on the way out and not on the way back
    center = rng.standard_normal(4)
    state, _ = make_state(rng, ENCODERS[name], xp, center=center, scale=scale)
    before = host(state.params)
    unfolded = training.unfold(training.fold(state), center, scale)
    assert unfolded.keys() == before.keys()
    for key, array in before.items():
        assert_allclose(to_numpy(unfolded[key]), array, rtol=1e-9, atol=1e-9)
        assert_array_equal(to_numpy(state.params[key]), array)  # fold leaves the state alone
        unfolded[key] += 1  # and unfold gives new arrays
        assert_array_equal(to_numpy(state.params[key]), array)


@FEWER
@given(rng=streams, name=st.sampled_from(list(ENCODERS)), scale=st.floats(0.01, 100))
def test_folded_parameters_do_the_same_to_raw_data(xp, rng, name, scale):
    # would catch: centre or scale folded into the wrong parameter, or not at all
    center, encoder = rng.standard_normal(4), ENCODERS[name]
    state, X = make_state(rng, encoder, xp, center=center, scale=scale)
    raw = X * scale + xp.asarray(center)
    folded = training.fold(state)

    def codes_and_decoded(rows, params):
        Z = encoder.forward(rows, params, INFERENCE)[0]["codes"]
        X_hat = codes.decode(Z, params["components"]) + params["decoder_bias"]
        return to_numpy(codes.to_dense(Z)), to_numpy(X_hat)

    Z, X_hat = codes_and_decoded(X, state.params)
    Z_raw, X_hat_raw = codes_and_decoded(raw, folded)
    assert_allclose(Z_raw, Z * scale, rtol=1e-8, atol=1e-8 * scale)
    assert_allclose(X_hat_raw, X_hat * scale + center, rtol=1e-8, atol=1e-8 * scale)


@FEWER
@given(rng=streams, shift=st.floats(-100, 100), size=st.sampled_from([1e-150, 1e-3, 1.0, 1e150]))
def test_center_and_scale(xp, rng, shift, size):
    # would catch: the scale of columns instead of entries, squares that overflow or vanish
    X = (rng.standard_normal((9, 4)) * [1, 2, 3, 4] + shift) * size
    center, scale = training.center_and_scale(xp.asarray(X))
    assert_allclose(center, X.mean(axis=0), rtol=1e-10, atol=1e-10 * size)
    assert_allclose(scale, np.sqrt(np.mean(((X - X.mean(axis=0)) / size) ** 2)) * size, rtol=1e-9)
    standard = (X - center) / scale
    assert_allclose(np.mean(standard**2), 1, rtol=1e-9)


@FEWER
@given(rng=streams, exponent=st.integers(-100, 100))
def test_a_power_of_two_changes_no_bit(rng, exponent):
    # would catch: a result that depends on the unit in which data are measured
    X, factor = rng.standard_normal((50, 3)), 2.0**exponent
    center, scale = training.center_and_scale(X)
    center_2, scale_2 = training.center_and_scale(X * factor)
    assert_array_equal(center_2, center * factor)
    assert scale_2 == scale * factor
    assert_array_equal(
        batches.to_units(X * factor, center_2, scale_2), batches.to_units(X, center, scale)
    )


@pytest.mark.parametrize("value", [0.0, 7.5, 1e300])
def test_constant_data_have_scale_one(xp, value):
    # would catch: a division by zero
    center, scale = training.center_and_scale(xp.asarray(np.full((5, 3), value)))
    assert scale == 1.0
    assert_array_equal(center, value)


def test_largest_numbers():
    # would catch: a power of two that no float can hold
    X = np.array([[1.5e308], [-1.5e308]])
    center, scale = training.center_and_scale(X)
    assert_allclose(scale, 1.5e308)
    assert_allclose(center, 0, atol=1e290)


@pytest.mark.parametrize("shuffle", [False, True])
def test_scale_is_that_of_the_first_rows_of_the_stream(monkeypatch, shuffle):
    # would catch: the first rows in the order of storage, which may be sorted
    monkeypatch.setattr(training, "FIRST_ROWS", 5)
    X = np.random.default_rng(0).standard_normal((12, 3))
    rows = generator(np.random.RandomState(7)).permutation(12) if shuffle else np.arange(12)
    first = X[rows[:5]]
    sae = TopKAutoencoder(4, k=2, max_iter=1, shuffle=shuffle, random_state=7).fit(X)
    assert_allclose(sae.scale_, np.sqrt(np.mean((first - first.mean(axis=0)) ** 2)))


@pytest.mark.parametrize("given_dtype", ["float16", "float32", "float64"])
def test_batches_in_units_of_training(given_dtype, dtype):
    # would catch: data changed in place, a batch that a kernel cannot read
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.standard_normal((8, 3)).astype(given_dtype))
    before, center = X.copy(), rng.standard_normal(3).astype(dtype)
    batch = batches.to_units(X, center, 1.7)
    assert batch.dtype == dtype and batch.flags.c_contiguous
    assert_allclose(batch, (X.astype(float) - center) / 1.7, rtol=1e-5, atol=1e-6)
    assert_array_equal(X, before)


def test_take_rows(xp):
    # would catch: rows in the order of storage
    X, order = np.arange(24.0).reshape(8, 3), np.array([5, 0, 3])
    taken = training.take_rows(xp.asarray(X), order)
    assert_array_equal(to_numpy(taken), X[order])
    assert_array_equal(to_numpy(training.take_rows(xp.asarray(X), slice(2, 5))), X[2:5])


def test_rates_of_parameters():
    # would catch: a bias with the rate of a matrix, a held parameter that learns
    params = {**problem(np.random.default_rng(0), d=4).params, "threshold": np.zeros(6)}
    factors = training.rate_factors(params, {"gate_bias": 0.0})
    rates = {name: factors.get(name, 1.0) for name in params}
    assert rates == {
        "components": 1,
        "encoder": 1,
        "magnitude_log_scale": 1,
        "encoder_bias": 2,
        "decoder_bias": 2,
        "threshold": 2,
        "gate_bias": 0,
        "hidden_encoder": 1,
        "hidden_bias": 2,
    }


# ---------------------------------------------------------------- one step


@pytest.mark.parametrize("name", ENCODERS)
def test_a_step_is_a_step_of_adam(xp, name):
    # would catch: a gradient taken at other parameters, a step that leaves something out
    state, X = make_state(np.random.default_rng(1), ENCODERS[name], xp)
    other = copy.deepcopy(state)
    settings_, other_params = (
        SETTINGS._replace(factors={"decoder_bias": 0.0}),
        copy.deepcopy(other.params),
    )
    loss, l0, unexplained, total, _ = training.train_step(
        state, X, ENCODERS[name], TERMS, settings_, factor=0.5
    )
    expected, grads, heads = loss_and_grad(other.params, X, ENCODERS[name], TERMS, Context())
    factors = training.rate_factors(other.params, {"decoder_bias": 0.0})
    training.OPTIMIZER.update(other.params, grads, other.optimizer, 0.005, factors)
    assert_allclose(float(loss), float(expected))
    residual = codes.decode(heads["codes"], other_params["components"]) - X
    residual = to_numpy(residual + other_params["decoder_bias"])
    assert_allclose(float(total), np.sum(np.square(to_numpy(X))) / 12)
    assert_allclose(float(unexplained), np.sum(np.square(residual)) / 12)
    assert float(l0) == pytest.approx(int(codes.n_fired(heads["codes"]).sum()) / 12)
    for key, array in host(other.params).items():
        assert_array_equal(to_numpy(state.params[key]), array)
    assert (state.step, state.n_seen) == (1, 12)
    fired = to_numpy(codes.n_fired(heads["codes"])) > 0
    assert_array_equal(to_numpy(state.silent_for), np.where(fired, 0, 12))


@pytest.mark.parametrize("name", ENCODERS)
def test_atoms_have_unit_norm_after_every_step(xp, name, dtype):
    # would catch: atoms that grow, whereupon a penalty can be escaped
    state, X = make_state(np.random.default_rng(1), ENCODERS[name], xp, dtype=dtype)
    for _ in range(5):
        training.train_step(state, X, ENCODERS[name], TERMS, SETTINGS)
        norms = np.linalg.norm(host(state.params)["components"], axis=1)
        assert_allclose(norms, 1, rtol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("name", ENCODERS)
def test_steps_lower_the_loss(name):
    # would catch: a step uphill
    state, X = make_state(np.random.default_rng(1), ENCODERS[name], n=40)
    losses = [training.train_step(state, X, ENCODERS[name], TERMS, SETTINGS)[0] for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_state_can_be_copied_and_pickled():
    # would catch: state that is kept elsewhere
    state, X = make_state(np.random.default_rng(1), ENCODERS["topk"])
    training.train_step(state, X, ENCODERS["topk"], TERMS, SETTINGS)
    states = [state, copy.deepcopy(state), pickle.loads(pickle.dumps(state))]
    for one in states:
        one.random.random()
        training.train_step(one, X, ENCODERS["topk"], TERMS, SETTINGS)
    for one in states[1:]:
        for key, array in state.params.items():
            assert_array_equal(one.params[key], array)
        assert_array_equal(one.silent_for, state.silent_for)
        assert (one.step, one.n_seen) == (state.step, state.n_seen) == (2, 24)
        assert one.random.random() == copy.deepcopy(state.random).random()


class Spy:
    """An encoder that writes down its batches and contexts."""

    def __init__(self, encoder):
        self.init, self.backward, self.inner = encoder.init, encoder.backward, encoder
        self.batches, self.contexts = [], []

    def forward(self, X, params, context):
        self.batches.append(np.array(to_numpy(X)))
        self.contexts.append(context)
        return self.inner.forward(X, params, context)


def test_latents_are_dead_after_so_many_samples():
    # would catch: a mask of the dead that comes a step early or late, or is given where none is
    spy = Spy(TopKEncoder(2, 2))
    state, X = make_state(np.random.default_rng(1), spy)
    state.params["encoder_bias"][3] = -1e9  # never among the largest
    settings_ = SETTINGS._replace(dead_after=30, learning_rate=1e-9)
    for _ in range(5):
        training.train_step(state, X, spy, [Reconstruction(), AuxK()], settings_)
    assert [context.step for context in spy.contexts] == list(range(5))
    masks = [context.dead for context in spy.contexts]
    assert masks[:3] == [None] * 3  # silent for 0, 12, 24 samples
    for mask in masks[3:]:
        assert mask[3]


@pytest.mark.parametrize("resample", [False, True])
def test_resampling_happens_when_due(monkeypatch, resample):
    # would catch: resampling at every step, or with the codes of another batch
    calls = []

    def spy(state, dead, X, residual):
        calls.append((state.step, dead.copy(), X, residual))

    monkeypatch.setattr(revival, "resample", spy)
    encoder = ENCODERS["relu"]
    state, X = make_state(np.random.default_rng(1), encoder)
    state.params["encoder_bias"][3] = -1e9
    settings_ = SETTINGS._replace(dead_after=30, resample=resample)
    for _ in range(8):
        training.train_step(state, X, encoder, TERMS, settings_)
    # 12 samples a step: 30, 60 and 90 are passed in steps 2, 4 and 7
    assert [call[0] for call in calls] == ([2, 4, 7] if resample else [])
    for _, dead, batch, residual in calls:
        assert dead[3] and batch is X and residual.shape == X.shape


# ---------------------------------------------------------------- passes


def epochs_of(state, X, encoder, settings, plan, shuffle=False):
    feed = Feed(ArrayRows(X), shuffle)
    return [e for e in training.train(state, feed, encoder, TERMS, settings, plan) if e is not None]


def run(n=10, n_steps=9, shuffle=False, decay=0.0, spy=None, **changes):
    spy = spy or Spy(Affine(ReLU()))
    state, X = make_state(np.random.default_rng(2), spy, n=n)
    plan = Plan(0, n_steps, decay)
    settings_ = SETTINGS._replace(**changes)
    return state, X, spy, epochs_of(state, X, spy, settings_, plan, shuffle)


def test_order_of_rows():
    # would catch: rows left out or taken twice, the order drawn for later passes not used
    _, X, spy, epochs = run(shuffle=True)
    sizes = [len(batch) for batch in spy.batches]
    assert sizes == [4, 4, 2] * 3 and len(epochs) == 3
    random = np.random.default_rng(0)  # the seed of the state's own stream
    for i in range(3):
        rows = np.concatenate(spy.batches[3 * i : 3 * i + 3])
        assert_array_equal(rows, X[random.permutation(10)])


def test_rows_as_they_stand():
    # would catch: shuffling where there was to be none, a stream that is used for nothing
    state, X, spy, _ = run()
    for i in range(3):
        assert_array_equal(np.concatenate(spy.batches[3 * i : 3 * i + 3]), X)
    assert state.random.random() == np.random.default_rng(0).random()


def test_training_ends_within_a_pass():
    # would catch: passes that are always completed, whatever the number of steps
    state, _, spy, epochs = run(n_steps=5)
    assert state.step == len(spy.batches) == 5
    assert len(epochs) == 2
    assert state.n_seen == 4 + 4 + 2 + 4 + 4


def test_batches_are_standardised():
    # would catch: raw data sent to the encoder
    spy = Spy(Affine(ReLU()))
    center = np.array([1.0, -2.0, 3.0, 0.0])
    state, X = make_state(np.random.default_rng(2), spy, n=4, center=center, scale=2.5)
    epochs_of(state, X, spy, SETTINGS, Plan(0, 1, 0.0))
    assert_allclose(spy.batches[0], (X - center) / 2.5)


def test_epochs_tell_what_happened():
    # would catch: the loss of the last step, dead latents counted at the start of a pass
    spy = Spy(Affine(ReLU()))
    state, X = make_state(np.random.default_rng(2), spy, n=10)
    state.params["encoder_bias"][1] = -1e9
    steps = []
    by_hand = copy.deepcopy(state)
    for first in (0, 4, 8):
        rows = X[first : first + 4]
        steps.append(training.train_step(by_hand, rows, spy, TERMS, SETTINGS, 1.0))
    settings_ = SETTINGS._replace(dead_after=10)
    (epoch,) = epochs_of(state, X, spy, settings_, Plan(0, 3, 0.0))
    assert_allclose(epoch.loss, np.mean([step.loss for step in steps]))
    assert_allclose(epoch.l0, np.mean([step.l0 for step in steps]))
    unexplained = np.mean([step.unexplained for step in steps])
    total = np.mean([step.total for step in steps])
    assert_allclose(epoch.explained_variance, 1 - unexplained / total)
    assert epoch.dead == np.count_nonzero(state.silent_for >= 10) >= 1
    assert epoch.learning_rate == pytest.approx(0.01)
    assert all(isinstance(value, int | float) for value in epoch)


def test_no_resampling_while_the_rate_falls(monkeypatch):
    # would catch: fresh latents that have no time left to learn
    steps = []
    monkeypatch.setattr(revival, "resample", lambda state, *_: steps.append(state.step))
    spy = Spy(Affine(ReLU()))
    state, X = make_state(np.random.default_rng(2), spy, n=4)
    state.params["encoder_bias"][1] = -1e9
    settings_ = SETTINGS._replace(dead_after=4, resample=True)
    epochs_of(state, X, spy, settings_, Plan(0, 10, 0.4))
    assert steps == list(range(6))


def test_rates_of_a_run():
    # would catch: a schedule that is counted in passes, or from the wrong step
    _, _, _, epochs = run(n=4, n_steps=10, decay=0.4, warmup=3)
    rates = [epoch.learning_rate / 0.01 for epoch in epochs]
    assert_allclose(rates, [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 3 / 4, 2 / 4, 1 / 4])


# ---------------------------------------------------------------- the plan


@given(
    first=st.integers(0, 100), total=st.integers(1, 200), decay=st.sampled_from([0.0, 0.2, 0.5, 1])
)
def test_plan(first, total, decay):
    # would catch: a run that is too long, a fall that does not begin where it should
    plan = Plan(first, total, decay)
    steps = range(first, first + total)
    assert not any(plan.done(step) for step in steps)
    assert plan.done(first + total)
    falling = [step for step in steps if plan.in_decay(step)]
    assert len(falling) == round(decay * total)
    factors = [plan.factor(step, warmup=0) for step in steps]
    assert all(0 < factor <= 1 for factor in factors)
    assert_allclose(factors[: total - len(falling)], 1)
    if falling:
        fall = factors[total - len(falling) :]
        assert_allclose(np.diff([*fall, 0]), -1 / len(falling))


@given(total=st.integers(1, 100), decay=st.sampled_from([0.0, 0.2, 0.5, 1]), at=st.integers(0, 100))
def test_wind_down(total, decay, at):
    # would catch: a fall that starts over when asked for twice, or lasts longer than planned
    plan, length = Plan(0, total, decay), round(decay * total)
    at = min(at, total - 1)
    was_falling, end = plan.in_decay(at), plan.end
    plan.wind_down(at)
    assert plan.end == (end if was_falling else at + length)
    assert plan.end <= end
    assert plan.done(at) == (length == 0)
    before = vars(plan).copy()
    if length:
        plan.wind_down(at)
    assert vars(plan) == before
    factors = [plan.factor(step, 0) for step in range(at, plan.end)]
    assert all(0 < factor <= 1 for factor in factors)
    assert (np.diff(factors) < 0).all()


def test_a_plan_without_decay():
    # would catch: partial_fit whose rate falls with each call
    plan = Plan(7, 5, 0.0)
    assert [plan.factor(step, 0) for step in range(7, 12)] == [1.0] * 5
    assert not any(plan.in_decay(step) for step in range(7, 12))
    assert plan.done(12) and not plan.done(11)


def test_two_runs_are_one(xp):
    # would catch: something that is reset between passes, or kept outside of the state
    results = []
    for lengths in ([6], [3, 3]):
        spy = Spy(TopKEncoder(2, 2))
        state, X = make_state(np.random.default_rng(2), spy, xp, n=10)
        for length in lengths:
            plan = Plan(state.step, length, 0.0)
            epochs = epochs_of(state, X, spy, SETTINGS, plan)
        assert state.step == 6 and math.isfinite(epochs[-1].loss)
        results.append(host(state.params))
    for key, array in results[0].items():
        assert_array_equal(results[1][key], array)
