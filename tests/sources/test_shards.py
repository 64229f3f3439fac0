"""Shards as an object of the user's, and everything that can be wrong with files."""

import pickle

import numpy as np
import pytest
from stores import rows_in_order, rows_of

from skdict import tensor_files
from skdict.datasets import open_shards
from skdict.sources import open_source

X = rows_of(20)


def save_tensors(path, **arrays):
    with open(path, "wb") as file:
        tensor_files.write(file, arrays)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "a.npy", X[:12])
    np.save(tmp_path / "b.npy", X[12:])
    return tmp_path


def test_an_array_of_rows(folder):
    # Catches an object that only estimators can use.
    shards = open_shards(folder)
    assert (shards.shape, shards.ndim, shards.dtype, len(shards)) == ((20, 3), 2, X.dtype, 20)
    assert repr(shards) == "Shards(shape=(20, 3), dtype=float32, 2 files)"
    slices = [slice(None), slice(3, 15), slice(18, 2, -3), slice(5, 5)]
    indices = [4, -1, [3, 1, 3], [], X[:, 0] > 0]
    for key in slices + indices:
        np.testing.assert_array_equal(shards[key], X[key])
    with pytest.raises(IndexError):
        shards[20]
    with pytest.raises(IndexError, match="only whole rows"):
        shards[:, 0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(shards))[:], X)


def test_files_folders_and_patterns(folder, monkeypatch):
    # Catches files in another order, or ones that are no shards.
    (folder / "readme.txt").touch()
    a, b = str(folder / "a.npy"), str(folder / "b.npy")
    monkeypatch.chdir(folder)
    for paths in (folder, str(folder), folder / "*.npy", [a, b], (folder / "a*", b)):
        shards = open_shards(paths)
        assert shards.paths == [a, b]
    assert open_shards(["b.npy", "a.npy"]).paths == [b, a]
    assert open_source("?.npy", "Test").n_rows == 20


@pytest.mark.parametrize("path", ["c.npy", "*.safetensors", "empty"])
def test_missing_files_are_named(path, folder):
    # Catches an error that does not say what was looked for.
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Test: .*" + path.replace("*", r"\*")):
        open_source(folder / path, "Test")
    with pytest.raises(FileNotFoundError, match="open_shards: "):
        open_shards([folder / "a.npy", folder / path])


@pytest.mark.parametrize(
    "array, error, message",
    [
        (X[0], ValueError, r"bad.npy has shape \(3,\)"),
        (X[:0], ValueError, r"bad.npy has shape \(0, 3\)"),
        (X[:, :2], ValueError, r"bad.npy has 2 features, but .*a.npy has 3"),
        (np.asfortranarray(X), ValueError, r"bad.npy is in Fortran order.*ascontiguousarray"),
        (np.array([[None] * 3]), TypeError, r"bad.npy: X has dtype object"),
        (np.array([["a"] * 3]), TypeError, r"bad.npy: X has dtype <U1"),
        (X.astype(complex), TypeError, r"bad.npy: X has dtype complex128"),
    ],
)
def test_bad_arrays_are_named(array, error, message, folder):
    # Catches files that are read as something else.
    np.save(folder / "bad.npy", array)
    with pytest.raises(error, match=message):
        open_shards([folder / "a.npy", folder / "bad.npy"])


@pytest.mark.parametrize("name", ["bad.npy", "bad.safetensors", "bad.csv"])
@pytest.mark.parametrize("content", [b"", b"1,2\n3,4\n" * 9])
def test_other_files_are_named(name, content, folder):
    # Catches a format error that does not name the file.
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        open_shards(folder / name)


@pytest.mark.parametrize("kind", ["npy", "safetensors"])
def test_files_cut_off_or_gone(kind, folder):
    # Catches a crash, or rows of zeros, when files change under a fit.
    path = folder / f"x.{kind}"
    np.save(path, X) if kind == "npy" else save_tensors(path, X=X)
    whole, shards = path.read_bytes(), open_shards(path)
    for change in (whole[:-50], whole + b"0"):
        path.write_bytes(change)
        with pytest.raises(ValueError, match=rf"x.{kind} had .* bytes when it was opened, but now"):
            rows_in_order(shards, shards.order(None))
    path.write_bytes(whole[:-50])
    with pytest.raises(ValueError, match=rf"x.{kind} is cut off"):
        open_shards(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"x.{kind} was there .* but is gone"):
        shards[:3]


def test_a_memmap_cut_off(tmp_path):
    # Catches a bus error, which ends the process.
    big = np.zeros((5000, 8))
    np.save(tmp_path / "X.npy", big)
    source = open_source(np.load(tmp_path / "X.npy", mmap_mode="r"), "Test")
    with open(tmp_path / "X.npy", "r+b") as file:
        file.truncate(10_000)
    with pytest.raises(ValueError, match=r"Test: .*X.npy was cut off"):
        rows_in_order(source, source.order(None))


def test_tensors_by_name(tmp_path):
    # Catches a wrong guess at which tensor is meant.
    path = tmp_path / "x.safetensors"
    save_tensors(path, one=X, two=2 * X, bias=X[0])
    names = r"'bias' \(3,\), 'one' \(20, 3\), 'two' \(20, 3\)"
    with pytest.raises(ValueError, match=rf"no single tensor .* {names}"):
        open_shards(path)
    with pytest.raises(ValueError, match=r"no tensor 'three'.*'one' \(20, 3\)"):
        open_shards(path, tensor="three")
    with pytest.raises(ValueError, match=r"has shape \(3,\)"):
        open_shards(path, tensor="bias")
    np.testing.assert_array_equal(open_shards(path, tensor="two")[:], 2 * X)


def test_dtypes_are_promoted(tmp_path):
    # Catches numbers that are cut to the dtype of the first file.
    parts = [X.astype(np.float16), X, X.astype(">f8"), (10 * X).astype(np.int16)]
    for i, part in enumerate(parts):
        np.save(tmp_path / f"{i}.npy", part)
    shards = open_shards(tmp_path)
    assert shards.dtype == np.float64 and shards.dtype.isnative
    np.testing.assert_array_equal(shards[:], np.concatenate(parts))
    assert open_shards(tmp_path / "0.npy").like.dtype == np.float32


def test_nothing_to_open():
    # Catches an empty list that becomes an array of no files.
    with pytest.raises(ValueError, match="list of paths is empty"):
        open_shards([])
