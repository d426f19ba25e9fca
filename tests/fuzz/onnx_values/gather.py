"""Choices by indices and by values."""

from __future__ import annotations

import math

import numpy as np

from .draw import ints, recipe


@recipe("Gather")
def gather(d, op):
    x = d.operand(d.shape(1), d.dtype("f", "i", "b"))
    axis = d.axis(x.ndim)
    size = x.shape[axis]
    where = d.shape(0, 2) if size else (0,)
    d.given(d.n.integers(-size, max(size, 1), where).astype(d.pick(np.int32, np.int64)))
    return {"axis": axis}


@recipe("GatherElements", "ScatterElements")
def elements(d, op):
    x = d.operand(d.shape(1), d.dtype("f", "i"))
    axis = d.axis(x.ndim)
    if op == "GatherElements":
        shape = tuple(d.r.randint(0 if d.chance(0.1) else min(1, s), s) for s in x.shape)
        d.given(
            d.n.integers(-x.shape[axis], max(x.shape[axis], 1), shape)
            if x.shape[axis]
            else np.zeros(shape, np.int64)
        )
        return {"axis": axis}
    reduction = d.pick("none", "add", "mul", "max", "min")
    shape = tuple(d.r.randint(min(1, s), s) for s in x.shape)
    each = np.argsort(d.n.random(x.shape), axis)[tuple(map(slice, shape))]  # no place twice
    d.given(each.astype(np.int64) - (x.shape[axis] if d.chance(0.3) else 0))
    d.operand(shape, x.dtype)
    return {"axis": axis, "reduction": reduction}


@recipe("GatherND")
def gather_nd(d, op):
    x = d.operand(d.shape(1, empty=0), d.dtype("f", "i"))
    batch = d.r.randint(0, x.ndim - 1)
    count = d.r.randint(1, x.ndim - batch)
    lead = (*x.shape[:batch], *d.shape(0, 2))
    places = [d.n.integers(-s, s, lead) for s in x.shape[batch : batch + count]]
    d.given(np.stack(places, -1))
    return {"batch_dims": batch}


@recipe("ScatterND")
def scatter_nd(d, op):
    x = d.operand(d.shape(1, empty=0), d.dtype("f", "i"))
    count = d.r.randint(1, x.ndim)
    flat = d.n.permutation(math.prod(x.shape[:count]))[: d.r.randint(1, 5)]
    places = np.stack(np.unravel_index(flat, x.shape[:count]), -1)
    d.given(places - (np.array(x.shape[:count]) if d.chance(0.3) else 0))
    d.operand((len(places), *x.shape[count:]), x.dtype)
    return {"reduction": d.pick("none", "add", "mul", "max", "min")}


@recipe("OneHot")
def one_hot(d, op):
    depth = d.r.randint(1, 5)
    i = d.given(
        d.n.integers(-depth, depth, d.shape(0, 3)).astype(d.pick(np.int64, np.int32, np.float32)), False
    )
    d.given(d.pick(np.array(depth), np.array([depth], np.int32)))
    d.finite = True  # the reference computes on the two values
    d.operand((2,), d.dtype("f", "i"))
    return {"axis": d.axis(i.ndim + 1)}


@recipe("NonZero", "Size", "Det")
def plain(d, op):
    if op == "Det":
        n = d.r.randint(1, 4)
        d.given(d.n.standard_normal((*d.shape(0, 2), n, n)).astype(d.pick(np.float32, np.float64)), False)
        return {}
    x = d.values(d.shape(1), d.dtype("f", "i", "b"))
    d.given(np.where(d.n.random(x.shape) < 0.5, 0, x).astype(x.dtype), False)
    return {}


@recipe("Shape")
def shape_of(d, op):
    x = d.operand(d.shape(), d.dtype("f", "i"))
    attrs = {"start": d.r.randint(-x.ndim, 6), "end": d.r.randint(-x.ndim, 6)}
    return {k: v for k, v in attrs.items() if d.chance(0.5)} if x.ndim else {}


@recipe("Compress")
def compress(d, op):
    x = d.operand(d.shape(1), d.dtype("f", "i"))
    axis = d.axis(x.ndim) if d.chance(0.6) else None
    most = x.size if axis is None else x.shape[axis]
    d.given(d.n.random(d.r.randint(0, most)) < 0.5)
    return {} if axis is None else {"axis": axis}


@recipe("ReverseSequence")
def reverse(d, op):
    x = d.operand(d.shape(2), d.dtype("f", "i"))
    batch = d.pick(0, 1)
    d.given(d.n.integers(0, x.shape[1 - batch] + 1, x.shape[batch]))
    return {"batch_axis": batch, "time_axis": 1 - batch}


@recipe("TopK")
def top_k(d, op):
    dtype = d.dtype("f", "i")
    x = d.values(d.shape(1), dtype)
    x = d.given(np.nan_to_num(x.astype(float)).astype(dtype) if dtype.kind not in "iu" else x, False)
    axis = d.axis(x.ndim)
    d.given(ints([d.r.randint(0, x.shape[axis])]))
    d.opset, d.outputs = 24, 2
    return {"axis": axis, "largest": d.pick(0, 1)}


@recipe("Unique")
def unique(d, op):
    x = d.given(d.n.integers(0, 4, d.shape(1, empty=0)).astype(d.pick(np.float32, np.int64, np.int8)), False)
    d.outputs = 4
    if x.ndim == 1:
        return {"sorted": d.pick(0, 1)}
    return {
        "sorted": 1,
        **({"axis": d.axis(x.ndim)} if d.chance(0.5) else {}),
    }  # unsorted, the reference takes axis 0
