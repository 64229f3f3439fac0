"""What a billion rows of 4,096 features cost with 131,072 components: arithmetic, on paper.

    python doc/benchmarks/reach.py

What was measured comes from the outputs beside this script, as named. Rates of a GPU are those of
its data sheet (NVIDIA H200 SXM: 67 TFLOP/s in float32, 495 in TF32 and 989 in bfloat16 without
sparsity, 4.8 TB/s, 141 GB); no step was timed on one. Rates of disks and networks are round numbers
of their kind.
"""

from math import ceil

ROWS, FEATURES, COMPONENTS, K, BATCH = 10**9, 4096, 131_072, 64, 8192
CPU = 200e9  # FLOP/s of two cores, from topk_step.txt: 2 x 2048 x 384 x 6144 in 50 ms
CPU_STEP = 1.17  # steps over products at 131,072 components, scaling.txt
AIM = 1.3  # the same on a GPU: what the kernels are to reach, not what was measured
GPU = {"float32": 67e12, "TF32": 495e12, "bfloat16": 989e12}
GPU_MEMORY = 4.8e12  # bytes per second
LINKS = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}
DISKS = {"object store, 0.5 GB/s": 0.5e9, "one NVMe, 5 GB/s": 5e9}
LOCAL_STEPS = (10, 100, 1000)
WORKERS = (2, 4, 8, 16, 32, 64)


def duration(seconds):
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"


def size(n_bytes):
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.3g} {unit}"
    return f"{n_bytes:.0f} B"


def product_flops(rows):
    return 2 * rows * FEATURES * COMPONENTS


def weights():
    """Bytes of the two matrices in float32."""
    return 2 * COMPONENTS * FEATURES * 4


def step_seconds(precision):
    """A step at the aim: the product, and in lower precision the bytes that must move as well."""
    product = product_flops(BATCH) / GPU[precision]
    moved = 2 * 3 * weights() / GPU_MEMORY  # weights and two moments, read and written
    return AIM * (product if precision == "float32" else product + moved)


def one_machine():
    steps = ceil(ROWS / BATCH)
    print(f"{ROWS:.0e} rows x {FEATURES} features, {COMPONENTS} components, k = {K}, batch {BATCH}")
    print(f"  one pass: {steps} steps, {product_flops(ROWS):.2e} FLOP in the encoder's product")
    print("\ntime of one pass")
    cpu = CPU_STEP * product_flops(ROWS) / CPU
    print(f"  two cores, as measured            {duration(cpu):>10}")
    for precision in GPU:
        step = step_seconds(precision)
        at = f"{1e3 * step:.1f} ms a step, {BATCH / step / 1e3:.0f}k rows/s"
        print(f"  one GPU, {precision:9} at the aim     {duration(step * steps):>10}   {at}")
    data = ROWS * FEATURES * 2
    print(f"\ndisk: rows in float16 {size(data)}; a GPU must be fed with")
    for precision in GPU:
        print(f"  {precision:9} {size(BATCH * FEATURES * 2 / step_seconds(precision)):>8}/s")
    for name, rate in DISKS.items():
        print(f"  {name}: {duration(data / rate)} a pass")
    memory()


def memory():
    moments = 2 * weights()
    mixing = 32_768 * FEATURES * 2
    print("\nmemory")
    print(
        f"  weights {size(weights())}, moments {size(moments)}, copy to return to {size(weights())}"
    )
    print(f"  dense pre-activations of a batch  {size(4 * BATCH * COMPONENTS)} (never whole)")
    print(f"  codes of a batch                  {size(8 * BATCH * K)}")
    print(f"  mixing buffers, three in float16  {size(3 * mixing)}")
    print(f"  codes of all rows as CSR          {size(8 * ROWS * K)} (8 bytes each, on disk)")
    checkpoint = weights() + moments
    print(f"  a checkpoint                      {size(checkpoint)}, the last two are kept;")
    print(f"    at 1 GB/s written in {duration(checkpoint / 1e9)}: every 10 min costs ", end="")
    print(f"{checkpoint / 1e9 / 600:.1%}")


def cluster():
    """Rounds of local steps: each worker sends its weights to one place and takes the mean back."""
    step = step_seconds("TF32")
    print("\ncluster: share of the time that workers (one GPU each, TF32) train, not wait")
    print(f"  a round moves {size(2 * weights())} for each worker through the one that averages")
    for link, rate in LINKS.items():
        print(f"  {link}; workers: " + " ".join(f"{w:>6}" for w in WORKERS))
        for local in LOCAL_STEPS:
            work = local * step
            shares = [work / (work + 2 * weights() * (w - 1) / rate) for w in WORKERS]
            print(f"    {local:5} local steps     " + " ".join(f"{s:6.0%}" for s in shares))


if __name__ == "__main__":
    one_machine()
    cluster()
