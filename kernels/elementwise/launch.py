"""Grids of the elementwise kernels, and the makers of host functions that other families with
such kernels use: `mapped` for arrays of one shape (map.cuh), `broadcasting` for arrays that
broadcast (broadcast.cuh)."""
import math
from functools import lru_cache

import numpy as np

MAPPED = ["abs", "abs_backward", "clamp", "clamp_backward", "erf", "erf_backward", "exp", "expm1",
          "log", "log1p", "neg", "reciprocal", "reciprocal_backward", "rsqrt", "rsqrt_backward", "sigmoid",
          "sigmoid_backward", "sqrt", "sqrt_backward", "square", "tanh", "tanh_backward"]
BROADCAST = ["add", "div", "expand", "maximum", "maximum_backward", "minimum", "mul", "pow",
             "pow_base_backward", "pow_exponent_backward", "where"]
__all__ = MAPPED + BROADCAST

BLOCK = 256
PART_MOST = 1 << 30   # most values of a result that one launch makes: places within it fit 32 bits


def blocks(device, threads):
    """A grid for `threads` threads, or for so many that each multiprocessor has twice what it can
    hold and threads loop."""
    return (min(-(-threads // BLOCK), 16 * device.multiprocessors),)


def lanes(device):
    """How many values one access of 16 bytes moves."""
    return 16 // device.dtype.itemsize


def mapped(file, name):
    """The host function of kernel map_<name>: arrays, then numbers, then the result."""
    def launch(device, *args):
        n = args[-1].size
        device.launch(file, f"map_{name}", blocks(device, -(-n // lanes(device))), (BLOCK,),
                      (*(float(a) if isinstance(a, int) else a for a in args), np.int64(n)))
    launch.__name__ = name
    return launch


def magic(size):
    """What quotient() of broadcast.cuh divides by `size` with, as an int of 32 bits."""
    if size == 1:
        return 0
    power = 31 + (size - 1).bit_length()
    m = -(-(1 << power) // size)
    return m - (1 << 32) if m >= 1 << 31 else m


def parts(shape, strides, most=PART_MOST):
    """(shape, strides, starts of the inputs, start of the result) of parts with at most
    `most` values each."""
    inner = math.prod(shape[1:])
    if shape[0] * inner <= most:
        yield shape, strides, (0,) * len(strides), 0
    elif inner <= most:
        step = most // inner
        for i in range(0, shape[0], step):
            yield (min(step, shape[0] - i), *shape[1:]), strides, [i * s[0] for s in strides], i * inner
    else:
        for i in range(shape[0]):
            for part, steps, starts, start in parts(shape[1:], [s[1:] for s in strides], most):
                yield part, steps, [i * s[0] + at for s, at in zip(strides, starts)], i * inner + start


def tiles(rows, width, most=PART_MOST):
    """(first row, rows, first column, columns) of parts of a matrix with at most
    `most` values each."""
    tall, wide = max(1, most // max(1, width)), max(1, min(width, most))
    for r in range(0, rows, tall):
        for c in range(0, width, wide):
            yield r, min(tall, rows - r), c, min(wide, width - c)


@lru_cache(4096)
def layout(shape, lanes):
    """The values of a unit, the shape with its last axis counted in units, and what divides by
    that."""
    if len(shape) > 1 and shape[-1] % lanes:
        lanes = 1
    units = (*shape[:-1], -(-shape[-1] // lanes))
    return lanes, units, tuple(map(magic, units))


def broadcasting(file, name):
    """The host function of kernel broadcast_<name>: n arrays, the shape, n strides,
    numbers, the result."""
    def launch(device, *args):
        n = next(i for i, a in enumerate(args) if isinstance(a, tuple))
        arrays, shape, strides, numbers, y = (args[:n], args[n], args[n + 1:2 * n + 1], args[2 * n + 1:-1],
                                              args[-1])
        if y.size == 0:
            return
        for part, steps, starts, start in parts(shape, strides):
            inputs, out = arrays, y
            if part != shape:
                inputs, out = [a.reshape(-1)[at:] for a, at in zip(arrays, starts)], y.reshape(-1)[start:]
            width, units, magics = layout(part, lanes(device))
            device.launch(file, f"broadcast_{name}", blocks(device, math.prod(units)), (BLOCK,),
                          (*inputs, units, magics, *steps, width, math.prod(part), *map(float, numbers), out))
    launch.__name__ = name
    return launch


globals().update({name: mapped("elementwise/functions.cu", name) for name in MAPPED})
globals().update({name: broadcasting("elementwise/arithmetic.cu", name) for name in BROADCAST})
