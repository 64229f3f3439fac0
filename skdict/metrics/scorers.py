"""Scorers: what is measured on the codes that a fitted estimator gives for other data.

A scorer is called as ``scorer(estimator, X, y=None)`` and can be `scoring=` of scikit-learn's
searches and cross-validation. Bigger is better for all of them.
"""

import contextlib
import math
import warnings
from collections.abc import Iterable, Mapping

import numpy as np
from scipy.sparse import issparse
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skdict.backend import is_array_api_obj, namespace, to_numpy
from skdict.metrics._checks import undefined
from skdict.metrics.sparsity import MEASURES
from skdict.metrics.usage import dead_fraction, explained_variance, mean_l0

# The paper prints these so that denser codes have the larger value.
NEGATED = ("entropy_shannon", "entropy_shannon_modified")
ALWAYS = ("explained_variance", "neg_mean_l0", "neg_dead_fraction")  # in a dict of scores


class SparsityScorer:
    """Result of :func:`sparsity_scorer`."""

    def __init__(self, name, axis, parameters):
        self.name, self.axis, self.parameters = name, axis, parameters

    def __call__(self, estimator, X, y=None):
        """Mean of the measure over the rows or columns of the codes of X where it is defined."""
        return self.of_codes(encoded("sparsity_scorer", estimator, X).codes)[0]

    def of_codes(self, Z):
        """Mean over the vectors of Z on which the measure is defined, and the number of others.

        Returns
        -------
        mean : float
            NaN where it is defined on none.
        n_undefined : int
        """
        values = to_numpy(self._measure()(Z, axis=self.axis, **self.parameters))
        defined = values[~np.isnan(values)]
        mean = float(np.mean(defined)) if defined.size else math.nan
        return (-mean if self.is_negated else mean), values.size - defined.size

    @property
    def is_negated(self):
        return self.name.removeprefix("neg_") in NEGATED

    def _measure(self):
        return MEASURES[self.name.removeprefix("neg_") if self.is_negated else self.name]

    def __repr__(self):
        parameters = "".join(f", {key}={value!r}" for key, value in self.parameters.items())
        return f"sparsity_scorer({self.name!r}, axis={self.axis}{parameters})"


def sparsity_scorer(name, *, axis=1, **parameters):
    r"""Make a scorer of the sparsity of an estimator's codes.

    Parameters
    ----------
    name : str
        A measure of :mod:`skdict.metrics`: ``"gini"``, ``"hoyer"``, ``"pq_mean"`` and the others.
    axis : {1, 0}, default=1
        1 averages over samples (population sparseness), 0 over latents (lifetime sparseness).
    **parameters
        Of the measure, for example ``p=0.5, q=2``.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)`` returns the mean over the vectors where the measure is
        defined, and NaN where it is defined on none. ``scorer.of_codes(Z)`` returns that mean and
        the number of vectors that were left out. It can be pickled.

    Raises
    ------
    ValueError
        If `name` is unknown, or a parameter of the measure is out of range.
    TypeError
        If the measure has no such parameter.

    Notes
    -----
    Codes are what the estimator's ``transform`` returns, array or CSR; of a pipeline that ends in a
    predictor (a classifier, say) they are what reaches it. Bigger is better: the two Shannon
    entropies, which the paper prints so that they grow with density, are negated, and are then
    called ``"neg_entropy_shannon"`` and ``"neg_entropy_shannon_modified"``; either spelling is
    accepted. Measures that change with the unit of the codes compare candidates of one unit only.
    Where some of the scores averaged are infinite (``"entropy_gaussian"``), so is the mean.

    For all of scikit-learn's searches, the halving ones included.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdict import TopKAutoencoder
    >>> from skdict.metrics import sparsity_scorer
    >>> X = np.random.default_rng(0).standard_normal((60, 8))
    >>> autoencoder = TopKAutoencoder(n_components=16, max_iter=2, random_state=0)
    >>> search = GridSearchCV(autoencoder, {"k": [2, 8]}, scoring=sparsity_scorer("gini"), cv=2)
    >>> search.fit(X).best_params_
    {'k': 2}
    """
    measures = (*MEASURES, *(f"neg_{negated}" for negated in NEGATED))
    if not isinstance(name, str):
        raise TypeError(f"sparsity_scorer: name={name!r} is no string. Choose one of {measures}.")
    if name not in measures:
        raise ValueError(f"sparsity_scorer: name={name!r} is unknown. Choose one of {measures}.")
    scorer = SparsityScorer(f"neg_{name}" if name in NEGATED else name, axis, parameters)
    scorer.of_codes(np.ones((1, 3)))  # wrong parameters are told here, not after a search
    return scorer


class CodesScorer:
    """Result of :func:`codes_scorer`."""

    def __init__(self, measures):
        self.measures = measures

    def __call__(self, estimator, X, y=None):
        """All scores of the codes of X, from a single encode."""
        found = encoded("codes_scorer", estimator, X)
        found.warn_without_dictionary()
        scores = {
            "explained_variance": found.explained_variance(),
            "neg_mean_l0": 0.0 - mean_l0(found.codes),
            "neg_dead_fraction": 0.0 - dead_fraction(found.codes),
        }
        for key, scorer in self.measures.items():
            scores[key], n_undefined = scorer.of_codes(found.codes)
            scores[f"neg_n_undefined_{key}"] = -n_undefined
        return scores

    def __repr__(self):
        return f"codes_scorer({self.measures!r})"


def codes_scorer(measures=("gini",)):
    """Make a scorer that returns a dict: reconstruction, use and sparsity from a single encode.

    Parameters
    ----------
    measures : sequence of str or scorers, or dict, default=("gini",)
        Names of measures of :mod:`skdict.metrics`, or what :func:`sparsity_scorer` returns; a dict
        gives each the key that it has in the scores.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)`` returns a dict with ``"explained_variance"``,
        ``"neg_mean_l0"``, ``"neg_dead_fraction"``, and for each measure its mean where it is
        defined and, as ``"neg_n_undefined_<measure>"``, minus the number of vectors where it is
        not. Bigger is better for all. It can be pickled. As `scoring=` of a grid search it needs a
        `refit=`: one of the keys, or a rule such as :func:`skdict.model_selection.sparsest_within`.

    Raises
    ------
    ValueError
        If a measure is unknown or a key occurs twice.

    Notes
    -----
    **Which codes.** What ``transform`` returns; of a pipeline that ends in a predictor (a
    classifier, say), what reaches it. Dead is a latent that is zero on all of the X scored.

    **Explained variance of what.** Of the X given, whose reconstruction comes from
    ``inverse_transform`` of the estimator, or of the pipeline without its predictor. Where a step
    of the pipeline has none, or one that fails, or X is no matrix of finite numbers, it is that of
    the coder's input: the step with a dictionary (the last with `components_`, one of skdict before
    all others), what reaches it, and its own reconstruction of that. Candidates that differ in the
    steps before the coder are not comparable by the latter. Where nothing can be reconstructed it
    is NaN, with a warning.

    **Which searches.** GridSearchCV, RandomizedSearchCV and cross_validate. Halving searches need
    one score, that of :func:`sparsity_scorer` for example, and do not call rules for `refit`.

    To add scores of other kinds, call this from a function of yours::

        codes = codes_scorer(["gini"])

        def scoring(estimator, X, y=None):
            return {**codes(estimator, X), "accuracy": estimator.score(X, y)}

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdict import TopKAutoencoder
    >>> from skdict.metrics import codes_scorer
    >>> from skdict.model_selection import sparsest_within
    >>> X = np.random.default_rng(0).standard_normal((60, 8))
    >>> autoencoder = TopKAutoencoder(n_components=16, max_iter=2, random_state=0)
    >>> search = GridSearchCV(
    ...     autoencoder, {"k": [1, 2, 4]}, scoring=codes_scorer(["gini", "hoyer"]),
    ...     refit=sparsest_within(0.01), cv=2,
    ... )
    >>> search.fit(X).cv_results_["mean_test_neg_mean_l0"]
    array([-1., -2., -4.])
    """
    if isinstance(measures, (str, SparsityScorer)):
        measures = (measures,)
    if isinstance(measures, Mapping):
        named = [(key, _as_scorer(measure)) for key, measure in measures.items()]
    elif isinstance(measures, Iterable):
        named = [(scorer.name, scorer) for scorer in map(_as_scorer, measures)]
    else:
        raise TypeError(f"codes_scorer: measures={measures!r} is neither a sequence nor a dict.")
    keys = list(ALWAYS)
    for key, _ in named:
        if not isinstance(key, str):
            raise TypeError(f"codes_scorer: the key {key!r} in measures is no string.")
        keys += [key, f"neg_n_undefined_{key}"]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(
            f"codes_scorer: the keys {twice} would occur twice in the scores. Pass a dict that "
            "gives each measure a key of its own."
        )
    return CodesScorer(dict(named))


def _as_scorer(measure):
    return measure if isinstance(measure, SparsityScorer) else sparsity_scorer(measure)


# From an estimator to its codes


class Encoded:
    """Codes of X, and what is needed to judge their reconstruction, from one pass over X.

    `inputs` holds what reaches each of `steps`, beginning with X; `predictor` what follows them.
    """

    def __init__(self, steps, inputs, codes, predictor):
        self.steps, self.inputs, self.codes, self.predictor = steps, inputs, codes, predictor

    def explained_variance(self):
        X = self.inputs[0]
        if _is_numeric(X) and all(map(_can_decode, self.steps)):
            # Some steps have an inverse_transform that fails: of an imputer, say, or a kernel PCA.
            with contextlib.suppress(ValueError, TypeError, IndexError, NotImplementedError):
                return _explained(X, _decoded(self.steps, self.codes))
        coder = _coder_among(self.steps)
        if coder is None:
            names = [type(step).__name__ for step in self.steps]
            why = f"no step of {names} has an inverse_transform. Use sparsity_scorer for its codes"
            return undefined("codes_scorer: explained_variance", why)
        outputs = [*self.inputs[1:], self.codes]
        return _explained(self.inputs[coder], self.steps[coder].inverse_transform(outputs[coder]))

    def warn_without_dictionary(self):
        """A pipeline without a coder scores well: its scaler reconstructs everything."""
        if self.predictor is None or any(hasattr(step, "components_") for step in self.steps):
            return
        names = [type(step).__name__ for step in self.steps]
        warnings.warn(
            f"codes_scorer: none of the steps {names} before {type(self.predictor).__name__} has a "
            "dictionary (components_); the scores are of what reaches that last step. Put the "
            "coder among them.",
            UserWarning,
            stacklevel=3,
        )


def encoded(scorer, estimator, X):
    """Encode X by what transforms in `estimator`."""
    steps, predictor = _transformers(estimator)
    if not steps:
        raise TypeError(
            f"{scorer}: {type(estimator).__name__} has no step with a transform, and so no codes. "
            "Pass a coder, or a pipeline with one."
        )
    inputs = []
    codes = X
    for step in steps:
        inputs.append(codes)
        codes = step.transform(codes)
    return Encoded(steps, inputs, codes, predictor)


def _transformers(estimator):
    """Fitted steps that transform, in order, and the predictor after them if there is one."""
    estimator = _opened(estimator)
    if not isinstance(estimator, Pipeline):
        return ([estimator], None) if hasattr(estimator, "transform") else ([], estimator)
    steps = [_opened(s) for _, s in estimator.steps if s not in (None, "passthrough")]
    predictor = None
    if steps and hasattr(steps[-1], "predict") and not isinstance(steps[-1], Pipeline):
        predictor = steps.pop()  # some classifiers transform too; the codes are what reaches them
    transformers = []
    for step in steps:
        inner, last = _transformers(step)
        transformers += inner
        predictor = last if predictor is None else predictor
    return transformers, predictor


def _opened(estimator):
    """What does the work in a search, a frozen estimator or one with a transformed target."""
    while True:
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
            continue
        for attribute in ("best_estimator_", "regressor_"):
            if hasattr(estimator, attribute):
                estimator = getattr(estimator, attribute)
                break
        else:
            return estimator


def _can_decode(step):
    if isinstance(step, FunctionTransformer) and step.func is not None:
        return step.inverse_func is not None  # else its inverse is the identity
    return hasattr(step, "inverse_transform")


def _coder_among(steps):
    for attributes in (("components_", "decoder_bias_"), ("components_",), ()):
        for i in reversed(range(len(steps))):
            if _can_decode(steps[i]) and all(hasattr(steps[i], name) for name in attributes):
                return i
    return None


def _decoded(steps, codes):
    for step in reversed(steps):
        codes = step.inverse_transform(codes)
    return codes


def _explained(X, X_hat):
    return explained_variance(*(a.toarray() if issparse(a) else a for a in (X, X_hat)))


def _is_numeric(X):
    if issparse(X):
        return True
    if not is_array_api_obj(X):
        X = np.asarray(X)  # a list or a data frame
    return namespace(X).isdtype(X.dtype, ("bool", "integral", "real floating"))
