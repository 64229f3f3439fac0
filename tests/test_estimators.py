"""What api.md promises of every estimator, beyond scikit-learn's own checks (test_common.py)."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from estimators import (
    assert_same_fit,
    data,
    each_autoencoder,
    each_by_gradient,
    each_estimator,
    fitted,
    small,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import skdict.encoders
import skdict.kernels.dense
import skdict.kernels.threads
import skdict.training
from skdict import (
    GatedAutoencoder,
    LassoCoder,
    MatchingPursuitCoder,
    SparseAutoencoder,
    ThresholdCoder,
    TopKAutoencoder,
)
from skdict.datasets import make_superposition
from skdict.metrics import explained_variance

few_examples = settings(max_examples=15)
shapes = st.tuples(st.integers(2, 60), st.integers(2, 9), st.integers(0, 2**32 - 1))


def drawn(shape):
    n_samples, n_features, seed = shape
    return data(n_samples, n_features, seed=seed)


def assert_unchanged(estimator, before):
    # By content: an array that was overwritten in place would still be the same object.
    assert joblib.hash(vars(estimator)) == before


# ---------------------------------------------------------------------- transform


@each_estimator
@few_examples
@given(shape=shapes)
def test_rows_do_not_see_each_other(make, shape):
    # Catches a code that depends on the other rows of the call (k is well below n_components).
    X = drawn(shape)
    estimator = make(max_iter=1).fit(X)
    together = estimator.transform(X)
    for i in range(min(len(X), 5)):
        np.testing.assert_allclose(estimator.transform(X[i : i + 1])[0], together[i], atol=1e-10)


@each_estimator
@few_examples
@given(shape=shapes)
def test_permuted_rows_give_permuted_codes(make, shape):
    # Catches a block of rows that is written to the wrong place.
    X = drawn(shape)
    order = np.random.default_rng(0).permutation(len(X))
    estimator = make(max_iter=1).fit(X)
    np.testing.assert_allclose(estimator.transform(X[order]), estimator.transform(X)[order])


@each_estimator
def test_rows_in_many_blocks(make):
    # Catches seams between the blocks of rows that transform takes at a time.
    X = data(2500)
    estimator = make(max_iter=1).fit(X[:100])
    codes = estimator.transform(X)
    pieces = [estimator.transform(X[start : start + 700]) for start in range(0, 2500, 700)]
    np.testing.assert_allclose(codes, np.concatenate(pieces), atol=1e-10)
    sparse = copy.deepcopy(estimator).set_params(sparse_output=True).transform(X)
    np.testing.assert_array_equal(sparse.toarray(), codes)


@each_estimator
@pytest.mark.parametrize("interface", ["spmatrix", "sparray"])
def test_sparse_output(make, interface, dtype):
    # Catches CSR with wide or unsorted indices or stored zeros, and values unlike the dense ones.
    X = data(dtype=dtype)
    with config_context(sparse_interface=interface):
        Z = make(sparse_output=True).fit(X).transform(X)
    assert isinstance(Z, sp.csr_array if interface == "sparray" else sp.csr_matrix)
    assert Z.indices.dtype == Z.indptr.dtype == np.int32
    assert Z.dtype == X.dtype
    assert Z.has_sorted_indices and np.all(Z.data != 0)
    np.testing.assert_array_equal(Z.toarray(), make().fit(X).transform(X))


@each_estimator
def test_inverse_transform_and_score(make):
    # Catches a decoder without its bias, and a score that is averaged over batches or rows.
    X = data(3000)
    estimator = make().fit(X)
    Z = estimator.transform(X)
    X_hat = estimator.inverse_transform(Z)
    np.testing.assert_allclose(X_hat, Z @ estimator.components_ + estimator.decoder_bias_)
    for sparse in (sp.csr_array(Z), sp.csr_matrix(Z), sp.coo_array(Z)):
        np.testing.assert_allclose(estimator.inverse_transform(sparse), X_hat)
    np.testing.assert_allclose(estimator.inverse_transform(Z.tolist()), X_hat)
    np.testing.assert_allclose(estimator.inverse_transform(pd.DataFrame(Z)), X_hat)
    assert estimator.score(X) == pytest.approx(explained_variance(X, X_hat), abs=1e-12)
    shifted = make().fit(X + 1e5)
    expected = explained_variance(X + 1e5, shifted.inverse_transform(shifted.transform(X + 1e5)))
    assert shifted.score(X + 1e5) == pytest.approx(expected, abs=1e-6)


@each_autoencoder
def test_encoder_formula(make):
    # Catches fitted attributes that do not describe the model that transform uses (api.md).
    X = data()
    estimator = make(alpha=0.3) if make.args[0] is not TopKAutoencoder else make(k=16)
    estimator.fit(X)
    H = X - estimator.decoder_bias_
    if estimator.encoder_hidden is not None:
        H = np.maximum(H @ estimator.hidden_encoder_.T + estimator.hidden_bias_, 0)
    U, on = H @ estimator.encoder_.T, True
    if isinstance(estimator, GatedAutoencoder):
        on = U + estimator.gate_bias_ > 0
        U = U * np.exp(estimator.magnitude_log_scale_)
    expected = np.maximum(U + estimator.encoder_bias_, 0) * on
    np.testing.assert_allclose(estimator.transform(X), expected, atol=1e-10)


@each_estimator
def test_inverse_transform_refuses_other_shapes(make):
    # Catches codes of another model, and complex or text codes that are cast without a word.
    estimator = make().fit(data())
    for Z in (np.zeros((2, 6)), np.zeros(16), sp.csr_array(np.zeros((2, 5))), None):
        with pytest.raises(ValueError, match=r"\(n_samples, 16\) is needed"):
            estimator.inverse_transform(Z)
    for Z in (np.zeros((2, 16), dtype=complex), np.full((2, 16), "a")):
        with pytest.raises(TypeError, match="real numbers are needed"):
            estimator.inverse_transform(Z)


@each_estimator
@pytest.mark.parametrize("method", ["transform", "inverse_transform", "score"])
def test_use_before_fit(make, method):
    # Catches an AttributeError where a user forgot to fit.
    with pytest.raises(NotFittedError, match="not fitted"):
        getattr(make(), method)(data())


# ---------------------------------------------------------------------- reproducibility


@each_estimator
@pytest.mark.parametrize("dense_from", [skdict.encoders.DENSE_FROM, 2.0], ids=["", "sparse"])
def test_same_seed_same_bits_for_any_n_jobs(make, monkeypatch, many_cores, dense_from):
    # Catches sums whose order depends on threads; the problem is cut in several blocks everywhere.
    monkeypatch.setattr(skdict.encoders, "DENSE_FROM", dense_from)  # 2: every step is sparse
    monkeypatch.setattr(skdict.kernels.threads, "_SMALL", 0)
    monkeypatch.setattr(skdict.kernels.dense, "_SMALL", 0)
    X = data(3000, 48, dtype="float32")
    changes = {"n_components": 192, "batch_size": 1200, "max_iter": 2}
    one = make(n_jobs=1, **changes).fit(X)
    codes = one.transform(X)
    for n_jobs in (2, 3, None, 1):
        other = make(n_jobs=n_jobs, **changes).fit(X)
        assert_same_fit(one, other)
        np.testing.assert_array_equal(other.transform(X), codes)


WITH_ENCODER = [TopKAutoencoder, SparseAutoencoder, GatedAutoencoder]


@pytest.fixture
def settings_of_fits(monkeypatch):
    """A list that every fit adds its settings to, instead of training."""
    seen = []

    def train(state, feed, encoder, terms, settings, plan):
        seen.append(settings)
        state.step = plan.end
        yield skdict.training.Epoch(1.0, 1.0, 0, 0.0)

    monkeypatch.setattr(skdict.training, "train", train)
    return seen


@pytest.mark.parametrize("cls", WITH_ENCODER)
@pytest.mark.parametrize(
    ("n_rows", "max_iter", "expected"),
    [(16, 2, 1.0), (24 * 4, 2, 1.0), (48 * 4, 2, 0.5), (24 * 40, 3, 0.1), (16, 1, 0.0)],
)
def test_weight_decay_of_a_fit(cls, settings_of_fits, n_rows, max_iter, expected):
    # Catches a decay that does not fall with the number of steps of a pass, or that a single pass
    # has, and a scale that does not follow the number of features.
    sae = cls(5, batch_size=4, max_iter=max_iter, weight_decay=0.3, random_state=0)
    sae.fit(data(n_rows, 9)).partial_fit(data(n_rows, 9))
    seen = [each.weight_decay for each in settings_of_fits]
    assert seen == pytest.approx([0.3 * 3 * expected, 0.0])


@pytest.mark.parametrize(
    ("n_components", "n_rows", "max_iter", "share"),
    [(1024, 48, 1, 1), (1025, 48, 1, 1), (6144, 24, 2, 0), (6144, 48, 2, 0.5), (8, 96, 2, 0.75)],
)
def test_automatic_learning_rate(settings_of_fits, n_components, n_rows, max_iter, share):
    # Catches a rate that rises with few latents, or falls where few samples are seen often.
    X = data(n_rows, 2)
    sae = TopKAutoencoder(n_components, batch_size=1, max_iter=max_iter, random_state=0)
    sae.fit(X).partial_fit(X).set_params(learning_rate=0.1, warm_start=True).fit(X)
    long = 0.0035 * min(1, 1024 / n_components) ** 0.6
    seen = [each.learning_rate for each in settings_of_fits]
    assert seen == pytest.approx([0.005 ** (1 - share) * long**share, long, 0.1])


def test_weight_decay_helps_on_few_samples():
    # Catches a decay without effect, or that of another parameter than the encoder.
    X, _, _ = make_superposition(900, 64, 32, 6, noise=0.1, random_state=0)
    scores = []
    for weight_decay in (0.0, 0.09):
        sae = TopKAutoencoder(256, k=6, weight_decay=weight_decay, max_iter=300, random_state=0)
        scores.append(sae.fit(X[:300]).score(X[300:]))
    assert scores[1] > scores[0] + 0.02


@pytest.mark.parametrize("cls", WITH_ENCODER)
def test_too_much_weight_decay_is_harmless(cls):
    # Catches an encoder that changes its sign, and grows, at every step.
    X = data(200, 16)
    sae = cls(8, weight_decay=1e6, max_iter=20, batch_size=20, random_state=0).fit(X)
    assert np.isfinite(sae.score(X)) and np.abs(sae.encoder_).max() < 1


@each_estimator
def test_numpy_scalars_change_no_bits(make):
    # Catches float32 data computed in the precision of a parameter, and a flag that is a np.bool.
    X = data(300, 8, dtype="float32")
    one = make(n_components=40, max_iter=8, learning_rate=0.003).fit(X)
    numpy = {
        name: np.array(value)[()]  # np.float64 or np.int64
        for name, value in one.get_params().items()
        if type(value) in (int, float)
    }
    assert {"learning_rate", "warmup", "decay"} <= set(numpy)
    assert_same_fit(one, make(**{**one.get_params(), **numpy}).fit(X))


@each_estimator
def test_seeds_matter(make):
    # Catches a seed that nothing reads.
    X = data()
    one, other = make(random_state=0).fit(X), make(random_state=1).fit(X)
    assert not np.allclose(one.components_, other.components_)
    again = make(random_state=np.random.RandomState(0)).fit(X)
    assert_same_fit(again, make(random_state=np.random.RandomState(0)).fit(X))


@each_estimator
def test_threads_of_joblib(make):
    # Catches state shared between fits that run at the same time, BLAS limits included.
    X = data(600, 20, dtype="float32")
    alone = make().fit(X)
    fits = joblib.Parallel(n_jobs=3, prefer="threads")(
        joblib.delayed(make().fit)(X) for _ in range(6)
    )
    for estimator in fits:
        assert_same_fit(estimator, alone)


# ---------------------------------------------------------------------- fit and partial_fit


@each_estimator
@few_examples
@given(shape=shapes, batch_size=st.integers(1, 40), warmup=st.integers(0, 4))
def test_one_partial_fit_is_one_pass_of_fit(make, shape, batch_size, warmup):
    # Catches two training loops that drift apart (api.md: equal to the bit).
    X = drawn(shape)
    shared = {"batch_size": batch_size, "warmup": warmup}
    once = make(**shared).partial_fit(X)
    assert_same_fit(once, make(max_iter=1, shuffle=False, decay=0, **shared).fit(X))


@each_estimator
@few_examples
@given(cut=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_cutting_a_later_block_changes_nothing(make, cut, seed):
    # Catches state that is lost, or taken afresh, between two calls of partial_fit.
    first, later = data(100, seed=seed), data(128, seed=seed + 1)
    whole = make().partial_fit(first).partial_fit(later)
    pieces = make().partial_fit(first).partial_fit(later[: 32 * cut]).partial_fit(later[32 * cut :])
    for name, value in fitted(whole).items():
        if name not in ("n_iter_", "history_", "loss_curve_"):  # these count the calls
            np.testing.assert_array_equal(getattr(pieces, name), value, err_msg=name)


@each_estimator
def test_partial_fit_continues_after_fit(make):
    # Catches a partial_fit that starts afresh: a model trained long hardly moves in one pass.
    X = data(300)
    long = make(max_iter=60).fit(X)
    further = copy.deepcopy(long).partial_fit(X)
    fresh = make(random_state=1).partial_fit(X)
    # The loss of the data about the atoms of another seed is far from that of the fitted model.
    assert abs(further.loss_curve_[-1] - long.loss_curve_[-1]) < 0.3 * abs(
        fresh.loss_curve_[-1] - long.loss_curve_[-1]
    )
    assert further.n_iter_ == long.n_iter_ + 1
    assert further.n_steps_ == long.n_steps_ + 10
    assert len(further.loss_curve_) == len(further.history_["loss"]) == further.n_iter_
    assert not np.array_equal(further.components_, long.components_)


@each_by_gradient
def test_partial_fit_holds_the_scale_of_fit(make):
    # Catches a small block after fit that redefines alpha's unit: one row has no spread at all.
    X = 100 * data()
    estimator = make().fit(X)
    before = copy.deepcopy(estimator)
    estimator.partial_fit(X[:1])
    assert getattr(estimator, "scale_", None) == getattr(before, "scale_", None)
    moved = np.abs(estimator.decoder_bias_ - before.decoder_bias_).max()
    assert 0 < moved < 0.01 * np.std(X) * np.sqrt(X.shape[1])


@each_by_gradient
def test_partial_fit_remembers_the_dead(make):
    # Catches latents that count as alive again because training was resumed.
    X = data()
    estimator = make().fit(X)
    silent = np.all(estimator.transform(X[:2]) == 0, axis=0)
    estimator.dead_latents_ = silent
    estimator.partial_fit(X[:2])
    assert silent.any()
    np.testing.assert_array_equal(estimator.dead_latents_, silent)


@each_estimator
def test_partial_fit_refuses_another_size(make):
    # Catches a change of n_components that is ignored, or ends in an error of numpy.
    X = data()
    for estimator in (make().fit(X), make().partial_fit(X)):
        before = joblib.hash(vars(estimator.set_params(n_components=20)))
        with pytest.raises(ValueError, match=r"n_components=20 differs from the 16"):
            estimator.partial_fit(X)
        assert_unchanged(estimator, before)


@each_estimator
def test_partial_fit_reads_the_first_block_for_scale(make):
    # Catches a centre or scale that later blocks move.
    first, later = data(), 50 * data(seed=1)
    estimator = make().partial_fit(first)
    scale = np.sqrt(np.mean((first - first.mean(axis=0)) ** 2))
    estimator.partial_fit(later)
    assert getattr(estimator, "scale_", scale) == pytest.approx(scale)


@each_by_gradient
def test_warm_start(make):
    # Catches a warm start that starts afresh, and a fit that goes on without being told.
    X = data(300)
    cold = make().fit(X)
    assert_same_fit(copy.deepcopy(cold).fit(X), cold)
    warm = copy.deepcopy(cold).set_params(warm_start=True, learning_rate=1e-9).fit(X)
    np.testing.assert_allclose(warm.components_, cold.components_, atol=1e-6)
    np.testing.assert_allclose(warm.decoder_bias_, cold.decoder_bias_, atol=1e-6)
    for changes, features in (({"n_components": 20}, 6), ({}, 5)):
        estimator = copy.deepcopy(warm).set_params(**changes)
        before = joblib.hash(vars(estimator))
        with pytest.raises(ValueError, match="call fit to start afresh"):
            estimator.fit(X[:, :features])
        assert_unchanged(estimator, before)


@each_estimator
def test_a_continued_model_takes_the_dtype_of_new_data(make):
    # Catches arrays of two precisions in one model.
    single, double = data(dtype="float32"), data()
    for estimator in (
        make(warm_start=True).fit(single).fit(double),
        make().fit(single).partial_fit(double),
    ):
        assert estimator.components_.dtype == estimator.transform(double).dtype == np.float64
    assert make(warm_start=True).fit(double).fit(single).transform(single).dtype == np.float32


# ---------------------------------------------------------------------- scale


BIASES = ("encoder_bias_", "decoder_bias_", "gate_bias_")


@each_estimator
@pytest.mark.parametrize("c", [4.0, 0.25, 3.7])
def test_scaled_data_scale_the_codes(make, c, dtype):
    # Catches a hyperparameter, an initial value or a constant that has a unit and is not scaled.
    X = data(300, dtype=dtype)
    one = make().fit(X)
    if make.args[0] is ThresholdCoder and c == 3.7:
        pytest.skip("rounding decides between nearly equal correlations, and atoms follow")
    in_units = {"alpha": one.alpha * c} if make.args[0] is LassoCoder else {}
    scaled = make(**in_units).fit(c * X)
    same = np.testing.assert_array_equal
    if c == 3.7:
        rtol = 1e-3 if dtype == "float32" else 1e-8
        same = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)  # noqa: E731
    factor = X.dtype.type(c)
    for name in ("components_", "encoder_", "magnitude_log_scale_"):
        if hasattr(one, name):
            same(getattr(scaled, name), getattr(one, name))
    for name in BIASES:
        if hasattr(one, name):
            same(getattr(scaled, name), factor * getattr(one, name))
    same(scaled.transform(c * X), factor * one.transform(X))


@pytest.mark.parametrize("c", [4.0, 0.25])
def test_residual_tol_is_in_units_of_X(c):
    # Catches a tolerance that training sees in other units than transform.
    X = data(300)
    one = small(MatchingPursuitCoder, k=None, residual_tol=0.8).fit(X)
    scaled = small(MatchingPursuitCoder, k=None, residual_tol=0.8 * c).fit(c * X)
    np.testing.assert_array_equal(scaled.components_, one.components_)
    np.testing.assert_array_equal(scaled.transform(c * X), c * one.transform(X))


@each_autoencoder
def test_scale_is_the_spread_about_column_means(make):
    # Catches a scale that a mean of the data inflates, and its absence where there is no spread.
    X = data()
    scale = make().fit(X + 1e3).scale_
    assert scale == pytest.approx(np.sqrt(np.mean((X - X.mean(axis=0)) ** 2)), rel=1e-9)
    assert make().fit(np.full((5, 3), 7.0)).scale_ == 1


# ---------------------------------------------------------------------- copies and containers


@each_estimator
def test_copies(make):
    # Catches fitted state that does not survive pickling, and a clone that keeps some.
    X = data()
    estimator = make(k=2).fit(X) if hasattr(make(), "k") else make().fit(X)
    codes = estimator.transform(X)
    for again in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
        assert_same_fit(again, estimator)
        np.testing.assert_array_equal(again.transform(X), codes)
    fresh = clone(estimator)
    assert fresh.get_params() == estimator.get_params() and not fitted(fresh)
    # Training can go on in a copy, and leaves the original alone.
    running = make().partial_fit(X)
    before = joblib.hash(vars(running))
    resumed = pickle.loads(pickle.dumps(running)).partial_fit(X)
    assert_unchanged(running, before)
    assert_same_fit(resumed, running.partial_fit(X))


@each_estimator
def test_partial_fit_leaves_arrays_that_were_handed_out(make):
    # Catches training in place in an array that a user took from the estimator.
    X = data()
    estimator = make().partial_fit(X)
    taken = estimator.components_, estimator.decoder_bias_
    before = joblib.hash(taken)
    estimator.partial_fit(X)
    assert joblib.hash(taken) == before


@each_estimator
def test_pickle_holds_no_optimiser(make):
    # Catches moments of Adam in a pickle: they would triple it.
    X = data(200, 40, dtype="float32")
    estimator = make(n_components=200).partial_fit(X)
    running = len(pickle.dumps(estimator))
    arrays = sum(
        value.nbytes for value in vars(estimator.fit(X)).values() if hasattr(value, "ndim")
    )
    size = len(pickle.dumps(estimator))
    assert size < arrays + 5000 and size < running / 2


@each_estimator
def test_fit_keeps_parameters_and_data(make):
    # Catches a fit that writes to its constructor parameters or to the caller's X.
    X = data()
    before = X.copy()
    estimator = make()
    params = estimator.get_params()
    estimator.fit(X).partial_fit(X).score(X)
    np.testing.assert_array_equal(X, before)
    assert estimator.get_params() == params


@each_estimator
def test_data_frames_in_and_out(make):
    # Catches lost index or column names, and codes that differ between containers.
    X = data()
    frame = pd.DataFrame(X, columns=list("abcdef"), index=np.arange(len(X)) + 7)
    codes = make().fit(X).transform(X)
    names = [f"{make.args[0].__name__.lower()}{j}" for j in range(16)]
    estimator = make().set_output(transform="pandas").fit(frame)
    out = estimator.transform(frame)
    assert list(out.columns) == names == list(estimator.get_feature_names_out())
    assert list(out.index) == list(frame.index)
    np.testing.assert_array_equal(out, codes)
    assert list(estimator.feature_names_in_) == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        estimator.transform(frame[list("fedcba")])
    out = make().set_output(transform="polars").fit_transform(pl.from_pandas(frame))
    assert isinstance(out, pl.DataFrame) and out.columns == names
    np.testing.assert_array_equal(out.to_numpy(), codes)


@each_estimator
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_data_frames_hold_no_sparse_codes(make, container):
    # Catches an error that does not say what to change.
    estimator = make(sparse_output=True).set_output(transform=container)
    with pytest.raises(ValueError, match=f"{container} cannot.*Set sparse_output=False"):
        estimator.fit(data()).transform(data())
    assert sp.issparse(estimator.set_output(transform="default").transform(data()))


@each_estimator
def test_memory_layouts(make, tmp_path):
    # Catches kernels that assume contiguous, writeable rows.
    X = data(dtype="float32")
    reference = make().fit(X)
    path = tmp_path / "X.npy"
    np.save(path, X)
    spread = np.zeros((len(X), 12), dtype=X.dtype)
    spread[:, ::2] = X
    memmap = np.load(path, mmap_mode="r")
    for same in (memmap, np.asfortranarray(X), spread[:, ::2], X[::-1].copy()[::-1]):
        estimator = make().fit(same)
        assert_same_fit(estimator, reference)
        np.testing.assert_array_equal(estimator.transform(same), reference.transform(X))
        assert_same_fit(make().partial_fit(same), make().partial_fit(X))
        assert estimator.score(same) == reference.score(X)


@each_estimator
def test_dtypes(make):
    # Catches float16 that is computed in float16 or float64, and integers that are not float64.
    X = data()
    half = X.astype(np.float16)
    assert_same_fit(make().fit(half), make().fit(half.astype(np.float32)))
    assert make().fit(half).transform(half).dtype == np.float32
    integers = np.round(8 * X).astype(np.int16)
    assert_same_fit(make().fit(integers), make().fit(integers.astype(np.float64)))
    assert_same_fit(make().fit(integers > 0), make().fit((integers > 0).astype(np.float64)))
    for dtype in (np.float32, np.float64):
        estimator = make().fit(X.astype(dtype))
        for name in ("components_", "decoder_bias_"):
            assert getattr(estimator, name).dtype == dtype
        assert estimator.transform(X.astype(dtype)).dtype == dtype


# ---------------------------------------------------------------------- small and odd data


def odd_data():
    X = data()
    constant_column = X.copy()
    constant_column[:, 2] = 3.0
    return {
        "one row": X[:1],
        "two equal rows": X[[0, 0]],
        "one feature": X[:, :1],
        "constant": np.full((20, 4), 0.1),
        "zeros": np.zeros((20, 4)),
        "one constant column": constant_column,
        "tiny": 1e-170 * X,
        "huge": 1e100 * X,
    }


@each_estimator
@pytest.mark.parametrize("kind", list(odd_data()))
def test_odd_data(make, kind):
    # Catches a division by zero, an overflow, or an index out of range.
    X = odd_data()[kind]
    for estimator in (make().fit(X), make().partial_fit(X)):
        Z = estimator.transform(X)
        assert Z.shape == (len(X), 16) and np.isfinite(Z).all()
        assert np.isfinite(estimator.inverse_transform(Z)).all()
        assert all(np.isfinite(value).all() for value in map(np.asarray, params_of(estimator)))
    constant = kind in ("one row", "two equal rows", "constant", "zeros")
    assert np.isnan(estimator.score(X)) == constant


@pytest.mark.parametrize("cls", WITH_ENCODER)
@pytest.mark.parametrize("factor", [1e-170, 1e160])
def test_score_does_not_depend_on_the_unit(cls, factor):
    # Catches squares that overflow or vanish.
    X = data(60, 8)
    sae = cls(40, max_iter=3, random_state=0)
    expected = sae.fit(X).score(X)
    assert sae.fit(factor * X).score(factor * X) == pytest.approx(expected, rel=1e-6)


def params_of(estimator):
    return [value for name, value in fitted(estimator).items() if name not in ("history_",)]


# ---------------------------------------------------------------------- parameters


@pytest.mark.parametrize("cls", [TopKAutoencoder, MatchingPursuitCoder])
def test_k_above_n_components(cls):
    # Catches a clip without a warning, with several, or with one at transform.
    X = data()
    estimator = small(cls, n_components=5, k=9)
    with pytest.warns(UserWarning, match=f"{cls.__name__}: k=9 exceeds n_components=5") as seen:
        estimator.fit(X)
    assert len(seen) == 1 and seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codes = estimator.transform(X)
        estimator.score(X)
        assert_same_fit(estimator, small(cls, n_components=5, k=5).fit(X))
    np.testing.assert_array_equal(codes, small(cls, n_components=5, k=5).fit(X).transform(X))
    assert estimator.k == 9
    with pytest.warns(UserWarning, match="exceeds") as seen:
        clone(estimator).partial_fit(X).partial_fit(X)
    assert len(seen) == 1


@each_estimator
def test_n_components_auto(make):
    # Catches another default width than 4 x n_features.
    assert make(n_components="auto").fit(data()).components_.shape == (24, 6)


@each_by_gradient
def test_n_iter_and_early_stopping(make):
    # Catches stopping rules that stop too late, too early, or although they are off.
    X = data()
    assert make(max_iter=7).fit(X).n_iter_ == 7
    patient = {"max_no_improvement": 2, "max_iter": 50, "decay": 0.2}
    stopped = make(tol=1.0, **patient).fit(X)  # no pass can improve by 100 %
    assert stopped.n_iter_ < 20 and stopped.n_steps_ < 20 * 4
    assert make(tol=1.0, max_iter=50, decay=0.2).fit(X).n_iter_ == 50
    # The rate falls to zero at once instead of at the end.
    rates = stopped.history_["learning_rate"]
    assert rates[-1] < 0.2 * rates.max()


@each_estimator
def test_history(make):
    # Catches histories whose parts have different lengths, or are not numbers of the fit.
    estimator = make().fit(data())
    names = {"loss", "l0", "dead", "learning_rate", "explained_variance"}
    assert set(estimator.history_) == names
    assert {len(values) for values in estimator.history_.values()} == {estimator.n_iter_}
    assert estimator.loss_curve_ == estimator.history_["loss"].tolist()
    assert np.all((estimator.history_["l0"] >= 0) & (estimator.history_["l0"] <= 16))


@each_estimator
def test_verbose_prints_lines(make, capsys):
    # Catches silence where a user asked for progress, and noise where not.
    estimator = make(verbose=1, max_iter=3).fit(data())
    (line,) = capsys.readouterr().out.splitlines()  # one: it is over in less than ten seconds
    assert line.startswith(f"[{make.args[0].__name__}] epoch 3, step {estimator.n_steps_}/")
    for figure in ("rows/s", "loss", "explained", "L0", "dead", "left"):
        assert figure in line
    make().fit(data())
    assert capsys.readouterr().out == ""


BAD_SHARED = [
    ("n_components", 0),
    ("n_components", "many"),
    ("batch_size", 0),
    ("max_iter", 0),
    ("learning_rate", 0),
    ("learning_rate", -1e-3),
    ("learning_rate", np.nan),
    ("learning_rate", np.inf),
    ("warmup", -1),
    ("decay", 1.5),
    ("tol", -1),
    ("max_no_improvement", 0),
    ("dead_after", 0),
    ("shuffle", "no"),
    ("warm_start", "no"),
    ("random_state", "seed"),
    ("n_jobs", "two"),
    ("sparse_output", "yes"),
]
BAD_OWN = [
    (TopKAutoencoder, "k", 0),
    (TopKAutoencoder, "k", 1.5),
    (TopKAutoencoder, "k", None),
    (SparseAutoencoder, "alpha", -0.1),
    (SparseAutoencoder, "alpha", np.nan),
    (SparseAutoencoder, "penalty", "l7"),
    (SparseAutoencoder, "resample_dead", "no"),
    (GatedAutoencoder, "alpha", -0.1),
    (GatedAutoencoder, "resample_dead", "no"),
    (MatchingPursuitCoder, "k", 0),
    (MatchingPursuitCoder, "residual_tol", -1.0),
    (MatchingPursuitCoder, "algorithm", "simplex"),
    (MatchingPursuitCoder, "positive", "yes"),
    (MatchingPursuitCoder, "dictionary", 3),
    (MatchingPursuitCoder, "dictionary", "atoms"),
    (MatchingPursuitCoder, "offset", "mean"),
    (MatchingPursuitCoder, "dict_init", "atoms"),
]


def assert_refuses(estimator, call, error, match):
    """`call` raises, changes nothing, and leaves the earlier fit usable."""
    before = joblib.hash(vars(estimator))
    with pytest.raises(error, match=match):
        call(estimator)
    assert_unchanged(estimator, before)
    if fitted(estimator):
        assert np.isfinite(estimator.transform(data())).all()


@each_estimator
@pytest.mark.parametrize("name, value", BAD_SHARED)
def test_bad_shared_parameters(make, name, value):
    # Catches a value that is out of range and found late, or reported without names.
    message = rf"(?s)'{name}' parameter of {make.args[0].__name__} must be .* Got "
    refused = (ValueError, TypeError)
    for estimator in (make(**{name: value}), make().fit(data()).set_params(**{name: value})):
        before = joblib.hash(vars(estimator))
        with pytest.raises(refused, match=message):
            estimator.fit(data())
        assert_unchanged(estimator, before)


@pytest.mark.parametrize("cls, name, value", BAD_OWN)
def test_bad_own_parameters(cls, name, value):
    # The same for the parameters of one estimator.
    message = rf"(?s)'{name}' parameter of {cls.__name__} must be .* Got "
    estimator = small(cls).fit(data())
    before = joblib.hash(vars(estimator.set_params(**{name: value})))
    with pytest.raises(ValueError, match=message):
        estimator.fit(data())
    assert_unchanged(estimator, before)


def bad_data():
    X = data()
    poisoned = {name: X.copy() for name in ("nan", "inf")}
    poisoned["nan"][3, 2], poisoned["inf"][3, 2] = np.nan, -np.inf
    strings = np.full(X.shape, "a", dtype=object)
    return {
        "NaN": (poisoned["nan"], ValueError, "NaN"),
        "infinity": (poisoned["inf"], ValueError, "infinity"),
        "numbers as strings": (X.astype(str), ValueError, "Convert your data to numeric"),
        "strings": (strings, ValueError, "Encode them as numbers"),
        "strings in a frame": (pd.DataFrame(strings), ValueError, "Encode them as numbers|numeric"),
        "dates": (X.astype("M8[s]"), TypeError, "real numbers are needed"),
        "complex": (X + 0j, ValueError, "Complex data not supported"),
        "1-d": (X[0], ValueError, "(?s)Expected 2D array.*Reshape your data"),
        "3-d": (X[None], ValueError, "dim 3"),
        "no rows": (X[:0], ValueError, "minimum of 1 is required"),
        "no columns": (X[:, :0], ValueError, "minimum of 1 is required"),
        "CSR": (sp.csr_array(X), TypeError, "toarray"),
        "None": (None, ValueError, "Expected 2D array"),
    }


@each_estimator
@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "score"])
@pytest.mark.parametrize("kind", list(bad_data()))
def test_bad_data(make, method, kind):
    # Catches bad input that is noticed only after something was changed, or not at all.
    X, error, match = bad_data()[kind]
    for estimator in (make().fit(data()), make().partial_fit(data())):
        assert_refuses(estimator, lambda est: getattr(est, method)(X), error, match)
    if "fit" in method:
        assert_refuses(make(), lambda est: getattr(est, method)(X), error, match)


@each_estimator
@pytest.mark.parametrize("method", ["partial_fit", "transform", "score"])
def test_wrong_number_of_features(make, method):
    # Catches a broadcast where the data do not fit the model.
    match = f"X has 4 features, but {make.args[0].__name__} is expecting 6"
    for estimator in (make().fit(data()), make().partial_fit(data())):
        X = data(n_features=4)
        assert_refuses(estimator, lambda est: getattr(est, method)(X), ValueError, match)  # noqa: B023


@each_estimator
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_interrupted_training_leaves_the_earlier_fit(make, method, error, monkeypatch):
    # Catches a half-trained model after Ctrl-C, also one that only the next partial_fit would see.
    X = data(300)
    step, calls = skdict.training.train_step, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise error
        return step(*args, **kwargs)

    for estimator in (make(), make(warm_start=True).fit(X), make().partial_fit(X)):
        undisturbed = copy.deepcopy(estimator).partial_fit(X)
        # The optimiser's state changes in place: a pass that fails gives it up, not the model.
        kept = method == "fit" or getattr(estimator, "_state", None) is None
        before = {name: joblib.hash(a) for name, a in vars(estimator).items() if name != "_state"}
        calls.clear()
        with monkeypatch.context() as patched, pytest.raises(error):
            patched.setattr(skdict.training, "train_step", interrupted)
            getattr(estimator, method)(X)
        assert len(calls) == 4
        after = {name: joblib.hash(a) for name, a in vars(estimator).items() if name != "_state"}
        assert after == before
        assert kept or "_state" not in vars(estimator)
        estimator.partial_fit(X)
        if kept:
            assert_same_fit(estimator, undisturbed)


@pytest.mark.parametrize("cls", WITH_ENCODER)
def test_divergence_is_as_silent_on_threads(cls, monkeypatch, many_cores):
    # Catches numpy's own noise from worker threads, which do not inherit what is to be ignored.
    monkeypatch.setattr(skdict.kernels.threads, "_SMALL", 0)
    monkeypatch.setattr(skdict.kernels.dense, "_SMALL", 0)
    X = data(600, 16, dtype="float32")
    for n_jobs in (1, 2):
        estimator = cls(40, learning_rate=1e25, warmup=0, batch_size=300, n_jobs=n_jobs)
        with pytest.warns(ConvergenceWarning) as seen:
            estimator.fit(X)
        assert len(seen) == 1


@pytest.mark.parametrize("cls", WITH_ENCODER)
def test_divergence_kills_no_latents(cls):
    # Catches a count of silence that is of the pass that was undone.
    X = data(400, 16)
    estimator = cls(40, batch_size=100, dead_after=200, max_iter=3, random_state=0).partial_fit(X)
    dead = estimator.dead_latents_.copy()
    with pytest.warns(ConvergenceWarning):
        estimator.set_params(learning_rate=1e300).partial_fit(X)
    np.testing.assert_array_equal(estimator.dead_latents_, dead)


@each_by_gradient
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_divergence_leaves_a_finite_model(make, method, dtype):
    # Catches NaN in a model, a message without the way out, and numpy's own noise beside it.
    X = data(dtype=dtype)
    estimator = make(learning_rate=1e300, warmup=0)
    message = rf"{make.args[0].__name__}: .*step \d+ at learning_rate=1e\+300.* Lower learning_rate"
    with pytest.warns(ConvergenceWarning, match=message) as seen:
        getattr(estimator, method)(X)
    assert len(seen) == 1 and seen[0].filename == __file__
    assert all(np.isfinite(value).all() for value in map(np.asarray, params_of(estimator)))
    assert np.isfinite(estimator.transform(X)).all()
    # Training can go on from there at a lower rate.
    estimator.set_params(learning_rate=1e-3).partial_fit(X)
    assert np.isfinite(estimator.score(X))


# ---------------------------------------------------------------------- in scikit-learn


GRIDS = [
    (TopKAutoencoder, {"k": [2, 4]}),
    (SparseAutoencoder, {"alpha": [0.1, 1.0]}),
    (GatedAutoencoder, {"alpha": [0.1, 1.0]}),
    (MatchingPursuitCoder, {"k": [2, 4], "algorithm": ["omp", "mp"]}),
]


@pytest.mark.parametrize("cls, grid", GRIDS, ids=[cls.__name__ for cls, _ in GRIDS])
def test_grid_search_in_a_pipeline(cls, grid):
    # Catches estimators that do not clone, pickle or take parameters in a worker process.
    X, y = load_digits(return_X_y=True)
    pipeline = Pipeline(
        [
            ("scale", StandardScaler(with_std=False)),
            ("sae", small(cls, n_components=64, max_iter=3)),
            ("classify", LogisticRegression(max_iter=300)),
        ]
    )
    grid = {f"sae__{name}": values for name, values in grid.items()}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise")
    search.fit(X[:400], y[:400])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.5
    # Results do not depend on the process they were computed in.
    alone = GridSearchCV(pipeline, grid, cv=2, n_jobs=None).fit(X[:400], y[:400])
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )


def test_early_stopping_waits_for_the_penalty():
    # Catches a rising alpha, and with it a rising loss, taken for an end of the improvement.
    X = data(64)
    shared = {"batch_size": 64, "warmup": 60, "max_iter": 300, "max_no_improvement": 2}
    sae = small(SparseAutoencoder, alpha=1.0, **shared).fit(X)
    assert sae.n_steps_ > 60 + 0.2 * 300


@each_estimator
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_foreign_byte_order(make, dtype):
    # Catches another precision, or other numbers, for arrays that were written on another machine.
    X = data(dtype=dtype)
    foreign = X.astype(X.dtype.newbyteorder())
    assert_same_fit(make().fit(foreign), make().fit(X))
    assert make().fit(foreign).transform(foreign).dtype == dtype


@each_estimator
def test_no_jobs_is_refused(make):
    # Catches a message that leaves out what to choose.
    name = make.args[0].__name__
    with pytest.raises(ValueError, match=rf"'n_jobs' parameter of {name} must be .* Got 0"):
        make(n_jobs=0).fit(data())
    with pytest.raises(ValueError, match=r"n_jobs=0 .* Choose 1 or more, -1 .* or None"):
        make().fit(data()).set_params(n_jobs=0).transform(data())
