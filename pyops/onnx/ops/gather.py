"""Operators that take or put values by index: NumPy's of arrays, our rows' of what a program is
given.
"""

from __future__ import annotations

import numpy as np

from ... import functional as F
from ...graph.trace import specialised
from ...ops.gather import PUT_ALONG, TAKE, TAKE_ALONG
from ...ops.typed import as_type
from ..limits import PER_NODE
from . import counted
from .row import axis_of, known, op, rank, traced
from .select import sliced, taken


def within(indices, size):
    """Indices counted from the front of an axis."""
    if indices.dtype.kind not in "iu":
        raise ValueError(f"indices must be whole numbers, got {indices.dtype}")
    if np.any((indices < -size) | (indices >= size)):
        raise ValueError(f"indices must be in [{-size}, {size}), got {indices.min()} to {indices.max()}")
    return (
        np.where(indices < 0, indices + size, indices)
        if indices.dtype.kind == "i"
        else indices.astype(np.int64)
    )


@op("Gather", keeps=True)
def gather(call):
    x, axis = call[0], axis_of(call.attr("axis", 0), rank(call[0]))
    indices = call[1]
    if traced(indices):
        call.room((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
        return TAKE(x, indices, dim=axis, wrap=True)
    shape = call.room((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
    y = taken(x, axis, within(indices, x.shape[axis]))
    return y if tuple(y.shape) == shape else F.reshape(y, shape) if traced(y) else y.reshape(shape)


@op("GatherElements", keeps=True)
def gather_elements(call):
    x, indices = call[0], call[1]
    axis = axis_of(call.attr("axis", 0), rank(x))
    if traced(x, indices):
        return TAKE_ALONG(x, indices, dim=axis, wrap=True)
    if indices.ndim != x.ndim or any(
        i > s for a, (i, s) in enumerate(zip(indices.shape, x.shape)) if a != axis
    ):
        raise ValueError(f"indices of shape {indices.shape} do not lie within {x.shape}")
    call.room(indices.shape, x.dtype, copies=4)
    corner = x[tuple(slice(n) if i != axis else slice(None) for i, n in enumerate(indices.shape))]
    return np.take_along_axis(corner, within(indices, x.shape[axis]), axis)


def nd_places(indices, shape):
    """The last axis of `indices`, as an index array for each of the first axes of `shape`."""
    if indices.shape[-1] > len(shape):
        raise ValueError(f"indices of {indices.shape[-1]} numbers each for {len(shape)} axes")
    return tuple(within(indices[..., i], shape[i]) for i in range(indices.shape[-1]))


@op("GatherND", keeps=True)
def gather_nd(call):
    x, indices, batch = call[0], call[1], call.attr("batch_dims", 0)
    if not 0 <= batch < min(rank(x), rank(indices)) or x.shape[:batch] != indices.shape[:batch]:
        raise ValueError(f"batch_dims {batch} of data {x.shape} and indices {indices.shape}")
    call.room((*indices.shape[:-1], *x.shape[batch + indices.shape[-1] :]), x.dtype, copies=2)
    if traced(x, indices):
        return F.gather_nd(x, indices, batch)
    lead = np.indices(indices.shape[:-1], sparse=True)[:batch]
    return (
        x[(*lead, *nd_places(indices, x.shape[batch:]))]
        if indices.shape[-1] + batch
        else np.broadcast_to(x, (*indices.shape[:-1], *x.shape))
    )


REDUCE = {"none": None, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def put(x, places, updates, reduction):
    if reduction not in REDUCE:
        raise ValueError(f"reduction must be one of {', '.join(REDUCE)}, got {reduction!r}")
    y = x.copy()
    if REDUCE[reduction] is None:
        y[places] = updates
    else:
        REDUCE[reduction].at(y, places, updates)
    return y


def reduction_of(call) -> str:
    """The row's name for it."""
    name = call.attr("reduction", "none")
    if name not in REDUCE:
        raise ValueError(f"reduction must be one of {', '.join(REDUCE)}, got {name!r}")
    return "" if name == "none" else name


@op("ScatterElements", "Scatter")
def scatter_elements(call):
    x, indices, updates = call.inputs
    axis = axis_of(call.attr("axis", 0), rank(x))
    if traced(*call.inputs):
        return PUT_ALONG(x, indices, updates, dim=axis, wrap=True, reduction=reduction_of(call))
    if (
        indices.ndim != x.ndim
        or indices.shape != updates.shape
        or any(i > s for a, (i, s) in enumerate(zip(indices.shape, x.shape)) if a != axis)
    ):
        raise ValueError(f"indices {indices.shape} and updates {updates.shape} do not lie within {x.shape}")
    call.room(indices.shape, np.int64, copies=3)
    places = list(np.indices(indices.shape, sparse=True))
    places[axis] = within(indices, x.shape[axis])
    return put(x, tuple(places), updates, call.attr("reduction", "none"))


@op("ScatterND")
def scatter_nd(call):
    x, indices, updates = call.inputs
    if traced(*call.inputs):
        return F.scatter_nd(x, indices, updates, reduction_of(call))
    if not indices.ndim or updates.shape != (*indices.shape[:-1], *x.shape[indices.shape[-1] :]):
        raise ValueError(f"updates of shape {updates.shape} for indices {indices.shape} into {x.shape}")
    return put(x, nd_places(indices, x.shape), updates, call.attr("reduction", "none"))


@op("TensorScatter", keeps=True)
def tensor_scatter(call):
    """A cache with `update` written from write_indices on along an axis, round its end in mode
    circular. A sample (first axis) each has its index.
    """
    cache, update = known(call[0], "the cache"), known(call[1], "the update")
    axis, mode = axis_of(call.attr("axis", -2), cache.ndim), call.attr("mode", "linear")
    begin = np.zeros(cache.shape[0], np.int64) if call[2] is None else known(call[2], "write_indices")
    length, size = update.shape[axis], cache.shape[axis]
    if (
        axis == 0
        or begin.shape != cache.shape[:1]
        or update.shape != (*cache.shape[:axis], length, *cache.shape[axis + 1 :])
        or mode not in ("linear", "circular")
    ):
        raise ValueError(
            f"an update of shape {update.shape} at {begin.shape} indices of a cache {cache.shape}, "
            f"mode {mode!r}"
        )
    at = begin[:, None] + np.arange(length)
    if length > size or np.any(begin < 0) or mode == "linear" and np.any(at >= size):
        raise ValueError(f"an update of {length} from {begin.tolist()[:8]} on does not lie within {size}")
    result = cache.copy()
    inner, new = np.moveaxis(result, axis, 1), np.moveaxis(update, axis, 1)
    inner[np.arange(len(at))[:, None], at % max(size, 1)] = new
    return result


@op("OneHot", keeps=True)
def one_hot(call):
    indices, depth, values = call[0], known(call[1], "the depth"), known(call[2], "the values")
    if (
        depth.size != 1
        or values.shape != (2,)
        or not np.isfinite(depth.reshape(-1)[0])
        or depth.reshape(-1)[0] < 0
    ):
        raise ValueError(
            f"depth must be one number that is not negative, values two, got {depth.shape} and {values.shape}"
        )
    depth = int(depth.reshape(-1)[0])
    axis = axis_of(call.attr("axis", -1), rank(indices) + 1)
    shape = (*indices.shape[:axis], depth, *indices.shape[axis:])
    call.room(shape, values.dtype, copies=2)
    count = np.arange(depth).reshape([-1 if i == axis else 1 for i in range(rank(indices) + 1)])
    if traced(indices):
        places = F.unsqueeze(as_type(indices, np.int64), axis)
        return F.where(F.eq(F.where(F.lt(places, 0), F.add(places, depth), places), count), values[1:],
                       values[:1])
    hot = np.expand_dims(np.where(indices < 0, indices + depth, indices), axis) == count
    return np.where(hot, values[1], values[0]).astype(values.dtype, copy=False)


@op("NonZero", keeps=True)
def non_zero(call):
    if traced(call[0]):
        return counted.called(call)
    x = known(call[0], "the operand")
    call.room((x.ndim, x.size), np.int64, copies=2)
    return np.array(np.nonzero(np.atleast_1d(x)), np.int64)[: x.ndim]


@op("Compress", keeps=True)
def compress(call):
    if traced(call[0]) and isinstance(call[1], np.ndarray):
        return chosen(call[0], call[1], call.attr("axis"))
    if traced(call[0], call[1]):
        return counted.called(call)
    x, condition, axis = known(call[0], "the operand"), known(call[1], "the condition"), call.attr("axis")
    if axis is not None:
        axis = axis_of(axis, x.ndim)
    if condition.ndim != 1 or len(condition) > (x.size if axis is None else x.shape[axis]):
        raise ValueError(f"a condition of shape {condition.shape} for {x.shape}, axis {axis}")
    return np.compress(condition, x, axis)


def chosen(x, condition, axis):
    """Entries that a known condition is True for: their number is known, too."""
    x, axis = (F.reshape(x, (-1,)), 0) if axis is None else (x, axis_of(axis, rank(x)))
    if condition.ndim != 1 or len(condition) > x.shape[axis]:
        raise ValueError(f"a condition of shape {condition.shape} for axis {axis} of {tuple(x.shape)}")
    return taken(x, axis, np.flatnonzero(condition))


@op("ReverseSequence", keeps=True)
def reverse_sequence(call):
    x, lengths = known(call[0], "the operand"), known(call[1], "the lengths")
    time, batch = call.attr("time_axis", 0), call.attr("batch_axis", 1)
    if (
        x.ndim < 2
        or {time, batch} != {0, 1}
        or lengths.shape != (x.shape[batch],)
        or np.any((lengths < 0) | (lengths > x.shape[time]))
    ):
        raise ValueError(
            f"lengths of shape {lengths.shape} must be from 0 to axis {time} of {x.shape}, one for "
            f"each of axis {batch}"
        )
    call.work(len(lengths) * PER_NODE // 8)
    y = np.moveaxis(x.copy(), (batch, time), (0, 1))
    for row, length in zip(y, lengths):
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(y, (0, 1), (batch, time))


@op("TopK", keeps=True)
def top_k(call):
    """The greatest (or least) along an axis in order, the first of equal ones first."""
    x = call[0]
    if call.version >= 10 and traced(call[1]) and not specialised(call[1]):
        return counted.called(call)
    axis, count = (
        axis_of(call.attr("axis", -1), rank(x)),
        call.attr("k") if call.version < 10 else call.numbers(1, "k")[0],
    )
    size = x.shape[axis]
    if not 0 <= count <= size:
        raise ValueError(f"k must be from 0 to {size}, the length of axis {axis}, got {count}")
    call.room(x.shape, np.int64, copies=3)
    if traced(x):
        return F.topk(x, count, axis, bool(call.attr("largest", 1)))
    if call.attr("largest", 1):  # by the order of the axis turned round: negation would overflow
        order = size - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    order = sliced(order, {axis: slice(0, count)})
    return np.take_along_axis(x, order, axis), order.astype(np.int64)
