"""Laws of the synthetic generator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdict.datasets import make_superposition


@st.composite
def problems(draw):
    n_components = draw(st.integers(1, 20))
    return {
        "n_samples": draw(st.integers(1, 30)),
        "n_components": n_components,
        "n_features": draw(st.integers(1, 12)),
        "k": draw(st.integers(1, n_components)),
        "magnitudes": draw(st.sampled_from(["half_normal", "normal", "ones"])),
        "rates": draw(st.none() | st.floats(0, 50)),
        "ensemble": draw(st.sampled_from(["spherical", "rademacher"])),
        "random_state": draw(st.integers(0, 2**31)),
    }


@given(problem=problems())
@settings(deadline=None, max_examples=60)
def test_counts_norms_and_mixture(problem):
    X, dictionary, codes = make_superposition(**problem)
    n, m, d = (problem[name] for name in ("n_samples", "n_components", "n_features"))
    assert (X.shape, dictionary.shape, codes.shape) == ((n, d), (m, d), (n, m))
    assert X.dtype == dictionary.dtype == codes.dtype == np.float64
    assert (np.count_nonzero(codes, axis=1) == problem["k"]).all()
    np.testing.assert_allclose(np.linalg.norm(dictionary, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(X, codes @ dictionary, rtol=1e-12, atol=1e-14)


@given(problem=problems())
@settings(deadline=None, max_examples=20)
def test_same_seed_same_data(problem):
    for first, second in zip(make_superposition(**problem), make_superposition(**problem)):
        assert (first == second).all()


def test_defaults_are_those_of_the_paper():
    X, dictionary, codes = make_superposition(random_state=0)
    assert X.shape == (1024, 8) and dictionary.shape == (16, 8)
    assert (np.count_nonzero(codes, axis=1) == 3).all() and (codes >= 0).all()


def test_another_seed_gives_other_data():
    for first, second in zip(
        make_superposition(random_state=0), make_superposition(random_state=1)
    ):
        assert not (first == second).all()


def test_global_seed_and_random_state_objects():
    first = make_superposition(random_state=np.random.RandomState(3))[0]
    assert (first == make_superposition(random_state=3)[0]).all()
    state = np.random.RandomState(3)
    make_superposition(random_state=state)
    assert not (first == make_superposition(random_state=state)[0]).all()


def test_parts_are_drawn_from_separate_streams():
    _, dictionary, codes = make_superposition(random_state=0)
    noisy = make_superposition(noise=0.1, random_state=0)
    assert (noisy[1] == dictionary).all() and (noisy[2] == codes).all()
    assert (make_superposition(dictionary=2 * dictionary, random_state=0)[2] == codes).all()
    ones = make_superposition(magnitudes="ones", random_state=0)
    assert (ones[1] == dictionary).all() and (ones[2] == (codes > 0)).all()
    signed = make_superposition(magnitudes="normal", random_state=0)[2]
    assert (abs(signed) == codes).all() and (signed < 0).any()


def test_given_dictionary_is_used_as_it_is():
    dictionary = np.arange(1, 13, dtype=np.float32).reshape(4, 3)
    before = dictionary.copy()
    X, returned, codes = make_superposition(9, 4, 3, 2, dictionary=dictionary, random_state=0)
    assert (returned == dictionary).all() and returned.dtype == np.float64
    np.testing.assert_allclose(X, codes @ dictionary)
    returned[:] = 0
    assert (dictionary == before).all()
    from_list = make_superposition(9, 4, 3, 2, dictionary=before.tolist(), random_state=0)
    assert (from_list[0] == X).all()


def test_draws_of_earlier_releases():
    # Data made with a seed stay what they were: this is how they were drawn, in a few lines.
    seeds = np.random.RandomState(5)
    streams = [np.random.default_rng(seeds.randint(0, 2**31 - 1, size=4)) for _ in range(4)]
    dictionary = streams[0].standard_normal((60, 30))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    clocks = np.log(streams[1].standard_exponential((50, 60))) + 0.7 * np.log(np.arange(1, 61))
    active = np.sort(np.argsort(clocks, axis=1)[:, :4], axis=1)
    codes = np.zeros((50, 60))
    np.put_along_axis(codes, active, np.abs(streams[2].standard_normal((50, 4))), axis=1)
    X = codes @ dictionary + 0.2 * streams[3].standard_normal((50, 30))
    drawn = make_superposition(50, 60, 30, 4, rates=0.7, noise=0.2, random_state=5)
    for first, second in zip(drawn, (X, dictionary, codes)):
        assert (first == second).all()


def test_ensembles():
    n, m, d = 5, 2000, 40
    draws = {
        ensemble: make_superposition(n, m, d, 3, ensemble=ensemble, random_state=0)
        for ensemble in ("spherical", "gaussian", "rademacher")
    }
    for X, dictionary, codes in draws.values():
        np.testing.assert_allclose(X, codes @ dictionary, atol=1e-14)
        assert (codes == draws["spherical"][2]).all()
        coherences = (dictionary @ dictionary.T)[np.triu_indices(m, 1)]
        assert coherences.mean() == pytest.approx(0, abs=1e-3)
        assert coherences.var() == pytest.approx(1 / d, rel=0.02)
    signs = draws["rademacher"][1] * np.sqrt(d)
    np.testing.assert_allclose(np.abs(signs), 1)
    assert abs(signs.mean()) < 5 / np.sqrt(m * d)
    gaussian = draws["gaussian"][1]
    assert gaussian.var() == pytest.approx(1 / d, rel=0.03)
    # squared length is chi-square over d: variance 2 / d
    assert (gaussian**2).sum(axis=1).var() == pytest.approx(2 / d, rel=0.2)
    directions = gaussian / np.linalg.norm(gaussian, axis=1, keepdims=True)
    np.testing.assert_allclose(directions, draws["spherical"][1], rtol=1e-12)
    given = make_superposition(n, m, d, 3, ensemble="rademacher", dictionary=gaussian)[1]
    assert (given == gaussian).all()


def test_every_subset_is_equally_likely():
    # C(5, 2) = 10 supports; chi-square with 9 degrees of freedom exceeds 33.7 once in 10^4
    codes = make_superposition(20_000, 5, 3, 2, random_state=0)[2]
    supports = np.unique((codes > 0) @ (2 ** np.arange(5)), return_counts=True)[1]
    assert len(supports) == 10
    assert ((supports - 2000) ** 2 / 2000).sum() < 33.7


def test_magnitudes_are_half_normal_and_independent_of_rank():
    # entries taken in the order in which they were selected would grow or shrink along the row
    codes = make_superposition(20_000, 6, 3, 3, random_state=0)[2]
    values = codes[codes > 0].reshape(-1, 3)
    np.testing.assert_allclose(values.mean(axis=0), np.sqrt(2 / np.pi), atol=0.02)
    np.testing.assert_allclose((values**2).mean(axis=0), 1, atol=0.04)


@pytest.mark.parametrize("exponent", [0.5, 1, 2])
def test_zipf_frequencies(exponent):
    m, n = 6, 20_000
    weight = np.arange(1.0, m + 1) ** -exponent
    weight /= weight.sum()
    for k in (1, 2):
        codes = make_superposition(n, m, 3, k, rates=exponent, random_state=0)[2]
        rate = (codes > 0).mean(axis=0)
        expected = weight.copy()
        if k == 2:  # first, or second after one of the others
            other = weight[:, None] * weight / (1 - weight[:, None])
            expected += other.sum(axis=0) - np.diag(other)
        np.testing.assert_allclose(rate, expected, atol=5 * np.sqrt(0.25 / n))
        assert (np.diff(rate) < 0).all()


def test_zipf_limits():
    even = make_superposition(random_state=0)[2]
    assert (make_superposition(rates=0, random_state=0)[2] == even).all()
    # so steep that plain weights would underflow: the first k components, always
    steep = make_superposition(50, 300, 8, 4, rates=1000.0, random_state=0)[2]
    assert (np.flatnonzero(steep.any(axis=0)) == np.arange(4)).all()


def test_all_components_active():
    codes = make_superposition(20, 5, 3, 5, random_state=0)[2]
    assert (codes > 0).all()


def test_noise_has_the_deviation_given():
    X, dictionary, codes = make_superposition(5000, noise=0.3, random_state=0)
    noise = X - codes @ dictionary
    np.testing.assert_allclose(noise.std(axis=0), 0.3, rtol=0.05)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.02)
    twice = make_superposition(5000, noise=0.6, random_state=0)[0] - codes @ dictionary
    np.testing.assert_allclose(twice, 2 * noise, atol=1e-12)


@pytest.mark.parametrize(
    "parameters, error, message",
    [
        ({"n_samples": 0}, ValueError, r"n_samples=0 is out of range. Choose an integer >= 1"),
        ({"n_samples": 2.0}, TypeError, r"n_samples=2.0 is not an integer"),
        ({"n_components": -1}, ValueError, "n_components=-1 is out of range"),
        ({"n_features": 0}, ValueError, "n_features=0 is out of range"),
        ({"n_features": "8"}, TypeError, "n_features='8' is not an integer"),
        ({"k": 0}, ValueError, r"k=0 .* integer in \[1, n_components=16\]"),
        ({"k": 17}, ValueError, r"k=17 .* integer in \[1, n_components=16\]"),
        ({"k": True}, TypeError, "k=True is not an integer"),
        ({"magnitudes": "uniform"}, ValueError, "magnitudes='uniform' is unknown.*'ones'"),
        ({"ensemble": "sparse"}, ValueError, "ensemble='sparse' is unknown.*'rademacher'"),
        ({"ensemble": 1}, TypeError, "ensemble=1 is not a string"),
        ({"return_entropy": 1}, TypeError, "return_entropy=1 is not a boolean"),
        ({"magnitudes": None}, TypeError, "magnitudes=None is not a string"),
        ({"rates": -1.0}, ValueError, r"rates=-1.0 .* Choose None or a number >= 0"),
        ({"rates": "zipf"}, TypeError, "rates='zipf' is not a number"),
        ({"noise": -0.1}, ValueError, "noise=-0.1 is out of range"),
        ({"noise": np.nan}, ValueError, "noise=nan is out of range"),
        ({"noise": np.inf}, ValueError, "noise=inf is out of range"),
        ({"noise": None}, TypeError, "noise=None is not a number"),
        ({"dictionary": np.ones((8, 16))}, ValueError, r"shape \(8, 16\).*\(16, 8\)"),
        ({"dictionary": np.full((16, 8), np.nan)}, ValueError, "NaN or infinity"),
        ({"dictionary": "atoms"}, TypeError, "dictionary has dtype"),
        ({"dictionary": [[1.0], [1.0, 2.0]]}, TypeError, "dictionary has dtype object"),
        ({"dictionary": np.ones((16, 8), dtype=complex)}, TypeError, "complex128"),
    ],
)
def test_refusals_name_the_way_out(parameters, error, message):
    with pytest.raises(error, match=f"make_superposition: .*{message}"):
        make_superposition(**parameters)
