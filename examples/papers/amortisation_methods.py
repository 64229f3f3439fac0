"""Problems, scores and methods of ``amortisation_gap.py``."""

import math
import warnings
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import DictionaryLearning
from sklearn.exceptions import ConvergenceWarning

from skdict import LassoCoder, MatchingPursuitCoder, SparseAutoencoder
from skdict.autoencoders.relu import ReLU
from skdict.codes import to_dense
from skdict.datasets import make_superposition
from skdict.encoders import INFERENCE, Affine, Context, Hidden
from skdict.metrics import dictionary_match, flops
from skdict.objective import loss_and_grad
from skdict.optimizers import Adam, rate_factor
from skdict.terms import L1, Reconstruction

N_TEST = 1024


class Problem(NamedTuple):
    """Data to train on and to score, their codes, and the dictionary of both."""

    train: np.ndarray
    test: np.ndarray
    train_codes: np.ndarray
    test_codes: np.ndarray
    dictionary: np.ndarray

    @property
    def scale(self):
        """Root mean square about the column means, by which autoencoders divide the data."""
        return float(np.sqrt(self.train.var(axis=0).mean()))


def problem(seed, n_train=1024, n_components=16, n_features=8, k=3):
    """The paper's data: k half-normal codes of n_components, seen through n_features."""
    X, D, S = make_superposition(n_train + N_TEST, n_components, n_features, k, random_state=seed)
    return Problem(X[:n_train], X[n_train:], S[:n_train], S[n_train:], D)


# ---------------------------------------------------------------------- scores


def latent_mcc(codes, true_codes):
    """Mean |Pearson| of codes and true codes, matched one to one; constant columns score 0."""
    units = []
    for Z in (codes, true_codes):
        centred = Z - Z.mean(axis=0)
        norms = np.linalg.norm(centred, axis=0)
        units.append(centred / np.where(norms > 1e-12, norms, np.inf))
    correlations = np.abs(units[0].T @ units[1])
    pairs = linear_sum_assignment(correlations, maximize=True)
    return float(correlations[pairs].sum() / true_codes.shape[1])


def dictionary_mcc(components, dictionary):
    """The paper's: |Pearson| across the coordinates of atoms, matched one to one."""
    return dictionary_match(components, dictionary, metric="pearson", signed=False).mcc


def untrained_mcc(problem, seed):
    """Latent MCC of ``ReLU(X Dᵀ)`` with random atoms: an autoencoder before training."""
    D = np.random.default_rng(1000 + seed).normal(size=problem.dictionary.shape)
    return latent_mcc(np.maximum(problem.test @ D.T, 0), problem.test_codes)


# ---------------------------------------------------------------------- exact recovery


def exhaustive(X, D, k):
    """Of all sets of k atoms with non-negative least squares, the one with the least residual."""
    subsets = np.array(list(combinations(range(len(D)), k)))
    solvers = np.linalg.pinv(D[subsets])  # (n_subsets, d, k)
    Z = np.zeros((len(X), len(D)))
    for i, x in enumerate(X):
        values = x @ solvers  # (n_subsets, k)
        residuals = np.einsum("sk,skd->sd", values, D[subsets]) - x
        losses = np.where(values.min(axis=1) > -1e-9, (residuals**2).sum(axis=1), np.inf)
        best = np.argmin(losses)
        Z[i, subsets[best]] = values[best]
    return Z


def exhaustive_flops(n_components, n_features, k):
    """Of a sample: codes, reconstruction, residual and its square for every set."""
    return math.comb(n_components, k) * (4 * k * n_features + 3 * n_features)


# ---------------------------------------------------------------------- encoders alone


class Cosine:
    """Minus the mean cosine of columns of the codes with the true ones, which are known."""

    def __init__(self, true_codes):
        self.true_codes = true_codes

    def hold(self, X, heads, params, context):
        return None

    def __call__(self, X, heads, params, held, grads):
        Z, S = to_dense(heads["codes"]), self.true_codes
        norms = np.maximum(np.linalg.norm(Z, axis=0), 1e-12)
        units, targets = Z / norms, S / np.maximum(np.linalg.norm(S, axis=0), 1e-12)
        cosines = (units * targets).sum(axis=0)
        d_Z = -(targets - cosines * units) / norms / Z.shape[1]
        return -cosines.mean(), {"codes": d_Z}


class DenseReLU(ReLU):
    """Its codes as an array, whatever their density, since `Cosine` gives an array back."""

    def forward(self, U, params, context):
        return super().forward(to_dense(U), params, context)


def encoder_alone(data, hidden, terms_of, steps, seed):
    """Train an encoder with the true dictionary held; returns the codes of the test data.

    `terms_of` gives the objective for the codes of a batch.
    """
    rng = np.random.default_rng(seed)
    encoder = Affine(DenseReLU(), hidden=None if hidden is None else Hidden(hidden))
    D = data.dictionary.copy()
    params = {"components": D, "decoder_bias": np.zeros(D.shape[1]), **encoder.init(D, rng)}
    optimizer, held = Adam(), {"components": 0.0, "decoder_bias": 0.0}
    state = optimizer.init(params)
    for step in range(steps):
        rows = rng.choice(len(data.train), 256, replace=False)
        terms = terms_of(data.train_codes[rows])
        X, context = np.ascontiguousarray(data.train[rows]), Context(step=step)
        _, grads, _ = loss_and_grad(params, X, encoder, terms, context)
        factor = rate_factor(step, 0, int(0.8 * steps), steps)
        optimizer.update(params, grads, state, 3e-3 * factor, held)
    return to_dense(encoder.forward(data.test, params, INFERENCE)[0]["codes"])


def with_codes_known(data, hidden, steps, seed):
    """Codes of an encoder that learns the true codes of the training data."""
    return encoder_alone(data, hidden, lambda S: [Cosine(S)], steps, seed)


def with_dictionary_known(data, hidden, alpha, steps, seed):
    """Codes of an encoder that learns to reconstruct through the true dictionary."""
    terms = [Reconstruction(), L1(alpha)]
    return encoder_alone(data, hidden, lambda S: terms, steps, seed)


# ---------------------------------------------------------------------- codes by optimisation


def gradient_steps(components, alpha, n_steps, offset=0.0):
    """A coder over given atoms that makes as many accelerated gradient steps, no more, no less."""
    coder = LassoCoder(
        alpha=alpha, algorithm="fista", max_sweeps=n_steps, gap_tol=0.0,
        dictionary=np.asarray(components, dtype=float), offset=offset, positive=True,
    )  # fmt: skip
    return quietly(coder.fit, np.ones((1, components.shape[1])))


def quietly(call, *arguments, **options):
    """Call it without the warnings that a fixed number of steps reaches no tolerance."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message=".*makes all codes.*")
        return call(*arguments, **options)


# ---------------------------------------------------------------------- nothing known

STEPS = 30, 300  # gradient steps of sparse coding for a sample: in training, and afterwards


class Score(NamedTuple):
    """Agreement of codes and of atoms with the truth, and operations: training and inference."""

    latent: float
    dictionary: float
    flops: float = np.nan


def score(data, estimator, codes, operations):
    return Score(
        latent_mcc(codes, data.test_codes),
        dictionary_mcc(estimator.components_, data.dictionary),
        operations,
    )


def cost(estimator, data, **how):
    """Operations of training, and of encoding and decoding the test data."""
    return (
        flops(estimator, len(data.train), **how).training
        + flops(estimator, N_TEST, **how).inference
    )


def passes(n_steps, data):
    return max(1, round(n_steps * 256 / len(data.train)))


def autoencoder(data, weight, hidden, n_steps, seed, **changes):
    """A fitted autoencoder; `weight` in the units of X, batches of 256."""
    sae = SparseAutoencoder(
        len(data.dictionary), alpha=weight / data.scale, encoder_hidden=hidden,
        max_iter=passes(n_steps, data), random_state=seed, **changes,
    )  # fmt: skip
    return sae.fit(data.train.astype(np.float32))


AS_IN_THE_PAPER = dict(
    learning_rate=1e-3, weight_decay=0.0, warmup=0, decay=0.0, resample_dead=False
)


def of_autoencoder(data, weight, hidden, n_steps, seed, **changes):
    sae = autoencoder(data, weight, hidden, n_steps, seed, **changes)
    codes = sae.transform(data.test.astype(np.float32))
    return sae, score(data, sae, codes, cost(sae, data))


def optimised(data, sae, weight, operations, warm, n_steps=STEPS[1]):
    """Codes by optimisation over the dictionary of an autoencoder, from its codes or from zero."""
    coder = gradient_steps(sae.components_, weight, n_steps, sae.decoder_bias_)
    first = sae.transform(data.test.astype(np.float32)) if warm else None
    codes = quietly(coder.transform, data.test, code_init=first)
    own = flops(coder, N_TEST, iterations=n_steps).encoding
    return score(data, sae, codes, operations + own)


def sparse_coding(data, weight, n_updates, seed):
    """Dictionary and codes in turn: gradient steps for a batch, then the atoms by its codes."""
    m = len(data.dictionary)
    shared = dict(alpha=weight, algorithm="fista", gap_tol=0.0, positive=True, offset=0.0)
    coder = LassoCoder(
        m, max_sweeps=STEPS[0], max_iter=passes(n_updates, data), random_state=seed, **shared
    )
    quietly(coder.fit, data.train)
    training = flops(coder, len(data.train), iterations=STEPS[0]).training
    last = gradient_steps(coder.components_, weight, STEPS[1])
    codes = quietly(last.transform, data.test)
    inference = flops(last, N_TEST, iterations=STEPS[1]).inference
    return score(data, coder, codes, training + inference)


def pursuit(data, algorithm, k, n_updates, seed):
    """Dictionary learning with k steps of a non-negative pursuit for each sample."""
    coder = MatchingPursuitCoder(
        len(data.dictionary), k=k, algorithm=algorithm, positive=True, offset=0.0,
        max_iter=passes(n_updates, data), random_state=seed,
    ).fit(data.train)  # fmt: skip
    return score(data, coder, coder.transform(data.test), cost(coder, data))


def of_scikit_learn(data, weight, seed, n_passes):
    """Its DictionaryLearning, codes and dictionary in turn on all samples at once."""
    learner = DictionaryLearning(
        len(data.dictionary), alpha=weight, transform_alpha=weight, max_iter=n_passes,
        fit_algorithm="cd", transform_algorithm="lasso_cd", positive_code=True, random_state=seed,
    )  # fmt: skip
    codes = quietly(quietly(learner.fit, data.train).transform, data.test)
    return score(data, learner, codes, np.nan)
