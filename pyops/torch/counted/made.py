"""Values that are known, as many as a run decides: constants and counting."""

from __future__ import annotations

import numpy as np

from ... import functional as F
from ...graph.counted import Counted
from ..aten import numpys
from .lengths import INT, Length, length
from .rules import Refused, takes


def constant(sizes, number, dtype):
    axes = [i for i, n in enumerate(sizes) if isinstance(n, Length)]
    if len(axes) != 1 or not 0 < sizes[axes[0]].most < 1 << 31:
        raise Refused("several lengths that a run decides, or one that nobody knows a bound of")
    (axis,) = axes
    values = np.full([int(n.most) if i == axis else n for i, n in enumerate(sizes)], number, dtype)
    return lifted(values, axis, sizes[axis].value)


def lifted(values: np.ndarray, axis: int, count) -> Counted:
    """Values that are known, as many as the count says."""
    shape = [1] * values.ndim
    shape[axis] = values.shape[axis]
    there = F.reshape(F.lt(np.arange(values.shape[axis]), count), tuple(shape))
    return Counted(F.where(there, values, np.zeros((), values.dtype)), axis, count)


def type_of(dtype, otherwise):
    return otherwise if dtype is None else numpys(dtype)


@takes("aten.full.default")
def full(size, value, *, dtype=None, **_):
    default = np.dtype(np.bool_ if isinstance(value, bool) else INT if isinstance(value, int) else np.float32)
    return constant(size, value, type_of(dtype, default))


@takes("aten.zeros.default", "aten.empty.memory_format")
def zeros(size, *, dtype=None, **_):
    return constant(size, 0, type_of(dtype, np.dtype(np.float32)))


@takes("aten.ones.default")
def ones(size, *, dtype=None, **_):
    return constant(size, 1, type_of(dtype, np.dtype(np.float32)))


def like_shape(x):
    return [length(x.count) if axis == x.axis else n for axis, n in enumerate(x.shape)]


@takes("aten.full_like.default")
def full_like(x, value, *, dtype=None, **_):
    return constant(like_shape(x), value, type_of(dtype, x.dtype))


@takes("aten.zeros_like.default", "aten.empty_like.default")
def zeros_like(x, *, dtype=None, **_):
    return full_like(x, 0, dtype=dtype)


@takes("aten.ones_like.default")
def ones_like(x, *, dtype=None, **_):
    return full_like(x, 1, dtype=dtype)


@takes("aten.new_full.default")
def new_full(x, size, value, *, dtype=None, **_):
    return constant(size, value, type_of(dtype, x.dtype))


@takes("aten.new_zeros.default", "aten.new_empty.default")
def new_zeros(x, size, *, dtype=None, **_):
    return new_full(x, size, 0, dtype=dtype)


@takes("aten.new_ones.default")
def new_ones(x, size, *, dtype=None, **_):
    return new_full(x, size, 1, dtype=dtype)


@takes("aten.arange.default")
def arange(end, *, dtype=None, **_):
    return arange_from(0, end, dtype=dtype)


@takes("aten.arange.start", "aten.arange.start_step")
def arange_from(start, end, step=1, *, dtype=None, **_):
    if start or step != 1 or not isinstance(end, Length) or not 0 < end.most < 1 << 31:
        raise Refused("counting from or by a number that a run decides")
    return lifted(np.arange(int(end.most), dtype=type_of(dtype, INT)), 0, end.value)
