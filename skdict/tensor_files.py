"""The safetensors format: a length, a header in JSON, and the bytes of arrays one after the other.

https://huggingface.co/docs/safetensors, section "Format".
"""

import json
import os
from typing import NamedTuple

import numpy as np

NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
    "bool": "BOOL",
}  # fmt: skip
DTYPES = {name: np.dtype(dtype).newbyteorder("<") for dtype, name in NAMES.items()}
DTYPES["BF16"] = np.dtype("<u2")  # NumPy has none: the upper half of a float32
LONGEST_HEADER = 100_000_000  # bytes, as the format has it


class Tensor(NamedTuple):
    """Where a tensor lies in its file: name of its dtype in the format, shape, first byte."""

    kind: str
    shape: tuple
    offset: int

    @property
    def dtype(self):
        """Of the bytes; "BF16" is read as uint16."""
        return DTYPES[self.kind]


def write(file, arrays, metadata=None):
    """Write a dict of host arrays, and a dict of strings, to a binary file.

    Raises
    ------
    TypeError
        If an array has a dtype that the format lacks.
    """
    header, offset = {"__metadata__": metadata or {}}, 0
    for name, array in arrays.items():
        if array.dtype.name not in NAMES:
            raise TypeError(f"{name} has dtype {array.dtype}, which safetensors files cannot hold.")
        ends = [offset, offset + array.nbytes]
        kind = NAMES[array.dtype.name]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": ends}
        offset = ends[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        file.write(little.reshape(-1).view(np.uint8).data)


def read_header(path):
    """Tensors by name, as :class:`Tensor`, and metadata of a file.

    Raises
    ------
    ValueError
        If the file is not of this format, or cut off.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(LONGEST_HEADER, size - 8):
            raise ValueError(f"{path} is not a safetensors file, or is cut off.")
        try:
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", {})
            tensors = {name: _tensor(entry, 8 + length) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a safetensors file: {error!r}.") from error
    for name, tensor in tensors.items():
        n_bytes = tensor.dtype.itemsize * int(np.prod(tensor.shape, dtype=object))
        if tensor.offset + n_bytes > size:
            raise ValueError(
                f"{path} is cut off: it has {size} bytes, but its tensor {name!r} needs "
                f"{tensor.offset + n_bytes}."
            )
    return tensors, metadata


def _tensor(entry, data_start):
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"dtype {entry['dtype']!r} is not supported")
    shape, (start, end) = tuple(int(n) for n in entry["shape"]), entry["data_offsets"]
    tensor = Tensor(entry["dtype"], shape, data_start + int(start))
    n_bytes = tensor.dtype.itemsize * int(np.prod(shape, dtype=object))
    if min(shape, default=0) < 0 or start < 0 or end - start != n_bytes:
        raise ValueError(f"shape {shape} does not fit data_offsets {[start, end]}")
    return tensor


def read(path):
    """All arrays of a file, by name, and its metadata."""
    tensors, metadata = read_header(path)
    arrays = {}
    with open(path, "rb") as file:
        for name, tensor in tensors.items():
            file.seek(tensor.offset)
            array = np.empty(tensor.shape, dtype=tensor.dtype)
            if file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
                raise ValueError(f"{path} is cut off in its tensor {name!r}.")
            arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return arrays, metadata
