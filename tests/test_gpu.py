"""Estimators on a GPU: where things live, what waits for what, and the same results.

On a machine without one they run over a stand-in for CuPy (SKDICT_CUPY=emulated) whose kernels are
the real ones; tests of transfers need its log.
"""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from estimators import (
    AUTOENCODERS,
    CODERS,
    data,
    each_autoencoder,
    each_by_gradient,
    each_estimator,
    fitted,
    small,
)

import skdict
from skdict import LassoCoder, MatchingPursuitCoder, TopKAutoencoder, backend, batches, training
from skdict.backend import to_numpy
from skdict.kernels import dense

pytestmark = pytest.mark.gpu


def on_host(make, **changes):
    """An estimator whose algorithm is the same on the host and on a GPU."""
    return make(**changes, **({"algorithm": "fista"} if make.args[0] is LassoCoder else {}))


def is_cupy(array):
    return backend.is_gpu(array)


def arrays(estimator):
    return {n: v for n, v in fitted(estimator).items() if isinstance(v, np.ndarray) or is_cupy(v)}


def assert_close(one, other, rtol=1e-7, atol=1e-9):
    np.testing.assert_allclose(to_numpy(one), to_numpy(other), rtol=rtol, atol=atol)


# ---- following the data


@each_by_gradient
def test_nothing_moves(make, cupy, fake):
    # Catches data or parameters that make a trip to the host in the steps of training.
    X = cupy.asarray(data(2000, 200))
    estimator = make(dead_after=10**6)
    size_of_parameters = 16 * 200 * 8
    fake.log.clear()
    estimator.fit(X)
    sent = [size for way, size in fake.log if way == "h2d" and size >= size_of_parameters]
    assert set(sent) <= {size_of_parameters, 2000 * 8} and sent.count(size_of_parameters) == 1
    read = [size for way, size in fake.log if way == "d2h" and size >= size_of_parameters]
    # The first rows, for centre, scale and, of coders, first atoms.
    assert read in ([X.nbytes], [X.nbytes, size_of_parameters])
    assert all(is_cupy(array) for name, array in arrays(estimator).items())


@each_estimator
def test_on_a_device_that_is_not_current(make, cupy):
    # Catches work that goes to the current device instead of that of the data.
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("only one GPU")
    with cupy.cuda.Device(1):
        X = cupy.asarray(data())
    estimator = make().fit(X).partial_fit(X)
    Z = estimator.transform(X)
    for array in (estimator.components_, Z, estimator.inverse_transform(Z)):
        assert array.device.id == 1
    assert isinstance(estimator.score(X), float)
    assert cupy.cuda.Device().id == 0
    with pytest.raises(ValueError, match="same device"):
        estimator.transform(cupy.asarray(data()))
    with pytest.raises(ValueError, match="device='cuda:0', but X is on cuda:1"):
        make(device="cuda:0").fit(X)
    with pytest.raises(ValueError, match="device='cpu', but X is on cuda:1"):
        make(device="cpu").fit(X)


# ---- waiting


def started(cls, cupy, X, **changes):
    """State of training, parts and settings on CuPy arrays, a step after the first."""
    estimator = small(cls, **changes)
    estimator.n_features_in_ = X.shape[1]
    estimator._validate_params()
    X = cupy.asarray(X)
    random = np.random.default_rng(0)
    state = estimator._start(X, X[:0], random, False)
    encoder, terms = estimator._parts(16, state.scale)
    settings = estimator._settings(0.0, X.shape[0])
    batch = batches.standardise(X, state)
    training.train_step(state, batch, encoder, terms, settings)
    return state, batch, encoder, terms, settings


@pytest.mark.parametrize("precision", ["highest", "tf32", "bf16"])
@pytest.mark.parametrize("some_are_dead", [False, True])
@pytest.mark.parametrize("cls", AUTOENCODERS)
def test_steps_do_not_wait(cls, some_are_dead, precision, cupy):
    # Catches a value that the host reads within a step.
    import cupyx

    X = data(64, dtype="float32")
    state, batch, *parts, settings = started(cls, cupy, X, precision=precision)
    if some_are_dead:
        state.silent_for[:5] = 10**6
    training.look(state, settings)
    assert bool(state.dead.any()) == some_are_dead
    settings = settings._replace(resample=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy calls the context deprecated
        context = cupyx.allow_synchronize(False)
    with context:
        steps = [training.train_step(state, batch, *parts, settings) for _ in range(3)]
    table = training.table(steps)
    assert np.isfinite(table).all() and table[0, 0] != table[-1, 0]


def test_what_has_fired_is_dead_no_more(cupy):
    # Catches latents that AuxK goes on moving after they have come back, since the host has not
    # looked again; of 16 latents 13 are taken for dead, and all but five of them have fired.
    X = data(64)
    state, batch, encoder, terms, settings = started(TopKAutoencoder, cupy, X)
    silent_for = np.zeros(16, dtype=np.int64)
    silent_for[3:8] = 10**6
    results = []
    for known in (silent_for >= 1, np.arange(16) >= 3):
        other = pickle.loads(pickle.dumps(state))
        other.silent_for, other.dead = cupy.asarray(silent_for), known
        training.train_step(other, batch, encoder, terms, settings)
        results.append(other.params)
    for name in results[0]:
        assert_close(results[0][name], results[1][name])


@pytest.mark.parametrize("cls", AUTOENCODERS)
def test_the_dead_come_back(cls, cupy):
    # Catches counters on the GPU that nobody reads.
    X = data(400)
    changes = {"dead_after": 100, "max_iter": 40, "n_components": 48, "learning_rate": 0.02}
    host, there = small(cls, **changes).fit(X), small(cls, **changes).fit(cupy.asarray(X))
    assert there.history_["dead"].shape == host.history_["dead"].shape
    assert there.history_["dead"][-1] <= there.history_["dead"].max()
    assert abs(there.score(cupy.asarray(X)) - host.score(X)) < 0.1


@pytest.mark.parametrize("some_are_dead", [False, True])
@pytest.mark.parametrize("n_features", [5, 300])
def test_steps_with_latents_that_often_fire(n_features, some_are_dead, cupy):
    # Catches chunks of long columns that are lost, doubled or in the wrong place.
    X = data(1300, n_features)
    shared = {"batch_size": 1300, "max_iter": 3, "n_components": 7, "k": 4}
    if some_are_dead:
        X[:, 0] += 50  # one direction for all: some latents never fire
        shared |= {"dead_after": 1, "k": 1, "n_components": 9}
    host = small(TopKAutoencoder, **shared).fit(X)
    there = small(TopKAutoencoder, **shared).fit(cupy.asarray(X))
    for name in ("components_", "encoder_", "encoder_bias_", "decoder_bias_"):
        found, expected = to_numpy(getattr(there, name)), getattr(host, name)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8, err_msg=name)


# ---- host arrays that visit


@each_estimator
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_streaming_gives_what_the_host_gives(make, dtype, cupy):
    # Catches batches that are overwritten while they are used, and results that stay behind.
    X, none_dies = data(300, dtype=dtype), {"dead_after": 10**6}  # a GPU looks less often
    there = make(device="cuda", **none_dies).fit(X)
    host = on_host(make, **none_dies).fit(X)
    tolerance = {"rtol": 1e-7, "atol": 1e-9} if dtype == "float64" else {"rtol": 0, "atol": 2e-3}
    for name, array in arrays(there).items():
        assert isinstance(array, np.ndarray), name
        assert_close(array, getattr(host, name), **tolerance)
    Z = there.transform(X)
    assert isinstance(Z, np.ndarray) and Z.dtype == there.components_.dtype
    on_its_own = on_host(make).set_params(device=None)
    vars(on_its_own).update({n: v for n, v in vars(there).items() if n.endswith("_")})
    if dtype == "float64":
        assert_close(Z, on_its_own.transform(X), rtol=1e-6, atol=1e-8)
    assert there.score(X) == pytest.approx(on_its_own.score(X), abs=1e-3)


@each_by_gradient
def test_a_batch_at_a_time(make, cupy, fake):
    # Catches an upload of all rows at once, and one of float64 where the data are float32.
    X = data(4000, dtype="float32")
    estimator = make(device="cuda", max_iter=1, batch_size=500)
    fake.log.clear()
    estimator.fit(X)
    rows = [size for way, size in fake.log if way == "h2d" and size >= 500 * 6 * 4]
    assert rows == [500 * 6 * 4] * 8 or rows[:8] == [500 * 6 * 4] * 8  # then 1000 to look at


@each_estimator
def test_sparse_codes_of_visitors(make, cupy):
    # Catches CSR codes that are not those of the array.
    X = data(150)
    estimator = make(device="cuda").fit(X)
    Z = estimator.transform(X)
    Z_sparse = estimator.set_params(sparse_output=True).transform(X)
    assert sp.issparse(Z_sparse) and Z_sparse.has_sorted_indices and (Z_sparse.data != 0).all()
    np.testing.assert_array_equal(Z_sparse.toarray(), Z)


def test_transform_in_blocks(cupy, monkeypatch):
    # Catches blocks of rows, or tiles of the product, that end up in the wrong place.
    from skdict import encoding

    X = data(500)
    for make in (small(cls, device="cuda") for cls in (*AUTOENCODERS, *CODERS)):
        whole = make.fit(X).transform(X)
        with monkeypatch.context() as patch:
            patch.setattr(encoding, "_GPU_ROWS", 77)
            patch.setattr(dense, "GPU_BYTES", 64 * 16 * 8)
            assert_close(make.transform(X), whole, rtol=1e-12, atol=1e-12)
            again = make.fit(X).transform(X)
        assert_close(again, whole, rtol=1e-6, atol=1e-8)


def test_files_visit(cupy, tmp_path):
    # Catches sources that only the host can train on.
    X = data(400, dtype="float32")
    np.save(tmp_path / "rows.npy", X)
    from_file = small(TopKAutoencoder, device="cuda").fit(tmp_path / "rows.npy")
    from_array = small(TopKAutoencoder, device="cuda").fit(X)
    np.testing.assert_array_equal(from_file.components_, from_array.components_)
    blocks = small(TopKAutoencoder, device="cuda", shuffle=False).fit([X[:123], X[123:]])
    together = small(TopKAutoencoder, device="cuda", shuffle=False).fit(X)
    np.testing.assert_array_equal(blocks.components_, together.components_)


@each_by_gradient
def test_partial_fit_of_visitors(make, cupy):
    # Catches a state that is lost between calls, in a pickle, or on the way to another device.
    X = data(192)
    twice = make(device="cuda").partial_fit(X[:64]).partial_fit(X[64:])
    cut = make(device="cuda").partial_fit(X[:64]).partial_fit(X[64:96]).partial_fit(X[96:])
    np.testing.assert_array_equal(cut.components_, twice.components_)
    through_a_pickle = pickle.loads(pickle.dumps(make(device="cuda").partial_fit(X[:64])))
    through_a_pickle.partial_fit(X[64:])
    np.testing.assert_array_equal(through_a_pickle.components_, twice.components_)
    moved = on_host(make, device="cuda").partial_fit(X[:64])
    moved.set_params(device=None).partial_fit(X[64:])
    assert_close(moved.components_, twice.components_, rtol=1e-6, atol=1e-8)


@each_by_gradient
def test_pickles_open_without_cupy(make, cupy, tmp_path):
    # Catches arrays of the GPU in what is fitted, or in the state that partial_fit keeps.
    X = data()
    for estimator in (make(device="cuda").fit(X), make(device="cuda").partial_fit(X)):
        path = tmp_path / "model.pickle"
        path.write_bytes(pickle.dumps(estimator))
        program = (
            "import pickle, sys; import numpy as np;"
            f"e = pickle.loads(open({str(path)!r}, 'rb').read()).set_params(device=None);"
            "X = np.ones((3, 6)); e.transform(X); e.partial_fit(X); e.score(X + 1);"
            "assert 'cupy' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@each_autoencoder
def test_resumes_to_the_bit(make, cupy, tmp_path):
    # Catches counters of the GPU that a checkpoint lacks; some latents are dead meanwhile.
    X = data(400)
    changes = {"dead_after": 50, "n_components": 48, "learning_rate": 0.02, "max_iter": 8}
    whole = make(device="cuda", **changes).fit(X)

    class Stop(Exception):
        pass

    def stopping(n):
        for i, rows in enumerate(np.split(X, 8)):
            if i == n:
                raise Stop
            yield rows

    class Rows:
        def __init__(self, fail_in):
            self.passes, self.fail_in = 0, fail_in

        def __iter__(self):
            self.passes += 1
            return stopping(4 if self.passes == self.fail_in else 99)

    interrupted = make(device="cuda", shuffle=False, **changes)
    keep = {"n_samples": 400, "checkpoint": tmp_path, "checkpoint_every": 3}
    with pytest.raises(Stop):
        interrupted.fit(Rows(5), **keep)
    resumed = make(device="cuda", shuffle=False, **changes).fit(Rows(0), resume=True, **keep)
    straight = make(device="cuda", shuffle=False, **changes).fit(Rows(0), n_samples=400)
    for name, array in arrays(straight).items():
        np.testing.assert_array_equal(getattr(resumed, name), array, err_msg=name)
    assert np.isfinite(whole.components_).all()


# ---- moving


@each_estimator
def test_to_device_and_back(make, cupy):
    # Catches arrays that stay behind, and a copy that shares them.
    X = data()
    there = on_host(make).fit(cupy.asarray(X))
    here = skdict.to_device(there, "cpu")
    assert all(isinstance(array, np.ndarray) for array in arrays(here).values())
    back = skdict.to_device(here, "cuda")
    assert all(is_cupy(array) for array in arrays(back).values())
    expected = there.transform(cupy.asarray(X))
    assert_close(here.transform(X), expected, rtol=1e-6, atol=1e-8)
    assert_close(back.transform(cupy.asarray(X)), expected, rtol=1e-6, atol=1e-8)
    assert here.get_params() == {**there.get_params(), "device": None}


@each_by_gradient
def test_training_goes_on_elsewhere(make, cupy):
    # Catches the state of partial_fit that stays behind.
    X = data(192)
    there = on_host(make).partial_fit(cupy.asarray(X[:64]))
    here = skdict.to_device(there, "cpu").partial_fit(X[64:])
    assert_close(here.components_, there.partial_fit(cupy.asarray(X[64:])).components_, 1e-6, 1e-8)


def test_to_device_moves_what_is_inside(cupy):
    # Catches estimators within others: dictionaries, pipelines.
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import make_pipeline

    X = data()
    sae = small(TopKAutoencoder, device="cuda").fit(X)
    coder = MatchingPursuitCoder(k=2, dictionary=FrozenEstimator(sae), device="cuda").fit(X)
    pipeline = skdict.to_device(make_pipeline(coder).fit(X), "cuda")
    assert is_cupy(pipeline[0].components_) and is_cupy(
        pipeline[0].dictionary.estimator.components_
    )
    assert_close(pipeline.transform(cupy.asarray(X)), coder.transform(X), rtol=1e-6, atol=1e-8)


# ---- precision


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("cls", [*AUTOENCODERS, *CODERS])
def test_codes_are_computed_in_float32(cls, precision, cupy):
    # Catches values of codes that keep the rounding of the product that selected them.
    if cls is LassoCoder:
        pytest.skip("the lasso ignores precision")
    X = data(200, 24, dtype="float32")
    rough = small(cls, device="cuda", precision=precision, max_iter=2).fit(X)
    exact = small(cls, max_iter=2)
    vars(exact).update({n: v for n, v in vars(rough).items() if n.endswith("_")})
    Z, Z_exact = rough.transform(X), exact.transform(X)
    both = (Z != 0) & (Z_exact != 0)
    agree = both.sum() / (Z_exact != 0).sum()
    assert agree > 0.9
    if cls is not MatchingPursuitCoder:  # whose codes depend on all that is selected
        np.testing.assert_allclose(Z[both], Z_exact[both], rtol=2e-4, atol=2e-4)
    assert abs(rough.score(X) - exact.score(X)) < 0.02


def test_precision_reaches_the_product(cupy, fake):
    # Catches a parameter that nothing reads, and a setting of the process in its place.
    X = data(64, dtype="float32")
    for precision, compute in (("highest", 68), ("tf32", 77), ("bf16", 68)):
        fake.log.clear()
        small(TopKAutoencoder, device="cuda", precision=precision, max_iter=1).fit(X)
        assert {kind for what, kind in fake.log if what == "gemm"} == {compute}
        rounded = [name for what, name in fake.log if name == "round_to_bfloat16"]
        assert bool(rounded) == (precision == "bf16")


@each_estimator
def test_the_host_ignores_precision(make, cupy):
    # Catches rounding where there is nothing to be gained.
    X = data(dtype="float32")
    plain, low = make().fit(X), make(precision="bf16").fit(X)
    np.testing.assert_array_equal(plain.components_, low.components_)
    wide, wide_low = (make(device="cuda", precision=p).fit(data()) for p in ("highest", "bf16"))
    np.testing.assert_array_equal(wide.components_, wide_low.components_)


# ---- determinism


@each_estimator
def test_same_bits_twice(make, cupy):
    # Catches sums whose order is left to chance.
    X = cupy.asarray(data(dtype="float32"))
    one, two = make().fit(X), make().fit(X)
    np.testing.assert_array_equal(to_numpy(one.components_), to_numpy(two.components_))


@each_estimator
def test_same_bits_backwards(make, cupy, fake):
    # Catches results that depend on which block or thread comes first.
    import emulation

    X = cupy.asarray(data(dtype="float32"))
    one = make().fit(X)
    with emulation.backwards():
        two = make().fit(X)
    np.testing.assert_array_equal(to_numpy(one.components_), to_numpy(two.components_))


# ---- errors


@each_estimator
def test_no_memory(make, cupy, fake):
    # Catches CuPy's bare error, and a half-fitted estimator.
    X = data(4096, 32)
    estimator = make(device="cuda", batch_size=4096, n_components=64)
    fake.largest_array, fake.total_memory = 200_000, 900_000
    try:
        with pytest.raises(MemoryError, match=r"memory on cuda:0. A step at batch_size=4096 needs"):
            estimator.fit(X)
    finally:
        fake.total_memory = 80 << 30
    assert not fitted(estimator)


def test_no_driver(cupy, fake):
    # Catches an error of the runtime that says nothing of the way out.
    fake.n_devices = 0
    with pytest.raises(RuntimeError, match=r"device='cuda', but no GPU can be used here"):
        small(TopKAutoencoder, device="cuda").fit(data())
    fake.n_devices = 2
    with pytest.raises(ValueError, match=r"device='cuda:7', but 2 GPUs are visible"):
        small(TopKAutoencoder, device="cuda:7").fit(data())


# ---- scorers


@each_autoencoder
def test_scorers_and_searches(make, cupy):
    # Catches measures of codes that only know NumPy.
    from skdict.metrics import codes_scorer, sparsity_scorer

    X = data()
    there, host = make().fit(cupy.asarray(X)), make().fit(X)
    expected = codes_scorer(["gini", "hoyer"])(host, X)
    found = codes_scorer(["gini", "hoyer"])(there, cupy.asarray(X))
    assert found == pytest.approx(expected)
    scorer = sparsity_scorer("kappa_4")
    assert scorer(there, cupy.asarray(X)) == pytest.approx(scorer(host, X))


# ---- what reviewers found


class Stop(Exception):
    """Ends a fit in the middle."""


def cut_off(rows, at):
    """An object whose first pass ends before the block `at`."""

    class Rows:
        failed = False

        def __iter__(self):
            for i, block in enumerate(np.split(rows, 8)):
                if i == at and not self.failed:
                    self.failed = True
                    raise Stop
                yield block

    return Rows()


@pytest.mark.parametrize("before, after", [(None, "cuda"), ("cuda", None)])
def test_checkpoints_across_devices(before, after, cupy, tmp_path):
    # Catches fitted arrays that stay where the checkpoint came from.
    X, keep = data(400), {"n_samples": 400, "checkpoint": tmp_path, "checkpoint_every": 2}
    with pytest.raises(Stop):
        small(TopKAutoencoder, device=before).fit(cut_off(X, 5), **keep)
    resumed = small(TopKAutoencoder, device=after).fit(cut_off(X, 99), resume=True, **keep)
    assert isinstance(resumed.components_, np.ndarray)
    assert np.isfinite(resumed.transform(X)).all()
    pickle.dumps(resumed)


def test_warm_start_from_another_gpu(cupy):
    # Catches a fit that computes on the device of the fit before.
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("only one GPU")
    X, estimator = data(), small(TopKAutoencoder, warm_start=True)
    estimator.fit(cupy.asarray(X))
    with cupy.cuda.Device(1):
        there = cupy.asarray(X)
    estimator.fit(there)
    assert estimator.components_.device.id == 1


def test_memory_of_the_host(cupy, monkeypatch):
    # Catches a message about the GPU where it is the host that has no memory.
    def full(*args):
        raise MemoryError("the host is full")

    monkeypatch.setattr(training, "center_and_scale", full)
    with pytest.raises(MemoryError, match=r"^the host is full$"):
        small(TopKAutoencoder, device="cuda").fit(data())


def test_numbers_that_no_gpu_has(cupy):
    # Catches rows of long doubles that are sent as they are.
    X = data(128)
    blocks = [X[:64].astype(np.longdouble), X[64:].astype(np.longdouble)]
    found = small(TopKAutoencoder, device="cuda", shuffle=False).fit(blocks)
    expected = small(TopKAutoencoder, device="cuda", shuffle=False).fit([X[:64], X[64:]])
    np.testing.assert_array_equal(found.components_, expected.components_)
