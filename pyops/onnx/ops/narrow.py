"""Casts to types narrower than float16, to half precisions and to strings, on arrays.

ONNX's tables of what a cast to a float of 8 bits comes to: rounded to the nearest, of two as near
the even one; beyond the largest number, that number where it saturates, else what the type has for
it (an infinity, or NaN).
"""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from .row import Unsupported

EIGHT = {"float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"}
SCALE = "float8_e8m0fnu"  # powers of two alone
FEW = {"float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn"}  # without infinities, which saturate
FLOATS = EIGHT | FEW
WHOLE = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}
NARROW = {*FLOATS, SCALE, *WHOLE}
ROUNDINGS = ("up", "down", "nearest")


def cast(x: np.ndarray, to: np.dtype, saturate: bool = True, rounding: str = "up") -> np.ndarray:
    """x as another type. saturate: of floats of 8 bits; rounding: of powers of two alone."""
    if rounding not in ROUNDINGS:
        raise ValueError(f"round_mode must be one of {', '.join(ROUNDINGS)}, got {rounding!r}")
    if x.dtype == to:
        return x
    if x.dtype.kind == "O":
        return parsed(x, to)
    if to.kind == "O":
        return written(x)
    if to.kind == "c" or x.dtype.kind == "c":
        raise Unsupported(f"a cast from {x.dtype} to {to}")
    with np.errstate(all="ignore"):
        if to.name == SCALE:
            return powers_of_two(wide(x), to, saturate, rounding)
        if to.name in EIGHT:
            return eighths(wide(x), to, saturate)
        if to.name in FEW:
            return clipped_to(wide(x), to)
        if x.dtype.name in NARROW and to.kind in "iub":  # by way of what holds all of its values
            x = wide(x)
        if to.name in WHOLE:
            return kept_bits(x, to)
        return x.astype(to)


def wide(x: np.ndarray) -> np.ndarray:
    """Floats of at least 32 bits that hold the same values."""
    return x if x.dtype in (np.float32, np.float64) else x.astype(
        np.float64 if x.dtype.kind in "iu" and x.dtype.itemsize > 2 else np.float32)


def limit(to) -> float:
    """The greatest number of a narrow float type."""
    import ml_dtypes

    return float(ml_dtypes.finfo(to).max)


def eighths(x, to, saturate: bool) -> np.ndarray:
    return x.astype(to) if not saturate else clipped_to(x, to)


def clipped_to(x, to) -> np.ndarray:
    most = limit(to)
    return np.clip(x, -most, most).astype(to)


def powers_of_two(x, to, saturate: bool, rounding: str) -> np.ndarray:
    if rounding not in ROUNDINGS:
        raise ValueError(f"round_mode must be one of {', '.join(ROUNDINGS)}, got {rounding!r}")
    return numpy_helper.to_float8e8m0(x.astype(np.float32), saturate, rounding).astype(to)


def kept_bits(x, to) -> np.ndarray:
    """The lower bits of a whole number, and of a float its whole part's."""
    low, high = WHOLE[to.name]
    bits = high - low
    whole = x.astype(np.int64) & bits
    return np.where(whole > high, whole - bits - 1, whole).astype(np.int8).astype(to)


def parsed(x: np.ndarray, to: np.dtype) -> np.ndarray:
    """Strings as numbers: 3.14, 1e-5, INF, NaN."""
    if to.kind == "O":
        return x
    if to.kind not in "iufb" and to.name != "bfloat16" and to.name not in NARROW:
        raise Unsupported(f"a cast from strings to {to}")
    whole = to.kind in "iu"
    try:
        values = [int(v) if whole else float(v) for v in x.reshape(-1)]
    except ValueError as why:
        raise ValueError(f"a string that is no number: {why}") from None
    if whole:
        info = np.iinfo(to)
        if any(not info.min <= v <= info.max for v in values):
            raise ValueError(f"a string whose number {to} does not hold")
        return np.array(values, to).reshape(x.shape)
    return cast(np.array(values, np.float64).reshape(x.shape), to)


def written(x: np.ndarray) -> np.ndarray:
    """Numbers as strings: the fewest digits that give the number again."""
    if x.dtype.kind not in "iufb":
        x = wide(x)
    return np.array([str(v) for v in x.reshape(-1)], object).reshape(x.shape)
