"""The backends "cuda" and "cuda-emulated": the rows of kernels/<family>/kernels.inc as
functions of a device.

The host side of a kernel is kernels/<family>/launch.py: a function of the row's name that takes the
device, then the row's arguments, works out the grid and calls device.launch. It knows nothing of
CuPy or of the emulator.
"""
from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path

import numpy as np

from .. import kernels
from ..core.kernel_set import DTYPES, Into, KernelSet, refuse_without_kernels, register


def launchers() -> dict:
    """Row name -> host function, of every kernels/<family>/launch.py."""
    found = {}
    for path in sorted(Path(kernels.__file__).parent.glob("*/launch.py")):   # whatever sources are read
        module = importlib.import_module(f"pyops.kernels.{path.parent.name}.launch")
        for name in module.__all__:
            assert name not in found, f"{name} has two host functions"
            found[name] = getattr(module, name)
    return found


class DeviceKernels(KernelSet):
    """The kernels of one device for one element type; outputs are the device's arrays."""

    def __init__(self, device):
        from .arguments import ACC
        self.__dict__.update({name: partial(f, device) for name, f in launchers().items()})
        self.real, self.dtype, self.device = device.real, device.dtype, device
        self.acc = np.dtype(ACC[device.real])

    def empty(self, shape, dtype=None):
        return self.device.empty(shape, dtype or self.dtype)

    def host(self, array):
        return self.device.host(array)


class CudaBackend:
    """What both have in common; `devices` makes a device for an element type, when it is first
    needed."""

    by_default = False   # `pyops validate` and the tests run it only when asked to

    def __init__(self, name, devices, missing):
        self.name, self._devices, self._missing = name, devices, missing
        self._sets: dict | None = None
        self._kernels: dict = {}

    def __repr__(self):
        return f"<backend {self.name}{': ' + self.missing if self.missing else ''}>"

    @property
    def missing(self) -> str:
        """Why this backend cannot run here; empty if it can."""
        return self._missing()

    @property
    def sets(self) -> dict:
        if self._sets is None:
            self._sets = {} if self.missing else {real: self.kernels(real) for real in DTYPES}
        return self._sets

    def kernels(self, real) -> DeviceKernels:
        """The kernels for any type of source.REALS: besides those that rows know
        (`sets`), f16 and bf16."""
        if real not in self._kernels:
            self._kernels[real] = DeviceKernels(self._devices(real))
        return self._kernels[real]

    def run(self, op, real, inputs, attrs, out=None):
        refuse_without_kernels(op, self.name)
        kernels = self.sets[real]
        arrays = [kernels.device.put(a) for a in inputs]
        if out is None:
            return self._back(kernels, op.forward(kernels, *arrays, **attrs))
        into = Into(kernels, out, op.name)
        result = op.forward(into, *arrays, **attrs)
        if into.unused:
            raise TypeError(f"{op.name}: takes no out=, its result is a view of the input")
        return self._back(kernels, result)

    @staticmethod
    def _back(kernels, result):
        return (tuple(map(kernels.device.get, result)) if isinstance(result, tuple)
                else kernels.device.get(result))


def emulated(real):
    from .emulated import EmulatedDevice
    return EmulatedDevice(real)


def emulated_missing():
    from .emulator import missing
    return missing()


def on_gpu(real):
    from .device import CupyDevice
    return CupyDevice(real)


def gpu_missing():
    from .device import missing
    return missing()


CUDA = CudaBackend("cuda", on_gpu, gpu_missing)
EMULATED = CudaBackend("cuda-emulated", emulated, emulated_missing)
register(CUDA)
register(EMULATED)
