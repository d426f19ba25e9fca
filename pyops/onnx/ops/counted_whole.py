"""What is made of all entries of an axis whose length depends on data (counted.py), and what makes such
a length."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ... import functional as F
from ...graph.counted import Counted, begin, mark, same_number, shared
from ...ops.gather import TAKE
from ...ops.places import NONZERO
from ...ops.typed import as_type
from ..limits import short
from .counted import cut, filled, plain, same_length, takes
from .lengths import entries, origin, upper
from .row import OPS, Unsupported, axes_of, axis_of, rank, traced

INT = np.dtype(np.int64)
NEUTRAL = {"ReduceSum": 0, "ReduceL1": 0, "ReduceL2": 0, "ReduceSumSquare": 0, "ReduceProd": 1, "ReduceMean": 0,
           "ReduceLogSum": 0, "ReduceMax": -1, "ReduceMin": 1, "ReduceLogSumExp": -1}


def extreme(dtype, sign: int):
    """The greatest or the least that a type has."""
    if dtype.kind == "f":
        return sign * math.inf
    if dtype.kind == "b":
        return sign > 0
    return np.iinfo(dtype).max if sign > 0 else np.iinfo(dtype).min


@takes(*NEUTRAL)
def reduce(call):
    x, axes, keep = call[0], call.numbers(1, "axes"), bool(call.attr("keepdims", 1))
    if not axes and call.attr("noop_with_empty_axes", 0):
        return cut(plain(call), x, x.axis)
    axes = axes_of(axes or range(rank(x)), rank(x))
    if x.axis not in axes:
        return cut(plain(call), x, x.axis if keep else x.axis - sum(a < x.axis for a in axes))
    number = NEUTRAL[call.node.op]
    if call.node.op in ("ReduceMax", "ReduceMin", "ReduceLogSumExp"):
        number = extreme(x.dtype, number)
    found = plain(call, [filled(x, number), *call.inputs[1:]])
    if call.node.op != "ReduceMean":
        return found
    if x.dtype.kind != "f":
        raise Unsupported("the mean of whole numbers whose count depends on data")
    return F.mul(found, F.div(np.asarray(x.bound, x.dtype), as_type(x.count, x.dtype)))


@takes("ArgMax", "ArgMin")
def place_of_extreme(call):
    x = call[0]
    axis = axis_of(call.attr("axis", 0), rank(x))
    keep = call.attr("keepdims", 1)
    if x.axis != axis:
        return cut(plain(call), x, x.axis if keep else x.axis - (axis < x.axis))
    if call.attr("select_last_index", 0):
        raise Unsupported("the last of equal values, whose number depends on data")
    return plain(call, [filled(x, extreme(x.dtype, -1 if call.node.op == "ArgMax" else 1))])


@takes("TopK")
def top_k(call):
    x, k, largest = call[0], call[1], bool(call.attr("largest", 1))
    axis = axis_of(call.attr("axis", -1), rank(x))
    if isinstance(x, Counted) and x.axis != axis:
        return cut(plain(call), x, x.axis)
    own = isinstance(x, Counted)
    values = filled(x, extreme(x.dtype, -1 if largest else 1)) if own else x
    room = values.shape[axis]
    if traced(k):
        k = F.reshape(as_type(k, INT), ())
    else:
        k = np.asarray(call.numbers(1, "k")[0], INT)
        room = min(room, int(k))
    best, places = F.topk(values, room, axis, largest)
    total = x.count if own else np.asarray(x.shape[axis], INT)
    # more than there are is an error of the run
    index = F.where(F.gt(k, total), np.asarray(room, INT), np.arange(room))
    best, places = (TAKE(v, index, dim=axis, wrap=False) if room else v for v in (best, places))
    return (Counted(best, axis, k), Counted(places, axis, k)) if traced(k) else (best, places)


# ---- what begins such a length

def found(x):
    """(places, count) of what is not 0."""
    if isinstance(x, Counted):
        return shared(("nonzero", x.values, x.count), lambda: NONZERO(filled(x, 0)))
    return shared(("nonzero", x), lambda: NONZERO(x)) if traced(x) else NONZERO(x)


@takes("NonZero")
def non_zero(call):
    x = call[0]
    shape = tuple(x.shape)
    places, count = found(x)
    since, places = begin(), F.reshape(places, (-1, 1))
    columns = [F.remainder(F.floor_divide(places, max(1, math.prod(shape[a + 1 :]))), max(1, n))
               for a, n in enumerate(shape)]
    if not columns:
        return Counted(F.getitem(F.permute(places, (1, 0)), (slice(0, 0),)), 1, count)
    rows = F.cat(columns, 1)   # place by place, so that as many are made as there are
    mark(Counted(rows, 0, count), since, range(2, 3))
    return Counted(F.permute(rows, (1, 0)), 1, count)


@takes("Compress")
def compress(call):
    x, condition, axis = call[0], call[1], call.attr("axis")
    if isinstance(x, Counted) and (axis is None or x.axis != axis_of(axis, rank(x))):
        raise Unsupported("makes two lengths that depend on data")
    values = x.values if isinstance(x, Counted) else x
    if axis is None:
        values, axis = F.reshape(values, (-1,)), 0
    axis = axis_of(axis, rank(values))
    if rank(condition) != 1 or condition.shape[0] > values.shape[axis]:
        raise ValueError(f"a condition of shape {short(condition.shape)} for {short(values.shape)}, axis {axis}")
    places, count = found(condition)
    if not values.shape[axis]:
        return Counted(F.getitem(values, (slice(None),) * axis + (slice(0, 0),)), axis, count)
    return Counted(TAKE(values, places, dim=axis, wrap=False), axis, count)


@takes("NonMaxSuppression")
def suppress(call):
    """Of as many boxes as were found."""
    boxes, scores = call[0], call[1]
    if not (isinstance(boxes, Counted) and isinstance(scores, Counted) and boxes.axis == 1 and scores.axis == 2
            and same_length([boxes, scores])):
        raise Unsupported("takes lengths that depend on data as the number of boxes alone")
    least = np.asarray([np.finfo(np.float32).min], np.float32) if call[4] is None else call[4]
    given = [boxes.values, filled(scores, -math.inf), *(call[i] for i in (2, 3)), least]
    return OPS["NonMaxSuppression"](replace(call, inputs=given))


def length_of(value, what: str):
    """(one traced length, the most that it can be)"""
    (most,) = upper(value)
    if most == math.inf:
        raise Unsupported(f"nobody knows how large {what} can be")
    count = origin(value)
    if count is None:
        count = F.maximum(F.reshape(as_type(value, INT), ()), np.asarray(0, INT))
    return count, max(int(most), 0)


@takes("ConstantOfShape", "Expand")
def of_lengths(call):
    """An array of a shape in which one length is a run's."""
    to = call[0] if call.node.op == "ConstantOfShape" else call[1]
    if isinstance(to, Counted):
        raise Unsupported("how many axes it makes depends on data")
    if not traced(to):
        return expanded(call)
    known, most = entries(to), upper(to)
    if known.count(None) != 1:
        raise Unsupported("makes several lengths that depend on data")
    axis = known.index(None)
    room = [m if n is None else n for n, m in zip(known, most)]
    if room[axis] == math.inf:
        raise Unsupported("nobody knows how large a length can be")
    count, room[axis] = length_of(F.getitem(to, (slice(axis, axis + 1),)), "it")
    if call.node.op == "ConstantOfShape":
        return lifted(OPS["ConstantOfShape"](replace(call, inputs=[np.array(room, INT)])), axis, count)
    x = call[0]
    at = rank(x) - len(room) + axis
    same = isinstance(x, Counted) and x.axis == at and x.bound == room[axis] and same_number(x.count, count)
    if not same and (isinstance(x, Counted) or at >= 0 and x.shape[at] != 1):
        raise Unsupported(f"an axis of {'another length' if isinstance(x, Counted) else x.shape[at]} is expanded to "
                          "one whose length depends on data")
    made = plain(call, [x.values if same else x, np.array(room, INT)])
    return lifted(made, axis + max(0, rank(x) - len(room)), count)


def expanded(call):
    """A value whose length depends on data, along its other axes."""
    x, to = call[0], call.numbers(1, "shape")
    axis = x.axis + max(0, len(to) - rank(x))
    at = x.axis - rank(x) + len(to)
    if at >= 0 and to[at] != 1:
        raise Unsupported(f"an axis whose length depends on data is expanded to {to[at]}")
    return cut(plain(call), x, axis)


def lifted(values, axis: int, count) -> Counted:
    """Values that are known, as many as the count says and 0 behind."""
    made = Counted(values, axis, count)
    return made if traced(values) else Counted(filled(made, 0), axis, count)


@takes("Range")
def range_of(call):
    """0, 1, ... up to a number of the run; from any such number in any such steps."""
    start, step = call.number(0, "the start"), call.number(2, "the step")
    if step <= 0 or start < 0 or not isinstance(start, int) or not isinstance(step, int):
        raise Unsupported("counts backwards, or in parts, to a number of the run")
    limit = call[1]
    length, most = length_of(limit, "the limit")
    if start:
        length, most = F.maximum(F.sub(length, start), np.asarray(0, INT)), max(most - start, 0)
    count = length if step == 1 else F.floor_divide(F.add(length, step - 1), step)
    values = (start + step * np.arange(-(-most // step))).astype(limit.dtype)
    return lifted(values, 0, count)


@takes("Unique")
def unique(call):
    """In order, or as they come: values, where each is first, which each entry is, and how often."""
    x = call[0]
    if isinstance(x, Counted) or call.attr("axis") is not None:
        raise Unsupported("of slices, or of a length that depends on data")
    n = x.size
    values, order = F.topk(F.reshape(x, (-1,)), n, 0, False)
    before, after = F.getitem(values, (slice(0, n - 1),)), F.getitem(values, (slice(1, n),))
    new = F.ne(after, before)
    if np.dtype(x.dtype).kind == "f":   # what is no number is one value
        new = F.logical_and(new, F.logical_not(F.logical_and(F.isnan(after), F.isnan(before))))
    begins = F.cat([F.ge(F.getitem(order, (slice(0, 1),)), 0), new], 0)
    group = F.sub(F.cumsum(as_type(begins, INT), 0), 1)
    none = F.mul(order, 0)
    places, count = found(begins)
    inverse = F.scatter(none, 0, order, group)
    results = [TAKE(values, places, dim=0, wrap=False), TAKE(order, places, dim=0, wrap=False),
               F.scatter_add(none, 0, group, np.ones(n, INT))]
    if not call.attr("sorted", 1):
        first = F.where(F.lt(np.arange(n), count), results[1], np.asarray(n, INT))
        _, turned = F.topk(first, n, 0, False)
        results = [TAKE(v, turned, dim=0, wrap=False) for v in results]
        inverse = TAKE(F.scatter(none, 0, turned, np.arange(n)), inverse, dim=0, wrap=False)
    values, first, times = (Counted(v, 0, count) for v in results)
    return values, first, inverse, times
