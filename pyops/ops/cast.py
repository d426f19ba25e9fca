"""Copies and changes of type: what Tensor.astype, to, float, double and clone are."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context, Tensor
from ..core.types import Array, Arrays, DType
from .result_shapes import first

reference = LateFunctions("pyops.kernels.typed.reference")

__all__ = ["clone"]


def clone(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """A copy of input: any shape, float32 or float64. The gradient is passed on."""
    if isinstance(input, Tensor):
        return cast(input, input.dtype, copy=True)
    copied: Arrays = CAST(input, out=out)
    return copied


def cast(input: Tensor, dtype: DType, copy: bool) -> Tensor:
    """input in `dtype`, itself where nothing changes and no copy is wanted. Between float
    types gradients flow."""
    dtype = np.dtype(dtype)
    if input.dtype == dtype and not copy:
        return input
    if hasattr(input, "value") and input.dtype == dtype:
        return input   # a value of a graph: nothing writes to it, so that it need not be copied
    found: Tensor = CAST(input, dtype=dtype)   # whole numbers have no gradient
    return found


def python_float(value: Any, other: Any) -> Any:
    """A float of NumPy's beside an array of whole numbers as Python's, which takes the default type."""
    if not isinstance(value, np.floating) or isinstance(other, np.generic):
        return value
    return value.item() if getattr(getattr(other, "dtype", None), "kind", "f") in "iub" else value


def forward(k: Any, x: Array, *, dtype: np.dtype[Any] | None = None, **_: bool) -> Array:
    """implied=True: nobody asked for the rounding, so that the compiler may leave it out between
    two calls that compute in float32."""
    y: Array = k.empty(x.shape, x.dtype if dtype is None else dtype)
    if hasattr(k, "cast"):
        k.cast(x, y)
    else:
        y[...] = x   # a device's arrays do so themselves
    return y


def gradient(ctx: Context) -> tuple[Any]:
    return (CAST(ctx.g, dtype=ctx.inputs[0].dtype),)


CAST = Op("cast", "a", forward, reference.cast, gradient, tolerance=0, per_sample=True, shapes=first,
          todo={"pointwise": "results of another type do not lie in a map"})
