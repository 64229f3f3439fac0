"""Training that is killed and resumed, stopped early, or goes wrong."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import NAMESPACES
from estimators import CODERS, assert_same_fit, data, each_estimator, fitted, small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdict.training
from skdict import (
    GatedAutoencoder,
    LassoCoder,
    MatchingPursuitCoder,
    SparseAutoencoder,
    TopKAutoencoder,
    runs,
    tensor_files,
)
from skdict.backend import to_numpy
from skdict.checkpoints import Checkpoints

few_examples = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Killed(BaseException):
    """What the power cut of a test raises."""


@pytest.fixture
def dying(monkeypatch):
    """A function that lets the n-th step from now raise; its `step` is what is done until then."""

    def die_in(n):
        left = [n]

        def dying_step(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return die_in.step(*args, **kwargs)

        monkeypatch.setattr(skdict.training, "train_step", dying_step)

    die_in.step = skdict.training.train_step
    return die_in


def fit_with_deaths(make, X, folder, dying, deaths, every):
    """Fit, dying after so many steps each time, and resume until it is done."""
    for n_steps in deaths:
        dying(n_steps)
        estimator = make()
        try:
            return estimator.fit(X, checkpoint=folder, checkpoint_every=every, resume=True)
        except Killed:
            assert not fitted(estimator)  # nothing half-done is left behind
    dying(10**9)
    return make().fit(X, checkpoint=folder, checkpoint_every=every, resume=True)


deaths_ = st.lists(st.integers(0, 14), max_size=5)


@each_estimator
@few_examples
@given(deaths=deaths_, every=st.integers(1, 6), early=st.booleans(), shuffle=st.booleans())
def test_a_resumed_fit_has_the_same_bits(
    make, deaths, every, early, shuffle, dying, tmp_path_factory
):
    # Catches anything that a checkpoint lacks: moments, counters, schedules, random streams, the
    # place in the data, the history, the rows held out.
    X = data(200)
    changes = {"early_stopping": early, "shuffle": shuffle, "max_no_improvement": 2, "tol": 0.01}

    def changed():
        return make(**changes)

    dying(10**9)
    alone = changed().fit(X)
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    assert_same_fit(fit_with_deaths(changed, X, folder, dying, deaths, every), alone)


@pytest.mark.parametrize("dict_update", ["gradient", "online", "aksvd", "mod"])
@pytest.mark.parametrize("cls", CODERS)
def test_dictionary_updates_resume(cls, dict_update, dying, tmp_path):
    # Catches statistics of an update that are not saved.
    X = data(200)

    def make():
        return small(cls, dict_update=dict_update, max_iter=8)

    dying(10**9)
    alone = make().fit(X)
    resumed = fit_with_deaths(make, X, tmp_path / "run", dying, [3, 0, 2], 1)
    assert_same_fit(resumed, alone)


@pytest.mark.parametrize("name", ["array_api_strict", "torch"])
def test_other_arrays_resume(name, dying, tmp_path):
    # Catches arrays that come back from the disk as those of NumPy, and losses left on a device.
    if name not in NAMESPACES:
        pytest.skip(f"{name} is not installed")
    xp = NAMESPACES[name]
    place = {"device": xp.Device("device1")} if hasattr(xp, "Device") else {}  # not for NumPy
    X = xp.asarray(data(100), **place)

    def make():
        return small(TopKAutoencoder)

    dying(10**9)
    alone = make().fit(X)
    resumed = fit_with_deaths(make, X, tmp_path / "run", dying, [3, 2], 2)
    assert type(resumed.components_) is type(alone.components_)
    np.testing.assert_array_equal(to_numpy(resumed.components_), to_numpy(alone.components_))


def test_warm_starts_and_shards_resume(dying, tmp_path):
    # Catches a fit that goes back to the old solution, or to the first shard.
    X = data(40_000, 4, dtype="float16")
    for i, rows in enumerate((X[:7000], X[7000:])):
        np.save(tmp_path / f"{i}.npy", rows)
    dying(10**9)
    first = small(TopKAutoencoder, batch_size=1000).fit(X[:500])

    def make():
        again = small(TopKAutoencoder, batch_size=1000, warm_start=True, max_iter=2)
        for name, value in fitted(first).items():
            setattr(again, name, value)
        return again

    alone = make().fit(X)
    folder = str(tmp_path / "run")
    for n_steps in (45, 0, 33):
        dying(n_steps)
        with pytest.raises(Killed):
            make().fit(str(tmp_path), checkpoint=folder, checkpoint_every=5, resume=True)
    dying(10**9)
    resumed = make().fit(str(tmp_path), checkpoint=folder, checkpoint_every=5, resume=True)
    assert_same_fit(resumed, alone)


def test_a_finished_run_is_not_run_again(dying, tmp_path):
    # Catches a job that is restarted by its supervisor for ever, and training past the end.
    X = data()
    make, folder = small, tmp_path / "run"
    alone = make(TopKAutoencoder).fit(X, checkpoint=folder)
    dying(0)
    again = make(TopKAutoencoder).fit(X, checkpoint=folder, resume=True)
    assert_same_fit(again, alone)
    dying(10**9)
    once = make(TopKAutoencoder, max_iter=1).fit(
        iter([X]), n_samples=120, checkpoint=tmp_path / "once"
    )
    dying(0)
    again = make(TopKAutoencoder, max_iter=1)
    again.fit(iter([X]), n_samples=120, checkpoint=tmp_path / "once", resume=True)
    assert_same_fit(again, once)


def test_where_there_are_checkpoints_resume_must_be_asked_for(tmp_path):
    # Catches hours of work that are overwritten because of a forgotten word.
    X, folder = data(), tmp_path / "run"
    sae = small(TopKAutoencoder).fit(X, checkpoint=folder)
    with pytest.raises(ValueError, match=r"TopKAutoencoder: checkpoint=.*resume=True"):
        sae.fit(X, checkpoint=folder)
    with pytest.raises(ValueError, match=r"TopKAutoencoder: resume=True.*checkpoint="):
        sae.fit(X, resume=True)
    for resume in ("False", folder, None, 1):
        with pytest.raises(TypeError, match="TopKAutoencoder: resume="):
            sae.fit(X, checkpoint=folder, resume=resume)
    assert sae.n_iter_ == 4


@pytest.mark.parametrize(
    ("changes", "rows", "word"),
    [
        ({"k": 2}, slice(None), "k is 3 in the checkpoint, 2 now"),
        ({"max_iter": 5}, slice(None), "max_iter is 4 in the checkpoint, 5 now"),
        ({"random_state": 1}, slice(None), "random_state"),
        ({}, slice(0, 100), "rows of X is 120 in the checkpoint, 100 now"),
        ({}, slice(None, None, -1), "first 512 rows of X"),
    ],
)
def test_checkpoints_of_another_fit_are_refused(tmp_path, changes, rows, word):
    # Catches a run that goes on with other parameters or other data, as if nothing had happened.
    X, folder = data(), tmp_path / "run"
    small(TopKAutoencoder).fit(X, checkpoint=folder)
    other = small(TopKAutoencoder, **changes)
    with pytest.raises(ValueError, match=f"TopKAutoencoder: .*another fit: .*{word}"):
        other.fit(X[rows], checkpoint=folder, resume=True)
    with pytest.raises(ValueError, match="another fit: estimator"):
        small(MatchingPursuitCoder).fit(X, checkpoint=folder, resume=True)


def test_threads_and_verbosity_may_change(tmp_path, dying):
    # Catches a run that cannot be resumed on another machine.
    X, folder = data(), tmp_path / "run"
    alone = small(TopKAutoencoder).fit(X)
    dying(7)
    with pytest.raises(Killed):
        small(TopKAutoencoder).fit(X, checkpoint=folder, checkpoint_every=2)
    dying(10**9)
    changed = small(TopKAutoencoder, n_jobs=1, verbose=0, sparse_output=True)
    assert_same_fit(changed.fit(X, checkpoint=folder, resume=True), alone)


def test_arrays_among_the_parameters(tmp_path, dying):
    # Catches dictionaries that cannot be compared, or are not.
    X, folder = data(), tmp_path / "run"
    atoms = np.random.default_rng(0).standard_normal((16, 6))
    dying(3)
    with pytest.raises(Killed):
        small(LassoCoder, dict_init=atoms).fit(X, checkpoint=folder, checkpoint_every=1)
    dying(10**9)
    with pytest.raises(ValueError, match="another fit: dict_init"):
        small(LassoCoder, dict_init=atoms[::-1]).fit(X, checkpoint=folder, resume=True)
    resumed = small(LassoCoder, dict_init=atoms).fit(X, checkpoint=folder, resume=True)
    assert_same_fit(resumed, small(LassoCoder, dict_init=atoms).fit(X))


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    # Catches a run that is lost because its third checkpoint could not be written.
    X, folder, write = data(), tmp_path / "run", tensor_files.write
    alone, calls = small(TopKAutoencoder).fit(X), []

    def full_from_the_third(file, *rest):
        calls.append(file)
        if len(calls) > 2:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, *rest)

    monkeypatch.setattr(tensor_files, "write", full_from_the_third)
    sae = small(TopKAutoencoder)
    with pytest.raises(OSError, match=r"TopKAutoencoder: .*last good checkpoint .* step 6") as info:
        sae.fit(X, checkpoint=folder, checkpoint_every=3)
    assert info.value.errno == errno.ENOSPC and not fitted(sae)
    monkeypatch.undo()
    assert_same_fit(small(TopKAutoencoder).fit(X, checkpoint=folder, resume=True), alone)


def test_a_folder_in_use(tmp_path):
    # Catches two fits, such as clones of a grid search, that overwrite each other.
    with Checkpoints(tmp_path / "run", 5, "other"):
        with pytest.raises(RuntimeError, match=r"TopKAutoencoder: .*in use by another fit"):
            small(TopKAutoencoder).fit(data(), checkpoint=tmp_path / "run")


@pytest.mark.parametrize("every", [0, -1, "soon", "10", 2.5, True, None])
def test_bad_intervals(tmp_path, every):
    # Catches an interval that means nothing and is found out hours later.
    with pytest.raises((ValueError, TypeError), match="TopKAutoencoder: checkpoint_every="):
        small(TopKAutoencoder).fit(data(), checkpoint=tmp_path / "run", checkpoint_every=every)


def test_intervals_of_time(tmp_path):
    # Catches a string that is read as never.
    folder = tmp_path / "run"
    small(TopKAutoencoder).fit(data(), checkpoint=folder, checkpoint_every="0.000001s")
    steps = sorted(path.stem for path in folder.glob("*.json"))
    assert steps == ["step-0000000015", "step-0000000016"]  # the last two of 16


def test_rows_that_are_not_finite_end_a_run(tmp_path, dying):
    # Catches a run that goes on with NaN, or loses its checkpoints because of it.
    X, folder = data(40_000, 4), tmp_path / "run"
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", X[10_000 * i : 10_000 * (i + 1)])
    make = {"batch_size": 1000, "shuffle": False, "max_iter": 1}
    alone = small(TopKAutoencoder, **make).fit(X)
    bad = X[20_000:30_000].copy()
    bad[1234, 2] = np.nan
    np.save(tmp_path / "2.npy", bad)
    sae, n_threads = small(TopKAutoencoder, **make), threading.active_count()
    with pytest.raises(ValueError, match=r"NaN or infinity in row 21234 \(row 1234 of .*2.npy\)"):
        sae.fit(str(tmp_path), checkpoint=folder, checkpoint_every=4)
    assert not fitted(sae) and len(list(folder.glob("*.json"))) == 2
    assert threading.active_count() <= n_threads  # none that reads ahead is left over
    np.save(tmp_path / "2.npy", X[20_000:30_000])
    assert_same_fit(sae.fit(str(tmp_path), checkpoint=folder, resume=True), alone)


def test_a_step_of_a_pipeline(tmp_path):
    # Catches arguments of fit that a pipeline cannot pass on.
    X = data()
    pipeline = make_pipeline(StandardScaler(), small(TopKAutoencoder))
    pipeline.fit(X, topkautoencoder__checkpoint=tmp_path / "run")
    assert list((tmp_path / "run").glob("*.json"))


# ---------------------------------------------------------------------- signals and kills

SCRIPT = """
import sys
import numpy as np
from skdict import TopKAutoencoder
X = np.random.default_rng(0).standard_normal((40_000, 16)).astype(np.float32)
sae = TopKAutoencoder(64, k=4, max_iter=6, batch_size=500, dead_after=2000, random_state=0)
print("ready", flush=True)
sae.fit(X, checkpoint=sys.argv[1], checkpoint_every=3, resume=True)
print(sae.components_.tobytes().hex()[:4000], sae.history_["loss"].tobytes().hex(), sae.n_steps_)
"""


def child(folder):
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_ten_kills(tmp_path):
    # Catches a run that is not what it would have been, after SIGKILL at random moments.
    alone = child(tmp_path / "alone")
    began = time.monotonic()
    alone.stdout.readline()
    ready = time.monotonic() - began
    expected = alone.communicate()[0]
    lasts = time.monotonic() - began - ready
    random, kills = np.random.default_rng(0), 0
    while kills < 10:
        process = child(tmp_path / "run")
        process.stdout.readline()
        time.sleep(random.uniform(0, lasts / 10))
        process.send_signal(signal.SIGKILL)
        output = process.communicate()[0]
        kills += 1
        assert output == "", "it ended before it was killed"
    assert child(tmp_path / "run").communicate()[0] == expected.removeprefix("ready\n").join(
        ["ready\n", ""]
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_then_end_the_process(tmp_path, number):
    # Catches a process that does not end when told to, or loses the steps since the last save.
    process = child(tmp_path / "run")
    process.stdout.readline()
    while process.poll() is None and not list((tmp_path / "run").glob("*.json")):
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode in (-number, 1 if number == signal.SIGINT else None)
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    with Checkpoints(tmp_path / "run", 1, "test") as checkpoints:
        assert not checkpoints.is_empty()


class Signal:
    """A callback that sends this process a signal at the end of the second pass."""

    def __init__(self, number):
        self.number = number

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and context.task_id == 1:
            os.kill(os.getpid(), self.number)


@each_estimator
def test_ctrl_c_leaves_a_usable_estimator(make, tmp_path):
    # Catches an interrupted fit of which nothing is left, and one that does not go on later.
    X, folder = data(), tmp_path / "run"
    alone = make(max_iter=9).fit(X)
    estimator = make(max_iter=9).set_callbacks(Signal(signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, checkpoint=folder)
    assert signal.getsignal(signal.SIGINT) is before
    assert estimator.n_iter_ == 2 and estimator.n_steps_ == 9
    assert estimator.transform(X).shape == (120, 16)
    assert_same_fit(make(max_iter=9).fit(X, checkpoint=folder, resume=True), alone)


def test_other_handlers_may_let_fit_return(tmp_path):
    # Catches handlers of the user that are never called.
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        sae = small(TopKAutoencoder, max_iter=9).set_callbacks(Signal(signal.SIGTERM))
        sae.fit(data(), checkpoint=tmp_path / "run")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM] and sae.n_iter_ == 2


def test_a_signal_is_not_lost_with_its_checkpoint(tmp_path, monkeypatch):
    # Catches a process that survives SIGTERM because the disk is full.
    seen = []

    def full(file, *rest):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tensor_files, "write", full)
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        sae = small(TopKAutoencoder, max_iter=9).set_callbacks(Signal(signal.SIGTERM))
        with pytest.raises(OSError, match="No space left"):
            sae.fit(data(), checkpoint=tmp_path / "run")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM] and not fitted(sae)


def test_ctrl_c_does_not_wait_for_an_iterator():
    # Catches a fit that cannot be interrupted while a queue gives it nothing.
    wake = threading.Event()

    def slow():
        yield data(40_000)
        os.kill(os.getpid(), signal.SIGINT)
        wake.wait(20)
        yield data()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        small(TopKAutoencoder, max_iter=1, decay=0, batch_size=8000).fit(slow())
    assert time.monotonic() - began < 15
    wake.set()


def test_without_checkpoints_ctrl_c_acts_at_once():
    # Catches signals that are held back where nothing can be saved.
    sae = small(TopKAutoencoder, max_iter=9).set_callbacks(Signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        sae.fit(data())
    assert not fitted(sae)


# ---------------------------------------------------------------------- early stopping


@each_estimator
def test_early_stopping(make):
    # Catches held-out rows that are trained on, a stop without the fall of the rate.
    X = data(300)
    rule = {"early_stopping": True, "tol": 1.0, "max_iter": 50, "max_no_improvement": 2}
    stopped = make(**rule).fit(X)
    assert stopped.n_iter_ < 25
    history = stopped.history_
    assert {"validation_loss", "validation_score"} <= set(history)
    assert {len(values) for values in history.values()} == {stopped.n_iter_}
    assert stopped.n_steps_ == int(np.ceil(stopped.n_steps_ / 9 * 9))
    patient = make(**{**rule, "max_no_improvement": None}).fit(X)
    assert patient.n_iter_ > stopped.n_iter_
    # 10 % of 300 rows are held out: 270 rows are 9 batches of 32 a pass, 300 would be 10
    assert make(early_stopping=True).fit(X).n_steps_ in (4 * 9, 4)


def test_the_rate_falls_after_an_early_stop():
    # Catches a stop that skips the decay.
    sae = small(
        TopKAutoencoder, early_stopping=True, tol=1.0, max_iter=50, max_no_improvement=2, decay=0.4
    ).fit(data(300))
    rates = sae.history_["learning_rate"]
    assert sae.n_iter_ < 30 and rates[-1] < 0.1 * rates.max()
    assert np.all(np.diff(rates[3:]) < 0)


def test_validation_scores_are_those_of_held_out_rows(monkeypatch):
    # Catches rows that are both trained and validated on, or neither.
    X = data(50_000, 4)
    X[:, 0] = np.arange(50_000)
    trained, held = [], []
    batch_of, take = skdict.training.batch_of, skdict.sources.ArrayRows.take

    def spy_of_batches(pieces, state, uploads):
        trained.extend(array[rows, 0] for array, rows in pieces if array.shape[0] == 50_000)
        return batch_of(pieces, state, uploads)

    def spy_of_take(self, rows):
        held.append(np.asarray(rows))
        return take(self, rows)

    monkeypatch.setattr(skdict.training, "batch_of", spy_of_batches)
    monkeypatch.setattr(skdict.sources.ArrayRows, "take", spy_of_take)
    sae = small(TopKAutoencoder, max_iter=1, batch_size=1000, early_stopping=True).fit(X)
    (rows,) = held
    assert rows.size == 5000
    seen = np.concatenate(trained).astype(int)
    np.testing.assert_array_equal(np.sort(np.concatenate([seen, rows])), np.arange(50_000))
    score = sae.score(X[rows])
    np.testing.assert_allclose(sae.history_["validation_score"][-1], score, rtol=1e-6)


@pytest.mark.parametrize("fraction", [0, 1, 1.5, -0.1])
def test_bad_fractions(fraction):
    # Catches fractions that leave nothing.
    with pytest.raises(ValueError, match="validation_fraction"):
        small(TopKAutoencoder, validation_fraction=fraction, early_stopping=True).fit(data())
    with pytest.raises(ValueError, match=r"validation_fraction=0.9.*1 rows"):
        small(TopKAutoencoder, validation_fraction=0.9, early_stopping=True).fit(data(1))


# ---------------------------------------------------------------------- divergence and death


@pytest.mark.parametrize("cls", [TopKAutoencoder, SparseAutoencoder, GatedAutoencoder])
def test_a_huge_loss_is_divergence(cls):
    # Catches a fit that ends without a word although its loss has grown a million times.
    X = data(500, 8)
    with pytest.warns(ConvergenceWarning, match=r"huge or non-finite.*Lower learning_rate") as seen:
        sae = small(cls, learning_rate=1e4, max_iter=30, warmup=2).fit(X)
    assert len(seen) == 1
    assert np.all(np.isfinite(sae.components_)) and sae.n_iter_ < 30


@pytest.mark.parametrize("cls", [SparseAutoencoder, GatedAutoencoder, TopKAutoencoder])
def test_many_latents_begin_far_off(cls, recwarn):
    # Catches random atoms, whose sum is far from the data, that are taken for divergence.
    X = data(2000, 8)
    changes = {"k": 200} if cls is TopKAutoencoder else {"alpha": 0.1}
    sae = small(cls, n_components=512, max_iter=60, batch_size=256, **changes).fit(X)
    assert sae.n_iter_ == 60 and sae.score(X) > 0
    assert not any(issubclass(each.category, ConvergenceWarning) for each in recwarn)


def test_a_diverging_run_resumes_to_the_same_bits(dying, tmp_path):
    # Catches a resumed run that goes back to other parameters than the one left alone.
    X, step = data(), dying.step

    def diverging(state, *args, **kwargs):
        result = step(state, *args, **kwargs)
        return result._replace(loss=np.nan) if state.step == 15 else result

    dying.step = diverging

    def make():
        return small(TopKAutoencoder, max_iter=1, batch_size=4)

    dying(10**9)
    with pytest.warns(ConvergenceWarning):
        alone = make().fit(X, checkpoint=tmp_path / "alone", checkpoint_every=6)
    dying(8)
    with pytest.raises(Killed):
        make().fit(X, checkpoint=tmp_path / "run", checkpoint_every=6)
    dying(10**9)
    with pytest.warns(ConvergenceWarning):
        resumed = make().fit(X, checkpoint=tmp_path / "run", checkpoint_every=6, resume=True)
    assert_same_fit(resumed, alone)


def test_divergence_within_a_long_pass(monkeypatch):
    # Catches a pass of hours that is trained to its end with NaN.
    monkeypatch.setattr(runs, "LOOK_EVERY", 10)
    step, calls = skdict.training.train_step, []

    def diverging(state, *args, **kwargs):
        calls.append(state.step)
        result = step(state, *args, **kwargs)
        return result if state.step < 25 else result._replace(loss=np.nan)

    monkeypatch.setattr(skdict.training, "train_step", diverging)
    with pytest.warns(ConvergenceWarning, match="before step 30"):
        sae = small(TopKAutoencoder, max_iter=1, batch_size=1).fit(data(100))
    assert len(calls) == 30 and np.all(np.isfinite(sae.components_))


def test_divergence_is_not_saved(monkeypatch, tmp_path):
    # Catches a good checkpoint that is replaced by one of NaN.
    step = skdict.training.train_step

    def diverging(state, *args, **kwargs):
        result = step(state, *args, **kwargs)
        if state.step == 7:
            state.params["encoder"][...] = np.nan
        return result

    monkeypatch.setattr(skdict.training, "train_step", diverging)
    with pytest.warns(ConvergenceWarning, match="before step 8"):
        small(TopKAutoencoder).fit(data(), checkpoint=tmp_path / "run", checkpoint_every=2)
    names = sorted(path.name for path in (tmp_path / "run").glob("*.json"))
    assert names == ["step-0000000004.json", "step-0000000006.json"]


def test_many_dead_latents_bring_one_warning():
    # Catches a dictionary of which most is useless, and nobody says so.
    X = np.outer(np.linspace(-1, 1, 200), np.ones(4))  # one direction
    sae = small(TopKAutoencoder, n_components=200, k=1, dead_after=100, max_iter=20)
    with pytest.warns(UserWarning, match=r"of 200 latents did not fire.*Raise k") as seen:
        sae.fit(X)
    assert len(seen) == 1
