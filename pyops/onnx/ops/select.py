"""Weighted and unweighted choices along one axis, which compile where indices and weights are
known.
"""

from __future__ import annotations

import math
from hashlib import blake2b

import numpy as np

from ... import functional as F
from ...ops.gather import TAKE
from ...ops.interpolate import RESAMPLE
from .row import Unsupported, traced

ABSENT = -1  # the index of a tap that an output does not have
MOST_TAPS = 1 << 21  # of a table, which the kernel's caches keep


class Table:
    """index and weight of (taps, outputs), compared by their bytes: what RESAMPLE's caches tell
    tables apart by.
    """

    def __init__(self, index: np.ndarray, weight: np.ndarray):
        self.parts = index, weight
        self.digest = blake2b(index.tobytes() + weight.tobytes(), digest_size=16).digest()

    def __getitem__(self, i: int) -> np.ndarray:
        return self.parts[i]

    def __hash__(self):
        return hash(self.digest)

    def __eq__(self, other):
        return isinstance(other, Table) and self.digest == other.digest


def sliced(x, places: dict):
    """x[...] with slices of the axes that `places` names."""
    index = tuple(places.get(i, slice(None)) for i in range(len(x.shape)))
    return F.getitem(x, index) if traced(x) else x[index]


def taken(x, axis: int, indices):
    """The entries `indices` of an axis, counted from its front; the result has them in the axis's
    place.
    """
    indices = np.asarray(indices, np.int64).reshape(-1)
    if not traced(x):
        return np.take(x, indices, axis)
    step = 1 if len(indices) < 2 else int(indices[1] - indices[0])
    if not len(indices) or step and np.array_equal(indices, indices[0] + step * np.arange(len(indices))):
        first = int(indices[0]) if len(indices) else 0
        end = first + step * len(indices)
        return sliced(x, {axis: slice(first, None if end < 0 else end, step)})
    if np.dtype(x.dtype) not in (np.float32, np.float64):
        return TAKE(x, indices, dim=axis, wrap=False)
    return combined(x, axis, indices[None], np.ones((1, len(indices))))


def by_numpy(x, axis, index, weight):
    if traced(x):
        raise Unsupported(f"{index.size} taps along an axis; a Program holds at most {MOST_TAPS}")
    shape = [-1 if i == axis else 1 for i in range(len(x.shape))]
    return sum(
        np.where(
            i.reshape(shape) == ABSENT,
            0,
            np.take(x, np.maximum(i, 0), axis) * w.astype(x.dtype).reshape(shape),
        )
        for i, w in zip(index, weight)
    )


def combined(x, axis: int, index, weight):
    """Sums of an axis's entries: output o is the sum over taps k of weight[k, o] x[index[k, o]].

    x: traced, or real. index, weight: (taps, outputs). An output depends on its taps alone: inf and
    NaN elsewhere do not reach it.
    """
    size, outputs = x.shape[axis], index.shape[1]
    if index.size > MOST_TAPS:
        return by_numpy(x, axis, index, weight)
    if size == 0 or outputs == 0 or 0 in x.shape:
        return (
            F.mul(sliced(x, {axis: slice(0, 0)}), 1.0)
            if outputs == 0
            else np.zeros((*x.shape[:axis], outputs, *x.shape[axis + 1 :]), x.dtype)
        )
    return tabled(x, axis, outputs, Table(index, weight))


def tabled(x, axis: int, outputs, table):
    """The same by a table, which may be a formula of sizes that vary."""
    size = x.shape[axis]
    spec = (size, outputs, "table", table, False, False)
    n = len(x.shape) - 2
    if 1 <= n <= 3 and axis >= 2:  # an image, which may lie in blocked layout
        return RESAMPLE(x, specs=tuple(spec if i + 2 == axis else None for i in range(n)), transpose=False)
    before, behind = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    y = RESAMPLE(F.reshape(x, (1, before, size, behind)), specs=(spec, None), transpose=False)
    return F.reshape(y, (*x.shape[:axis], outputs, *x.shape[axis + 1 :]))
