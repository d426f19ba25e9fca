"""Sliding windows as columns (unfold, im2col) and columns summed back into images (fold,
col2im)."""
from __future__ import annotations

from functools import lru_cache

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import per_input
from ..core.types import Arrays, Sizes
from .spatial import axes

reference = LateFunctions("pyops.kernels.im2col.reference")

__all__ = ["unfold", "fold"]


def unfold(input: Arrays, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1, *,
           out: Arrays | None = None) -> Arrays:
    """The windows of an image as columns (im2col).

    input: (N, C, H, W) or (C, H, W), float32 or float64; the other arguments: an int or two.
    Returns (N, C kh kw, L) or (C kh kw, L) with L = OH OW places, OH = (H + 2 padding - dilation
    (kh - 1) - 1) // stride + 1; zeros lie outside the image. Raises ValueError where no window
    fits. Source: Chellapilla, Puri & Simard (2006).
    """
    return UNFOLD(input, **_window("unfold", kernel_size, dilation, padding, stride), out=out)


def fold(input: Arrays, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0,
         stride: Sizes = 1, *, out: Arrays | None = None) -> Arrays:
    """The adjoint of unfold (col2im): each pixel is the sum of all values that unfold would
    have copied from there.

    input: (N, C kh kw, L) or (C kh kw, L), float32 or float64; output_size: (H, W) or an int for
    both. Returns (N, C, H, W) or (C, H, W). Raises ValueError where input's rows are no multiple of
    kh kw or L is not the number of places of the window.
    """
    size = axes(output_size, 2, "fold", "output_size", 1)
    return FOLD(input, size=size, **_window("fold", kernel_size, dilation, padding, stride), out=out)


def _window(name, kernel_size, dilation, padding, stride):
    return {"kernel": axes(kernel_size, 2, name, "kernel_size", 1),
            "dilation": axes(dilation, 2, name, "dilation", 1),
            "padding": axes(padding, 2, name, "padding"), "stride": axes(stride, 2, name, "stride", 1)}


@lru_cache(4096)
def _places(name, size, kernel, dilation, padding, stride):
    places = reference.places(size, kernel, dilation, padding, stride)
    if min(places) < 1:
        raise ValueError(f"{name}: an image of {size} padded by {padding} is smaller than a window of "
                         f"{kernel} dilated by {dilation}")
    return places


@lru_cache(4096)
def unfold_plan(x, kernel, dilation, padding, stride):
    """Validates; returns the places along each axis and the shape of the result."""
    if len(x) not in (3, 4):
        raise ValueError(f"unfold: input must have axes (N, C, H, W) or (C, H, W), got shape {x}")
    places = _places("unfold", x[-2:], kernel, dilation, padding, stride)
    return places, (*x[:-3], x[-3] * kernel[0] * kernel[1], places[0] * places[1])


@lru_cache(4096)
def fold_plan(columns, size, kernel, dilation, padding, stride):
    """Validates; returns the places along each axis and the shape of the result."""
    if len(columns) not in (2, 3):
        raise ValueError(f"fold: input must have axes (N, C kh kw, L) or (C kh kw, L), got shape {columns}")
    places = _places("fold", size, kernel, dilation, padding, stride)
    taps = kernel[0] * kernel[1]
    if columns[-2] % taps:
        raise ValueError(f"fold: input {columns} has {columns[-2]} rows, which must be a multiple of the "
                         f"window's {kernel[0]} x {kernel[1]} taps")
    if columns[-1] != places[0] * places[1]:
        raise ValueError(f"fold: input {columns} has {columns[-1]} columns; output_size {size} needs "
                         f"{places[0]} x {places[1]} places")
    return places, (*columns[:-2], columns[-2] // taps, *size)


def unfold_check(x, **window):
    return unfold_plan(x.shape, **window)


def fold_check(columns, **window):
    return fold_plan(columns.shape, **window)


def unfold_forward(k, x, *, kernel, dilation, padding, stride):
    places, shape = unfold_plan(x.shape, kernel, dilation, padding, stride)
    y = k.empty(shape)
    k.unfold(x if x.ndim == 4 else x[None], kernel, dilation, padding, stride, places, y)
    return y


def fold_forward(k, columns, *, size, kernel, dilation, padding, stride):
    places, shape = fold_plan(columns.shape, size, kernel, dilation, padding, stride)
    y = k.empty(shape)
    k.fold(columns, kernel, dilation, padding, stride, places, y if y.ndim == 4 else y[None])
    return y


def _unfold_of(g, ctx):
    return UNFOLD(g, **{name: value for name, value in ctx.attrs.items() if name != "size"})


UNFOLD = Op(
    "unfold", "r", unfold_forward, reference.unfold,
    per_input(lambda g, ctx: FOLD(g, size=tuple(ctx.inputs[0].shape[-2:]), **ctx.attrs)), unfold_check,
    kernels=("unfold",), bytes=lambda x, **window: (1 + window["kernel"][0] * window["kernel"][1]) * x.nbytes,
    tolerance=16,   # forward copies; the gradient sums one value a tap
    per_sample=lambda shape, **_: len(shape) == 4,
)

FOLD = Op(
    "fold", "r", fold_forward, reference.fold, per_input(_unfold_of), fold_check,
    kernels=("fold",), bytes=lambda columns, **_: columns.nbytes,
    tolerance=16,   # a sum of one value a tap
    per_sample=lambda shape, **_: len(shape) == 3,
)
