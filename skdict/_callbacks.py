"""Passes of training as tasks of scikit-learn's callbacks."""

import dataclasses

from skdict import runs


class PassTasks:
    """One subtask of `context` for each pass of `run`."""

    def __init__(self, estimator, context, run, data):
        self.estimator, self.context, self.run, self.data = estimator, context, run, data

    def begin(self):
        """Before the first step of a pass."""
        self.task = self.context.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self):
        """After the last step; does a callback want the run to end?"""
        return self.task.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes=self._fitted
        )

    def _fitted(self):
        state, epochs = self.run.state, self.run.epochs
        # Of copies, for training goes on changing the matrices.
        copied = dataclasses.replace(state, params=runs.copied(state.params))
        attributes = self.estimator._fitted_attributes(copied, epochs)
        return {**attributes, "n_iter_": len(epochs), "n_steps_": state.step}
