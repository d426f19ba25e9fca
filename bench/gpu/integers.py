"""The tensor cores' products of small integers, which are exact whatever the order of a sum: they
pin the layouts of fragments, tiles, swizzles and copies that the emulator takes from the manual."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

# batch, rows, columns, depth
PRODUCTS = ((1, 64, 64, 64), (1, 33, 70, 45), (1, 128, 96, 160), (2, 130, 136, 72))
# one tile and several, more steps than stages
HOPPER_PRODUCTS = ((1, 128, 128, 64), (2, 136, 264, 72), (1, 264, 136, 1032), (2, 2056, 2600, 520))
KINDS = (("f16", "half"), ("bf16", "half"), ("f32", "tf32"), ("f32", "3xtf32"), ("f64", "f64"))


def products(small: bool) -> list[tuple[str, Callable[[], dict]]]:
    """By mma.sync, in each type and order of operands."""
    return [(f"{precision} {real} {'x'.join(map(str, sizes))} {'nt'[ta]}{'nt'[tb]}",
             partial(checked, tensor_product, real, *sizes, ta, tb, precision))
            for real, precision in KINDS for sizes in PRODUCTS for ta in (False, True) for tb in (False, True)]


def hopper(small: bool) -> list[tuple[str, Callable[[], dict]]]:
    """By wgmma and the Tensor Memory Accelerator: plain products first, strided copies last."""
    sizes = HOPPER_PRODUCTS[:2] if small else HOPPER_PRODUCTS
    found = [(f"wgmma {real} {'x'.join(map(str, shape))} {'nt'[ta]}{'nt'[tb]}",
              partial(checked, hopper_product, real, *shape, ta, tb))
             for ta, tb in ((False, False), (False, True), (True, False), (True, True))
             for shape in sizes for real in ("bf16", "f16")]
    shapes = HOPPER_CONVOLUTIONS[:2] if small else HOPPER_CONVOLUTIONS
    return found + [(f"im2col {real} {shape[0]} {shape[2]} / {shape[3]}{' transposed' if transposed else ''}",
                     partial(checked, hopper_convolution, real, *shape, transposed))
                    for shape in shapes for transposed in (False, True) for real in ("bf16", "f16")]


def checked(compare, real, *arguments) -> dict:
    """AssertionError where compare(kernels of that type, *arguments) says what is wrong."""
    from ...core.backends import BACKENDS
    kernels = BACKENDS["cuda"].kernels(real)
    if compare in (hopper_product, hopper_convolution) and tuple(kernels.device.capability) != (9, 0):
        return {"skipped": "wgmma is for capability 9.0"}
    why = compare(kernels, *arguments)
    assert not why, why
    return {"exact": True}


def tensor_product(kernels, batch, m, n, k, ta, tb, precision) -> str:
    from ...kernels.gemm.launch import gemm_tensor
    rng = np.random.default_rng(m + n + k)
    a, b = (rng.integers(-4, 5, shape) for shape in ((batch, m, k), (1, k, n)))
    left, right = (kernels.device.put(np.ascontiguousarray(x.swapaxes(1, 2) if swapped else x).astype(kernels.dtype))
                   for x, swapped in ((a, ta), (b, tb)))
    c = kernels.device.put(np.full((batch, m, n), np.nan, kernels.dtype))
    gemm_tensor(kernels.device, left, right, ta, tb, c, precision)
    return differs(kernels, c, a.astype(np.float64) @ b)


def hopper_product(kernels, batch, m, n, k, ta, tb) -> str:
    """What is wrong with one product of integers by wgmma; "" if nothing is."""
    from ...kernels.gemm import hopper
    rng = np.random.default_rng(m + n + k)
    a, b = (rng.integers(-4, 5, shape) for shape in ((batch, m, k), (1, k, n)))
    bias = rng.integers(-4, 5, n)
    left, right = (kernels.device.put(np.ascontiguousarray(x.swapaxes(1, 2) if swapped else x).astype(kernels.dtype))
                   for x, swapped in ((a, ta), (b, tb)))
    if not hopper.takes(kernels.device, left, right):
        return "is not taken"
    c = kernels.device.put(np.full((batch, m, n), np.nan, kernels.dtype))
    hopper.gemm_hopper(kernels.device, left, right, ta, tb, c, kernels.device.put(bias.astype(kernels.dtype)), None,
                       True)
    # every partial sum is an integer below 2^24
    want = (a.astype(np.float32) @ b.astype(np.float32) + bias).astype(np.float32)
    return differs(kernels, c, want)


def differs(kernels, got, want) -> str:
    """Where a result is not `want` rounded to the kernels' type, and the corner of both."""
    got, want = kernels.device.get(got).astype(np.float32), want.astype(kernels.dtype).astype(np.float32)
    if np.array_equal(got, want):
        return ""
    at = np.argwhere(~(got == want))
    corner = tuple(slice(i // 8 * 8, i // 8 * 8 + 8) for i in at[0][-2:])
    return (f"differs at {len(at)} of {got.size} places, first {at[0].tolist()}; there got "
            f"{got[tuple(at[0][:-2])][corner].tolist()}, want {want[tuple(at[0][:-2])][corner].tolist()}")


# batch, channels and filters of a group, groups; input, kernel, stride, padding, dilation: one tile
# and several, ragged filters, the widest tiles
HOPPER_CONVOLUTIONS = (((1, 64, 64, 1), (8, 16), (1, 1), (1, 1), (0, 0), (1, 1)),
                       ((2, 72, 40, 1), (19, 21), (3, 3), (1, 1), (1, 1), (1, 1)),
                       ((2, 64, 136, 1), (25, 23), (3, 3), (2, 2), (1, 1), (1, 1)),
                       ((1, 8, 64, 1), (33, 40), (7, 7), (2, 2), (3, 3), (1, 1)),
                       ((2, 64, 64, 3), (13, 12), (3, 2), (1, 3), (2, 0), (2, 3)),
                       ((8, 16, 200, 1), (56, 56), (2, 1), (1, 1), (4, 0), (4, 1)))


def hopper_convolution(kernels, sizes, inputs, kernel, stride, padding, dilation, transposed) -> str:
    """What is wrong with one convolution of integers by wgmma; "" if nothing is."""
    (batch, channels, filters, groups), rng = sizes, np.random.default_rng(0)
    outputs = tuple((i + 2 * p - d * (k - 1) - 1) // s + 1
                    for i, k, s, p, d in zip(inputs, kernel, stride, padding, dilation))
    given, size = ((groups * filters, *outputs), inputs) if transposed else ((groups * channels, *inputs), outputs)
    return convolved(kernels, rng.integers(-4, 5, (batch, *given)),
                     rng.integers(-4, 5, (groups * filters, channels, *kernel)), size,
                     {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}, transposed)


def convolved(kernels, given, weight, size, attrs, transposed) -> str:
    from ...kernels.convolution import channels_last, grid, hopper, reference
    groups, channels, kernel = attrs["groups"], weight.shape[1], weight.shape[2:]
    filters, taps = weight.shape[0] // groups, kernel[0] * kernel[1]
    sizes, apart = (channels, filters, groups), (filters * channels * taps, channels * taps, taps)
    if transposed:
        sizes, apart = (filters, channels, groups), (apart[0], apart[2], apart[1])
    x = channels_last.empty(kernels.device, given.shape)
    y = channels_last.empty(kernels.device, (given.shape[0], groups * sizes[1], *size))
    x[...] = kernels.device.put(given.astype(kernels.dtype))
    y[...] = kernels.device.put(np.full(y.shape, np.nan, kernels.dtype))
    axes = grid.axis_sizes((1, *kernel), (1, *attrs["stride"]), (0, *attrs["padding"]),
                           (1, *attrs["dilation"]), (1, *given.shape[2:]), (1, *size))
    if not hopper.takes(kernels.device, channels_last.last(x), axes, sizes, transposed):
        return "is not taken"
    filters_there = kernels.device.put(weight.astype(kernels.dtype))
    hopper.conv_hopper(kernels.device, channels_last.last(x), filters_there, None, axes, sizes, apart,
                       channels_last.last(y), transposed)
    row = reference.conv_transpose if transposed else reference.conv
    want = row(given.astype(np.float64), weight.astype(np.float64), None, size=size,
               **attrs).astype(np.float32)
    return differs(kernels, y, want)
