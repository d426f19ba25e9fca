"""Operators that move values and compute none."""
from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from .row import Unsupported, known, op, rank, traced

LARGEST = 1 << 31   # bytes of one constant that a few numbers in a file may ask for


def sized(shape, dtype):
    if math.prod(shape) * np.dtype(dtype).itemsize > LARGEST:
        raise ValueError(f"a constant of shape {tuple(shape)} is larger than {LARGEST} bytes")
    return tuple(int(s) for s in shape)


@op("Constant")
def constant(call):
    for name, value in call.node.attrs.items():
        if name == "value":
            return np.asarray(value)
        if name.startswith("value_"):
            kind = {"float": np.float32, "floats": np.float32, "int": np.int64, "ints": np.int64}.get(name[6:])
            if kind is None:
                raise Unsupported(f"attribute {name}")
            return np.array(value, kind)
    raise Unsupported(f"a constant with {', '.join(call.node.attrs) or 'no value'}")


@op("ConstantOfShape")
def constant_of_shape(call):
    value = call.attr("value", np.zeros(1, np.float32))
    return np.full(sized(call.numbers(0, "the shape"), value.dtype), value.reshape(-1)[0])


@op("Shape")
def shape(call):
    return np.array(call[0].shape[call.attr("start", 0):call.attr("end")], np.int64)


@op("Size")
def size(call):
    return np.array(math.prod(call[0].shape), np.int64)


@op("Range")
def range_of(call):
    start, limit, delta = (known(v, "a bound") for v in call.inputs)
    count = max(math.ceil((limit.item() - start.item()) / delta.item()), 0)
    sized((count,), start.dtype)
    return (start + np.arange(count) * delta).astype(start.dtype)


@op("EyeLike")
def eye_like(call):
    from onnx import helper
    dtype = helper.tensor_dtype_to_np_dtype(call.attr("dtype")) if call.attr("dtype") else call[0].dtype
    return np.eye(*call[0].shape, k=call.attr("k", 0), dtype=dtype)


@op("Reshape")
def reshape(call):
    x, to = call[0], call.numbers(1, "shape")
    if not call.attr("allowzero", 0):
        to = [x.shape[i] if s == 0 else s for i, s in enumerate(to)]
    if traced(x):
        return F.reshape(x, tuple(to))
    return np.reshape(x, tuple(to))


@op("Flatten")
def flatten(call):
    axis = call.attr("axis", 1)
    axis += rank(call[0]) if axis < 0 else 0
    to = (math.prod(call[0].shape[:axis]), math.prod(call[0].shape[axis:]))
    return F.reshape(call[0], to) if traced(call[0]) else np.reshape(call[0], to)


@op("Squeeze")
def squeeze(call):
    x, axes = call[0], call.numbers(1, "axes")
    axes = [i for i, s in enumerate(x.shape) if s == 1] if axes is None else [a % rank(x) for a in axes]
    if any(x.shape[a] != 1 for a in axes):
        raise ValueError(f"axes {axes} of shape {tuple(x.shape)} are not all 1")
    to = tuple(s for i, s in enumerate(x.shape) if i not in axes)
    return F.reshape(x, to) if traced(x) else np.reshape(x, to)


@op("Unsqueeze")
def unsqueeze(call):
    x, axes = call[0], call.numbers(1, "axes")
    total = rank(x) + len(axes)
    axes, sizes = {a % total for a in axes}, iter(x.shape)
    to = tuple(1 if i in axes else next(sizes) for i in range(total))
    return F.reshape(x, to) if traced(x) else np.reshape(x, to)


@op("Transpose")
def transpose(call):
    perm = call.attr("perm") or list(range(rank(call[0])))[::-1]
    return F.permute(call[0], tuple(perm)) if traced(call[0]) else np.transpose(call[0], perm)


@op("Concat")
def concat(call):
    return F.cat(call.inputs, call.attr("axis", 1)) if traced(*call.inputs) else np.concatenate(call.inputs, call.attr("axis", 1))


@op("Split")
def split(call):
    x, axis, sizes = call[0], call.attr("axis", 0), call.numbers(1, "split")
    axis %= rank(x)
    if sizes is None:
        count = call.attr("num_outputs", len(call.node.outputs))
        part = -(-x.shape[axis] // count)
        sizes = [part] * (count - 1) + [x.shape[axis] - part * (count - 1)]
    if sum(sizes) != x.shape[axis] or min(sizes) < 0:
        raise ValueError(f"parts {sizes} of an axis of {x.shape[axis]}")
    ends = np.cumsum([0, *sizes])
    return tuple(sliced(x, {axis: slice(int(a), int(b))}) for a, b in zip(ends, ends[1:]))


def sliced(x, places: dict):
    index = tuple(places.get(i, slice(None)) for i in range(rank(x)))
    return F.getitem(x, index) if traced(x) else x[index]


@op("Slice")
def slice_of(call):
    x = call[0]
    if call.version < 10:
        starts, ends, axes, steps = call.attr("starts"), call.attr("ends"), call.attr("axes"), None
    else:
        starts, ends, axes, steps = (call.numbers(i, n) for i, n in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")))
    axes = range(len(starts)) if axes is None else [a % rank(x) for a in axes]
    places = {}
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(starts)):
        size = x.shape[axis]
        if step > 0:
            places[axis] = slice(*(max(0, min(v + size if v < 0 else v, size)) for v in (start, end)), step)
        else:
            first = max(-1, min(start + size if start < 0 else start, size - 1))
            last = max(-1, min(end + size if end < 0 else end, size - 1))
            places[axis] = slice(first, None if last < 0 else last, step) if first > last else slice(0, 0)
    if traced(x):
        turned = [a for a, p in places.items() if p.step < 0]
        if turned:   # as a forward slice of the turned axis
            x = F.flip(x, turned)
            for a in turned:
                p, size = places[a], x.shape[a]
                places[a] = slice(size - 1 - p.start, size if p.stop is None else size - 1 - p.stop, -p.step)
    return sliced(x, places)


@op("Expand")
def expand(call):
    shape = np.broadcast_shapes(tuple(call[0].shape), tuple(call.numbers(1, "shape")))
    return F.broadcast_to(call[0], shape) if traced(call[0]) else np.broadcast_to(call[0], sized(shape, call[0].dtype))


@op("Tile")
def tile(call):
    x, repeats = call[0], call.numbers(1, "repeats")
    if not traced(x):
        sized([s * r for s, r in zip(x.shape, repeats)], x.dtype)
        return np.tile(x, repeats)
    for axis, count in enumerate(repeats):
        if count != 1:
            x = F.cat([x] * count, axis)
    return x


@op("Pad")
def pad(call):
    x, mode = call[0], call.attr("mode", "constant")
    pads = call.numbers(1, "pads") if call.version >= 11 else call.attr("pads", call.attr("paddings"))
    value = call.attr("value", 0.0) if call.version < 11 else 0.0 if call[2] is None else known(call[2], "the value").item()
    axes = [a % rank(x) for a in (call.numbers(3, "the axes") or range(rank(x)))]
    around = [(0, 0)] * rank(x)
    for i, axis in enumerate(axes):
        around[axis] = (int(pads[i]), int(pads[i + len(axes)]))
    x = sliced(x, {a: slice(max(-b, 0), s - max(-e, 0)) for a, ((b, e), s) in enumerate(zip(around, x.shape)) if b < 0 or e < 0})
    around = [(max(b, 0), max(e, 0)) for b, e in around]
    if not traced(x):
        sized([s + b + e for s, (b, e) in zip(x.shape, around)], x.dtype)
        return np.pad(x, around, "constant", constant_values=value) if mode == "constant" else np.pad(x, around, mode)
    flat = [v for b, e in reversed(around) for v in (b, e)]
    while flat and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    if not flat:
        return x
    if mode == "constant":
        return F.pad(x, tuple(flat), "constant", value)
    return F.pad(x, tuple(flat), {"edge": "replicate", "wrap": "circular"}.get(mode, mode))


@op("DepthToSpace")
def depth_to_space(call):
    x, block = call[0], call.attr("blocksize")
    n, c, h, w = x.shape
    to, order = ((n, c // block ** 2, block, block, h, w), (0, 1, 4, 2, 5, 3)) if call.attr("mode", "DCR") == "CRD" else \
        ((n, block, block, c // block ** 2, h, w), (0, 3, 4, 1, 5, 2))
    reshape, permute = (F.reshape, F.permute) if traced(x) else (np.reshape, np.transpose)
    return reshape(permute(reshape(x, to), order), (n, c // block ** 2, h * block, w * block))


@op("SpaceToDepth")
def space_to_depth(call):
    x, block = call[0], call.attr("blocksize")
    n, c, h, w = x.shape
    reshape, permute = (F.reshape, F.permute) if traced(x) else (np.reshape, np.transpose)
    order = (0, 1, 3, 5, 2, 4) if call.attr("mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    return reshape(permute(reshape(x, (n, c, h // block, block, w // block, block)), order), (n, c * block ** 2, h // block, w // block))


@op("Trilu")
def trilu(call):
    k = 0 if call[1] is None else known(call[1], "k").item()
    if traced(call[0]):
        ones = np.ones(call[0].shape[-2:], np.float32)
        return F.mul(call[0], np.triu(ones, k) if call.attr("upper", 1) else np.tril(ones, k))
    return np.triu(call[0], k) if call.attr("upper", 1) else np.tril(call[0], k)


@op("If")
def choose(call):
    condition = bool(known(call[0], "the condition").reshape(-1)[0])
    return tuple(call.evaluate(call.attr("then_branch" if condition else "else_branch"), []))
