"""
How much an L1 penalty shortens codes, and what mends it
========================================================

Repeats "Addressing Feature Suppression in SAEs" (Wright & Sharkey, LessWrong 2024) and the claims
of "Improving Dictionary Learning with Gated Sparse Autoencoders" (Rajamanoharan et al., arXiv
2404.16014). First the scalar case, in which a code under an L1 penalty is short by a constant, on
data where it can be predicted. Then token activations of a small language model:
L1 as it is, with codes rescaled or atoms refitted afterwards, and a gated encoder, compared at
equal numbers of active latents. Last, the gated encoder is written as a JumpReLU encoder.

    python examples/papers/feature_suppression.py [--full] [--seeds 4] [--output FOLDER]

The data come with skdict.
"""

import warnings
from collections import namedtuple

import matplotlib.pyplot as plt
import numpy as np
from report import arguments, mean_interval, reported

from skdict import GatedAutoencoder, LassoCoder, SparseAutoencoder, TopKAutoencoder
from skdict.datasets import load_token_activations
from skdict.metrics import dead_fraction, explained_variance, mean_l0, shrinkage

L0S = (8, 16, 32)  # at which methods are compared
PRICES = (0.25, 0.5, 1.0, 1.5, 1.9, 2.0, 2.2)  # c of (g - a)^2 + c a, with g = 1
RARE = 16, 64, 64  # features of the scalar case, each in one row of as many, and latents

Size = namedtuple("Size", "rows passes n_components steps")
SMALL = Size(4000, 15, 256, 1000)
FULL = Size(10_000, 16, 512, 3000)

L1_ALPHAS = (1.0, 1.5, 2.2, 3.6)
METHODS = {
    "L1": (SparseAutoencoder, "alpha", L1_ALPHAS, {}),
    "L1, scales": (SparseAutoencoder, "alpha", L1_ALPHAS, {"repair": "scale"}),
    "L1, decoder": (SparseAutoencoder, "alpha", L1_ALPHAS, {"repair": "decoder"}),
    "gated": (GatedAutoencoder, "alpha", (1.5, 2.3, 3.4, 5.0, 8.0), {}),
    "TopK": (TopKAutoencoder, "k", (6, 12, 24, 48), {}),
}

Run = namedtuple("Run", "setting l0 explained shrinkage dead codes")
JumpReLU = namedtuple("JumpReLU", "theta entries support largest margin")


def tokens(rows, seed):
    """`rows` training tokens, drawn anew for each seed, and all held-out tokens."""
    X = load_token_activations().data
    chosen = np.random.default_rng(seed).permutation(X.shape[0])[:rows]
    return X[chosen], load_token_activations(subset="test").data


def quietly(function, *arguments):
    """Call without warnings of dead latents or of codes that are all zero: they are counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function(*arguments)


def evaluated(estimator, X, test, setting):
    """The estimator, fitted, and what it does on held-out rows."""
    quietly(estimator.fit, X)
    Z = estimator.transform(test)
    X_hat = estimator.inverse_transform(Z)
    scale = getattr(estimator, "scale_", 1.0)
    codes = np.median(Z[Z > 0]) / scale if (Z > 0).any() else 0.0
    return Run(
        setting, mean_l0(Z), explained_variance(test, X_hat), shrinkage(test, X_hat),
        dead_fraction(Z), float(codes),
    )  # fmt: skip


def at_l0(runs, l0, field="explained"):
    """A field of runs at a number of active latents: straight between settings, in log L0.

    NaN outside the range of the settings.
    """
    points = sorted((run.l0, getattr(run, field)) for run in runs if run.l0 > 0)
    x, y = np.transpose(points)
    return float(np.interp(np.log(l0), np.log(x), y, left=np.nan, right=np.nan))


def l0_at(runs, explained):
    """The number of active latents at which runs explain as much, by the same lines."""
    points = sorted((run.explained, np.log(run.l0)) for run in runs if run.l0 > 0)
    x, y = np.transpose(points)
    return float(np.exp(np.interp(explained, x, y, left=np.nan, right=np.nan)))


def short(price, share=0.0):
    """What is left of a code of 1 at a price c: the minimum of (1 - a)^2 + c a over a >= 0.

    `share` is how often the feature occurs, where a decoder bias can do part of the work.
    """
    return max(1 - price / 2 / (1 - share), 0.0)


def rare_features(price, steps):
    """Codes and reconstructions, where they are active, of features of size 1 that are rare.

    An autoencoder is trained on one-hot rows among rows of zeros, `RARE`, all in one batch. Of the
    features that it encodes: the mean code, summed over latents, the mean of what is decoded, and
    how many there are.
    """
    n_features, n_rows, n_latents = RARE
    X = np.zeros((n_rows, n_features))
    X[:n_features] = np.eye(n_features)
    scale = float((X - X.mean(axis=0)).std())
    sae = SparseAutoencoder(
        n_latents, alpha=price / 2 / scale, batch_size=n_rows, max_iter=steps, weight_decay=0,
        resample_dead=False, dead_after=n_rows * steps, random_state=0,
    )  # fmt: skip
    Z = quietly(sae.fit, X).transform(X)[:n_features]
    encoded = Z.sum(axis=1) > 0
    if not encoded.any():
        return 0.0, 0.0, 0
    decoded = np.diag(sae.inverse_transform(Z))
    return Z.sum(axis=1)[encoded].mean(), decoded[encoded].mean(), int(encoded.sum())


def lone_atom(price):
    """Code of a sample of 1 over an atom of 1, by LassoCoder."""
    one = np.ones((1, 1))
    coder = LassoCoder(alpha=price / 2, dictionary=one, positive=True)
    return float(quietly(coder.fit, one).transform(one)[0, 0])


def scalar_case(steps):
    """Table of predicted and measured codes; gives its rows."""
    n_features, n_rows, n_latents = RARE
    print("\nscalar case: a feature of size 1 at a price c; predicted code 1 - c/2. Autoencoder: "
          f"{n_features} one-hot\nfeatures, each in 1 of {n_rows} rows, {n_latents} latents, "
          f"{steps} steps; as its decoder bias does part of\nthe work, its code is predicted to be "
          f"1 - c/2 / (1 - 1/{n_rows}), and what is decoded 1 - c/2;\nmeans over the features that "
          "it encodes")  # fmt: skip
    print("   c   predicted  LassoCoder   autoencoder: predicted   code      decoded   encoded")
    rows = []
    for price in PRICES:
        found = rare_features(price, steps)
        rows.append((price, short(price), lone_atom(price), short(price, 1 / n_rows), *found))
        print("{:5} {:10.5f} {:11.5f} {:23.5f} {:9.5f} {:9.5f} {:6}".format(*rows[-1])
              + f" of {n_features}")  # fmt: skip
    return np.array(rows)


def as_jumprelu(gated, X):
    """Codes of a fitted gated encoder by its JumpReLU form, and the thresholds.

    ``m H[m > max(theta, 0)]`` with ``m = exp(r) U + b_mag``, ``theta = b_mag - exp(r) b_gate``.
    """
    scale = np.exp(gated.magnitude_log_scale_)
    M = (X - gated.decoder_bias_) @ (scale[:, None] * gated.encoder_).T + gated.encoder_bias_
    theta = gated.encoder_bias_ - scale * gated.gate_bias_
    return M * (np.maximum(theta, 0) < M), M, theta


def jumprelu_case(gated, X):
    """How far the JumpReLU form is from `transform`."""
    Z, (jump, M, theta) = gated.transform(X), as_jumprelu(gated, X)
    differ = (Z > 0) != (jump > 0)
    both = (Z > 0) & (jump > 0)
    margin = np.abs(M - np.maximum(theta, 0))[differ] / np.abs(M[differ])
    return JumpReLU(
        theta, Z.size, int(differ.sum()), float(np.abs(Z - jump)[both].max() / Z.max()),
        float(margin.max(initial=0)),
    )  # fmt: skip


def all_runs(size, seeds):
    """Runs by method and seed; JumpReLU forms of gated encoders."""
    runs, forms = {}, []
    for seed in range(seeds):
        X, test = tokens(size.rows, seed)
        for name, (kind, parameter, settings, others) in METHODS.items():
            for setting in settings if size is FULL else (settings[0], settings[-1]):
                estimator = kind(
                    size.n_components, max_iter=size.passes, random_state=seed,
                    **{parameter: setting}, **others,
                )  # fmt: skip
                runs.setdefault((name, seed), []).append(evaluated(estimator, X, test, setting))
                if name == "gated":
                    forms.append(jumprelu_case(estimator, test))
    return runs, forms


def by_seed(runs, name, value):
    return np.array([value(group) for (other, _), group in runs.items() if other == name])


def interval(values, form=".4f"):
    mean, half = mean_interval(values)
    return f"{mean:{form}} +- {half:{form}}"


def print_runs(runs):
    print("\nevery setting, means over seeds; held-out tokens; dead: latents that none of them "
          "activates;\ncode: median of the active ones, in units of `scale_`")  # fmt: skip
    print("method        setting      L0   explained   shrinkage    dead   code")
    for name in dict.fromkeys(name for name, _ in runs):
        groups = np.array([group for (other, _), group in runs.items() if other == name])
        for row in groups.mean(axis=0):
            print("{:12} {:8g} {:7.1f} {:11.4f} {:11.3f} {:7.1%} {:6.2f}".format(name, *row))


def print_common(runs, l0s):
    print("\nat equal L0, interpolated in log L0; +- 95 % over seeds; nan: not reached")
    print("L0   method       explained variance    less FVU than L1      shrinkage")
    for l0 in l0s:
        plain = by_seed(runs, "L1", lambda group: at_l0(group, l0))  # noqa: B023
        for name in dict.fromkeys(name for name, _ in runs):
            explained = by_seed(runs, name, lambda group: at_l0(group, l0))  # noqa: B023
            gamma = by_seed(runs, name, lambda group: at_l0(group, l0, "shrinkage"))  # noqa: B023
            less = 100 * (explained - plain) / (1 - plain)
            print(f"{l0:<4} {name:12} {interval(explained):20}  {interval(less, '.1f'):>14} %"
                  f"   {interval(gamma, '.3f'):>18}")  # fmt: skip


def _yes(condition):
    return "yes" if condition else "no"


def conclude(rows, runs, forms, l0s):
    price, predicted, lasso, of_code, measured, decoded, encoded = rows.T
    active = encoded > 0
    print("\nconclusions")
    print(f"scalar case, largest difference from the prediction: LassoCoder "
          f"{np.abs(lasso - predicted).max():.1e}, autoencoder's code "
          f"{np.abs(measured - of_code)[active].max():.1e}, decoded "
          f"{np.abs(decoded - predicted)[active].max():.1e}\n  (of features that it encodes); zero "
          f"from c = {price[lasso == 0].min():g} on: LassoCoder's code")  # fmt: skip
    for l0 in l0s:
        explained, gamma = (
            {name: by_seed(runs, name, lambda group: at_l0(group, l0, field)).mean()  # noqa: B023
             for name in METHODS}
            for field in ("explained", "shrinkage")
        )  # fmt: skip
        order = sorted(explained, key=explained.get, reverse=True)
        cut = {
            name: (explained[name] - explained["L1"]) / (1 - explained["L1"]) for name in METHODS
        }
        print(f"L0 {l0}: most explained first: {'; '.join(order)}")
        print(f"  squared error below that of L1: scales {cut['L1, scales']:.1%}, decoder "
              f"{cut['L1, decoder']:.1%} (published for trained scales: 9 %); gated "
              f"{cut['gated']:.1%}")  # fmt: skip
        share = cut["L1, decoder"] / cut["gated"]
        print(f"  share of the gap to gated that refitting the decoder closes: {share:.0%}")
        print(
            f"  L1 shortens by {1 - gamma['L1']:.1%}; repaired and gated within 5 % of 1: "
            f"{_yes(all(abs(gamma[name] - 1) < 0.05 for name in METHODS if name != 'L1'))}"
        )
    for l0 in l0s:
        for name in ("L1", "L1, decoder"):
            ratios = [
                l0_at(runs["gated", seed], at_l0(runs[name, seed], l0)) / l0
                for other, seed in runs
                if other == name
            ]
            print(f"gated, active latents at the explained variance of {name} at L0 {l0}: "
                  f"{interval(ratios, '.2f')} of it (paper: about half)")  # fmt: skip
    below = np.mean(np.concatenate([form.theta for form in forms]) < 0)
    print(f"gated as JumpReLU, {len(forms)} fits: {sum(form.support for form in forms)} of "
          f"{sum(form.entries for form in forms)} codes are active in one form alone, all within "
          f"{max(form.margin for form in forms):.0e} of\n  the threshold; the others differ by at "
          f"most {max(form.largest for form in forms):.0e} of the largest; thresholds below 0: "
          f"{below:.2%}")  # fmt: skip


def draw(rows, runs):
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    price, _, lasso, _, measured, decoded, encoded = rows.T
    line = np.linspace(0, 2.4, 100)
    axes[0].plot(line, [short(c) for c in line], "k:", label="1 - c/2")
    axes[0].plot(price, lasso, "o", mfc="none", ms=9, label="LassoCoder, code")
    price, measured, decoded = (values[encoded > 0] for values in (price, measured, decoded))
    axes[0].plot(price, measured, "x", label="SparseAutoencoder, code")
    axes[0].plot(price, decoded, "+", ms=10, label="SparseAutoencoder, decoded")
    axes[0].set(
        title="a feature of size 1", xlabel="price c of a unit of code", ylabel="what is left"
    )
    names = dict.fromkeys(name for name, _ in runs)
    for (name, color), marker in zip(
        zip(names, plt.cm.tab10.colors, strict=False), "os^Dv", strict=True
    ):
        groups = np.array([group for (other, _), group in runs.items() if other == name])
        l0, explained, gamma = groups.mean(axis=0)[:, 1:4].T
        for axis, values in zip(axes[1:], (explained, gamma), strict=True):
            axis.plot(l0, values, marker=marker, color=color, ms=5, label=name)
    axes[2].axhline(1, color="black", ls=":", lw=1)
    axes[1].set(title="held-out tokens", ylabel="explained variance")
    axes[2].set(title="held-out tokens; 1: no shrinkage", ylabel="shrinkage $\\gamma$")
    for axis in axes[1:]:
        axis.set(xscale="log", xlabel="mean active latents (L0)")
        axis.set_xticks([4, 8, 16, 32, 64], ["4", "8", "16", "32", "64"])
        axis.minorticks_off()
    for axis in axes[:2]:
        axis.legend(frameon=False)
    return figure


def main():
    options = arguments(__doc__, seeds=4)
    size, l0s = (FULL, L0S) if options.full else (SMALL, L0S[1:2])
    with reported(__file__, options) as save:
        print(f"tokens: MiniLM activations, {size.rows} rows of 23,000 drawn for each seed, "
              f"{size.n_components} latents, {size.passes} passes; 3,003 held out")  # fmt: skip
        rows = scalar_case(size.steps)
        runs, forms = all_runs(size, options.seeds if options.full else 2)
        print_runs(runs)
        print_common(runs, l0s)
        conclude(rows, runs, forms, l0s)
        save(draw(rows, runs))


if __name__ == "__main__":
    main()
