"""Rows that have no CUDA kernels, on arrays that lie on a GPU: their inputs are copied to the host's
memory, computed there, and the results copied back, which waits for the device.

The first call of each row says so by a HostWarning; docs/cuda.md lists the rows.
"""
from __future__ import annotations

import warnings

from ..core import dispatch
from ..core.backends import BACKENDS, ISAS, active, use_backend

_told: set[str] = set()   # rows


class HostWarning(UserWarning):
    """A row without CUDA kernels was computed in the host's memory."""


def call(op, arrays, attrs):
    """op on CuPy arrays (None where an input is left out); its results as CuPy arrays."""
    import cupy
    if op.name not in _told:
        _told.add(op.name)
        warnings.warn(f"{op.name} has no CUDA kernel: computed in the host's memory, which waits for the device",
                      HostWarning, stacklevel=2)
    with use_backend(backend()):
        result = dispatch.call(op, [None if a is None else cupy.asnumpy(a) for a in arrays], attrs)
    return tuple(map(cupy.asarray, result)) if isinstance(result, tuple) else cupy.asarray(result)


def backend():
    """The active one, if it is the host's; else the best that the host has."""
    chosen = active.get()
    if chosen.name in (*ISAS, "reference"):
        return chosen
    return next(BACKENDS[name] for name in ISAS if not BACKENDS[name].missing)
