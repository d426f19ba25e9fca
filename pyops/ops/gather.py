"""Taking and putting by index, under torch's names. Arrays of any element type;
indices of any whole type.

Rows count negative indices from the end where `wrap` says so; the public functions are torch's,
which refuse them, but for take_along_dim. An index outside of its axis is an IndexError, in a
compiled program as well.
"""
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays
from .broadcast import strides_in
from .elementwise import number, where
from .shape import BROADCAST_TO, _axis, broadcast_to, reshape, unsqueeze
from .typed import NO_CUDA, alike, as_type, one_type

reference = LateFunctions("pyops.kernels.typed.reference")

__all__ = ["gather", "gather_nd", "index_select", "masked_fill", "scatter", "scatter_add", "scatter_nd",
           "scatter_reduce", "select_scatter", "slice_scatter", "take_along_dim"]

REDUCTIONS = ("", "add", "mul", "max", "min")


# ---- along one axis, whole slices; what is taken several times gets the sum of as many
# gradients, whence the tolerance

def check_take(x: Any, index: Any, *, dim: int, wrap: bool) -> None:
    if not 0 <= dim < len(x.shape):
        raise ValueError(
            f"index_select: dim {dim} is outside the {len(x.shape)} axes of input {tuple(x.shape)}")


@lru_cache(4096)
def taken(shape: tuple[int, ...], index: tuple[int, ...], dim: int) -> tuple[tuple[int, ...], int, int, int]:
    """The result's shape, and the input's axes as three."""
    lead, behind = shape[:dim], shape[dim + 1:]
    return (*lead, *index, *behind), math.prod(lead), shape[dim], math.prod(behind)


def take_forward(k: Any, x: Any, index: Any, *, dim: int, wrap: bool) -> Any:
    shape, outer, n, inner = taken(x.shape, index.shape, dim)
    y = k.empty(shape, x.dtype)
    k.take(x, index, outer, n, inner, wrap, y)
    return y


def take_backward(k: Any, g: Any, index: Any, *, dim: int, size: int, wrap: bool) -> Any:
    lead, behind = g.shape[:dim], g.shape[dim + len(index.shape):]
    dx = k.empty((*lead, size, *behind), g.dtype)
    k.take_backward(g, index, math.prod(lead), size, math.prod(behind), wrap, dx)
    return dx


def take_gradient(ctx: Any) -> tuple[Any, None]:
    (x, index), dim = ctx.inputs, ctx.attrs["dim"]
    return TAKE_BACKWARD(ctx.g, index, dim=dim, size=x.shape[dim], wrap=ctx.attrs["wrap"]), None


TAKE_BACKWARD = Op("take_backward", "ai", take_backward, reference.take_backward,
                   lambda ctx: (TAKE(ctx.g, ctx.inputs[1], dim=ctx.attrs["dim"], wrap=ctx.attrs["wrap"]), None),
                   kernels=("take_backward",), tolerance=8, todo=NO_CUDA, checks_indices=True)
TAKE = Op("take", "ai", take_forward, reference.take, take_gradient, check_take, kernels=("take",),
          tolerance=8, todo=NO_CUDA, checks_indices=True,
          bytes=lambda x, index, *, dim, wrap: 2 * index.size * x.nbytes // max(x.shape[dim], 1),
          per_sample=lambda shape, *, dim, wrap: False)


# ---- along one axis, value by value

def check_along(x: Any, index: Any, *rest: Any, dim: int, wrap: bool, reduction: str = "") -> None:
    name = "scatter" if rest else "gather"
    check_shapes(name, tuple(x.shape), tuple(index.shape), dim)
    if rest:
        one_type(name, x, rest[0])
        if tuple(rest[0].shape) != tuple(index.shape):
            raise ValueError(
                f"{name}: values {tuple(rest[0].shape)} must be of the shape of index {tuple(index.shape)}")


@lru_cache(4096)
def check_shapes(name: str, shape: tuple[int, ...], index: tuple[int, ...], dim: int) -> None:
    if len(index) != len(shape) or any(n > m for a, (n, m) in enumerate(zip(index, shape)) if a != dim):
        raise ValueError(f"{name}: index {index} must have as many axes as input {shape} and be no longer on any "
                         f"but {dim}")


@lru_cache(4096)
def walk(shape: Any, dim: int) -> tuple[tuple[int, ...], int, int]:
    """Strides along the axes of an index but for dim; the length and the stride of that."""
    strides = list(strides_in(shape, len(shape)))
    step = math.prod(shape[dim + 1:])
    strides[dim] = 0
    return tuple(strides), shape[dim], step


def take_along_forward(k: Any, x: Any, index: Any, *, dim: int, wrap: bool) -> Any:
    check_shapes("gather", x.shape, index.shape, dim)
    y = k.empty(index.shape, x.dtype)
    if not x.shape:
        y[...] = x
        return y
    k.take_along(x, index, *walk(x.shape, dim), wrap, y)
    return y


def take_along_gradient(ctx: Any) -> tuple[Any, None]:
    x, index = ctx.inputs
    return TAKE_ALONG_BACKWARD(ctx.g, index, shape=tuple(x.shape), **ctx.attrs), None


def take_along_backward(k: Any, g: Any, index: Any, *, dim: int, shape: Any, wrap: bool) -> Any:
    dx = k.empty(shape, g.dtype)
    if not shape:
        dx[...] = g
        return dx
    k.take_along_backward(g, index, *walk(shape, dim), wrap, dx)
    return dx


def put_along_forward(k: Any, x: Any, index: Any, values: Any, *, dim: int, wrap: bool,
                      reduction: str = "") -> Any:
    if x.dtype is not values.dtype or values.shape != index.shape:
        check_along(x, index, values, dim=dim, wrap=wrap)
    check_shapes("scatter", x.shape, index.shape, dim)
    y = k.empty(x.shape, x.dtype)
    k.cat_move(x, x.size, x.size, 0, y)
    put = getattr(k, f"put_along_{reduction}") if reduction else k.put_along
    put(values, index, *walk(x.shape, dim), wrap, y)
    return y


def strides_of(shape: Any) -> list[int]:
    return [math.prod(shape[a + 1:]) for a in range(len(shape))]


def put_along_gradient(ctx: Any) -> tuple[Any, None, Any]:
    """Of what was added all passes; what was put in the place of x keeps its gradient from it."""
    index, how = ctx.inputs[1], {key: ctx.attrs[key] for key in ("dim", "wrap")}
    reduction = ctx.attrs.get("reduction", "")
    if reduction not in ("", "add"):
        raise ValueError(f"backward: scatter has no gradient with reduce={reduction!r}")
    kept = (ctx.g if reduction
            else PUT_ALONG(ctx.g, index, BROADCAST_TO(number(0.0, ctx.g), shape=tuple(index.shape)), **how))
    return kept, None, TAKE_ALONG(ctx.g, index, **how)


TAKE_ALONG_BACKWARD = Op(
    "take_along_backward", "ai", take_along_backward, reference.take_along_backward,
    lambda ctx: (TAKE_ALONG(ctx.g, ctx.inputs[1], dim=ctx.attrs["dim"], wrap=ctx.attrs["wrap"]), None),
    kernels=("take_along_backward",), tolerance=8, todo=NO_CUDA, checks_indices=True)
TAKE_ALONG = Op("take_along", "ai", take_along_forward, reference.take_along, take_along_gradient,
                check_along, kernels=("take_along",), tolerance=8, todo=NO_CUDA, checks_indices=True,
                bytes=lambda x, index, **_: 2 * index.size * x.itemsize)
PUT_ALONG = Op("put_along", "aia", put_along_forward, reference.put_along, put_along_gradient, check_along,
               todo=NO_CUDA, checks_indices=True, kernels=("put_along", "put_along_add", "put_along_mul",
                                                           "put_along_max", "put_along_min", "cat_move"),
               tolerance=4, bytes=lambda x, index, values, **_: 2 * x.nbytes)


# ---- blocks by several indices (ONNX's GatherND, ScatterND)

def check_blocks(x: Any, index: Any, *rest: Any, batch: int = 0, wrap: bool = True,
                 reduction: str = "") -> None:
    name = "put_blocks" if rest else "take_blocks"
    depth = index.shape[-1] if index.shape else -1
    if (not 0 <= depth <= len(x.shape) - batch or not 0 <= batch < max(len(index.shape), 1)
            or index.shape[:batch] != x.shape[:batch]):
        raise ValueError(f"{name}: index {tuple(index.shape)} does not name blocks of input {tuple(x.shape)} "
                         f"behind {batch} axes")
    if rest:
        one_type(name, x, rest[0])
        if tuple(rest[0].shape) != (*index.shape[:-1], *x.shape[depth:]):
            raise ValueError(
                f"{name}: values {tuple(rest[0].shape)} for index {tuple(index.shape)} into {tuple(x.shape)}")


def take_blocks_forward(k: Any, x: Any, index: Any, *, batch: int = 0, wrap: bool = True) -> Any:
    check_blocks(x, index, batch=batch)
    depth = index.shape[-1]
    y = k.empty((*index.shape[:-1], *x.shape[batch + depth:]), x.dtype)
    if depth == 0:   # every index names the whole of its batch
        strides = strides_of(x.shape)
        k.strided_move(x, (*strides[:batch], *[0] * (len(index.shape) - 1 - batch), *strides[batch:]), y)
        return y
    k.take_blocks(x, index, x.shape[batch:batch + depth], math.prod(x.shape[:batch]),
                  math.prod(x.shape[batch + depth:]), wrap, y)
    return y


def put_blocks_forward(k: Any, x: Any, index: Any, values: Any, *, wrap: bool = True,
                       reduction: str = "") -> Any:
    check_blocks(x, index, values)
    depth = index.shape[-1]
    y = k.empty(x.shape, x.dtype)
    k.strided_move(x, tuple(strides_of(x.shape)), y)
    put = getattr(k, f"put_blocks_{reduction}" if reduction else "put_blocks")
    put(values, index, x.shape[:depth], 1, math.prod(x.shape[depth:]), wrap, y)
    return y


TAKE_BLOCKS = Op("take_blocks", "ai", take_blocks_forward, reference.take_blocks,
                 None, check_blocks, kernels=("take_blocks",), tolerance=0,
                 todo=NO_CUDA, checks_indices=True, bytes=lambda x, index, **_: 2 * x.nbytes)
PUT_BLOCKS = Op("put_blocks", "aia", put_blocks_forward, reference.put_blocks, None, check_blocks,
                todo=NO_CUDA, checks_indices=True, tolerance=4,
                kernels=("put_blocks", "put_blocks_add", "put_blocks_mul", "put_blocks_max", "put_blocks_min",
                         "strided_move"),
                bytes=lambda x, index, values, **_: 2 * x.nbytes)


# ---- torch's names

def index_select(input: Arrays, dim: int, index: Arrays) -> Arrays:
    """The slices `index` (one axis of whole numbers) of axis dim. IndexError for an
    index outside of it."""
    if len(index.shape) > 1:
        raise ValueError(f"index_select: index must have one axis, got {tuple(index.shape)}")
    if not input.shape:
        return reshape(TAKE(reshape(input, (1,)), index, dim=0, wrap=False), input.shape)
    return TAKE(input, index if index.shape else reshape(index, (1,)),
                dim=_axis("index_select", dim, len(input.shape)), wrap=False)


def gather(input: Arrays, dim: int, index: Arrays) -> Arrays:
    """y[.., i, ..] = input[.., index[.., i, ..], ..] along dim: index has input's axes and is no
    longer on any other. IndexError."""
    return TAKE_ALONG(input, index, dim=_axis("gather", dim, len(input.shape)), wrap=False)


def gather_nd(input: Arrays, index: Arrays, batch_dims: int = 0) -> Arrays:
    """input[index[..., 0], index[..., 1], ...], as ONNX's GatherND and TensorFlow's gather_nd:
    (*index.shape[:-1], *the axes behind).

    The first batch_dims axes are those of both. Negative indices count from the end. IndexError for
    one outside of its axis.
    """
    found: Arrays = TAKE_BLOCKS(input, index, batch=batch_dims, wrap=True)
    return found


def scatter_nd(input: Arrays, index: Arrays, src: Arrays, reduce: str = "") -> Arrays:
    """input with src[...] at input[index[..., 0], index[..., 1], ...], as ONNX's ScatterND; reduce:
    "", add, mul, max or min.

    Of values that meet the last stays. Returns a new array; IndexError.
    """
    if reduce not in REDUCTIONS:
        raise ValueError(
            f"scatter_nd: reduce must be one of {', '.join(map(repr, REDUCTIONS))}, got {reduce!r}")
    found: Arrays = PUT_BLOCKS(input, index, src, wrap=True, reduction=reduce)
    return found


def take_along_dim(input: Arrays, indices: Arrays, dim: int | None = None) -> Arrays:
    """As gather, where input and indices broadcast on all axes but dim, and negative indices count
    from the end; None: both flattened."""
    if dim is None:
        return TAKE_ALONG(reshape(input, (-1,)), reshape(indices, (-1,)), dim=0, wrap=True)
    dim = _axis("take_along_dim", dim, len(input.shape))
    if len(indices.shape) != len(input.shape):
        raise ValueError(f"take_along_dim: indices {tuple(indices.shape)} must have as many axes as input "
                         f"{tuple(input.shape)}")
    if all(n == m or a == dim for a, (n, m) in enumerate(zip(input.shape, indices.shape))):
        found: Arrays = TAKE_ALONG(input, indices, dim=dim, wrap=True)
        return found
    shape = [n if a != dim and n != 1 else m for a, (n, m) in enumerate(zip(input.shape, indices.shape))]
    x = broadcast_to(input, tuple(n if a == dim else s for a, (n, s) in enumerate(zip(input.shape, shape))))
    return TAKE_ALONG(x, broadcast_to(indices, tuple(m if a == dim else s
                                                     for a, (m, s) in enumerate(zip(indices.shape, shape)))),
                      dim=dim, wrap=True)


def scatter(input: Arrays, dim: int, index: Arrays, src: Any, reduce: str = "") -> Arrays:
    """input with src[.., i, ..] at index[.., i, ..] along dim; src: an array of index's shape (or
    longer), or a number.

    reduce: "", "add" or "multiply" with what is there. Of values that meet the last stays. Returns
    a new array; IndexError.
    """
    if reduce not in ("", "add", "multiply"):
        raise ValueError(f"scatter: reduce must be add or multiply, got {reduce!r}")
    return _put("scatter", input, dim, index, src, {"multiply": "mul"}.get(reduce, reduce))


def scatter_add(input: Arrays, dim: int, index: Arrays, src: Arrays) -> Arrays:
    """input with src[.., i, ..] added at index[.., i, ..] along dim, in the order of src. Returns a
    new array; IndexError."""
    return _put("scatter_add", input, dim, index, src, "add")


def scatter_reduce(input: Arrays, dim: int, index: Arrays, src: Arrays, reduce: str) -> Arrays:
    """As scatter_add; reduce: sum, prod, amax or amin with what is there. Returns a new
    array; IndexError."""
    names = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}
    if reduce not in names:
        raise ValueError(f"scatter_reduce: reduce must be one of {', '.join(names)}, got {reduce!r}")
    return _put("scatter_reduce", input, dim, index, src, names[reduce])


def slice_scatter(input: Arrays, src: Arrays, dim: int = 0, start: int | None = None, end: int | None = None,
                  step: int = 1) -> Arrays:
    """A copy of input with src in the place of entries start to end - 1 of axis `dim`, by `step`.

    src: of the shape of input[..., start:end:step, ...] and its type. Raises ValueError where it is
    not, or step is not positive.
    """
    dim, shape = _axis("slice_scatter", dim, len(input.shape)), tuple(input.shape)
    if not shape or step < 1:
        raise ValueError(f"slice_scatter: needs an axis and a positive step, got shape {shape} and step {step}")
    places = range(*slice(start, end, step).indices(shape[dim]))
    if tuple(src.shape) != (*shape[:dim], len(places), *shape[dim + 1:]):
        raise ValueError(f"slice_scatter: src must be of shape {(*shape[:dim], len(places), *shape[dim + 1:])}, got "
                         f"{tuple(src.shape)}")
    index = np.array(places, np.int64).reshape(-1, *[1] * (len(shape) - dim - 1))
    return scatter(input, dim, np.ascontiguousarray(np.broadcast_to(index, tuple(src.shape))), src)


def select_scatter(input: Arrays, src: Arrays, dim: int, index: int) -> Arrays:
    """A copy of input with src in the place of entry `index` of axis `dim`. src: input's shape
    without that axis. Raises ValueError where it is not, or there is no such entry."""
    dim = _axis("select_scatter", dim, len(input.shape))
    n = input.shape[dim] if input.shape else 0
    if not -n <= index < n:
        raise ValueError(f"select_scatter: index {index} is outside of axis {dim} of shape {tuple(input.shape)}")
    wanted = (*input.shape[:dim], *input.shape[dim + 1:])
    if tuple(src.shape) != wanted:
        raise ValueError(f"select_scatter: src must be of shape {wanted}, got {tuple(src.shape)}")
    return slice_scatter(input, unsqueeze(src, dim), dim, index % n, index % n + 1)


def masked_fill(input: Arrays, mask: Arrays, value: Any) -> Arrays:
    """value where mask is true, else input. mask broadcasts; value: a number, or an
    array without axes."""
    value, input = alike("masked_fill", value, input) if hasattr(value, "shape") else (value, input)
    return where(mask, value, input)


def _put(name: str, input: Arrays, dim: int, index: Arrays, src: Any, reduction: str) -> Arrays:
    if not hasattr(src, "shape"):
        src, input = alike(name, src, input)
    elif src.dtype is not input.dtype:
        src = as_type(src, input.dtype)
    dim = _axis(name, dim, len(input.shape))
    if not src.shape and index.shape:
        src = BROADCAST_TO(src, shape=tuple(index.shape))
    elif tuple(src.shape) != tuple(index.shape):
        if len(src.shape) != len(index.shape) or any(n > m for n, m in zip(index.shape, src.shape)):
            raise ValueError(f"{name}: src {tuple(src.shape)} must be at least as long as index "
                             f"{tuple(index.shape)} on every axis")
        src = src[tuple(slice(0, n) for n in index.shape)]
    if not input.shape:
        found = PUT_ALONG(reshape(input, (1,)), reshape(index, (1,)), reshape(src, (1,)), dim=0, wrap=False,
                          reduction=reduction)
        return reshape(found, ())
    return PUT_ALONG(input, index, src, dim=dim, wrap=False, reduction=reduction)
