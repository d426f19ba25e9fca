"""Copies and changes of type: what Tensor.astype, to, float, double and clone are."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.registry import Op
from ..core.tensor import Context, Tensor
from ..core.types import Array, Arrays, DType

__all__ = ["clone"]


def clone(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """A copy of input: any shape, float32 or float64. The gradient is passed on."""
    if isinstance(input, Tensor):
        return cast(input, input.dtype, copy=True)
    copied: Arrays = CAST(input, out=out)
    return copied


def cast(input: Tensor, dtype: DType, copy: bool) -> Tensor:
    """input in `dtype`, itself where nothing changes and no copy is wanted. Between float types gradients flow."""
    dtype = np.dtype(dtype)
    if input.dtype == dtype and not copy:
        return input
    if hasattr(input, "value") and input.dtype == dtype:
        return input   # a value of a graph: nothing writes to it, so that it need not be copied
    if input.dtype.kind == "f" and dtype.kind == "f":
        found: Tensor = CAST(input, dtype=dtype)
        return found
    return Tensor(input.data.astype(dtype))   # whole numbers have no gradient


def forward(k: Any, x: Array, *, dtype: np.dtype[Any] | None = None) -> Array:
    y: Array = k.empty(x.shape, dtype)
    y[...] = x
    return y


def reference(x: Array, *, dtype: np.dtype[Any] | None = None) -> Array:
    return x.astype(x.dtype if dtype is None else dtype)


def gradient(ctx: Context) -> tuple[Any]:
    return (CAST(ctx.g, dtype=ctx.inputs[0].dtype),)


CAST = Op("cast", "r", forward, reference, gradient, tolerance=0, per_sample=True,
          todo={"pointwise": "NumPy copies: no kernel could run over a map's memory"})
