"""Files of activations, as one array that is read as it is needed."""

from skdict.sources import Shards


def open_shards(paths, *, tensor=None):
    """Open files of activations as one array of rows, without reading them.

    Estimators read them in blocks, in random order, and need memory for two buffers of 32,768 rows
    at most. A path given to `fit` is opened in the same way.

    Parameters
    ----------
    paths : str, path-like, or list of these
        Files, folders or patterns such as ``"layer_6/*.npy"``. Of a folder, its ``.npy`` and
        ``.safetensors`` files sorted by name, as are the matches of a pattern. Rows of the first
        file come first.
    tensor : str, default=None
        Name of the tensor to read from safetensors files. None: the only one of two dimensions.

    Returns
    -------
    shards : Shards
        With `shape`, `dtype`, a length and `paths`. Slices and arrays of integers read rows:
        ``shards[10:20]``, ``shards[[3, 1]]``. Any number of threads may read. The dtype is the one
        to which those of all files are promoted; bfloat16 is read as float32.

    Raises
    ------
    FileNotFoundError
        If a file is missing, or a folder or pattern has none.
    ValueError
        If a file is of another format, damaged, in Fortran order, empty, or not of two dimensions;
        if widths differ; if `tensor` is missing, or more than one could be meant. When rows are
        read: if they hold NaN or infinity, or the file has changed.
    TypeError
        If a file does not hold real numbers.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdict.datasets import open_shards
    >>> folder = tempfile.TemporaryDirectory()
    >>> for i in range(3):
    ...     np.save(Path(folder.name) / f"part_{i}.npy", np.full((4, 2), i, dtype=np.float16))
    >>> shards = open_shards(folder.name)
    >>> shards
    Shards(shape=(12, 2), dtype=float16, 3 files)
    >>> shards[3:5]
    array([[0., 0.],
           [1., 1.]], dtype=float16)
    >>> folder.cleanup()
    """
    return Shards(paths, tensor)
