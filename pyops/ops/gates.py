"""Gates: glu, and the shrinking activations."""
from __future__ import annotations

import math
from typing import Any

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays
from .activation import SHRINK
from .elementwise import sub, tanh
from .shape import _axis

reference = LateFunctions("pyops.kernels.activation.reference")

__all__ = ["glu", "hardshrink", "softshrink", "tanhshrink"]


def glu(input: Arrays, dim: int = -1, *, out: Arrays | None = None) -> Arrays:
    """The first half of axis `dim` times the sigmoid of the second. Raises ValueError where the axis
    has no two halves. Source: Dauphin et al. (2017)."""
    axis = _axis("glu", dim, len(input.shape))
    if not input.shape or input.shape[axis] % 2:
        raise ValueError(f"glu: axis {dim} must be of even size, got shape {tuple(input.shape)}")
    return GLU(input, dim=axis, out=out)


def glu_shape(shape: Any, dim: int) -> tuple[int, ...]:
    return (*shape[:dim], shape[dim] // 2, *shape[dim + 1:])


def glu_forward(k: Any, x: Any, *, dim: int) -> Any:
    y = k.empty(glu_shape(x.shape, dim))
    k.glu(x, math.prod(y.shape[dim:]), y)
    return y


def glu_backward(k: Any, g: Any, x: Any, *, dim: int) -> Any:
    dx = k.empty(x.shape)
    k.glu_backward(g, x, math.prod(g.shape[dim:]), dx)
    return dx


GLU_BACKWARD = Op("glu_backward", "rr", glu_backward, reference.glu_backward, kernels=("glu_backward",),
                  per_sample=lambda g, x, *, dim: dim > 0)
GLU = Op("glu", "r", glu_forward, reference.glu,
         lambda ctx: (GLU_BACKWARD(ctx.g, ctx.inputs[0], **ctx.attrs),), kernels=("glu",),
         bytes=lambda x, *, dim: 3 * x.nbytes // 2, per_sample=lambda shape, *, dim: dim > 0)


def hardshrink(input: Arrays, lambd: float = 0.5) -> Arrays:
    """x where not |x| <= lambd, else 0: NaN stays."""
    return SHRINK(input, at=float(lambd), bias=0.0)


def softshrink(input: Arrays, lambd: float = 0.5) -> Arrays:
    """x - lambd where x > lambd, x + lambd where x < -lambd, else 0."""
    if not lambd >= 0:
        raise ValueError(f"softshrink: lambd must not be negative, got {lambd}")
    return SHRINK(input, at=float(lambd), bias=float(lambd))


def tanhshrink(input: Arrays) -> Arrays:
    """x - tanh(x)."""
    return sub(input, tanh(input))
