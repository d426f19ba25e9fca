"""Contracts of the kernels of kernels/quantised/program.inc, on bytes."""

from __future__ import annotations

import numpy as np

from .arguments import BLOCK, ELEMENTS, Array, Map, need
from .blocked import filled, numbers, over_image
from .planar import contract

BYTE, SIGNED, WHOLE = (ELEMENTS[name] for name in ("uint8", "int8", "int32"))
MOST_PRODUCTS = 60_000  # of bytes, that an int32 can sum; half as many of 9 bits


def of_bytes(x: Array) -> Map:
    """An array of bytes that is a map."""
    need(x.dtype == BYTE and len(x.shape) == 5 and x.shape[4] == BLOCK,
         "a map of bytes is (n, blocks, h, w, 16) of uint8")
    return Map(*x.shape[:4])


def one(*arrays: Array | None) -> None:
    need(all(a is None or a.size == 1 for a in arrays), "scale and zero point are single numbers")


def limits(to: float, least: float, most: float) -> None:
    need(0 <= to <= 255 and 0 <= least <= most <= 255, "a zero point and limits are bytes")


def packed_bytes(weight: Array, channel_blocks: int) -> int:
    """Blocks of filters."""
    need(
        weight.dtype == SIGNED
        and len(weight.shape) == 7
        and weight.shape[1] == channel_blocks
        and weight.shape[4:] == (4, BLOCK, 4),
        "weights are packed as int8 (filter blocks, channel blocks, r, s, 4, 16, 4)",
    )
    _, blocks, r, s = weight.shape[:4]
    need(1 <= blocks * BLOCK * r * s <= MOST_PRODUCTS + 16 * r * s, "sums of products fit 32 bits")
    return weight.shape[0]


def sums(filter_blocks: int, start, total, offset, zero, factor, scale, shift) -> None:
    one(zero, scale)
    need(start.dtype == total.dtype == offset.dtype == WHOLE, "sums are of int32")
    need(start.size == total.size == filter_blocks * BLOCK, "there is a sum for every lane of the blocks")
    need(offset.size in (0, total.size), "there is an offset for every lane of the blocks, or none")
    for a in (factor, shift):
        numbers(a, filter_blocks * BLOCK)


@contract("bytes_of_map", "mrrffX")
def bytes_of_map(x, scale, zero, least, most, y) -> None:
    one(scale, zero)
    limits(0, least, most)
    need(of_bytes(y) == x, "maps have one size")


@contract("bytes_blocked", "xX")
def bytes_blocked(x, y) -> None:
    need(x.dtype in (BYTE, SIGNED) and len(x.shape) == 4, "an image of bytes has four axes")
    n, c, h, w = x.shape
    filled(c, of_bytes(y))
    need((n, h, w) == (y.shape[0], *y.shape[2:4]), "image and map have one size")


@contract("map_of_bytes", "xrrM")
def map_of_bytes(x, scale, zero, y) -> None:
    one(scale, zero)
    need(of_bytes(x) == y, "maps have one size")


@contract("map_by_table", "xrM")
def map_by_table(x, table, y) -> None:
    need(table.size == 256, "a table has a number for each byte")
    need(of_bytes(x) == y, "maps have one size")


@contract("bytes_table", "xxX")
def bytes_table(x, table, y) -> None:
    need(table.size == 256 and table.dtype == BYTE, "a table has a byte for each byte")
    need(of_bytes(x) == of_bytes(y), "maps have one size")


@contract("extremes_of_map", "mnRR")
def extremes_of_map(x, channels, least, most) -> None:
    filled(channels, x)
    one(least, most)


def convolution(x, channels, weight, start, total, offset, zero, factor, scale, shift, window, y: Map) -> None:
    image = of_bytes(x)
    filled(channels, image)
    need(packed_bytes(weight, image.blocks) == y.blocks, "filters fill the result's blocks")
    over_image(image, weight.shape[2:4], window, y)
    sums(y.blocks, start, total, offset, zero, factor, scale, shift)


@contract("bytes_conv", "xnxxxxrrowfffX")
def bytes_conv(x, channels, weight, start, total, offset, zero, factor, shift, window, to, least, most, y) -> None:
    limits(to, least, most)
    convolution(x, channels, weight, start, total, offset, zero, factor, None, shift, window, of_bytes(y))


@contract("bytes_conv_real", "xnxxxxrroowaM")
def bytes_conv_real(x, channels, weight, start, total, offset, zero, factor, scale, shift, window, act, y) -> None:
    convolution(x, channels, weight, start, total, offset, zero, factor, scale, shift, window, y)


def product(x, weight, start, total, offset, zero, factor, scale, shift, y) -> None:
    need(x.dtype == BYTE and len(x.shape) == len(y.shape) == 2 and x.shape[1] >= 4 and x.shape[1] % 4 == 0,
         "rows are of bytes, a multiple of 4 features")
    blocks = packed_bytes(weight, -(-x.shape[1] // BLOCK))
    need(weight.shape[2:4] == (1, 1) and x.shape[0] == y.shape[0] and blocks == -(-y.shape[1] // BLOCK),
         "rows, features and filters fit")
    sums(blocks, start, total, offset, zero, factor, scale, shift)


@contract("bytes_linear", "xxxxxrrofffX")
def bytes_linear(x, weight, start, total, offset, zero, factor, shift, to, least, most, y) -> None:
    limits(to, least, most)
    need(y.dtype == BYTE, "the result is of bytes")
    product(x, weight, start, total, offset, zero, factor, None, shift, y)


@contract("bytes_linear_real", "xxxxxrrooaR")
def bytes_linear_real(x, weight, start, total, offset, zero, factor, scale, shift, act, y) -> None:
    product(x, weight, start, total, offset, zero, factor, scale, shift, y)


@contract("bytes_add", "xffxffffffX")
def bytes_add(a, scale_a, zero_a, b, scale_b, zero_b, scale, zero, least, most, y) -> None:
    limits(zero, least, most)
    need(of_bytes(a) == of_bytes(b) == of_bytes(y), "maps have one size")
    need(all(np.isfinite(v) for v in (scale_a, zero_a, scale_b, zero_b, scale)), "scales are numbers")
