"""Parameters that the autoencoders have in common, and the parts that these name."""

from skdict._sklearn import Integral, Interval, Real
from skdict.encoders import Hidden
from skdict.terms import Incoherence

CONSTRAINTS = {
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "encoder_hidden": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
    "incoherence": [Interval(Real, 0, None, closed="left")],
    "coherence_limit": [Interval(Real, 0, 1, closed="left"), None],
    "load_balancing": [Interval(Real, 0, None, closed="left")],
}


def hidden_of(estimator):
    """The hidden layer of the encoder, or None."""
    width = estimator.encoder_hidden
    if width is None:
        return None
    if isinstance(width, tuple | list):
        sizes = [isinstance(size, Integral) and size >= 1 for size in width]
        if sizes != [True]:
            raise ValueError(
                f"{type(estimator).__name__}: encoder_hidden={width!r}, but an encoder has one "
                "hidden layer or none. Give its width, an integer >= 1, or None."
            )
        (width,) = width
    return Hidden(int(width))


def with_incoherence(estimator, terms):
    """These terms, and one on the atoms where `incoherence` asks for it."""
    if not estimator.incoherence:
        return terms
    return [*terms, Incoherence(float(estimator.incoherence), estimator.coherence_limit)]
