"""Adam's update (Kingma & Ba, arXiv 1412.6980, algorithm 1), in place, in one pass over memory."""

from skdict.backend import namespace
from skdict.kernels import implementation


def adam(param, grad, mean, square, rate, beta1, beta2, epsilon):
    """Update `param`, `mean` and `square` in place; all have one shape and dtype.

    `rate` and `epsilon` already contain the bias corrections of the moments (see
    :class:`skdict.optimizers.Adam`):
    ``param -= rate * mean / (sqrt(square) + epsilon)``.
    """
    kernels = implementation("adam", namespace(param))
    kernels.adam(param, grad, mean, square, rate, beta1, beta2, epsilon)


def adam_unit_rows(param, grad, mean, square, rate, beta1, beta2, epsilon):
    """The same for a matrix of unit rows, shape (m, d), which stay on the sphere.

    The gradient of each row is first projected on the tangent, and the row normalised after the
    update, unless it is zero; the moments are left alone. `grad` is not modified.
    """
    kernels = implementation("adam", namespace(param))
    kernels.adam_unit_rows(param, grad, mean, square, rate, beta1, beta2, epsilon)
