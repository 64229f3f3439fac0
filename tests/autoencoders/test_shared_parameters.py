"""Options that the autoencoders share, and the norms of atoms: what each is for."""

import numpy as np
import pytest
from estimators import assert_same_fit, data, each_autoencoder, small
from sklearn.exceptions import ConvergenceWarning

from skdict import GatedAutoencoder, SparseAutoencoder, TopKAutoencoder, training
from skdict.datasets import make_superposition
from skdict.metrics import load_entropy, mean_l0, mutual_coherence, welch_bound
from skdict.terms import Incoherence


def superposition(n_samples=3000, **options):
    return make_superposition(n_samples, 24, 12, 3, random_state=0, **options)[0]


@each_autoencoder
def test_a_bad_option_is_named(make):
    # Catches an error from deep inside, or none.
    name = make.args[0].__name__
    for options, message in [
        ({"encoder_hidden": (3, 4)}, r"encoder_hidden=\(3, 4\), but an encoder has one hidden"),
        ({"encoder_hidden": (0,)}, r"encoder_hidden=\(0,\)"),
        ({"encoder_hidden": 0}, "'encoder_hidden' parameter of"),
        ({"encoder_hidden": True}, "encoder_hidden=True, but"),
        ({"incoherence": -1.0}, "'incoherence' parameter of"),
        ({"coherence_limit": 1.0}, "'coherence_limit' parameter of"),
        ({"load_balancing": -0.1}, "'load_balancing' parameter of"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            make(**options).fit(data())
        assert name in str(caught.value)


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
@pytest.mark.parametrize("method", ["partial_fit", "transform", "warm fit"])
@pytest.mark.parametrize(
    "cls, first, then, message",
    [
        (
            SparseAutoencoder,
            {},
            {"encoder_hidden": 5},
            "encoder_hidden=5, but the last fit had None",
        ),
        (GatedAutoencoder, {"encoder_hidden": 5}, {"encoder_hidden": None}, "=None, .* had 5"),
        (TopKAutoencoder, {"encoder_hidden": 5}, {"encoder_hidden": (7,)}, r"=\(7,\), .* had 5"),
        (TopKAutoencoder, {}, {"load_balancing": 0.01}, "load_balancing=0.01, .* had 0.0"),
        (
            TopKAutoencoder,
            {"load_balancing": 0.01},
            {"load_balancing": 0.0},
            "=0.0, .* had one above 0",
        ),
    ],
)
def test_options_that_differ_from_the_last_fit(method, fit, cls, first, then, message):
    # Catches a missing attribute or a shape as the answer to a parameter that was set since.
    X, sae = data(), small(cls, **first)
    getattr(sae, fit)(X).set_params(**then, warm_start=method == "warm fit")
    before = dict(vars(sae))
    with pytest.raises(ValueError, match=f"{cls.__name__}: .*{message}.*warm_start=False"):
        getattr(sae, method.split()[-1])(X)
    assert vars(sae).keys() == before.keys()
    sae.set_params(warm_start=False).fit(X).transform(X)
    fresh = small(cls, **{**first, **then}).fit(X)
    assert {n for n in vars(sae) if n.endswith("_")} == {n for n in vars(fresh) if n.endswith("_")}


@pytest.mark.parametrize("name", ["penalty", "penalty_width", "load_balancing"])
def test_options_that_are_invalid_since_the_fit(name):
    # Catches a KeyError, or none that names the parameter.
    X, sae = data(), small(SparseAutoencoder, penalty="log").fit(data())
    Z = sae.transform(X)
    sae.set_params(**{name: "x"})
    for method, rows in ((sae.transform, X), (sae.inverse_transform, Z), (sae.score, X)):
        with pytest.raises(ValueError, match=f"'{name}' parameter of SparseAutoencoder"):
            method(rows)


def test_shrinkage_is_of_the_last_repair():
    # Catches an attribute that a later fit leaves behind.
    X, sae = data(), small(SparseAutoencoder, repair="scale")
    assert hasattr(sae.fit(X), "shrinkage_") and hasattr(sae.fit(X), "shrinkage_")
    assert not hasattr(sae.partial_fit(X), "shrinkage_")
    assert not hasattr(sae.fit(X).set_params(repair=None).fit(X), "shrinkage_")
    sae.set_params(repair="scale", learning_rate=1e300, penalty="log", penalty_width=1.0)
    with pytest.warns(ConvergenceWarning, match=r"Lower learning_rate\. There was no repair\."):
        assert not hasattr(sae.fit(X), "shrinkage_")


def test_bad_options_of_the_penalty_are_named():
    # Catches exponents that make no penalty.
    for p in ((1.0,), (1.0, 0.0), (0.5, "a"), (True, 0.5), (), (1.0, 1e-300), 0.0, 1.5, 1e-9):
        with pytest.raises(ValueError, match=r"SparseAutoencoder.*p=|'p' parameter of"):
            small(SparseAutoencoder, penalty="lp", p=p).fit(data())
    with pytest.warns(ConvergenceWarning, match="a penalty_width nearer to 1 than 1e\\+300"):
        sae = small(SparseAutoencoder, penalty="log", penalty_width=1e300, max_iter=20)
        sae.fit(data(dtype="float32"))
    with pytest.raises(ValueError, match="'penalty' parameter of SparseAutoencoder"):
        small(SparseAutoencoder, penalty="l2").fit(data())
    with pytest.raises(ValueError, match="'atom_norms' parameter of SparseAutoencoder"):
        small(SparseAutoencoder, atom_norms=True).fit(data())


@pytest.mark.parametrize("penalty", ["l1", "log", "tanh", "lp", "hoyer_square", "gini"])
def test_the_alpha_from_which_no_latent_pays(penalty):
    # Catches the bound of another penalty in the warning that all codes are zero.
    sae, norm = SparseAutoencoder(penalty=penalty, p=0.5), 3.0
    most, _ = sae._costs(np.array([1.0, norm]))
    z = np.linspace(1e-3, norm, 500)
    costs = np.array([float(sae._rho()(np.full((1, 1), each), 1.0)[0]) for each in z])
    gains = norm * z - z**2 / 2
    assert (gains <= 1.01 * most * costs).all() and (gains > 0.95 * most * costs).any()


def test_free_atoms_cannot_escape_the_penalty():
    # Catches a penalty without norms, which long atoms and small codes make free.
    X = superposition()
    options = {"alpha": 0.6, "max_iter": 40, "random_state": 0}
    unit = SparseAutoencoder(24, **options).fit(X)
    free = SparseAutoencoder(24, atom_norms="free", **options).fit(X)
    none = SparseAutoencoder(24, **{**options, "alpha": 0.0}).fit(X)
    l0 = {name: mean_l0(sae.transform(X)) for name, sae in [("u", unit), ("f", free), ("0", none)]}
    assert l0["f"] < 0.7 * l0["0"] and l0["f"] == pytest.approx(l0["u"], rel=0.4)
    np.testing.assert_allclose(np.linalg.norm(free.components_, axis=1), 1, rtol=1e-12)


def test_norms_pass_to_the_encoder_without_changing_the_function():
    # Catches a norm that is lost or counted twice where training ends.
    X = data()
    sae = small(SparseAutoencoder, atom_norms="free").partial_fit(X)
    params, scale = sae._state.params, sae.scale_
    norms = np.linalg.norm(params["components"], axis=1)
    assert np.abs(norms - 1).max() > 1e-3  # they are free
    U = (X - sae.decoder_bias_) @ params["encoder"].T + scale * params["encoder_bias"]
    expected = np.maximum(U, 0) @ params["components"] + sae.decoder_bias_
    np.testing.assert_allclose(sae.inverse_transform(sae.transform(X)), expected, rtol=1e-9)


def test_incoherence_evens_the_spectrum_and_its_limit_keeps_atoms_apart():
    # Catches a penalty of the wrong sign, and the two forms taken for each other.
    X, m, d = superposition(), 24, 12
    fits = {}
    for name, options in {
        "none": {},
        "plain": {"incoherence": 1.0},
        "limit": {"incoherence": 10.0, "coherence_limit": 0.5},
    }.items():
        sae = TopKAutoencoder(m, k=3, max_iter=40, random_state=0, **options).fit(X)
        frame = Incoherence(1.0)(X, {}, {"components": sae.components_}, None, _zeros(sae))[0]
        fits[name] = frame, mutual_coherence(sae.components_)
    bound = m * (m - d) / d
    assert bound * (1 - 1e-9) <= fits["plain"][0] < bound + 0.5 * (fits["none"][0] - bound)
    assert welch_bound(m, d) <= fits["limit"][1] < 0.6 < fits["none"][1]


def _zeros(sae):
    return {"components": np.zeros_like(sae.components_)}


def test_two_copies_of_a_basis_are_a_minimum_of_the_plain_form():
    # Catches documentation that promises more of the plain form than it does.
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    params = {"components": np.concatenate([basis, basis])}
    for term, value in ((Incoherence(1.0), 12.0), (Incoherence(1.0, 0.5), 12 * 0.25)):
        grads = {"components": np.zeros((12, 6))}
        found, _ = term(basis, {}, params, None, grads)
        assert found == pytest.approx(value)  # 12 (12 - 6) / 6 is the bound of the plain form
    assert mutual_coherence(params["components"]) == pytest.approx(1)


def test_the_selection_bias_evens_the_load():
    # Catches a bias that rewards the busy, or that leaks into the codes.
    X = superposition(rates=1.0)
    options = {"k": 3, "max_iter": 30, "random_state": 0}
    plain = TopKAutoencoder(24, **options).fit(X)
    even = TopKAutoencoder(24, load_balancing=0.003, **options).fit(X)
    assert load_entropy(even.transform(X)) > load_entropy(plain.transform(X)) + 0.02
    assert not hasattr(plain, "selection_bias_") and even.selection_bias_.any()
    U = (X - even.decoder_bias_) @ even.encoder_.T + even.encoder_bias_
    Z = even.transform(X)
    np.testing.assert_allclose(Z[Z > 0], U[Z > 0], rtol=1e-9, atol=1e-12)
    chosen = np.argsort(-(U + even.selection_bias_), axis=1)[:, :3]
    mask = np.zeros(Z.shape, dtype=bool)
    np.put_along_axis(mask, chosen, True, axis=1)
    np.testing.assert_array_equal(Z > 0, mask & (U > 0))


def test_latents_that_are_kept_but_silent_are_not_kept_more():
    # Catches a bias that rises without end, where a latent takes a place and does not fire.
    X = make_superposition(3000, 64, 32, 4, rates=1.0, random_state=0)[0]
    options = {"k": 4, "load_balancing": 0.001, "max_iter": 60, "random_state": 0}
    sae = TopKAutoencoder(128, **options).fit(X)
    assert mean_l0(sae.transform(X)) > 3.6
    assert np.abs(sae.selection_bias_).max() < 0.5 * np.linalg.norm(X, axis=1).mean()


@pytest.mark.parametrize("cls", [SparseAutoencoder, GatedAutoencoder])
def test_the_load_penalty_evens_the_load(cls):
    # Catches a penalty of the wrong sign or on the wrong head.
    X = superposition(rates=1.0)
    options = {"alpha": 0.3, "max_iter": 30, "random_state": 0}
    entropies = [
        load_entropy(cls(24, load_balancing=weight, **options).fit(X).transform(X))
        for weight in (0.0, 1.0)
    ]
    assert 1 - entropies[1] < 0.5 * (1 - entropies[0])


@pytest.mark.parametrize("width", [7, 16, 40])
def test_a_hidden_layer_begins_as_the_affine_encoder(width):
    # Catches a beginning that loses the data: with two bases and more the layer is passed as it is.
    X, options = data(), {"max_iter": 1, "learning_rate": 1e-12, "alpha": 0.0}
    plain = small(SparseAutoencoder, **options).fit(X)
    deep = small(SparseAutoencoder, encoder_hidden=width, **options).fit(X)
    V = deep.hidden_encoder_
    assert V.shape == (width, 6) and deep.hidden_bias_.shape == (width,)
    np.testing.assert_allclose(np.linalg.norm(V, axis=1), 1)
    H = np.maximum((X - deep.decoder_bias_) @ V.T, 0)
    U, whole = H @ deep.encoder_.T, (X - deep.decoder_bias_) @ deep.components_.T
    if width % 12 == 0:
        np.testing.assert_allclose(U, whole, atol=1e-8)
    else:
        assert np.corrcoef(U.ravel(), whole.ravel())[0, 1] > 0.5
    assert plain.encoder_.shape == (16, 6)


def test_a_hidden_layer_encodes_better():
    # Catches an MLP that learns no more than its last layer (amortisation gap, arXiv 2411.13117).
    X = make_superposition(4000, 16, 8, 3, random_state=0)[0]
    options = {"k": 3, "max_iter": 120, "random_state": 0}
    scores = [
        TopKAutoencoder(16, encoder_hidden=width, **options).fit(X).score(X) for width in (None, 64)
    ]
    assert scores[1] > scores[0] + 0.01


def test_progress_is_the_share_before_the_fall():
    # Catches an exponent that jumps, or that a resumed or winding run takes back.
    plan = training.Plan(10, 100, 0.2)
    shares = [plan.progress(step) for step in (10, 50, 90, 109)]
    np.testing.assert_allclose(shares, [0, 0.5, 1, 1])
    plan.wind_down(50)
    assert plan.progress(50) == 1
    for constant in (training.Plan(0, 100, 0.0), training.Plan(0, np.inf, 0.2)):
        assert constant.progress(3) == 1
    assert training.Plan(0, 100, 1.0).progress(0) == 1


def test_annealing_ends_at_the_last_exponent():
    # Catches a fit that anneals nothing: its loss then is that of the exponent it ends with.
    X = superposition()
    options = {"penalty": "lp", "alpha": 0.5, "max_iter": 12, "random_state": 0}
    first, last, both = (
        SparseAutoencoder(24, p=p, **options).fit(X).loss_curve_ for p in (1.0, 0.3, (1.0, 0.3))
    )
    assert abs(both[0] - first[0]) < 0.2 * abs(last[0] - first[0])
    assert abs(both[-1] - last[-1]) < 0.5 * abs(first[-1] - last[-1])


def test_revived_latents_read_what_is_lacking_through_a_hidden_layer():
    # Catches rows of a hidden layer that are taken for latents.
    X = superposition()
    sae = small(SparseAutoencoder, n_components=40, encoder_hidden=30, alpha=1.5, max_iter=20)
    sae.set_params(dead_after=500, decay=0.1).fit(X)
    assert sae.hidden_encoder_.shape == (30, 12)
    assert np.linalg.norm(sae.hidden_encoder_, axis=1).min() > 0.1
    assert sae.dead_latents_.mean() < 0.9


@pytest.mark.parametrize("weight", ["incoherence", "load_balancing"])
def test_advice_names_the_weight_that_diverged(weight):
    # Catches advice to lower a rate that has no part in it.
    sae = SparseAutoencoder(16, max_iter=3, random_state=0, **{weight: 1e300})
    with pytest.warns(ConvergenceWarning, match=rf"Lower learning_rate or {weight}\."):
        sae.fit(data(dtype="float32"))
    assert np.isfinite(sae.components_).all()


@pytest.mark.parametrize(
    "one, other",
    [
        ({"encoder_hidden": 8}, {"encoder_hidden": (8,)}),
        ({"encoder_hidden": [np.int64(8)]}, {"encoder_hidden": 8}),
        ({"p": (np.float32(1), np.float32(0.5))}, {"p": [1.0, 0.5]}),
    ],
)
def test_a_fit_resumes_with_options_that_mean_the_same(one, other, tmp_path):
    # Catches a refusal for a number in a tuple, or one of NumPy.
    first = small(SparseAutoencoder, penalty="lp", **one).fit(data(), checkpoint=tmp_path)
    then = small(SparseAutoencoder, penalty="lp", **other)
    assert_same_fit(then.fit(data(), checkpoint=tmp_path, resume=True), first)
