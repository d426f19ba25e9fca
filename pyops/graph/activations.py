"""Rows that a producer can apply in its epilogue, as (kind, operand, operand) of kernels/blocked/epilogue.h."""
from __future__ import annotations

import math

CLAMP, LEAKY_RELU, SIGMOID, TANH, SILU, HARDSIGMOID, HARDSWISH, GELU, GELU_TANH, ELU = range(10)
NONE = (CLAMP, -math.inf, math.inf)
NAMES = ("clamp", "leaky_relu", "sigmoid", "tanh", "silu", "hardsigmoid", "hardswish", "gelu", "gelu_tanh", "elu")
PLAIN = {"sigmoid": SIGMOID, "tanh": TANH, "silu": SILU, "hardsigmoid": HARDSIGMOID, "hardswish": HARDSWISH, "gelu": GELU, "gelu_tanh": GELU_TANH}


def activation(op: str, attrs: dict) -> tuple[int, float, float] | None:
    """The activation that row `op` is, or None."""
    operands = [v for v in attrs.values() if isinstance(v, (int, float))]
    if op == "relu":
        return CLAMP, 0.0, math.inf
    if op == "hardtanh":
        return CLAMP, float(operands[0]), float(operands[1])
    if op == "leaky_relu":
        return LEAKY_RELU, float(operands[0]), 0.0
    if op == "elu" and tuple(operands[1:]) == (1.0, 1.0):
        return ELU, float(operands[0]), 0.0
    return (PLAIN[op], 0.0, 0.0) if op in PLAIN else None


def describe(kind: tuple[int, float, float] | None) -> str:
    if kind is None or kind == NONE:
        return ""
    if kind[0] == CLAMP:
        return "relu" if kind[1:] == (0.0, math.inf) else f"clamp({kind[1]:g}, {kind[2]:g})"
    return NAMES[kind[0]]
