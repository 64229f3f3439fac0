"""What a fit shows while it runs: callbacks, lines and bars."""

import importlib

import numpy as np
import pytest
import rich.console
from estimators import assert_same_fit, data, each_estimator, small
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdict import MatchingPursuitCoder, TopKAutoencoder, progress
from skdict.metrics import codes_scorer
from skdict.progress import describe


class Recorder:
    """A callback that writes down what it is told."""

    def __init__(self, stop_at=None):
        self.calls, self.scores, self.stop_at = [], [], stop_at

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.calls.append(("begin", context.task_name, context.task_id, context.max_subtasks))

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.calls.append(("end", context.task_name, context.task_id, context.max_subtasks))
        if context.task_name == "epoch":
            self.scores.append(fitted_estimator.score(X))
        return context.task_name == "epoch" and context.task_id == self.stop_at


@each_estimator
def test_each_pass_is_a_subtask(make):
    # Catches hooks that are left out, come in another order, or get a model of another time, and
    # callbacks that change the bits of a fit.
    X, recorder = data(), Recorder()
    estimator = make().set_callbacks(recorder).fit(X)
    passes = [(what, "epoch", i, 0) for i in range(4) for what in ("begin", "end")]
    around = ("fit", 0, 4)
    expected = ["setup", ("begin", *around), *passes, ("end", *around), "teardown"]
    assert recorder.calls == expected
    assert recorder.scores[-1] == estimator.score(X) and len(set(recorder.scores)) > 1
    alone = make().fit(X)
    assert_same_fit(estimator, alone)


def test_a_callback_can_end_a_run():
    # Catches a stop that is ignored, or that skips the fall of the rate.
    recorder = Recorder(stop_at=2)
    sae = small(TopKAutoencoder, max_iter=20, decay=0.2).set_callbacks(recorder).fit(data())
    assert sae.n_iter_ == 3 + 4
    assert sae.history_["learning_rate"][-1] < 0.1 * sae.history_["learning_rate"].max()
    assert len(recorder.scores) == 7


def test_a_fit_that_fails_tears_its_callbacks_down():
    # Catches the thread of a progress bar that lives on.
    recorder = Recorder()
    sae = small(TopKAutoencoder).set_callbacks(recorder)
    X = np.vstack([data(), np.full((1, 6), np.nan)])
    with pytest.raises(ValueError, match="NaN"):
        sae.fit(iter([X]))
    with pytest.raises(ValueError, match="NaN"):
        sae.set_params(max_iter=1, batch_size=16).fit(iter([data(40_000), X]))
    assert recorder.calls[-1] == "teardown"
    assert recorder.calls.count("setup") == recorder.calls.count("teardown") == 1
    assert not hasattr(sae, "_callback_fit_ctx")


@pytest.mark.parametrize("dictionary", ["array", "estimator"])
def test_given_dictionaries_have_no_passes(dictionary):
    # Catches a task that is begun and never ends.
    X, recorder = data(), Recorder()
    sae = small(TopKAutoencoder).fit(X)
    given = sae.components_ if dictionary == "array" else small(TopKAutoencoder)
    MatchingPursuitCoder(k=3, dictionary=given).set_callbacks(recorder).fit(X)
    assert recorder.calls == ["setup", ("begin", "fit", 0, 0), ("end", "fit", 0, 0), "teardown"]


def test_resumed_fits_have_the_passes_that_are_left(tmp_path):
    # Catches a bar of a resumed run that never comes to its end.
    class Stop(Exception):
        pass

    class Bomb(Recorder):
        def on_fit_task_end(self, estimator, context):
            if context.task_id == 1 and context.task_name == "epoch":
                raise Stop

    X = data()
    with pytest.raises(Stop):
        small(TopKAutoencoder).set_callbacks(Bomb()).fit(
            X, checkpoint=tmp_path / "run", checkpoint_every=1
        )
    recorder = Recorder()
    sae = small(TopKAutoencoder).set_callbacks(recorder)
    sae.fit(X, checkpoint=tmp_path / "run", resume=True)
    assert recorder.calls[1] == ("begin", "fit", 0, 3) and len(recorder.scores) == 3
    assert_same_fit(sae, small(TopKAutoencoder).fit(X))


def test_scores_and_bars_in_pipelines_and_grid_searches(capfd):
    # Catches callbacks that work alone only; n_jobs=2 sends them to other processes.
    X, monitor = data(300), ScoringMonitor(scoring=codes_scorer(measures=("hoyer",)))
    y = (X[:, 0] > np.median(X[:, 0])).astype(int)
    sae = small(TopKAutoencoder, max_iter=3).set_callbacks(monitor)
    pipeline = make_pipeline(StandardScaler(), sae, LogisticRegression())
    search = GridSearchCV(pipeline, {"topkautoencoder__k": [2, 4]}, n_jobs=2, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    assert "TopKAutoencoder" in capfd.readouterr().out
    log = monitor.get_logs().data_as_pandas
    # Two candidates of two folds, and the best on all rows; three passes and the whole of each.
    assert len(log) == 5 * 4
    assert log.filter(like="hoyer").notna().all(axis=None)
    alone = ScoringMonitor(scoring=codes_scorer(measures=("hoyer",)))
    small(TopKAutoencoder).set_callbacks(alone).fit(X)  # no target
    assert alone.get_logs().data_as_pandas.filter(like="hoyer").notna().all(axis=None)


@pytest.mark.parametrize("kind", ["shards", "blocks"])
def test_callbacks_of_fits_that_read_files(kind, tmp_path):
    # Catches a path that is scored as if it were rows.
    X, monitor = data(), ScoringMonitor(scoring=codes_scorer(measures=("hoyer",)))
    np.save(tmp_path / "0.npy", X)
    sae = small(TopKAutoencoder).set_callbacks(monitor)
    sae.fit(str(tmp_path) if kind == "shards" else [X])
    log = monitor.get_logs().data_as_pandas
    assert len(log) == 5 and (kind == "blocks" or log["hoyer"].notna().all())


# ---------------------------------------------------------------------- verbose


def test_lines_by_time(monkeypatch, capsys):
    # Catches a line for each step, or none for hours.
    now = [0.0]

    def monotonic():
        now[0] += 0.5
        return now[0]

    monkeypatch.setattr(progress.time, "monotonic", monotonic)
    small(TopKAutoencoder, verbose=2, max_iter=20).fit(data())
    lines = capsys.readouterr().out.splitlines()
    assert 3 <= len(lines) <= 6  # 80 steps of half a second or more, a line every ten
    assert "epoch 20, step 80/80" in lines[-1] and "0:00 left" in lines[-1]


def test_streams_of_unknown_length_have_no_end(capsys):
    # Catches "inf left".
    small(TopKAutoencoder, verbose=1, decay=0, max_iter=1).fit(iter([data()]))
    (line,) = capsys.readouterr().out.splitlines()
    assert "left" not in line and "inf" not in line


def test_partial_fit_is_shown_too(capsys):
    # Catches an option that one of the two loops ignores.
    small(TopKAutoencoder, verbose=1).partial_fit(data())
    assert "[TopKAutoencoder] epoch 1, step 4/4" in capsys.readouterr().out


def test_a_bar_where_rich_can_draw_one(monkeypatch, capsys):
    # Catches a bar in a file, lines in a terminal, and two bars that fight for it.
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "160")
    assert rich.console.Console().is_terminal
    small(TopKAutoencoder, verbose=1).fit(data())
    shown = capsys.readouterr().out
    assert "100%" in shown and "explained" in shown and "step" not in shown
    small(TopKAutoencoder, verbose=1).set_callbacks(ProgressBar()).fit(data())
    assert "TopKAutoencoder" in capsys.readouterr().out
    small(TopKAutoencoder, verbose=2).fit(data())
    assert "step 16/16" in capsys.readouterr().out


def test_lines_without_rich(monkeypatch, capsys):
    # Catches a dependency that was to be optional.
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "rich" else find(name)
    )
    small(TopKAutoencoder, verbose=1).fit(data())
    assert "step 16/16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("left", "text"), [(0.2, "0:01 left"), (61, "1:01 left"), (3 * 3600 + 60, "3:01:00 left")]
)
def test_figures_of_a_line(left, text):
    # Catches figures that nobody can read.
    from skdict.training import Epoch

    line = describe(Epoch(1.23456, 32.0, 7, 0.1, 0.8125), 1_234_567.0, left, 0.07)
    assert line == (f"1.23M rows/s, loss 1.235, explained 0.812, L0 32.0, dead 7 (7.0 %), {text}")


def test_nothing_is_left_of_a_bar_after_an_error(monkeypatch):
    # Catches a terminal without a cursor.
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    closed = []
    monkeypatch.setattr(progress._Bar, "close", lambda self: closed.append(self._progress.stop()))
    with pytest.raises(ValueError, match="NaN"):
        X = [data(40_000), np.full((3, 6), np.nan)]
        small(TopKAutoencoder, verbose=1, max_iter=1).fit(iter(X))
    assert len(closed) == 1
