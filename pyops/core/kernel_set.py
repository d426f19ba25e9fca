"""What a backend gives an op's glue: the kernels of one element type, and how results are
allocated.

Every backend gives a kernel the same name and the same arguments (a row of
kernels/<family>/kernels.inc), so an op is written once and runs on any of them. Backends beside the
instruction sets of the extension (a GPU's) register here, before pyops.core.backends chooses one.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .memory import allocator

if TYPE_CHECKING:
    from .kernels_protocol import Backend

DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}


class KernelSet:
    """The kernels of one backend for one element type, as attributes, and how outputs are
    allocated.

    By convention the first array an op's glue allocates is the op's first output;
    `out=` rests on that.
    """

    def __init__(self, real: str, functions: dict):
        self.__dict__.update(functions)
        self.real = real
        self.dtype = self.acc = DTYPES[real]   # acc: of what sums and statistics are kept in
        self.empty = allocator(self.dtype)     # empty(shape, dtype=None) -> an uninitialised array

    def __repr__(self):
        return f"<kernels of {self.real}>"

    def host(self, array):
        """`array` for Python to look into; None where that would have to wait for a GPU: then a bad
        index shows as NaN, not as an error."""
        return array


class Into:
    """A KernelSet whose first allocation is the caller's `out` array."""

    def __init__(self, kernels: KernelSet, out: np.ndarray, op_name: str):
        self._kernels, self._out, self._op_name = kernels, out, op_name

    def __getattr__(self, name):
        return getattr(self._kernels, name)

    @property
    def unused(self):
        return self._out is not None

    def empty(self, shape, dtype=None):
        if self._out is None:
            return self._kernels.empty(shape, dtype)
        out, self._out = self._out, None
        check_out(self._op_name, out, tuple(shape), dtype or self._kernels.dtype)
        return out


def check_out(op_name, out, shape, dtype):
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"{op_name}: out has shape {out.shape} and dtype {out.dtype}; the result needs "
                         f"{shape} {np.dtype(dtype)}")


def refuse_without_kernels(op, backend: str) -> None:
    """NotImplementedError for a row that has kernels, but none on this backend."""
    if op.kernels and backend in op.todo:
        raise NotImplementedError(f"{op.name}: no kernel for {backend}: {op.todo[backend]}")


REGISTERED: list[Backend] = []   # backends of other floors


def register(backend: Backend) -> None:
    """Adds a backend to those that `use_backend` and PYOPS_BACKEND can name."""
    REGISTERED.append(backend)
