"""The backends: what they are called, whether this machine has them, and which one calls go to.

Every backend gives a kernel the same name and the same arguments (a row of csrc/kernels.inc), so an op is written once and runs
on any of them. A backend that is asked for by name is honoured or refused, never replaced in silence.
"""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from . import _C
from .memory import empty

DTYPES = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}


class KernelSet:
    """The kernels of one backend for one element type, as attributes, and how outputs are allocated.

    By convention the first array an op's glue allocates is the op's first output; `out=` rests on that.
    """

    def __init__(self, real: str, functions: dict):
        self.__dict__.update(functions)
        self.real = real
        self.dtype = self.acc = DTYPES[real]   # acc: of what sums and statistics are kept in

    def empty(self, shape, dtype=None):
        return empty(shape, dtype or self.dtype)

    def host(self, array):
        """`array` for Python to look into; None where that would have to wait for a GPU: then a bad index shows as NaN, not as an error."""
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
        raise ValueError(f"{op_name}: out has shape {out.shape} and dtype {out.dtype}; the result needs {shape} {np.dtype(dtype)}")


class NativeBackend:
    """Kernels of the extension, compiled for one instruction set."""

    by_default = True   # `pyops validate` runs it unasked

    def __init__(self, isa: str):
        self.name = isa
        module = getattr(_C, isa, None)
        self.missing = "" if module else f"this CPU or this build has no {isa}"
        self.sets = {real: KernelSet(real, {k: f for k, f in vars(getattr(module, real)).items() if not k.startswith("_")})
                     for real in DTYPES} if module else {}

    def run(self, op, real, inputs, attrs, out=None):
        kernels = self.sets[real]
        if out is None:
            return op.forward(kernels, *inputs, **attrs)
        into = Into(kernels, out, op.name)
        result = op.forward(into, *inputs, **attrs)
        if into.unused:
            raise TypeError(f"{op.name}: takes no out=, its result is a view of the input")
        return result


class ReferenceBackend:
    """The NumPy definitions in kernels/*/reference.py. Slow, any float type: what every other backend is tested against."""

    name, missing, sets, by_default = "reference", "", {}, False

    def run(self, op, real, inputs, attrs, out=None):
        if op.check is not None:
            op.check(*inputs, **attrs)
        result = op.reference(*inputs, **attrs)
        if out is not None:
            first = result[0] if isinstance(result, tuple) else result
            check_out(op.name, out, first.shape, first.dtype)
            out[...] = first
            return (out, *result[1:]) if isinstance(result, tuple) else out
        return result


ISAS = ("avx512", "avx2", "neon", "scalar")   # preferred first
BACKENDS: dict = {b.name: b for b in (*map(NativeBackend, ISAS), ReferenceBackend())}


def available() -> list[str]:
    """Names of the backends that run on this machine, best first."""
    return [b.name for b in BACKENDS.values() if not b.missing]


def get_backend(name: str | None = None):
    """The backend called `name`, or the active one. ValueError says why a backend cannot run here."""
    if name is None:
        return active.get()
    if name not in BACKENDS:
        raise ValueError(f"backend {name!r} is not one of {', '.join(BACKENDS)}")
    if BACKENDS[name].missing:
        raise ValueError(f"backend {name!r}: {BACKENDS[name].missing}")
    return BACKENDS[name]


def _default():
    """The best backend this machine has, at most PYOPS_MAX_ISA; PYOPS_BACKEND names one outright."""
    if os.environ.get("PYOPS_BACKEND"):
        return get_backend(os.environ["PYOPS_BACKEND"])
    limit = os.environ.get("PYOPS_MAX_ISA")
    if limit and limit not in ISAS:
        raise ValueError(f"PYOPS_MAX_ISA={limit!r} is not one of {', '.join(ISAS)}")
    allowed = ISAS[ISAS.index(limit):] if limit else ISAS
    return next(BACKENDS[name] for name in allowed if not BACKENDS[name].missing)


active: ContextVar = ContextVar("pyops_backend", default=_default())


@contextmanager
def use_backend(backend) -> Iterator[None]:
    """Within the block, ops run on `backend`: a name, or an object with `run` (a test's guarded backend)."""
    token = active.set(get_backend(backend) if isinstance(backend, str) else backend)
    try:
        yield
    finally:
        active.reset(token)


def _add_cuda():
    from .cuda.backend import CUDA, EMULATED
    BACKENDS.update({b.name: b for b in (CUDA, EMULATED)})


_add_cuda()
