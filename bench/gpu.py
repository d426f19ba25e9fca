"""bench/gpu.sh's program: everything that only a GPU can tell, in one run of bounded length.

    python -m pyops.bench.gpu [--seconds 460] [--no-validate]

Order: ceilings (copy bandwidth, matrix products), the checks of every row on the backend "cuda",
the tensor-core kernels bit for bit on small integers, then times, ours and torch's in turn. What
the time does not suffice for is listed as not measured.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np

from .gpu_rows import ROWS

RESULTS = Path(__file__).resolve().parent / "results"
ROTATION = 256 << 20    # bytes of inputs that a loop goes through: more than any L2 holds
# hopper: bf16 with PYOPS_HOPPER=1
TORCH = {"f32": "float32", "tf32": "float32", "3xtf32": "float32", "bf16": "bfloat16", "hopper": "bfloat16"}
# of the largest value: float sums in other orders, 10 and 7 bits of mantissa
TOLERANCE = {"f32": 2e-4, "tf32": 4e-3, "3xtf32": 2e-4, "bf16": 4e-2, "hopper": 4e-2}
# whose ceiling is theirs, and how many products they take for one
CEILING = {"hopper": ("bf16", 1), "3xtf32": ("tf32", 3)}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=460)
    parser.add_argument("--no-validate", action="store_true")
    args = parser.parse_args(arguments)
    from ..cuda.device import missing
    if why := missing():
        print(f"pyops.bench.gpu: {why}")
        return 2
    end = time.monotonic() + args.seconds
    result = {"machine": machine(), "ceilings": ceilings()}
    print(f"{result['machine']['device']}: "
          + ", ".join(f"{k} {v:.0f}" for k, v in result["ceilings"].items()), flush=True)
    if not args.no_validate:
        result["validation"] = validation(end - args.seconds / 3)
        print("validation: {passed} passed, {failed} failed, {not_run} not run for want of "
              "time".format(**result["validation"]), flush=True)
    result["integers"] = integers()
    print("tensor cores on integers:", result["integers"], flush=True)
    result["rows"] = list(timed(end, result["ceilings"]))
    name = result["machine"]["device"].lower().replace("nvidia", "").strip().replace(" ", "-")
    path = RESULTS / f"gpu-{name}-{date.today()}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {path}")
    return int(bool(result.get("validation", {}).get("failed")) or any("failed" in r for r in result["rows"])
               or result["integers"] != "exact")


def machine() -> dict:
    import cupy
    import torch
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True,
                            text=True).stdout.strip()
    return {
        "device": properties["name"].decode(), "capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"], "driver": cupy.cuda.runtime.driverGetVersion(),
        "cupy": cupy.__version__, "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(),
        "date": str(date.today()), "commit": commit}


def milliseconds(call, repeats) -> float:
    """Of one call, by events around `repeats` of them that are queued without a wait."""
    import cupy
    stream = cupy.cuda.get_current_stream()
    begin, finish = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record(stream)
    for i in range(repeats):
        call(i)
    finish.record(stream)
    finish.synchronize()
    return cupy.cuda.get_elapsed_time(begin, finish) / repeats


def best(call, count) -> tuple[float, float]:
    """(minimum, median) milliseconds of a call over rotated inputs; enough repeats for
    a few milliseconds."""
    milliseconds(call, count)
    once = milliseconds(call, count)
    repeats = max(count, min(200, int(5 / max(once, 1e-3))))
    samples = [milliseconds(call, repeats) for _ in range(5)]
    return min(samples), statistics.median(samples)


def ceilings() -> dict:
    """GB/s of a copy, reads and writes counted; TFLOP/s of torch's matrix product in each
    precision."""
    import torch
    x = torch.empty(256 << 20, device="cuda")
    y = torch.empty_like(x)
    found = {"copy GB/s": 2 * x.numel() * 4 / torch_ms(lambda: y.copy_(x)) / 1e6}
    x = y = None   # gives their memory back
    for name, n in (("f32", 4096), ("tf32", 8192), ("bf16", 8192)):
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        a, b = (torch.randn(n, n, device="cuda", dtype=getattr(torch, TORCH[name])) for _ in range(2))
        found[f"{name} TFLOP/s"] = 2 * n ** 3 / torch_ms(lambda a=a, b=b: a @ b) / 1e9
    torch.backends.cuda.matmul.allow_tf32 = False
    return found


def torch_ms(call, repeats=10) -> float:
    import torch
    call()
    begin, finish = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(repeats):
        call()
    finish.record()
    finish.synchronize()
    return begin.elapsed_time(finish) / repeats


def validation(end) -> dict:
    """Every case of every row on the device, forward and backward, in both types, until `end`."""
    from .. import validate
    counts = {"passed": 0, "failed": 0, "not_run": 0, "failures": []}
    for op, case in validate.rows():
        for check in ("forward", "gradient"):
            for real in ("f32", "f64"):
                if not validate.applies(check, case) or "cuda" in op.todo:
                    continue
                if time.monotonic() > end:
                    counts["not_run"] += 1
                    continue
                try:
                    validate.CHECKS[check](op, case, "cuda", real)
                    counts["passed"] += 1
                except Exception as why:
                    # one case's failure, whatever it is, is a finding and no reason to stop
                    counts["failed"] += 1
                    counts["failures"].append(
                        f"{op.name} {case.why} {check} {real}: {type(why).__name__}: {str(why)[:300]}")
                    print("FAILED", counts["failures"][-1], flush=True)
    return counts


def integers() -> str:
    """Whether the tensor-core products of small integers are exact on this device, which pins the
    layouts the emulator assumes."""
    import cupy

    from ..backends import BACKENDS
    rng = np.random.default_rng(0)
    wrong = []
    for real in ("f16", "bf16"):
        kernels = BACKENDS["cuda"].kernels(real)
        for m, n, k in ((64, 64, 64), (33, 70, 45), (128, 96, 160)):
            a, b = (rng.integers(-4, 5, shape) for shape in ((1, m, k), (1, k, n)))
            c = cupy.full((1, m, n), np.nan, kernels.dtype)
            kernels.gemm(cupy.asarray(a, kernels.dtype), cupy.asarray(b, kernels.dtype), False, False, c)
            want = (a.astype(np.float64) @ b).astype(np.float32)
            exact = np.array_equal(cupy.asnumpy(c.astype(np.float32)),
                                   want.astype(kernels.dtype).astype(np.float32))
            if not exact:
                wrong.append(f"{real} {m}x{n}x{k}")
        wrong += hopper_integers(kernels, rng) + hopper_convolutions(kernels, rng)
    return "exact" if not wrong else "differ: " + ", ".join(wrong)


def hopper_integers(kernels, rng) -> list[str]:
    """The same of the kernels by wgmma, with every kernel of the file: each order of operands, one
    tile and several, more steps than stages."""
    import cupy

    from ..kernels.gemm import hopper
    wrong = []
    for batch, m, n, k in ((1, 128, 128, 64), (2, 136, 264, 72), (1, 264, 136, 1032), (2, 2056, 2600, 520)):
        for ta in (False, True):
            for tb in (False, True):
                a, b = (rng.integers(-4, 5, shape) for shape in ((batch, m, k), (1, k, n)))
                bias = rng.integers(-4, 5, n)
                left, right = (
                    cupy.asarray(np.ascontiguousarray(x.swapaxes(1, 2) if swapped else x), kernels.dtype)
                    for x, swapped in ((a, ta), (b, tb)))
                if not hopper.takes(kernels.device, left, right):
                    return []   # another device
                c = cupy.full((batch, m, n), np.nan, kernels.dtype)
                hopper.gemm_hopper(kernels.device, left, right, ta, tb, c, cupy.asarray(bias, kernels.dtype),
                                   0, True)
                # every partial sum is an integer below 2^24
                want = (a.astype(np.float32) @ b.astype(np.float32) + bias).astype(np.float32)
                if not np.array_equal(cupy.asnumpy(c.astype(np.float32)),
                                      want.astype(kernels.dtype).astype(np.float32)):
                    wrong.append(f"wgmma {kernels.real} {batch}x{m}x{n}x{k} {'nt'[ta]}{'nt'[tb]}")
    return wrong


# batch, channels and filters of a group, groups; input, kernel, stride, padding, dilation: one tile
# and several, ragged filters, the widest tiles
HOPPER_CONVOLUTIONS = (((1, 64, 64, 1), (8, 16), (1, 1), (1, 1), (0, 0), (1, 1)),
                       ((2, 72, 40, 1), (19, 21), (3, 3), (1, 1), (1, 1), (1, 1)),
                       ((2, 64, 136, 1), (25, 23), (3, 3), (2, 2), (1, 1), (1, 1)),
                       ((1, 8, 64, 1), (33, 40), (7, 7), (2, 2), (3, 3), (1, 1)),
                       ((2, 64, 64, 3), (13, 12), (3, 2), (1, 3), (2, 0), (2, 3)),
                       ((8, 16, 200, 1), (56, 56), (2, 1), (1, 1), (4, 0), (4, 1)))


def hopper_convolutions(kernels, rng) -> list[str]:
    """The same of the convolutions by wgmma, forward and transposed."""
    from ..kernels.convolution import hopper
    if not hopper.has_wgmma(kernels.device):
        return []   # another device
    wrong = []
    for (batch, channels, filters, groups), inputs, kernel, *window in HOPPER_CONVOLUTIONS:
        stride, padding, dilation = window
        outputs = tuple((i + 2 * p - d * (k - 1) - 1) // s + 1
                        for i, k, s, p, d in zip(inputs, kernel, *window))
        x, dy = rng.integers(-4, 5, (batch, groups * channels,
                                     *inputs)), rng.integers(-4, 5, (batch, groups * filters, *outputs))
        weight = rng.integers(-4, 5, (groups * filters, channels, *kernel))
        attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        for given, size, transposed in ((x, outputs, False), (dy, inputs, True)):
            if why := hopper_convolution(kernels, given, weight, size, attrs, transposed):
                wrong.append(f"im2col {kernels.real} {channels}->{filters} {kernel} / "
                             f"{stride}{' transposed' if transposed else ''} {why}")
    return wrong


def hopper_convolution(kernels, given, weight, size, attrs, transposed) -> str:
    """What is wrong with one convolution of integers; "" if nothing is."""
    import cupy

    from ..kernels.convolution import channels_last, grid, hopper, reference
    groups, channels, kernel = attrs["groups"], weight.shape[1], weight.shape[2:]
    filters, taps = weight.shape[0] // groups, kernel[0] * kernel[1]
    sizes, apart = (channels, filters, groups), (filters * channels * taps, channels * taps, taps)
    if transposed:
        sizes, apart = (filters, channels, groups), (apart[0], apart[2], apart[1])
    x = channels_last.empty(kernels.device, given.shape)
    y = channels_last.empty(kernels.device, (given.shape[0], groups * sizes[1], *size))
    x[...], y[...] = cupy.asarray(given, kernels.dtype), np.nan
    axes = grid.axis_sizes((1, *kernel), (1, *attrs["stride"]), (0, *attrs["padding"]),
                           (1, *attrs["dilation"]), (1, *given.shape[2:]), (1, *size))
    if not hopper.takes(kernels.device, channels_last.last(x), axes, sizes, transposed):
        return "is not taken"
    hopper.conv_hopper(kernels.device, channels_last.last(x), cupy.asarray(weight, kernels.dtype), None, axes,
                       sizes, apart, channels_last.last(y), transposed)
    row = reference.conv_transpose if transposed else reference.conv
    want = row(given.astype(np.float64), weight.astype(np.float64), None, size=size,
               **attrs).astype(np.float32)
    return "" if np.array_equal(cupy.asnumpy(y.astype(np.float32)),
                                want.astype(kernels.dtype).astype(np.float32)) else "differs"


def precisions_of(row) -> tuple[str, ...]:
    """Matrix products, and convolutions whose channels lie last, in bfloat16 once more by wgmma,
    where the device has it."""
    import cupy
    served = row.name.startswith("linear") or row.channels_last and row.bound == "compute"
    hopper = served and "bf16" in row.precisions and cupy.cuda.Device().compute_capability == "90"
    return (*row.precisions, "hopper") if hopper else row.precisions


def timed(end, limits):
    print(f"{'row':<52} {'type':<5} {'ours ms':>9} {'torch ms':>9} {'ratio':>6} {'of ceiling':>10} "
          f"{'error':>9}")
    for row in ROWS:
        for precision in precisions_of(row):
            head = {"row": row.name, "precision": precision}
            if time.monotonic() > end - 5:
                yield head | {"not measured": "no time left"}
                continue
            try:
                found = head | measure(row, precision, limits)
                print(f"{row.name:<52} {precision:<5} {found['ours_ms']:>9.4f} {found['torch_ms']:>9.4f} "
                      f"{found['ratio']:>6.2f} {found['of_ceiling']:>10.2f} {found['error']:>9.1e}",
                      flush=True)
            except Exception as why:   # a row that fails is a finding; the others still count
                found = head | {"failed": f"{type(why).__name__}: {str(why)[:500]}"}
                print(f"{row.name:<52} {precision:<5} {found['failed']}", flush=True)
            yield found


def measure(row, precision, limits) -> dict:
    """Times of both sides in turn on the same memory, after the results were compared."""
    import torch

    from .. import functional
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    dtype = getattr(torch, TORCH[precision])
    size = dtype.itemsize
    count = max(2, min(16, ROTATION // max(1, row.elements * size)))
    generator = torch.Generator("cuda").manual_seed(0)
    laid = {"memory_format": torch.channels_last} if row.channels_last else {}
    tensors = [[torch.randn(shape, device="cuda", dtype=torch.float32, generator=generator).to(dtype, **laid)
                for shape in row.shapes]
               for _ in range(count)]
    with using(precision):
        arrays = [[to_cupy(t) for t in some] for some in tensors]
        want, got = row.theirs(torch.nn.functional,
                               *tensors[0]).float(), from_cupy(row.ours(functional, *arrays[0])).float()
        error = float((got - want).abs().max() / want.abs().max().clamp(min=1))
        if not error <= TOLERANCE[precision]:
            raise AssertionError(
                f"differs from torch by {error:.1e} of the largest value; {TOLERANCE[precision]:.0e} allowed")
        ours = best(lambda i: row.ours(functional, *arrays[i % count]), count)
    theirs = torch_best(lambda i: row.theirs(torch.nn.functional, *tensors[i % count]), count)
    unit, products = CEILING.get(precision, (precision, 1))
    floor = max(row.elements * size / limits["copy GB/s"] / 1e6,
                products * row.flops / limits[f"{unit} TFLOP/s"] / 1e9)
    return {"ours_ms": ours[0], "ours_median_ms": ours[1], "torch_ms": theirs[0],
            "torch_median_ms": theirs[1], "ratio": theirs[0] / ours[0],
            "floor_ms": floor, "of_ceiling": floor / ours[0], "bound": row.bound, "error": error}


@contextmanager
def using(precision):
    from ..cuda.precision import precision as choose
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
    import cupy
    return cupy.from_dlpack(tensor)


def from_cupy(array):
    import torch
    return torch.from_dlpack(array)


def torch_best(call, count):
    torch_ms(lambda: call(0))
    once = torch_ms(lambda: call(0))
    repeats = max(count, min(200, int(5 / max(once, 1e-3))))

    def sample():
        import torch
        begin, finish = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for i in range(repeats):
            call(i)
        finish.record()
        finish.synchronize()
        return begin.elapsed_time(finish) / repeats
    samples = [sample() for _ in range(5)]
    return min(samples), statistics.median(samples)


if __name__ == "__main__":
    sys.exit(main())
