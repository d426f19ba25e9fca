"""Sliding windows as columns (unfold, im2col) and columns summed back into images (fold, col2im)."""
from __future__ import annotations

from functools import lru_cache

from ..kernels.im2col import reference
from ..core.registry import A, Op, bad, case
from ..core.tensor import per_input
from .spatial import axes

__all__ = ["unfold", "fold"]


def unfold(input, kernel_size, dilation=1, padding=0, stride=1, *, out=None):
    """The windows of an image as columns (im2col).

    input: (N, C, H, W) or (C, H, W), float32 or float64; the other arguments: an int or two. Returns (N, C kh kw, L) or (C kh kw, L)
    with L = OH OW places, OH = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1; zeros lie outside the image. Raises ValueError
    where no window fits. Source: Chellapilla, Puri & Simard (2006).
    """
    return UNFOLD(input, **_window("unfold", kernel_size, dilation, padding, stride), out=out)


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1, *, out=None):
    """The adjoint of unfold (col2im): each pixel is the sum of all values that unfold would have copied from there.

    input: (N, C kh kw, L) or (C kh kw, L), float32 or float64; output_size: (H, W) or an int for both. Returns (N, C, H, W) or
    (C, H, W). Raises ValueError where input's rows are no multiple of kh kw or L is not the number of places of the window.
    """
    size = axes(output_size, 2, "fold", "output_size", 1)
    return FOLD(input, size=size, **_window("fold", kernel_size, dilation, padding, stride), out=out)


def _window(name, kernel_size, dilation, padding, stride):
    return {"kernel": axes(kernel_size, 2, name, "kernel_size", 1), "dilation": axes(dilation, 2, name, "dilation", 1),
            "padding": axes(padding, 2, name, "padding"), "stride": axes(stride, 2, name, "stride", 1)}


@lru_cache(4096)
def _places(name, size, kernel, dilation, padding, stride):
    places = reference.places(size, kernel, dilation, padding, stride)
    if min(places) < 1:
        raise ValueError(f"{name}: an image of {size} padded by {padding} is smaller than a window of {kernel} dilated by {dilation}")
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
        raise ValueError(f"fold: input {columns} has {columns[-2]} rows, which must be a multiple of the window's {kernel[0]} x {kernel[1]} taps")
    if columns[-1] != places[0] * places[1]:
        raise ValueError(f"fold: input {columns} has {columns[-1]} columns; output_size {size} needs {places[0]} x {places[1]} places")
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
    cases=[
        case("3x3_same", "unfold", A(2, 3, 9, 21), 3, padding=1, batch=True),
        case("stride2_odd", "unfold", A(2, 3, 11, 38), (2, 3), stride=2, padding=(0, 1), batch=True),
        case("stride3_dilation2", "unfold", A(1, 2, 17, 55), (3, 2), dilation=(2, 3), padding=(2, 1), stride=(1, 3)),
        case("patches", "unfold", A(2, 3, 8, 12), 4, stride=4),
        case("places_all_on_padding", "unfold", A(1, 2, 2, 3), 2, padding=4, stride=2),
        case("tap_beyond_image", "unfold", A(1, 1, 2, 2), (1, 7), padding=(0, 3)),
        case("1x1", "unfold", A(1, 2, 5, 7), 1),
        case("whole_image", "unfold", A(2, 2, 4, 5), (4, 5)),
        case("no_batch_axis", "unfold", A(3, 6, 18), [3, 3]),
        case("no_samples", "unfold", A(0, 3, 6, 7), 3),
    ],
    refuses=[
        bad("rank", "unfold", A(3, 4), 2, match="unfold: input must have axes"),
        bad("window_larger", "unfold", A(1, 1, 3, 3), 4, match="smaller than a window"),
        bad("zero_stride", "unfold", A(1, 1, 4, 4), 2, stride=0, match="stride must be at least 1"),
        bad("negative_padding", "unfold", A(1, 1, 4, 4), 2, padding=-1, match="padding must be at least 0"),
        bad("zero_kernel", "unfold", A(1, 1, 4, 4), (0, 2), match="kernel_size must be at least 1"),
        bad("float_kernel", "unfold", A(1, 1, 4, 4), 2.0, match="kernel_size", error=TypeError),
        bad("three_strides", "unfold", A(1, 1, 4, 4), 2, stride=(1, 2, 3), match="2 ints"),
    ],
)

FOLD = Op(
    "fold", "r", fold_forward, reference.fold, per_input(_unfold_of), fold_check,
    kernels=("fold",), bytes=lambda columns, **_: columns.nbytes,
    tolerance=16,   # a sum of one value a tap
    cases=[
        case("3x3_same", "fold", A(2, 27, 9 * 21), (9, 21), 3, padding=1, batch=True),
        case("stride2_odd", "fold", A(2, 18, 5 * 19), (11, 38), (2, 3), stride=2, padding=(0, 1), batch=True),
        case("stride3_dilation2", "fold", A(1, 12, 17 * 18), (17, 55), (3, 2), dilation=(2, 3), padding=(2, 1), stride=(1, 3)),
        case("patches_square", "fold", A(2, 48, 4), 8, 4, stride=4),
        case("pixels_no_window_reaches", "fold", A(1, 4, 4), (5, 6), 2, stride=3),
        case("no_batch_axis", "fold", A(27, 4 * 16), (6, 18), 3),
        case("no_samples", "fold", A(0, 27, 20), (6, 7), 3),
    ],
    refuses=[
        bad("rank", "fold", A(2, 2, 2, 2), 2, 1, match="fold: input must have axes"),
        bad("rows", "fold", A(1, 5, 4), (3, 3), 2, match="multiple of"),
        bad("columns", "fold", A(1, 4, 5), (3, 3), 2, match="2 x 2 places"),
        bad("window_larger", "fold", A(1, 4, 1), (1, 1), 2, match="smaller than a window"),
        bad("zero_size", "fold", A(1, 4, 1), (0, 2), 2, match="output_size must be at least 1"),
    ],
)
