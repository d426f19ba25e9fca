"""Channels moved into space and back, each the other's gradient. Shi et al. (2016)."""
from __future__ import annotations

import math
import operator
from functools import lru_cache

import numpy as np

from .. import _C
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Tensor, per_input
from ..core.types import Arrays
from .shape import PERMUTE, RESHAPE, reshape, transpose
from .spatial import bounded

reference = LateFunctions("pyops.kernels.pixel_shuffle.reference")

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


def pixel_shuffle(input: Arrays, upscale_factor: int, *, out: Arrays | None = None) -> Arrays:
    """(..., C r r, H, W) -> (..., C, H r, W r), r = upscale_factor: every pixel becomes r x r
    pixels of its channels.

    input: float32 or float64. Raises ValueError where the channels are no multiple of r r.
    """
    return PIXEL_SHUFFLE(input, factor=_factor("pixel_shuffle", upscale_factor), out=out)


def pixel_unshuffle(input: Arrays, downscale_factor: int, *, out: Arrays | None = None) -> Arrays:
    """(..., C, H r, W r) -> (..., C r r, H, W), r = downscale_factor: the inverse of pixel_shuffle.

    input: float32 or float64. Raises ValueError where height or width is no multiple of r.
    """
    return PIXEL_UNSHUFFLE(input, factor=_factor("pixel_unshuffle", downscale_factor), out=out)


def channel_shuffle(input: Arrays, groups: int) -> Arrays:
    """(N, groups x C, ...) with the channels of the groups in turn: channel g C + c becomes c groups +
    g. Raises ValueError where the channels are no multiple of groups. Source: Zhang et al. (2018)."""
    groups, shape = _factor("channel_shuffle", groups), tuple(input.shape)
    if type(input) in (np.ndarray, Tensor) and len(shape) > 2 and not shape[1] % groups:   # the shortest ways
        apart, dims = _channels_apart(shape, groups)
        x = input.data if type(input) is Tensor else input
        if x is not input and input.requires_grad or x.dtype.kind not in "fiub" or not x.flags.c_contiguous:
            return RESHAPE(PERMUTE(RESHAPE(input, shape=apart), dims=dims), shape=shape)
        y = _C.contiguous(x.reshape(apart).transpose(dims)).reshape(shape)
        return y if x is input else Tensor(y)
    if len(shape) < 3 or shape[1] % groups:
        raise ValueError(f"channel_shuffle: takes (N, C, ...) with C a multiple of groups {groups}, got {shape}")
    apart = reshape(input, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return reshape(transpose(apart, 1, 2), shape)


@lru_cache(4096)
def _channels_apart(shape, groups):
    """With an axis of groups, and the order of axes in which that one lies behind their channels."""
    return (shape[0], groups, shape[1] // groups, *shape[2:]), (0, 2, 1, *range(3, len(shape) + 1))


def _factor(name, value):
    try:
        factor = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: the factor must be an int, got {value!r}") from None
    if factor < 1:
        raise ValueError(f"{name}: the factor must be at least 1, got {factor}")
    return bounded((factor,), name, "the factor")[0]


@lru_cache(4096)
def shuffle_plan(shape, factor):
    """Validates; returns the result's shape, and the input's and the result's with one leading
    axis."""
    if len(shape) < 3 or shape[-3] % (factor * factor):
        raise ValueError(f"pixel_shuffle: input {shape} must have axes (..., C, H, W) with C a multiple of "
                         f"{factor} x {factor}")
    *lead, c, h, w = shape
    return _with_lead(lead, (c, h, w), (c // (factor * factor), h * factor, w * factor))


@lru_cache(4096)
def unshuffle_plan(shape, factor):
    """Validates; returns the result's shape, and the input's and the result's with one leading
    axis."""
    if len(shape) < 3 or shape[-2] % factor or shape[-1] % factor:
        raise ValueError(f"pixel_unshuffle: input {shape} must have axes (..., C, H, W) with H and W "
                         f"multiples of {factor}")
    *lead, c, h, w = shape
    return _with_lead(lead, (c, h, w), (c * factor * factor, h // factor, w // factor))


def _with_lead(lead, image, result):
    n = math.prod(lead)
    return (*lead, *result), (n, *image), (n, *result)


def shuffle_forward(k, x, *, factor):
    shape, flat, flat_y = shuffle_plan(x.shape, factor)
    y = k.empty(shape)
    k.pixel_shuffle(x.reshape(flat), factor, y.reshape(flat_y))
    return y


def unshuffle_forward(k, x, *, factor):
    shape, flat, flat_y = unshuffle_plan(x.shape, factor)
    y = k.empty(shape)
    k.pixel_unshuffle(x.reshape(flat), factor, y.reshape(flat_y))
    return y


PIXEL_SHUFFLE = Op(
    "pixel_shuffle", "r", shuffle_forward, reference.pixel_shuffle,
    per_input(lambda g, ctx: PIXEL_UNSHUFFLE(g, **ctx.attrs)),
    lambda x, *, factor: shuffle_plan(x.shape, factor),
    # values are moved, not computed
    kernels=("pixel_shuffle",), bytes=lambda x, *, factor: 2 * x.nbytes, tolerance=0,
    per_sample=lambda shape, *, factor: len(shape) > 3,
)

PIXEL_UNSHUFFLE = Op(
    "pixel_unshuffle", "r", unshuffle_forward, reference.pixel_unshuffle,
    per_input(lambda g, ctx: PIXEL_SHUFFLE(g, **ctx.attrs)),
    lambda x, *, factor: unshuffle_plan(x.shape, factor),
    # values are moved, not computed
    kernels=("pixel_unshuffle",), bytes=lambda x, *, factor: 2 * x.nbytes, tolerance=0,
    per_sample=lambda shape, *, factor: len(shape) > 3,
)
