"""Deformable convolution: a convolution whose taps read the image where offsets say."""
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Array, Arrays, Sizes
from .matmul import matmul
from .reduction import sum as sum_of
from .shape import reshape, transpose
from .spatial import axes
from .typed import NO_CUDA

reference = LateFunctions("pyops.kernels.deform_conv.reference")

__all__ = ["deform_conv2d"]

Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


def deform_conv2d(input: Arrays, offset: Arrays, weight: Arrays, bias: Arrays | None = None, stride: Sizes = 1,
                  padding: Sizes = 0, dilation: Sizes = 1, mask: Arrays | None = None, *,
                  out: Arrays | None = None) -> Arrays:
    """A convolution whose tap (i, j) of output (h, w) reads the pixel at (h stride - padding + i
    dilation + dh, w stride - padding + j dilation + dw), interpolated linearly, 0 outside, times the
    mask.

    input: (N, C, H, W), float32 or float64; weight: (F, C / groups, kh, kw); offset: (N, 2 OG kh kw,
    OH, OW), of each of OG groups of channels and each tap dh and dw; mask: (N, OG kh kw, OH, OW);
    bias: (F,). Returns (N, F, OH, OW). torchvision's signature and, with a mask, its version 2.
    Gradients go to all arrays. Raises ValueError where shapes do not fit. Source: Dai et al. (2017),
    Zhu et al. (2019).
    """
    if len(weight.shape) != 4:
        raise ValueError(f"deform_conv2d: weight must be (F, C / groups, kh, kw), got shape {tuple(weight.shape)}")
    window = (tuple(weight.shape[2:]), axes(stride, 2, "deform_conv2d", "stride", 1),
              axes(padding, 2, "deform_conv2d", "padding"), axes(dilation, 2, "deform_conv2d", "dilation", 1))
    shapes = (None if a is None else tuple(a.shape) for a in (input, offset, weight, bias, mask))
    groups, offset_groups = plan(*shapes, window)
    return DEFORM_CONV(input, offset, weight, bias, mask, window=window, groups=groups,
                       offset_groups=offset_groups, out=out)


@lru_cache(4096)
def plan(x: Any, offset: Any, weight: Any, bias: Any, mask: Any, window: Window) -> tuple[int, int]:
    """Validates; returns the numbers of groups of channels and of offsets."""
    kernel, stride, padding, dilation = window
    if len(x) != 4 or min(x[2:]) < 1 or min(weight) < 1 or x[1] % weight[1] or x[1] < 1 \
            or weight[0] % (x[1] // weight[1]):
        raise ValueError(f"deform_conv2d: takes input (N, C, H, W), of at least one pixel, and weight (F, C / groups, "
                         f"kh, kw) with groups that divide F, got {x} and {weight}")
    if math.prod(x[2:]) >= 2**31:
        raise ValueError(f"deform_conv2d: an image must have less than 2^31 pixels a plane, got {x}")
    out = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1
                for n, k, s, p, d in zip(x[2:], kernel, stride, padding, dilation))
    if min(out) < 1:
        raise ValueError(f"deform_conv2d: input {x} padded by {padding} is smaller than a window of {kernel} "
                         f"dilated by {dilation}")
    taps = kernel[0] * kernel[1]
    count = offset[1] // (2 * taps) if len(offset) == 4 else 0
    if count < 1 or x[1] % count or offset != (x[0], 2 * count * taps, *out):
        raise ValueError(f"deform_conv2d: offset must be (N, 2 groups x {taps} taps, OH, OW) = ({x[0]}, "
                         f"{2 * taps} groups, {out[0]}, {out[1]}) with groups that divide {x[1]} channels, "
                         f"got {offset}")
    if mask is not None and mask != (x[0], count * taps, *out):
        raise ValueError(f"deform_conv2d: mask must be {(x[0], count * taps, *out)}, got {mask}")
    if bias is not None and bias != weight[:1]:
        raise ValueError(f"deform_conv2d: bias must be {weight[:1]}, got {bias}")
    return x[1] // weight[1], count


# ---- rows

def check(x: Array, offset: Array, weight: Array, bias: Array | None, mask: Array | None, *, window: Window,
          **_: int) -> Any:
    return plan(x.shape, offset.shape, weight.shape, None if bias is None else bias.shape,
                None if mask is None else mask.shape, window)


def forward(k: Any, x: Array, offset: Array, weight: Array, bias: Any, mask: Any, *, window: Window, groups: int,
            offset_groups: int) -> Array:
    check(x, offset, weight, bias, mask, window=window)
    y: Array = k.empty((x.shape[0], weight.shape[0], *offset.shape[2:]))
    k.deform_conv(x, offset, weight, bias, mask, window, groups, offset_groups, y)
    return y


def columns_forward(k: Any, x: Array, offset: Array, mask: Any, *, window: Window, offset_groups: int) -> Array:
    y: Array = k.empty((x.shape[0], x.shape[1] * math.prod(window[0]), math.prod(offset.shape[2:])))
    k.deform_columns(x, offset, mask, window, offset_groups, y)
    return y


def input_gradient(k: Any, g: Array, offset: Array, mask: Any, *, size: tuple[int, int], window: Window,
                   offset_groups: int) -> Array:
    dx: Array = k.empty((g.shape[0], g.shape[1] // math.prod(window[0]), *size))
    k.deform_input_gradient(g, offset, mask, window, offset_groups, dx)
    return dx


def place_gradient(k: Any, g: Array, x: Array, offset: Array, mask: Any, *, window: Window,
                   offset_groups: int) -> tuple[Array, Array]:
    doffset, dmask = k.empty(offset.shape), k.empty((0,) if mask is None else mask.shape)
    k.deform_place_gradient(g, x, offset, mask, window, offset_groups, doffset, dmask)
    return doffset, dmask


def gradient(ctx: Context) -> tuple[Any, ...]:
    """By the columns: y = weight columns + bias."""
    x, offset, weight, bias, mask = ctx.inputs
    window, groups, offset_groups = (ctx.attrs[name] for name in ("window", "groups", "offset_groups"))
    how = {"window": window, "offset_groups": offset_groups}
    n, places, filters = x.shape[0], math.prod(offset.shape[2:]), weight.shape[0]
    depth = math.prod(weight.shape[1:])
    g = reshape(ctx.g, (n, groups, filters // groups, places))
    dx = doffset = dmask = dweight = dbias = None
    if ctx.needs[2]:
        columns = reshape(DEFORM_COLUMNS(x, offset, mask, **how), (n, groups, depth, places))
        dweight = reshape(sum_of(matmul(g, transpose(columns, 2, 3)), 0), tuple(weight.shape))
    if bias is not None and ctx.needs[3]:
        dbias = sum_of(ctx.g, (0, 2, 3))
    if ctx.needs[0] or ctx.needs[1] or ctx.needs[4]:
        flat = reshape(weight, (groups, filters // groups, depth))
        of_columns = reshape(matmul(transpose(flat, 1, 2), g), (n, groups * depth, places))
        if ctx.needs[0]:
            dx = DEFORM_INPUT_GRADIENT(of_columns, offset, mask, size=tuple(x.shape[2:]), **how)
        if ctx.needs[1] or ctx.needs[4]:
            doffset, dmask = DEFORM_PLACE_GRADIENT(of_columns, x, offset, mask, **how)
    return dx, doffset, dweight, dbias, dmask if mask is not None else None


DEFORM_COLUMNS = Op("deform_columns", "rro", columns_forward, reference.deform_columns,
                    kernels=("deform_columns",), todo=NO_CUDA)
DEFORM_INPUT_GRADIENT = Op("deform_input_gradient", "rro", input_gradient, reference.deform_input_gradient,
                           kernels=("deform_input_gradient",), todo=NO_CUDA)
DEFORM_PLACE_GRADIENT = Op("deform_place_gradient", "rrro", place_gradient, reference.deform_place_gradient,
                           kernels=("deform_place_gradient",), todo=NO_CUDA)
# Places are rounded to the element type, which moves weights by the image's size x eps
DEFORM_CONV = Op(
    "deform_conv", "rrroo", forward, reference.deform_conv, gradient, check, kernels=("deform_conv",),
    tolerance=1024, todo=NO_CUDA, per_sample=True,
    macs=lambda x, offset, weight, *_, **__: x.shape[0] * math.prod(offset.shape[2:]) * weight.size,
    bytes=lambda x, offset, weight, *_, **__: x.nbytes + offset.nbytes + weight.nbytes)
