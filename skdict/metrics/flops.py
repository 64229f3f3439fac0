"""Operations that an estimator takes, to compare methods at equal cost.

After O'Neill, Gumran, Klindt, "Compute Optimal Inference and Provable Amortisation Gap in Sparse
Autoencoders", arXiv 2411.13117.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np

from skdict.autoencoders.gated import GatedAutoencoder
from skdict.autoencoders.relu import SparseAutoencoder
from skdict.autoencoders.topk import TopKAutoencoder
from skdict.coders.lasso import LassoCoder
from skdict.coders.matching_pursuit import MatchingPursuitCoder
from skdict.coders.threshold import ThresholdCoder
from skdict.metrics import _operations as operations
from skdict.metrics._checks import as_number, check_number_in, check_positive_integer

AUTOENCODERS = SparseAutoencoder, TopKAutoencoder, GatedAutoencoder
CODERS = MatchingPursuitCoder, LassoCoder, ThresholdCoder
PURSUITS = {
    "mp": operations.matching_pursuit,
    "omp": operations.orthogonal_pursuit,
    "ols": operations.least_squares_pursuit,
    "gradient": operations.gradient_pursuit,
}


@dataclass(frozen=True)
class Flops:
    """Result of :func:`flops`; integers, floats where a mean of samples went into them.

    Attributes
    ----------
    n_samples : int
        Samples that the counts are for.
    encoding : int or float
        Operations of `transform` for these samples.
    decoding : int or float
        Of `inverse_transform`.
    inference : int or float
        Both together.
    inference_per_sample : float
    training : int or float
        Of `fit` to these samples, all steps together; 0 for a dictionary that is given.
    training_step : int or float
        Of one step of it, on a full batch.
    n_steps : int
        Steps of `fit`.
    training_per_sample : float
        Of `fit`, for each of the `n_samples`, all passes together.
    """

    n_samples: int
    encoding: int | float
    decoding: int | float
    training: int | float
    training_step: int | float
    n_steps: int

    @property
    def inference(self):
        return self.encoding + self.decoding

    @property
    def inference_per_sample(self):
        return self.inference / self.n_samples

    @property
    def training_per_sample(self):
        return self.training / self.n_samples


def flops(estimator, n_samples=1, *, n_features=None, iterations=None, mean_l0=None):
    """Count the floating-point operations of inference and of training.

    A multiplication and an addition are two operations; a comparison, a quotient, a root and an
    exponential are one each. For a :class:`skdict.SparseAutoencoder` with n samples, d features and
    m components, inference takes ``n (4 d m + 2 d + 2 m)``, encoding and decoding, and training
    about ``10 d m`` for each sample of a batch and ``33 d m`` for each step, Adam's.

    Parameters
    ----------
    estimator : estimator of skdict, fitted or not
        An autoencoder or a coder.
    n_samples : int, default=1
        Samples: those that `fit` is given, and as many that are encoded and decoded.
    n_features : int or None, default=None
        Needed where `estimator` is not fitted and its dictionary is not given.
    iterations : float or None, default=None
        Mean number for a sample: sweeps over all atoms (``"cd"``) or gradient steps (``"fista"``)
        of :class:`skdict.LassoCoder`, which needs it; atoms that a pursuit selects, by default
        ``k``. In training and inference alike.
    mean_l0 : float or None, default=None
        Mean non-zeros of a sample, if products with codes are to be counted for these alone, as
        skdict computes them where codes are sparse. None: for all components, as papers count.

    Returns
    -------
    Flops

    Raises
    ------
    TypeError
        If `estimator` is none of skdict's, or its dictionary is learnt by none of them.
    ValueError
        If a number is out of range, or one that is needed is missing.

    Notes
    -----
    Counted are the algorithms as papers write them: pursuits with residuals, coordinate descent
    over all atoms. skdict itself takes a Gram matrix and working sets where they pay, and may take
    fewer operations then.

    Not counted are reading, centring and scaling the data, the value of the objective, tests
    whether to stop, what is done once (first atoms, norms of atoms, a step size, `repair`), weight
    decay, load balancing and the revival of dead latents. A top-k selection counts as one
    comparison for each of the m. With ``positive=True``, ``"omp"`` and ``"ols"`` are counted as if
    every refit kept all its codes, and other penalties than ``"l1"`` as that one, atoms of free
    norm as those of unit norm. Of `incoherence` the products are counted. The eigenvectors of
    ``"ksvd"`` are counted as 9 d³ for each atom.

    A fitted estimator has made ``n_steps_`` steps; for one that is not, the steps are those of
    ``max_iter`` passes over `n_samples`. With a given dictionary nothing is trained, and of an
    estimator as dictionary the training is counted, unless it is frozen.

    The paper [1]_ leaves biases out and counts training as three times inference and about one
    operation for each weight of the encoder, ``13 d m + 5 m`` for each sample: with the gradient of
    the data, which nobody needs, and with an update for each sample instead of each step. For
    sparse coding its code multiplies what a batch takes by the number of samples once more.

    References
    ----------
    .. [1] O'Neill, Gumran, Klindt, "Compute Optimal Inference and Provable Amortisation Gap in
       Sparse Autoencoders", arXiv 2411.13117 (2024).

    Examples
    --------
    >>> from skdict import LassoCoder, SparseAutoencoder
    >>> from skdict.metrics import flops
    >>> sae = SparseAutoencoder(16, batch_size=1024, max_iter=100)
    >>> count = flops(sae, 1024, n_features=8)
    >>> count.inference_per_sample, count.n_steps
    (560.0, 100)
    >>> coder = LassoCoder(16, algorithm="fista")
    >>> round(flops(coder, 1024, n_features=8, iterations=100).inference / count.inference)
    118
    """
    if not isinstance(estimator, AUTOENCODERS + CODERS):
        raise TypeError(
            f"flops: estimator is a {type(estimator).__name__}. Pass one of "
            f"{', '.join(cls.__name__ for cls in AUTOENCODERS + CODERS)}."
        )
    estimator._validate_params()
    check_positive_integer("flops", "n_samples", n_samples)
    estimator, (n_samples, n_features) = _exact(estimator), map(_python, (n_samples, n_features))
    d, m = _shape(estimator, n_features)
    estimator.n_features_in_ = d
    estimator._parts(m, 1.0)  # checks parameters that only make sense together
    _check_means(iterations, mean_l0, m)
    iterations, mean_l0 = _python(iterations), _python(mean_l0)
    n_codes = m if mean_l0 is None else mean_l0
    encoding = _encoding(estimator, d, m, iterations, mean_l0)
    if getattr(estimator, "dictionary", None) is not None:
        training = _training_of_dictionary(estimator, n_samples, d, iterations, mean_l0)
    else:
        training = _training(estimator, n_samples, d, m, n_codes, encoding)
    decoding = operations.decode(d, n_codes)
    return Flops(n_samples, n_samples * encoding, n_samples * decoding, *training)


def _exact(estimator):
    """A copy whose parameters are Python's numbers, for NumPy's overflow."""
    exact = copy.copy(estimator)
    for name, value in estimator.get_params(deep=False).items():
        setattr(exact, name, _python(value))
    return exact


def _python(value):
    return value.item() if isinstance(value, np.generic) else value


def _shape(estimator, n_features):
    """Numbers of features and of components."""
    if n_features is not None:
        check_positive_integer("flops", "n_features", n_features)
    dictionary = getattr(estimator, "dictionary", None)
    known = getattr(estimator, "components_", None)
    if known is None and not hasattr(dictionary, "fit"):
        known = dictionary
    if known is not None:
        m, d = np.shape(known)
        if n_features not in (None, d):
            raise ValueError(
                f"flops: n_features={n_features}, but {type(estimator).__name__} has atoms of "
                f"{d}. Leave n_features out."
            )
        return d, m
    if n_features is None:
        raise ValueError(
            f"flops: n_features=None, but {type(estimator).__name__} is not fitted. "
            "Pass n_features, or fit it."
        )
    if isinstance(dictionary, AUTOENCODERS + CODERS):
        return _shape(dictionary, n_features)
    first = getattr(estimator, "dict_init", None)
    if estimator.n_components == "auto":
        return n_features, 4 * n_features if first is None else len(first)
    return n_features, estimator.n_components


def _check_means(iterations, mean_l0, m):
    if iterations is not None:
        as_number("flops", "iterations", iterations, lambda n: n >= 0, "Choose a number >= 0.")
    if mean_l0 is not None:
        check_number_in("flops", "mean_l0", mean_l0, low=0, high=m)


def _hidden(estimator):
    """Width of the hidden layer of the encoder, None where there is none."""
    hidden = estimator._hidden()
    return None if hidden is None else hidden.width


# ---------------------------------------------------------------------- encoding


def _encoding(estimator, d, m, iterations, mean_l0):
    """Of one sample."""
    if isinstance(estimator, AUTOENCODERS):
        after = {SparseAutoencoder: 1, TopKAutoencoder: 1, GatedAutoencoder: 4}
        each = next(n for cls, n in after.items() if isinstance(estimator, cls))
        return operations.pre_activations(d, m, _hidden(estimator)) + each * m
    if isinstance(estimator, MatchingPursuitCoder):
        k = _n_selected(estimator, m, iterations)
        return d + PURSUITS[estimator.algorithm](d, m, k)
    if isinstance(estimator, LassoCoder):
        if iterations is None:
            raise ValueError(
                "flops: iterations=None, but nobody knows how many LassoCoder takes, max_sweeps="
                f"{estimator.max_sweeps} at most. Pass their mean for a sample."
            )
        method = operations.fista if estimator.algorithm == "fista" else _descent
        return d + method(d, m, iterations, 2 if estimator.positive else 3)
    return _thresholding(estimator, d, m, mean_l0)


def _descent(d, m, iterations, prox):
    return operations.coordinate_descent(d, m, iterations, prox)


def _n_selected(estimator, m, iterations):
    k = estimator.k if iterations is None else iterations
    if k is None:
        raise ValueError(
            "flops: iterations=None, but MatchingPursuitCoder has k=None. Pass how many atoms it "
            "selects for a sample."
        )
    return k if estimator.algorithm in ("mp", "gradient") else min(k, m)


def _thresholding(estimator, d, m, mean_l0):
    one_step = operations.correlations(d, m) + m  # and a comparison for each
    if not estimator.refit:
        return one_step
    n_kept = min(estimator.k, m) if estimator.threshold is None else mean_l0
    if n_kept is None:
        raise ValueError(
            "flops: mean_l0=None, but ThresholdCoder refits as many codes as exceed its threshold. "
            "Pass mean_l0."
        )
    return one_step + operations.least_squares(d, n_kept)


# ---------------------------------------------------------------------- training


def _training(estimator, n_samples, d, m, n_codes, encoding):
    """All operations of `fit`, those of a step, and the number of steps."""
    update = getattr(estimator, "dict_update", None)
    whole = update in ("ksvd", "aksvd", "mod")
    batch_size = n_samples if whole else min(estimator.batch_size, n_samples)
    steps_per_pass = math.ceil(n_samples / batch_size)
    n_rows, n_steps = _rows_and_steps(estimator, n_samples, batch_size, steps_per_pass)
    if update is None:
        sample, step = _of_autoencoder(estimator, d, m, n_codes)
    else:
        sample, step = _of_dictionary(update, d, m, n_codes)
    sample += encoding
    return n_rows * sample + n_steps * step, batch_size * sample + step, n_steps


def _rows_and_steps(estimator, n_samples, batch_size, steps_per_pass):
    if not hasattr(estimator, "n_steps_"):
        n_passes = estimator._n_passes(steps_per_pass)
        return n_passes * n_samples, n_passes * steps_per_pass
    if estimator.n_steps_ == estimator.n_iter_ * steps_per_pass:
        return estimator.n_iter_ * n_samples, estimator.n_steps_
    return estimator.n_steps_ * batch_size, estimator.n_steps_  # it was fitted to others


def _of_autoencoder(estimator, d, m, n_codes):
    """Of a sample but for its encoding, and of a step."""
    hidden = _hidden(estimator)
    gated = isinstance(estimator, GatedAutoencoder)
    penalised = isinstance(estimator, SparseAutoencoder)
    if gated:
        back = operations.gated_backward(d, n_codes, hidden)
    else:
        back = operations.backward(d, n_codes, hidden, penalised)
    first_layer = m if hidden is None else hidden
    n_weights = d * m if hidden is None else hidden * (d + m)
    n_biases = d + (3 if gated else 1) * m + (hidden or 0)
    step = operations.adam(n_weights + n_biases + d * m, d, m)
    step += operations.bias_through_encoder(d, first_layer)
    if getattr(estimator, "incoherence", 0):
        step += operations.incoherence(d, m, estimator.coherence_limit is not None)
    return operations.decode(d, n_codes) + back, step


def _of_dictionary(update, d, m, n_codes):
    """Of a sample but for its codes, and of a step."""
    if update == "online":
        return operations.statistics(d, n_codes), operations.online_descent(d, m)
    if update == "mod":
        return operations.statistics(d, n_codes), operations.optimal_directions(d, m)
    if update == "gradient":
        return operations.gradient_of_atoms(d, n_codes), operations.adam(d * m + d, d, m)
    how = (update == "aksvd",)
    return operations.rank_one(d, n_codes, *how), operations.atoms_of_ksvd(d, m, *how)


def _training_of_dictionary(estimator, n_samples, d, iterations, mean_l0):
    """Of what `fit` trains where the dictionary is given: an estimator, or nothing."""
    given = estimator.dictionary
    if not hasattr(given, "fit") or type(given).__name__ == "FrozenEstimator":
        return 0, 0, 0
    learner = getattr(estimator, "dictionary_", given)
    if not isinstance(learner, AUTOENCODERS + CODERS):
        raise TypeError(
            f"flops: dictionary={given!r} of {type(estimator).__name__} is learnt by none of "
            "skdict's estimators. Fit it before, and wrap it in sklearn.frozen.FrozenEstimator."
        )
    own = iterations if isinstance(learner, LassoCoder) else None
    count = flops(learner, n_samples, n_features=d, iterations=own, mean_l0=mean_l0)
    return count.training, count.training_step, count.n_steps
