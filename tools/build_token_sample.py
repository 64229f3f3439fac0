"""Make the package data of ``skdict.datasets.load_token_activations``, and measure what it costs.

    python tools/build_token_sample.py [FOLDER]

FOLDER, by default ``$SKDICT_DATA``, holds ``minilm_layer3_{train,test}.npy``, their
``_tokens.npz`` and ``_sentences.txt``, and ``minilm_vocab.txt``. Three files of
``skdict/datasets/data`` are written; the description and the notices beside them are kept by hand,
with the numbers printed here. The same folder gives the same arrays and texts.

Storage. Rows lose less from a coarser step than from being fewer. With the step at 1/32 of the
standard deviation, where int8 barely holds the range, the zip stores 342 bytes a row and
rounding takes 1.0e-4 of the variance; at 1/16 it is 296 bytes and 3.3e-4, nothing is clipped, and
there is room for 15 % more rows. A step of its own for each feature in proportion to its spread
treats all features alike; one common step costs the same bytes and error, but the features with a
small spread would pay for those with a large one.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

DOMAINS = ("novel", "wordnet", "pydoc", "query")  # wiki is share-alike and stays out
ROWS = {"train": 23_000, "test": 3_000}
STEPS_PER_DEVIATION = 16
LIMIT = 8_000_000  # bytes, all files of the data folder together
TARGET = Path(__file__).resolve().parents[1] / "skdict" / "datasets" / "data"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", default=os.environ.get("SKDICT_DATA"))
    folder = parser.parse_args().folder
    if folder is None:
        parser.error("name the data folder, as an argument or in $SKDICT_DATA")
    samples = {name: draw_sample(Path(folder), name, ROWS[name]) for name in ("train", "test")}
    vocabulary = read_lines(Path(folder) / "minilm_vocab.txt")

    train = samples["train"]["X"].astype(np.float64)
    centre = train.mean(axis=0).astype(np.float32)
    step = (train.std(axis=0) / STEPS_PER_DEVIATION).astype(np.float32)
    for sample in samples.values():
        sample["quantised"] = quantise(sample["X"], centre, step)
    write(samples, vocabulary, centre, step)
    report(samples, centre, step)


def draw_sample(folder, name, n_rows):
    """Whole sentences, the same fraction of each domain, in the order of the source."""
    meta = np.load(folder / f"minilm_layer3_{name}_tokens.npz", allow_pickle=False)
    texts = read_lines(folder / f"minilm_layer3_{name}_sentences.txt")
    length = np.bincount(meta["sentence"], minlength=len(texts))
    names = meta["domain_names"].tolist()
    domain = np.array([DOMAINS.index(n) if n in DOMAINS else -1 for n in names])
    domain = domain[meta["sentence_domain"]]
    fraction = n_rows / length[domain >= 0].sum()

    random = np.random.default_rng([20240625, name == "test"])
    chosen = np.zeros(len(texts), dtype=bool)
    for d in range(len(DOMAINS)):
        order = random.permutation(np.flatnonzero(domain == d))
        total = np.cumsum(length[order])
        chosen[order[: 1 + np.argmin(abs(total - fraction * total[-1]))]] = True
    rows = chosen[meta["sentence"]]
    return {
        "X": np.load(folder / f"minilm_layer3_{name}.npy", mmap_mode="r")[rows],
        "token_id": meta["token_id"][rows],
        "start": meta["start"][rows],
        "n_characters": meta["end"][rows] - meta["start"][rows],
        "sentence_length": length[chosen],
        "sentence_domain": domain[chosen],
        "texts": [texts[i] for i in np.flatnonzero(chosen)],
    }


def quantise(X, centre, step):
    steps = np.rint((X.astype(np.float32) - centre) / step)
    if abs(steps).max() > 127:
        raise ValueError(
            "a value lies outside of the range of int8; take fewer STEPS_PER_DEVIATION"
        )
    return steps.astype(np.int8)


def write(samples, vocabulary, centre, step):
    def both(key, dtype):
        arrays = [samples[name][key] for name in ("train", "test")]
        if max(a.max() for a in arrays) > np.iinfo(dtype).max:
            raise ValueError(f"{key} does not fit into {dtype}")
        return np.concatenate(arrays).astype(dtype)

    occurring, token = np.unique(both("token_id", np.uint16), return_inverse=True)
    n_sentences = [len(samples[name]["texts"]) for name in ("train", "test")]
    np.savez_compressed(
        TARGET / "minilm_tokens.npz",
        quantised=both("quantised", np.int8),
        centre=centre,
        step=step,
        token=token.astype(np.uint16),
        start=both("start", np.uint16),
        n_characters=both("n_characters", np.uint8),
        sentence_length=both("sentence_length", np.uint8),
        sentence_domain=both("sentence_domain", np.uint8),
        sentence_is_test=np.repeat([False, True], n_sentences),
        domain_names=np.array(DOMAINS),
    )
    write_lines(
        TARGET / "minilm_tokens_sentences.txt", samples["train"]["texts"] + samples["test"]["texts"]
    )
    write_lines(TARGET / "minilm_tokens_vocabulary.txt", [vocabulary[i] for i in occurring])


def report(samples, centre, step):
    """Print sizes and the cost of rounding, and stop where the data outgrow their limit."""
    original = {name: sample["X"].astype(np.float32) for name, sample in samples.items()}
    rounded = {name: sample["quantised"] * step + centre for name, sample in samples.items()}
    for name, sample in samples.items():
        rows = np.bincount(sample["sentence_domain"], weights=sample["sentence_length"])
        sentences = np.bincount(sample["sentence_domain"])
        print(f"{name}: {len(sample['X'])} rows, {len(sample['texts'])} sentences;", end=" ")
        print(*(f"{d} {r:.0f} ({s})" for d, r, s in zip(DOMAINS, rows, sentences)), sep=", ")
        loss = 1 - explained_variance(original[name], rounded[name])
        print(f"  variance lost to rounding {loss:.2e}, largest step used", end=" ")
        print(abs(sample["quantised"]).max(), end=", ")
        print(f"mean norm of a row {np.linalg.norm(rounded[name], axis=1).mean():.2f}")
    for n in (8, 32, 128):
        scores = []
        for X in (original, rounded):
            pca = PCA(n, svd_solver="covariance_eigh").fit(X["train"].astype(np.float64))
            X_hat = pca.inverse_transform(pca.transform(X["test"]))
            scores.append(explained_variance(X["test"], X_hat))
        print(f"PCA({n}) explained variance on test: float16 {scores[0]:.5f}, int8 {scores[1]:.5f}")
    sizes = {path.name: path.stat().st_size for path in sorted(TARGET.iterdir())}
    for name, size in sizes.items():
        print(f"{size:>10,} {name}")
    print(f"{sum(sizes.values()):>10,} of {LIMIT:,} bytes")
    if sum(sizes.values()) > LIMIT:
        raise SystemExit("too large: take fewer ROWS")


def explained_variance(X, X_hat):
    X, X_hat = X.astype(np.float64), X_hat.astype(np.float64)
    return 1 - ((X - X_hat) ** 2).sum() / ((X - X.mean(axis=0)) ** 2).sum()


def read_lines(path):
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def write_lines(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
