"""Grids of the convolution kernels, and which of them takes a problem: direct.cu where a group has
few channels and filters, else tensor.cu for 16-bit types and for float32 where pyops.cuda.precision
allows it, else cuda.cu. Arrays whose channels lie last: channels_last.py.

stride, padding and dilation come as three ints, arrays with one to three spatial axes: all is seen
as three axes, the leading ones 1.
"""
import math

import numpy as np

from ...cuda.precision import current as current_precision
from ..grid import accumulated, address, ceil_div
from . import channels_last
from .grid import (
    FEW,
    STRIP,
    SUMS,
    add_parts,
    axis_sizes,
    is_pointwise,
    scratch,
    spatial,
    tensor_tile,
    threads,
    tile,
    within_int,
)

__all__ = ["channel_sum", "conv", "conv_transpose", "conv_weight_gradient"]

PRODUCT, TENSOR, DIRECT = "convolution/cuda.cu", "convolution/tensor.cu", "convolution/direct.cu"
WEIGHT_GRADIENT, DIRECT_WEIGHT_GRADIENT = ("convolution/weight_gradient.cu",
                                           "convolution/direct_weight_gradient.cu")
TENSOR_WEIGHT_GRADIENT = "convolution/weight_gradient_tensor.cu"
TENSOR_LEAST = 16   # rows, columns or terms of a sum, below which a tensor core's tile would be mostly empty


def conv(device, x, weight, bias, stride, padding, dilation, groups, y):
    if channels_last.is_channels_last(x):
        channels_last.conv(conv, device, x, weight, bias, stride, padding, dilation, groups, y)
        return
    filters, channels = weight.shape[0] // groups, weight.shape[1]
    taps = math.prod(weight.shape[2:])
    apart = (filters * channels * taps, channels * taps, taps)
    convolve(device, x, weight, bias,
             axis_sizes(spatial(weight.shape), stride, padding, dilation, spatial(x.shape), spatial(y.shape)),
             (channels, filters, int(groups)), apart, y, transposed=False)


def conv_transpose(device, x, weight, bias, stride, padding, dilation, groups, y):
    if channels_last.is_channels_last(x):
        channels_last.conv_transpose(conv_transpose, device, x, weight, bias, stride, padding, dilation,
                                     groups, y)
        return
    channels, filters = weight.shape[0] // groups, weight.shape[1]
    kernel, taps = spatial(weight.shape), math.prod(weight.shape[2:])
    apart = (channels * filters * taps, taps, filters * taps)
    sizes = (channels, filters, int(groups))
    if max(stride) == 1 and channels * filters <= FEW:   # a convolution with the filter turned round
        padding = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding)]
        axes = axis_sizes(kernel, stride, padding, dilation, spatial(x.shape), spatial(y.shape))
        direct(device, x, weight, bias, axes, sizes, apart, y, flip=True)
        return
    axes = axis_sizes(kernel, stride, padding, dilation, spatial(x.shape), spatial(y.shape))
    convolve(device, x, weight, bias, axes, sizes, apart, y, transposed=True)


def convolve(device, x, weight, bias, axes, sizes, apart, y, transposed):
    if y.size == 0:
        return
    if sizes[0] * sizes[1] > FEW:
        product(device, x, weight, bias, axes, sizes, apart, y, transposed)
    elif transposed:
        direct_transposed(device, x, weight, bias, axes, sizes, apart, y)
    else:
        direct(device, x, weight, bias, axes, sizes, apart, y, flip=False)


def direct(device, x, weight, bias, axes, sizes, apart, y, flip):
    if y.size == 0:
        return
    stride, height = axes[1][1], axes[1][5]
    rows = STRIP if height >= STRIP and y.size >= STRIP * 256 * device.multiprocessors else 1
    compiled = stride <= 3 and all(a[0] == 1 or a[0] <= 7 and a[3] == 1 for a in axes[1:])
    shape = {"KH": axes[1][0], "KW": axes[2][0], "SH": stride} if compiled else {"KH": 0, "KW": 0, "SH": 1}
    strips = y.size // height * ceil_div(height, rows)
    device.launch(DIRECT, "conv_direct", (ceil_div(strips, 128),), (128,),
                  (x, weight, bias, y, strips, (*sizes, int(flip)), apart, *axes), ROWS=rows, **shape)


def direct_transposed(device, x, weight, bias, axes, sizes, apart, y):
    device.launch(DIRECT, "conv_direct_transposed", (ceil_div(y.size, 256),), (256,),
                  (x, weight, bias, y, y.size, (*sizes, 0), apart, *axes))


def product(device, x, weight, bias, axes, sizes, apart, y, transposed):
    channels, filters, groups = sizes
    batch, plane = y.shape[0], math.prod(y.shape[2:])
    phases = math.prod(a[1] for a in axes) if transposed else 1
    # of the largest phase
    pixels = batch * (math.prod(ceil_div(a[5], a[1]) for a in axes) if transposed else plane)
    within_int(batch * plane, math.prod(x.shape[1:]), math.prod(y.shape[1:]))
    depth = channels * (math.prod(ceil_div(a[0], a[6]) for a in axes) if transposed
                        else math.prod(a[0] for a in axes))
    sets, copied = groups * phases, is_pointwise(axes) and planes_of_packets(x)
    precision = tensor_precision(device, filters, depth)
    if precision == "strict":
        file, kernels, dtype = PRODUCT, ("conv_prepare", "conv_gemm"), accumulated(device)
        shape, splits = tile(device.real, device.multiprocessors, filters, pixels, depth, sets)
        deep, block, compiled = shape["BK"], threads(shape), shape
    else:
        file, kernels, dtype = TENSOR, ("conv_tensor_prepare", "conv_tensor"), device.dtype
        shape, splits = tensor_tile(device.multiprocessors, filters, pixels, depth, sets)
        deep, block, compiled = 64 // dtype.itemsize, tensor_threads(shape), tensor_defines(shape, precision)
    rows, cols = ceil_div(depth, deep) * deep, ceil_div(filters, shape["BM"]) * shape["BM"]
    packed, table = device.empty((sets * rows * cols,), dtype), device.empty((phases * rows * 4,), np.int32)
    defines = {"POINTWISE": int(copied), "PHASES": int(transposed), **compiled}
    args = (batch, channels, filters, groups, rows, cols, splits)
    device.launch(file, kernels[0], (ceil_div(rows, 32) * sets, cols // 32), (32, 8),
                  (weight, packed, table, args, apart, *axes), **defines)
    partial = scratch(device, splits * y.size) if splits > 1 else None
    tiles = ceil_div(pixels, shape["BN"])
    device.launch(file, kernels[1], (cols // shape["BM"] * tiles * splits * sets,), (block,),
                  (x, packed, table, bias, y, partial, args, tiles, *axes), **defines)
    if splits > 1:
        add_parts(device, partial, bias, y, splits, plane, filters * groups)


def tensor_precision(device, *sizes):
    """How tensor cores are to compute a product of these sizes, as gemm_tensor takes it, or
    "strict": by the ordinary units."""
    if device.capability < (8, 0) or min(sizes) < TENSOR_LEAST:
        return "strict"
    return ("half" if device.real in ("f16", "bf16") else current_precision() if device.real == "f32"
            else "strict")


def tensor_threads(shape):
    return 32 * shape["BM"] // shape["WM"] * shape["BN"] // shape["WN"]


def tensor_defines(shape, precision):
    return {f"TILE_{name}": size
            for name, size in shape.items()} | ({"THREE_PRODUCTS": 1} if precision == "3xtf32" else {})


def planes_of_packets(array):
    """Whether every channel's plane starts at a multiple of 16 bytes and is a
    multiple of that long."""
    return math.prod(array.shape[2:]) * array.dtype.itemsize % 16 == 0 and address(array) % 16 == 0


def conv_weight_gradient(device, x, dy, stride, padding, dilation, groups, dw):
    if channels_last.is_channels_last(x) or channels_last.is_channels_last(dy):
        channels_last.conv_weight_gradient(conv_weight_gradient, device, x, dy, stride, padding, dilation,
                                           groups, dw)
        return
    if dw.size == 0:
        return
    if dy.size == 0:
        dw.fill(0)
        return
    groups = int(groups)
    channels, filters, batch = dw.shape[1], dw.shape[0] // groups, x.shape[0]
    axes = axis_sizes(spatial(dw.shape), stride, padding, dilation, spatial(x.shape), spatial(dy.shape))
    pixels, taps = batch * math.prod(dy.shape[2:]), math.prod(dw.shape[2:])
    within_int(pixels, math.prod(x.shape[1:]), math.prod(dy.shape[1:]))
    if channels * filters <= FEW:
        direct_weight_gradient(device, x, dy, axes, (batch, channels, filters, groups), dw)
        return
    precision = tensor_precision(device, filters, channels * taps, pixels)
    if precision == "strict":
        file, kernel = WEIGHT_GRADIENT, "conv_weight_gradient"
        shape, splits = tile(device.real, device.multiprocessors, filters, channels * taps, pixels, groups)
        # with BK 16, stores into shared memory would meet in the same banks
        defines = shape | {"BK": 8, "PACKETS": int(planes_of_packets(dy))}
        block = threads(shape)
    else:
        file, kernel = TENSOR_WEIGHT_GRADIENT, "conv_weight_gradient_tensor"
        shape, splits = tensor_tile(device.multiprocessors, filters, channels * taps, pixels, groups)
        packets = 0 if not planes_of_packets(dy) else 2 if is_pointwise(axes) and planes_of_packets(x) else 1
        defines, block = tensor_defines(shape, precision) | {"PACKETS": packets}, tensor_threads(shape)
    partial = scratch(device, splits * dw.size) if splits > 1 else None
    blocks = ceil_div(filters, shape["BM"]) * ceil_div(channels * taps, shape["BN"]) * groups * splits
    device.launch(file, kernel, (blocks,), (block,),
                  (x, dy, dw, partial, (batch, channels, filters, groups, splits), *axes), **defines)
    if splits > 1:
        add_parts(device, partial, None, dw, splits, 1, 1)


def direct_weight_gradient(device, x, dy, axes, sizes, dw):
    taps, width = math.prod(a[0] for a in axes), axes[2][5]
    together = next(n for n in (1, 4, 9) if taps <= n or n == 9)
    blocks = ceil_div(taps, together) * dw.shape[0] * dw.shape[1]
    across = min(256, max(8, 1 << (width - 1).bit_length()))
    lines = sizes[0] * axes[0][5] * axes[1][5]
    parts = max(1, min(8 * device.multiprocessors // blocks, ceil_div(lines * across, 4 * 256)))
    partial = scratch(device, parts * dw.size) if parts > 1 else None
    device.launch(DIRECT_WEIGHT_GRADIENT, "conv_direct_weight_gradient", (blocks * parts,), (256,),
                  (x, dy, dw, partial, (*sizes, parts), across, *axes), TAPS=together)
    if parts > 1:
        add_parts(device, partial, None, dw, parts, 1, 1)


def channel_sum(device, dy, total):
    if dy.size == 0:
        total.fill(0)
        return
    batch, channels, plane = dy.shape[0], dy.shape[1], math.prod(dy.shape[2:])
    parts = max(1, min(8 * device.multiprocessors // channels, batch * plane // 4096))
    partial = scratch(device, parts * channels) if parts > 1 else None
    device.launch(SUMS, "channel_sum", (channels * parts,), (256,),
                  (dy, partial, total, batch, channels, np.int64(plane), parts))
    if parts > 1:
        add_parts(device, partial, None, total, parts, 1, channels)
