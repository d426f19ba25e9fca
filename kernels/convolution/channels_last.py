"""Convolutions of arrays whose channels lie last in memory, behind the rows of launch.py: torch's
channels_last, or any dense (N, ..., C) array seen as (N, C, ...). Where a group has few channels
and filters channels_last.cu computes them, a 1x1 filter is a matrix product as it is, and hopper.py
takes what else it can; the others are done with channels first, between two copies.

All takes and gives arrays of the shapes that launch.py's rows have; y and the gradients of inputs
lie as the inputs do.
"""
import math

from ..grid import address, ceil_div
from . import grid, hopper

KERNEL, WEIGHT_GRADIENT = "convolution/channels_last.cu", "convolution/channels_last_gradient.cu"
HIGHEST = 7        # filter whose height is compiled in
MOST_STRIDE = 3    # vertical stride that is
FEW_TAPS = 4       # of channels_last_gradient.cu: taps a block takes where the filter is not compiled in
MOST_SUMS = 72     # registers that a weight gradient's thread keeps sums in


def is_channels_last(array) -> bool:
    """Whether the channels, axis 1, lie last in memory and the array is dense: not where it can be
    seen as channels first, too."""
    return array.ndim > 2 and not array.flags.c_contiguous and last(array).flags.c_contiguous


def last(array):
    """The view (N, ..., C) of (N, C, ...)."""
    return array.transpose(0, *range(2, array.ndim), 1)


def first(array):
    """The view (N, C, ...) of (N, ..., C)."""
    return array.transpose(0, array.ndim - 1, *range(1, array.ndim - 1))


def empty(device, shape, dtype=None):
    """An array of `shape` (N, C, ...) whose channels lie last."""
    return first(device.empty((shape[0], *shape[2:], shape[1]), dtype))


# ---- rows

def conv(channels_first_kernel, device, x, weight, bias, stride, padding, dilation, groups, y):
    if y.size == 0:
        return
    channels, filters, groups, taps = (weight.shape[1], weight.shape[0] // groups, int(groups),
                                       math.prod(weight.shape[2:]))
    axes, sizes = axis_sizes(weight, stride, padding, dilation, x, y), (channels, filters, groups)
    apart = filters * channels * taps, channels * taps, taps
    if channels * filters <= grid.FEW:
        strips(device, x, weight, bias, axes, sizes, apart, y, flip=False)
    elif groups == 1 and grid.is_pointwise(axes):
        product(device, x, weight, bias, y)
    elif hopper.serves(device, last(x), last(y), axes, sizes, transposed=False):
        hopper.conv_hopper(device, last(x), weight, bias, axes, sizes, apart, last(y), transposed=False)
    else:
        with_channels_first(channels_first_kernel, device, x, weight, bias, stride, padding, dilation, groups,
                            y)


def conv_transpose(channels_first_kernel, device, x, weight, bias, stride, padding, dilation, groups, y):
    if y.size == 0:
        return
    channels, filters, groups, taps = (weight.shape[0] // groups, weight.shape[1], int(groups),
                                       math.prod(weight.shape[2:]))
    axes, sizes = axis_sizes(weight, stride, padding, dilation, x, y), (channels, filters, groups)
    apart = channels * filters * taps, taps, filters * taps
    if channels * filters <= grid.FEW and max(stride) > 1:
        phases(device, x, weight, bias, axes, sizes, apart, y)
    elif channels * filters <= grid.FEW:
        # the filter turned round
        padding = [d * (k - 1) - p for d, k, p in zip(dilation, grid.spatial(weight.shape), padding)]
        strips(device, x, weight, bias, axis_sizes(weight, stride, padding, dilation, x, y), sizes, apart, y,
               flip=True)
    elif hopper.serves(device, last(x), last(y), axes, sizes, transposed=True):
        hopper.conv_hopper(device, last(x), weight, bias, axes, sizes, apart, last(y), transposed=True)
    else:
        with_channels_first(channels_first_kernel, device, x, weight, bias, stride, padding, dilation, groups,
                            y)


def conv_weight_gradient(channels_first_kernel, device, x, dy, stride, padding, dilation, groups, dw):
    channels, filters, groups = dw.shape[1], dw.shape[0] // groups, int(groups)
    if dw.size == 0 or dy.size == 0 or channels * filters > grid.FEW:
        channels_first_kernel(device, channels_first(device, x), channels_first(device, dy), stride, padding,
                              dilation, groups, dw)
        return
    axes = axis_sizes(dw, stride, padding, dilation, x, dy)
    gradient(device, channels_last(device, x), channels_last(device, dy), axes, (channels, filters, groups),
             dw)


# ---- copies, for what has no kernel of its own

def channels_first(device, array):
    return array if array.flags.c_contiguous else copied(array, device.empty(array.shape, array.dtype))


def channels_last(device, array):
    return array if last(array).flags.c_contiguous else copied(array, empty(device, array.shape, array.dtype))


def copied(array, to):
    to[...] = array
    return to


def with_channels_first(row, device, x, weight, bias, stride, padding, dilation, groups, y):
    made = device.empty(y.shape, y.dtype)
    row(device, channels_first(device, x), weight, bias, stride, padding, dilation, groups, made)
    y[...] = made


# ---- kernels

def product(device, x, weight, bias, y):
    """A filter of one tap: rows of pixels times the weight, transposed."""
    from ..gemm.launch import linear
    linear(device, last(x).reshape(-1, x.shape[1]), weight.reshape(weight.shape[0], -1), bias,
           last(y).reshape(-1, y.shape[1]))


def axis_sizes(weight, stride, padding, dilation, x, y):
    """grid.axis_sizes, with the last axis that is more than one wide as the height, down which
    strips go: for (N, C, W) and (N, C, 1, W) it is W. Memory lies the same."""
    axes = grid.axis_sizes(grid.spatial(weight.shape), stride, padding, dilation, grid.spatial(x.shape),
                           grid.spatial(y.shape))
    trivial = axes[1][0] == axes[1][4] == axes[1][5] == 1 and axes[1][2] == 0
    return (axes[0], axes[2], axes[1]) if trivial else axes


def compiled(height, stride, dilation):
    return height <= HIGHEST and stride <= MOST_STRIDE and (height == 1 or dilation == 1)


def lanes(device, sizes, x, y, bias):
    """PACK: the most output channels, up to 16 bytes, that are one aligned access. MANY: whether a
    group has more than one channel or filter, so that x is read value by value."""
    item, many = device.dtype.itemsize, sizes[0] * sizes[1] > 1
    read = [a for a in (y, bias, None if many else x) if a is not None]
    fits = lambda n: y.shape[-1] % n == 0 and all(address(a) % (n * item) == 0 for a in read)   # noqa: E731
    return {"PACK": next(n for n in (16 // item, 8 // item, 4 // item, 1) if n >= 1 and fits(n)),
            "MANY": int(many)}


def packed_weight(device, weight, sizes, taps, apart, flip):
    made = device.empty((weight.size,))
    device.launch(KERNEL, "channels_last_weights",
                  (min(ceil_div(weight.size, 256), 16 * device.multiprocessors),), (256,),
                  (weight, made, (0, *sizes), taps, apart, int(flip)))
    return made


def rows_of(device, height, y, pack):
    """Outputs below each other that a thread computes."""
    return (grid.STRIP if height >= grid.STRIP and y.size >= grid.STRIP * pack * 256 * device.multiprocessors
            else 1)


def strips(device, x, weight, bias, axes, sizes, apart, y, flip):
    packed = packed_weight(device, weight, sizes, math.prod(a[0] for a in axes), apart, flip)
    x, y = last(x), last(y)
    shape = lanes(device, sizes, x, y, bias)
    height, stride, _, dilation, _, out = axes[1][:6]
    rows = rows_of(device, out, y, shape["PACK"])
    if compiled(height, stride, dilation):
        shape |= {"KH": height, "SH": stride}
    threads = y.size // shape["PACK"] // out * ceil_div(out, rows)
    grid.within_int(threads + 256)
    device.launch(KERNEL, "conv_channels_last", (ceil_div(threads, 256),), (256,),
                  (x, packed, bias, y, (x.shape[0], *sizes, 0), *axes), ROWS=rows, **shape)


def phases(device, x, weight, bias, axes, sizes, apart, y):
    packed = packed_weight(device, weight, sizes, math.prod(a[0] for a in axes), apart, flip=False)
    x, y = last(x), last(y)
    shape = lanes(device, sizes, x, y, bias)
    phases = [ceil_div(a[5], a[1]) for a in axes]   # of the largest phase
    rows = rows_of(device, phases[1], y, shape["PACK"])
    threads = x.shape[0] * y.shape[-1] // shape["PACK"] * phases[0] * ceil_div(phases[1], rows) * phases[2]
    grid.within_int(threads + 256)
    blocks = ceil_div(threads, 256)
    device.launch(KERNEL, "conv_channels_last_transposed", (blocks * math.prod(a[1] for a in axes),), (256,),
                  (x, packed, bias, y, (x.shape[0], *sizes, blocks), *axes), ROWS=rows, **shape)


def gradient(device, x, dy, axes, sizes, dw):
    x, dy = last(x), last(dy)
    shape = lanes(device, sizes, x, dy, None)
    pack = shape["PACK"]
    height, stride, _, dilation, _, out = axes[1][:6]
    taps = math.prod(a[0] for a in axes)
    if compiled(height, stride, dilation):
        columns = axes[2][0] if height * axes[2][0] * pack <= MOST_SUMS else 1
        rows = (grid.STRIP if pack <= 4 else 2) if out >= grid.STRIP else 1
        sets = taps // (height * columns)
        shape |= {"KH": height, "SH": stride, "COLS": columns}
    else:
        rows, sets = 1, ceil_div(taps, FEW_TAPS)
    packets = dy.shape[-1] // pack
    across = min(32, 1 << (packets - 1).bit_length())
    blocks = sets * sizes[0] * ceil_div(packets, across)
    strips = dy.size // dy.shape[-1] // out * ceil_div(out, rows)
    grid.within_int(strips + 256)
    parts = max(1, min(ceil_div(4 * device.multiprocessors, blocks), strips // (4 * 256 // across)))
    partial = grid.scratch(device, parts * dw.size) if parts > 1 else None
    device.launch(WEIGHT_GRADIENT, "channels_last_gradient", (blocks * parts,), (256,),
                  (x, dy, dw, partial, (x.shape[0], *sizes, parts, sets), across, *axes), ROWS=rows, **shape)
    if parts > 1:
        grid.add_parts(device, partial, None, dw, parts, 1, 1)
