"""The forms in which launch.py files ask for their kernels: (file, element type, macros).

Recorded, not listed by hand: every op's cases, forward and gradient, and the layers that
bench/gpu.sh times are run on a device that notes its launches and does nothing. Host functions look
at shapes alone, so they choose as they would on a GPU.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..core.backends import use_backend
from .backend import DeviceKernels
from .emulated import EmulatedDevice
from .precision import PRECISIONS, precision
from .source import REALS

Form = tuple[str, str, tuple[tuple[str, object], ...]]
# capability, multiprocessors: few and many blocks take different tiles
H200 = ((9, 0), 132)
MACHINES = (H200, ((9, 0), 4), ((7, 5), 40))
TOUCHED = 1 << 16   # values; of larger arrays only the shape is copied, their memory stays untouched


class NotingDevice(EmulatedDevice):
    """Allocates zeros, launches nothing."""

    def __init__(self, real, capability, multiprocessors, found: set[Form]):
        super().__init__(real)
        self.capability, self.multiprocessors, self.found = capability, multiprocessors, found

    def empty(self, shape, dtype=None):
        return np.zeros(shape, dtype or self.dtype)

    zeros = empty

    def launch(self, file, kernel, grid, block, args, shared=0, stream=None, **defines):
        if min(grid):
            self.found.add((file, self.real, tuple(sorted(defines.items()))))


class Noting:
    """A backend that asks the host functions for each op's launches, for every type and these machines."""

    name, missing, sets = "noting", "", {}

    def __init__(self, found: set[Form], machines=MACHINES, precisions=PRECISIONS):
        self.precisions = precisions
        self.kernels = [DeviceKernels(NotingDevice(real, *machine, found)) for machine in machines
                        for real in REALS]

    def run(self, op, real, inputs, attrs, out=None):
        if "cuda" in op.todo:   # a step of a function: it has no kernels there
            return op.reference(*inputs, **attrs)
        result = None
        for kernels in self.kernels:
            arrays = [self.put(kernels, a) for a in inputs]
            for name in self.precisions if kernels.real == "f32" else ("strict",):
                with precision(name):
                    got = op.forward(kernels, *arrays, **attrs)
            if result is None and kernels.real == real:
                result = got
        return result

    @staticmethod
    def put(kernels, array):
        if array is None or array.dtype.kind != "f":
            return array
        return array.astype(kernels.dtype) if array.size <= TOUCHED else np.zeros(array.shape, kernels.dtype)


@lru_cache(2)
def recorded(machines=MACHINES, precisions=PRECISIONS) -> tuple[Form, ...]:
    """What all cases ask for on these machines in these precisions, and the GPU benchmark's rows and products
    of integers on an H200."""
    from .. import validate
    from ..bench.gpu import integers
    from ..bench.gpu.launches import launches, rows_and_precisions
    from ..bench.gpu_rows import ROWS
    found: set[Form] = set()
    with use_backend(Noting(found, machines, precisions)), np.errstate(all="ignore"):
        for op, case in validate.rows():
            if "cuda" in op.todo:   # it has no kernels there
                continue
            args, kwargs = case.arguments(np.dtype(np.float32))
            validate.call(case, args, kwargs)
            if case.gradient:
                validate.gradients(case, args, kwargs)
    for _, checked in (*integers.products(True), *integers.hopper(True)):
        compare, real, *rest = checked.args
        compare(DeviceKernels(NotingDevice(real, *H200, found)), *rest)
    # with channels last and by wgmma, too
    found |= {(launch.file, launch.real, launch.defines) for row, name in rows_and_precisions(ROWS)
              for launch in launches(row, name)}
    return tuple(sorted(found, key=str))
