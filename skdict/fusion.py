"""Which compositions have a fused training step; all others take the composed one.

A fused step does what `train_step` does with `loss_and_grad` and the optimiser, to rounding, and
never stores the gradient of a matrix, rows of dead latents excepted. This is the one place that
chooses.

It goes through the encoder and the terms a tile of rows at a time, while the tile is in the cache:
product, activation, reconstruction, gradients of the codes. Then it goes through blocks of atoms.
Activations and penalties are those of the composed step; only the linear algebra is its own.

On a GPU tiles are larger, and only top-k is fused: its codes are sparse from the first step on. The
host waits for nothing there.
"""

import copy
import dataclasses
from functools import partial

import numpy as np

from skdict import codes, encoders
from skdict.backend import asarray_like, is_gpu, namespace, take_rows
from skdict.encoders import Affine, positive_entries
from skdict.kernels import has_compiled, implementation, threads
from skdict.kernels.dense import for_tiles
from skdict.terms import L1, AuxK, HeldReconstruction, Penalty, Reconstruction


def fused_step(encoder, terms, params, unit_atoms=True):
    """A function ``step(X, params, context, *update)``, or None.

    `update` is what `Adam.update` takes beside parameters and gradients. The step changes `params`
    and that state, and returns the loss, the mean square of the residual, the number of samples in
    which each latent fired and the residual of the reconstruction. Or it returns None and has done
    nothing, where so many latents fired of late that dense products are faster.
    """
    compiled = has_compiled(params["components"]) and _is_known(encoder, terms)
    compiled = compiled and unit_atoms
    if not compiled or (is_gpu(params["components"]) and encoder.activation.support is not None):
        return None
    activation = copy.copy(encoder.activation)
    activation.in_order = False
    auxk = next((term for term in terms if type(term) is AuxK), None)
    of_tile = partial(_tile, activation, [term for term in terms if term is not auxk])

    def step(X, params, context, optimizer, state, rate, factors, shrink):
        if activation.support is not None and context.density > encoders.DENSE_FROM:
            return None
        xp = namespace(X)
        keep = shrink["encoder"][:, 0] if "encoder" in shrink else _ones(params["encoder"])
        rate, epsilon = optimizer.advance(state, rate)
        rates = {name: rate * factors.get(name, 1.0) for name in params}
        centred, residual, batch = _over_rows(X, params, context, of_tile, encoder.precision)
        extra = None
        if auxk is not None and context.dead is not None and encoder.k_aux:
            extra = _gradient_of_dead(encoder, auxk, params, context, centred, residual)
            batch.value += extra[0]
        kernel = implementation("sparse_step", xp)
        moments, betas = (state["mean"], state["square"]), (optimizer.beta1, optimizer.beta2)
        rest = None if extra is None else extra[1:]
        n_fired = kernel.update(
            params, moments, rates, (*betas, epsilon), keep, batch, centred, residual, rest
        )
        return batch.value, batch.unexplained, n_fired, residual

    return step


def _ones(encoder):
    return namespace(encoder).ones_like(encoder[:, 0])


def _is_known(encoder, terms):
    kinds = [type(term) for term in terms]
    if getattr(encoder, "hidden", None) is not None:
        return False
    if getattr(encoder, "selects", None) == "topk":
        known = kinds == [Reconstruction, AuxK]
    else:
        known = type(encoder) is Affine and encoder.activation.support is not None
        known = known and kinds[0] is Reconstruction
        known = known and set(kinds[1:]) <= {L1, Penalty, HeldReconstruction}
        known = known and not any(getattr(term, "by_norms", False) for term in terms)
    if not known:
        return False
    heads = {term.head for term in terms if type(term) is not AuxK}
    return terms[0].head == "codes" and heads == set(encoder.activation.heads)


@dataclasses.dataclass
class Batch:
    """What a batch, or a tile of it, gives beside the residual.

    ``counts`` entries in each sample (None on a GPU, where all have as many); of each entry
    ``indices`` of its latent, ``values`` of its code, ``d_U``: gradient of its pre-activation,
    ``inner``: product of residual and atom; ``columns``, on a GPU if there is one tile, their order
    by column; ``residual_sum`` over samples, ``d_params`` of the activation; ``value`` of the
    terms, ``unexplained``: square of the residual over the number of samples of the batch.
    """

    counts: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    d_U: np.ndarray
    inner: np.ndarray
    columns: tuple | None
    residual_sum: np.ndarray
    d_params: dict
    value: float
    unexplained: float


def _over_rows(X, params, context, of_tile, precision):
    """X without the decoder bias; the residual of the reconstruction; the batch."""
    tiles, xp = {}, namespace(X)
    centred, residual = (_memory(name, X) for name in ("centred", "residual"))

    def prepare(start, stop):
        xp.subtract(X[start:stop], params["decoder_bias"], out=centred[start:stop])

    def use(U, start, stop):
        rows = slice(start, stop)
        tiles[start] = of_tile(U, centred[rows], X, params, context, residual[rows])

    for_tiles(centred, params["encoder"].T, use, prepare, precision)
    return centred, residual, _joined([tiles[start] for start in sorted(tiles)])


def _memory(name, X):
    if is_gpu(X):  # CuPy keeps what is given back
        return namespace(X).empty_like(X)
    return threads.current().buffer(name, X.shape, X.dtype)


def _joined(tiles):
    if len(tiles) == 1:
        return tiles[0]

    def all_of(name):
        parts = [getattr(tile, name) for tile in tiles]
        return None if parts[0] is None else namespace(*parts).concat(parts)

    def sum_of(arrays):
        return sum(arrays[1:], arrays[0])

    return Batch(
        *(all_of(name) for name in ("counts", "indices", "values", "d_U", "inner")),
        None,
        sum_of([tile.residual_sum for tile in tiles]),
        {name: sum_of([tile.d_params[name] for tile in tiles]) for name in tiles[0].d_params},
        sum_of([tile.value for tile in tiles]),
        sum_of([tile.unexplained for tile in tiles]),
    )


def _tile(activation, terms, U, centred, X, params, context, residual):
    """Forward and backward through the activation and all terms but AuxK, for a tile of rows."""
    xp = namespace(X)
    kernel = implementation("sparse_step", xp)
    m, n = params["components"].shape[0], X.shape[0]
    if activation.support is not None:
        U = positive_entries(U, params[activation.support], m, in_order=False)
    heads, tape = activation.forward(U, params, context)
    columns = heads["codes"].columns if is_gpu(X) else None  # which all of this support share
    d_heads, value = {}, 0.0
    for term in terms:
        if isinstance(term, L1 | Penalty):
            held = term.hold(X, heads, params, context)
            term_value, d_term = term(X, heads, params, held, None)
        else:
            main = type(term) is Reconstruction
            memory = residual if main else xp.empty_like(residual)
            Z = heads[term.head]
            error, inner = kernel.reconstruct(Z, centred, params["components"], memory)
            term_value = error / (2 * n)
            d_term = {term.head: Z.with_values(inner / n)}
            if main:
                inner_of_codes, unexplained = inner, error / n
        value += term_value
        for name, d_head in d_term.items():
            d_heads[name] = codes.add(d_heads[name], d_head) if name in d_heads else d_head
    d_U, d_params = activation.backward(d_heads, tape, params)
    Z = heads["codes"]
    return Batch(
        None if is_gpu(X) else np.diff(Z.indptr), Z.indices, Z.values, d_U[0].values,
        inner_of_codes, columns, residual.sum(axis=0), d_params, value, unexplained,
    )  # fmt: skip


def _gradient_of_dead(encoder, auxk, params, context, centred, residual):
    """Value of AuxK; which latents are dead, and the gradients of their atoms, rows and biases."""
    latents = np.flatnonzero(context.dead)
    rows = centred[context.dead_rows]
    Z = encoder.codes_of_dead(rows, params, latents, context.still)
    atoms, E = take_rows(params["components"], latents), -residual[context.dead_rows]
    value, d_Z, d_D = auxk.of_atoms(Z, atoms, E)
    gradients = d_D, *encoder.gradient_of_dead(d_Z, Z, rows)
    return value, _slots(latents, params["components"]), *gradients


def _slots(latents, components):
    # On a GPU every latent is told which row of the extra gradients is its own, or -1.
    if not is_gpu(components):
        return latents
    slots = np.full(components.shape[0], -1, dtype=np.int32)
    slots[latents] = np.arange(latents.size)
    return asarray_like(slots, components)
