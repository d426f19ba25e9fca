"""Orders and running sums along one axis, under torch's names. Arrays of any element type; NaN is
greater than all numbers."""
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .. import _C
from ..core.backends import active
from ..core.dispatch import on_device
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.symbolic import index as as_int
from ..core.tensor import Tensor
from ..core.types import Arrays
from .elementwise import ARRAYS, SELECT, number, where
from .gather import PUT_ALONG
from .shape import BROADCAST_TO, _axis, broadcast_to, cat, narrow, reshape
from .typed import NO_CUDA, as_type, dtype_of

reference = LateFunctions("pyops.kernels.typed.reference")

__all__ = ["argsort", "cumprod", "cumsum", "roll", "sort", "tile", "topk", "tril", "triu"]


class Ordered(NamedTuple):
    """What topk and sort return."""
    values: Arrays
    indices: Arrays



def around(shape: Any, dim: int) -> tuple[int, int, int]:
    """How many lines there are before the axis, how long it is, and how many behind it."""
    return math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1:])


def top_forward(k: Any, x: Any, *, dim: int, count: int, largest: bool) -> tuple[Any, Any]:
    top_check(x, dim=dim, count=count, largest=largest)
    shape = (*x.shape[:dim], count, *x.shape[dim + 1:])
    values, index = k.empty(shape, x.dtype), k.empty(shape, "int64")
    k.top(x, *around(x.shape, dim), count, largest, values, index)
    return values, index


def top_check(x: Any, *, dim: int, count: int, largest: bool) -> None:
    if not 0 <= count <= x.shape[dim]:
        raise ValueError(f"topk: k must be from 0 to {x.shape[dim]}, the length of axis {dim}, got {count}")


def top_gradient(ctx: Any) -> tuple[Any]:
    x, (_, index) = ctx.inputs[0], ctx.outputs
    zero = BROADCAST_TO(number(0.0, ctx.g), shape=tuple(x.shape))
    return (PUT_ALONG(zero, index, ctx.g, dim=ctx.attrs["dim"], wrap=False, reduction="add"),)


def kept_axis(shape: Any, *, dim: int, **_: Any) -> bool:
    return dim % max(len(shape), 1) != 0


TOP = Op("top", "a", top_forward, reference.top, top_gradient, top_check, kernels=("top",), tolerance=0,
         todo=NO_CUDA, bytes=lambda x, **_: x.nbytes, per_sample=kept_axis)


def running(name: str, gradient: Any) -> Op:
    def forward(k: Any, x: Any, *, dim: int, exclusive: bool = False, reverse: bool = False) -> Any:
        y = k.empty(x.shape, x.dtype)
        getattr(k, name)(x, *around(x.shape, dim), exclusive, reverse, y)
        return y
    return Op(name, "a", forward, getattr(reference, name), gradient, kernels=(name,), tolerance=64,
              todo=NO_CUDA, bytes=lambda x, **_: 2 * x.nbytes, per_sample=kept_axis)


def cumsum_gradient(ctx: Any) -> tuple[Any]:
    """Every value is in the sums behind it: running sums of g from the other end."""
    return (CUMSUM(ctx.g, dim=ctx.attrs["dim"], exclusive=ctx.attrs.get("exclusive", False),
                   reverse=not ctx.attrs.get("reverse", False)),)


CUMSUM, CUMPROD = running("cumsum", cumsum_gradient), running("cumprod", None)


def topk(input: Arrays, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Ordered:
    """(values, indices) of the k largest (or smallest) along dim, in order whether or not that is
    asked for, the first of equals first.

    indices: int64. ValueError for a k outside of the axis. A NaN counts as largest.
    """
    if not input.shape:
        values, index = topk(reshape(input, (1,)), k, 0, largest)
        return Ordered(reshape(values, ()), reshape(index, ()))
    return Ordered(*TOP(input, dim=_axis("topk", dim, len(input.shape)), count=k, largest=bool(largest)))


def sort(input: Arrays, dim: int = -1, descending: bool = False, stable: bool = True) -> Ordered:
    """(values, indices) in order along dim; equals keep theirs. NaN comes last, or
    first where descending."""
    return topk(input, input.shape[_axis("sort", dim, len(input.shape))] if input.shape else 1, dim, descending)


def argsort(input: Arrays, dim: int = -1, descending: bool = False, stable: bool = True) -> Arrays:
    """The int64 indices that sort along dim; equals keep their order."""
    return sort(input, dim, descending)[1]


def cumsum(input: Arrays, dim: int) -> Arrays:
    """Running sums along dim. Whole numbers and truth values become int64; floats are summed
    in double precision."""
    return _running(CUMSUM, "cumsum", input, dim)


def cumprod(input: Arrays, dim: int) -> Arrays:
    """Running products along dim. Whole numbers and truth values become int64.
    Without a gradient."""
    return _running(CUMPROD, "cumprod", input, dim)


def _running(row: Op, name: str, input: Arrays, dim: int) -> Arrays:
    x = as_type(input, "int64") if dtype_of(input).kind in "iub" else input
    if not x.shape:
        return reshape(row(reshape(x, (1,)), dim=_axis(name, dim, 0)), ())
    found: Arrays = row(x, dim=_axis(name, dim, len(x.shape)))
    return found


# ---- what is made of others

def roll(input: Arrays, shifts: Any, dims: Any = None) -> Arrays:
    """Moved by `shifts` along `dims` (ints, or several), round the ends; without dims, of
    the flattened array. A new array."""
    shape = tuple(input.shape)
    if dims is None:
        return reshape(roll(reshape(input, (-1,)), shifts, 0), shape)
    shifts, dims = ints_of("shifts", shifts), ints_of("dims", dims)
    if len(shifts) != len(dims):
        raise ValueError(f"roll: as many shifts as dims, got {shifts} and {dims}")
    if not shape:
        return reshape(roll(reshape(input, (1,)), shifts, dims), shape)
    shifts, dims = tuple(shifts), tuple(_axis("roll", d, len(shape)) for d in dims)
    return by_parts(input, shifts, dims) if on_device((input,)) else ROLL(input, shifts=shifts, dims=dims)


def ints_of(name: str, given: Any) -> list[int]:
    """An int, also one of NumPy's, or several."""
    try:
        return [as_int(v) for v in (given if isinstance(given, (tuple, list)) else [given])]
    except TypeError:
        raise TypeError(f"roll: {name} must be an int or several, got {given!r}") from None


def by_parts(input: Arrays, shifts: Any, dims: Any) -> Arrays:
    """roll in rows that a GPU has kernels for."""
    for shift, dim in zip(shifts, dims):
        n = input.shape[dim]
        at = -shift % n if n else 0
        if at:
            input = cat([narrow(input, dim, at, n - at), narrow(input, dim, 0, at)], dim)
    return input


@lru_cache(4096)
def rolled(shape: Any, shifts: Any, dims: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes and shifts, from 0 to below the size; an axis that stays is joined to the one before."""
    sizes, moves = [1], [0]
    for axis, size in enumerate(shape):
        by = sum(s for s, d in zip(shifts, dims) if d == axis) % max(size, 1)
        if by:
            sizes.append(size)
            moves.append(by)
        else:
            sizes[-1] *= size
            moves[-1] *= size
    return tuple(sizes), tuple(moves)


def roll_forward(k: Any, x: Any, *, shifts: Any, dims: Any) -> Any:
    y = k.empty(x.shape, x.dtype)
    k.roll(x, *rolled(x.shape, shifts, dims), y)
    return y


def roll_gradient(ctx: Any) -> tuple[Any]:
    return (ROLL(ctx.g, shifts=tuple(-s for s in ctx.attrs["shifts"]), dims=ctx.attrs["dims"]),)


ROLL = Op("roll", "a", roll_forward, reference.roll, roll_gradient, kernels=("roll",), tolerance=0,
          todo=NO_CUDA, bytes=lambda x, **_: 2 * x.nbytes,
          per_sample=lambda shape, *, shifts, dims: 0 not in dims)


@lru_cache(4096)
def _repeated(shape: tuple[int, ...], dims: tuple[int, ...], size: int) -> Any:
    """A view that repeats an array of `shape`, its strides in bytes, and what its copy is seen as; None where
    nothing is repeated, or nothing is there."""
    if {type(d) for d in dims} != {int} or min(dims) < 1 or math.prod(shape) == 0 or math.prod(dims) == 1:
        return None
    shape, dims = (1,) * (len(dims) - len(shape)) + shape, (1,) * (len(shape) - len(dims)) + dims
    strides, step = [], size
    for n in reversed(shape):
        strides += [step, 0]
        step *= n
    return (tuple(n for d, s in zip(dims, shape) for n in (d, s)), tuple(reversed(strides)),
            tuple(d * s for d, s in zip(dims, shape)))


def tile(input: Arrays, dims: Any) -> Arrays:
    """Repeated dims[a] times along axis a; axes are added in front of the shorter of
    the two. A new array."""
    shape, dims = tuple(input.shape), tuple(dims)
    x = input.data if type(input) is Tensor else input
    if type(x) is np.ndarray and x.dtype.kind in "fiub" and x.flags.c_contiguous and (
            x is input or not input.requires_grad) and (seen := _repeated(shape, dims, x.itemsize)):
        wide, strides, whole = seen   # the shortest way
        y = _C.contiguous(np.ndarray(wide, x.dtype, x, 0, strides)).reshape(whole)
        return y if x is input else Tensor(y)
    shape, dims = (1,) * (len(dims) - len(shape)) + shape, (1,) * (len(shape) - len(dims)) + dims
    apart = broadcast_to(reshape(input, tuple(n for s in shape for n in (1, s))),
                         tuple(n for d, s in zip(dims, shape) for n in (d, s)))
    return reshape(apart, tuple(d * s for d, s in zip(dims, shape)))


def tril(input: Arrays, diagonal: int = 0) -> Arrays:
    """The part of each matrix (last two axes) on and below a diagonal, 0 elsewhere,
    whatever lies there."""
    return _triangle("tril", input, diagonal, False)


def triu(input: Arrays, diagonal: int = 0) -> Arrays:
    """The part of each matrix (last two axes) on and above a diagonal, 0 elsewhere,
    whatever lies there."""
    return _triangle("triu", input, diagonal, True)


def _triangle(name: str, input: Arrays, diagonal: int, upper: bool) -> Arrays:
    if len(input.shape) < 2:
        raise ValueError(f"{name}: takes matrices, got input {tuple(input.shape)}")
    rows, columns = input.shape[-2:]
    mask, zero = _mask(rows, columns, diagonal, upper), _zero(dtype_of(input))
    if type(input) in ARRAYS and active.get().name not in SELECT.todo:   # the shortest way
        return SELECT(mask, input, zero)
    return where(mask, input, zero)


@lru_cache(32)
def _zero(dtype: Any) -> Any:
    zero = np.zeros((), dtype)
    zero.flags.writeable = False
    return zero


def _mask(rows: int, columns: int, diagonal: int, upper: bool) -> Any:
    kept = type(rows) is type(columns) is int and rows * columns <= 1 << 20
    return _kept_mask(rows, columns, diagonal, upper) if kept else _new_mask(rows, columns, diagonal, upper)


def _new_mask(rows: int, columns: int, diagonal: int, upper: bool) -> Any:
    lower = np.tri(rows, columns, diagonal - upper, bool)   # of numbers as small as the sizes allow
    mask = ~lower if upper else lower
    mask.flags.writeable = False
    return mask


_kept_mask = lru_cache(8)(_new_mask)   # making it takes as long as using it
