"""Contracts of the kernels of arrays of any element type (kernels/*/typed.inc); see planar.py."""

from __future__ import annotations

import math

from .arguments import ELEMENTS, Array, need
from .planar import broadcast, contract, inside

BOOL = ELEMENTS["bool"]


def one_type(*arrays: Array) -> None:
    need(len({a.dtype for a in arrays}) == 1, "arrays share one type")


def of_floats(x: Array) -> None:
    need(x.dtype.kind == "f", "it takes floats")


def of_whole(x: Array) -> None:
    need(x.dtype.kind in "iub", "it takes whole numbers and truth values")


@contract("cast", "xX")
def cast(x, y) -> None:
    need(x.size == y.size, "input and result have one size")


@contract("equal not_equal less less_equal", "xxdddX")
def comparison(a, b, shape, sa, sb, y) -> None:
    broadcast(a, b, shape, sa, sb, y)
    one_type(a, b)
    need(y.dtype == BOOL, "the result is of truth values")


@contract("whole_add whole_sub whole_mul whole_div whole_pow whole_maximum whole_minimum bitwise_and "
          "bitwise_or bitwise_xor shift_left shift_right", "xxdddX",)
def whole_pair(a, b, shape, sa, sb, y) -> None:
    number_pair(a, b, shape, sa, sb, y)
    of_whole(a)


@contract("floor_divide remainder fmod", "xxdddX")
def number_pair(a, b, shape, sa, sb, y) -> None:
    broadcast(a, b, shape, sa, sb, y)
    one_type(a, b, y)


@contract("select", "xxxddddX")
def select(condition, a, b, shape, sc, sa, sb, y) -> None:
    broadcast(condition, a, b, shape, sc, sa, sb, y)
    one_type(a, b, y)
    need(condition.dtype == BOOL, "the condition is of truth values")


@contract("sign", "xX")
def same(x, y) -> None:
    cast(x, y)
    one_type(x, y)


@contract("whole_neg whole_abs bitwise_not", "xX")
def whole_same(x, y) -> None:
    same(x, y)
    of_whole(x)


@contract("floor ceil round trunc sin cos tan asin acos atan sinh cosh asinh acosh atanh", "xX")
def float_same(x, y) -> None:
    same(x, y)
    of_floats(x)


@contract("isnan logical_not", "xX")
@contract("isinf", "xbbX")
def question(x, *rest) -> None:
    y = rest[-1]
    cast(x, y)
    need(y.dtype == BOOL, "the result is of truth values")


@contract("strided_move", "xdX")
def strided_move(x, strides, y) -> None:
    need(len(strides) == len(y.shape) <= 8, "strides are as many as axes")
    inside(x, y.shape, strides)
    one_type(x, y)


@contract("cat_move", "xnnnX")
def cat_move(x, width, pitch, offset, y) -> None:
    need(
        min(width, pitch, offset) >= 0 and (x.size == 0 or (width >= 1 and x.size % width == 0)),
        "rows are whole",
    )
    need(x.size == 0 or (x.size // width - 1) * pitch + offset + width <= y.size, "rows lie in the result")
    one_type(x, y)


# ---- along an axis


def around(x, outer, n, inner) -> None:
    need(min(outer, n, inner) >= 0 and outer * n * inner == x.size, "outer x n x inner is the input's size")


@contract("take_backward", "xennnbX")
def take_backward(g, index, outer, n, inner, wrap, dx) -> None:
    take(dx, index, outer, n, inner, wrap, g)


@contract("take", "xennnbX")
def take(x, index, outer, n, inner, wrap, y) -> None:
    around(x, outer, n, inner)
    one_type(x, y)
    need(y.size == outer * index.size * inner, "the result has a slice an index")


@contract("whole_sum whole_prod any_max any_min", "xnnnX")
def fold(x, outer, n, inner, y) -> None:
    around(x, outer, n, inner)
    one_type(x, y)
    need(y.size == outer * inner, "the result has outer x inner values")


@contract("roll", "xddX")
def roll(x, shape, shift, y) -> None:
    same(x, y)
    need(shape and len(shape) == len(shift) and math.prod(shape) == x.size, "the axes hold the values")
    need(all(0 <= s < max(n, 1) for n, s in zip(shape, shift)), "a shift lies within its axis")


@contract("any_argmax any_argmin", "xnnnbI")
def places(x, outer, n, inner, last, y) -> None:
    around(x, outer, n, inner)
    need(y.size == outer * inner, "the result has outer x inner values")


@contract("cumsum cumprod", "xnnnbbX")
def running(x, outer, n, inner, exclusive, reverse, y) -> None:
    around(x, outer, n, inner)
    same(x, y)


@contract("top", "xnnnnbXI")
def top(x, outer, n, inner, count, largest, y, index) -> None:
    around(x, outer, n, inner)
    one_type(x, y)
    need(0 <= count <= n and y.size == index.size == outer * count * inner,
         "results are the first of each line")


@contract("nonzero", "xII")
def nonzero(x, places, count) -> None:
    need(places.size == x.size and count.size >= 1, "there is room for every place, and for their count")


# ---- by index


@contract("take_along", "xednnbX")
def take_along(x, index, strides, n, step, wrap, y) -> None:
    need(y.size == index.size, "the result has a value an index")
    walk(x, index, strides, n, step)
    one_type(x, y)


@contract("take_along_backward put_along put_along_add put_along_mul put_along_max put_along_min", "xednnbX")
def put_along(values, index, strides, n, step, wrap, y) -> None:
    need(values.size == index.size, "there is a value an index")
    walk(y, index, strides, n, step)
    one_type(values, y)


def walk(x, index, strides, n, step) -> None:
    need(len(strides) == len(index.shape) and min((n, step, *strides)) >= 0, "strides are as many as axes")
    if index.size:
        last = sum((size - 1) * stride for size, stride in zip(index.shape, strides))
        need(n == 0 or last + (n - 1) * step < x.size, "strides stay inside their array")


@contract("take_blocks", "xednnbX")
def take_blocks(x, index, sizes, batch, inner, wrap, y) -> None:
    blocks(x, index, sizes, batch, inner, y)


@contract("put_blocks put_blocks_add put_blocks_mul put_blocks_max put_blocks_min", "xednnbX")
def put_blocks(values, index, sizes, batch, inner, wrap, y) -> None:
    blocks(y, index, sizes, batch, inner, values)


def blocks(whole, index, sizes, batch, inner, parts) -> None:
    need(len(sizes) >= 1 and min((batch, inner, *sizes)) >= 0, "sizes are not negative")
    need(batch * math.prod(sizes) * inner == whole.size, "batches of blocks fill their array")
    need(index.size % len(sizes) == 0, "an index is as long as sizes are many")
    count = index.size // len(sizes)
    need(count == 0 or batch > 0 and count % batch == 0, "every batch has as many indices")
    need(parts.size == count * inner, "there is a block an index")
    one_type(whole, parts)


# ---- quantised

BYTES = {ELEMENTS[name] for name in ("int8", "uint8", "int16", "uint16")}


@contract("quantise", "xxxddddffX")
def quantise(x, scale, zero, shape, sx, ss, sz, least, most, y) -> None:
    broadcast(x, scale, zero, shape, sx, ss, sz, y)
    need({a.dtype for a in (x, scale, zero)} == {ELEMENTS["float32"]}, "real numbers are of float32")
    need(y.dtype in BYTES, "whole numbers have 8 or 16 bits")
    need(abs(least) <= 1 << 16 and abs(most) <= 1 << 16, "limits are those of a type")


@contract("fake_quantise", "xffffX")
def fake_quantise(x, scale, least, most, by, y) -> None:
    need(x.size == y.size, "input and result have one size")
    need({a.dtype for a in (x, y)} == {ELEMENTS["float32"]}, "it takes floats")
    need(-(1 << 18) <= least <= most <= 1 << 18, "limits are those of a type, less a zero point")


@contract("dequantise", "xxxddddX")
def dequantise(x, scale, zero, shape, sx, ss, sz, y) -> None:
    broadcast(x, scale, zero, shape, sx, ss, sz, y)
    need({a.dtype for a in (scale, zero, y)} == {ELEMENTS["float32"]}, "real numbers are of float32")
    need(x.dtype in BYTES, "whole numbers have 8 or 16 bits")
