"""Memory of recurrent layers: rows that begin where vectors do, and what one call
leaves for the next."""
from __future__ import annotations

import threading

import numpy as np

from ..core.kernel_set import KernelSet
from .recurrent_layer import BLOCK


def aligned(k, shape):
    """An array whose rows begin where vectors do: a load across two cache lines costs two."""
    whole = k.empty((int(np.prod(shape)) + BLOCK,))
    if not isinstance(whole, np.ndarray):   # a GPU's allocations are aligned
        return whole[:int(np.prod(shape))].reshape(shape)
    first = -(whole.__array_interface__["data"][0] // whole.itemsize) % BLOCK
    return whole[first:first + int(np.prod(shape))].reshape(shape)


class Workspace(threading.local):
    """Arrays that are given up when a call ends, kept for the next one of the same thread: fresh
    pages from the system cost a tenth of a training step. At most MOST bytes each."""

    MOST = 64 << 20

    def __init__(self):
        self.kept = {}

    def take(self, k, name, shape):
        count = int(np.prod(shape))
        # a test's or a compiler's has its own ideas of memory
        if type(k) is not KernelSet or count * k.dtype.itemsize > self.MOST:
            return aligned(k, shape)
        if name not in self.kept or self.kept[name].nbytes < count * k.dtype.itemsize:
            self.kept[name] = aligned(k, (count,))
        return self.kept[name].view(k.dtype)[:count].reshape(shape)


workspace = Workspace()
