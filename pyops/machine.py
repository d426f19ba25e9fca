"""The machine: what it is called, its caches, and its ceilings as measured by the kernels
of kernels/machine."""
from __future__ import annotations

import math
import platform
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .core.backends import BACKENDS, DTYPES
from .core.threads import num_threads

MEMORY = "memory"   # the level behind the last cache


def cpu_model() -> str:
    """The processor's name as the kernel gives it, with family and model where there are any."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    first = text.partition("\n\n")[0]   # processor; a program's costs depend on it, so it is soon read
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    found = {key: said[key] for key in ("model name", "cpu family", "model", "stepping") if key in said}
    name = found.pop("model name", platform.machine())
    return name + (" (" + ", ".join(f"{k} {v}" for k, v in found.items()) + ")" if found else "")


def caches() -> dict[str, tuple[int, int]]:
    """Data caches of the first CPU: name ("L1", "L2", ...) -> bytes and how many CPUs share it.
    Empty where /sys does not tell."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind, level, size = ((folder / f).read_text().strip() for f in ("type", "level", "size"))
            shared = sum(1 + int(b or a) - int(a) for a, b in
                         re.findall(r"(\d+)(?:-(\d+))?", (folder / "shared_cpu_list").read_text()))
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = (int(size[:-1]) * {"K": 1 << 10, "M": 1 << 20}[size[-1]], shared)
    return found


@dataclass(frozen=True)
class Ceilings:
    """Measured rates of one backend, element type and thread count: the roofs of the roofline."""
    backend: str
    real: str
    threads: int
    gflops: float                                      # multiply-adds from registers, two operations each
    # (level, bytes that fit in it, GB/s), nearest first; memory is last
    bandwidth: tuple[tuple[str, float, float], ...]

    def gbytes(self, working_set: float) -> float:
        """GB/s of the nearest level that holds `working_set` bytes."""
        return next(rate for _, fits, rate in self.bandwidth if working_set <= fits)

    def attainable(self, flops: float, bytes_: float) -> float:
        """Seconds that this much work takes at the ceilings: the slower of arithmetic and
        traffic."""
        return max(flops / self.gflops, bytes_ / self.gbytes(bytes_)) / 1e9


def best_time(run, seconds: float) -> float:
    """The shortest of the runs that fit in `seconds` (at least three)."""
    best, end, count = math.inf, time.perf_counter() + seconds, 0
    while count < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best, count = min(best, time.perf_counter() - start), count + 1
    return best


def _levels(threads: int) -> list[tuple[str, int, int]]:
    """(level, bytes that `threads` threads fit in it, bytes to measure it with)."""
    levels, largest = [], 0
    for name, (size, shared) in caches().items():
        total = size * max(1, threads // shared)
        levels.append((name, total, total // 2))
        largest = max(largest, total)
    return [*levels, (MEMORY, math.inf, max(4 * largest, 64 << 20))]


def _aligned(nbytes: int, dtype) -> np.ndarray:
    """Ones (zeros could all be one page of the system's) that start on a cache line."""
    raw = np.empty(nbytes + 64, np.uint8)
    array = raw[-raw.ctypes.data % 64:][:nbytes].view(dtype)
    array[...] = 1
    return array


def _gbytes(kernels, nbytes: int, threads: int, seconds: float) -> float:
    """The better of reading and copying (read + written) with `nbytes` in use."""
    repeats = max(1, (4 << 20) // nbytes)
    source, target = _aligned(nbytes, kernels.dtype), _aligned(nbytes // 2, kernels.dtype)
    half = source[:len(target)]
    sums = np.empty(threads, kernels.dtype)
    read = best_time(lambda: kernels.machine_read(source, repeats, sums), seconds)
    copy = best_time(lambda: kernels.machine_copy(half, repeats, target), seconds)
    return repeats * nbytes / min(read, copy) / 1e9


@lru_cache
def ceilings(backend: str, real: str, threads: int, seconds: float = 0.1) -> Ceilings:
    """Measures for about 10 x `seconds`. Another program on the same cores lowers what is found."""
    kernels = BACKENDS[backend].sets[real]
    flops = np.empty(threads, DTYPES[real])
    with num_threads(threads):
        kernels.machine_flops(1000, flops)
        repeats = 200_000
        rate = float(flops.sum()) * repeats / 1000 / best_time(lambda: kernels.machine_flops(repeats, flops),
                                                               3 * seconds)
        bandwidth = tuple((name, fits, _gbytes(kernels, size, threads, seconds))
                          for name, fits, size in _levels(threads))
    return Ceilings(backend, real, threads, rate / 1e9, bandwidth)
