"""Operators that move values and compute none."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np

from ... import functional as F
from ...graph.trace import specialised
from ..limits import short
from ..sizes import as_sizes
from . import counted
from .row import Unsupported, axes_of, axis_of, dtype_of, op, rank, traced
from .select import sliced, taken


@op("Constant", keeps=True)
def constant(call):
    for name, value in call.node.attrs.items():
        if name == "value":
            return np.asarray(value)
        if name.startswith("value_"):
            kind = {"float": np.float32, "floats": np.float32, "int": np.int64, "ints": np.int64}.get(
                name[6:]
            )
            if kind is None:
                raise Unsupported(f"attribute {name}")
            return np.array(value, kind)
    raise Unsupported(f"a constant with {', '.join(call.node.attrs) or 'no value'}")


@op("ConstantOfShape", keeps=True)
def constant_of_shape(call):
    if traced(call[0]) and not specialised(call[0]):
        return counted.called(call)
    value = call.attr("value", np.zeros(1, np.float32))
    if value.size != 1:
        raise ValueError(f"value must be one number, got shape {value.shape}")
    return np.full(call.room(call.numbers(0, "the shape"), value.dtype), value.reshape(-1)[0])


@op("Shape", keeps=True)
def shape(call):
    return as_sizes(call[0].shape[call.attr("start", 0) : call.attr("end")])


@op("Size", keeps=True)
def size(call):
    return as_sizes([math.prod(call[0].shape)]).reshape(())


@op("Range")
def range_of(call):
    if traced(call[1]) and not traced(call[0], call[2]) and not specialised(call[1]):
        return counted.called(call)
    start, limit, delta = (call.number(i, name) for i, name in enumerate(("start", "limit", "delta")))
    if not delta or not all(map(math.isfinite, (start, limit, delta))):
        raise ValueError(f"start {start}, limit {limit} and delta {delta} must be finite, delta not zero")
    whole = isinstance(start, int)
    count = max(-((start - limit) // delta) if whole else math.ceil((limit - start) / delta), 0)
    dtype = call[0].dtype
    call.room((count,), np.float64, copies=3)
    first, step = (np.asarray(v, np.int64 if whole else np.float64) for v in (start, delta))
    return (first + np.arange(count) * step).astype(dtype)


@op("EyeLike", keeps=True)
def eye_like(call):
    dtype = dtype_of(call.attr("dtype")) if call.attr("dtype") else call[0].dtype
    if rank(call[0]) != 2:
        raise ValueError(f"takes two axes, got shape {tuple(call[0].shape)}")
    rows, columns = call.room(call[0].shape, dtype, copies=2)
    return np.eye(rows, columns, k=max(min(call.attr("k", 0), columns), -rows), dtype=dtype)


@op("Reshape", keeps=True)
def reshape(call):
    x, to = call[0], call.numbers(1, "shape")
    if any(n < -1 for n in to) or to.count(-1) > 1:
        raise ValueError(f"shape {to[:8]} must be lengths, at most one of them -1")
    if not call.attr("allowzero", 0):
        if any(s == 0 and i >= rank(x) for i, s in enumerate(to)):
            raise ValueError(f"shape {to[:8]} copies an axis that {tuple(x.shape)} does not have")
        to = [x.shape[i] if s == 0 else s for i, s in enumerate(to)]
    if traced(x):
        return F.reshape(x, tuple(to))
    return np.reshape(x, tuple(to))


@op("Flatten", keeps=True)
def flatten(call):
    n = rank(call[0])
    axis = call.attr("axis", 1)
    axis = n if axis == n else axis_of(axis, n)
    to = (math.prod(call[0].shape[:axis]), math.prod(call[0].shape[axis:]))
    return F.reshape(call[0], to) if traced(call[0]) else np.reshape(call[0], to)


@op("Squeeze", keeps=True)
def squeeze(call):
    x, axes = call[0], call.numbers(1, "axes")
    axes = [i for i, s in enumerate(x.shape) if s == 1] if axes is None else axes_of(axes, rank(x))
    if any(x.shape[a] != 1 for a in axes):
        raise ValueError(f"axes {axes} of shape {tuple(x.shape)} are not all 1")
    to = tuple(s for i, s in enumerate(x.shape) if i not in axes)
    return F.reshape(x, to) if traced(x) else np.reshape(x, to)


@op("Unsqueeze", keeps=True)
def unsqueeze(call):
    x, axes = call[0], call.numbers(1, "axes")
    total = rank(x) + len(axes)
    axes, sizes = set(axes_of(axes, total)), iter(x.shape)
    to = tuple(1 if i in axes else next(sizes) for i in range(total))
    return F.reshape(x, to) if traced(x) else np.reshape(x, to)


@op("Transpose", keeps=True)
def transpose(call):
    perm = call.attr("perm") or list(range(rank(call[0])))[::-1]
    if sorted(perm) != list(range(rank(call[0]))):
        raise ValueError(f"perm {perm[:8]} does not name each of {rank(call[0])} axes once")
    return F.permute(call[0], tuple(perm)) if traced(call[0]) else np.transpose(call[0], perm)


@op("Concat", keeps=True)
def concat(call):
    parts = call.inputs
    axis = axis_of(call.attr("axis", 1), rank(parts[0]))
    around = [(*p.shape[:axis], *p.shape[axis + 1 :]) for p in parts]
    if any(a != around[0] for a in around):
        raise ValueError(
            f"{len(parts)} operands, the first {tuple(parts[0].shape)}, differ outside of axis {axis}"
        )
    first = parts[0].shape
    call.room((*first[:axis], sum(p.shape[axis] for p in parts), *first[axis + 1 :]), parts[0].dtype)
    if not traced(*parts):
        return np.concatenate(parts, axis)
    parts = [p for p in parts if p.shape[axis]] or parts[:1]
    return F.cat(parts, axis) if len(parts) > 1 else parts[0]


@op("Split", keeps=True)
def split(call):
    x, sizes = call[0], call.numbers(1, "split")
    axis, outputs = axis_of(call.attr("axis", 0), rank(x)), len(call.node.outputs)
    if sizes is None:
        count = call.attr("num_outputs", outputs)
        if count != outputs or not outputs:
            raise ValueError(f"num_outputs is {count}, the node has {outputs}")
        part = -(-x.shape[axis] // count)
        sizes = [min(part, max(x.shape[axis] - i * part, 0)) for i in range(count)]
    if sum(sizes) != x.shape[axis] or min(sizes) < 0 or len(sizes) != outputs:
        raise ValueError(
            f"{len(sizes)} parts {short(sizes)} of an axis of {x.shape[axis]}, for {outputs} outputs"
        )
    ends = list(accumulate([0, *sizes]))
    return tuple(sliced(x, {axis: slice(a, b)}) for a, b in zip(ends, ends[1:]))


@op("Slice", keeps=True)
def slice_of(call):
    x = call[0]
    if call.version >= 10 and any(traced(v) and not specialised(v) for v in (call[1], call[2])):
        return counted.called(call)
    if call.version < 10:
        starts, ends, axes, steps = call.attr("starts"), call.attr("ends"), call.attr("axes"), None
    else:
        starts, ends, axes, steps = (
            call.numbers(i, n) for i, n in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps"))
        )
    axes = axes_of(range(len(starts)) if axes is None else axes, rank(x))
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError(
            f"starts {short(starts)}, ends {short(ends)}, axes {short(axes)}, steps {short(steps)}: as "
            f"many of each, no step 0"
        )
    places = {}
    for axis, start, end, step in zip(axes, starts, ends, steps):
        size = x.shape[axis]
        if step > 0:
            places[axis] = slice(*(max(0, min(v + size if v < 0 else v, size)) for v in (start, end)), step)
        else:
            first = max(-1, min(start + size if start < 0 else start, size - 1))
            last = max(-1, min(end + size if end < 0 else end, size - 1))
            places[axis] = slice(first, None if last < 0 else last, step) if first > last else slice(0, 0, 1)
    if traced(x):
        turned = [a for a, p in places.items() if p.step < 0]
        if turned:  # as a forward slice of the turned axis
            x = F.flip(x, turned)
            for a in turned:
                p, size = places[a], x.shape[a]
                places[a] = slice(size - 1 - p.start, size if p.stop is None else size - 1 - p.stop, -p.step)
    return sliced(x, places)


@op("Expand", keeps=True)
def expand(call):
    if traced(call[1]) and not specialised(call[1]):
        return counted.called(call)
    x, to = call[0], call.numbers(1, "shape")
    if any(n < 0 for n in to):
        raise ValueError(f"shape {short(to)} has a negative length")
    shape = call.room(broadcast_shape(tuple(x.shape), tuple(to)), x.dtype)
    return F.broadcast_to(x, shape) if traced(x) else np.broadcast_to(x, shape)


def broadcast_shape(*shapes):
    """As NumPy has it, for lengths of any size."""
    n = max(map(len, shapes))
    columns = list(zip(*((1,) * (n - len(s)) + tuple(s) for s in shapes)))
    result = tuple(next((v for v in c if v != 1), 1) for c in columns)
    if any(v not in (1, r) for c, r in zip(columns, result) for v in c):
        raise ValueError(f"shapes {', '.join(map(short, shapes[:4]))} do not broadcast")
    return result


@op("Tile", keeps=True)
def tile(call):
    x, repeats = call[0], call.numbers(1, "repeats")
    if call.version < 6:  # one axis
        repeats = [
            call.number(1, "tiles") if i == axis_of(call.number(2, "axis"), rank(x)) else 1
            for i in range(rank(x))
        ]
    if len(repeats) != rank(x) or min(repeats, default=0) < 0:
        raise ValueError(f"repeats {short(repeats)} must be {rank(x)} numbers that are not negative")
    shape = call.room([s * r for s, r in zip(x.shape, repeats)], x.dtype, copies=2)
    if shape == tuple(x.shape):
        return x
    # Repeats as axes of their own, along which nothing moves.
    apart = [n for r, s in zip(repeats, x.shape) for n in (r, s)]
    if not traced(x):
        return np.broadcast_to(np.reshape(x, [n for s in x.shape for n in (1, s)]), apart).reshape(shape)
    if 0 in shape:
        return np.zeros(shape, x.dtype)
    return F.reshape(
        F.broadcast_to(F.reshape(x, tuple(n for s in x.shape for n in (1, s))), tuple(apart)), shape
    )


MODES = ("constant", "reflect", "edge", "wrap")


@op("Pad")
def pad(call):
    x, mode, n = call[0], call.attr("mode", "constant"), rank(call[0])
    pads = call.numbers(1, "pads") if call.version >= 11 else call.attr("pads", call.attr("paddings"))
    value = (
        call.attr("value", 0.0)
        if call.version < 11
        else 0.0
        if call[2] is None
        else call.number(2, "the value")
    )
    axes = axes_of(range(n) if call[3] is None else call.numbers(3, "the axes"), n)
    if mode not in MODES or len(pads) != 2 * len(axes):
        raise ValueError(
            f"mode {mode!r} must be one of {', '.join(MODES)}, pads {short(pads)} two numbers for each "
            f"of {len(axes)} axes"
        )
    around = [(0, 0)] * n
    for i, axis in enumerate(axes):
        around[axis] = (int(pads[i]), int(pads[i + len(axes)]))
    shape = call.room([s + b + e for s, (b, e) in zip(x.shape, around)], x.dtype, copies=2)
    x = sliced(
        x,
        {
            a: slice(max(-b, 0), s - max(-e, 0))
            for a, ((b, e), s) in enumerate(zip(around, x.shape))
            if b < 0 or e < 0
        },
    )
    around = [(max(b, 0), max(e, 0)) for b, e in around]
    if mode != "constant":
        for axis, (b, e) in enumerate(around):
            if b or e:
                if not x.shape[axis]:
                    raise ValueError(
                        f"mode {mode!r} has nothing to repeat in axis {axis} of {tuple(x.shape)}"
                    )
                x = taken(x, axis, np.pad(np.arange(x.shape[axis]), (b, e), mode))
        return x
    if not traced(x):
        return np.pad(x, around, "constant", constant_values=np.asarray(value).astype(x.dtype))
    if x.dtype != np.float32:  # our row is of floats: parts put together
        for axis, (b, e) in enumerate(around):
            parts = [np.full((*x.shape[:axis], n, *x.shape[axis + 1 :]), value).astype(x.dtype)
                     for n in (b, e)]
            x = F.cat([p for p in (parts[0], x, parts[1]) if p.shape[axis]] or [x], axis)
        return x
    flat = [v for b, e in reversed(around) for v in (b, e)]
    while flat and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    if 0 in x.shape and 0 not in shape:
        return np.full(shape, value, np.float32)
    return F.pad(x, tuple(flat), "constant", value) if flat else x


def blocks_of(call, divided):
    """An image and a block size that divides the axes `divided`, by `block` or its square."""
    x, block = call[0], call.attr("blocksize")
    mode = call.attr("mode", "DCR")
    if (
        rank(x) != 4
        or not 1 <= block < 1 << 15
        or mode not in ("DCR", "CRD")
        or any(x.shape[a] % block**times for a, times in divided)
    ):
        raise ValueError(f"blocksize {block}, mode {mode!r} for an input of shape {tuple(x.shape)}")
    reshape, permute = (F.reshape, F.permute) if traced(x) else (np.reshape, np.transpose)
    return x, block, mode == "CRD", reshape, permute


@op("DepthToSpace", keeps=True)
def depth_to_space(call):
    x, block, crd, reshape, permute = blocks_of(call, [(1, 2)])
    n, c, h, w = x.shape
    to, order = (
        ((n, c // block**2, block, block, h, w), (0, 1, 4, 2, 5, 3))
        if crd
        else ((n, block, block, c // block**2, h, w), (0, 3, 4, 1, 5, 2))
    )
    return reshape(permute(reshape(x, to), order), (n, c // block**2, h * block, w * block))


@op("SpaceToDepth", keeps=True)
def space_to_depth(call):
    x, block, crd, reshape, permute = blocks_of(call, [(2, 1), (3, 1)])
    n, c, h, w = x.shape
    order = (0, 1, 3, 5, 2, 4) if crd else (0, 3, 5, 1, 2, 4)
    return reshape(
        permute(reshape(x, (n, c, h // block, block, w // block, block)), order),
        (n, c * block**2, h // block, w // block),
    )


@op("Trilu", keeps=True)
def trilu(call):
    x, k = call[0], 0 if call[1] is None else call.number(1, "k")
    if rank(x) < 2:
        raise ValueError(f"takes two axes or more, got shape {tuple(x.shape)}")
    rows, columns = call.room(x.shape[-2:], np.int64)
    k = max(min(k, columns), -rows)
    upper = np.arange(columns) - np.arange(rows)[:, None] >= k + (not call.attr("upper", 1))
    keep = upper if call.attr("upper", 1) else ~upper
    return (
        F.where(keep, x, np.zeros((1, 1), x.dtype))
        if traced(x)
        else np.where(keep, x, np.zeros(1, x.dtype))
    )
