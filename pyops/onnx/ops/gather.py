"""Operators that take or put values by index: NumPy's, for indices are whole numbers; constant ones can be compiled by Gather."""
from __future__ import annotations

import numpy as np

from ... import functional as F
from .row import known, op, rank, traced


@op("Gather")
def gather(call):
    x, axis = call[0], call.attr("axis", 0)
    indices = known(call[1], "the indices")
    axis %= rank(x)
    if np.any((indices < -x.shape[axis]) | (indices >= x.shape[axis])):
        raise IndexError(f"indices must be in [{-x.shape[axis]}, {x.shape[axis]}), got {indices.min()} to {indices.max()}")
    if not traced(x):
        return np.take(x, indices, axis)
    place = [slice(None)] * rank(x)
    parts = []
    for i in indices.reshape(-1) % x.shape[axis]:
        place[axis] = slice(int(i), int(i) + 1)
        parts.append(F.getitem(x, tuple(place)))
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1:])
    return F.reshape(F.cat(parts, axis) if len(parts) > 1 else parts[0], shape)


@op("GatherElements")
def gather_elements(call):
    x, indices, axis = known(call[0], "the data"), known(call[1], "the indices"), call.attr("axis", 0)
    return np.take_along_axis(x[tuple(slice(n) if i != axis % x.ndim else slice(None) for i, n in enumerate(indices.shape))], indices, axis)


@op("GatherND")
def gather_nd(call):
    x, indices, batch = known(call[0], "the data"), known(call[1], "the indices"), call.attr("batch_dims", 0)
    lead = x.shape[:batch]
    flat, places = x.reshape(-1, *x.shape[batch:]), indices.reshape(-1, *indices.shape[batch:])
    out = np.stack([a[tuple(np.moveaxis(i, -1, 0))] for a, i in zip(flat, places)])
    return out.reshape(*lead, *out.shape[1:])


REDUCE = {"none": None, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def put(x, places, updates, reduction):
    y = x.copy()
    if REDUCE[reduction] is None:
        y[places] = updates
    else:
        REDUCE[reduction].at(y, places, updates)
    return y


@op("ScatterElements", "Scatter")
def scatter_elements(call):
    x, indices, updates = (known(v, "an operand") for v in call.inputs)
    places = list(np.indices(indices.shape))
    places[call.attr("axis", 0)] = indices
    return put(x, tuple(places), updates, call.attr("reduction", "none"))


@op("ScatterND")
def scatter_nd(call):
    x, indices, updates = (known(v, "an operand") for v in call.inputs)
    return put(x, tuple(np.moveaxis(indices, -1, 0)), updates, call.attr("reduction", "none"))


@op("OneHot")
def one_hot(call):
    indices, depth, values = (known(v, "an operand") for v in call.inputs)
    depth = int(depth.reshape(-1)[0])
    axis = call.attr("axis", -1) % (indices.ndim + 1)
    hot = np.expand_dims(np.where(indices < 0, indices + depth, indices), axis) == np.arange(depth).reshape([-1 if i == axis else 1 for i in range(indices.ndim + 1)])
    return np.where(hot, values[1], values[0]).astype(values.dtype)


@op("NonZero")
def non_zero(call):
    return np.array(np.nonzero(known(call[0], "the operand")), np.int64)


@op("Compress")
def compress(call):
    return np.compress(known(call[1], "the condition"), known(call[0], "the operand"), call.attr("axis"))


@op("ReverseSequence")
def reverse_sequence(call):
    x, lengths = known(call[0], "the operand"), known(call[1], "the lengths")
    time, batch = call.attr("time_axis", 0), call.attr("batch_axis", 1)
    y = np.moveaxis(x.copy(), (batch, time), (0, 1))
    for row, length in zip(y, lengths):
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(y, (0, 1), (batch, time))


@op("TopK")
def top_k(call):
    x, axis, count = known(call[0], "the operand"), call.attr("axis", -1), int(known(call[1], "k").reshape(-1)[0]) if call[1] is not None else call.attr("k")
    keys = -x if call.attr("largest", 1) and x.dtype.kind != "u" else x if not call.attr("largest", 1) else x.max(initial=0) - x
    order = np.take(np.argsort(keys, axis, kind="stable"), np.arange(count), axis)
    return np.take_along_axis(x, order, axis), order.astype(np.int64)
