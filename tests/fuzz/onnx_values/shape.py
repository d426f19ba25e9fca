"""Operators that move values and compute none."""

from __future__ import annotations

import numpy as np
from onnx import helper, numpy_helper

from .draw import ints, recipe


@recipe("Reshape")
def reshape(d, op):
    x = d.operand(d.shape(), d.dtype("f", "i", "b"))
    to, allow = list(x.shape), d.pick(0, 1) if d.chance(0.2) else 0
    d.r.shuffle(to)
    if len(to) > 1 and d.chance(0.5):
        to[:2] = [to[0] * to[1]]
    if to and 0 not in to and d.chance(0.5):
        to[d.r.randrange(len(to))] = -1
    elif not allow and d.chance(0.5):
        to = [0] * x.ndim
    d.given(ints(to))
    return {"allowzero": allow}


@recipe("Flatten")
def flatten(d, op):
    x = d.operand(d.shape(0), d.dtype("f", "i"))
    return {"axis": d.r.randint(-x.ndim, x.ndim)}


@recipe("Squeeze", "Unsqueeze")
def squeezes(d, op):
    shape = tuple(1 if d.chance(0.4) else s for s in d.shape())
    x = d.operand(shape, d.dtype("f", "i", "b"))
    if op == "Squeeze":
        ones = [i for i, s in enumerate(shape) if s == 1]
        if d.chance(0.8):
            d.given(ints(a - x.ndim * d.pick(0, 1) for a in d.r.sample(ones, d.r.randint(0, len(ones)))))
        return {}
    n = x.ndim + d.r.randint(1, 2)
    d.given(ints(a - n * d.pick(0, 1) for a in d.r.sample(range(n), n - x.ndim)))
    return {}


@recipe("Transpose")
def transpose(d, op):
    x = d.operand(d.shape(), d.dtype("f", "i", "b"))
    return {"perm": d.r.sample(range(x.ndim), x.ndim)} if x.ndim and d.chance(0.8) else {}


@recipe("Concat")
def concat(d, op):
    shape, dtype = d.shape(1), d.dtype("f", "i", "b")
    axis = d.axis(len(shape))
    for _ in range(d.r.randint(1, 4)):
        part = list(shape)
        part[axis] = d.r.randint(0 if d.chance(0.2) else 1, 20 if d.chance(0.1) else 4)
        d.operand(part, dtype)
    return {"axis": axis}


@recipe("Split")
def split(d, op):
    x = d.operand(d.shape(1, longest=9), d.dtype("f", "i", "b"))
    axis = d.axis(x.ndim)
    d.outputs = d.r.randint(1, 4)
    if d.chance(0.5):
        cuts = sorted(d.r.randint(0, x.shape[axis]) for _ in range(d.outputs - 1))
        d.given(np.diff(ints([0, *cuts, x.shape[axis]])))
        return {"axis": axis}
    return {"axis": axis, "num_outputs": d.outputs}


@recipe("Slice")
def slice_of(d, op):
    x = d.operand(d.shape(1, longest=9), d.dtype("f", "i", "b"))
    count = d.r.randint(1, x.ndim)
    axes = d.r.sample(range(x.ndim), count)
    far = [-(2**63), 2**63 - 1, -20, 20]
    d.given(ints(d.pick(*range(-9, 10), *far) for _ in axes))
    d.given(ints(d.pick(*range(-9, 10), *far) for _ in axes))
    d.given(ints(a - x.ndim * d.pick(0, 1) for a in axes))
    d.given(ints(d.pick(1, 1, 2, 3, -1, -2, 2**62, -(2**62)) for _ in axes))
    return {}


@recipe("Expand")
def expand(d, op):
    shape = d.shape()
    d.operand(d.broadcasting(shape), d.dtype("f", "i", "b"))
    d.given(ints(1 if d.chance(0.2) and s != 0 else s for s in shape))
    return {}


@recipe("Tile")
def tile(d, op):
    x = d.operand(d.shape(), d.dtype("f", "i", "b"))
    d.given(ints(d.pick(0, 1, 1, 2, 3) if d.chance(0.9) else 1 for _ in x.shape))
    return {}


@recipe("Pad")
def pad(d, op):
    mode = d.pick("constant", "reflect", "edge", "wrap")
    x = d.operand(d.shape(1, empty=0.08 if mode == "constant" else 0, longest=6), d.dtype("f", "i"))
    axes = d.r.sample(range(x.ndim), d.r.randint(1, x.ndim)) if d.chance(0.5) else list(range(x.ndim))
    around = []
    for _ in (0, 1):
        around += [d.pick(0, 0, 1, 2, 3, -1) if x.shape[a] > 2 else d.pick(0, 1, 2) for a in axes]
    d.given(ints(around))
    value = mode == "constant" and d.chance(0.5)
    d.given(np.array(d.pick(0, 1, 7), x.dtype)) if value else d.absent()
    if axes != list(range(x.ndim)) or d.chance(0.2):
        d.given(ints(a - x.ndim * d.pick(0, 1) for a in axes))
    elif not value:
        d.names.pop()
    return {"mode": mode}


@recipe("DepthToSpace", "SpaceToDepth")
def blocks(d, op):
    b, (n, c, h, w) = d.pick(1, 2, 3), (d.r.randint(0 if d.chance(0.1) else 1, 3) for _ in range(4))
    d.operand((n, c * b * b, h, w) if op == "DepthToSpace" else (n, c, h * b, w * b), d.dtype("f", "i"))
    return {"blocksize": b, **({"mode": d.pick("DCR", "CRD")} if op == "DepthToSpace" else {})}


@recipe("Trilu")
def trilu(d, op):
    d.operand(d.shape(2), d.dtype("f", "i", "b"))
    if d.chance(0.7):
        d.given(np.array(d.r.randint(-7, 7)))
    return {"upper": d.pick(0, 1)}


@recipe("EyeLike")
def eye_like(d, op):
    d.operand(d.shape(2, 2), d.dtype("f", "i"))
    to = d.dtype("f", "i")
    return {
        "k": d.r.randint(-7, 7),
        **({"dtype": helper.np_dtype_to_tensor_dtype(to)} if d.chance(0.5) else {}),
    }


@recipe("Range")
def range_of(d, op):
    dtype = np.dtype(d.pick("float32", "float64", "int32", "int64", "int16"))
    for v in (d.r.randint(-5, 5), d.r.randint(-5, 9), d.pick(1, 2, 3, -1, -2)):
        d.given(np.array(v, dtype))
    return {}


@recipe("ConstantOfShape")
def constant_of_shape(d, op):
    d.given(ints(d.shape()))
    value = d.values((1,), d.dtype("f", "i", "b"))
    return {"value": numpy_helper.from_array(value)} if d.chance(0.8) else {}
