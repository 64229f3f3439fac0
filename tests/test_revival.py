"""Counting silence, and pointing dead latents at badly reconstructed samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import problem, seeds, streams

from skdict import revival, training
from skdict.backend import to_numpy
from skdict.encoders import Hidden
from skdict.revival import ENCODER_SCALE, count_silence, resample


@pytest.fixture(autouse=True)
def all_at_once(monkeypatch):
    monkeypatch.setattr(revival, "AT_ONCE", 1)


FEWER = settings(max_examples=25)
LATENT = ("components", "encoder", "encoder_bias", "gate_bias", "magnitude_log_scale")


@given(rng=streams, batches=st.lists(st.integers(1, 50), max_size=6), m=st.integers(1, 8))
def test_count_silence(rng, batches, m):
    # would catch: steps counted instead of samples, a latent that fired and still ages
    silent_for, last = np.zeros(m, dtype=np.int64), np.zeros(m, dtype=int)
    held, seen = silent_for, 0
    for n_samples in batches:
        fired = rng.random(m) < 0.4
        count_silence(silent_for, fired, n_samples)
        seen += n_samples
        last[fired] = seen
    assert silent_for is held
    assert_array_equal(silent_for, seen - last)


def make_state(seed, xp, n=12, m=6, d=4, dtype="float64", hidden=False):
    """A state with moments and silence everywhere, a batch and its reconstruction."""
    rng = np.random.default_rng(seed)
    tiny = problem(rng, n, m, d)
    kind = getattr(xp, dtype)
    names = [name for name in tiny.params if hidden or name not in Hidden.names]
    params = {name: xp.asarray(tiny.params[name], dtype=kind) for name in names}
    X = xp.asarray(tiny.X, dtype=kind)
    state = training.start(params, X, np.random.default_rng(seed), np.zeros(d), 1.0)
    for moment in ("mean", "square"):
        for array in state.optimizer[moment].values():
            array += 0.5
    state.silent_for += 9
    return state, tiny.dead, X, xp.asarray(rng.standard_normal((n, d)), dtype=kind)


def snapshot(state):
    return {
        kind: {name: np.array(to_numpy(array)) for name, array in arrays.items()}
        for kind, arrays in [
            ("params", state.params),
            ("mean", state.optimizer["mean"]),
            ("square", state.optimizer["square"]),
        ]
    }


@FEWER
@given(seed=seeds)
def test_resampled_latents(xp, seed):
    # would catch: a part of the recipe left out, a living latent touched
    state, dead, X, residual = make_state(seed, xp)
    before = snapshot(state)
    resample(state, dead, X, residual)
    after = snapshot(state)
    for kind, arrays in after.items():
        assert_array_equal(arrays["decoder_bias"], before[kind]["decoder_bias"])
        for name in LATENT:
            living = before[kind][name][~dead]
            assert_array_equal(arrays[name][~dead], living)
            if kind == "square":
                usual = living if len(living) else before[kind][name]
                assert_allclose(arrays[name][dead] - usual.mean(axis=0), 0, atol=1e-12)
            elif kind == "mean" or name not in ("components", "encoder"):
                assert not arrays[name][dead].any(), (kind, name)
    lacking = -to_numpy(residual)
    directions = lacking / np.linalg.norm(lacking, axis=1, keepdims=True)
    atoms, rows = after["params"]["components"][dead], after["params"]["encoder"][dead]
    cosines = atoms @ directions.T
    chosen = cosines.argmax(axis=1)
    assert_allclose(atoms, directions[chosen], atol=1e-12)
    assert len(set(chosen.tolist())) == dead.sum()  # without replacement
    living = np.linalg.norm(before["params"]["encoder"][~dead], axis=1).mean()
    assert_allclose(rows, ENCODER_SCALE * living * atoms, atol=1e-12)
    assert_array_equal(to_numpy(state.silent_for), np.where(dead, 0, 9))


def test_latents_behind_a_hidden_layer(xp):
    # would catch: rows of the hidden layer taken for latents, a direction that it does not pass on
    state, dead, X, residual = make_state(0, xp, hidden=True)
    before = snapshot(state)
    resample(state, dead, X, residual)
    after = snapshot(state)
    for kind, arrays in after.items():
        for name in Hidden.names:
            assert_array_equal(arrays[name], before[kind][name])
    atoms, rows = after["params"]["components"][dead], after["params"]["encoder"][dead]
    read = atoms @ before["params"]["hidden_encoder"].T
    read /= np.linalg.norm(read, axis=1, keepdims=True)
    living = np.linalg.norm(before["params"]["encoder"][~dead], axis=1).mean()
    assert_allclose(rows, ENCODER_SCALE * living * read, atol=1e-12)


def test_dtype_is_kept(xp, dtype):
    # would catch: parameters that turn into float64 arrays
    state, dead, X, residual = make_state(0, xp, dtype=dtype)
    arrays = dict(state.params)
    resample(state, dead, X, residual)
    for name, array in state.params.items():
        assert array is arrays[name]
        assert to_numpy(array).dtype == dtype


@FEWER
@given(seed=seeds, n_bad=st.integers(0, 5))
def test_perfect_samples_are_never_drawn(xp, seed, n_bad):
    # would catch: more latents resampled than there are samples to learn
    state, dead, X, _ = make_state(seed, xp)
    bad = np.random.default_rng(seed).permutation(len(to_numpy(X)))[:n_bad]
    error = np.zeros(X.shape)
    error[bad] = 1 + np.arange(n_bad)[:, None]
    before = snapshot(state)
    resample(state, dead, X, xp.asarray(error))
    changed = (snapshot(state)["params"]["components"] != before["params"]["components"]).any(
        axis=1
    )
    assert changed.sum() == min(n_bad, dead.sum())
    assert not changed[~dead].any()
    # those that stay dead stay counted, and keep their parameters
    assert_array_equal(to_numpy(state.silent_for) == 0, changed)
    after = snapshot(state)
    for kind, arrays in after.items():
        for name in LATENT:
            assert_array_equal(arrays[name][~changed], before[kind][name][~changed])
    directions = -error[bad]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cosines = after["params"]["components"][changed] @ directions.T
    assert_allclose(cosines.max(axis=1, initial=-1), 1)


def test_probability_is_the_squared_loss():
    # would catch: samples drawn by their loss, by its root, or evenly
    d, n_trials, drawn = 3, 2000, 0
    X = np.eye(d)[:2] * 2.0
    error = np.array([[1.0, 0, 0], [0, np.sqrt(2.0), 0]])  # losses one and two
    for trial in range(n_trials):
        params = {"components": np.eye(1, d), "decoder_bias": np.zeros(d)}
        state = training.start(params, X, np.random.default_rng(trial), np.zeros(d), 1.0)
        resample(state, np.array([True]), X, -error)
        drawn += params["components"][0, 1] > 0.5
    # 4 / 5, within five standard deviations; by the loss it would be 2 / 3
    assert abs(drawn / n_trials - 0.8) < 5 * np.sqrt(0.16 / n_trials)


def test_which_latents_are_revived_is_drawn():
    # would catch: the first dead latents favoured where samples are scarce
    revived = set()
    for seed in range(20):
        state, _, X, _ = make_state(seed, np)
        error = np.zeros(X.shape)
        error[0] = 1.0
        resample(state, np.ones(6, dtype=bool), X, error)
        revived |= set(np.flatnonzero(state.silent_for == 0).tolist())
    assert len(revived) > 2


def test_all_latents_dead(xp):
    # would catch: the mean norm of no rows
    state, _, X, residual = make_state(3, xp)
    resample(state, np.ones(6, dtype=bool), X, residual)
    norms = np.linalg.norm(to_numpy(state.params["encoder"]), axis=1)
    assert_allclose(norms, ENCODER_SCALE)
    assert_allclose(np.linalg.norm(to_numpy(state.params["components"]), axis=1), 1)


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_losses_of_any_size(size):
    # would catch: weights that overflow or vanish in float32
    state, dead, X, residual = make_state(4, np, dtype="float32")
    error = residual * np.float32(size)
    resample(state, dead, X * 0, error)
    assert_array_equal(state.silent_for == 0, dead)


def test_the_stream_decides(xp):
    # would catch: draws from a global stream, or on the device
    results = []
    for _ in range(2):
        state, dead, X, residual = make_state(6, xp)
        resample(state, dead, X, residual)
        results.append(snapshot(state)["params"])
    for name, array in results[0].items():
        assert_array_equal(array, results[1][name])


@given(st.integers(1, 10**5), st.integers(1, 5000), st.integers(1, 10**6), st.data())
def test_dead_latents_cost_little(n_samples, n_features, n_components, data):
    # would catch: a step whose cost grows with the number of dead latents, one without any sample
    n_dead = data.draw(st.integers(0, n_components))
    every = revival.dead_every(n_samples, n_features, n_components, n_dead)
    rows = len(range(0, n_samples, every))
    work = n_dead + revival.SAMPLE_WORK
    affordable = max(n_samples * n_components / 20, revival.DEAD_WORK / n_features)
    assert 1 <= rows <= n_samples
    assert (rows - 1) * work <= affordable + 1
    if n_samples * work < affordable - 1:
        assert rows == n_samples


def test_few_are_resampled_at_once(monkeypatch):
    # would catch: a crowd of fresh latents that explain the same, all at once
    monkeypatch.setattr(revival, "AT_ONCE", 3)
    state, _, X, residual = make_state(8, np)
    resample(state, np.ones(6, dtype=bool), X, residual)
    assert np.count_nonzero(state.silent_for == 0) == 2
