"""Sums, products, extremes and their places of whole numbers and truth values, along
one axis at a time."""
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays, Dims
from .order import around, kept_axis
from .shape import reshape
from .typed import BOOL, NO_CUDA, as_type, dtype_of

reference = LateFunctions("pyops.kernels.typed.reference")

__all__ = ["all", "any"]


LONG = np.dtype(np.int64)


@lru_cache(4096)
def folded(shape: tuple[int, ...], dim: int) -> tuple[tuple[int, ...], int, int, int]:
    """The result's shape, and the lines before the axis, their length, and those behind it."""
    return (*shape[:dim], 1, *shape[dim + 1:]), *around(shape, dim)


def along_axis(name: str, result: Any = None, **defaults: Any) -> Op:
    """The row of a reduction of one axis, which stays as one of length 1; result: the type of y,
    None for that of x."""
    def forward(k: Any, x: Any, *, dim: int, **attrs: Any) -> Any:
        shape, *lines = folded(x.shape, dim)
        y = k.empty(shape, result or x.dtype)
        getattr(k, name)(x, *lines, *({**defaults, **attrs} if defaults else attrs).values(), y)
        return y

    def check(x: Any, *, dim: int, **_: Any) -> None:
        if not 0 <= dim < len(x.shape):
            raise ValueError(
                f"{name}: dim {dim} is outside the {len(x.shape)} axes of input {tuple(x.shape)}")
    return Op(name, "a", forward, getattr(reference, name), None, check, kernels=(name,), tolerance=0,
              todo=NO_CUDA, bytes=lambda x, **_: x.nbytes, per_sample=kept_axis)


WHOLE_SUM, WHOLE_PROD, ANY_MAX, ANY_MIN = (along_axis(name)
                                           for name in ("whole_sum", "whole_prod", "any_max", "any_min"))
ROWS = {"sum": WHOLE_SUM, "prod": WHOLE_PROD, "amax": ANY_MAX, "amin": ANY_MIN}
ANY_ARGMAX, ANY_ARGMIN = (along_axis(name, "int64", last=False) for name in ("any_argmax", "any_argmin"))


def reduced(row: Any, x: Any, dims: Any, keepdim: bool) -> Any:
    """Along each of `dims`, counted from the front."""
    shape = tuple(x.shape)
    for dim in dims:
        x = row(x, dim=dim)
    return x if keepdim else reshape(x, tuple(n for a, n in enumerate(shape) if a not in dims))


def is_whole(x: Any) -> bool:
    return getattr(x.dtype, "kind", "f") in "iub"


def of_whole(name: str, x: Any, dims: Any, shape: Any) -> Any:
    """The sum, prod, amax or amin over `dims`, of `shape`; sums and products are int64."""
    if name in ("sum", "prod"):
        x = x if type(x) is np.ndarray and x.dtype is LONG else as_type(x, LONG)
    y = ROWS[name](x, dim=dims[0]) if len(dims) == 1 else reduced(ROWS[name], x, dims, True)
    return y.reshape(shape) if type(y) is np.ndarray else reshape(y, shape)


def place_of_extreme(row: Op, x: Any, dim: int | None, keepdim: bool, last: bool = False) -> Any:
    """int64 places of extremes along one axis, None: in the flattened array."""
    if dim is None or not x.shape:
        found = row(reshape(x, (-1,)), dim=0, last=last)
        return reshape(found, (1,) * len(x.shape) if keepdim else ())
    return reduced(lambda x, dim: row(x, dim=dim, last=last), x, (dim,), keepdim)


def any(input: Arrays, dim: Dims | None = None, keepdim: bool = False) -> Arrays:
    """Whether one along dim (None: of all) is not 0; False of none."""
    return _of_truth(ANY_MAX, "any", input, dim, keepdim)


def all(input: Arrays, dim: Dims | None = None, keepdim: bool = False) -> Arrays:
    """Whether none along dim (None: of all) is 0; True of none."""
    return _of_truth(ANY_MIN, "all", input, dim, keepdim)


def _of_truth(row: Op, name: str, input: Arrays, dim: Dims | None, keepdim: bool) -> Arrays:
    from .reduction import axes
    x = input if dtype_of(input) == BOOL else as_type(input, BOOL)
    dims, _ = axes(name, x, dim, keepdim)
    found: Arrays = reduced(row, x, dims, keepdim)
    return found
