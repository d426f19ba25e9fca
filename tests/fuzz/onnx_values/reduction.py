"""Reductions, and what normalises along an axis."""

from __future__ import annotations

import numpy as np

from .draw import FLOATS, ints, recipe

REDUCTIONS = [
    f"Reduce{of}"
    for of in ("Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L1", "L2", "LogSum", "LogSumExp")
]


@recipe(*REDUCTIONS)
def reduction(d, op):
    dtype = d.pick(*FLOATS, np.dtype("int32"), np.dtype("int64"))
    if dtype.kind == "i" and op in ("ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceL2"):
        dtype = np.dtype("float32")
    d.finite = op == "ReduceLogSumExp"
    x = d.values(d.shape(), dtype)
    d.given(
        np.abs(x) if op == "ReduceLogSum" else np.clip(x, -9, 9) if dtype.kind == "i" else x, d.chance(0.2)
    )
    n, attrs = x.ndim, {"keepdims": d.pick(0, 1)}
    axes = None if d.chance(0.2) else [a - n * d.pick(0, 1) for a in d.r.sample(range(n), d.r.randint(0, n))]
    d.opset = d.pick(18, 20, 21) if d.chance(0.8) else 13
    if d.opset < 18 and op != "ReduceSum":
        return {**attrs, **({"axes": axes} if axes else {})}
    if axes is not None:
        d.given(ints(axes))
    return {**attrs, "noop_with_empty_axes": d.pick(0, 1)}


@recipe("ArgMax", "ArgMin")
def arg(d, op):
    x = d.operand(d.shape(1), d.dtype("f", "i"))
    return {"axis": d.axis(x.ndim), "keepdims": d.pick(0, 1), "select_last_index": d.pick(0, 1)}


@recipe("CumSum")
def cumulative(d, op):
    x = d.operand(d.shape(1), d.pick(*FLOATS[:4], np.dtype("int32"), np.dtype("int64")))
    d.given(np.array(d.axis(x.ndim), d.pick(np.int32, np.int64)))
    return {"exclusive": d.pick(0, 1), "reverse": d.pick(0, 1)}


@recipe("Softmax", "LogSoftmax", "Hardmax")
def softmax(d, op):
    x = d.operand(d.shape(1), d.dtype("f"))
    d.opset = d.pick(13, 21)
    return {"axis": d.axis(x.ndim)}
