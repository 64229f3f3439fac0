"""The scikit-learn shell around encoders, terms and the training loop."""

import contextlib

import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skdict import codes, devices, encoding, runs
from skdict._fitting import FittingMixin
from skdict._lazy import decode_blocks, transform_blocks
from skdict._sklearn import as_configured, output_config
from skdict._validation import arrived, check_codes, refuse_streams, rows_of
from skdict.backend import as_torch, current_device_of, is_torch_array, native
from skdict.kernels.threads import use_threads
from skdict.sources import is_dask


class BaseDictionaryEstimator(
    FittingMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Training, encoding and decoding, for a shell that names its parts in `_parts`."""

    def fit_transform(self, X, y=None, **fit_params):
        """Fit to X, then encode it.

        Parameters
        ----------
        X : array of shape (n_samples, n_features), or what yields its rows in any order
        y : None
            Ignored.
        **fit_params : dict
            Of `fit`.

        Returns
        -------
        codes : array or CSR of shape (n_samples, n_components)
        """
        refuse_streams(self, X, "fit_transform")
        return super().fit_transform(X, y, **fit_params)

    def transform(self, X):
        """Encode X.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Of a dask array the codes are a dask array, and nothing is computed yet.

        Returns
        -------
        codes : array of shape (n_samples, n_components)
            CSR with int32, sorted indices and no explicit zeros if `sparse_output`; then no dense
            array of this shape exists at any time. Those of a dask array have CSR blocks.
        """
        return self._transform(X)

    def _transform(self, X, prepare=None):
        check_is_fitted(self)
        self._check_container()
        if is_dask(X):
            return transform_blocks(self, X)
        arriving = arrived(self, X, "transform")
        with use_threads(self.n_jobs) as threads, arriving as (X, returned):
            X = rows_of(self, X, method="transform")
            with self._inference(X) as (params, encoder):
                encoder = encoder if prepare is None else prepare(encoder, X.shape[0])
                if not self.sparse_output:
                    return returned(encoding.encode(X, params, encoder, threads))
                parts = encoding.encode_sparse(X, params, encoder, threads)
            shape = (X.shape[0], self.components_.shape[0])
            return as_configured(sp.csr_array(parts, shape=shape))

    def _check_container(self):
        container = output_config("transform", self)["dense"]
        if self.sparse_output and container != "default":
            raise ValueError(
                f"{type(self).__name__}: {container} cannot hold sparse codes. Set "
                "sparse_output=False, or disable it with set_output(transform='default')."
            )

    @contextlib.contextmanager
    def _inference(self, X):
        """Context with parameters and encoder for X, in its units, on the device it visits."""
        encoder, _ = self._parts_as_fitted()
        place = devices.visited(getattr(X, "like", X), self.device, type(self).__name__)
        with place or contextlib.nullcontext():
            like = native(self.components_)[:0, :]
            params = self._fitted_params(place and devices.on_device(like, place))
            yield params, encoder.for_inference(params, X.shape[0])

    def inverse_transform(self, Z):
        """Decode codes: ``Z @ components_ + decoder_bias_``.

        Parameters
        ----------
        Z : array or sparse matrix of shape (n_samples, n_components)
            Or a dask array of such blocks, which gives a dask array.

        Returns
        -------
        X_hat : array of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        if is_dask(Z):
            return decode_blocks(self, Z)
        arriving = arrived(self, Z, "inverse_transform")
        with use_threads(self.n_jobs), arriving as (Z, returned):
            params = self._fitted_params()
            D, bias = params["components"], params["decoder_bias"]
            if sp.issparse(Z) and is_torch_array(self.components_):
                returned = as_torch
            with current_device_of(D):
                Z = check_codes(self, Z, D)
                X_hat = Z @ D if sp.issparse(Z) else codes.decode(Z, D)
                return returned(X_hat + bias)

    def score(self, X, y=None):
        """Explained variance of the reconstruction of X.

        One minus the sum of squared residuals over the sum of squares about the mean of X, over the
        whole of X (:func:`skdict.metrics.explained_variance`).

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        score : float
            One is best; NaN where X is constant.
        """
        check_is_fitted(self)
        with use_threads(self.n_jobs), arrived(self, X, "score") as (X, _):
            X = rows_of(self, X, method="score")
            with self._inference(X) as parts:
                return encoding.explained_variance(X, *parts)

    # ------------------------------------------------------------------ scikit-learn

    def __getstate__(self):
        # What visits a GPU in training is not to be needed where a pickle is opened.
        attributes = super().__getstate__()
        if getattr(attributes.get("_state"), "visiting", False):
            attributes = {**attributes, "_state": runs.on_host(attributes["_state"])}
        return attributes

    @property
    def _n_features_out(self):
        return self.components_.shape[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = not self.sparse_output
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
