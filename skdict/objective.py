"""The objective, a sum of terms on what an encoder emits, and the one place of the chain rule.

The objective is a mean over samples of a sum over features, with one half, as in scikit-learn's
dictionary learning.
"""

from skdict import codes
from skdict.backend import namespace


def loss_and_grad(params, X, encoder, terms, context, held=None, grads=None, values=None):
    """Objective and gradient on one batch.  Pure: neither `params` nor X is modified.

    Parameters
    ----------
    params : dict of arrays
        ``components`` (m, d), ``decoder_bias`` (d,) and what the encoder's `init` returned.
    X : array of shape (n, d)
    encoder, terms : see :mod:`skdict.encoders` and :mod:`skdict.terms`
    context : skdict.encoders.Context
    held : list, optional
        What each term treats as constant. Given only by gradient checks, which hold it fixed while
        they vary `params`.
    grads : dict of arrays, optional
        Memory for the gradient, overwritten; shaped like `params`.
    values : list, optional
        The value of each term is appended to it.

    Returns
    -------
    loss : scalar
    grads : dict of arrays, shaped like `params`
    heads : dict of codes
    """
    heads, tape = encoder.forward(X, params, context)
    if held is None:
        held = [term.hold(X, heads, params, context) for term in terms]
    grads = zeros(params, grads)
    loss, d_heads = 0.0, {name: None for name in heads}
    for term, constant in zip(terms, held, strict=True):
        value, d_term = term(X, heads, params, constant, grads)
        loss = loss + value
        if values is not None:
            values.append(value)
        for name, gradient in d_term.items():
            so_far = d_heads[name]
            d_heads[name] = gradient if so_far is None else codes.add(so_far, gradient)
    for name, gradient in d_heads.items():  # a head that no term reads arrives as zero
        d_heads[name] = codes.zeros_like(heads[name]) if gradient is None else gradient
    encoder.backward(d_heads, tape, params, grads)
    return loss, grads, heads


def zeros(params, memory=None):
    """Zero arrays shaped like `params`, in `memory` if it is given."""
    if memory is None:
        return {name: namespace(array).zeros_like(array) for name, array in params.items()}
    for array in memory.values():
        array[...] = 0
    return memory
