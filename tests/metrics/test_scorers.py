"""What is scored: which codes, which reconstruction, and what is left out."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, KernelPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, Normalizer, StandardScaler

from skdict import MatchingPursuitCoder, SparseAutoencoder, TopKAutoencoder, metrics
from skdict.metrics import (
    codes_scorer,
    dead_fraction,
    explained_variance,
    gini,
    mean_l0,
    sparsity,
    sparsity_scorer,
)

X, y = load_digits(return_X_y=True)
X, y = X[:300] / 16, y[:300]


def topk(**parameters):
    return TopKAutoencoder(24, **{"k": 3, "max_iter": 4, "random_state": 0, **parameters})


@pytest.fixture(scope="module")
def fitted():
    return topk().fit(X)


class Codes(TransformerMixin, BaseEstimator):
    """Codes that were chosen beforehand."""

    def __init__(self, Z):
        self.Z = Z

    def transform(self, X):
        return self.Z

    def inverse_transform(self, Z):
        return np.zeros((Z.shape[0], 2))


class Counting(TopKAutoencoder):
    """Counts how often it encodes."""

    def transform(self, X):
        self.n_encodes = getattr(self, "n_encodes", 0) + 1
        return super().transform(X)


@pytest.mark.parametrize("name", sparsity.MEASURES)
@pytest.mark.parametrize("axis", [0, 1])
def test_mean_of_the_measure_where_it_is_defined(name, axis, fitted):
    # Catches a mean over the flattened matrix, the wrong axis, and NaN counted as a number.
    Z = fitted.transform(X)
    Z[:7] = 0
    Z[:, 3] = 0
    values = sparsity.MEASURES[name](Z, axis=axis)
    defined = values[~np.isnan(values)]
    sign = -1 if "shannon" in name else 1
    scorer = sparsity_scorer(name, axis=axis)
    found, n_undefined = scorer.of_codes(Z)
    assert_allclose(found, sign * defined.mean(), rtol=1e-12)
    assert n_undefined == values.size - defined.size
    assert scorer(Codes(Z), X) == scorer(Codes(Z), X, y) == found
    assert_allclose(scorer(Codes(sp.csr_array(Z)), X), found, rtol=1e-12)


@pytest.mark.parametrize(
    "name", [n for n in sparsity.MEASURES if n not in ("entropy_gaussian", "neg_lp_minus")]
)
def test_bigger_is_better(name):
    # Catches an entropy that is not turned round: one entry against eight of the same energy.
    sparse, dense = np.zeros((4, 8)), np.full((4, 8), 8**-0.5)
    sparse[:, 2] = 1
    if name == "u_theta":  # undefined on constant vectors
        dense = np.tile(np.linspace(0.1, 1, 8), (4, 1))
    scorer = sparsity_scorer(name)
    better, worse = scorer.of_codes(sparse)[0], scorer.of_codes(dense)[0]
    assert better > worse


@pytest.mark.parametrize("name", ["entropy_shannon", "entropy_shannon_modified"])
def test_negated_entropies_have_two_spellings(name, fitted):
    # Catches a prefix that turns the sign twice.
    plain, prefixed = sparsity_scorer(name), sparsity_scorer(f"neg_{name}")
    assert (
        plain(fitted, X)
        == prefixed(fitted, X)
        == -sparsity.MEASURES[name](fitted.transform(X)).mean()
    )
    assert plain.name == prefixed.name == f"neg_{name}"


def test_mean_over_none_is_undefined():
    # Catches 0 for codes that are all zero, the densest value that Gini has.
    scorer = sparsity_scorer("gini")
    value, n_undefined = scorer.of_codes(np.zeros((5, 3)))
    assert np.isnan(value) and n_undefined == 5
    scores = codes_scorer(["gini", "n_zeros"])(Codes(sp.csr_array((5, 3))), np.eye(5)[:, :2])
    assert np.isnan(scores["gini"]) and scores["neg_n_undefined_gini"] == -5
    assert scores["n_zeros"] == 3 and scores["neg_n_undefined_n_zeros"] == 0
    assert scores["neg_dead_fraction"] == -1 and scores["neg_mean_l0"] == 0


@pytest.mark.parametrize("sparse_output", [False, True])
def test_all_scores_come_from_one_encode(sparse_output):
    # Catches an encode per score, and scores that differ between array and CSR.
    estimator = Counting(24, k=3, max_iter=3, random_state=0, sparse_output=sparse_output).fit(X)
    scores = codes_scorer(["gini", sparsity_scorer("pq_mean", p=0.25, q=1.5)])(estimator, X)
    assert estimator.n_encodes == 1
    Z = estimator.transform(X)
    assert scores == pytest.approx(
        {
            "explained_variance": explained_variance(X, estimator.inverse_transform(Z)),
            "neg_mean_l0": -mean_l0(Z),
            "neg_dead_fraction": -dead_fraction(Z),
            "gini": gini(Z).mean(),
            "neg_n_undefined_gini": 0,
            "pq_mean": metrics.pq_mean(Z, p=0.25, q=1.5).mean(),
            "neg_n_undefined_pq_mean": 0,
        }
    )
    assert scores["explained_variance"] == pytest.approx(estimator.score(X))


def test_pipeline_scores_in_the_space_of_x():
    # Catches errors that are measured after the scaler, where columns weigh otherwise.
    pipeline = make_pipeline(PCA(20), topk()).fit(X)
    Z = pipeline.transform(X)
    scores = codes_scorer()(pipeline, X)
    assert scores["explained_variance"] == pytest.approx(
        explained_variance(X, pipeline.inverse_transform(Z))
    )
    assert scores["gini"] == pytest.approx(gini(Z).mean())
    inner = explained_variance(pipeline[0].transform(X), pipeline[1].inverse_transform(Z))
    assert scores["explained_variance"] < inner


@pytest.mark.parametrize("last", [LogisticRegression(max_iter=500), LinearDiscriminantAnalysis()])
def test_codes_are_those_that_reach_the_classifier(last):
    # Catches codes taken before a later step, or from a classifier that transforms as well.
    pipeline = make_pipeline(PCA(20), topk(), MaxAbsScaler(), last).fit(X, y)
    Z = pipeline[:-1].transform(X)
    assert Z.shape[1] == 24
    assert sparsity_scorer("neg_l1")(pipeline, X, y) == pytest.approx(metrics.neg_l1(Z).mean())
    assert codes_scorer()(pipeline, X, y)["explained_variance"] == pytest.approx(
        explained_variance(X, pipeline[:-1].inverse_transform(Z))
    )


def test_without_inverse_transform_the_space_is_that_of_the_coder():
    # Catches a crash, or errors in the space of some other step (PCA has components_, too).
    steps = Normalizer(), PCA(20), topk(), Normalizer(norm="max"), LogisticRegression()
    pipeline = make_pipeline(*steps).fit(X, y)
    scores = codes_scorer(["neg_l1"])(pipeline, X, y)
    reaching = pipeline[:2].transform(X)
    assert scores["explained_variance"] == pytest.approx(pipeline[2].score(reaching))
    assert scores["neg_l1"] == pytest.approx(metrics.neg_l1(pipeline[:4].transform(X)).mean())


def test_text_and_sparse_data():
    # Catches explained variance asked of strings, and of sparse X.
    words = "sparse dense code atom unit gini norm vector matrix".split()
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, size=6)) for _ in range(60)]
    pipeline = make_pipeline(TfidfVectorizer(), TruncatedSVD(5), topk()).fit(texts)
    scores = codes_scorer()(pipeline, texts)
    reaching = pipeline[:2].transform(texts)
    assert scores["explained_variance"] == pytest.approx(pipeline[2].score(reaching))
    counts = pipeline[0].transform(texts)
    rest = pipeline[1:]
    assert codes_scorer()(rest, counts)["explained_variance"] == pytest.approx(
        explained_variance(counts.toarray(), rest.inverse_transform(rest.transform(counts)))
    )


@pytest.mark.parametrize("first", [SimpleImputer(), KernelPCA(12)], ids=str)
def test_an_inverse_that_fails_is_none(first):
    # Catches scores that are lost because a step has inverse_transform and refuses to do it.
    pipeline = make_pipeline(first, topk()).fit(X)
    scores = codes_scorer()(pipeline, X)
    reaching = pipeline[:1].transform(X)
    assert scores["explained_variance"] == pytest.approx(pipeline[1].score(reaching))


def test_missing_values_before_an_imputer():
    # Catches explained variance asked of NaN, in place of what the imputer makes of it.
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    pipeline = make_pipeline(SimpleImputer(add_indicator=True), topk()).fit(holes)
    scores = codes_scorer()(pipeline, holes)
    reaching = pipeline[:1].transform(holes)
    assert scores["explained_variance"] == pytest.approx(pipeline[1].score(reaching))


def test_a_function_without_inverse_is_not_its_own_inverse():
    # Catches X compared with a reconstruction of its logarithm.
    blind, seeing = (
        make_pipeline(FunctionTransformer(np.log1p, inverse_func=inverse), topk()).fit(X)
        for inverse in (None, np.expm1)
    )
    scores = codes_scorer()(blind, X), codes_scorer()(seeing, X)
    assert scores[0]["explained_variance"] == pytest.approx(blind[1].score(np.log1p(X)))
    assert scores[1]["explained_variance"] == pytest.approx(
        explained_variance(X, seeing.inverse_transform(seeing.transform(X)))
    )


def test_without_any_reconstruction():
    # Catches L0 and Gini that get lost with explained variance.
    pipeline = make_pipeline(Normalizer()).fit(X)
    with pytest.warns(UserWarning, match=r"\['Normalizer'\] has an inverse_transform"):
        scores = codes_scorer()(pipeline, X)
    assert np.isnan(scores["explained_variance"])
    assert scores["gini"] == pytest.approx(gini(X).mean())


def test_a_pipeline_without_a_coder_is_noticed():
    # Catches the perfect score of a scaler that reconstructs all it was given.
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(X, y)
    with pytest.warns(UserWarning, match="before LogisticRegression has a dictionary"):
        codes_scorer()(pipeline, X, y)


def test_a_coder_inside_the_last_step():
    # Catches scores of what reaches a search, when the coder is in the search.
    inner = make_pipeline(topk(), LogisticRegression(max_iter=300))
    search = GridSearchCV(inner, {"topkautoencoder__k": [1, 2]}, cv=2)
    target = TransformedTargetRegressor(make_pipeline(topk(k=1), Ridge()))
    for last in (search, target):
        outer = make_pipeline(PCA(20), last).fit(X, y)
        scores = codes_scorer()(outer, X)
        opened = outer[1].best_estimator_ if last is search else outer[1].regressor_
        Z = opened[0].transform(outer[0].transform(X))
        assert scores["neg_mean_l0"] == -mean_l0(Z)
        X_hat = outer[0].inverse_transform(opened[0].inverse_transform(Z))
        assert scores["explained_variance"] == pytest.approx(explained_variance(X, X_hat))


def test_nested_and_wrapped(fitted):
    # Catches a pipeline in a pipeline, a step that is switched off, a frozen coder, a search.
    expected = codes_scorer()(fitted, X)
    inner = make_pipeline("passthrough", FrozenEstimator(fitted), LogisticRegression())
    nested = Pipeline([("nothing", None), ("inner", inner)]).fit(X, y)
    assert codes_scorer()(nested, X) == expected
    search = GridSearchCV(inner, {"logisticregression__C": [1.0]}, cv=2).fit(X, y)
    assert codes_scorer()(search, X) == expected


def test_data_frames():
    # Catches columns that get lost between X and its reconstruction.
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])
    pipeline = make_pipeline(StandardScaler(), topk()).set_output(transform="pandas").fit(frame)
    plain = make_pipeline(StandardScaler(), topk()).fit(X)
    assert codes_scorer()(pipeline, frame) == pytest.approx(codes_scorer()(plain, X))


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("target", [None, y], ids=["y=None", "y"])
def test_in_searches(target, n_jobs):
    # Catches scorers that cannot be pickled, or that need y.
    grid = [
        {"codes": [topk()], "codes__k": [2, 6]},
        {"codes": [SparseAutoencoder(24, max_iter=3, random_state=0)], "codes__alpha": [0.1, 0.4]},
        {"codes": [MatchingPursuitCoder(24, k=3, max_iter=2, random_state=0, sparse_output=True)]},
    ]
    steps = [("scale", StandardScaler()), ("codes", topk())]
    if target is not None:
        steps.append(("classify", LogisticRegression(max_iter=300)))
    scoring = codes_scorer({"population": "gini", "lifetime": sparsity_scorer("gini", axis=0)})
    search = GridSearchCV(
        Pipeline(steps), grid, scoring=scoring, refit="population", cv=2, n_jobs=n_jobs
    ).fit(X, target)
    results = search.cv_results_
    assert np.isfinite(results["mean_test_explained_variance"]).all()
    assert results["mean_test_neg_mean_l0"][0] == -2
    assert results["mean_test_population"][0] == results["mean_test_population"].max()
    single = GridSearchCV(
        Pipeline(steps), grid[0], scoring=sparsity_scorer("gini"), cv=2, n_jobs=n_jobs
    ).fit(X, target)
    assert single.best_params_["codes__k"] == 2


def test_scorers_survive_copies(fitted):
    # Catches closures and lambdas.
    for scorer in (sparsity_scorer("pq_mean", p=0.3, q=3), codes_scorer(["hoyer", "gini"])):
        again = pickle.loads(pickle.dumps(scorer))
        assert again(fitted, X) == scorer(fitted, X)
        assert eval(repr(scorer))(fitted, X) == scorer(fitted, X)
    found = cross_validate(clone(fitted), X, scoring=codes_scorer(["hoyer"]), cv=2)
    assert {"test_hoyer", "test_explained_variance", "test_neg_mean_l0"} <= set(found)


def test_what_a_tired_user_types(fitted):
    # Catches an error that comes only when the search is over.
    with pytest.raises(ValueError, match="name='ginni' is unknown"):
        sparsity_scorer("ginni")
    with pytest.raises(ValueError, match="'ginni' is unknown"):
        codes_scorer(["ginni"])
    with pytest.raises(ValueError, match="axis=2"):
        sparsity_scorer("gini", axis=2)
    with pytest.raises(ValueError, match="pq_mean: p=3"):
        sparsity_scorer("pq_mean", p=3, q=2)
    with pytest.raises(TypeError, match="theta"):
        sparsity_scorer("gini", theta=0.5)
    with pytest.raises(ValueError, match="twice"):
        codes_scorer(["gini", sparsity_scorer("gini", axis=0)])
    with pytest.raises(ValueError, match="neg_n_undefined_a"):
        codes_scorer({"a": "gini", "neg_n_undefined_a": "hoyer"})
    with pytest.raises(TypeError, match="key 1"):
        codes_scorer({1: "gini"})
    with pytest.raises(TypeError, match="codes_scorer: measures=5"):
        codes_scorer(5)
    with pytest.raises(TypeError, match="is no string"):
        sparsity_scorer(gini)
    with pytest.raises(ValueError, match=r"\['neg_mean_l0'\] would occur twice"):
        codes_scorer({"neg_mean_l0": "gini"})
    assert set(codes_scorer("gini")(fitted, X)) == set(codes_scorer(["gini"])(fitted, X))
    for nothing in (LogisticRegression().fit(X, y), make_pipeline(LogisticRegression()).fit(X, y)):
        with pytest.raises(TypeError, match=r"sparsity_scorer: .* has no step with a transform"):
            sparsity_scorer("gini")(nothing, X)
