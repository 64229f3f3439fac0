"""skdict on a GPU: steps, codes and pursuits beside their products, copies and other libraries.

    pip install -r doc/benchmarks/requirements-gpu.txt
    python doc/benchmarks/gpu.py [--parts steps encode peers omp streaming] [--no-tests]

First the tests on CuPy arrays run (`pytest -m gpu`); nothing is measured if one fails. All data are
made here: float32 rows that are sums of k of m random atoms with a little noise, in the units that
training has. What is compared takes turns; before the first round each is called untimed, then once
more before each measure, and a measure is of several calls in a row, between two CUDA events, as
steps follow each other in a fit. Figures are medians over the rounds, "times" of the ratios within
a round. "queued" is the time that the host needs to queue a call. A row whose arrays do not fit,
whose library cannot be imported or for which no time is left says so.

Part "steps": `train_step` on a batch that lies on the GPU, no latent dead, no weight decay. The
unit, "product", is `X @ W.T` of the whole batch at the same precision into preallocated memory.
"floor" is that product and the time in which weights and moments of both matrices are read and
written once, at the rate at which CuPy copies a large array. Stages are the calls of the fused
step, each alone: the product in tiles, selection (with exact values where the product rounds),
reconstruction, order by columns (once; a step of several tiles makes it for each, and for all),
update; "rest" is the step less these.

Part "encode": centring, product, selection; and `transform` with `sparse_output`, from a batch on
the GPU to CSR on the host, in units of the product.

Part "peers": the same step in plain PyTorch (linear, topk, embedding bag, autograd, fused Adam,
unit atoms), with its loss compiled by torch.compile, and in EleutherAI's sparsify (fused encoder,
Triton decoder, the body of `Trainer.fit` with fused Adam); no AuxK. Each runs in a process of its
own, in turns with skdict's step there. All begin with the same parameters: "loss" is the first loss
over skdict's. "tf32" is `set_float32_matmul_precision("high")`, "bf16" is autocast; sparsify's own
autocast is left out but for "bf16".

Part "omp": `pursuit`, also with the Gram matrix, formed each time, and both GPU algorithms of
orthogonal-matching-pursuit-gpu, which forms it in each call. "residual" is the mean over samples of
its norm against the sample's, "same" the share of samples with the support of the first line.

Part "streaming": `fit` of one pass from rows on the host (`device="cuda"`) and from the same rows
on the GPU; "step" is what a step adds, from a long pass and a short one.

SKDICT_CUPY=emulated runs all of it without a GPU, on a stand-in for CuPy of the tests; --shapes
small is meant for that. Times mean nothing then.
"""

# ruff: noqa: E402

import argparse
import functools
import gc
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
EMULATED = os.environ.get("SKDICT_CUPY") == "emulated"
if EMULATED and "cupy" not in sys.modules:
    sys.path.insert(0, str(ROOT / "tests" / "stand_in"))

import cupy
import numpy as np
import scipy.sparse as sp

import skdict
from skdict import TopKAutoencoder, training
from skdict.encoders import INFERENCE
from skdict.fusion import Batch
from skdict.kernels import dense, products_cuda, sparse_step_cuda
from skdict.kernels.dense_cuda import product
from skdict.kernels.pursuit_cuda import pursuit
from skdict.kernels.topk import topk

SHAPES = {  # batch, features, components, k
    "full": [(8192, 768, 24576, 32), (8192, 2304, 65536, 64), (8192, 4096, 131072, 64)],
    "small": [(64, 32, 256, 4), (40, 16, 100, 3)],
}
PURSUITS = {  # features, atoms, k, samples
    "full": [(256, 1024, 32, 5000), (512, 2048, 64, 5000), (8064, 1207, 30, 5000)],
    "small": [(16, 40, 4, 30), (40, 24, 3, 20)],
}
PRECISIONS = ("highest", "tf32", "bf16")
PARTS = {"steps": 3.0, "encode": 1.0, "peers": 5.0, "omp": 1.5, "streaming": 2.5}  # of the time
LIBRARIES = ("cupy", "numpy", "torch", "triton", "eai-sparsify", "orthogonal-matching-pursuit-gpu")
STEPS = 8, 32  # of a short and of a long pass, in part "streaming"
UNTIMED = 2  # calls before the first round
ENOUGH, MOST = 30.0, 20  # ms, and calls, of a measure
RATE = 1e-4  # of Adam
NO_TIME = "not run: no time is left for this part, see --seconds"
MARK = "result of gpu.py: "


# ---- timing


def cupy_time(call, repeats):
    """Milliseconds a call on the device, and on the host to queue it."""
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    queued = time.perf_counter() - start
    end.record()
    end.synchronize()
    return cupy.cuda.get_elapsed_time(begin, end) / repeats, 1e3 * queued / repeats


def torch_time(device, call, repeats):
    """The same by the events of PyTorch, or, on the CPU, by the clock."""
    import torch

    on_gpu = device == "cuda"
    if on_gpu:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    queued = 1e3 * (time.perf_counter() - start) / repeats
    if not on_gpu:
        return queued, queued
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / repeats, queued


def in_turn(calls, rounds, until, timers=types.MappingProxyType({})):
    """Milliseconds by name and round, on the device and on the host; at least one round."""
    repeats, times = {}, {name: [] for name in calls}
    for name, call in calls.items():
        for _ in range(UNTIMED):
            call()
        took = timers.get(name, cupy_time)(call, 1)[0]
        repeats[name] = min(MOST, max(1, math.ceil(ENOUGH / max(took, 1e-3))))
    if EMULATED:
        repeats = dict.fromkeys(calls, 1)
    for turn in range(rounds):
        if turn and time.perf_counter() > until:
            break
        for name, call in calls.items():
            call()
            times[name].append(timers.get(name, cupy_time)(call, repeats[name]))
    return {name: np.array(each) for name, each in times.items()}


def median(times):
    return statistics.median(times[:, 0])


def ratios(times, base):
    return times[:, 0] / base[:, 0]


def copy_rate():
    """Bytes read and written per millisecond when a large array is copied."""
    source = cupy.ones(1 << (18 if EMULATED else 28), dtype=np.float32)
    target = cupy.empty_like(source)

    def copy():
        target[...] = source

    took = median(in_turn({"copy": copy}, 7, math.inf)["copy"])
    return 2 * source.nbytes / took


def free():
    """Give memory back, to CuPy and to others."""
    problem_of.cache_clear()
    release()


def release():
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()


# ---- tables


def row(label, cells):
    """A line of a table: a label, and cells or one reason why there are none."""
    cells = cells if isinstance(cells, str) else "".join(f"{cell:>12}" for cell in cells)
    print(f"    {label:18}{cells}", flush=True)


def number(value):
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"


def name_of(shape):
    batch, d, m, k = shape
    return f"batch {batch}, features {d}, components {m}, k {k}"


def attempt(measure):
    """What `measure` returns, or why there is nothing."""
    try:
        return measure()
    except Exception as error:
        return why(error)
    finally:
        release()


def why(error):
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = (str(error) or type(error).__name__).strip().splitlines()[0]
    if kinds & {"MemoryError", "OutOfMemoryError"}:
        return f"does not fit: {text}"
    return f"failed: {type(error).__name__}: {text}"


# ---- what is measured


class Problem:
    """A batch and true atoms on the GPU."""

    def __init__(self, n, d, m, k):
        rng = np.random.default_rng(0)
        self.shape = n, d, m, k
        self.D = unit(cupy.asarray(rng.standard_normal((m, d), dtype=np.float32)))
        indices = cupy.asarray(rng.integers(0, m, n * k).astype(np.int32))
        values = cupy.asarray((0.5 + rng.exponential(size=n * k)).astype(np.float32))
        indptr = cupy.asarray(np.arange(n + 1, dtype=np.int64) * k)
        X = products_cuda.decode(indptr, indices, values, self.D)
        X += cupy.asarray(0.1 * rng.standard_normal((n, d), dtype=np.float32))
        X -= X.mean(axis=0)
        self.X = X / cupy.sqrt((X * X).mean())


@functools.lru_cache(1)
def problem_of(shape):
    return Problem(*shape)


def unit(D):
    return D / cupy.sqrt((D * D).sum(axis=1))[:, None]


def parts(problem, precision):
    """An estimator, its encoder and its terms."""
    n, d, m, k = problem.shape
    estimator = TopKAutoencoder(m, k=k, batch_size=n, precision=precision)
    estimator.n_features_in_ = d
    return estimator, *estimator._parts(m, 1.0)


def start(problem):
    """State of training in which no latent is dead."""
    d, D = problem.shape[1], problem.D.copy()
    encoder = parts(problem, "highest")[1]
    random = np.random.default_rng(0)
    params = {"components": D, "decoder_bias": cupy.zeros(d, dtype=D.dtype)}
    params |= encoder.init(D, random)
    return training.start(params, problem.X, random, np.zeros(d), 1.0)


def stepper(problem, state, precision):
    """A function that makes a step, as `fit` does."""
    _, encoder, terms = parts(problem, precision)
    settings = training.Settings(problem.shape[0], RATE, 1, 10**12, False)
    return lambda: training.train_step(state, problem.X, encoder, terms, settings)


def multiplier(problem, state, precision):
    """A function that makes the encoder's product alone."""
    n, _, m, _ = problem.shape
    W, out = state.params["encoder"], cupy.empty((n, m), dtype=np.float32)
    return lambda: product(problem.X, W, precision, out=out)


def stages(problem, state, precision):
    """Functions that make the calls of a fused step, by name."""
    (n, _, m, k), params = problem.shape, state.params
    D, W, bias = (params[name] for name in ("components", "encoder", "encoder_bias"))
    X, rounds = problem.X - params["decoder_bias"], dense.is_rounded(problem.X, precision)
    tiles = []
    dense.for_tiles(X, W.T, lambda tile, *ends: tiles.append(slice(*ends)), precision=precision)
    U = product(X[tiles[0]], W, precision)
    Z = parts(problem, precision)[1].forward(problem.X, params, INFERENCE)[0]["codes"]
    residual = cupy.empty_like(X)
    inner = sparse_step_cuda.reconstruct(Z, X, D, residual)[1]
    d_U = inner / n * (Z.values > 0).astype(np.float32)
    totals = {"encoder_bias": cupy.zeros_like(bias)}
    of_rows = residual.sum(axis=0)
    batch = Batch(None, Z.indices, Z.values, d_U, inner, Z.columns, of_rows, totals, 0.0, 0.0)
    moments = state.optimizer["mean"], state.optimizer["square"]
    adam, keep = training.OPTIMIZER, cupy.ones_like(bias)
    rates, betas = dict.fromkeys(params, RATE), (adam.beta1, adam.beta2, adam.epsilon)

    def select():
        for each in tiles:
            rows = X[each]
            tile = U[: rows.shape[0]]  # the first is the largest
            topk(dense.Rounded(tile, rows, W) if rounds else tile, bias, k, in_order=False)

    return {
        "product": lambda: dense.for_tiles(X, W.T, lambda *tile: None, precision=precision),
        "topk": select,
        "reconstruct": lambda: sparse_step_cuda.reconstruct(Z, X, D, residual),
        "by_column": lambda: products_cuda.by_column(Z.indptr, Z.indices, m),
        "update": lambda: sparse_step_cuda.update(
            params, moments, rates, betas, keep, batch, X, residual, None
        ),
    }


# ---- parts


def steps(options, until):
    rate = copy_rate()
    print(f"\ncopy of an array: {rate / 1e6:.4g} GB/s, read and written", flush=True)
    for shape in SHAPES[options.shapes]:
        print(f"\ntraining step, {name_of(shape)}")
        row("ms", "product step times least most floor times queued".split())

        def measure(precision, shape=shape):
            problem = problem_of(shape)
            state = start(problem)
            calls = {"whole": multiplier(problem, state, precision)}
            calls["step"] = stepper(problem, state, precision)
            calls |= stages(problem, state, precision)
            return in_turn(calls, options.rounds, until)

        times = {
            precision: attempt(functools.partial(measure, precision))
            if time.perf_counter() < until
            else NO_TIME
            for precision in PRECISIONS
        }
        print_steps(times, 12 * shape[2] * shape[1] * 4 / rate)
        free()


def print_steps(times, moving):
    for precision, found in times.items():
        if isinstance(found, str):
            row(precision, found)
            continue
        base, step = found["whole"], found["step"]
        against = ratios(step, base)
        floor = median(base) + moving
        cells = [median(base), median(step), statistics.median(against), against.min()]
        cells += [against.max(), floor, median(step) / floor, statistics.median(step[:, 1])]
        row(precision, map(number, cells))
    names = "product topk reconstruct by_column update".split()
    row("stages, ms", [*names, "rest"])
    for precision, found in times.items():
        if not isinstance(found, str):
            cells = [median(found[name]) for name in names]
            row(precision, map(number, [*cells, median(found["step"]) - sum(cells)]))


def encode(options, until):
    for shape in SHAPES[options.shapes]:
        print(f"\nencode and transform, {name_of(shape)}")
        row("ms", "product encode times least most transform times".split())
        for precision in PRECISIONS:
            if time.perf_counter() > until:
                row(precision, NO_TIME)
                continue

            def measure(shape=shape, precision=precision):
                problem = problem_of(shape)
                state = start(problem)
                fitted, encoder, _ = parts(problem, precision)
                fitted.set_params(sparse_output=True)
                for name, array in training.fold(state).items():
                    setattr(fitted, f"{name}_", array)
                calls = {
                    "product": multiplier(problem, state, precision),
                    "encode": lambda: encoder.forward(problem.X, state.params, INFERENCE),
                    "transform": lambda: fitted.transform(problem.X),
                }
                return in_turn(calls, options.rounds, until)

            found = attempt(measure)
            if isinstance(found, str):
                row(precision, found)
            else:
                base = found["product"]
                own, whole = (ratios(found[name], base) for name in ("encode", "transform"))
                cells = [median(base), median(found["encode"]), statistics.median(own), own.min()]
                cells += [own.max(), median(found["transform"]), statistics.median(whole)]
                row(precision, map(number, cells))
        free()


def peers(options, until):
    names = options.peers
    for i, name in enumerate(names):
        print(f"\ntraining step of {PEERS[name].__doc__}, in turns with skdict's")
        missing = reason_against(PEERS[name].needs, options.torch_device)
        shapes = SHAPES[options.shapes]
        cases = [[name, shape, p] for shape in shapes for p in PRECISIONS]
        now = time.perf_counter()
        share = now + (until - now) / (len(names) - i)
        found = [missing] * len(cases) if missing else in_children(cases, options, share)
        for j, (_, shape, precision) in enumerate(cases):
            if precision == PRECISIONS[0]:
                print(f"  {name_of(shape)}")
                row("ms", "skdict peer times least most loss queued".split())
            row(precision, found[j] if isinstance(found[j], str) else map(number, found[j]))


def reason_against(modules, device):
    """Why a library cannot run here, or None."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            return f"not run: {name} is not installed"
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            return "not run: PyTorch sees no GPU"
    return None


def omp(options, until):
    shapes = PURSUITS[options.shapes]
    missing = reason_against(["torch", "orthogonal_matching_pursuit_gpu"], options.torch_device)
    found = in_children([["omp", shape, missing] for shape in shapes], options, until)
    for shape, rows in zip(shapes, found, strict=True):
        d, m, k, n = shape
        print(f"\northogonal matching pursuit, {n} samples, {d} features, {m} atoms, k {k}")
        row("", "ms times least most residual same".split())
        for name in (*pursuers(None), *OMP_GPU):
            cells = rows if isinstance(rows, str) else rows[name]
            row(name, cells if isinstance(cells, str) else map(number, cells))


def streaming(options, until):
    pace = 0.0  # seconds for each pair of an entry of the data and a latent, the untimed included
    for shape in SHAPES[options.shapes]:
        n, d, m, _ = shape
        print(f"\nfit of one pass of {STEPS[1]} steps, {name_of(shape)}")
        row("seconds", "resident streamed times step streamed times rows/s".split())
        fits = functools.lru_cache(1)(functools.partial(fitters, shape))
        for precision in PRECISIONS:
            begin = time.perf_counter()
            if begin + pace * n * d * m > until:
                row(precision, NO_TIME)
                continue

            def measure(fits=fits, precision=precision):
                times = {(kind, s): [] for s in STEPS for kind in (None, "cuda")}
                for turn in range(min(options.rounds, 3)):
                    if turn and time.perf_counter() > until:
                        break
                    for (kind, s), seconds in times.items():
                        seconds.append(fits()(kind, s, precision))
                return {key: statistics.median(seconds) for key, seconds in times.items()}

            found = attempt(measure)
            pace = max(pace, (time.perf_counter() - begin) / (n * d * m))
            if isinstance(found, str):
                row(precision, found)
                continue
            short, long = STEPS
            whole = [found[kind, long] for kind in (None, "cuda")]
            each = [(found[kind, long] - found[kind, short]) / (long - short)
                    for kind in (None, "cuda")]  # fmt: skip
            cells = [*whole, whole[1] / whole[0], *each, each[1] / each[0], n / each[1]]
            row(precision, map(number, cells))
        del fits
        free()


def fitters(shape):
    """A function that fits some steps from the host or the GPU, and returns the seconds.

    The first fits, of which later ones go on, are made here: they compile, and draw first atoms.
    """
    n, _, m, k = shape
    host = np.tile(problem_of(shape).X.get(), (STEPS[1], 1))
    rows = {None: cupy.asarray(host), "cuda": host}
    common = {"k": k, "batch_size": n, "max_iter": 1, "random_state": 0, "warm_start": True}
    saes = {device: TopKAutoencoder(m, device=device, **common) for device in rows}

    def fit(device, n_steps, precision):
        sae = saes[device].set_params(precision=precision)
        begin = time.perf_counter()
        sae.fit(rows[device][: n_steps * n])
        cupy.cuda.get_current_stream().synchronize()
        return time.perf_counter() - begin

    for device in rows:
        fit(device, STEPS[0], "highest")
    return fit


# ---- other libraries, in processes of their own


def in_children(cases, options, until):
    """What `case_in_child` returns for each case, or why there is nothing.

    Where a process dies, the next one goes on behind the case that killed it.
    """
    found, left = {}, list(range(len(cases)))
    while left:
        seconds = until - time.perf_counter()
        if seconds <= 0:
            break
        command = [sys.executable, __file__, "--child", json.dumps([cases[i] for i in left])]
        command += ["--rounds", str(options.rounds), "--seconds", str(0.9 * seconds)]
        command += ["--torch-device", options.torch_device]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
            printed, end = done.stdout, f"the process ended with {done.returncode}"
            if done.returncode and done.stderr.strip():
                end += f": {done.stderr.strip().splitlines()[-1]}"
        except subprocess.TimeoutExpired as error:
            printed, end = (error.stdout or b"").decode(errors="replace"), NO_TIME
        answers = [line for line in printed.splitlines() if line.startswith(MARK)]
        for i, line in zip(left, answers, strict=False):
            found[i] = json.loads(line.removeprefix(MARK))
        left = left[len(answers) :]
        if left:
            found[left.pop(0)] = end if end == NO_TIME else f"failed: {end}"
    return [found.get(i, NO_TIME) for i in range(len(cases))]


def child(options):
    """Print what each case came to, a line each."""
    cases, end = json.loads(options.child), time.perf_counter() + options.seconds
    for i, case in enumerate(cases):
        now = time.perf_counter()
        until = now + (end - now) / (len(cases) - i)
        answer = NO_TIME
        if now < end:
            answer = attempt(functools.partial(case_in_child, *case, options, until))
        print(f"\n{MARK}{json.dumps(answer)}", flush=True)


def case_in_child(name, shape, how, options, until):
    if name == "omp":
        return pursuits(shape, how, options, until)
    problem = problem_of(tuple(shape))
    ours = stepper(problem, start(problem), how)
    loss = float(ours().loss)
    theirs = PEERS[name](problem, how, options.torch_device)
    first = float(theirs()) / loss
    calls, timer = (
        {"skdict": ours, name: theirs},
        functools.partial(torch_time, options.torch_device),
    )
    times = in_turn(calls, options.rounds, until, {name: timer})
    own, other = times["skdict"], times[name]
    against = ratios(other, own)
    cells = [median(own), median(other), statistics.median(against), against.min()]
    return [*map(float, [*cells, against.max(), first, statistics.median(other[:, 1])])]


def tensor(array, device):
    import torch

    return torch.from_numpy(cupy.asnumpy(array)).to(device)


def first_parameters(problem, device):
    """Atoms, encoder, biases of encoder and decoder, as skdict begins with."""
    import torch

    _, d, m, _ = problem.shape
    D, encoder = problem.D, parts(problem, "highest")[1]
    first = encoder.init(D, np.random.default_rng(0))
    arrays = tensor(D, device), tensor(first["encoder"], device)
    return *arrays, torch.zeros(m, device=device), torch.zeros(d, device=device)


def at_precision(precision, device):
    """Context of PyTorch's products."""
    import torch

    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    return lambda: torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


def step_of_torch(problem, precision, device, compiled=False):
    """plain PyTorch"""
    import torch
    from torch.nn import functional

    if compiled:
        torch._dynamo.reset()
    (n, _, _, k), context = problem.shape, at_precision(precision, device)
    parameters = [torch.nn.Parameter(array) for array in first_parameters(problem, device)]
    D, W, encoder_bias, decoder_bias = parameters
    X = tensor(problem.X, device)
    optimizer = torch.optim.Adam(parameters, lr=RATE, fused=True)

    def loss_of(X):
        U = functional.linear(X - decoder_bias, W, encoder_bias)
        values, indices = U.topk(k, dim=1, sorted=False)
        codes = values.relu().to(D.dtype)
        decoded = functional.embedding_bag(indices, D, per_sample_weights=codes, mode="sum")
        return (decoded + decoder_bias - X).square().sum() / (2 * n)

    loss_of = torch.compile(loss_of) if compiled else loss_of

    def step():
        with context():
            loss = loss_of(X)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            D.div_(D.norm(dim=1, keepdim=True))
        return loss.detach()

    return step


def step_of_compiled(problem, precision, device):
    """PyTorch compiled"""
    return step_of_torch(problem, precision, device, compiled=True)


def step_of_sparsify(problem, precision, device):
    """sparsify"""
    import torch
    from sparsify import SparseCoder, SparseCoderConfig

    (n, d, m, k), context = problem.shape, at_precision(precision, device)
    coder = SparseCoder(d, SparseCoderConfig(num_latents=m, k=k), device=device)
    D, W, _, _ = first_parameters(problem, device)
    coder.W_dec.data, coder.encoder.weight.data = D, W
    X = tensor(problem.X, device)
    variance = (X - X.mean(0)).pow(2).sum()
    optimizer = torch.optim.Adam(coder.parameters(), lr=RATE, fused=True)
    forward = SparseCoder.forward.__wrapped__  # without its autocast

    def step():
        coder.set_decoder_norm_to_unit_norm()
        with context():
            loss = forward(coder, X, total_variance=variance).fvu
        loss.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach() * variance / (2 * n)

    return step


step_of_torch.needs = step_of_compiled.needs = ["torch"]
step_of_sparsify.needs = ["torch", "sparsify"]
PEERS = {"torch": step_of_torch, "compiled": step_of_compiled, "sparsify": step_of_sparsify}
OMP_GPU = {"omp-gpu v0": "v0", "omp-gpu naive": "naive"}


def pursuers(problem):
    """skdict's functions that return codes, by label; of None only the labels are of use."""

    def by(precision, with_gram=False):
        X, D, k = problem
        gram = D @ D.T if with_gram else None
        return pursuit(X, D, k, None, "omp", False, gram, precision)

    calls = {f"skdict {p}": functools.partial(by, p) for p in PRECISIONS}
    return calls | {"skdict Gram": functools.partial(by, "highest", True)}


def pursuits(shape, missing, options, until):
    """Rows of the table of one shape, by label."""
    d, m, k, n = shape
    planted = Problem(n, d, m, k)
    X, D, rows = planted.X, planted.D, {}
    calls = pursuers((X, D, k))
    timers, host = {}, (cupy.asnumpy(X), cupy.asnumpy(D))
    for name, algorithm in OMP_GPU.items():
        if missing:
            rows[name] = missing
        else:
            from orthogonal_matching_pursuit_gpu import run_omp

            atoms, samples = (tensor(array, options.torch_device) for array in (D.T, X))
            plain = {"normalize": False, "fit_intercept": False, "alg": algorithm}
            calls[name] = functools.partial(run_omp, atoms, samples, k, **plain)
            timers[name] = functools.partial(torch_time, options.torch_device)
    quality = {}
    for name, call in list(calls.items()):
        quality[name] = attempt(lambda call=call: quality_of(call(), *host))
        if isinstance(quality[name], str):
            rows[name] = quality[name]
            del calls[name]
    times, base = in_turn(calls, options.rounds, until, timers), next(iter(calls))
    for name, found in times.items():
        against, (residual, support) = ratios(found, times[base]), quality[name]
        same = np.mean((support == quality[base][1]).all(axis=1))
        cells = [median(found), statistics.median(against), against.min(), against.max()]
        rows[name] = [*map(float, [*cells, residual, same])]
    return rows


def quality_of(codes, X, D):
    """Mean of the relative norms of residuals, and which codes are not zero."""
    if isinstance(codes, tuple):
        indptr, indices, values = map(cupy.asnumpy, codes)
        Z = sp.csr_array((values, indices, indptr), shape=(X.shape[0], D.shape[0])).toarray()
    else:
        Z = codes.cpu().numpy()
    error = np.linalg.norm(X - Z @ D, axis=1) / np.linalg.norm(X, axis=1)
    return float(error.mean()), Z != 0


# ---- the whole


def run_tests():
    print("pytest -m gpu", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT)
    if done.returncode:
        sys.exit(f"the tests failed ({done.returncode}): nothing is measured. See --no-tests.")


def versions():
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cupy.cuda.Device().id)
    found = [f"skdict {skdict.__version__}"]
    for name in LIBRARIES:
        try:
            version = cupy.__version__ if name == "cupy" else importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        found.append(f"{name} {version}")
    lines = [
        f"{properties['name'].decode()}, driver {driver()}, which has CUDA "
        f"{runtime.driverGetVersion()}; CUDA runtime {runtime.runtimeGetVersion()}",
        f"{platform.system()}, Python {platform.python_version()}, {', '.join(found)}",
    ]
    if EMULATED:
        lines.append("A stand-in for CuPy on the host: times mean nothing.")
    return "\n".join(lines)


def driver():
    if EMULATED or shutil.which("nvidia-smi") is None:
        return "unknown"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    printed = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return printed[0] if printed else "unknown"


def main(arguments=None):
    begin = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shapes", choices=SHAPES, default="full")
    parser.add_argument("--seconds", type=float, default=420, help="for all, with the tests")
    parser.add_argument("--no-tests", action="store_true")
    parser.add_argument("--torch-device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(options)
        return
    if not options.no_tests:
        run_tests()
    print(versions(), flush=True)
    left = [name for name in PARTS if name in options.parts]
    for i, name in enumerate(left):
        now = time.perf_counter()
        share = PARTS[name] / sum(PARTS[other] for other in left[i:])
        {"steps": steps, "encode": encode, "peers": peers, "omp": omp, "streaming": streaming}[
            name
        ](options, now + share * (begin + options.seconds - now))
        free()


if __name__ == "__main__":
    main()
