"""TopK autoencoders of six libraries on the same rows in the same order: time, variance, memory.

    pip install -r doc/benchmarks/requirements-peers.txt
    pip install --no-deps -r doc/benchmarks/requirements-peers-no-deps.txt
    python doc/benchmarks/peers.py [--data FOLDER] [--parts steps training]

The peers run the training step of their own library on the CPU, without a language model, and
"torch" is the loop one writes without a library: dense products, top k, scatter, autograd, fused
Adam, unit atoms. All compute in float32 on as many threads as BLAS has. skdict takes raw rows and
centres and scales them in each step; the peers are given centred and scaled rows, for none of them
does so by default. A step includes taking its rows out of the data. The unit is NumPy's product;
PyTorch multiplies with a BLAS of its own, whose product is a row of the table.

skdict's defaults were chosen on five data sets (`defaults.py`), the one of part "training" and its
held-out rows among them; the other libraries' were not.

Part "steps": a training step, and then encoding alone, in units of the encoder's product
``X @ W.T`` of that batch, by NumPy into preallocated memory. All take turns in one process, each
with untimed calls right before the timed one and a pause before; the figure is the median over
rounds of the ratio to the product of the same round. No latent is dead then, so AuxK is idle.

Part "training": MiniLM token activations, each run in a process of its own, the libraries in turn.
The clock runs while the model is made and in training steps; it stands still while variance is
evaluated, on 2,000 held-out rows whenever the steps have grown by 5 %. Reported are the clock at
the first such evaluation that reaches the target; then, at the end of the run and on all held-out
rows, explained variance and the share of latents that fire for none of them (dead); the median step
in units of the product at its batch size, measured before and after; and peak memory of training
and evaluation above that with libraries and data loaded (which follows in brackets). Two steps of a
throwaway model come before, so that no compilation is timed.
A run ends with its schedule, or earlier with the clock at --cap ("> cap" if the target is not
reached by then, "*" where figures are of an unfinished schedule). Recipes:

    own        what the library sets by default (see `own_recipe`)
    matched    the same batch size, rate, rise of the rate, fall over the last fifth, and number of
               steps for all, Adam, and AuxK where there is one (not in torch and overcomplete);
               skdict's biases learn at sqrt(384) times the rate, as they always do, and its
               encoder does not decay
    constant   the same without the fall, so that the length of the schedule does not matter

Repeats differ in the seed and end early when the next would not fit into --minutes; figures are
medians over the repeats made. Other matched rates, to see who gains by them: --recipes matched
--components 2048 --repeats 1 --rate 1e-3, and 4e-3.

peers.txt is what three calls printed: --parts steps --rounds 4, --parts training --recipes matched
--cap 25, and --parts training --recipes own --repeats 1 --cap 40. skdict's two rows under "own"
are of a later call of their own, after a change of its default rate.
"""

import argparse
import contextlib
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import itertools
import json
import math
import pathlib
import platform
import statistics
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import threadpoolctl
from topk_step import PAUSE, SHAPES, blas, data, processor, time_of

from skdict import TopKAutoencoder, runs, training
from skdict.kernels.threads import use_threads

UNTIMED = 2  # calls before the timed one
BLOCK = 256  # held-out rows at a time: evaluation must not set the peak of memory
K = 32
DEAD_AFTER = 10_000  # samples, in the matched recipes
AUX_WEIGHT = 1 / 32  # Gao et al., where the library has AuxK off by default


class Recipe(NamedTuple):
    """How to train; None where the library has a rule of its own."""

    name: str
    batch: int
    steps: int
    rate: float | None
    warmup: int
    decay: float
    dead_after: int | None = None

    def factor(self, step):
        return training.Plan(0, self.steps, self.decay).factor(step, self.warmup)


class Rows(NamedTuple):
    """What a library trains on: ``mean + scale * X`` are the raw rows."""

    X: object
    mean: np.ndarray
    scale: float


class Contender(NamedTuple):
    """`step` trains on rows given by number, `encode` gives codes of raw or standardised rows.

    `reconstruct` takes raw rows and returns their reconstruction and which latents fired.
    """

    step: Callable
    encode: dict
    reconstruct: Callable


def make_skdict(rows, m, recipe, seed):
    """The loop of `fit`, in single steps, with what it does after each pass.

    `recipe.rate` is always given.
    """
    X, kept = rows.X, None
    estimator = TopKAutoencoder(m, k=K, random_state=seed)
    estimator.n_features_in_ = X.shape[1]
    dead_after = recipe.dead_after or estimator.dead_after
    with use_threads(None):
        rng = np.random.default_rng(seed)
        first = X[rng.permutation(X.shape[0])[: training.FIRST_ROWS]]
        state = estimator._start(first, first[:0], rng, warm=False)
    encoder, terms = estimator._parts(m, state.scale)
    a_pass = math.ceil(X.shape[0] / recipe.batch)
    settings = training.Settings(recipe.batch, recipe.rate, recipe.warmup, dead_after, False)
    if recipe.name == "own":
        settings = estimator._settings(estimator._repetition(X.shape[0]), X.shape[0])

    def step(numbers):
        nonlocal kept
        batch = training.batch_of([(X, numbers)], state)
        factor = recipe.factor(state.step)
        training.train_step(state, batch, encoder, terms, settings, factor)
        if state.step % a_pass == 0 and runs.all_finite(state.params):
            kept = runs.copied(state.params)

    def fitted(sparse_output):
        for name, array in training.fold(state).items():
            setattr(estimator, f"{name}_", array)
        return estimator.set_params(sparse_output=sparse_output)

    def reconstruct(X):
        codes = fitted(True).transform(X)
        fired = np.bincount(codes.indices, minlength=m) > 0
        return estimator.inverse_transform(codes), fired

    encode = {
        "skdict, CSR": lambda X: fitted(True).transform(X),
        "skdict, dense": lambda X: fitted(False).transform(X),
    }
    return Contender(step, encode, reconstruct)


def make_torch(rows, m, recipe, seed):
    """The loop one writes without a library."""
    import torch

    d = rows.X.shape[1]
    torch.manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(m, d), dim=1)
    arrays = [atoms, atoms.clone(), torch.zeros(m), torch.zeros(d)]
    parameters = D, W, encoder_bias, decoder_bias = [torch.nn.Parameter(a) for a in arrays]
    optimizer = torch.optim.Adam(parameters, lr=recipe.rate, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.factor)

    def encode(x):
        A = torch.addmm(encoder_bias, x - decoder_bias, W.T)
        values, indices = A.topk(K, dim=1, sorted=False)
        return torch.zeros_like(A).scatter_(1, indices, values.relu())

    def decode(codes):
        return torch.addmm(decoder_bias, codes, D)

    def step(x):
        loss = (decode(encode(x)) - x).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            D.div_(D.norm(dim=1, keepdim=True))

    return peer("torch", rows, step, encode, dense(encode, decode))


def make_sae_lens(rows, m, recipe, seed):
    """`SAETrainer.step`, the body of its `fit`.

    Outside of its own recipe without rescaling of pre-activations by the norms of the atoms, the
    default, and with sparse activations, which cannot be differentiated on the CPU with it: this is
    its fastest way. Part "steps" has both.
    """
    import torch
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    warnings.filterwarnings("ignore", "Sparse invariant checks")
    torch.manual_seed(seed)
    ways = {}
    if recipe.name != "own":
        ways = {"use_sparse_activations": True, "rescale_acts_by_decoder_norm": False}
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(rows.X.shape[1], m, k=K, **ways))
    window = {}
    if recipe.dead_after:
        window["dead_feature_window"] = max(1, recipe.dead_after // recipe.batch)  # in steps
    config = SAETrainerConfig(
        total_training_samples=recipe.steps * recipe.batch,
        train_batch_size_samples=recipe.batch,
        lr=recipe.rate,
        lr_end=recipe.rate,
        lr_warm_up_steps=recipe.warmup,
        lr_decay_steps=round(recipe.decay * recipe.steps),
        **window,
    )
    trainer = SAETrainer(config, sae, data_provider=None)

    def step(x):
        trainer.maybe_reset_sparsity()
        trainer.step(x)
        trainer.n_training_steps += 1

    def codes(x):
        Z = sae.encode(x)
        return Z.to_dense() if Z.is_sparse else Z

    return peer("sae-lens", rows, step, sae.encode, dense(codes, sae.decode))


def make_dictionary_learning(rows, m, recipe, seed):
    """`TopKTrainer.update`, the body of its `trainSAE`."""
    top_k = below("dictionary_learning", "dictionary_learning.trainers.top_k")
    trainer = top_k.TopKTrainer(
        steps=recipe.steps,
        activation_dim=rows.X.shape[1],
        dict_size=m,
        k=K,
        layer=0,
        lm_name="none",
        lr=recipe.rate,
        warmup_steps=recipe.warmup,
        decay_start=round((1 - recipe.decay) * recipe.steps) if recipe.decay else None,
        seed=seed,
        device="cpu",
    )
    if recipe.dead_after:
        trainer.dead_feature_threshold = recipe.dead_after
    count = iter(range(sys.maxsize))

    def step(x):
        trainer.update(next(count), x)

    model = trainer.ae
    return peer("dictionary_learning", rows, step, model.encode, dense(model.encode, model.decode))


def make_sparsify(rows, m, recipe, seed):
    """What `Trainer.fit` does with the activations of a batch, and its optimisers.

    The decoder is the library's on a machine without Triton, an embedding bag.
    """
    import torch
    from sparsify import SparseCoder, SparseCoderConfig

    torch.manual_seed(seed)
    coder = SparseCoder(rows.X.shape[1], SparseCoderConfig(num_latents=m, k=K))
    silent = torch.zeros(m, dtype=torch.long)
    own = recipe.name == "own"
    optimizer, scheduler = (signum(coder), None) if own else adam(coder, recipe)
    aux_weight = 0.0 if own else AUX_WEIGHT
    first = True

    def step(x):
        nonlocal first
        if first:
            coder.b_dec.data = x.mean(0)
            first = False
        coder.set_decoder_norm_to_unit_norm()
        dead = silent > recipe.dead_after if aux_weight else None
        variance = (x - x.mean(0)).pow(2).sum()
        out = coder(x, dead_mask=dead, total_variance=variance)
        (out.fvu + aux_weight * out.auxk_loss + out.multi_topk_fvu / 8).backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        if scheduler:
            scheduler.step()
        silent.add_(x.shape[0])
        silent[out.latent_indices.flatten()] = 0

    def reconstruct(x):
        if own:
            optimizer.eval()  # the averaged weights
        values, indices, _ = coder.encode(x)
        x_hat = coder.decode(values, indices)
        if own:
            optimizer.train()
        return x_hat, torch.bincount(indices[values > 0], minlength=m) > 0

    return peer("sparsify", rows, step, coder.encode, reconstruct)


def signum(coder):
    """The default optimiser of sparsify's `Trainer`."""
    from schedulefree import ScheduleFreeWrapper
    from sparsify.sign_sgd import SignSGD

    rate = 5e-3 / (coder.num_latents / 2**14) ** 0.5
    optimizer = ScheduleFreeWrapper(SignSGD(coder.parameters(), lr=rate), momentum=0.95)
    optimizer.train()
    return optimizer


def adam(model, recipe):
    """Adam and the schedule of the recipe."""
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.factor)


def make_overcomplete(rows, m, recipe, seed):
    """Its `train_sae`, given one batch at a time; silent, which saves it the monitoring.

    The loss is that of its README. Its auxiliary loss is no AuxK: it trains the better half of all
    latents that were not chosen, dead or not, in every step.
    """
    import torch

    module = below("overcomplete", "overcomplete.sae")
    torch.manual_seed(seed)
    model = module.TopKSAE(rows.X.shape[1], m, top_k=K)
    optimizer, scheduler = adam(model, recipe)

    def loss(x, x_hat, pre_codes, codes, dictionary):
        return (x - x_hat).square().mean()

    def step(x):
        module.train_sae(model, [x], loss, optimizer, scheduler, nb_epochs=1, monitoring=0)

    def codes(x):
        return model.eval().encode(x)[1]

    return peer(
        "overcomplete", rows, step, lambda x: model.encode(x)[1], dense(codes, model.decode)
    )


MAKERS = {
    "skdict": make_skdict,
    "torch": make_torch,
    "sae-lens": make_sae_lens,
    "dictionary_learning": make_dictionary_learning,
    "sparsify": make_sparsify,
    "overcomplete": make_overcomplete,
}
IMPORTS = {
    "skdict": lambda: None,
    "torch": lambda: importlib.import_module("torch"),
    "sae-lens": lambda: importlib.import_module("sae_lens"),
    "dictionary_learning": lambda: below(
        "dictionary_learning", "dictionary_learning.trainers.top_k"
    ),
    "sparsify": lambda: importlib.import_module("sparsify"),
    "overcomplete": lambda: below("overcomplete", "overcomplete.sae"),
}
DISTRIBUTIONS = {"dictionary_learning": "dictionary-learning", "sparsify": "eai-sparsify"}


def below(package, name):
    """Import a module below a package whose own `__init__` is not run.

    The two that need this import language-model and image libraries there, which no autoencoder
    of theirs uses.
    """
    if package not in sys.modules:
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = spec.submodule_search_locations
    return importlib.import_module(name)


def dense(encode, decode):
    """`reconstruct` for codes that are a dense array."""

    def reconstruct(x):
        codes = encode(x)
        return decode(codes), (codes != 0).any(0)

    return reconstruct


def peer(name, rows, step, encode, reconstruct):
    """A contender out of functions of standardised tensors."""
    import torch

    def train(numbers):
        step(rows.X[torch.from_numpy(numbers)])

    @torch.no_grad()
    def encode_tensor(x):
        return encode(x)

    @torch.no_grad()
    def reconstruct_raw(X):
        x_hat, fired = reconstruct(torch.from_numpy((X - rows.mean) / rows.scale))
        return x_hat.numpy() * rows.scale + rows.mean, fired.numpy()

    return Contender(train, {name: encode_tensor}, reconstruct_raw)


def rows_for(name, X):
    """The data as the library is given it; X itself is changed for a peer."""
    if name == "skdict":
        return Rows(X, 0.0, 1.0)
    import torch

    mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    X -= mean
    scale = np.float32(np.sqrt(np.mean(np.square(X), dtype=np.float64)))
    X /= scale
    return Rows(torch.from_numpy(X), mean, scale)


def own_recipe(name, m, n_rows):
    """The defaults of each library; None for "torch", which has none.

    dictionary_learning and sparsify have no default length, so the cap ends them. A default batch
    of sparsify is 32 sequences of at most the length that the language model takes, here 512.
    """
    if name == "skdict":
        model = TopKAutoencoder(m, k=K)
        a_pass = math.ceil(n_rows / model.batch_size)
        steps = a_pass * model._n_passes(a_pass)
        numbers = model._rate(model._repetition(n_rows)), model.warmup, model.decay
        return Recipe("own", model.batch_size, steps, *numbers)
    return {
        "torch": None,
        # LanguageModelSAERunnerConfig: train_batch_size_tokens, training_tokens, lr
        "sae-lens": Recipe("own", 4096, 2_000_000 // 4096, 3e-4, 0, 0.0),
        # ActivationBuffer: out_batch_size; TopKTrainer: lr by its own rule, warmup_steps
        "dictionary_learning": Recipe("own", 8192, 100_000, None, 1000, 0.0),
        # TrainConfig: batch_size, optimizer="signum", rate by its own rule
        "sparsify": Recipe("own", 32 * 512, 100_000, None, 0, 0.0),
        # its README: batches of 1024, Adam at 5e-4; train_sae: nb_epochs=20
        "overcomplete": Recipe("own", 1024, 20 * math.ceil(n_rows / 1024), 5e-4, 0, 0.0),
    }[name]


def recipe_of(kind, name, m, n_rows, given):
    if kind == "own":
        return own_recipe(name, m, n_rows)
    steps = given.passes * math.ceil(n_rows / given.batch)
    decay = 0.2 if kind == "matched" else 0.0
    warmup = min(100, steps // 4)
    return Recipe(kind, given.batch, steps, given.rate, warmup, decay, DEAD_AFTER)


def step_tables(names, shape, rounds):
    """Print the steps of all contenders at one shape, then their encoding."""
    batch, d, m, k = shape
    X = data(4 * batch, d, m, k, np.random.default_rng(0))
    recipe = Recipe("matched", batch, 10_000, 1e-3, 100, 0.2, 10**9)
    rows = {name: rows_for(name, X.copy()) for name in names}
    contenders = {name: MAKERS[name](rows[name], m, recipe, 0) for name in names}
    if "sae-lens" in names:
        own = recipe._replace(name="own")
        contenders["sae-lens, rescaling"] = make_sae_lens(rows["sae-lens"], m, own, 0)
        rows["sae-lens, rescaling"] = rows["sae-lens"]
    batches = np.random.default_rng(0).permutation(len(X)).reshape(4, batch)
    title = f"batch {batch}, features {d}, components {m}, k {k}"
    steps = {name: contender.step for name, contender in contenders.items()}
    if "torch" in names:
        steps["product by PyTorch"] = product_by_torch(rows["torch"].X[:batch], m)
    print_ratios(f"training step: {title}", steps, batches, product(X[:batch], m), rounds)
    encoders = {}
    for name, contender in contenders.items():
        for label, encode in contender.encode.items():
            encoders[label] = lambda _, f=encode, x=rows[name].X[:batch]: f(x)
    print_ratios(f"encoding: {title}", encoders, batches, product(X[:batch], m), rounds)


def product(X, m):
    """A function that multiplies X with an encoder of m rows."""
    E = np.random.default_rng(1).standard_normal((m, X.shape[1]), dtype=np.float32)
    Z = np.empty((len(X), m), dtype=np.float32)
    return lambda _=None: np.matmul(X, E.T, out=Z)


def product_by_torch(X, m):
    import torch

    E, Z = torch.randn(m, X.shape[1]), torch.empty(len(X), m)
    return lambda _=None: torch.matmul(X, E.T, out=Z)


def print_ratios(title, calls, batches, reference, rounds):
    calls = {"product": reference, **calls}
    for name, call in calls.items():
        timed(name, call, batches[:2])  # compiles, allocates
    times = {name: [] for name in calls}
    for turn in range(rounds):
        pair = np.roll(batches, -2 * turn, axis=0)[:2]
        for name, call in calls.items():
            time.sleep(PAUSE)
            times[name].append(timed(name, call, pair))
    base = times.pop("product")
    print(f"\n{title}\n    product {1e3 * statistics.median(base):.1f} ms, {rounds} rounds")
    for name, seconds in times.items():
        ratios = [s / b for s, b in zip(seconds, base)]
        print(
            f"    {name:20}{statistics.median(ratios):7.2f} products (min {min(ratios):.2f}, "
            f"max {max(ratios):.2f}), {1e3 * statistics.median(seconds):.1f} ms",
            flush=True,
        )


def timed(name, call, pair):
    """Seconds of a call after untimed ones; for a step of skdict in the threads of a `fit`."""
    with use_threads(None) if name == "skdict" else contextlib.nullcontext():
        for _ in range(UNTIMED):
            call(pair[0])
        return time_of(lambda: call(pair[1]))


def train(job):
    """One run, in this process; returns its figures as a dict."""
    X, X_test = load(job["data"], job["rows"])
    make, recipe = MAKERS[job["name"]], Recipe(*job["recipe"])
    rows = rows_for(job["name"], X)
    if job["name"] != "skdict":
        use_as_many_threads()
    make(rows, 64, recipe, 0).step(np.arange(64))  # imports, and loads or compiles kernels
    times = product_times(recipe.batch, X.shape[1], job["m"])
    forget_peak()
    base = memory("VmRSS")
    with use_threads(None) if job["name"] == "skdict" else contextlib.nullcontext():
        throwaway = make(rows, job["m"], recipe, 0)
        for _ in range(2):
            throwaway.step(np.arange(min(recipe.batch, len(X))))
        del throwaway
        gc.collect()
        figures = follow(lambda: make(rows, job["m"], recipe, job["seed"]), recipe, X_test, job)
    peak = memory("VmHWM")
    unit = statistics.median(times + product_times(recipe.batch, X.shape[1], job["m"]))
    return {**figures, "step": figures["step"] / unit, "base": base, "memory": peak - base}


def follow(make, recipe, X_test, job):
    """Train with one eye on the variance of held-out rows; the clock stands still meanwhile."""
    begin = time.perf_counter()
    contender = make()
    clock, times, reached, due = time.perf_counter() - begin, [], None, 20
    some = X_test[:: max(1, len(X_test) // 2000)][:2000]
    for numbers in batches_of(job["rows"], recipe, job["seed"]):
        times.append(time_of(functools.partial(contender.step, numbers)))
        clock += times[-1]
        last = len(times) == recipe.steps or clock >= job["cap"]
        if last or len(times) >= due:
            due = math.ceil(1.05 * len(times))
            if reached is None and variance_and_fired(contender, some)[0] >= job["target"]:
                reached = clock
        if last:
            break
    variance, fired = variance_and_fired(contender, X_test)
    return {
        "clock": clock,
        "reached": reached,
        "variance": variance,
        "dead": float(np.mean(~fired)),
        "step": statistics.median(times),
        "steps": len(times),
        "complete": len(times) == recipe.steps,
    }


def batches_of(n_rows, recipe, seed):
    """Row numbers of each step: passes over all rows, each in its own random order."""
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(n_rows)
        for begin in range(0, n_rows, recipe.batch):
            yield order[begin : begin + recipe.batch]


def variance_and_fired(contender, X):
    """Explained variance about the column means, and which latents fired for any row.

    As `skdict.metrics.explained_variance`, block by block.
    """
    mean, residual, total, fired = X.mean(axis=0, dtype=np.float64), 0.0, 0.0, False
    for begin in range(0, len(X), BLOCK):
        rows = X[begin : begin + BLOCK]
        X_hat, fired_here = contender.reconstruct(rows)
        residual += np.sum(np.square(rows - X_hat), dtype=np.float64)
        total += np.sum(np.square(rows - mean))
        fired = fired | fired_here
    return float(1 - residual / total), fired


def product_times(batch, d, m, repeats=5):
    call = product(np.random.default_rng(0).standard_normal((batch, d), dtype=np.float32), m)
    times = []
    for _ in range(repeats):
        time.sleep(PAUSE)
        times.append(timed("product", call, (None, None)))
    return times


def memory(field):
    """Of this process, in MiB, as Linux has it; NaN elsewhere.

    Not ru_maxrss: that of a child begins with the peak of its parent.
    """
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return math.nan
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def forget_peak():
    """Let the peak of memory begin with what is in use now."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def load(folder, n_rows=None):
    """The first rows to train on and those held out, float32."""
    parts = [
        np.load(pathlib.Path(folder) / f"minilm_layer3_{part}.npy", mmap_mode="r")
        for part in ("train", "test")
    ]
    return parts[0][:n_rows].astype(np.float32), parts[1].astype(np.float32)


def train_all(names, given):
    """Run everything in turn until the repeats are made or the next would end too late."""
    n_rows = len(load(given.data, given.rows)[0])
    begin, results = time.perf_counter(), {}
    for repeat in range(given.repeats):
        for kind, m in itertools.product(given.recipes, given.components):
            for name in names:
                recipe = recipe_of(kind, name, m, n_rows, given)
                made = given.repeats if kind != "own" else given.own_repeats
                if recipe is not None and repeat < made:
                    job = job_of(name, m, recipe, n_rows, repeat, given)
                    results.setdefault((kind, m), {}).setdefault(name, []).append(in_process(job))
            if repeat == 0:
                with contextlib.redirect_stdout(sys.stderr):
                    print_training(kind, m, results[kind, m], given)
        elapsed = time.perf_counter() - begin
        if (repeat + 2) / (repeat + 1) * elapsed > 60 * given.minutes:
            break
    for (kind, m), found in results.items():
        print_training(kind, m, found, given)


def job_of(name, m, recipe, n_rows, seed, given):
    return {
        "name": name,
        "m": m,
        "recipe": recipe,
        "rows": n_rows,
        "seed": seed,
        "data": str(given.data),
        "cap": given.cap,
        "target": given.target,
    }


def in_process(job):
    """The figures of a run in a process of its own, which prints them as its last line."""
    command = [sys.executable, __file__, "--run", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        print(f"    {job['name']} failed: {reason}", flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def print_training(kind, m, runs, given):
    print(
        f"\nrecipe {kind}, {m} components, target {given.target}, cap {given.cap:g} s\n"
        f"    {'':20}{'target at':>10}{'variance':>10}{'dead':>8}{'step':>7}{'MiB':>7}{'':9}"
        f"{'clock':>7}{'steps':>7}{'runs':>6}"
    )
    for name, all_figures in runs.items():
        figures = [one for one in all_figures if one]
        if figures:
            print(training_row(name, figures, given.cap), flush=True)


def training_row(name, figures, cap):
    middle = {key: statistics.median(one[key] for one in figures) for key in SUMMARY}
    at = statistics.median(
        math.inf if one["reached"] is None else one["reached"] for one in figures
    )
    complete = all(one["complete"] for one in figures)
    missed = "never" if complete else f"> {cap:g} s"
    return (
        f"    {name:20}{missed if at == math.inf else f'{at:.1f} s':>10}"
        f"{middle['variance']:9.4f}{' ' if complete else '*'}{middle['dead']:8.2%}"
        f"{middle['step']:7.2f}{middle['memory']:7.0f} {'(' + format(middle['base'], '.0f'):>6})"
        f" {middle['clock']:6.1f}s{middle['steps']:7.0f}{len(figures):6}"
    )


SUMMARY = ("variance", "dead", "step", "memory", "base", "clock", "steps")


def importable(names):
    """Those of the names whose library can be imported; says why others cannot."""
    found = []
    for name in names:
        try:
            IMPORTS[name]()
            found.append(name)
        except Exception as error:  # whatever its import may raise
            print(f"missing: {name}: {type(error).__name__}: {error}")
    return found


def versions(names):
    found = [f"{processor()}: Python {platform.python_version()}"]
    for name in ("numpy", "numba", *names):
        found.append(f"{name} {importlib.metadata.version(DISTRIBUTIONS.get(name, name))}")
    print(", ".join(found))
    print(f"{blas()}; {blas_threads()} threads", flush=True)


def blas_threads():
    pools = threadpoolctl.threadpool_info()
    return max(pool["num_threads"] for pool in pools if pool["user_api"] == "blas")


def use_as_many_threads():
    """PyTorch takes one thread a physical core unless told; it shall have as many as BLAS."""
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(blas_threads())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=["steps", "training"], default=None)
    parser.add_argument("--only", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--rounds", type=int, default=5, help="of part steps")
    parser.add_argument("--shrink", type=int, default=1, help="divide shapes, to try the script")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("../shared/data"))
    parser.add_argument("--rows", type=int, help="train on the first rows only")
    parser.add_argument("--components", nargs="+", type=int, default=[2048, 6144])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["matched", "own"])
    parser.add_argument("--batch", type=int, default=1024, help="matched batch size")
    parser.add_argument("--rate", type=float, default=2e-3, help="matched learning rate")
    parser.add_argument("--passes", type=int, default=8, help="matched length")
    parser.add_argument("--target", type=float, default=0.77)
    parser.add_argument("--cap", type=float, default=60.0, help="seconds of training in a run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--own-repeats", type=int, default=1, help="of the recipe own, to save time"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="for part training")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    return parser.parse_args()


RECIPES = ("own", "matched", "constant")


def main():
    given = arguments()
    if given.run:
        print("", json.dumps(train(json.loads(given.run))), sep="\n")
        return
    names = importable(given.only)
    use_as_many_threads()
    versions(names)
    parts = given.parts or ["steps", "training"]
    if "steps" in parts:
        for batch, d, m, k in SHAPES.values():
            shape = batch // given.shrink, d, m // given.shrink, k
            step_tables(names, shape, given.rounds)
    if "training" in parts:
        train_all(names, given)


if __name__ == "__main__":
    main()
