"""The ceilings of a device, and the rows of bench/gpu_rows.py beside torch's: times of both sides in
turn on the same memory, after the results were compared.

Calls are queued behind a kernel that only waits, so that the device has work at every moment and
what is measured is its own time; what the host takes a call is measured beside it.
"""
from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial

from ..gpu_rows import Row, table

ROTATION = 256 << 20    # bytes of inputs that a loop goes through: more than any L2 holds
CLOCK = 2e9             # ticks a second, or somewhat fewer: of the kernel that waits
QUEUE = 500             # launches that are queued at most: the driver holds about a thousand
LONGEST = 0.05          # seconds of it
# hopper: bf16 with PYOPS_HOPPER=1
TORCH = {"f32": "float32", "tf32": "float32", "3xtf32": "float32", "bf16": "bfloat16", "hopper": "bfloat16"}
# of the largest value: float sums in other orders, 10 and 7 bits of mantissa
TOLERANCE = {"f32": 2e-4, "tf32": 4e-3, "3xtf32": 2e-4, "bf16": 4e-2, "hopper": 4e-2}


# ---- ceilings

def ceilings(small: bool) -> list[tuple[str, Callable[[], dict]]]:
    n = 16 if small else 8192
    return [("copy", partial(copy, 1 << 10 if small else 256 << 20)),
            ("bf16", partial(product, "bf16", n)), ("tf32", partial(product, "tf32", n)),
            ("f32", partial(product, "f32", n // 2))]


def copy(count) -> dict:
    """GB/s of a copy, reads and writes counted."""
    import torch
    x = torch.empty(count, device="cuda", dtype=torch.float32)
    y = torch.empty_like(x)
    return {"GB/s": 2 * count * 4 / best(lambda i: y.copy_(x), 1)["ms"] / 1e6}


def product(name, n) -> dict:
    """TFLOP/s of torch's matrix product."""
    import torch
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    a, b = (torch.randn((n, n), device="cuda", dtype=torch.float32).to(getattr(torch, TORCH[name])) for _ in range(2))
    return {"TFLOP/s": 2 * n ** 3 / best(lambda i: a @ b, 1)["ms"] / 1e9}


# ---- times

def sample(call, repeats, wait) -> tuple[float, float]:
    """Milliseconds of one of `repeats` calls on the device, and on the host to queue it."""
    import torch
    begin, finish = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(int(CLOCK * min(LONGEST, wait)))
    begin.record()
    begun = time.perf_counter()
    for i in range(repeats):
        call(i)
    host = time.perf_counter() - begun
    finish.record()
    finish.synchronize()
    return begin.elapsed_time(finish) / repeats, 1e3 * host / repeats


def best(call, count) -> dict:
    """ms: the least of five samples, ms median, host us; of calls over rotated inputs, enough of them
    for a few milliseconds."""
    sample(call, count, 0)
    once, host = sample(call, count, 0)
    repeats = min(QUEUE, max(count, int(5 / max(once, 1e-3))))
    samples = [sample(call, repeats, 1.3e-3 * host * repeats) for _ in range(5)]
    return {"ms": min(s for s, _ in samples), "median": statistics.median(s for s, _ in samples),
            "host us": round(1e3 * min(h for _, h in samples), 1)}


# ---- rows

def cases(small: bool) -> list[tuple[str, Callable[[], dict]]]:
    return [(f"{row.name} {precision}", partial(measure, row, precision))
            for row in table(small) for precision in row.precisions]


def hopper_cases(small: bool) -> list[tuple[str, Callable[[], dict]]]:
    """Those rows once more that PYOPS_HOPPER=1 sends to wgmma."""
    return [(f"{row.name} hopper", partial(measure, row, "hopper")) for row in table(small) if row.hopper]


def measure(row: Row, precision) -> dict:
    import torch

    from ... import functional
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    dtype = getattr(torch, TORCH[precision])
    # as many copies as no cache holds, but for rows of which every copy is prepared
    count = max(2, min(2 if row.ready else 16, ROTATION // max(1, row.elements * dtype.itemsize)))
    tensors = [inputs(row, dtype, seed) for seed in range(count)]
    with using(precision):
        arrays = [row.ready_ours(functional, *map(to_cupy, some)) for some in tensors]
        theirs = [row.ready_theirs(torch.nn.functional, *some) for some in tensors]
        want, got = row.theirs(torch.nn.functional, *theirs[0]), row.ours(functional, *arrays[0])
        error = max(apart(from_cupy(g), w) for g, w in zip(several(got), several(want), strict=True))
        assert error <= TOLERANCE[precision], (
            f"differs from torch by {error:.1e} of the largest value; {TOLERANCE[precision]:.0e} allowed")
        ours = best(lambda i: row.ours(functional, *arrays[i % count]), count)
    peer = best(lambda i: row.theirs(torch.nn.functional, *theirs[i % count]), count)
    return {"row": row.name, "precision": precision, "ours": ours, "torch": peer,
            "ratio": peer["ms"] / ours["ms"], "error": error}


def inputs(row: Row, dtype, seed):
    import torch
    generator = torch.Generator("cuda").manual_seed(seed)
    laid = {"memory_format": torch.channels_last} if row.channels_last else {}
    return [torch.randn(shape, device="cuda", dtype=torch.float32, generator=generator).to(dtype, **laid)
            if len(shape) == 4 else
            torch.randn(shape, device="cuda", dtype=torch.float32, generator=generator).to(dtype)
            for shape in row.shapes]


def several(result):
    return result if isinstance(result, (tuple, list)) else (result,)


def apart(got, want) -> float:
    """Of the largest value."""
    got, want = got.float(), want.float()
    return float((got - want).abs().max() / want.abs().max().clamp(min=1))


@contextmanager
def using(precision):
    """PYOPS_HOPPER and the precision of float32 products within the block."""
    from ...cuda.precision import precision as choose
    before = os.environ.get("PYOPS_HOPPER")
    os.environ["PYOPS_HOPPER"] = "1" if precision == "hopper" else "0"
    try:
        with choose(precision if precision in ("tf32", "3xtf32") else "strict"):
            yield
    finally:
        if before is None:
            del os.environ["PYOPS_HOPPER"]
        else:
            os.environ["PYOPS_HOPPER"] = before


def to_cupy(tensor):
    from ...cuda.arrays import viewed
    return viewed(tensor)


def from_cupy(array):
    """A tensor that shares a CuPy array's memory."""
    import torch

    from ...cuda.arrays import back_to
    return back_to(torch.empty(1, device="cuda", dtype=torch.float32))(array)
