"""
From transformer activations to features that can be read
=========================================================

Trains a :class:`skdict.TopKAutoencoder` on token activations of a small language model (layer 3 of
all-MiniLM-L6-v2, a sample of which comes with skdict), and shows on held-out tokens what ten of its
latents respond to. The ten are drawn at random; none is picked by hand.

    python examples/plot_quickstart.py [--seed 0] [--figure quickstart.png]

takes well under a minute on two cores.
"""

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np

from skdict import TopKAutoencoder
from skdict.datasets import load_token_activations, token_context
from skdict.metrics import dead_fraction, feature_density, mean_l0


def strongest(codes, latent, n):
    """Rows in which the latent is most active, strongest first, active rows only."""
    order = np.argsort(-codes[:, latent], kind="stable")[:n]
    return order[codes[order, latent] > 0]


def draw(sae, test, codes, latents, path):
    """Density of the latents, the loss, and what three latents respond to."""
    figure = plt.figure(figsize=(10, 7.5), layout="constrained")
    above, below = figure.subfigures(2, 1)
    density_axis, loss_axis = above.subplots(1, 2)
    token_axis = below.subplots()

    density = feature_density(codes)
    density_axis.hist(np.log10(density[density > 0]), bins=40)
    density_axis.axvline(np.log10(sae.k / codes.shape[1]), color="black", ls=":", label="k / m")
    density_axis.legend(frameon=False)
    density_axis.set(
        title="activation density on held-out tokens",
        xlabel="log10 (fraction of tokens on which a latent fires)",
        ylabel="latents",
    )

    loss_axis.plot(np.arange(1, sae.n_iter_ + 1), sae.loss_curve_, marker="o", markersize=3)
    loss_axis.set(title="training loss", xlabel="pass", ylabel="mean objective")
    loss_axis.xaxis.get_major_locator().set_params(integer=True)

    positions, labels = [], []
    for group, latent in enumerate(latents[:3]):
        rows = strongest(codes, latent, 4)
        heights = [-(5 * group + rank) for rank in range(rows.size)]
        token_axis.barh(heights, codes[rows, latent], height=0.7, label=f"latent {latent}")
        positions += heights
        labels += [token_context(test, row, width=36).replace("$", r"\$") for row in rows]
    token_axis.set_yticks(positions, labels, fontsize=9)
    token_axis.legend(frameon=False, loc="lower right")
    token_axis.set_xlabel("activation")
    below.suptitle("strongest held-out tokens, in [brackets], of three latents drawn at random")
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--seed", type=int, default=0, help="of training and of the draw")
    parser.add_argument("--figure", default="quickstart.png", help="where the figure goes")
    arguments = parser.parse_args()

    train, test = load_token_activations(), load_token_activations(subset="test")
    print(f"{train.data.shape[0]} tokens to train on, {test.data.shape[0]} held out, "
          f"{train.data.shape[1]} features")  # fmt: skip

    begin = time.perf_counter()
    sae = TopKAutoencoder(1536, k=32, max_iter=20, random_state=arguments.seed, verbose=1)
    sae.fit(train.data)
    print(f"{sae.n_steps_} steps in {time.perf_counter() - begin:.0f} s")

    codes = sae.transform(test.data)
    print(f"held-out explained variance  {sae.score(test.data):.3f}")
    print(f"mean L0                      {mean_l0(codes):.1f}")
    print(f"dead latents                 {np.mean(sae.dead_latents_):.2%} at the end of training, "
          f"{dead_fraction(codes):.2%} silent on all held-out tokens")  # fmt: skip

    rng = np.random.default_rng(arguments.seed)
    latents = rng.choice(np.flatnonzero((codes > 0).any(axis=0)), 10, replace=False)
    print(
        f"\nTen latents drawn at random (seed {arguments.seed}) among those that fire on held-out"
        "\ntokens, and the tokens on which each is strongest, in [brackets]:"
    )
    for latent in latents:
        density = np.mean(codes[:, latent] > 0)
        print(f"\n  latent {latent}, active on {density:.2%} of tokens")
        for row in strongest(codes, latent, 5):
            print(f"    {codes[row, latent]:6.2f}  {token_context(test, row, width=36)}")

    draw(sae, test, codes, latents, arguments.figure)
    print(f"\nfigure: {arguments.figure}")


if __name__ == "__main__":
    main()
