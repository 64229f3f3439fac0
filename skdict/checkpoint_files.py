"""The files of a checkpoint, whole or not at all.

A checkpoint is two files, ``step-0000001000.safetensors`` with the arrays and
``step-0000001000.json`` with everything else. The second is the commit record: it is moved into
place last and removed first, so that a checkpoint exists if and only if its JSON does.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import struct

import numpy as np

import skdict
from skdict import tensor_files

FORMAT = 1
# "-again": where a step is saved once more, the tensors that its present JSON names must stay
# until the new JSON is in place, so the new ones take the other of two names.
_NAME = re.compile(r"step-(\d{10,})(-again)?\.(json|safetensors)(\.tmp)?", re.ASCII)
_MARKS = {"tensor", "float", "int", "dict"}  # what a dict of one entry in the JSON may stand for
_LONGEST_INT = 4096  # bits; Python reads no more than some 14000 in decimal notation


class Damaged(Exception):
    """A checkpoint that cannot be used; the message starts with the name of a file."""


def encode(value, path, tensors):
    """`value` in terms of JSON; its arrays go into the dict `tensors`, or are refused if None."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _LONGEST_INT else {"int": hex(value)}
    if isinstance(value, float):  # JSON has neither infinity nor NaN, of which there are many
        finite = math.isfinite(value)
        return float(value) if finite else {"float": struct.pack(">d", value).hex()}
    if isinstance(value, np.ndarray) and tensors is not None:
        name = _tensor_name(path)
        tensors[name] = value
        return {"tensor": name}
    # a tuple in a tree would come back as a list
    if isinstance(value, list) or (isinstance(value, tuple) and tensors is None):
        return [encode(item, (*path, str(i)), tensors) for i, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        coded = {key: encode(item, (*path, key), tensors) for key, item in value.items()}
        return {"dict": coded} if len(coded) == 1 and coded.keys() <= _MARKS else coded
    raise TypeError(
        f"{'/'.join(path)} is of {type(value)}, which a checkpoint cannot hold. Convert it."
    )


def decode(value, arrays):
    """The inverse of :func:`encode`; `arrays` by their names."""
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not value.keys() <= _MARKS:
        return {key: decode(item, arrays) for key, item in value.items()}
    ((mark, content),) = value.items()
    if mark == "tensor":
        return arrays[content]
    if mark == "int":
        return int(content, 16)
    if mark == "float":
        return struct.unpack(">d", bytes.fromhex(content))[0]
    return {key: decode(item, arrays) for key, item in content.items()}


def _tensor_name(path):
    """The keys joined by "/"; in them "~" and "/" are escaped as in JSON pointers (RFC 6901)."""
    name = "/".join(key.replace("~", "~0").replace("/", "~1") for key in path)
    return "~__metadata__" if name == "__metadata__" else name  # has a meaning of its own there


class _Digest:
    """A binary file that keeps size and SHA-256 of what is written to it."""

    def __init__(self, file):
        self._file, self._sha256, self.size = file, hashlib.sha256(), 0

    def write(self, data):
        self._file.write(data)
        self._sha256.update(data)
        self.size += len(data)

    @property
    def sha256(self):
        return self._sha256.hexdigest()


def write_checkpoint(folder, content, tensors):
    """Write both files; `content`, with a step, is completed by what verifies them."""
    name = _free_name(folder, content["step"])
    digest = _put(folder, name, lambda file: tensor_files.write(file, tensors))
    content["tensors"] = {"file": name, "size": digest.size, "sha256": digest.sha256}
    content["sha256"] = _hash(content)
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    _put(folder, _record_name(content["step"]), lambda file: file.write(text.encode()))


def _put(folder, name, write):
    """Have a file written, and move it to its name once it is on the disk."""
    temporary = folder / f"{name}.tmp"
    with open(temporary, "wb") as file:
        digest = _Digest(file)
        write(digest)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / name)
    _sync_folder(folder)
    return digest


def _sync_folder(folder):
    """Have the names in a folder on the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def try_to_write(folder):
    """Write a file as those of checkpoints are, and remove it."""
    try:
        _put(folder, "writable", lambda file: file.write(bytes(4096)))
    finally:
        for name in ("writable", "writable.tmp"):
            _remove(folder / name)


def remove_old(folder, step, kept):
    """Remove the JSON of all but `kept` checkpoints, that of `step` among them.

    Their tensors are strays then.
    """
    with contextlib.suppress(OSError):
        others = [other for other in saved_steps(folder) if other != step]
        for other in others[: max(0, len(others) - kept + 1)]:
            _remove(folder / _record_name(other))


def remove_strays(folder):
    """Remove what interrupted saves left: temporary files, and tensors that no JSON names."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if _is_stray(folder, name):
                _remove(folder / name)


def _remove(path):
    # A file that cannot be removed now, such as one that is open on Windows, is next time.
    with contextlib.suppress(OSError):
        os.remove(path)


def _is_stray(folder, name):
    match = _NAME.fullmatch(name)
    if match is None or match[4]:
        return match is not None
    if match[3] == "json":
        return False
    try:
        return _named_tensors(folder, int(match[1])) != name
    except (OSError, ValueError, LookupError, TypeError):
        return False  # the JSON cannot be read, and may name it


def _free_name(folder, step):
    names = [f"step-{step:010}.safetensors", f"step-{step:010}-again.safetensors"]
    with contextlib.suppress(ValueError, LookupError, TypeError):
        return names[_named_tensors(folder, step) == names[0]]
    return names[0]


def _named_tensors(folder, step):
    """Name of the file of tensors in the JSON of a step, None where there is no JSON."""
    try:
        text = (folder / _record_name(step)).read_bytes()
    except FileNotFoundError:
        return None
    return json.loads(text)["tensors"]["file"]


def _record_name(step):
    return f"step-{step:010}.json"


def saved_steps(folder):
    """Steps of the checkpoints of a folder, in their order."""
    matches = map(_NAME.fullmatch, os.listdir(folder))
    return sorted(int(m[1]) for m in matches if m and m[0] == _record_name(int(m[1])))


def _hash(content):
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_record(folder, step):
    """Content of the JSON of a step, if it is as it was written."""
    name = _record_name(step)
    try:
        record = json.loads((folder / name).read_bytes())
        version, written_by = record.get("format"), record.get("skdict")
        digest = record.pop("sha256", None)
        intact = digest == _hash(record) and record["step"] == step
    except (ValueError, LookupError, AttributeError) as error:
        raise Damaged(f"{name} is cut off or was edited, it cannot be parsed") from error
    if isinstance(version, int) and version != FORMAT:
        raise Damaged(
            f"{name} has format version {version}, of skdict {written_by}, and this is skdict "
            f"{skdict.__version__}, which reads version {FORMAT}"
        )
    if not intact:
        raise Damaged(f"{name} was edited or renamed, its content does not match its sha256")
    return record


def verify_tensors(folder, record):
    """Raise `Damaged` unless the tensors of a record are as they were written."""
    name, size, sha256 = (record["tensors"][key] for key in ("file", "size", "sha256"))
    try:
        with open(folder / name, "rb") as file:
            present = os.fstat(file.fileno()).st_size
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise Damaged(f"{name} is missing") from error
    if present < size:
        raise Damaged(f"{name} is cut off, it has {present} of {size} bytes")
    if digest != sha256:
        raise Damaged(f"{name} was edited, its content does not match its sha256")


def is_whole(folder, step):
    """Whether both files of a checkpoint are as they were written."""
    try:
        verify_tensors(folder, read_record(folder, step))
    except (Damaged, OSError):
        return False
    return True


def names_of(folder, steps):
    """Names of the files that belong to checkpoints, damaged or not."""
    matches = filter(None, map(_NAME.fullmatch, sorted(os.listdir(folder))))
    return [match[0] for match in matches if int(match[1]) in steps and not match[4]]
