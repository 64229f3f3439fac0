"""What a fit warns of, and the way out that it names."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skdict import training
from skdict.backend import to_numpy
from skdict.batches import batch_of

MANY_DEAD = 0.5  # share of the latents that is worth a warning


class FitWarnings:
    """Warnings of :class:`skdict._fitting.FittingMixin`; shells say what else would help."""

    def _warn_diverged(self, state, learning_rate):
        warnings.warn(
            f"{type(self).__name__}: the loss became huge or non-finite before step {state.step} "
            f"at learning_rate={learning_rate:.4g}. Training stopped; the parameters are those of "
            f"the last sound pass, or those it began with. {self._against_divergence()}",
            ConvergenceWarning,
            stacklevel=7,
        )

    def _against_divergence(self):
        return "Lower learning_rate."

    def _warn_if_clipped(self):
        n_components, k = self._n_components(), getattr(self, "k", None)
        if k is not None and k > n_components and self._clips_k():
            warnings.warn(
                f"{type(self).__name__}: k={k} exceeds n_components={n_components}; "
                f"using k={n_components}.",
                UserWarning,
                stacklevel=5,
            )

    def _clips_k(self):
        return True

    def _costs(self, norms):
        """From which alpha on no latent is worth its cost, where centred samples have these norms;
        and what that is, for a message. None: nobody knows."""
        return norms.max(), "the largest norm of a centred sample in units of scale_"

    def _warn_if_silent(self, state, source, epochs, learning_rate):
        if not hasattr(self, "alpha") or not epochs or epochs[-1].l0 > 0 or source.once:
            return
        first = source.first(source.order(None), training.FIRST_ROWS)
        rows = batch_of([(first, slice(0, first.shape[0]))], state)
        # An atom of unit norm gains at most the norm of a centred sample, and costs alpha.
        norms = np.linalg.norm(to_numpy(rows - state.params["decoder_bias"]), axis=1)
        if norms.max() > 0:  # else no alpha gives codes: all rows are equal
            most, what = self._costs(norms)
            many = self.alpha > most / 10
            rate = f"a lower learning_rate than {learning_rate:.4g}, or a smaller alpha"
            warnings.warn(
                f"{type(self).__name__}: all codes are zero with alpha={self.alpha}. Choose "
                f"{'a smaller alpha' if many else rate}: from {most:.3g} on, {what}, no latent is "
                "worth its cost.",
                UserWarning,
                stacklevel=5,
            )

    def _warn_if_many_are_dead(self, run):
        silent_for = to_numpy(run.state.silent_for)
        dead, n_components = np.count_nonzero(silent_for >= self.dead_after), silent_for.size
        if dead > MANY_DEAD * n_components and run.epochs and run.epochs[-1].l0 > 0:
            warnings.warn(
                f"{type(self).__name__}: {dead} of {n_components} latents did not fire in the last "
                f"{self.dead_after} samples of training. {self._against_death()}",
                UserWarning,
                stacklevel=5,
            )

    def _against_death(self):
        others = "learning_rate or n_components"
        return (
            f"Lower alpha, {others}." if hasattr(self, "alpha") else f"Raise k, or lower {others}."
        )
