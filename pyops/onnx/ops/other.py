"""Operators of no family."""

from __future__ import annotations

import numpy as np

from . import counted
from .row import Unsupported, axis_of, dtype_of, known, op, traced


@op("RandomUniformLike", "RandomNormalLike", "Bernoulli", "Multinomial", "RandomUniform", "RandomNormal")
def random(call):
    raise Unsupported("its results are random")


@op("BitCast", keeps=True)
def bit_cast(call):
    x, to = known(call[0], "the operand"), dtype_of(call.attr("to"))
    if np.dtype(object) in (to, x.dtype) or to.itemsize != x.dtype.itemsize:
        raise ValueError(f"{x.dtype} and {to} are not as wide")
    return np.ascontiguousarray(x).view(to).reshape(x.shape)


@op("Unique", keeps=True)
def unique(call):
    if traced(call[0]) and call.attr("axis") is None and call[0].size:
        return counted.called(call)
    x, axis = known(call[0], "the operand"), call.attr("axis")
    axis = None if axis is None else axis_of(axis, x.ndim)
    call.room(x.shape, np.int64, copies=4)
    values, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not call.attr("sorted", 1):
        order = np.argsort(first)
        rank = np.argsort(order)
        values, first, inverse, counts = (
            np.take(values, order, 0 if axis is None else axis),
            first[order],
            rank[inverse],
            counts[order],
        )
    return values, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)
