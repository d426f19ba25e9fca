"""pyops info: what this machine is and what pyops makes of it."""
from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from .. import _C, __version__, machine
from ..core import threads
from ..core.backends import BACKENDS, ISAS, active

OPTIONAL = ("torch", "onnx", "onnxruntime", "openvino", "ncnn", "cupy-cuda13x", "numba", "safetensors",
            "scikit-learn", "matplotlib", "Pillow", "rich", "pytest-benchmark", "threadpoolctl")


def add_arguments(parser):
    parser.add_argument("--peak", action="store_true",
                        help="measure the machine's ceilings too (a few seconds)")


def run(args) -> int:
    for title, lines in sections(args.peak):
        print(title)
        for name, text in lines:
            print(f"  {name:<20} {text}")
    return 0


def sections(peak: bool):
    yield "pyops", [("version", f"{__version__}, {Path(_C.__file__).parent}"),
                    ("Python", f"{platform.python_version()}, NumPy {np.__version__}, {platform.platform()}")]
    yield "CPU", cpu()
    yield "backend", backend()
    yield "CUDA", cuda()
    yield "threads", thread_count()
    yield "OpenMP and BLAS in this process", runtimes()
    yield "optional packages", packages()
    if peak:
        yield "measured peak", list(peaks())


def cpu():
    lines = [("model", machine.cpu_model())]
    lines += [(name, f"{size >> 10} KiB, shared by {shared} CPU{'s' if shared > 1 else ''}")
              for name, (size, shared) in machine.caches().items()]
    return [*lines, ("instruction sets", ", ".join(n for n in ISAS if _C.cpu[n])),
            ("this build has", ", ".join(_C.built))]


def backend():
    return [("chosen", active.get().name), ("why", why_backend()),
            *((f"not {name}", b.missing)
              for name, b in BACKENDS.items() if b.missing and not name.startswith("cuda"))]


def cuda():
    """The GPUs, or why there is none, and what checks kernels without one."""
    from ..cuda import emulator, machine_code, nvrtc
    lines = [("cuda", BACKENDS["cuda"].missing or "can run")]
    if not BACKENDS["cuda"].missing:
        from ..cuda.device import describe
        lines += [(f"device {i}", text) for i, text in enumerate(describe())]
    return [*lines, ("cuda-emulated", emulator.missing() or "can run"),
            ("NVRTC", nvrtc.missing() or f"{nvrtc.version()}, compiles for {', '.join(nvrtc.ARCHITECTURES)}"),
            ("machine code", machine_code.missing() or "can be read")]


def why_backend() -> str:
    for variable in ("PYOPS_BACKEND", "PYOPS_MAX_ISA"):
        if os.environ.get(variable):
            return f"{variable}={os.environ[variable]}"
    return "the best that both the CPU and the build have; PYOPS_MAX_ISA or PYOPS_BACKEND would override"


def thread_count():
    count, why = threads.default_threads()
    quota, cores = threads.cgroup_quota(), threads.physical_cores()
    return [("chosen", str(count)), ("why", why),
            ("CPU affinity", f"{len(threads.affinity())} of {os.cpu_count()} CPUs"),
            ("cgroup quota", "none" if quota is None else f"{quota:g} CPUs"),
            ("physical cores", "unknown" if cores is None else str(cores)),
            *((name, os.environ[name])
              for name in ("PYOPS_NUM_THREADS", "OMP_NUM_THREADS") if name in os.environ)]


def runtimes():
    """Copies of thread-pool libraries mapped here. Two OpenMP runtimes would compete for the
    cores."""
    try:
        from threadpoolctl import threadpool_info
        return [(pool["prefix"], f"{pool['filepath']}, {pool['num_threads']} threads")
                for pool in threadpool_info()]
    except ImportError:
        pass
    try:
        mapped = {line.split(maxsplit=5)[5].strip()
                  for line in open("/proc/self/maps") if len(line.split(maxsplit=5)) == 6}
    except OSError:
        return [("unknown", "install threadpoolctl")]
    kinds = ("libgomp", "libiomp", "libomp", "libopenblas", "libscipy_openblas", "libmkl", "libblis")
    return sorted((kind, path) for path in mapped for kind in kinds if Path(path).name.startswith(kind))


def packages():
    """Versions from the metadata: nothing is imported."""
    found = []
    for name in OPTIONAL:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "-"))
    return found


def peaks():
    name = active.get().name
    if not BACKENDS[name].sets:
        yield name, "has no kernels to measure"
        return
    for count in sorted({1, threads.get_num_threads()}):
        for real in ("f32", "f64"):
            c = machine.ceilings(name, real, count)
            rates = ", ".join(f"{level} {rate:.0f}" for level, _, rate in c.bandwidth)
            yield (f"{real}, {count} thread{'s' if count > 1 else ''}",
                   f"{c.gflops:.0f} GFLOP/s; GB/s: {rates}")
            sys.stdout.flush()
