"""Rows that a producer can apply in its epilogue, as (kind, operand, operand) of kernels/blocked/epilogue.h."""
from __future__ import annotations

import math

from ..core.registry import Op

CLAMP, LEAKY_RELU, SIGMOID, TANH, SILU, HARDSIGMOID, HARDSWISH, GELU, GELU_TANH, ELU = range(10)
NONE = (CLAMP, -math.inf, math.inf)
NAMES = ("clamp", "leaky_relu", "sigmoid", "tanh", "silu", "hardsigmoid", "hardswish", "gelu", "gelu_tanh", "elu")


def activation(row: Op, attrs: dict) -> tuple[int, float, float] | None:
    """The activation that a call of `row` is, if a producer can apply it; else None."""
    found = row.epilogue(**attrs) if row.epilogue else None
    if found is None:
        return None
    name, *operands = found
    return (NAMES.index(name), *(float(v) for v in (*operands, 0.0, 0.0)[:2]))


def describe(kind: tuple[int, float, float] | None) -> str:
    if kind is None or kind == NONE:
        return ""
    if kind[0] == CLAMP:
        return "relu" if kind[1:] == (0.0, math.inf) else f"clamp({kind[1]:g}, {kind[2]:g})"
    return NAMES[kind[0]]
