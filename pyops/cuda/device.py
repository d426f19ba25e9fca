"""The device of the backend "cuda": CuPy arrays on the current device, kernels compiled for it by
cupy.RawModule when first launched."""
from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from . import nvrtc
from .arguments import DIMS, argument, dims
from .emulated import dtype_of
from .source import Source, kernel_source
from .tensor_map import im2col_map, tensor_map

OLDEST = (7, 5)          # compute capability that the kernels are written for
DRIVER = 13000           # CUDA version that the driver must support for CuPy's wheels


class KernelCompileError(RuntimeError):
    """A kernel that the device's compiler refuses; the message is the compiler's."""


@lru_cache(1)
def missing() -> str:
    """Why kernels cannot run on a GPU here, and what to do; empty if they can."""
    try:
        import cupy
    except Exception as why:
        # besides ImportError: CuPy raises OSError where its cache folder cannot be made
        return f"CuPy cannot be imported ({type(why).__name__}: {why}); pip install pyops-kernels[cuda]"
    runtime = cupy.cuda.runtime
    version = runtime.driverGetVersion()
    if version == 0:
        return "no NVIDIA driver is loaded on this machine; install one, or use the backend cuda-emulated"
    if version < DRIVER:
        return (f"the NVIDIA driver supports CUDA {version // 1000}.{version % 1000 // 10}, kernels need "
                f"{DRIVER // 1000}.{DRIVER % 1000 // 10}; update the driver")
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as why:
        return f"the CUDA driver does not answer ({why})"
    if count == 0:
        return "the driver sees no CUDA device; check CUDA_VISIBLE_DEVICES"
    properties = runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    capability = properties["major"], properties["minor"]
    if capability < OLDEST:
        return (f"{properties['name'].decode()} has compute capability {capability[0]}.{capability[1]}; the "
                f"kernels need {OLDEST[0]}.{OLDEST[1]} or newer")
    return ""


def describe() -> list[str]:
    """A line for each device: name, compute capability, multiprocessors, memory."""
    import cupy
    found = []
    for i in range(cupy.cuda.runtime.getDeviceCount()):
        p = cupy.cuda.runtime.getDeviceProperties(i)
        found.append(f"{p['name'].decode()}, compute capability {p['major']}.{p['minor']}, "
                     f"{p['multiProcessorCount']} multiprocessors, {p['totalGlobalMem'] >> 30} GiB")
    return found


def machine_code(source: Source, capability: tuple[int, int]) -> Path | None:
    """The file with `source`'s machine code for such a device: from the cache folder, or made now;
    None where that is CuPy's to do, because there is no NVRTC with headers here."""
    arch = source.required if source.required.endswith("a") else f"sm_{capability[0]}{capability[1]}"
    if path := nvrtc.made_ahead(source, arch):
        return path
    # CuPy has headers of its own, which cannot be found from here, but compiles for no sm_90a
    if not arch.endswith("a") and (nvrtc.missing() or not nvrtc.headers("cccl")):
        return None
    nvrtc.compile_cubin(source, arch)
    return nvrtc.cubin_path(source, arch)


@lru_cache(4096)
def module(source: Source, stamp: float, device: int):
    """The module of `source` on a device. CuPy's own cache does not see headers: the digest
    among the options does."""
    import cupy
    if path := machine_code(source, _capability(device)):
        return cupy.RawModule(path=str(path))
    return cupy.RawModule(code=source.text,
                          options=(*source.options, f"-DSOURCE_DIGEST={int(source.digest, 16) % 2 ** 31}"))


@lru_cache(4096)
def function(source: Source, stamp: float, device: int, name: str, dynamic: bool):
    """A kernel of it; `dynamic`: one that is launched with dynamic shared memory, as much as the
    device has. (The limit is the function's, which all launches of it share, of whatever size.)"""
    import cupy
    try:
        kernel = module(source, stamp, device).get_function(name)
    except (cupy.cuda.compiler.CompileException, nvrtc.CompileError) as why:
        raise KernelCompileError(
            f"{source.path.name} ({source.real}) does not compile for this device:\n{why}") from why
    if dynamic:
        limit = _attributes(device)["MaxSharedMemoryPerBlockOptin"]
        kernel.max_dynamic_shared_size_bytes = limit - kernel.shared_size_bytes
    return kernel


def _ready(file: str, real: str, device: int, name: str, dynamic: bool, defines):
    """The kernel of a launch, as launch() is told of it."""
    source = kernel_source(file, real, **dict(defines))
    return function(source, _written(source.path), device, name, dynamic)


def _written(path: Path) -> float:
    return path.stat().st_mtime


# Asked once a process, as a launch must wait neither for the file system nor for what describes a source;
# with PYOPS_CUDA_RELOAD=1 at every launch, for who edits kernels while a process runs.
ready = _ready if os.environ.get("PYOPS_CUDA_RELOAD") == "1" else lru_cache(4096)(_ready)


class CupyDevice:
    """Allocation, transfer and launch on CuPy's current device and stream."""

    def __init__(self, real):
        self.real = real

    @property
    def dtype(self):
        return dtype_of(self.real)

    @property
    def multiprocessors(self) -> int:
        return _attributes(_current())["MultiProcessorCount"]

    @property
    def capability(self) -> tuple[int, int]:
        return _capability(_current())

    @property
    def shared_limit(self) -> int:
        return _attributes(_current())["MaxSharedMemoryPerBlockOptin"]

    def empty(self, shape, dtype=None):
        import cupy
        return _allocated(cupy.empty, shape, dtype or self.dtype)

    def zeros(self, shape, dtype=None):
        import cupy
        return _allocated(cupy.zeros, shape, dtype or self.dtype)

    def host(self, array):
        """Nothing: to look would be to wait for the device, in every call."""
        return None

    def put(self, array):
        """A NumPy array's copy on the device; device arrays and None as they are."""
        import cupy
        return cupy.asarray(array) if isinstance(array, (np.ndarray, np.generic)) else array

    def get(self, array):
        import cupy
        return cupy.asnumpy(array)

    def tensor_map(self, array, box):
        """What a kernel's TensorMap (hopper.cuh) is passed; see pyops.cuda.tensor_map."""
        return tensor_map(array, box)

    def im2col_map(self, array, lower, upper, step, pixels, channels):
        """The same for pixels of an (N, H, W, C) array."""
        return im2col_map(array, lower, upper, step, pixels, channels)

    def launch(self, file, kernel, grid, block, args, shared=0, stream=None, **defines):
        """Queues kernels/`file`'s `kernel` on `stream` (CuPy's current one if None); an empty
        grid launches nothing."""
        if min(grid) == 0:
            return
        passed = [_dims(a) if type(a) is tuple else _int(a) if type(a) is int
                  else self._passed(argument(a, self.real)) for a in args]
        ready(file, self.real, _current(), kernel, shared > 0,
              tuple(defines.items()))(tuple(grid), tuple(block), passed,
                                      shared_mem=shared, **({"stream": stream} if stream else {}))

    def _passed(self, value):
        """Structs go by value as arrays of one; host arrays, which CuPy would pass by value
        too, go to the device."""
        if isinstance(value, np.void):
            return np.array([value])
        return self.put(value) if isinstance(value, np.ndarray) else value


@lru_cache(4096)
def _dims(sizes: tuple):
    """A Dims as a launch passes it. To pack one takes longer than to look it up, and a network's
    launches have few."""
    return np.array([dims(sizes)], DIMS)


@lru_cache(4096)
def _int(value: int) -> np.int32:
    return argument(value, "f32")


def _current() -> int:
    import cupy
    return cupy.cuda.runtime.getDevice()


@lru_cache(64)
def _attributes(device: int) -> dict:
    import cupy
    return cupy.cuda.Device(device).attributes


@lru_cache(64)
def _capability(device: int) -> tuple[int, int]:
    attributes = _attributes(device)
    return attributes["ComputeCapabilityMajor"], attributes["ComputeCapabilityMinor"]


def _allocated(make, shape, dtype):
    import cupy
    try:
        return make(shape, dtype)
    except cupy.cuda.memory.OutOfMemoryError as why:
        free, total = cupy.cuda.runtime.memGetInfo()
        raise MemoryError(f"no room on the device for {tuple(shape)} {np.dtype(dtype)}: {free >> 20} of "
                          f"{total >> 20} MiB are free; cupy.get_default_memory_pool().free_all_blocks() or "
                          "torch.cuda.empty_cache() gives back what is kept") from why
