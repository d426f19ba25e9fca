"""What meets on a GPU although it is the host's: rows that have no CUDA kernels, whose inputs are
copied to the host's memory, computed there, and the results copied back, which waits for the device;
and NumPy's arrays beside those of a GPU, which are copied to it.

The first call of each row says so by a HostWarning; docs/cuda.md lists the rows.
"""
from __future__ import annotations

import warnings

from ..core import dispatch
from ..core.backends import BACKENDS, ISAS, active, use_backend

_told: set[str] = set()


class HostWarning(UserWarning):
    """Something went through the host's memory that might lie on the device."""


def call(op, arrays, attrs):
    """op on CuPy arrays (None where an input is left out); its results as CuPy arrays."""
    import cupy
    told(f"{op.name} has no CUDA kernel: computed in the host's memory, which waits for the device")
    with use_backend(backend()):
        result = dispatch.call(op, [None if a is None else cupy.asnumpy(a) for a in arrays], attrs)
    return tuple(map(cupy.asarray, result)) if isinstance(result, tuple) else cupy.asarray(result)


def told(what: str) -> None:
    """A warning, once."""
    if what not in _told:
        _told.add(what)
        warnings.warn(what, HostWarning, stacklevel=3)


def backend():
    """The active one, if it is the host's; else the best that the host has."""
    chosen = active.get()
    if chosen.name in (*ISAS, "reference"):
        return chosen
    return next(BACKENDS[name] for name in ISAS if not BACKENDS[name].missing)
