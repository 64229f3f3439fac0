"""The checkpoints of a fit: a folder of its own, a lock, and what to say when something is wrong.

The files are those of :mod:`skdict.checkpoint_files`.
"""

import contextlib
import numbers
import operator
import os
import re
import time
from pathlib import Path

import skdict
from skdict import checkpoint_files as files
from skdict import tensor_files

KEPT = 2  # the newest checkpoints
SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
}


class Checkpoints:
    """The checkpoints of one fit: a folder, of which the last two are kept.

    It is a context: entering it makes the folder, takes its lock, and proves that it can be
    written; leaving it, or the end of the process, gives the lock back.

    Parameters
    ----------
    path : str or path-like
        The folder.
    every : int or str
        Steps between checkpoints, or a duration such as ``"10min"``.
    estimator : str
        Name of the class, for messages.
    """

    def __init__(self, path, every, estimator):
        if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
            raise TypeError(
                f"{estimator}: checkpoint={path!r} is neither a string nor a path. Name a folder."
            )
        self._label = f"{estimator}: checkpoint={os.fspath(path)!r}"
        if not os.fspath(path):
            raise ValueError(f"{self._label} is empty. Name a folder.")
        self._folder = Path(path).expanduser().absolute()
        self._steps, self._seconds = _interval(every, estimator)

    def __enter__(self):
        try:
            os.makedirs(self._folder, exist_ok=True)
            self._lock = self._take_lock()
        except OSError as error:
            raise self._failure(error, "is no usable folder", "Choose another.") from error
        try:
            files.try_to_write(self._folder)
        except BaseException as error:
            self._lock.release()
            if isinstance(error, OSError):
                way_out = "Make room, change its permissions, or choose another folder."
                raise self._failure(error, "cannot be written", way_out) from error
            raise
        self.begin(0)
        return self

    def __exit__(self, *exception):
        self._lock.release()

    def is_empty(self):
        """Whether the folder holds no checkpoint."""
        return not files.saved_steps(self._folder)

    def last(self, configuration):
        """The tree of the newest checkpoint, verified, or None where there is none.

        Raises
        ------
        ValueError
            If the newest checkpoint is damaged or of another configuration.
        """
        steps = files.saved_steps(self._folder)
        if not steps:
            return None
        try:
            record = files.read_record(self._folder, steps[-1])
            self._check_configuration(record["configuration"], configuration)
            files.verify_tensors(self._folder, record)
            arrays, _ = tensor_files.read(self._folder / record["tensors"]["file"])
        except files.Damaged as error:
            raise ValueError(
                f"{self._label}: the newest checkpoint cannot be used: {error}. "
                f"{_way_out(self._folder, steps)}"
            ) from error
        except OSError as error:
            raise self._failure(error, "cannot be read", "Change its permissions.") from error
        return files.decode(record["tree"], arrays)

    def begin(self, step):
        """Count steps and time until the next checkpoint from here."""
        self._begun = step, time.monotonic()

    def due(self, step):
        """Whether to save now: a multiple of `every` was reached, or the duration has passed.

        Multiples, so that a resumed fit saves at the same steps as one without interruption.
        """
        begun_step, begun_time = self._begun
        if self._seconds is not None:
            return time.monotonic() - begun_time >= self._seconds
        return step // self._steps > begun_step // self._steps

    def save(self, step, tree, configuration):
        """Save a tree, then remove all but the last two checkpoints.

        Parameters
        ----------
        step : int
            Not below that of an earlier checkpoint.
        tree : dict
            Nested, with strings as keys; its leaves are host arrays, bool, int, float, str, None,
            or lists of these.
        configuration : dict
            What must be the same where the fit is resumed: names and values that JSON can hold.

        Raises
        ------
        OSError
            Of the subclass that fits, such as for a full disk. Earlier checkpoints stay.
        TypeError
            If something cannot be saved.
        """
        step, tensors = operator.index(step), {}
        content = {
            "format": files.FORMAT,
            "skdict": skdict.__version__,
            "step": step,
            "configuration": files.encode(configuration, ("configuration",), None),
            "tree": files.encode(tree, (), tensors),
        }
        files.remove_strays(self._folder)  # they may be what fills the disk
        try:
            files.write_checkpoint(self._folder, content, tensors)
        except OSError as error:
            advice = _advice(self._folder)
            raise self._failure(error, f"could not be saved at step {step}", advice) from error
        else:
            files.remove_old(self._folder, step, KEPT)
        finally:
            files.remove_strays(self._folder)
        self.begin(step)

    def _take_lock(self):
        from filelock import FileLock, Timeout  # here: its import takes some 40 ms

        lock = FileLock(self._folder / "lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:  # which is an OSError
            raise RuntimeError(
                f"{self._label} is in use by another fit. Wait until it ends, or choose another "
                "folder; clones, as in a grid search, cannot share one."
            ) from None
        return lock

    def _check_configuration(self, saved, present):
        saved = files.decode(saved, {})
        present = files.decode(files.encode(present, ("configuration",), None), {})
        absent = object()
        differences = [
            f"{name} is {_show(saved, name)} in the checkpoint, {_show(present, name)} now"
            for name in dict.fromkeys([*saved, *present])
            if not _same(saved.get(name, absent), present.get(name, absent))
        ]
        if differences:
            more = f"; and {len(differences) - 6} more" if len(differences) > 6 else ""
            raise ValueError(
                f"{self._label} is of another fit: {'; '.join(differences[:6])}{more}. Fit with "
                "what is in the checkpoint, choose another folder, or remove this one and fit "
                "with resume=False."
            )

    def _failure(self, error, what, way_out):
        message = f"{self._label} {what} ({error}). {way_out}"
        if error.errno is None:
            return type(error)(message)
        return OSError(error.errno, message)  # of the same subclass, which follows from errno


def _interval(every, estimator):
    """(steps, None) or (None, seconds)."""
    start = f"{estimator}: checkpoint_every={every!r}"
    way_out = "Choose an integer >= 1 (steps) or a duration such as '30s', '10min', '2h' or '1d'."
    if isinstance(every, numbers.Integral) and not isinstance(every, bool):
        if every < 1:
            raise ValueError(f"{start} is out of range. {way_out}")
        return int(every), None
    if not isinstance(every, str):
        raise TypeError(f"{start} is neither a number of steps nor a duration. {way_out}")
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]+)\s*", every, re.ASCII)
    if match is None or match[2] not in SECONDS or float(match[1]) == 0:
        raise ValueError(f"{start} is not a duration. {way_out}")
    return None, float(match[1]) * SECONDS[match[2]]


def _same(a, b):
    return a == b or repr(a) == repr(b)  # NaN equals itself in writing only


def _show(configuration, name):
    if name not in configuration:
        return "absent"
    text = repr(configuration[name])
    return text if len(text) <= 60 else f"{text[:57]}..."


def _advice(folder):
    """What to do after a save that failed."""
    whole = None
    with contextlib.suppress(OSError):
        steps = reversed(files.saved_steps(folder))
        whole = next((step for step in steps if files.is_whole(folder, step)), None)
    if whole is None:
        return "There is no good checkpoint in it."
    return (
        f"The last good checkpoint in it is of step {whole}: put this right and call fit again "
        "with resume=True to continue from there."
    )


def _way_out(folder, steps):
    """What to do where the newest of the checkpoints at `steps` is damaged."""
    for i in reversed(range(len(steps) - 1)):
        if files.is_whole(folder, steps[i]):
            names = " and ".join(files.names_of(folder, steps[i + 1 :]))
            return (
                f"The last whole one is of step {steps[i]}: delete {names} and call fit again "
                f"with resume=True to continue from step {steps[i]}."
            )
    earlier = ", ".join(map(str, steps[:-1]))
    none = f"Of step {earlier} there is one, damaged too" if earlier else "There is none before it"
    return f"{none}: choose another folder, or remove this one and start again."
