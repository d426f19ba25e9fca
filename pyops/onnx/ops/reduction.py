"""Reductions, and what runs along an axis."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...ops.order import CUMPROD, CUMSUM
from ...ops.typed import as_type
from ...ops.whole_reduction import ANY_ARGMAX, ANY_ARGMIN, place_of_extreme
from .row import axes_of, axis_of, known, op, rank, real, traced
from .select import sliced


def same(x):
    return x


def of_floats(function):
    """A function of float64: of whole numbers, whose squares may not fit into them."""
    return lambda x, a, k: function(x.astype(np.float64) if x.dtype.kind != "f" else x, a, k)


def l2(x, axes, keep):
    """Scaled by the greatest value, whose square may overflow."""
    most = np.max(np.abs(x), axes, keepdims=True, initial=0)
    most = np.where(np.isfinite(most) & (most > 0), most, 1)
    size = np.sqrt(np.sum(np.square(x / most), axes, keepdims=True)) * most
    return size if keep else np.squeeze(size, axes)


def log_sum_exp(x, axes, keep):
    most = np.max(x, axes, keepdims=True, initial=-np.inf)
    most = np.where(np.isfinite(most), most, 0)
    y = np.log(np.sum(np.exp(x - most), axes, keepdims=True)) + most
    return y if keep else np.squeeze(y, axes)


def extreme(function, least):
    """The greatest (least) of none is the least (greatest) number of the type."""

    def reduce(x, axes, keep):
        bound = (
            least < 0 and x.dtype.kind != "f" and (np.iinfo(x.dtype).min if x.dtype.kind in "iu" else False)
        )
        if least > 0:
            bound = np.iinfo(x.dtype).max if x.dtype.kind in "iu" else True
        return function(
            x, axes, keepdims=keep, **({} if x.size else {"initial": least if x.dtype.kind == "f" else bound})
        )

    return reduce


# op -> ours, NumPy's, both of (x, axes, keepdims); and ours and NumPy's of one value alone
REDUCTIONS = {
    "ReduceSum": (F.sum, lambda x, a, k: np.sum(x, a, keepdims=k), same, same),
    "ReduceMean": (F.mean, lambda x, a, k: np.mean(x, a, keepdims=k), same, same),
    "ReduceMax": (F.amax, extreme(np.max, -np.inf), same, same),
    "ReduceMin": (F.amin, extreme(np.min, np.inf), same, same),
    "ReduceProd": (None, lambda x, a, k: np.prod(x, a, keepdims=k), same, same),
    "ReduceSumSquare": (
        lambda x, a, k: F.sum(F.square(x), a, k),
        lambda x, a, k: np.sum(np.square(x), a, keepdims=k),
        F.square,
        np.square,
    ),
    "ReduceL1": (
        lambda x, a, k: F.sum(F.abs(x), a, k),
        lambda x, a, k: np.sum(np.abs(x), a, keepdims=k),
        F.abs,
        np.abs,
    ),
    "ReduceL2": (lambda x, a, k: F.vector_norm(x, 2, a, k), of_floats(l2), F.abs, np.abs),
    "ReduceLogSum": (
        lambda x, a, k: F.log(F.sum(x, a, k)),
        of_floats(lambda x, a, k: np.log(np.sum(x, a, keepdims=k))),
        F.log,
        np.log,
    ),
    "ReduceLogSumExp": (F.logsumexp, of_floats(log_sum_exp), same, same),
}


def reduction(ours, numpys, our_one, numpys_one):
    def row(call):
        x, axes, keep = call[0], call.numbers(1, "axes"), bool(call.attr("keepdims", 1))
        call.room(x.shape, np.float64, copies=2)
        if not axes and call.attr("noop_with_empty_axes", 0):
            return our_one(x) if real(x) else like(numpys_one(x), x)
        axes = axes_of(axes or range(rank(x)), rank(x))
        if traced(x) and 0 in x.shape:
            x = np.zeros(x.shape, x.dtype)  # its numbers are known: it has none
        if traced(x) and np.dtype(x.dtype).kind in "iub" and ours in (F.sum, F.amax, F.amin, None):
            return as_type((ours or product)(x, axes, keep), x.dtype)
        if real(x) and axes and 0 not in x.shape:
            if ours is not None:
                return ours(x, axes, keep)
            return product(x, axes, keep)
        with np.errstate(divide="ignore", invalid="ignore"):
            return like(numpys(known(x, "the operand"), axes, keep), x)

    return row


def like(result, x):
    return np.asarray(result).astype(x.dtype, copy=False)


def product(x, axes, keep):
    """F.prod takes one axis, or all."""
    for axis in sorted(axes, reverse=True):
        x = F.prod(x, axis, keep)
    return x


for _name, _functions in REDUCTIONS.items():
    op(_name)(reduction(*_functions))


@op("ArgMax", "ArgMin")
def arg(call):
    x, axis = call[0], axis_of(call.attr("axis", 0), rank(call[0]))
    if traced(x):
        row, last = (ANY_ARGMAX if call.node.op == "ArgMax"
                     else ANY_ARGMIN), bool(call.attr("select_last_index", 0))
        return place_of_extreme(row, x, axis, bool(call.attr("keepdims", 1)), last)
    find = np.argmax if call.node.op == "ArgMax" else np.argmin
    found = (
        x.shape[axis] - 1 - find(np.flip(x, axis), axis)
        if call.attr("select_last_index", 0)
        else find(x, axis)
    )
    return np.asarray(np.expand_dims(found, axis) if call.attr("keepdims", 1) else found, np.int64)


@op("CumSum", "CumProd")
def cumulative(call):
    x, axis = call[0], axis_of(call.number(1, "the axis"), rank(call[0]))
    if traced(x):
        row = CUMSUM if call.node.op == "CumSum" else CUMPROD
        return row(x, dim=axis, exclusive=bool(call.attr("exclusive", 0)),
                   reverse=bool(call.attr("reverse", 0)))
    call.room(x.shape, x.dtype, copies=3)
    function, start = (np.cumsum, 0) if call.node.op == "CumSum" else (np.cumprod, 1)
    x = np.flip(x, axis) if call.attr("reverse", 0) else x
    y = function(x, axis, dtype=x.dtype)
    if call.attr("exclusive", 0) and x.shape[axis]:
        y = np.concatenate(
            [np.full_like(sliced(y, {axis: slice(0, 1)}), start), sliced(y, {axis: slice(0, -1)})], axis
        )
    return np.flip(y, axis) if call.attr("reverse", 0) else y


def rows_of(call):
    """The shape and axis that operators along one axis work on: before operator set 13, all axes
    from `axis` on as one.
    """
    x = call[0]
    if call.version >= 13:
        return tuple(x.shape), axis_of(call.attr("axis", -1), rank(x))
    axis = call.attr("axis", 1)
    axis = rank(x) if axis == rank(x) else axis_of(axis, rank(x))
    return (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), 1


@op("Softmax", "LogSoftmax")
def softmax(call):
    x, (shape, axis) = call[0], rows_of(call)
    if 0 in x.shape:
        return x
    function = F.softmax if call.node.op == "Softmax" else F.log_softmax
    return (
        F.reshape(function(F.reshape(x, shape), axis), tuple(x.shape))
        if shape != tuple(x.shape)
        else function(x, axis)
    )


@op("Hardmax")
def hardmax(call):
    x, (shape, axis) = call[0], rows_of(call)
    if 0 in x.shape:
        return x
    if traced(x):
        flat = F.reshape(x, shape)
        first = place_of_extreme(ANY_ARGMAX, flat, axis, True)
        places = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        return F.reshape(as_type(F.eq(first, places), x.dtype), tuple(x.shape))
    y = np.zeros(shape, x.dtype)
    np.put_along_axis(y, np.expand_dims(np.argmax(x.reshape(shape), axis), axis), 1, axis)
    return y.reshape(x.shape)
