"""Operators of no family."""
from __future__ import annotations

import numpy as np

from .row import Unsupported, known, op


@op("RandomUniformLike", "RandomNormalLike", "Bernoulli", "Multinomial", "RandomUniform", "RandomNormal")
def random(call):
    raise Unsupported("its results are random")


@op("BitCast")
def bit_cast(call):
    from onnx import helper
    return known(call[0], "the operand").view(helper.tensor_dtype_to_np_dtype(call.attr("to")))


@op("Unique")
def unique(call):
    x, axis = known(call[0], "the operand"), call.attr("axis")
    values, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not call.attr("sorted", 1):
        order = np.argsort(first)
        rank = np.argsort(order)
        values, first, inverse, counts = np.take(values, order, 0 if axis is None else axis), first[order], rank[inverse], counts[order]
    return values, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)
