"""Reductions, and what runs along an axis."""
from __future__ import annotations

import numpy as np

from ... import functional as F
from .row import known, op, rank, real


def log_of(function):
    return lambda x, axes, keep: np.log(function(x, axes, keep))


REDUCTIONS = {   # op -> ours or None, NumPy's; of (x, axes, keepdims)
    "ReduceSum": (F.sum, lambda x, a, k: np.sum(x, a, keepdims=k)), "ReduceMean": (F.mean, lambda x, a, k: np.mean(x, a, keepdims=k)),
    "ReduceMax": (F.amax, lambda x, a, k: np.max(x, a, keepdims=k, initial=False if x.dtype == bool else None if x.size else lowest(x))),
    "ReduceMin": (F.amin, lambda x, a, k: np.min(x, a, keepdims=k, initial=True if x.dtype == bool else None if x.size else highest(x))),
    "ReduceProd": (None, lambda x, a, k: np.prod(x, a, keepdims=k)),
    "ReduceSumSquare": (lambda x, a, k: F.sum(F.square(x), a, k), lambda x, a, k: np.sum(np.square(x), a, keepdims=k)),
    "ReduceL1": (lambda x, a, k: F.sum(F.abs(x), a, k), lambda x, a, k: np.sum(np.abs(x), a, keepdims=k)),
    "ReduceL2": (lambda x, a, k: F.sqrt(F.sum(F.square(x), a, k)), lambda x, a, k: np.sqrt(np.sum(np.square(x), a, keepdims=k))),
    "ReduceLogSum": (lambda x, a, k: F.log(F.sum(x, a, k)), log_of(lambda x, a, k: np.sum(x, a, keepdims=k))),
    "ReduceLogSumExp": (F.logsumexp, log_of(lambda x, a, k: np.sum(np.exp(x), a, keepdims=k))),
}


def lowest(x):
    return -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min


def highest(x):
    return np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).max


def reduction(ours, numpys):
    def row(call):
        x, axes, keep = call[0], call.numbers(1, "axes"), bool(call.attr("keepdims", 1))
        if not axes:
            if call.attr("noop_with_empty_axes", 0):
                axes = []   # of each element alone: what the op does to one value remains
            else:
                axes = range(rank(x))
        axes = tuple(a % max(rank(x), 1) for a in axes)
        if ours is not None and real(x) and axes and 0 not in x.shape:
            return ours(x, axes, keep)
        with np.errstate(divide="ignore"):
            return np.asarray(numpys(known(x, "the operand"), axes, keep)).astype(x.dtype)
    return row


for _name, (_ours, _numpys) in REDUCTIONS.items():
    op(_name)(reduction(_ours, _numpys))


@op("ArgMax", "ArgMin")
def arg(call):
    x, axis = known(call[0], "the operand"), call.attr("axis", 0)
    find = np.argmax if call.node.op == "ArgMax" else np.argmin
    found = x.shape[axis] - 1 - find(np.flip(x, axis), axis) if call.attr("select_last_index", 0) else find(x, axis)
    return np.asarray(np.expand_dims(found, axis) if call.attr("keepdims", 1) else found, np.int64)


@op("CumSum", "CumProd")
def cumulative(call):
    x, axis = known(call[0], "the operand"), int(known(call[1], "the axis").reshape(-1)[0])
    function, start = (np.cumsum, 0) if call.node.op == "CumSum" else (np.cumprod, 1)
    x = np.flip(x, axis) if call.attr("reverse", 0) else x
    y = function(x, axis, dtype=x.dtype)
    if call.attr("exclusive", 0):
        y = np.concatenate([np.full_like(np.take(y, [0], axis), start), np.take(y, range(x.shape[axis] - 1), axis)], axis)
    return np.flip(y, axis) if call.attr("reverse", 0) else y


@op("Softmax", "LogSoftmax")
def softmax(call):
    function = F.softmax if call.node.op == "Softmax" else F.log_softmax
    x = call[0]
    narrow = not real(x)
    x = x.astype(np.float32) if narrow else x
    if call.version >= 13:
        y = function(x, call.attr("axis", -1))
    else:   # over all axes from `axis` on
        axis = call.attr("axis", 1) % rank(x)
        y = F.reshape(function(F.reshape(x, (*x.shape[:axis], -1)), -1), tuple(x.shape))
    return y.astype(call[0].dtype) if narrow else y


@op("Hardmax")
def hardmax(call):
    x = known(call[0], "the operand")
    axis = call.attr("axis", -1 if call.version >= 13 else 1)
    flat = x if call.version >= 13 else x.reshape(*x.shape[:axis], -1)
    axis = axis if call.version >= 13 else -1
    return (np.arange(flat.shape[axis]).reshape([-1 if i == axis % flat.ndim else 1 for i in range(flat.ndim)])
            == np.expand_dims(np.argmax(flat, axis), axis)).astype(x.dtype).reshape(x.shape)
