"""Every private or experimental name that is imported from scikit-learn."""

from numbers import Integral, Real

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._set_output import _get_output_config as output_config
from sklearn.utils._sparse import _align_api_if_sparse as as_configured

__all__ = [
    "HasMethods",
    "Integral",
    "Interval",
    "Real",
    "StrOptions",
    "as_configured",
    "fit_context",
    "output_config",
]
