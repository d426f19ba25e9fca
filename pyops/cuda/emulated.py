"""The device of the backend "cuda-emulated": NumPy arrays, kernels run by the
emulator on the CPU."""
from __future__ import annotations

import math
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

import numpy as np

from .arguments import argument
from .emulator import Module
from .source import kernel_source
from .tensor_map import emulated_im2col_map, emulated_map


class KernelFault(AssertionError):
    """The emulator saw a kernel do what it must not; the message lists what, where and which
    thread."""


_mode: ContextVar[tuple[bool, int]] = ContextVar("pyops_emulator_mode", default=(True, 0))


@contextmanager
def fast(order: int):
    """Within the block kernels run unchecked, threads in this order: 0 ascending, 1 descending,
    more: a random one of that seed."""
    token = _mode.set((False, order))
    try:
        yield
    finally:
        _mode.reset(token)


_truncating: ContextVar[bool] = ContextVar("pyops_emulator_truncating", default=False)


@contextmanager
def truncating():
    """Within the block tensor cores add as they were found to do, cutting off what lies below the
    largest addend's last places (csrc/emulator/include/cuemu_mma.h); else a sum is rounded once."""
    token = _truncating.set(True)
    try:
        yield
    finally:
        _truncating.reset(token)


_traffic: ContextVar[list | None] = ContextVar("pyops_emulator_traffic", default=None)


@contextmanager
def profiled():
    """Within the block every launch's memory traffic is counted; yields the list that (file,
    kernel, [Traffic]) are added to."""
    found: list = []
    token = _traffic.set(found)
    try:
        yield found
    finally:
        _traffic.reset(token)


def dtype_of(real):
    if real == "bf16":
        import ml_dtypes  # NumPy has no bfloat16 of its own
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype({"f32": np.float32, "f64": np.float64, "f16": np.float16}[real])


ALIGNMENT = 256   # bytes


class EmulatedDevice:
    """Has the shape of a real device: allocation, transfer, launch. Few multiprocessors, so that
    loops over blocks are seen to work."""

    multiprocessors = 4
    capability = (9, 0)
    shared_limit = 227 << 10

    def __init__(self, real):
        self.real = real

    @property
    def dtype(self):
        return dtype_of(self.real)

    def empty(self, shape, dtype=None):
        """Aligned as a GPU's allocations are, so that sectors are counted as there."""
        dtype, count = np.dtype(dtype or self.dtype), math.prod(shape)
        memory = np.empty(count * dtype.itemsize + ALIGNMENT, np.uint8)
        first = -memory.ctypes.data % ALIGNMENT
        return memory[first:first + count * dtype.itemsize].view(dtype).reshape(shape)

    def zeros(self, shape, dtype=None):
        array = self.empty(shape, dtype)
        array.fill(0)
        return array

    def host(self, array):
        return array

    def put(self, array):
        if _traffic.get() is None or array is None or not isinstance(array, np.ndarray):
            return array
        copy = self.empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def get(self, array):
        return array

    def tensor_map(self, array, box):
        return emulated_map(array, box)

    def im2col_map(self, array, lower, upper, step, pixels, channels):
        return emulated_im2col_map(array, lower, upper, step, pixels, channels)

    def launch(self, file, kernel, grid, block, args, shared=0, stream=None, **defines):
        """Runs kernels/`file`'s `kernel`. KernelFault if the checker objects; an empty
        grid launches nothing."""
        if min(grid) == 0:
            return
        run(kernel_source(file, self.real, **defines), kernel, grid, block,
            [argument(a, self.real) for a in args], shared)


def run(source, kernel, grid, block, args, shared=0):
    """Runs a kernel of `source` with arguments that have a width (pyops.cuda.arguments) in the mode
    of the enclosing `fast` and `profiled` blocks. KernelFault if the checker objects."""
    checked, order = _mode.get()
    found = _traffic.get()
    if _truncating.get():
        source = replace(source, defines=(*source.defines, ("CUEMU_TRUNCATING", 1)))
    # -ftz=true is of float alone
    report = Module.of(source, checked).function(kernel)(grid, block, args, shared, order=order,
                                                         profile=found is not None, ftz=source.real != "f64")
    file = f"{source.path.parent.name}/{source.path.name}"
    if found is not None:
        found.append((file, kernel, report.traffic))
    if report.errors:
        raise KernelFault(f"{file}: {kernel}<<<{grid}, {block}>>>: {report}")
