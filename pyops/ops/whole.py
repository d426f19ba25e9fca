"""Arithmetic of whole numbers and truth values. F.add and the other functions of arithmetic come
here with such arrays (Op.whole); what wraps, and what a division by 0 gives, stands in
kernels/typed/reference.py.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays, Operand
from .broadcast import plan
from .comparison import BITWISE_AND, BITWISE_OR, BITWISE_XOR
from .typed import BOOL, NO_CUDA, alike, check_pair, one, pair

reference = LateFunctions("pyops.kernels.typed.reference")

__all__ = ["bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
           "bitwise_xor", "floor_divide", "fmod", "remainder", "sign"]


def add_forward(k: Any, a: Any, b: Any, *, alpha: int = 1) -> Any:
    if alpha != 1 or a.dtype is not b.dtype:
        check_sum(a, b, alpha=alpha)
    shape, *layout = plan("add", a.shape, b.shape)
    y = k.empty(shape, a.dtype)
    if alpha == -1:
        k.whole_sub(a, b, *layout, y)
        return y
    if alpha != 1:
        scaled = k.empty(b.shape, b.dtype)
        k.whole_mul(b, np.asarray(alpha).astype(b.dtype), *plan("mul", b.shape, ())[1:], scaled)
        b = scaled
    k.whole_add(a, b, *layout, y)
    return y


def check_sum(a: Any, b: Any, *, alpha: int = 1) -> None:
    check_pair("add")(a, b)
    if a.dtype == BOOL and alpha < 0:
        raise TypeError("sub: bool has no difference; use logical_xor or ne")


WHOLE_ADD = Op("whole_add", "aa", add_forward, reference.whole_add, None, check_sum,
               kernels=("whole_add", "whole_sub", "whole_mul"), tolerance=0,
               bytes=lambda a, b, **_: 2 * a.nbytes, pointwise=True, per_sample=True, todo=NO_CUDA)
WHOLE_MUL, WHOLE_DIV, WHOLE_POW, WHOLE_MAXIMUM, WHOLE_MINIMUM = (
    pair(f"whole_{name}", takes="biu") for name in ("mul", "div", "pow", "maximum", "minimum"))
SHIFT_LEFT, SHIFT_RIGHT = (pair(name, takes="biu") for name in ("shift_left", "shift_right"))
FLOOR_DIVIDE, REMAINDER, FMOD = pair("floor_divide"), pair("remainder"), pair("fmod")
WHOLE_NEG, WHOLE_ABS = (one(name, takes="iu") for name in ("whole_neg", "whole_abs"))
BITWISE_NOT, SIGN = one("bitwise_not", takes="biu"), one("sign", takes="iufV")


def floor_divide(input: Operand, other: Operand) -> Arrays:
    """floor(input / other), of whole numbers or floats, as Python's //. Whole numbers
    divided by 0 give 0."""
    return FLOOR_DIVIDE(*alike("floor_divide", input, other))


def remainder(input: Operand, other: Operand) -> Arrays:
    """What is left of input behind floor_divide: it has the sign of other, as Python's %. 0 where a
    whole divisor is 0."""
    return REMAINDER(*alike("remainder", input, other))


def fmod(input: Operand, other: Operand) -> Arrays:
    """What is left of input where it is divided towards zero: it has the sign of input, as C's
    fmod. 0 where a whole divisor is 0."""
    return FMOD(*alike("fmod", input, other))


def bitwise_and(input: Operand, other: Operand) -> Arrays:
    """The bits that both have. Whole numbers or truth values."""
    return BITWISE_AND(*alike("bitwise_and", input, other))


def bitwise_or(input: Operand, other: Operand) -> Arrays:
    """The bits that either has. Whole numbers or truth values."""
    return BITWISE_OR(*alike("bitwise_or", input, other))


def bitwise_xor(input: Operand, other: Operand) -> Arrays:
    """The bits that exactly one has. Whole numbers or truth values."""
    return BITWISE_XOR(*alike("bitwise_xor", input, other))


def bitwise_not(input: Arrays) -> Arrays:
    """The other bits. Whole numbers or truth values."""
    return BITWISE_NOT(input)


def bitwise_left_shift(input: Operand, other: Operand) -> Arrays:
    """input times 2^other, without the bits that leave the type. Whole numbers; 0 where other is
    negative or not below the type's bits."""
    return SHIFT_LEFT(*alike("bitwise_left_shift", input, other))


def bitwise_right_shift(input: Operand, other: Operand) -> Arrays:
    """floor(input / 2^other). Whole numbers; all bits are the sign's where other is negative or not
    below the type's bits."""
    return SHIFT_RIGHT(*alike("bitwise_right_shift", input, other))


def sign(input: Arrays) -> Arrays:
    """-1, 0 or 1, in the type of input; NaN stays. The gradient is 0."""
    return SIGN(input)
