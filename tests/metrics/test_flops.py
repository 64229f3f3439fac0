"""Counts against the operations of plain algorithms, tallied by the arrays they run on."""

import numpy as np
import pytest
from estimators import AUTOENCODERS, CODERS, ESTIMATORS, data, small
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_algorithms import (
    ALGORITHMS,
    D_,
    M_,
    N_,
    Counting,
    Tally,
    adam,
    arrays,
    counted,
    dots,
    eliminate,
    encode,
    orthogonal,
    step_of_gated,
    step_of_relu,
)
from sklearn.decomposition import PCA, DictionaryLearning
from sklearn.frozen import FrozenEstimator

from skdict import (
    GatedAutoencoder,
    LassoCoder,
    MatchingPursuitCoder,
    SparseAutoencoder,
    ThresholdCoder,
    TopKAutoencoder,
)
from skdict.kernels import lasso_reference, pursuit_reference
from skdict.metrics import _operations as operations
from skdict.metrics import flops
from skdict.terms import Incoherence

# ---------------------------------------------------------------------- arrays that count


@pytest.fixture
def tally(monkeypatch):
    monkeypatch.setattr(Counting, "tally", Tally())
    return Counting.tally


def test_arrays_count(tally):
    # would catch a tally that lets everything pass
    A, B = arrays((3, 4), (4, 5))
    A @ B
    assert tally.all == tally.products == 2 * 3 * 4 * 5
    np.maximum(A, 0) + A / 2
    assert tally.all == 120 + 3 * 12
    np.add.reduce(A, axis=0)
    np.argmax(A, axis=1)
    assert tally.all == 120 + 5 * 12


# ---------------------------------------------------------------------- autoencoders


def autoencoder(cls, hidden=None, **changes):
    estimator = cls(M_, batch_size=N_, max_iter=1, **changes)
    estimator.encoder_hidden = hidden
    return estimator


def layers_of(hidden):
    """Encoder, biases and hidden layer for random data."""
    X, D, b, e = arrays((N_, D_), (M_, D_), D_, M_)
    if hidden is None:
        return X, D, arrays((M_, D_), seed=1)[0], b, e, ()
    W, W1, b1 = arrays((M_, hidden), (hidden, D_), hidden, seed=1)
    return X, D, W, b, e, (W1, b1)


@pytest.mark.parametrize("hidden", [None, 4, (4,)])
@pytest.mark.parametrize("cls", AUTOENCODERS, ids=lambda cls: cls.__name__)
def test_autoencoders_take_what_plain_code_takes(cls, hidden, tally):
    # would catch a product left out or counted twice, in any of the five, and biases forgotten
    X, D, W, b, e, layers = layers_of(4 if hidden else None)
    count = flops(autoencoder(cls, hidden), N_, n_features=D_)
    _, _, U = encode(X, W, b, layers)
    if cls is GatedAutoencoder:
        P = U + e
        np.where(P > 0, np.maximum(U * e + e, 0), 0)
    else:
        np.maximum(U + e, 0)  # of top-k: one comparison each
    assert tally.all == count.encoding
    arrays((N_, M_))[0] @ D + b
    assert tally.all == count.inference == count.encoding + count.decoding

    tally.all = 0
    if cls is GatedAutoencoder:
        step_of_gated(X, D, W, b, e, layers)
    else:
        step_of_relu(X, D, W, b, e, layers, penalty=cls is SparseAutoencoder)
    first = layers[0] if layers else W
    b - arrays(first.shape[0])[0] @ first  # of b, through the encoder
    more = [e, e] if cls is GatedAutoencoder else []
    adam([W, b, e, *layers, *more], D)
    assert tally.all == count.training_step == count.training


@pytest.mark.parametrize("limit", [None, 0.5])
def test_products_of_incoherence(limit, tally):
    # would catch a penalty on pairs of atoms that costs nothing, or as much without a limit
    D = arrays((M_, D_))[0]
    Incoherence(1.0, limit)(None, {}, {"components": D}, None, {"components": 0 * D})
    with_it = autoencoder(TopKAutoencoder, incoherence=1.0, coherence_limit=limit)
    counts = [flops(e, N_, n_features=D_) for e in (with_it, autoencoder(TopKAutoencoder))]
    assert counts[0].training - counts[1].training == tally.products > 0


# What the paper's own code logs (arXiv 2411.13117; github.com/charlieoneill11/sparse-inference):
# operations of one training step, and of 10,000 steps of inference-time optimisation.
LOGGED_SAE, LOGGED_MLP, LOGGED_ITO = 1_785_856, 5_881_856, 7.209e9
PAPER = {"n_features": 8}  # with 16 components, batches of 1,024


def test_inference_is_what_the_paper_counts():
    # would catch another convention: it leaves biases out, and takes three times this, and one
    # operation for each encoder weight and bias and each sample, as a step of training
    def products_and_relu(hidden):
        count = flops(autoencoder_of_paper(hidden), 1024, **PAPER)
        biases = 2 * 8 + 16 + (hidden or 0)
        return count.inference - 1024 * biases

    assert 3 * products_and_relu(None) + 1024 * (8 * 16 + 2 * 16) == LOGGED_SAE
    assert 3 * products_and_relu(32) + 1024 * (8 * 16 + 2 * 16 + 2 * 32) == LOGGED_MLP


def autoencoder_of_paper(hidden):
    estimator = SparseAutoencoder(16, batch_size=1024, max_iter=1)
    estimator.encoder_hidden = hidden
    return estimator


def test_training_is_less_than_what_the_paper_counts():
    # would catch a step counted as the paper does, with the gradient of the data and an update of
    # the parameters for each sample, or one without any update
    count = flops(autoencoder_of_paper(None), 1024, **PAPER)
    assert 10 / 13 < count.training_step / LOGGED_SAE < 0.85


def test_optimisation_of_codes_is_what_the_paper_counts():
    # would catch one product too many or too few in 10,000 steps of two; theirs are Adam's
    coder = LassoCoder(16, algorithm="fista")
    count = flops(coder, 1024, iterations=10_000, **PAPER)
    assert count.inference == pytest.approx(LOGGED_ITO, rel=0.1)


# ---------------------------------------------------------------------- coders


def problem(d, m, n, seed=0):
    X, D = arrays((n, d), (m, d), seed=seed)
    return X, counted(np.asarray(D) / np.linalg.norm(np.asarray(D), axis=1, keepdims=True))


def nearly_orthogonal(d, n):
    """Samples for which no pursuit selects an atom twice, and as many atoms as features."""
    X, D = problem(d, d, n)
    D = np.linalg.qr(np.asarray(D))[0] + 0.03 * np.asarray(D)
    return X, counted(D / np.linalg.norm(D, axis=1, keepdims=True))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_pursuits_take_what_plain_code_takes(algorithm, k, tally):
    # would catch a wrong power of k, and a plain code here that is not the algorithm
    X, D = nearly_orthogonal(9, 4)
    coder = MatchingPursuitCoder(k=k, algorithm=algorithm, dictionary=np.asarray(D))
    codes = coder.fit(np.asarray(X)).transform(np.asarray(X))
    mine = [ALGORITHMS[algorithm](x - 0.0, D, k) for x in X]
    np.testing.assert_allclose(mine, codes, atol=1e-10)
    assert tally.all == pytest.approx(flops(coder, 4).encoding, rel=1e-12)


@pytest.mark.parametrize("algorithm", ["mp", "gradient"])
def test_products_of_the_references(algorithm, tally):
    # would catch plain code above that leaves a product out: these are skdict's own references
    X, D = problem(6, 9, 4)
    run = {"mp": pursuit_reference._mp, "gradient": pursuit_reference._gradient}[algorithm]
    run(X, D, 3, counted(np.full(4, -1.0)), False)
    selected = 4 * 3 * 2 * 6 * 9  # correlations; gradient pursuit there takes dense products too
    assert tally.products == selected * (1 if algorithm == "mp" else 3)
    coder = MatchingPursuitCoder(k=3, algorithm=algorithm, dictionary=np.asarray(D))
    assert selected < flops(coder, 4).encoding < tally.all


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("n", [1, 5])
def test_gradient_steps_take_what_plain_code_takes(positive, n, tally):
    # would catch a product or a vector left out of a step of FISTA
    X, D = problem(6, 9, 4)
    coder = LassoCoder(alpha=0.1, algorithm="fista", dictionary=np.asarray(D), positive=positive)
    L = float(np.linalg.norm(np.asarray(D), 2)) ** 2
    X = X - 0.0
    Y = Z = counted(np.zeros((4, 9)))
    t = counted(np.ones((4, 1)))
    for _ in range(n):
        V = Y - (Y @ D - X) @ D.T / L
        if positive:
            new = np.maximum(V - 0.1 / L, 0)
        else:
            new = np.sign(V) * np.maximum(np.abs(V) - 0.1 / L, 0)
        next_t = (1 + np.sqrt(1 + 4 * t * t)) / 2
        Y, Z, t = new + (t - 1) / next_t * (new - Z), new, next_t
    assert tally.all == flops(coder, 4, iterations=n).encoding


def test_products_of_the_reference_of_gradient_steps(tally):
    # would catch plain code above that leaves a product out; the rest there looks at the gap
    X, D = problem(6, 9, 4)
    squares = dots(X, X)
    tally.products = 0
    lasso_reference._fista(X, D, counted(np.zeros((4, 9))), 0.1, "l1", 1.0, False, 0.0, 5)
    assert squares.shape == (4,)
    gaps = 2 * 4 * 6 * 9 * 2  # products of one look at the gap; it looks at the beginning and end
    assert tally.products == 5 * 4 * (4 * 6 * 9) + 2 * gaps


@pytest.mark.parametrize("positive", [False, True])
def test_sweeps_take_what_plain_code_takes(positive, tally):
    # would catch a sweep counted for the codes that are not zero alone
    X, D = problem(6, 9, 4)
    coder = LassoCoder(alpha=0.1, dictionary=np.asarray(D), positive=positive)
    w = np.asarray(D * D).sum(axis=1)
    tally.all = 0
    R, Z = X - 0.0, counted(np.zeros((4, 9)))
    for _ in range(2):
        for j in range(9):
            v = dots(R, D[j]) / w[j] + Z[:, j]
            if positive:
                new = np.maximum(v - 0.1 / w[j], 0)
            else:
                new = np.sign(v) * np.maximum(np.abs(v) - 0.1 / w[j], 0)
            R = R - (new - Z[:, j])[:, None] * D[j]
            Z[:, j] = new
    assert tally.all == flops(coder, 4, iterations=2).encoding


@pytest.mark.parametrize("changes", [{"k": 2}, {"threshold": 0.5}, {"k": 2, "refit": True}])
def test_one_step_takes_what_plain_code_takes(changes, tally):
    # would catch refitted codes that cost nothing
    X, D = problem(6, 9, 4)
    coder = ThresholdCoder(dictionary=np.asarray(D), **changes)
    U = (X - 0.0) @ D.T
    np.greater(U, 0.5)
    one_step = tally.all
    assert one_step + 4 * refit_cost(changes, D, tally) == flops(coder, 4).encoding


def refit_cost(changes, D, tally):
    if "refit" not in changes:
        return 0
    tally.all = 0
    orthogonal(arrays(6, seed=5)[0], D, 2, ols=False)
    return tally.all - 2 * (2 * 6 * 9 + 9)  # but for the selections


# ---------------------------------------------------------------------- learned dictionaries


def test_online_steps_take_what_plain_code_takes(tally):
    # would catch statistics or a descent that grow with another power of a size
    X, D = problem(D_, M_, N_)
    coder = ThresholdCoder(M_, k=2, batch_size=N_, max_iter=1)
    count = flops(coder, N_, n_features=D_)
    A, B, Z = arrays((M_, M_), (M_, D_), (N_, M_))
    tally.all = 0
    A, B = 0.9 * A + Z.T @ Z, 0.9 * B + Z.T @ X
    for j in range(M_):
        atom = D[j] + (B[j] - A[j] @ D) / A[j, j]
        D[j] = atom / np.sqrt(dots(atom, atom))
        tally.all += 1  # the root of a number
    assert tally.all + count.encoding == count.training_step


def test_gradient_of_atoms_takes_what_plain_code_takes(tally):
    # would catch the gradient of codes that are held
    X, D = problem(D_, M_, N_)
    coder = ThresholdCoder(M_, k=2, batch_size=N_, max_iter=1, dict_update="gradient")
    count = flops(coder, N_, n_features=D_)
    Z, b = arrays((N_, M_), D_)
    tally.all = 0
    R = ((Z @ D + b) - X) / N_
    Z.T @ R, np.add.reduce(R, axis=0)
    adam([b], D)
    assert tally.all + count.encoding == count.training_step


@pytest.mark.parametrize("update", ["mod", "ksvd", "aksvd"])
def test_whole_updates_are_of_leading_order(update, tally):
    # would catch a cubic term that is missing or has another factor, of which these are made
    d, m, n = 40, 60, 200
    X, D = problem(d, m, n)
    coder = ThresholdCoder(m, k=m, max_iter=1, dict_update=update)
    Z = arrays((n, m))[0]
    tally.all = 0
    if update == "mod":
        A, B = Z.T @ Z, Z.T @ X
        tally.all += eliminate(np.asarray(A), np.asarray(B))
    else:
        E = X - Z @ D
        for j in range(m):
            rows = E + Z[:, j, None] * D[j]
            direction = Z[:, j] @ rows if update == "aksvd" else (rows.T @ rows)[0]
            z = rows @ direction
            E = rows - z[:, None] * direction
            E = counted(np.asarray(E) / np.asarray(E).std())  # uncounted, lest it overflow
    count = flops(coder, n, n_features=d)
    found = count.training_step - count.encoding
    if update == "ksvd":
        found -= operations.atoms_of_ksvd(d, m, False)  # of which NumPy's count is unknown
    assert tally.all == pytest.approx(found, rel=0.02)


# ---------------------------------------------------------------------- laws


def cost(cls, d, m, n=64, mean_l0=None, **changes):
    estimator = small(cls, n_components=m, batch_size=16, **changes)
    iterations = 5 if cls is LassoCoder else None
    return flops(estimator, n, n_features=d, iterations=iterations, mean_l0=mean_l0)


sizes = st.integers(4, 200)


@settings(deadline=None)
@given(st.sampled_from(ESTIMATORS), sizes, sizes, st.integers(1, 50))
def test_inference_is_proportional_to_samples(cls, d, m, n):
    # would catch work of a call counted as work of a sample, or the other way round
    one, many = cost(cls, d, m, 1), cost(cls, d, m, n)
    for name in ("encoding", "decoding", "inference"):
        assert getattr(many, name) == n * getattr(one, name)
    assert many.inference_per_sample == one.inference
    assert many.training_per_sample * n == pytest.approx(many.training)


@settings(deadline=None)
@given(st.sampled_from(ESTIMATORS), sizes, sizes, st.integers(0, 4))
def test_sparse_codes_save_products(cls, d, m, l0):
    # would catch a product with codes that stays dense, or grows
    dense, full, sparse = (cost(cls, d, m, mean_l0=n) for n in (None, m, l0))
    assert dense == full
    assert sparse.encoding == dense.encoding
    assert sparse.decoding < dense.decoding or l0 == m
    assert sparse.training < dense.training or l0 == m


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_a_fitted_estimator_counts_the_steps_it_made(cls):
    # would catch training counted by max_iter after a fit that stopped early
    X = data(120)
    estimator = small(cls, max_iter=5)
    how = {"iterations": 3} if cls is LassoCoder else {}
    before = flops(estimator, 120, n_features=6, **how)
    assert before.n_steps == 5 * 4  # passes of 120 samples in batches of 32
    assert flops(estimator.fit(X), 120, **how) == before
    stopped = small(cls, max_iter=50, tol=1e9, max_no_improvement=1, decay=0).fit(X)
    assert stopped.n_iter_ < 50
    count = flops(stopped, 120, **how)
    assert count.n_steps == stopped.n_steps_
    assert count.training == pytest.approx(before.training * stopped.n_iter_ / 5)
    assert flops(stopped, 7, **how).n_steps == stopped.n_steps_


@pytest.mark.parametrize("cls", CODERS, ids=lambda cls: cls.__name__)
def test_a_given_dictionary_is_trained_where_it_is_trained(cls):
    # would catch training of a dictionary that nobody trains, and one left out
    how, few = {"iterations": 3}, {} if cls is LassoCoder else {"k": 3}
    sae = small(SparseAutoencoder)
    alone = flops(sae, 120, n_features=6)
    given = flops(cls(dictionary=sae, **few), 120, n_features=6, **how)
    assert (given.training, given.n_steps) == (alone.training, alone.n_steps)
    fitted = cls(dictionary=sae, **few).fit(data(120))
    assert flops(fitted, 120, **how).training == alone.training
    for dictionary in (np.eye(6), FrozenEstimator(small(SparseAutoencoder).fit(data(120)))):
        coder = cls(dictionary=dictionary, **few).fit(data(120))
        assert flops(coder, 120, **how).training == 0


def test_shapes_come_from_what_is_known():
    # would catch "auto" components without their factor of four, and first atoms that are ignored
    one = flops(TopKAutoencoder(), 1, n_features=6)
    assert one == flops(TopKAutoencoder(24), 1, n_features=6)
    first = np.ones((5, 6))
    assert flops(ThresholdCoder(dict_init=first), 1, n_features=6).decoding == 2 * 5 * 6 + 6
    given = ThresholdCoder(dictionary=np.ones((5, 6)))
    assert flops(given, 1) == flops(given, 1, n_features=6)
    assert flops(given, 1) == flops(ThresholdCoder(dictionary=np.ones((5, 6)).tolist()), 1)
    learner = ThresholdCoder(dictionary=SparseAutoencoder(5))
    assert flops(learner, 1, n_features=6).decoding == 2 * 5 * 6 + 6


def test_numbers_of_numpy_do_not_overflow():
    # Catches counts that are negative, or in the precision of a parameter.
    def counts(number, **changes):
        for cls in AUTOENCODERS:
            sizes = {"max_iter": number(300), "batch_size": number(100), **changes}
            yield flops(cls(number(120), **sizes), number(120), n_features=number(90))
        yield flops(MatchingPursuitCoder(number(120), k=number(5)), n_features=number(90))
        yield flops(ThresholdCoder(number(120), k=number(5), refit=True), n_features=number(90))

    assert list(counts(np.int16)) == list(counts(int))
    hidden = counts(np.int16, encoder_hidden=np.int16(99))
    assert list(hidden) == list(counts(int, encoder_hidden=99))
    mean = flops(SparseAutoencoder(16), 10, n_features=8, mean_l0=np.float32(3.25))
    assert mean == flops(SparseAutoencoder(16), 10, n_features=8, mean_l0=3.25)
    assert type(mean.decoding) is float


def test_a_pursuit_is_bounded_by_its_atoms():
    # would catch k above the number of atoms clipped where atoms may be selected again
    long = {a: cost(MatchingPursuitCoder, 4, 6, k=99, algorithm=a).encoding for a in ALGORITHMS}
    short = {a: cost(MatchingPursuitCoder, 4, 6, k=6, algorithm=a).encoding for a in ALGORITHMS}
    assert [a for a in ALGORITHMS if long[a] > short[a]] == ["mp", "gradient"]


@pytest.mark.parametrize(
    "estimator, how, error, message",
    [
        (PCA(), {"n_features": 3}, TypeError, "estimator is a PCA. Pass one of SparseAuto"),
        (SparseAutoencoder, {"n_features": 3}, TypeError, "estimator is a "),
        (SparseAutoencoder(), {}, ValueError, "n_features=None, but SparseAutoencoder is not fit"),
        (SparseAutoencoder(), {"n_features": 0}, ValueError, "n_features=0 is out of range"),
        (SparseAutoencoder(), {"n_samples": 0}, ValueError, "n_samples=0 is out of range"),
        (SparseAutoencoder(), {"n_samples": 1.5}, TypeError, "n_samples=1.5 is no integer"),
        (LassoCoder(), {"n_features": 3}, ValueError, "iterations=None.*max_sweeps=1000"),
        (LassoCoder(), {"n_features": 3, "iterations": -1}, ValueError, "iterations=-1 is out of"),
        (TopKAutoencoder(8), {"n_features": 3, "mean_l0": 9}, ValueError, r"mean_l0=9 is out of"),
        (
            MatchingPursuitCoder(k=None, residual_tol=1),
            {"n_features": 3},
            ValueError,
            "iterations=None, but MatchingPursuitCoder has k=None",
        ),
        (
            ThresholdCoder(threshold=1, refit=True),
            {"n_features": 3},
            ValueError,
            "mean_l0=None, but ThresholdCoder",
        ),
        (
            ThresholdCoder(dictionary=np.eye(3)),
            {"n_features": 4},
            ValueError,
            "n_features=4, but ThresholdCoder has atoms of 3",
        ),
        (
            ThresholdCoder(8, dictionary=DictionaryLearning(8)),
            {"n_features": 3},
            TypeError,
            r"dictionary=DictionaryLearning\(.*FrozenEstimator",
        ),
    ],
)
def test_refusals_name_the_way_out(estimator, how, error, message):
    # would catch a number made up where one is missing
    with pytest.raises(error, match=f"flops: {message}"):
        flops(estimator, **how)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"max_iter": "x"},
        {"encoder_hidden": ()},
        {"n_components": 2.5},
        {"p": (1,)},
    ],
)
def test_parameters_out_of_range_are_not_counted(options):
    # Catches a count of what cannot be fitted, and errors from deep inside.
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}.*SparseAutoencoder|SparseAutoencoder.*{name}"):
        flops(SparseAutoencoder(**options), 1024, n_features=8)
