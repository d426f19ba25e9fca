"""Broadcasting: shapes collapsed to what kernels walk, and the pair of ops that are each other's
gradient, SUM and EXPAND."""
from __future__ import annotations

import math
from functools import lru_cache

from ..core.late import LateFunctions
from ..core.registry import Op
from .result_shapes import broadcast, given

reference = LateFunctions("pyops.kernels.reduction.reference")


@lru_cache(4096)
def plan(op, *shapes):
    """The shape that `shapes` broadcast to, that shape collapsed, and per input its strides in
    elements (0 where it is repeated).

    Adjacent axes that all inputs walk alike become one. Raises ValueError where the
    shapes do not broadcast.
    """
    try:
        out = broadcast(*shapes)[0]
    except ValueError:
        raise ValueError(f"{op}: shapes {', '.join(map(str, shapes))} do not broadcast: axes, from the last, "
                         "must be equal or 1") from None
    if math.prod(out) == 0:
        return out, (0,), *(((1,),) * len(shapes))
    axes: list[list] = []
    for size, *strides in zip(out, *(strides_in(shape, len(out)) for shape in shapes)):
        if size == 1:
            continue
        if axes and all(before == here * size for before, here in zip(axes[-1][1:], strides)):
            axes[-1] = [axes[-1][0] * size, *strides]
        else:
            axes.append([size, *strides])
    if len(axes) > 8:
        raise ValueError(f"{op}: shapes {', '.join(map(str, shapes))} alternate between repeated and not on "
                         "more than 8 axes")
    return out, *(map(tuple, zip(*axes)) if axes else ((1,),) * (1 + len(shapes)))


def contiguous(array):
    """`array` itself, or a copy in C order; NumPy's own function would not take a GPU's array."""
    return array if array.flags.c_contiguous else array.copy()


def strides_in(shape, ndim):
    """Strides in elements of a contiguous array of `shape` seen with `ndim` axes, 0
    along axes of size one."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(0 if size == 1 else step)
        step *= size
    return [0] * (ndim - len(shape)) + strides[::-1]


@lru_cache(4096)
def reduction_plan(shape, dims):
    """Sizes of the axes of `shape` with neighbours of one kind merged, and which are kept
    (1) or reduced (0)."""
    sizes, kept = [], []
    for axis, size in enumerate(shape):
        keep = int(axis not in dims)
        if size == 1:
            continue
        if kept and kept[-1] == keep:
            sizes[-1] *= size
        else:
            sizes.append(size)
            kept.append(keep)
    if len(sizes) > 8:
        raise ValueError(
            f"reduction of shape {shape} over {dims}: kept and reduced axes alternate more than 8 times")
    return tuple(sizes or (1,)), tuple(kept or (0,))


def sum_forward(k, x, *, dims, shape, scale=1.0):
    y = k.empty(shape)
    k.reduce_sum(x, *reduction_plan(x.shape, dims), scale, y)
    return y


def expand_forward(k, x, *, dims, shape, scale=1.0):
    y = k.empty(shape)
    _, collapsed, strides, _ = plan("expand", reference.kept(shape, dims), shape)
    k.expand(x, collapsed, strides, scale, y)
    return y


def sum_gradient(ctx):
    return (EXPAND(ctx.g, dims=ctx.attrs["dims"], shape=tuple(ctx.inputs[0].shape),
                   scale=ctx.attrs.get("scale", 1.0)),)


def expand_gradient(ctx):
    return (SUM(ctx.g, dims=ctx.attrs["dims"], shape=tuple(ctx.inputs[0].shape),
                scale=ctx.attrs.get("scale", 1.0)),)


def first_is_kept(of, /, *, dims, **_):
    """Whether a reduction leaves the first axis, the batch."""
    return bool(of) and not any(d % len(of) == 0 for d in dims)


SUM = Op("sum", "r", sum_forward, reference.sum, sum_gradient, kernels=("reduce_sum",),
         bytes=lambda x, **_: x.nbytes, per_sample=first_is_kept, shapes=given)
EXPAND = Op("expand", "r", expand_forward, reference.expand, expand_gradient, kernels=("expand",), shapes=given)


def sum_to(g, shape):
    """g summed over the axes that broadcasting repeated, so that it has `shape`."""
    shape = tuple(shape)
    if tuple(g.shape) == shape:
        return g
    return SUM(g, dims=repeated(tuple(g.shape), shape), shape=shape)


@lru_cache(4096)
def repeated(out, shape):
    """The axes of `out` along which an input of `shape` is repeated."""
    new = len(out) - len(shape)
    return tuple(range(new)) + tuple(a for a in range(new, len(out)) if shape[a - new] == 1 and out[a] != 1)
