"""Reductions over any axes, under torch's names. `dim` is None (all), an int or several; keepdim
leaves reduced axes with size one.

Sums join fixed blocks as a binary tree: accurate to about log2(n) roundings, in an order that
depends on the shape alone.
"""
from __future__ import annotations

import math
import operator
from functools import lru_cache
from typing import NamedTuple

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays, Dims
from . import elementwise, whole_reduction
from .axis import axis_or_dim, required_axis
from .broadcast import SUM, first_is_kept, plan, reduction_plan
from .result_shapes import given

reference = LateFunctions("pyops.kernels.reduction.reference")

__all__ = ["amax", "amin", "argmax", "argmin", "logsumexp", "max", "mean", "min", "norm", "prod", "std",
           "sum", "var", "vector_norm"]


# ---- axes

def named(op, dim, axis, keepdim, keepdims):
    """dim and keepdim of a call, which may name them as NumPy does."""
    return ((dim if axis is None else axis_or_dim(op, None if dim == () else dim, axis)),
            keepdim if keepdims is None else keepdims)


def axes(op, x, dim, keepdim):
    """The reduced axes, sorted, and the result's shape."""
    return resolve(op, tuple(x.shape), tuple(dim) if isinstance(dim, list) else dim, bool(keepdim))


@lru_cache(4096)
def resolve(op, shape, dim, keepdim):
    n = len(shape)
    given = range(n) if dim is None or dim == () else dim if isinstance(dim, tuple) else (dim,)
    try:
        dims = [operator.index(d) for d in given]
    except TypeError:
        raise TypeError(f"{op}: dim must be None, an int or several, got {dim!r}") from None
    room = n or 1   # an array without axes takes dim 0 and -1
    if any(not -room <= d < room for d in dims):
        raise ValueError(f"{op}: dim {dim} is out of range for an input of shape {shape}")
    dims = sorted(d % room for d in dims)
    if len(set(dims)) != len(dims):
        raise ValueError(f"{op}: dim {dim} names an axis of {shape} twice")
    dims = tuple(dims) if n else ()
    return dims, tuple(1 if a in dims else s for a, s in enumerate(shape) if keepdim or a not in dims)


def count_of(shape, dims):
    return math.prod(shape[d] for d in dims)


def needs_elements(op, x, dims):
    """Refuses what has no value over nothing."""
    if any(x.shape[d] == 0 for d in dims):
        raise ValueError(f"{op}: dim {dims} of an input of shape {tuple(x.shape)} has no elements, and {op} "
                         "of nothing has no value")


def spread(k, kernel, x, dims, values, *attrs):
    """Calls a gradient kernel: x and values of the reduced shape, each broadcast along `dims`.
    The first value is g."""
    kept = reference.kept(x.shape, dims)
    shape, *layout = plan(kernel, kept, x.shape, *(kept,) * (len(values) - 1))
    dx = k.empty(shape)
    getattr(k, kernel)(values[0], x, *values[1:], *layout, *attrs, dx)
    return dx


# ---- rows

def one_value(name, kernel, gradient):
    def forward(k, x, *, dims, shape):
        y = k.empty(shape)
        getattr(k, kernel)(x, *reduction_plan(x.shape, dims), y)
        return y
    return Op(name, "r", forward, getattr(reference, name), gradient, kernels=(kernel,),
              bytes=lambda x, **_: x.nbytes, per_sample=first_is_kept, shapes=given)


def prod_gradient(ctx):
    return (PROD_BACKWARD(ctx.g, ctx.inputs[0], dims=ctx.attrs["dims"]),)


def prod_backward(k, g, x, *, dims):
    layout = reduction_plan(x.shape, dims)
    product, zeros, zero = (k.empty(g.shape) for _ in range(3))
    zero[...] = 0
    k.reduce_prod_nonzero(x, *layout, product)
    k.reduce_equal(x, zero, *layout, zeros)
    return spread(k, "spread_prod", x, dims, (g, product, zeros))


def extreme_gradient(ctx):
    return (EXTREME_BACKWARD(ctx.g, ctx.inputs[0], ctx.outputs[0], dims=ctx.attrs["dims"]),)


def extreme_backward(k, g, x, y, *, dims):
    count = k.empty(y.shape)
    k.reduce_equal(x, y, *reduction_plan(x.shape, dims), count)
    return spread(k, "spread_extreme", x, dims, (g, y, count))


def left_of(count, correction):
    """n - correction, at least 0: then the variance is infinite or NaN."""
    return count - correction if count > correction else 0


def var_forward(k, x, *, dims, shape, count, correction, root):
    y, mean = k.empty(shape), k.empty(shape)
    left = left_of(count, correction)
    k.reduce_variance(x, *reduction_plan(x.shape, dims), 1 / count if count else math.nan,
                      1 / left if left else math.inf, y, mean)
    if root:
        k.sqrt(y, y)
    return y, mean


def var_gradient(ctx):
    x, (y, mean), attrs = ctx.inputs[0], ctx.outputs, {k: v for k, v in ctx.attrs.items() if k != "shape"}
    return (VAR_BACKWARD(ctx.g, x, mean, y, **attrs),)


def var_backward(k, g, x, mean, y, *, dims, count, correction, root):
    left = left_of(count, correction)
    return spread(k, "spread_variance", x, dims, (g, mean, y), 2 / left if left else math.inf, root)


def logsumexp_forward(k, x, *, dims, shape):
    y, peak = k.empty(shape), k.empty(shape)
    k.reduce_logsumexp(x, *reduction_plan(x.shape, dims), y, peak)
    return y, peak


def norm_forward(k, x, *, dims, shape, p):
    y = k.empty(shape)
    k.reduce_norm(x, *reduction_plan(x.shape, dims), p, y)
    return y


def arg_row(name):
    def forward(k, x, *, outer, n, inner, shape):
        values, indices = k.empty(shape), k.empty(shape, "int64")
        getattr(k, name)(x, outer, n, inner, values, indices)
        return values, indices

    def gradient(ctx):
        where = {k: v for k, v in ctx.attrs.items() if k != "shape"}
        return (PLACE_ALONG(ctx.g, ctx.outputs[1], shape=tuple(ctx.inputs[0].shape), **where),)
    return Op(name, "r", forward, getattr(reference, name), gradient, kernels=(name,))


def place_along(k, g, index, *, outer, n, inner, shape):
    dx = k.empty(shape)
    k.place_along(g, index, outer, n, inner, dx)
    return dx


def taken_again(ctx):
    """Of place_along: what lies at the places."""
    from .gather import take_along_dim
    from .shape import reshape
    split = tuple(ctx.attrs[name] for name in ("outer", "n", "inner"))
    index = reshape(ctx.inputs[1], (split[0], 1, split[2]))
    return reshape(take_along_dim(reshape(ctx.g, split), index, 1), tuple(ctx.inputs[0].shape)), None


PROD_BACKWARD = Op("prod_backward", "rr", prod_backward, reference.prod_backward,
                   kernels=("reduce_prod_nonzero", "reduce_equal", "spread_prod"))
PROD = one_value("prod", "reduce_prod", prod_gradient)
EXTREME_BACKWARD = Op("extreme_backward", "rrr", extreme_backward, reference.extreme_backward,
                      kernels=("reduce_equal", "spread_extreme"))
AMAX = one_value("amax", "reduce_max", extreme_gradient)
AMIN = one_value("amin", "reduce_min", extreme_gradient)
VAR_BACKWARD = Op("var_backward", "rrrr", var_backward, reference.var_backward, kernels=("spread_variance",))
VAR = Op("var", "r", var_forward, reference.var, var_gradient, kernels=("reduce_variance", "sqrt"),
         tolerance=512, per_sample=first_is_kept, shapes=given)   # gradients of few elements cancel
LOGSUMEXP_BACKWARD = Op("logsumexp_backward", "rrr",
                        lambda k, g, x, y, *, dims: spread(k, "spread_logsumexp", x, dims, (g, y)),
                        reference.logsumexp_backward, kernels=("spread_logsumexp",))
LOGSUMEXP = Op("logsumexp", "r", logsumexp_forward, reference.logsumexp, lambda ctx: (
    LOGSUMEXP_BACKWARD(ctx.g, ctx.inputs[0], ctx.outputs[0], dims=ctx.attrs["dims"]),),
               kernels=("reduce_logsumexp",), per_sample=first_is_kept)
NORM_BACKWARD = Op("norm_backward", "rrr",
                   lambda k, g, x, y, *, dims, p: spread(k, "spread_norm", x, dims, (g, y), p),
                   reference.norm_backward, kernels=("spread_norm",))
NORM = Op("norm", "r", norm_forward, reference.norm, lambda ctx: (
    NORM_BACKWARD(ctx.g, ctx.inputs[0], ctx.outputs[0], dims=ctx.attrs["dims"], p=ctx.attrs["p"]),),
          kernels=("reduce_norm",), per_sample=first_is_kept, shapes=given)
PLACE_ALONG = Op("place_along", "ri", place_along, reference.place_along, taken_again, kernels=("place_along",))
ARG_MAX = arg_row("arg_max")
ARG_MIN = arg_row("arg_min")


# ---- public functions

def sum(input: Arrays, dim: Dims | None = None, keepdim: bool = False, *, axis: Dims | None = None,
        keepdims: bool | None = None, out: Arrays | None = None) -> Arrays:
    """The sum over `dim`; 0 over nothing. float32 or float64; of whole numbers and
    truth values int64."""
    dims, shape = axes("sum", input, *named("sum", dim, axis, keepdim, keepdims))
    if whole_reduction.is_whole(input):
        return whole_reduction.of_whole("sum", input, dims, shape)
    return SUM(input, dims=dims, shape=shape, out=out)


def mean(input: Arrays, dim: Dims | None = None, keepdim: bool = False, *, axis: Dims | None = None,
         keepdims: bool | None = None, out: Arrays | None = None) -> Arrays:
    """The mean over `dim`; NaN over nothing."""
    dims, shape = axes("mean", input, *named("mean", dim, axis, keepdim, keepdims))
    n = count_of(input.shape, dims)
    return SUM(input, dims=dims, shape=shape, scale=1 / n if n else math.nan, out=out)


def prod(input: Arrays, dim: Dims | None = None, keepdim: bool = False, *, axis: Dims | None = None,
         keepdims: bool | None = None, out: Arrays | None = None) -> Arrays:
    """The product over `dim`; 1 over nothing. The gradient is right where factors are 0 too. Of
    whole numbers and truth values int64."""
    dims, shape = axes("prod", input, *named("prod", dim, axis, keepdim, keepdims))
    if whole_reduction.is_whole(input):
        return whole_reduction.of_whole("prod", input, dims, shape)
    return PROD(input, dims=dims, shape=shape, out=out)


def amax(input: Arrays, dim: Dims | None = (), keepdim: bool = False, *, axis: Dims | None = None,
         keepdims: bool | None = None, out: Arrays | None = None) -> Arrays:
    """The largest over `dim`, NaN if one is there. Equals share the gradient."""
    dims, shape = axes("amax", input, *named("amax", dim, axis, keepdim, keepdims))
    needs_elements("amax", input, dims)
    if whole_reduction.is_whole(input):
        return whole_reduction.of_whole("amax", input, dims, shape)
    return AMAX(input, dims=dims, shape=shape, out=out)


def amin(input: Arrays, dim: Dims | None = (), keepdim: bool = False, *, axis: Dims | None = None,
         keepdims: bool | None = None, out: Arrays | None = None) -> Arrays:
    """The smallest over `dim`, NaN if one is there. Equals share the gradient."""
    dims, shape = axes("amin", input, *named("amin", dim, axis, keepdim, keepdims))
    needs_elements("amin", input, dims)
    if whole_reduction.is_whole(input):
        return whole_reduction.of_whole("amin", input, dims, shape)
    return AMIN(input, dims=dims, shape=shape, out=out)


class Extreme(NamedTuple):
    """What max and min along an axis return."""
    values: object
    indices: object


def arg_extreme(op, row, input, dim, keepdim, axis=None, keepdims=None):
    """Values and int64 indices along one axis, or of the whole array read as one axis."""
    dim, keepdim = named(op, dim, axis, keepdim, keepdims)
    dims, shape = axes(op, input, dim, keepdim)
    if dim is not None and len(dims) > 1:
        raise ValueError(f"{op}: dim must be one axis, got {dim}")
    needs_elements(op, input, dims)
    if whole_reduction.is_whole(input):
        rows = {ARG_MAX: (whole_reduction.ANY_MAX, whole_reduction.ANY_ARGMAX),
                ARG_MIN: (whole_reduction.ANY_MIN, whole_reduction.ANY_ARGMIN)}
        values, places = rows[row]
        first = dims[0] if dim is not None and dims else None
        return (whole_reduction.reshape(whole_reduction.reduced(values, input, dims, True), shape),
                whole_reduction.place_of_extreme(places, input, first, keepdim))
    sizes = tuple(input.shape)
    if dim is None or not dims:
        return row(input, outer=1, n=math.prod(sizes), inner=1, shape=shape)
    return row(input, outer=math.prod(sizes[:dims[0]]), n=sizes[dims[0]],
               inner=math.prod(sizes[dims[0] + 1:]), shape=shape)


def max(input: Arrays, dim: Arrays | int | None = None, keepdim: bool = False, *, axis: int | None = None,
        keepdims: bool | None = None) -> Arrays | Extreme:
    """max(x): the largest of all, as amax. max(x, dim): (values, indices) along that axis, the
    first of equals. max(x, y): maximum."""
    if hasattr(dim, "shape"):
        return elementwise.maximum(input, dim)
    dim, keepdim = named("max", dim, axis, keepdim, keepdims)
    return (amax(input, None, keepdim) if dim is None
            else Extreme(*arg_extreme("max", ARG_MAX, input, dim, keepdim)))


def min(input: Arrays, dim: Arrays | int | None = None, keepdim: bool = False, *, axis: int | None = None,
        keepdims: bool | None = None) -> Arrays | Extreme:
    """min(x): the smallest of all, as amin. min(x, dim): (values, indices) along that axis, the
    first of equals. min(x, y): minimum."""
    if hasattr(dim, "shape"):
        return elementwise.minimum(input, dim)
    dim, keepdim = named("min", dim, axis, keepdim, keepdims)
    return (amin(input, None, keepdim) if dim is None
            else Extreme(*arg_extreme("min", ARG_MIN, input, dim, keepdim)))


def argmax(input: Arrays, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
           keepdims: bool | None = None) -> Arrays:
    """int64 index of the first largest along `dim`, or in the flattened array. A NaN
    counts as largest."""
    return arg_extreme("argmax", ARG_MAX, input, dim, keepdim, axis, keepdims)[1]


def argmin(input: Arrays, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
           keepdims: bool | None = None) -> Arrays:
    """int64 index of the first smallest along `dim`, or in the flattened array. A NaN
    counts as smallest."""
    return arg_extreme("argmin", ARG_MIN, input, dim, keepdim, axis, keepdims)[1]


def moment(op, input, dim, keepdim, correction, root, out):
    dims, shape = axes(op, input, dim, keepdim)
    return VAR(input, dims=dims, shape=shape, count=count_of(input.shape, dims), correction=correction,
               root=root, out=out)[0]


def var(input: Arrays, dim: Dims | None = None, *, correction: float = 1, keepdim: bool = False,
        axis: Dims | None = None, keepdims: bool | None = None, out: Arrays | None = None) -> Arrays:
    """The mean squared distance from the mean over `dim`, with n - correction in place of n; two
    passes, so that it does not cancel."""
    return moment("var", input, *named("var", dim, axis, keepdim, keepdims), correction, False, out)


def std(input: Arrays, dim: Dims | None = None, *, correction: float = 1, keepdim: bool = False,
        axis: Dims | None = None, keepdims: bool | None = None, out: Arrays | None = None) -> Arrays:
    """The square root of var. Its gradient is 0 where it is 0."""
    return moment("std", input, *named("std", dim, axis, keepdim, keepdims), correction, True, out)


def logsumexp(input: Arrays, dim: Dims | None = None, keepdim: bool = False, *, axis: Dims | None = None,
              keepdims: bool | None = None, out: Arrays | None = None) -> Arrays:
    """log(sum of e^x) over `dim`, taken from the maximum so that it does not overflow.
    -inf over nothing."""
    dim, keepdim = required_axis("logsumexp", dim, axis), keepdim if keepdims is None else keepdims
    dims, shape = axes("logsumexp", input, dim, keepdim)
    return LOGSUMEXP(input, dims=dims, shape=shape, out=out)[0]


def vector_norm(x: Arrays, ord: float = 2, dim: Dims | None = None, keepdim: bool = False, *,
                axis: Dims | None = None, keepdims: bool | None = None, out: Arrays | None = None) -> Arrays:
    """(sum of |x|^ord)^(1/ord) over `dim`: inf and -inf are the largest and smallest |x|, 0
    counts what is not 0."""
    dim, keepdim = named("vector_norm", dim, axis, keepdim, keepdims)
    if math.isinf(ord):
        return (amax if ord > 0 else amin)(elementwise.abs(x), dim, keepdim, out=out)
    dims, shape = axes("vector_norm", x, dim, keepdim)
    return NORM(x, dims=dims, shape=shape, p=float(ord), out=out)


def norm(input: Arrays, p: float | str = "fro", dim: Dims | None = None, keepdim: bool = False, *,
         axis: Dims | None = None, keepdims: bool | None = None, out: Arrays | None = None) -> Arrays:
    """vector_norm with torch.norm's arguments: 'fro' means 2."""
    if p == "fro":
        p = 2
    if isinstance(p, str):
        raise ValueError(f"norm: p must be a number or 'fro', got {p!r}")
    return vector_norm(input, p, *named("norm", dim, axis, keepdim, keepdims), out=out)

