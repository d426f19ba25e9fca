"""Comparisons, questions and logic, under torch's names. Results are truth values (bool),
and have no gradient."""
from __future__ import annotations

from typing import Any

from ..core.types import Arrays, Operand
from .typed import BOOL, alike, as_type, is_whole, one, pair

__all__ = ["eq", "ge", "gt", "isfinite", "isinf", "isnan", "le", "logical_and", "logical_not", "logical_or",
           "logical_xor", "lt", "ne"]

EQUAL, NOT_EQUAL, LESS, LESS_EQUAL = (pair(name, result=BOOL)
                                      for name in ("equal", "not_equal", "less", "less_equal"))
ISNAN, ISINF, LOGICAL_NOT = (one(name, result=BOOL) for name in ("isnan", "isinf", "logical_not"))
BITWISE_AND, BITWISE_OR, BITWISE_XOR = (pair(name, takes="biu")
                                        for name in ("bitwise_and", "bitwise_or", "bitwise_xor"))


def eq(input: Operand, other: Operand) -> Arrays:
    """Where input == other. Any types and shapes that broadcast; either may be a number.
    NaN equals nothing."""
    return EQUAL(*alike("eq", input, other))


def ne(input: Operand, other: Operand) -> Arrays:
    """Where input != other. Any types and shapes that broadcast; either may be a number."""
    return NOT_EQUAL(*alike("ne", input, other))


def lt(input: Operand, other: Operand) -> Arrays:
    """Where input < other. Any types and shapes that broadcast; either may be a number."""
    return LESS(*alike("lt", input, other))


def le(input: Operand, other: Operand) -> Arrays:
    """Where input <= other. Any types and shapes that broadcast; either may be a number."""
    return LESS_EQUAL(*alike("le", input, other))


def gt(input: Operand, other: Operand) -> Arrays:
    """Where input > other. Any types and shapes that broadcast; either may be a number."""
    a, b = alike("gt", input, other)
    return LESS(b, a)


def ge(input: Operand, other: Operand) -> Arrays:
    """Where input >= other. Any types and shapes that broadcast; either may be a number."""
    a, b = alike("ge", input, other)
    return LESS_EQUAL(b, a)


def truth(value: Any) -> Any:
    return as_type(value, BOOL)   # what is not 0


def logical_and(input: Arrays, other: Arrays) -> Arrays:
    """Where both are not 0. Any types and shapes that broadcast."""
    return BITWISE_AND(truth(input), truth(other))


def logical_or(input: Arrays, other: Arrays) -> Arrays:
    """Where one is not 0. Any types and shapes that broadcast."""
    return BITWISE_OR(truth(input), truth(other))


def logical_xor(input: Arrays, other: Arrays) -> Arrays:
    """Where exactly one is not 0. Any types and shapes that broadcast."""
    return BITWISE_XOR(truth(input), truth(other))


def logical_not(input: Arrays) -> Arrays:
    """Where input is 0. Any type."""
    return LOGICAL_NOT(input)


def isnan(input: Arrays) -> Arrays:
    """Where input is NaN: nowhere in whole numbers."""
    return ISNAN(input)


def isinf(input: Arrays) -> Arrays:
    """Where input is infinite: nowhere in whole numbers."""
    return ISINF(input, positive=True, negative=True)


def isfinite(input: Arrays) -> Arrays:
    """Where input is a number that is not infinite."""
    return LOGICAL_NOT(BITWISE_OR(isnan(input), isinf(input))) if not is_whole(input) else EQUAL(input, input)
