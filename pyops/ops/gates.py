"""Activations that are two or three other rows: glu and the shrinking ones."""
from __future__ import annotations

from ..core.types import Arrays
from .comparison import le
from .elementwise import abs as absolute, clamp, mul, sigmoid, sub, tanh, where
from .shape import _axis, split

__all__ = ["glu", "hardshrink", "softshrink", "tanhshrink"]


def glu(input: Arrays, dim: int = -1) -> Arrays:
    """The first half of axis `dim` times the sigmoid of the second. Raises ValueError where the axis
    has no two halves. Source: Dauphin et al. (2017)."""
    axis = _axis("glu", dim, len(input.shape))
    if not input.shape or input.shape[axis] % 2:
        raise ValueError(f"glu: axis {dim} must be of even size, got shape {tuple(input.shape)}")
    half = input.shape[axis] // 2
    value, gate = split(input, [half, half], axis)
    return mul(value, sigmoid(gate))


def hardshrink(input: Arrays, lambd: float = 0.5) -> Arrays:
    """x where not |x| <= lambd, else 0: NaN stays."""
    return where(le(absolute(input), lambd), 0.0, input)


def softshrink(input: Arrays, lambd: float = 0.5) -> Arrays:
    """x - lambd where x > lambd, x + lambd where x < -lambd, else 0."""
    if not lambd >= 0:
        raise ValueError(f"softshrink: lambd must not be negative, got {lambd}")
    return sub(input, clamp(input, -lambd, lambd))


def tanhshrink(input: Arrays) -> Arrays:
    """x - tanh(x)."""
    return sub(input, tanh(input))
