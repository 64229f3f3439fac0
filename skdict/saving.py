"""What a fit with checkpoints does beside training: save when due, end early on a signal."""

import contextlib

import numpy as np

from skdict.checkpoints import Checkpoints
from skdict.interruption import Interruption


@contextlib.contextmanager
def saving(path, every, resume, estimator):
    """The :class:`Saver` of one fit; None where `path` is."""
    if not isinstance(resume, bool | np.bool_):
        raise TypeError(f"{estimator}: resume={resume!r} is neither True nor False. Choose one.")
    if path is None:
        if resume:
            raise ValueError(
                f"{estimator}: resume={resume!r}, but there is nothing to resume from. Name the "
                "folder, checkpoint=..., or set resume=False."
            )
        yield None
        return
    with Checkpoints(path, every, estimator) as checkpoints:
        if not resume and not checkpoints.is_empty():
            raise ValueError(
                f"{estimator}: checkpoint={str(path)!r} holds checkpoints of an earlier fit. Set "
                "resume=True to go on from them, choose another folder, or remove this one."
            )
        yield Saver(checkpoints)


class Saver:
    """Checkpoints of a :class:`skdict.runs.Run`; as a context it holds SIGINT and SIGTERM back.

    ``configuration`` is what a fit that resumes must have in common with this one.
    """

    def __init__(self, checkpoints):
        self._checkpoints, self._interruption = checkpoints, Interruption()
        self.configuration = {}

    def __enter__(self):
        self._interruption.__enter__()
        return self

    def __exit__(self, *exception):
        self._interruption.__exit__(*exception)

    @property
    def interrupted(self):
        """Name of the signal that came, None where none did."""
        return self._interruption.name

    def last(self):
        """The tree of the last run that was saved, None where there is none."""
        tree = self._checkpoints.last(self.configuration)
        if tree is not None:
            self._checkpoints.begin(tree["state"]["step"])
        return tree

    def due(self, step):
        """Must the run be saved after this step?"""
        return self._checkpoints.due(step)

    def save(self, run):
        """Save a run."""
        self._checkpoints.save(run.state.step, run.as_tree(), self.configuration)

    def pass_on(self):
        """Let a signal that came have its effect."""
        self._interruption.pass_on()
