"""Dead latents: counting how long each has been silent, and resampling those that are dead.

Resampling is the recipe of Bricken et al. 2023, "Towards Monosemanticity", appendix on neuron
resampling; losses are taken on the current batch.
"""

import numpy as np

from skdict.backend import namespace, set_rows, to_numpy
from skdict.constraints import unit_rows
from skdict.encoders import Hidden, reading

DEAD_WORK = 1 << 25  # multiply-adds of a product (of five) that any step can afford
SAMPLE_WORK = 700  # dead latents that cost as much as looking at a sample does on its own
AT_ONCE = 64  # the part of all latents that are resampled together, at most
PERFECT = 1e-10  # loss against the largest of a batch, below which there is but rounding
ENCODER_SCALE = 0.2  # norm of a resampled encoder row against the mean of the living (Bricken)


def dead_every(n_samples, n_features, n_components, n_dead):
    """The n for which dead latents look at every n-th sample: they shall cost little, many or few.

    A twentieth of the work of all latents, where the step is not small anyway: with that, as many
    revive as with every sample, with a hundredth fewer do. A sample costs some work of its own,
    whatever the number of dead.
    """
    affordable = max(n_samples * n_components // 20, DEAD_WORK // n_features)
    return min(max(1, -(-n_samples * (n_dead + SAMPLE_WORK) // affordable)), max(n_samples, 1))


def count_silence(silent_for, fired, n_samples):
    """Add `n_samples` to the silence of latents, in place; back to zero for those that fired."""
    silent_for += n_samples
    silent_for *= ~fired  # CuPy would wait for an assignment by a mask


def resample(state, dead, X, residual):
    """Point dead latents at what is badly reconstructed, in place in `state`.

    `residual` is that of the reconstruction of the batch X. Samples are drawn without replacement
    with probability proportional to their *squared* loss. The atom becomes what the sample lacks,
    normalised, and the encoder row the same direction at 0.2 times the mean norm of the living
    rows; all other parameters of the latent become zero.

    Departures from the recipe, without which latents that are resampled together can undo a
    training whose rate is high: the direction is that of the residual instead of the sample, for
    directions that many samples share are reconstructed already; Adam's second moments become
    those of the living on average instead of zero, for its first steps would be three times as
    large as any other; and no more than a part of all latents is resampled at once.
    """
    losses = to_numpy(namespace(X).sum(residual**2, axis=1)).astype(np.float64)
    latents = np.flatnonzero(dead)
    losses /= max(losses.max(), np.finfo(float).tiny)
    weights = losses**2
    candidates = np.flatnonzero(losses > PERFECT)
    n_drawn = min(latents.size, candidates.size, max(1, dead.size // AT_ONCE))
    if n_drawn == 0:
        return
    latents = state.random.permutation(latents)[:n_drawn]
    weights = weights[candidates] / weights[candidates].sum()
    rows = state.random.choice(candidates, n_drawn, replace=False, p=weights)
    directions = np.asarray(unit_rows(-to_numpy(residual)[rows]))
    alive = ~dead
    for name, param in state.params.items():
        if name == "decoder_bias" or name in Hidden.names:
            continue
        new = directions if name == "components" else 0 * to_numpy(param)[latents]
        if name == "encoder":
            norms = np.linalg.norm(to_numpy(param)[alive], axis=1)
            new = unit_rows(reading(directions, state.params))
            new = new * (ENCODER_SCALE * (norms.mean() if norms.size else 1.0))
        set_rows(param, latents, new)
        mean, square = (state.optimizer[moment][name] for moment in ("mean", "square"))
        usual = to_numpy(square)[alive if alive.any() else dead].mean(axis=0)
        set_rows(mean, latents, np.stack([0 * usual] * n_drawn))
        set_rows(square, latents, np.stack([usual] * n_drawn))
    state.silent_for[latents] = 0
