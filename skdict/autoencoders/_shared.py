"""Parameters that the autoencoders have in common, and the parts that these name."""

from skdict._base import BaseDictionaryEstimator
from skdict._sklearn import Integral, Interval, Real
from skdict.encoders import Hidden
from skdict.terms import Incoherence


class Autoencoder(BaseDictionaryEstimator):
    """A shell with an encoder of its own: what its options name."""

    _parameter_constraints = {
        **BaseDictionaryEstimator._parameter_constraints,
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "encoder_hidden": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "incoherence": [Interval(Real, 0, None, closed="left")],
        "coherence_limit": [Interval(Real, 0, 1, closed="left"), None],
        "load_balancing": [Interval(Real, 0, None, closed="left")],
    }
    # Fitted attributes that not every fit leaves.
    _optional = ("hidden_encoder_", "hidden_bias_", "selection_bias_", "shrinkage_")

    def _hidden(self):
        """The hidden layer of the encoder, or None."""
        width = self.encoder_hidden
        if width is None:
            return None
        sizes = list(width) if isinstance(width, tuple | list) else [width]
        valid = [isinstance(n, Integral) and not isinstance(n, bool) and n >= 1 for n in sizes]
        if valid != [True]:
            raise ValueError(
                f"{type(self).__name__}: encoder_hidden={width!r}, but an encoder has one hidden "
                "layer or none. Give its width, an integer >= 1, or None."
            )
        return Hidden(int(sizes[0]))

    def _with_incoherence(self, terms):
        """These terms, and one on the atoms where `incoherence` asks for it."""
        if not self.incoherence:
            return terms
        limit = None if self.coherence_limit is None else float(self.coherence_limit)
        return [*terms, Incoherence(float(self.incoherence), limit)]

    def _against_divergence(self):
        weights = [name for name in ("incoherence", "load_balancing") if getattr(self, name)]
        return f"Lower {' or '.join(['learning_rate', *weights])}."

    def _fitted_params(self, like=None):
        self._check_as_fitted()
        return super()._fitted_params(like)

    def _check_continues(self, X):
        super()._check_continues(X)
        self._check_as_fitted()

    def _check_as_fitted(self):
        """Options that decide which parameters there are must be as in the last fit."""
        hidden = self._hidden()
        width = None if hidden is None else hidden.width
        fitted = getattr(self, "hidden_encoder_", None)
        fitted = None if fitted is None else int(fitted.shape[0])
        if width != fitted:
            self._raise_changed("encoder_hidden", fitted)
        balanced = hasattr(self, "selection_bias_")
        if "selection_bias" in self._parts_as_fitted()[0].names and not balanced:
            self._raise_changed("load_balancing", 0.0)
        if balanced and not self.load_balancing:
            self._raise_changed("load_balancing", "one above 0")

    def _raise_changed(self, parameter, fitted):
        raise ValueError(
            f"{type(self).__name__}: {parameter}={getattr(self, parameter)!r}, but the last fit "
            f"had {fitted}. Set {parameter} back, or call fit with warm_start=False."
        )

    def _set_fitted(self, state, epochs):
        new = self._fitted_attributes(state, epochs)
        for name in self._optional:
            if name in vars(self) and name not in new:
                delattr(self, name)
        for name, value in new.items():
            setattr(self, name, value)
