"""The packaged activations: shape, texts, licences, and closeness to what they were made from."""

import os
import pickle
import re
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.naive_bayes import GaussianNB

from skdict.datasets import load_token_activations, token_context

PACKAGED = files("skdict.datasets") / "data"


@pytest.fixture(scope="module")
def everything():
    return load_token_activations(subset="all")


@pytest.fixture(scope="module")
def source():
    """Folder that the sample was drawn from."""
    checkout = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("SKDICT_DATA") or checkout.parent / "shared" / "data")
    if not (folder / "minilm_layer3_train.npy").exists():
        pytest.skip("the activations in full are neither in $SKDICT_DATA nor beside the checkout")
    return folder


@pytest.mark.parametrize("subset", ["train", "test", "all"])
def test_shapes_and_kinds(subset):
    bunch = load_token_activations(subset=subset)
    n = len(bunch.data)
    assert bunch.data.shape == (n, 384)
    assert bunch.data.dtype == np.float32
    assert bunch.data.flags.c_contiguous and bunch.data.flags.writeable
    assert np.isfinite(bunch.data).all()
    for name in ("tokens", "sentence", "start", "end", "domain", "is_test"):
        assert bunch[name].shape == (n,), name
    assert bunch.domain_names.tolist() == ["novel", "wordnet", "pydoc", "query"]
    assert set(bunch.domain.tolist()) == {0, 1, 2, 3}
    # every sentence of the subset and no other, each in one piece
    assert (np.unique(bunch.sentence) == np.arange(len(bunch.sentences))).all()
    assert (np.diff(bunch.sentence) >= 0).all()


def test_all_is_train_then_test(everything):
    train, test = load_token_activations(), load_token_activations(subset="test")
    for name in ("data", "tokens", "start", "end", "domain", "is_test"):
        assert (everything[name] == np.concatenate([train[name], test[name]])).all(), name
    assert everything.sentences == train.sentences + test.sentences
    assert not train.is_test.any() and test.is_test.all()
    shifted = test.sentence + len(train.sentences)
    assert (everything.sentence == np.concatenate([train.sentence, shifted])).all()


def test_train_and_test_share_no_sentence(everything):
    assert len(set(everything.sentences)) == len(everything.sentences)


def test_sizes_that_the_description_names(everything):
    # catches a new build of the data without a new description
    for test_set, n_rows in ((False, 23000), (True, 3003)):
        part = everything.is_test == test_set
        assert part.sum() == n_rows
        names = [str(n_rows), str(len(np.unique(everything.sentence[part])))]
        for text in (everything.DESCR, load_token_activations.__doc__):
            assert all(re.search(rf"\b{name}\b", text) for name in names)
        for rows in np.bincount(everything.domain[part]):
            assert re.search(rf"\b{rows}\b", everything.DESCR)


def test_domains_in_the_same_proportions(everything):
    share = [
        np.bincount(everything.domain[everything.is_test == test])
        / (everything.is_test == test).sum()
        for test in (False, True)
    ]
    np.testing.assert_allclose(share[0], share[1], atol=0.01)


def test_tokens_are_the_text_they_stand_for(everything):
    assert (everything.start < everything.end).all()
    for i, token in enumerate(everything.tokens):
        text = everything.sentences[everything.sentence[i]]
        piece = token.removeprefix("##") if len(token) > 2 else token
        assert text[everything.start[i] : everything.end[i]].lower() == piece


def test_rows_of_a_sentence_cover_it(everything):
    # nothing but blanks lies between neighbouring word pieces, before the first and after the last
    spans = {}
    for i, s in enumerate(everything.sentence):
        spans.setdefault(s, []).append((everything.start[i], everything.end[i]))
    for s, pieces in spans.items():
        text, position = everything.sentences[s], 0
        for start, end in pieces:
            assert text[position:start].strip() == ""
            position = end
        assert text[position:].strip() == ""
        assert 6 <= len(pieces) <= 48


def test_context_shows_every_token(everything):
    for i in range(0, len(everything.data), 50):
        line = token_context(everything, i, width=20)
        piece = everything.tokens[i].removeprefix("##") or "##"
        assert f"[{piece}]" in line.lower()
        assert "\n" not in line
        assert len(line) <= len(piece) + 2 + 2 * 21
        # without brackets and ellipses it is a part of the sentence
        whole = token_context(everything, i, width=1000)
        text = everything.sentences[everything.sentence[i]]
        start, end = everything.start[i], everything.end[i]
        assert whole == f"{text[:start]}[{text[start:end]}]{text[end:]}"
        assert line.strip("…") in whole


def test_context_cuts_and_ends():
    bunch = SimpleNamespace(
        sentences=["a bcd e"], sentence=[0, 0, 0], start=[0, 2, 6], end=[1, 5, 7]
    )
    assert token_context(bunch, 1) == "a [bcd] e"
    assert token_context(bunch, 1, width=2) == "a [bcd] e"
    assert token_context(bunch, 1, width=1) == "… [bcd] …"
    assert token_context(bunch, 1, width=0) == "…[bcd]…"
    assert token_context(bunch, 0, width=0) == "[a]…"
    assert token_context(bunch, np.int64(-1), width=0) == "…[e]"


def test_context_refuses():
    bunch = SimpleNamespace(sentences=["a"], sentence=[0], start=[0], end=[1])
    with pytest.raises(IndexError, match=r"token_context: index=1 is out of range.*1 of bunch"):
        token_context(bunch, 1)
    with pytest.raises(IndexError, match="index=-2"):
        token_context(bunch, -2)
    with pytest.raises(TypeError, match=r"token_context: index=0\.0 is not an integer"):
        token_context(bunch, 0.0)
    with pytest.raises(TypeError, match="width='3' is not an integer"):
        token_context(bunch, 0, width="3")
    with pytest.raises(ValueError, match="width=-1 is out of range"):
        token_context(bunch, 0, width=-1)


def test_subset_is_checked():
    with pytest.raises(ValueError, match=r"load_token_activations: subset='both'.*'train', 'test'"):
        load_token_activations(subset="both")
    with pytest.raises(TypeError, match="subset=None is not a string"):
        load_token_activations(subset=None)


def test_return_X_y_is_what_the_bunch_holds():
    bunch = load_token_activations(subset="test")
    X, y = load_token_activations(subset="test", return_X_y=True)
    assert (X == bunch.data).all() and (y == bunch.domain).all()


def test_calls_share_nothing():
    first = load_token_activations(subset="test")
    first.data[:] = 0
    assert load_token_activations(subset="test").data.any()


def test_bunch_pickles():
    bunch = load_token_activations(subset="test")
    again = pickle.loads(pickle.dumps(bunch))
    assert (again.data == bunch.data).all() and again.sentences == bunch.sentences


def test_rows_carry_the_domain():
    # rows out of step with their labels would score at chance, 0.41
    bunch = load_token_activations(subset="test")
    scores = cross_val_score(GaussianNB(), bunch.data, bunch.domain)
    assert scores.mean() > 0.6


def test_rows_stay_in_step_with_their_tokens():
    # the same word piece in two sentences is far closer than two word pieces
    bunch = load_token_activations(subset="test")
    X = bunch.data - bunch.data.mean(axis=0)
    same = X[bunch.tokens == "of"]
    spread = ((same - same.mean(axis=0)) ** 2).sum() / (same**2).sum()
    assert len(same) > 20 and spread < 0.7


def test_package_data_is_small_and_readable():
    assert sum(len(file.read_bytes()) for file in PACKAGED.iterdir()) <= 8_000_000
    for file in PACKAGED.iterdir():
        if not file.name.endswith(".npz"):
            assert b"\r" not in file.read_bytes()
            file.read_text(encoding="utf-8")


def test_share_alike_text_is_absent(everything):
    assert "wiki" not in everything.domain_names.tolist()
    assert not any("wiki" in sentence.lower() for sentence in everything.sentences)


@pytest.mark.parametrize(
    "notice",
    [
        "all-MiniLM-L6-v2",
        "Apache License, Version 2.0",
        "public domain",
        "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.",
        "Princeton University and LICENSEE agrees to preserve same.",
        "Copyright (c) 2001-2026 Python Software Foundation; All Rights Reserved",
        "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2",
        "https://creativecommons.org/licenses/by/3.0/",
        "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction",
        "Stefan Larson",
    ],
)
def test_notices_travel_with_the_data(everything, notice):
    assert notice in (PACKAGED / "NOTICE.txt").read_text(encoding="utf-8")
    assert notice in everything.DESCR
    assert (PACKAGED / "LICENSE-APACHE-2.0.txt").is_file()


def test_rounding_costs_what_the_description_says(everything, source):
    original = {
        name: original_rows(source, name, everything, everything.is_test == test)
        for name, test in (("train", False), ("test", True))
    }
    half_step = original["train"].std(axis=0, dtype=np.float64) / 32
    for name, test in (("train", False), ("test", True)):
        error = everything.data[everything.is_test == test] - original[name]
        variance = ((original[name] - original[name].mean(axis=0, dtype=np.float64)) ** 2).sum()
        assert 3.2e-4 < (error.astype(np.float64) ** 2).sum() / variance < 3.35e-4
        # a clipped value would be off by more
        assert (abs(error) <= half_step * 1.001).all()


def test_no_sentence_of_the_share_alike_domain(everything, source):
    for name in ("train", "test"):
        meta = np.load(source / f"minilm_layer3_{name}_tokens.npz", allow_pickle=False)
        wiki = meta["domain_names"].tolist().index("wiki")
        texts = source_texts(source, name)
        forbidden = {texts[i] for i in np.flatnonzero(meta["sentence_domain"] == wiki)}
        assert forbidden and forbidden.isdisjoint(everything.sentences)


def original_rows(source, name, bunch, part):
    """Rows of the source for the sentences of `part`, found by their text, as float32."""
    meta = np.load(source / f"minilm_layer3_{name}_tokens.npz", allow_pickle=False)
    X = np.load(source / f"minilm_layer3_{name}.npy", mmap_mode="r")
    line = {text: i for i, text in enumerate(source_texts(source, name))}
    first = np.searchsorted(meta["sentence"], np.arange(len(line) + 1))
    wanted = [line[bunch.sentences[s]] for s in np.unique(bunch.sentence[part])]
    rows = np.concatenate([np.arange(first[i], first[i + 1]) for i in wanted])
    assert (meta["start"][rows] == bunch.start[part]).all()
    names = meta["domain_names"][meta["sentence_domain"][meta["sentence"][rows]]]
    assert (names == bunch.domain_names[bunch.domain[part]]).all()
    return X[rows].astype(np.float32)


def source_texts(source, name):
    text = (source / f"minilm_layer3_{name}_sentences.txt").read_text(encoding="utf-8")
    return text.split("\n")[:-1]
