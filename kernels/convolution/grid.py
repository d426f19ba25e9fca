"""Tiles, parts of sums and sizes of an axis: what the host sides of all convolution
kernels work with."""
import math
from functools import lru_cache

import numpy as np

from ..grid import accumulated, ceil_div

SUMS = "convolution/sums.cu"
FEW = 16           # channels times filters of a group, up to which a tile of a product would be mostly empty
STRIP = 4          # outputs below each other that one thread of conv_direct computes
# Tiles, and what part of the largest one's rate they reach: the smaller, the more reads from shared
# memory a product takes.
TILES = (({"BM": 128, "BN": 128, "BK": 8, "TM": 8, "TN": 8}, 1.0),
         ({"BM": 64, "BN": 128, "BK": 8, "TM": 8, "TN": 4}, 0.85),
         ({"BM": 64, "BN": 64, "BK": 16, "TM": 4, "TN": 4}, 0.7),
         ({"BM": 32, "BN": 128, "BK": 8, "TM": 4, "TN": 4}, 0.65),
         ({"BM": 32, "BN": 32, "BK": 8, "TM": 4, "TN": 4}, 0.4))
TENSOR_TILES = (({"BM": 128, "BN": 128, "WM": 64, "WN": 32}, 1.0),
                ({"BM": 64, "BN": 128, "WM": 32, "WN": 32}, 0.85),
                ({"BM": 64, "BN": 64, "WM": 32, "WN": 32}, 0.7),
                ({"BM": 32, "BN": 128, "WM": 32, "WN": 32}, 0.65))


def spatial(shape):
    return (1,) * (5 - len(shape)) + tuple(shape[2:])


def axis_sizes(kernel, stride, padding, dilation, inputs, outputs):
    """Three AxisSizes of geometry.cuh."""
    every = [s // math.gcd(s, d) for s, d in zip(stride, dilation)]
    return tuple((k, s, p, d, i, o, e, e * d // s)
                 for k, s, p, d, i, o, e in zip(kernel, stride, padding, dilation, inputs, outputs, every))


def is_pointwise(axes):
    """Whether every output is made of the one input at its place, and there are as many."""
    return all(a[:3] == (1, 1, 0) and a[4] == a[5] for a in axes)


def scratch(device, count):
    return device.empty((count,), accumulated(device))


def threads(shape):
    return shape["BM"] * shape["BN"] // (shape["TM"] * shape["TN"])


@lru_cache(4096)
def tile(real, multiprocessors, m, n, k, sets):
    """Tile and number of parts of k for `sets` products of m x n x k: what takes the least time,
    tiles running a multiprocessor each."""
    return fastest([t for t in TILES if real != "f64" or t[0]["TM"] * t[0]["TN"] <= 32], 4, multiprocessors,
                   m, n, k, sets)


@lru_cache(4096)
def tensor_tile(multiprocessors, m, n, k, sets):
    """The same for tensor.cu, whose products take less time than its parts of sums."""
    return fastest(TENSOR_TILES, 32, multiprocessors, m, n, k, sets)


def fastest(tiles, cost, multiprocessors, m, n, k, sets):
    """cost: time to write and read again an element of a part, in that of a product."""
    def plan(shape):
        blocks = ceil_div(m, shape["BM"]) * ceil_div(n, shape["BN"]) * sets
        return blocks, max(1, min(2 * multiprocessors // blocks, k // (16 * shape.get("BK", 16)), 64))

    def time(entry):
        shape, rate = entry
        blocks, splits = plan(shape)
        # parts are written and read again
        added = cost * splits * m * n * sets / multiprocessors if splits > 1 else 0
        return ceil_div(blocks * splits,
                        multiprocessors) * shape["BM"] * shape["BN"] * ceil_div(k, splits) / rate + added

    shape, _ = min(tiles, key=time)
    return shape, plan(shape)[1]


def add_parts(device, partial, bias, out, parts, plane, channels):
    device.launch(SUMS, "split_sum", (min(ceil_div(out.size, 256), 16 * device.multiprocessors),), (256,),
                  (partial, bias, out, np.int64(out.size), parts, np.int64(plane), channels))


def within_int(*counts):
    """The kernels count output positions, and elements within a sample, in 32 bits."""
    if max(counts) >= 2 ** 31:
        raise OverflowError(f"convolution: {max(counts)} output positions or elements in a sample, the "
                            "kernels take fewer than 2^31")
