"""Rounding and trigonometry, value by value, under torch's names; of float16 and bfloat16, too,
which are computed in float32."""
from __future__ import annotations

from typing import Any

from ..core.types import Arrays
from .elementwise import add, div, mul, neg, number, rsqrt, square, sub
from .shape import BROADCAST_TO
from .typed import as_type, dtype_of, is_whole, one

__all__ = ["acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "floor", "round", "sin",
           "sinh", "tan", "trunc"]


def flat(ctx: Any) -> tuple[Any]:
    """The gradient of steps: none, wherever it is defined."""
    return (BROADCAST_TO(number(0.0, ctx.g), shape=tuple(ctx.g.shape)),)


def slope(rule: Any) -> Any:
    """A gradient rule from f'(x)."""
    return lambda ctx: (mul(ctx.g, rule(ctx.inputs[0])),)


# libm's are within one or two units of the last place; around a zero the error is relative
# to the greatest result
FLOOR, CEIL, ROUND, TRUNC = (one(name, flat, takes="fV") for name in ("floor", "ceil", "round", "trunc"))
SIN = one("sin", slope(lambda x: COS(x)), tolerance=4, takes="fV")
COS = one("cos", slope(lambda x: neg(SIN(x))), tolerance=4, takes="fV")
TAN = one("tan", slope(lambda x: add(square(TAN(x)), 1.0)), tolerance=16, takes="fV")
ASIN = one("asin", slope(lambda x: rsqrt(sub(1.0, square(x)))), tolerance=16, takes="fV")
ACOS = one("acos", slope(lambda x: neg(rsqrt(sub(1.0, square(x))))), tolerance=16, takes="fV")
ATAN = one("atan", slope(lambda x: div(1.0, add(square(x), 1.0))), tolerance=4, takes="fV")
SINH = one("sinh", slope(lambda x: COSH(x)), tolerance=8, takes="fV")
COSH = one("cosh", slope(lambda x: SINH(x)), tolerance=8, takes="fV")
ASINH = one("asinh", slope(lambda x: rsqrt(add(square(x), 1.0))), tolerance=8, takes="fV")
ACOSH = one("acosh", slope(lambda x: rsqrt(sub(square(x), 1.0))), tolerance=16, takes="fV")
ATANH = one("atanh", slope(lambda x: div(1.0, sub(1.0, square(x)))), tolerance=16, takes="fV")


def steps(row: Any, input: Arrays) -> Arrays:
    return input if is_whole(input) else row(input)   # whole numbers are their own


def floats(row: Any, input: Arrays) -> Arrays:
    return row(as_type(input, "float32") if dtype_of(input).kind in "iub" else input)


def floor(input: Arrays) -> Arrays:
    """The greatest whole number that is not above x. Any shape and float type; the gradient is
    0."""
    return steps(FLOOR, input)


def ceil(input: Arrays) -> Arrays:
    """The least whole number that is not below x. Any shape and float type; the gradient is 0."""
    return steps(CEIL, input)


def round(input: Arrays, *, decimals: int = 0) -> Arrays:
    """The nearest whole number, of two as near the even one. decimals: of so many digits behind the
    point. The gradient is 0."""
    if decimals and not is_whole(input):
        return div(ROUND(mul(input, 10.0 ** decimals)), 10.0 ** decimals)
    return steps(ROUND, input)


def trunc(input: Arrays) -> Arrays:
    """x without what is behind the point. Any shape and float type; the gradient is 0."""
    return steps(TRUNC, input)


def sin(input: Arrays) -> Arrays:
    """The sine of x in radians. Any shape and float type; whole numbers become float32."""
    return floats(SIN, input)


def cos(input: Arrays) -> Arrays:
    """The cosine of x in radians. Any shape and float type; whole numbers become float32."""
    return floats(COS, input)


def tan(input: Arrays) -> Arrays:
    """The tangent of x in radians. Any shape and float type; whole numbers become float32."""
    return floats(TAN, input)


def asin(input: Arrays) -> Arrays:
    """The angle in [-pi/2, pi/2] whose sine is x, NaN outside of [-1, 1]."""
    return floats(ASIN, input)


def acos(input: Arrays) -> Arrays:
    """The angle in [0, pi] whose cosine is x, NaN outside of [-1, 1]."""
    return floats(ACOS, input)


def atan(input: Arrays) -> Arrays:
    """The angle in (-pi/2, pi/2) whose tangent is x."""
    return floats(ATAN, input)


def sinh(input: Arrays) -> Arrays:
    """(e^x - e^-x) / 2."""
    return floats(SINH, input)


def cosh(input: Arrays) -> Arrays:
    """(e^x + e^-x) / 2."""
    return floats(COSH, input)


def asinh(input: Arrays) -> Arrays:
    """The number whose hyperbolic sine is x."""
    return floats(ASINH, input)


def acosh(input: Arrays) -> Arrays:
    """The number >= 0 whose hyperbolic cosine is x, NaN below 1."""
    return floats(ACOSH, input)


def atanh(input: Arrays) -> Arrays:
    """The number whose hyperbolic tangent is x, NaN outside of [-1, 1]."""
    return floats(ATANH, input)
