"""Quantised operators: whole numbers with a scale and a zero point, computed in float32 where that
is exact.

A product of two bytes is below 2^16 in size and float32 holds whole numbers up to 2^24, so sums are
made of parts of 258 products, or of as many as the sizes of a known weight allow, each exact, and
joined as int32. Source: ONNX's operator texts.
"""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...ops.cast import CAST
from ...ops.quantise import BYTES, DEQUANTISE, QUANTISE
from ...ops.typed import as_type
from . import narrow
from .convolution import conv as float_conv
from .products import product_of
from .row import Call, Unsupported, axis_of, dtype_of, known, needs, op, rank, traced
from .select import sliced

EXACT = 1 << 24  # whole numbers up to this size are float32's
FLOAT = np.dtype(np.float32)


def limits_of(dtype) -> tuple[int, int]:
    dtype = np.dtype(dtype)
    if dtype.name in narrow.WHOLE:
        return narrow.WHOLE[dtype.name]
    if dtype.kind not in "iu":
        raise Unsupported(f"quantised to {dtype}")
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def spread(v, x, axis: int, block: int = 0):
    """A scale or zero point so that it broadcasts to x: one number, one for each entry of an axis,
    or one a block along it."""
    if v is None or not rank(v) or v.shape == (1,) and not block:
        return v if v is None or not rank(v) else F.reshape(v, ()) if traced(v) else v.reshape(())
    axis = axis_of(axis, rank(x))
    if block:
        count = -(-x.shape[axis] // block)
        if tuple(v.shape) != tuple(count if a == axis else n for a, n in enumerate(x.shape)):
            raise ValueError(f"scales of shape {tuple(v.shape)} for blocks of {block} along axis {axis} of "
                             f"{tuple(x.shape)}")
        return np.repeat(known(v, "the scale of blocks"), block, axis)[tuple(
            slice(x.shape[axis]) if a == axis else slice(None) for a in range(rank(x)))]
    if rank(v) != 1 or v.shape[0] != x.shape[axis]:
        raise ValueError(f"a scale of shape {tuple(v.shape)} for axis {axis} of {tuple(x.shape)}")
    shape = [-1 if a == axis else 1 for a in range(rank(x))]
    return F.reshape(v, tuple(v.shape[0] if n == -1 else 1 for n in shape)) if traced(v) else v.reshape(shape)


def floats(v):
    return as_type(v, FLOAT)


def difference(x, zero):
    """x - zero as float32."""
    if traced(x) and np.dtype(x.dtype).name in BYTES and (zero is None or not rank(zero)):  # in one step
        return DEQUANTISE(x, np.ones((), FLOAT), np.zeros((), FLOAT) if zero is None else floats(zero))
    if traced(x, zero) and np.dtype(x.dtype).itemsize < 4:
        return floats(x) if zero is None else F.sub(floats(x), floats(zero))
    if traced(x, zero):  # float32 would round before the difference is taken
        return floats(as_type(x, np.int64) if zero is None
                      else F.sub(as_type(x, np.int64), as_type(zero, np.int64)))
    if zero is None or np.dtype(x.dtype).name in narrow.FLOATS:  # whose zero point is zero
        return x.astype(FLOAT)
    return (x.astype(np.int64) - zero.astype(np.int64)).astype(FLOAT)


def dequantised(x, scale, zero, axis: int = 1, block: int = 0):
    """(x - zero) scale in float32."""
    if traced(x, scale, zero) and np.dtype(x.dtype).name in BYTES:
        z = spread(zero, x, axis, block)
        return DEQUANTISE(x, floats(spread(scale, x, axis, block)),
                          np.zeros((), FLOAT) if z is None else floats(z))
    y, s = difference(x, spread(zero, x, axis, block)), floats(spread(scale, x, axis, block))
    return F.mul(y, s) if traced(y, s) else y * s


def quantised(x, scale, zero, dtype, axis: int = 1, block: int = 0, saturate: bool = True):
    """x / scale, rounded to the nearest (of two as near the even one), and zero, limited to
    what the type holds. saturate: of floats of 8 bits, which have no zero point."""
    s, z = floats(spread(scale, x, axis, block)), spread(zero, x, axis, block)
    if np.dtype(dtype).name in narrow.FLOATS:
        return narrow.cast(x.astype(FLOAT) / s, np.dtype(dtype), saturate)
    least, most = limits_of(dtype)
    if traced(x, s, z) and np.dtype(dtype).name in BYTES:
        zero = np.zeros((), FLOAT) if z is None else floats(z)
        return QUANTISE(floats(x), s, zero, dtype=np.dtype(dtype), least=least, most=most)
    if traced(x, s, z):
        y = F.round(F.div(floats(x), s))
        y = y if z is None or not traced(z) and not np.any(z) else F.add(y, floats(z))
        return as_type(F.clamp(y, float(least), float(most)), dtype)
    y = np.rint(x.astype(FLOAT) / s) + (0 if z is None else z.astype(FLOAT))
    return np.clip(np.nan_to_num(y, nan=0.0), least, most).astype(np.int64).astype(dtype)


@op("DequantizeLinear", "com.microsoft.DequantizeLinear", keeps=True)
def dequantize_linear(call):
    needs(call, 2)
    x, scale, zero = call[0], call[1], call[2]
    to = dtype_of(call.attr("output_dtype")) if call.attr("output_dtype") else np.dtype(scale.dtype)
    check_quantised(x, zero)
    y = dequantised(x, scale, zero, call.attr("axis", 1), call.attr("block_size", 0))
    return as_type(y, to) if traced(y) else y.astype(to)


def check_bytes(*values) -> None:
    for v in values:
        if v is not None and np.dtype(v.dtype).kind not in "iu" and np.dtype(v.dtype).name not in narrow.WHOLE:
            raise Unsupported(f"quantised as {v.dtype}")


def check_quantised(x, zero) -> None:
    """Refuses what is no quantised type, and a zero point of floats of few bits that is not 0."""
    if np.dtype(x.dtype).name not in narrow.FLOATS:
        check_bytes(x)
    elif zero is not None and np.any(known(zero, "the zero point").astype(FLOAT)):
        raise ValueError(f"the zero point of {x.dtype} must be 0")


@op("QuantizeLinear", "com.microsoft.QuantizeLinear", keeps=True)
def quantize_linear(call):
    needs(call, 2)
    x, scale, zero = call[0], call[1], call[2]
    to = (np.dtype(zero.dtype) if zero is not None
          else dtype_of(call.attr("output_dtype")) if call.attr("output_dtype") else np.dtype(np.uint8))
    if to.name in narrow.NARROW and traced(x, scale, zero):
        raise Unsupported(f"a cast of the model's values to {to}")
    if to.name in narrow.FLOATS and zero is not None and np.any(zero.astype(FLOAT)):
        raise ValueError(f"the zero point of {to} must be 0")
    if traced(x) and np.dtype(x.dtype).kind in "iu":
        x = floats(x)
    saturate = bool(call.attr("saturate", 1))
    return quantised(x, scale, zero, to, call.attr("axis", 1), call.attr("block_size", 0), saturate)


@op("DynamicQuantizeLinear")
def dynamic_quantize_linear(call):
    x = call[0]
    if not traced(x):
        least, most = min(float(x.min(initial=0)), 0.0), max(float(x.max(initial=0)), 0.0)
        scale = FLOAT.type(np.float32(most - least) / np.float32(255))
        zero = np.uint8(np.clip(np.rint(-np.float32(least) / scale), 0, 255)) if scale else np.uint8(0)
        return (quantised(x, scale, np.asarray(zero), np.uint8) if scale else np.zeros(x.shape, np.uint8),
                np.asarray(scale), np.asarray(zero))
    least, most = F.minimum(F.amin(x), 0.0), F.maximum(F.amax(x), 0.0)
    scale = F.div(F.sub(most, least), 255.0)
    divisor = F.where(F.eq(scale, 0.0), 1.0, scale)  # of zeros alone, which any scale takes to zero
    zero = F.clamp(F.round(F.div(F.neg(least), divisor)), 0.0, 255.0)
    y = QUANTISE(x, divisor, zero, dtype=np.dtype(np.uint8), least=0, most=255)
    return y, scale, CAST(zero, dtype=np.dtype(np.uint8), implied=True)


# ---- products


def between(x, zero) -> tuple[int, int]:
    """The least, 0 or below, and the most, 0 or above, that x - zero can be."""
    least, most = limits_of(x.dtype)
    if zero is None:
        return min(least, 0), max(most, 0)
    if traced(zero) or not zero.size:
        return least - most, most - least
    return min(least - int(zero.max()), 0), max(most - int(zero.min()), 0)


def greatest(x, zero) -> int:
    """The most that |x - zero| can be."""
    low, high = between(x, zero)
    return max(-low, high)


def exact_products(a, b, a_zero, b_zero) -> int:
    """How many products of a and b may be summed in float32 without a rounding."""
    return max((EXACT - 1) // (greatest(a, a_zero) * greatest(b, b_zero)), 1)


def exact_ranges(depth: int, most, part: int) -> list[tuple[int, int]]:
    """Ranges of the axis that is summed whose sums float32 holds exactly: most(first, last) is the
    greatest sum of absolute products, None where it is not known; then `part` of them at a time."""

    def halves(first, last):
        if last - first <= part or most(first, last) < EXACT:
            return [(first, last)]
        middle = (first + last) // 2
        return [*halves(first, middle), *halves(middle, last)]

    if most is None:
        return [(first, min(first + part, depth)) for first in range(0, depth, part)]
    return halves(0, depth) if depth else []


def greatest_sum(weight: np.ndarray, limits: tuple[int, int]):
    """(first, last) -> the greatest size that a sum, or part of one, can have: of an entry of axis 0,
    from first to last along axis 1 and all behind it, times numbers within limits.
    """
    axes, (low, high) = tuple(range(1, weight.ndim)), limits

    def most(first, last):
        part = weight[:, first:last]
        up, down = (np.maximum(v, 0).sum(axes, dtype=np.float64) for v in (part, -part))
        return float(np.maximum(up * high - down * low, down * high - up * low).max(initial=0))

    return most


def joined(parts):
    """The sum of parts, each exact, as int32."""
    if len(parts) == 1 and traced(parts[0]):  # floats that are whole numbers, to which a cast back may return
        return CAST(parts[0], dtype=np.dtype(np.int32), implied=True)
    total = as_type(parts[0], np.int32)
    for part in parts[1:]:
        total = F.add(total, as_type(part, np.int32))
    return total


def whole_matmul(call, a, b, a_zero, b_zero):
    """(a - a_zero)(b - b_zero) as int32. a_zero: one number or one a row; b_zero: one or one a
    column."""
    product_of(call, a, b)
    if a_zero is not None and rank(a_zero) == 1 and a_zero.shape[0] > 1:
        a_zero = F.reshape(a_zero, (*a_zero.shape, 1))
    x, y = (difference(v, z) for v, z in ((a, a_zero), (b, b_zero)))
    if not traced(x, y):
        return np.matmul(x.astype(np.float64), y.astype(np.float64)).astype(np.int64).astype(np.int32)
    depth, part, most = x.shape[-1], exact_products(a, b, a_zero, b_zero), None
    if not traced(y) and y.ndim == 2:
        most = greatest_sum(y.T, between(a, a_zero))
    parts = []
    for first, last in exact_ranges(depth, most, part):
        left = x if last - first == depth else sliced(x, {rank(x) - 1: slice(first, last)})
        right = y if last - first == depth else sliced(y, {max(rank(y) - 2, 0): slice(first, last)})
        if not traced(right) and right.ndim == 2 and rank(left) >= 2:
            parts.append(F.linear(left, np.ascontiguousarray(right.T)))
        else:
            parts.append(F.matmul(left, right))
    return joined(parts)


@op("MatMulInteger")
def matmul_integer(call):
    check_bytes(call[0], call[1])
    return whole_matmul(call, call[0], call[1], call[2], call[3])


def requantised(total, factor, zero, dtype):
    """total factor, rounded, and zero, limited to the type: total is int32."""
    least, most = limits_of(dtype)
    if not traced(total):
        y = np.rint(total.astype(np.float64) * factor) + np.float64(zero if zero is not None else 0)
        return np.clip(y, least, most).astype(dtype)
    y = F.mul(floats(total), np.asarray(factor, FLOAT))
    zero = np.zeros((), FLOAT) if zero is None else floats(zero)
    return QUANTISE(y, np.ones((), FLOAT), zero, dtype=np.dtype(dtype), least=least, most=most)


@op("QLinearMatMul", keeps=True)
def qlinear_matmul(call):
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (call[i] for i in range(8))
    check_bytes(a, b)
    a_scale, b_scale, y_scale = (known(v, "a scale").astype(FLOAT) for v in (a_scale, b_scale, y_scale))
    total = whole_matmul(call, a, b, a_zero, b_zero)
    if a_scale.ndim == 1 and a_scale.size > 1:
        a_scale = a_scale[:, None]
    factor = (a_scale.astype(np.float64) * b_scale / y_scale).astype(FLOAT)
    return requantised(total, factor if factor.size > 1 else factor.reshape(()), single(y_zero), y_zero.dtype)


def single(v):
    return (v if v is None or not rank(v) else F.reshape(v, ()) if traced(v) and v.shape == (1,)
            else v.reshape(()) if v.shape == (1,) else v)


def whole_conv(call, x, weight, x_zero, w_zero, bias=None):
    """The convolution of x - x_zero with weight - w_zero, and a known bias, as int32; padding is
    x_zero, so 0 after it."""
    x_zero, filters = single(x_zero), weight.shape[0]
    if w_zero is not None and rank(w_zero) == 1 and w_zero.shape[0] > 1:
        w_zero = F.reshape(w_zero, (filters, *[1] * (rank(weight) - 1)))
    else:
        w_zero = single(w_zero)
    part = max(exact_products(x, weight, x_zero, w_zero) // max(math.prod(weight.shape[2:]), 1), 0)
    images, taps = difference(x, x_zero), difference(weight, w_zero)
    channels, group = weight.shape[1], call.attr("group", 1)
    if part == 0:
        raise Unsupported("a kernel of so many taps that float32 cannot sum one channel exactly")
    most = None if traced(taps) else greatest_sum(taps, between(x, x_zero))
    ranges = exact_ranges(channels, most, part)
    if len(ranges) < 2 and (bias is None or most is not None and traced(images)
                            and most(0, channels) + float(np.abs(bias).max(initial=0)) < EXACT):
        return joined([float_of(call, images, taps, None if bias is None else bias.astype(FLOAT))])
    if len(ranges) > 1 and group != 1:
        raise Unsupported("groups of so many channels that float32 cannot sum them exactly")
    total = joined([float_of(call, sliced(images, {1: slice(*r)}), sliced(taps, {1: slice(*r)}))
                    for r in ranges])
    if bias is None:
        return total
    bias = bias.reshape(-1, *[1] * (rank(x) - 2))
    return F.add(total, bias) if traced(total) else total + bias


def float_of(call, x, weight, bias=None):
    """The convolution with the node's attributes, of floats."""
    return float_conv(Call(call.node, [x, weight, bias], call.evaluate, call.limits))


@op("ConvInteger")
def conv_integer(call):
    check_bytes(call[0], call[1])
    return whole_conv(call, call[0], call[1], call[2], call[3])


@op("QLinearConv", keeps=True)
def qlinear_conv(call):
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = (call[i] for i in range(9))
    check_bytes(x, w)
    x_scale, w_scale, y_scale = (known(v, "a scale").astype(FLOAT) for v in (x_scale, w_scale, y_scale))
    bias = None if bias is None else known(bias, "the bias").astype(np.int32).reshape(-1)
    total = whole_conv(call, x, w, x_zero, w_zero, bias)
    shape = (-1, *[1] * (rank(x) - 2))
    factor = (x_scale.reshape(-1)[0].astype(np.float64) * w_scale.reshape(-1)
              / y_scale.reshape(-1)[0]).astype(FLOAT)
    return requantised(total, factor.reshape(shape) if factor.size > 1 else factor.reshape(()),
                       single(y_zero), y_zero.dtype)
