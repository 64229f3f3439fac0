"""Files of rows, .npy and .safetensors, as one array that is read as it is needed."""

import glob
import os
from typing import NamedTuple

import numpy as np

from skdict import tensor_files
from skdict.sources.reading import RandomAccess, copy_rows, dtype_of_rows, widen

_SUFFIXES = (".npy", ".safetensors")


class _Part(NamedTuple):
    """Where rows lie in a file; `dtype` is that of its bytes, `size` that of the file."""

    path: str
    shape: tuple
    dtype: np.dtype
    is_bfloat16: bool
    offset: int
    size: int

    @property
    def dtype_of_rows(self):
        return np.dtype(np.float32) if self.is_bfloat16 else self.dtype.newbyteorder("=")


class Shards(RandomAccess):
    """Rows of .npy and .safetensors files, one file after the other.

    It has `shape`, `dtype` and a length, and is indexed like an array: ``shards[a:b]`` or
    ``shards[indices]`` reads these rows. Any number of threads may read at once.

    Parameters
    ----------
    paths : path, or list of paths
        Files, folders or patterns.
    tensor : str, default=None
        Which tensor of safetensors files.
    estimator : str, default="open_shards"
        Name for messages.

    Attributes
    ----------
    paths : list of str
        The files.
    """

    def __init__(self, paths, tensor=None, estimator="open_shards"):
        self._parts = [_opened(path, tensor, estimator) for path in _files(paths, estimator)]
        self.paths = [part.path for part in self._parts]
        width = self._parts[0].shape[1]
        for part in self._parts:
            if part.shape[1] != width:
                raise ValueError(
                    f"{estimator}: {part.path} has {part.shape[1]} features, but {self.paths[0]} "
                    f"has {width}. Give shards of the same width."
                )
        self._starts = np.cumsum([0] + [part.shape[0] for part in self._parts])
        dtype = np.result_type(*(part.dtype_of_rows for part in self._parts))
        super().__init__((int(self._starts[-1]), width), dtype, estimator)

    def __repr__(self):
        n = len(self._parts)
        return f"Shards(shape={self.shape}, dtype={self.dtype}, {n} file{'s' * (n > 1)})"

    def _read_into(self, out, start, stop):
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        for i in range(first, int(np.searchsorted(self._starts, stop))):
            begin, end = int(self._starts[i]), int(self._starts[i + 1])
            low, high = max(start, begin), min(stop, end)
            self._read_part(out[low - start : high - start], self._parts[i], low - begin)

    def _read_part(self, out, part, row):
        as_it_is = part.dtype == self.dtype and not part.is_bfloat16
        block = out if as_it_is else np.empty(out.shape, dtype=part.dtype)
        try:
            # A handle of its own: other threads read elsewhere in the same file.
            with open(part.path, "rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size != part.size:
                    raise self._changed(part, os.fstat(file.fileno()).st_size)
                file.seek(part.offset + row * part.shape[1] * part.dtype.itemsize)
                _fill(file, block, lambda: self._changed(part, file.tell()))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.estimator}: {part.path} was there when it was opened, but is gone."
            ) from error
        if part.is_bfloat16:
            bits = block
            block = out if self.dtype == np.float32 else np.empty(out.shape, dtype=np.float32)
            widen(block, bits)
        if block is not out:
            copy_rows(out, block)

    def _changed(self, part, size):
        return ValueError(
            f"{self.estimator}: {part.path} had {part.size} bytes when it was opened, but now has "
            f"{size}. Open it anew once it is complete."
        )

    def _place(self, row):
        i = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f" (row {row - self._starts[i]} of {self._parts[i].path})"


def _fill(file, block, cut_off):
    memory = memoryview(block.reshape(-1).view(np.uint8))
    while memory:
        n_bytes = file.readinto(memory)
        if not n_bytes:
            raise cut_off()
        memory = memory[n_bytes:]


def _files(paths, estimator):
    """Paths of files for a path, folder or pattern, or a list of such."""
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    files = []
    for path in paths:  # absolute, for the working directory may change before they are read
        path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        files += _matching(path, estimator)
    if not files:
        raise ValueError(f"{estimator}: the list of paths is empty. Give one file or more.")
    return files


def _matching(path, estimator):
    if os.path.isdir(path):
        found = sorted(
            os.path.join(path, name)
            for name in os.listdir(path)
            if name.endswith(_SUFFIXES) and not name.startswith(".")
        )
    elif os.path.exists(path):
        found = [path]
    else:
        found = sorted(glob.glob(path, recursive=True))
    if not found:
        what = "no file matches" if glob.has_magic(path) else "no such file or folder:"
        what = "no .npy or .safetensors files in" if os.path.isdir(path) else what
        raise FileNotFoundError(f"{estimator}: {what} {path}")
    return found


def _opened(path, tensor, estimator):
    """The :class:`_Part` of a file, from its header."""
    if not path.endswith(_SUFFIXES):
        raise ValueError(
            f"{estimator}: {path} is neither .npy nor .safetensors. Open it with its own library "
            "and pass that object, or write its rows with numpy.save."
        )
    opened = _npy if path.endswith(".npy") else _safetensors
    part = opened(path, tensor, estimator)
    if len(part.shape) != 2 or 0 in part.shape:
        raise ValueError(
            f"{estimator}: {path} has shape {part.shape}, but (n_samples, n_features) is needed, "
            "with one row or more."
        )
    needed = part.offset + part.shape[0] * part.shape[1] * part.dtype.itemsize
    if needed > part.size:
        raise ValueError(
            f"{estimator}: {path} is cut off: it has {part.size} bytes, but {needed} are needed."
        )
    return part


def _npy(path, tensor, estimator):
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            form = np.lib.format
            header = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
            shape, fortran_order, dtype = header(file)
        except ValueError as error:
            raise ValueError(f"{estimator}: {path} is not a .npy file ({error}).") from error
        offset = file.tell()
    if fortran_order and len(shape) == 2:
        raise ValueError(
            f"{estimator}: {path} is in Fortran order, in which rows cannot be read alone. Write "
            "it with numpy.save(path, numpy.ascontiguousarray(array))."
        )
    dtype_of_rows(dtype, f"{estimator}: {path}")
    return _Part(path, shape, dtype, False, offset, size)


def _safetensors(path, tensor, estimator):
    try:
        tensors, _ = tensor_files.read_header(path)
    except ValueError as error:
        raise ValueError(f"{estimator}: {error}") from error
    found = tensors.get(tensor) if tensor is not None else _only_matrix(tensors)
    if found is None:
        shapes = ", ".join(f"{name!r} {t.shape}" for name, t in sorted(tensors.items()))
        lacks = "no single tensor of two dimensions" if tensor is None else f"no tensor {tensor!r}"
        raise ValueError(
            f"{estimator}: {path} has {lacks}. It has: {shapes or 'none'}. Name one with "
            "skdict.datasets.open_shards(paths, tensor=...)."
        )
    is_bfloat16 = found.kind == "BF16"
    size = os.path.getsize(path)
    return _Part(path, found.shape, found.dtype, is_bfloat16, found.offset, size)


def _only_matrix(tensors):
    matrices = [tensor for tensor in tensors.values() if len(tensor.shape) == 2]
    return matrices[0] if len(matrices) == 1 else None
