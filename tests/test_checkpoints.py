"""Checkpoints: round trips, damage, crashes, full disks, locks, and what the messages say."""

import errno
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skdict import checkpoint_files, tensor_files
from skdict.checkpoints import Checkpoints

CONFIGURATION = {"alpha": 0.1, "n_components": 4, "betas": (0.9, 0.999), "tol": math.inf}


def opened(path, every=1):
    return Checkpoints(path, every, "SparseAutoencoder")


def tree_of(step):
    rng = np.random.default_rng(step)
    state = rng.bit_generator.state
    params = {"components": rng.standard_normal((4, 3)), "bias": rng.standard_normal(3)}
    return {"step": step, "params": params, "rng": state, "losses": [0.5, math.nan]}


def save(path, *steps):
    with opened(path) as checkpoints:
        for step in steps:
            checkpoints.save(step, tree_of(step), CONFIGURATION)


def load(path, configuration=CONFIGURATION):
    with opened(path) as checkpoints:
        return checkpoints.last(configuration)


def names(path):
    return sorted(name for name in os.listdir(path) if name != "lock")


def files_of(*steps):
    return [f"step-{step:010}.{end}" for step in steps for end in ("json", "safetensors")]


def assert_same(a, b):
    """Equal trees: kinds, order of keys, dtypes, and every bit of the numbers."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for item, other in zip(a, b):
            assert_same(item, other)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    elif isinstance(a, float):
        assert struct.pack("d", a) == struct.pack("d", b)
    else:
        assert a == b


KEYS = st.sampled_from(["a", "b", "a/b", "~", "~1", "", "tensor", "int", "dict", "__metadata__"])
ARRAYS = hnp.arrays(
    st.sampled_from([np.dtype(name) for name in tensor_files.NAMES]),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
)
LEAVES = st.one_of(
    ARRAYS, st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.none()
)
TREES = st.dictionaries(
    KEYS | st.text(max_size=5),
    st.recursive(
        LEAVES | st.lists(LEAVES, max_size=3),
        lambda inner: st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(tree=TREES)
@settings(max_examples=60)
def test_round_trip(tree):
    # Catches a leaf that comes back as something else, and keys that collide in a file.
    tensors = {}
    text = json.dumps(checkpoint_files.encode(tree, (), tensors), allow_nan=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tensors"
        with open(path, "wb") as file:
            tensor_files.write(file, tensors)
        arrays, _ = tensor_files.read(path)
    assert_same(checkpoint_files.decode(json.loads(text), arrays), tree)


def test_round_trip_of_a_fit(tmp_path):
    # Catches a generator, a large integer or a NaN that is not the same after resuming.
    tree = tree_of(3)
    tree["large"] = [2**127 + 1, -(10**5000)]
    tree["nan"] = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]
    tree["legacy"] = np.random.MT19937(0).state
    with opened(tmp_path / "a" / "b") as checkpoints:
        assert checkpoints.is_empty() and checkpoints.last(CONFIGURATION) is None
        checkpoints.save(np.int64(3), tree, CONFIGURATION)
        assert not checkpoints.is_empty()
    found = load(tmp_path / "a" / "b")
    assert_same(found, tree)
    rng, wanted = np.random.default_rng(), np.random.default_rng(3)
    rng.bit_generator.state = found["rng"]
    wanted.bit_generator.state = tree["rng"]
    assert rng.random() == wanted.random()


def test_files_are_those_of_the_safetensors_package(tmp_path):
    # Catches tensors that no other program can read.
    numpy_files = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    save(tmp_path, 7)
    found = numpy_files.load_file(tmp_path / "step-0000000007.safetensors")
    assert sorted(found) == ["params/bias", "params/components"]
    for name, array in tree_of(7)["params"].items():
        assert_same(found[f"params/{name}"], array)


def test_json_is_plain(tmp_path):
    # Catches a file that other readers refuse, or that nobody can read.
    save(tmp_path, 7)
    text = (tmp_path / "step-0000000007.json").read_text(encoding="utf-8")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    record = json.loads(text, parse_constant=refuse)
    assert list(record)[:4] == ["format", "skdict", "step", "configuration"]
    assert record["tree"]["params"]["bias"] == {"tensor": "params/bias"}
    assert len(text.splitlines()) > 20


@pytest.mark.parametrize("leaf", [np.float32(1), (1, 2), {1: 2}, {1, 2}, b"", np.array("a"), 1j])
def test_what_cannot_be_saved(tmp_path, leaf):
    # Catches a state that is silently saved as something else, and remains of the attempt.
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, tree_of(1), CONFIGURATION)
        with pytest.raises(TypeError, match="outer/inner"):
            checkpoints.save(2, {"outer": {"inner": leaf}}, CONFIGURATION)
        assert names(tmp_path) == files_of(1)


def test_last_two_are_kept(tmp_path):
    # Catches a disk that fills up, and a removal of what is not ours.
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "step-1.json").write_text("mine")
    save(tmp_path, 5, 10, 10**10)
    assert names(tmp_path) == sorted([*files_of(10, 10**10), "notes.txt", "step-1.json"])
    assert_same(load(tmp_path), tree_of(10**10))


def test_strays_are_removed(tmp_path):
    # Catches remains of a crash that stay for ever.
    save(tmp_path, 1)
    for name in ("step-0000000000.safetensors", "step-0000000002.json.tmp"):
        (tmp_path / name).write_bytes(b"remains")
    assert_same(load(tmp_path), tree_of(1))
    assert len(names(tmp_path)) == 4  # nothing is deleted by loading
    save(tmp_path, 2)
    assert names(tmp_path) == files_of(1, 2)


def test_saving_a_step_again(tmp_path):
    # Catches tensors of one save beside the JSON of another, and both kept.
    for i in range(4):
        with opened(tmp_path) as checkpoints:
            checkpoints.save(1, tree_of(i), CONFIGURATION)
        assert len(names(tmp_path)) == 2
        assert_same(load(tmp_path), tree_of(i))


def truncate(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 2
    path.write_bytes(content)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGES = {
    "tensors missing": ("safetensors", os.remove, "is missing"),
    "tensors empty": ("safetensors", lambda p: truncate(p, 0), "is cut off"),
    "tensors cut in the header": ("safetensors", lambda p: truncate(p, 20), "is cut off"),
    "tensors cut": ("safetensors", lambda p: truncate(p, p.stat().st_size - 1), "is cut off"),
    "tensors longer": ("safetensors", lambda p: p.write_bytes(p.read_bytes() + b"x"), "was edited"),
    "tensors flipped": ("safetensors", lambda p: flip(p, -5), "was edited"),
    "length flipped": ("safetensors", lambda p: flip(p, 0), "was edited"),
    "json empty": ("json", lambda p: truncate(p, 0), "is cut off or was edited"),
    "json cut": ("json", lambda p: truncate(p, 200), "is cut off or was edited"),
    "json is a list": ("json", lambda p: p.write_text("[]"), "is cut off or was edited"),
    "json without anything": ("json", lambda p: p.write_text("{}"), "edited"),
    "json is not text": ("json", lambda p: p.write_bytes(b"\xff\xfe\x00"), "edited"),
    "number edited": ("json", lambda p: edit(p, "0.999", "0.99"), "was edited"),
    "constant edited": ("json", lambda p: edit(p, "0.999", "NaN"), "edited"),
    "step edited": ("json", lambda p: edit(p, '"step": 20', '"step": 21'), "was edited"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_the_earlier_one_offered(tmp_path, damage):
    # Catches a fit that resumes from garbage, and a way out that does not lead out.
    end, spoil, what = DAMAGES[damage]
    save(tmp_path, 10, 20)
    spoil(tmp_path / f"step-0000000020.{end}")
    before = names(tmp_path)
    with pytest.raises(ValueError) as caught:
        load(tmp_path)
    message = str(caught.value)
    for part in ("SparseAutoencoder: checkpoint=", f"step-0000000020.{end} ", what, "of step 10"):
        assert part in message
    assert names(tmp_path) == before
    for name in before:
        if name in message.partition("delete")[2]:
            os.remove(tmp_path / name)
    assert_same(load(tmp_path), tree_of(10))


def test_every_flipped_byte_is_found(tmp_path):
    # Catches a part of either file that nothing verifies.
    save(tmp_path, 1)
    for name in files_of(1):
        content = (tmp_path / name).read_bytes()
        for position in range(0, len(content), 7):
            flip(tmp_path / name, position)
            try:
                tree = load_unlocked(tmp_path)
            except ValueError as error:
                assert name in str(error)
            else:  # white space and such, or a letter that means the same
                assert name.endswith("json")
                assert_same(tree, tree_of(1))
            (tmp_path / name).write_bytes(content)


def load_unlocked(path):
    # the lock takes ten times as long as the rest
    return opened(path).last(CONFIGURATION)


def test_no_good_one_is_left(tmp_path):
    # Catches the offer of an earlier checkpoint that is damaged too, or is not there.
    save(tmp_path, 1)
    flip(tmp_path / "step-0000000001.safetensors", -1)
    with pytest.raises(ValueError, match=r"There is none before it: choose another folder, or"):
        load(tmp_path)
    save(tmp_path, 2)
    os.remove(tmp_path / "step-0000000002.safetensors")
    with pytest.raises(ValueError, match=r"Of step 1 there is one, damaged too: choose another"):
        load(tmp_path)


def test_saving_beside_a_damaged_one(tmp_path):
    # Catches a clean-up that takes the tensors of a JSON that may yet be mended.
    save(tmp_path, 1)
    truncate(tmp_path / "step-0000000001.json", 50)
    save(tmp_path, 2)
    assert names(tmp_path) == files_of(1, 2)
    truncate(tmp_path / "step-0000000002.json", 50)
    save(tmp_path, 2)
    assert_same(load(tmp_path), tree_of(2))


def test_file_that_cannot_be_read(tmp_path):
    # Catches an error of the system that names neither estimator nor parameter.
    (tmp_path / "step-0000000001.json").mkdir()
    with pytest.raises(OSError, match=r"SparseAutoencoder: checkpoint='.*' cannot be read"):
        load(tmp_path)


def test_renamed_file(tmp_path):
    # Catches a checkpoint that poses as a later one.
    save(tmp_path, 1)
    shutil.copy(tmp_path / "step-0000000001.json", tmp_path / "step-0000000009.json")
    with pytest.raises(ValueError, match=r"step-0000000009\.json was edited or renamed"):
        load(tmp_path)


def test_unknown_version(tmp_path, monkeypatch):
    # Catches a file of a later release that is half understood, or called damaged without a why.
    with monkeypatch.context() as later:
        later.setattr(checkpoint_files, "FORMAT", 2)
        later.setattr("skdict.__version__", "9.8")
        save(tmp_path, 1)
    with pytest.raises(ValueError, match=r"01\.json has format version 2, of skdict 9\.8"):
        load(tmp_path)


def test_another_configuration(tmp_path):
    # Catches a fit that resumes with other parameters, and a message that does not say which.
    save(tmp_path, 1)
    with pytest.raises(ValueError) as caught:
        load(tmp_path, {"alpha": 0.2, "n_components": 4, "betas": [0.9, 0.999], "k": "x" * 500})
    message = str(caught.value)
    assert "alpha is 0.1 in the checkpoint, 0.2 now" in message
    assert "tol is inf in the checkpoint, absent now" in message
    assert "k is absent in the checkpoint, 'xxx" in message
    assert "n_components is" not in message and "betas is" not in message
    assert "resume=False" in message and len(message) < 600


def test_many_differences(tmp_path):
    # Catches a message of a page.
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, {}, {f"p{i}": i for i in range(10)})
        with pytest.raises(ValueError, match=r"p6 is 6 in the checkpoint, -6 now; and 3 more\."):
            checkpoints.last({f"p{i}": -i for i in range(10)})


def test_the_same_configuration_in_other_words(tmp_path):
    # Catches a resumption refused for a NaN, a tuple or 1 instead of 1.0.
    with opened(tmp_path) as checkpoints:
        checkpoints.save(1, {"a": 1}, {"a": math.nan, "b": (1, [2]), "c": 1.0, "d": None})
        assert checkpoints.last({"d": None, "a": math.nan, "b": [1, (2,)], "c": 1}) == {"a": 1}


class Killed(BaseException):
    """The process is gone: nothing after it is carried out."""


def kill_after(monkeypatch, n_operations):
    """Let the n-th operation on the disk, and all later ones, fail as in a process that died."""
    left = [n_operations]

    def dying(operation):
        def perform(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return operation(*args, **kwargs)

        return perform

    for name in ("open", "replace", "remove", "fsync", "listdir"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    monkeypatch.setattr(checkpoint_files, "open", dying(open), raising=False)
    return left


@pytest.mark.parametrize("again", [False, True])
def test_killed_while_saving(tmp_path, monkeypatch, again):
    # Catches a moment at which a crash leaves no checkpoint, or a mixture of two.
    step = 20 if again else 30
    states, n_operations = set(), 0
    while True:
        folder = tmp_path / str(n_operations)
        save(folder, 10, 20)
        with opened(folder) as checkpoints, monkeypatch.context() as patched:
            left = kill_after(patched, n_operations)
            try:
                checkpoints.save(step, tree_of(99), CONFIGURATION)
            except Killed:
                pass
        found = load(folder)
        states.add(found["step"])
        assert_same(found, tree_of(found["step"]))
        save(folder, step + 1)  # the next save cleans up
        assert len(names(folder)) == 4
        assert_same(load(folder), tree_of(step + 1))
        if left[0] >= 0:
            break
        n_operations += 1
    assert n_operations > 8 and states == {20, 99}


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be synchronised on Windows")
def test_order_of_operations(tmp_path, monkeypatch):
    # Catches a power cut that leaves a name without its content, or takes both checkpoints.
    save(tmp_path, 1, 2)
    with opened(tmp_path) as checkpoints, monkeypatch.context() as patched:
        done = []
        for name in ("fsync", "replace", "remove"):
            patched.setattr(os, name, noted(name, getattr(os, name), done))
        checkpoints.save(3, tree_of(3), CONFIGURATION)
    json_3, tensors_3 = files_of(3)
    json_1, tensors_1 = files_of(1)
    assert done == [
        *("fsync", f"replace {tensors_3}", "fsync"),
        *("fsync", f"replace {json_3}", "fsync"),
        *(f"remove {json_1}", f"remove {tensors_1}"),
    ]


def noted(name, operation, done):
    def perform(*args):
        done.append(name if name == "fsync" else f"{name} {Path(args[-1]).name}")
        return operation(*args)

    return perform


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_killed_for_real(tmp_path):
    # Catches what the simulation above leaves out: a lock that outlives its process, above all.
    code = """
        step = 0
        while True:
            step += 1
            checkpoints.save(step, {"step": step, "a": np.full(100_000, step)}, {})
            print(step, flush=True)
    """
    for delay in (1, 3):
        with child_that_saves(tmp_path / str(delay), code) as child:
            for _ in range(delay):
                step = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            child.communicate(timeout=60)
        tree = load(tmp_path / str(delay), {})
        assert tree["step"] >= step and (tree["a"] == tree["step"]).all()


def child_that_saves(path, code):
    """A process that runs `code` within the context of the checkpoints of a folder."""
    start = f"""
import numpy as np
from skdict.checkpoints import Checkpoints
with Checkpoints({os.fspath(path)!r}, 1, "Child") as checkpoints:
    if True:
"""
    root = Path(checkpoint_files.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(
        [sys.executable, "-c", start + code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("place", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("nth", [0, 1])
def test_errors_while_saving(tmp_path, monkeypatch, place, nth):
    # Catches an error without a way out, remains of a failed save, and a lost checkpoint.
    calls = []

    def fail(*args, **kwargs):
        calls.append(args)
        if len(calls) > nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **kwargs)

    owner = {"open": checkpoint_files, "write": checkpoint_files._Digest}.get(place, os)
    original = open if place == "open" else getattr(owner, place)
    save(tmp_path, 10, 20)
    with opened(tmp_path) as checkpoints:
        with monkeypatch.context() as patched:
            patched.setattr(owner, place, fail, raising=False)
            # reading is not what is to fail
            patched.setattr(checkpoint_files, "is_whole", lambda folder, step: step == 20)
            with pytest.raises(OSError, match=r"SparseAutoencoder: checkpoint='.*not be sa") as e:
                checkpoints.save(30, tree_of(30), CONFIGURATION)
        assert e.value.errno == errno.ENOSPC and e.value.__cause__ is not None
        assert "at step 30" in str(e.value)
        assert "good checkpoint in it is of step 20" in str(e.value)
        assert names(tmp_path) == files_of(10, 20)
        checkpoints.save(30, tree_of(30), CONFIGURATION)  # after room was made
    assert names(tmp_path) == files_of(20, 30)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_device(tmp_path, monkeypatch):
    # Catches a full disk that shows only when the buffer is written out.
    def full(path, mode):
        Path(path).touch()
        return open("/dev/full" if mode == "wb" else path, mode)

    with opened(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoint_files, "open", full, raising=False)
        with pytest.raises(OSError, match="no good checkpoint in it") as caught:
            checkpoints.save(1, tree_of(1), CONFIGURATION)
        assert caught.value.errno == errno.ENOSPC and names(tmp_path) == []
    with pytest.raises(OSError, match="cannot be written"), opened(tmp_path):
        pass
    assert names(tmp_path) == []


def test_a_limit_on_the_size_of_files(tmp_path):
    # Catches a file that the system itself cuts off.
    pytest.importorskip("resource", reason="no limits of resources on this system")
    code = """
        import errno, resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        checkpoints.save(1, {"a": np.zeros(100)}, {})
        try:
            checkpoints.save(2, {"a": np.zeros(10_000)}, {})
        except OSError as error:
            assert error.errno == errno.EFBIG
            print(error)
    """
    with child_that_saves(tmp_path, code) as child:
        out, error = child.communicate(timeout=60)
    assert error == "" and "of step 1" in out
    assert names(tmp_path) == files_of(1)
    assert (load(tmp_path, {})["a"] == np.zeros(100)).all()


def test_folder_that_is_gone(tmp_path):
    # Catches an error of the clean-up that hides the one that matters.
    with opened(tmp_path / "a") as checkpoints:
        checkpoints.save(1, tree_of(1), CONFIGURATION)
        for name in os.listdir(tmp_path / "a"):
            os.remove(tmp_path / "a" / name)
        os.rmdir(tmp_path / "a")
        with pytest.raises(FileNotFoundError, match=r"at step 2.*There is no good checkpoint"):
            checkpoints.save(2, tree_of(2), CONFIGURATION)


def test_relative_path(tmp_path, monkeypatch):
    # Catches checkpoints that end up in two folders after a change of directory.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    with opened(Path("a")) as checkpoints:
        monkeypatch.chdir(tmp_path / "b")
        checkpoints.save(1, tree_of(1), CONFIGURATION)
    assert names(tmp_path / "a") == files_of(1) and names(tmp_path / "b") == []


def test_path_that_is_a_file(tmp_path):
    # Catches an error after hours of training instead of before.
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match=r"SparseAutoencoder: checkpoint='.*file' is no"):
        opened(tmp_path / "file").__enter__()
    with pytest.raises(NotADirectoryError, match=r"SparseAutoencoder: checkpoint='.*inner' is no"):
        opened(tmp_path / "file" / "inner").__enter__()


@pytest.mark.skipif(os.name == "nt", reason="folders have no such permissions on Windows")
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("lock_exists", [False, True])
def test_read_only_folder(tmp_path, lock_exists):
    # Catches a folder that turns out to be read-only at the first save.
    if lock_exists:
        save(tmp_path, 1)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="SparseAutoencoder: checkpoint="):
            opened(tmp_path).__enter__()
        with pytest.raises(PermissionError, match="SparseAutoencoder: checkpoint="):
            opened(tmp_path / "inner").__enter__()
    finally:
        tmp_path.chmod(0o700)
    save(tmp_path, 2)  # the lock was given back


def test_failure_gives_the_lock_back(tmp_path, monkeypatch):
    # Catches a folder that is locked until the program ends.
    for error in (PermissionError(errno.EACCES, "no"), Killed()):
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", lambda file, error=error: raise_(error))
            with pytest.raises(type(error)):
                opened(tmp_path).__enter__()
        save(tmp_path, 1)
    with pytest.raises(ZeroDivisionError), opened(tmp_path):
        raise ZeroDivisionError
    save(tmp_path, 2)


def raise_(error):
    raise error


def test_two_fits_in_one_process(tmp_path):
    # Catches two clones of a grid search that mix their checkpoints.
    caught = []

    def other():
        try:
            save(tmp_path, 1)
        except RuntimeError as error:
            caught.append(str(error))

    with opened(tmp_path):
        other()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(caught) == 2
    for message in caught:
        assert message.startswith("SparseAutoencoder: checkpoint=")
        assert "grid search" in message and "choose another" in message
    save(tmp_path, 1)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_lock_of_another_process(tmp_path):
    # Catches a lock that holds within a process only, or that outlives its process.
    code = """
        print("locked", flush=True)
        input()
    """
    with child_that_saves(tmp_path, code) as child:
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(RuntimeError, match="in use by another fit"):
            save(tmp_path, 1)
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=60)
    save(tmp_path, 1)
    assert names(tmp_path) == files_of(1)


def test_due_at_multiples(tmp_path):
    # Catches a resumed fit that saves at other steps than one without interruption.
    def steps_saved(start, stop):
        with opened(tmp_path, every=np.int64(5)) as checkpoints:
            checkpoints.begin(start)
            for step in range(start + 1, stop + 1):
                if checkpoints.due(step):
                    checkpoints.save(step, {}, {})
                    assert not checkpoints.due(step)
                    yield step

    assert list(steps_saved(0, 16)) == [5, 10, 15]
    assert list(steps_saved(16, 20)) == [20]
    assert list(steps_saved(20, 31)) == [25, 30]


def test_due_after_steps_at_once(tmp_path):
    # Catches a multiple that is passed over where several steps are taken together.
    with opened(tmp_path, every=5) as checkpoints:
        checkpoints.begin(3)
        assert not checkpoints.due(4) and checkpoints.due(7)


def test_due_after_a_duration(tmp_path, monkeypatch):
    # Catches a clock that does not start anew with a save, or that can be set back.
    now = [1000.0]
    monkeypatch.setattr("skdict.checkpoints.time.monotonic", lambda: now[0])
    with opened(tmp_path, every="2 min") as checkpoints:
        now[0] += 119
        assert not checkpoints.due(1)
        now[0] += 1
        assert checkpoints.due(1)
        checkpoints.save(1, {}, {})
        assert not checkpoints.due(2)
        now[0] += 120
        assert checkpoints.due(2)


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("30s", 30),
        ("10min", 600),
        ("2h", 7200),
        ("1d", 86400),
        ("90 sec", 90),
        (" 1.5 hours ", 5400),
    ],
)
def test_durations(tmp_path, monkeypatch, text, seconds):
    # Catches a unit that is taken for another.
    now = [0.0]
    monkeypatch.setattr("skdict.checkpoints.time.monotonic", lambda: now[0])
    checkpoints = opened(tmp_path, every=text)
    checkpoints.begin(0)
    now[0] = seconds - 0.01
    assert not checkpoints.due(1)
    now[0] = seconds
    assert checkpoints.due(1)


@pytest.mark.parametrize("every", [0, -1, "", "10", "min", "10m", "0s", "-1s", "1e3s", "1 week"])
def test_every_of_a_wrong_value(tmp_path, every):
    # Catches a fit that never saves, or a message without the rule.
    match = rf"SparseAutoencoder: checkpoint_every={every!r} is .*integer >= 1 .*'10min'"
    with pytest.raises(ValueError, match=match):
        opened(tmp_path, every)


@pytest.mark.parametrize("every", [True, 1.5, None, b"1s"])
def test_every_of_a_wrong_kind(tmp_path, every):
    # Catches True taken for one step.
    with pytest.raises(TypeError, match=r"SparseAutoencoder: checkpoint_every=.*'10min'"):
        opened(tmp_path, every)


def test_path_of_a_wrong_kind():
    # Catches a folder named "3", and the current folder filled by mistake.
    for path in (3, None, b"a", True):
        with pytest.raises(TypeError, match=r"SparseAutoencoder: checkpoint=.*Name a folder"):
            opened(path)
    with pytest.raises(ValueError, match="SparseAutoencoder: checkpoint='' is empty"):
        opened("")
