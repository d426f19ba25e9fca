"""Padding and cropping of the last axes."""
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.symbolic import index
from ..core.tensor import per_input
from ..core.types import Arrays
from .spatial import bounded

reference = LateFunctions("pyops.kernels.pad.reference")

__all__ = ["pad"]

MODES = {"constant": 0, "reflect": 1, "replicate": 2, "circular": 3}


def pad(input: Arrays, pad: Sequence[int], mode: str = "constant", value: float | None = None, *,
        out: Arrays | None = None) -> Arrays:
    """Values before and behind the last axes.

    input: any shape, float32 or float64. pad: (before, behind) of the last axis, then of the one
    before it, and so on; negative numbers crop. mode: 'constant' (`value`, 0 if None; any number of
    axes), or over the last one, two or three axes of an input that has one or two axes more:
    'reflect' (mirrored without repeating the edge; less than the axis), 'replicate' (the edge
    repeated) or 'circular' (at most the axis). Raises ValueError where the padding does not fit.
    """
    if mode not in MODES:
        raise ValueError(f"pad: mode must be one of {', '.join(MODES)}, got {mode!r}")
    if value and mode != "constant":
        raise ValueError(f"pad: mode {mode!r} takes no value, got {value}")
    try:
        pairs = tuple(map(index, pad))
    except TypeError:
        raise TypeError(f"pad: pad must be ints, got {pad!r}") from None
    before, after = _per_axis(pairs, len(input.shape), mode)
    if mode == "circular" and min(before + after, default=0) < 0:   # what is cropped does not come back round
        input = PAD(input, before=_negative(before), after=_negative(after), mode="constant", value=0.0)
        before, after = _positive(before), _positive(after)
    return PAD(input, before=before, after=after, mode=mode, value=float(value or 0), out=out)


@lru_cache(4096)
def _per_axis(pad, ndim, mode):
    """The list `pad` as (before, after), a number an axis each."""
    bounded(pad, "pad", "pad")
    axes = len(pad) // 2
    if len(pad) % 2 or axes > ndim:
        raise ValueError(f"pad: pad must be at most {ndim} pairs for an input of {ndim} axes, got {pad!r}")
    if mode != "constant" and not (1 <= axes <= 3 and axes + 1 <= ndim <= axes + 2):
        raise ValueError(f"pad: mode {mode!r} pads the last one, two or three axes of an input with one or "
                         f"two axes more; got {axes} pairs for {ndim} axes")
    unpadded = (0,) * (ndim - axes)
    return unpadded + pad[::2][::-1], unpadded + pad[1::2][::-1]


def _negative(values):
    return tuple(min(v, 0) for v in values)


def _positive(values):
    return tuple(max(v, 0) for v in values)


def check(x, *, before, after, mode, value=0.0):
    return plan(x.shape, before, after, mode)


@lru_cache(4096)
def plan(shape, before, after, mode):
    """Validates; returns the result's shape, and shapes of input and result and `before` with axes
    merged for the kernel."""
    for n, b, a in zip(shape, before, after):
        if mode == "constant":
            _require(n + min(b, 0) + min(a, 0) >= 0, shape, before, after,
                     "cannot crop more than an axis holds")
        elif b or a:
            _require(n >= 1 and n + b + a >= 1, shape, before, after, "would leave an axis empty")
            _require(mode != "reflect" or max(b, a) < n, shape, before, after,
                     "reflection must be shorter than the axis")
            _require(mode != "circular" or max(b, a) <= n, shape, before, after,
                     "must not wrap around more than once")
    size = tuple(n + b + a for n, b, a in zip(shape, before, after))
    return size, *_merged(shape, size, before, mode)


def _require(fits, shape, before, after, rule):
    if not fits:
        raise ValueError(f"pad: input {shape} padded by {before} before and {after} behind: {rule}")


def _merged(shape, size, before, mode):
    """Shapes with unpadded neighbours merged into one axis, at most 8 axes. Axis 0 is never
    padded."""
    merged = [[1, 1, 0]]
    for i, (n, s, b) in enumerate(zip(shape, size, before)):
        leading = len(merged) == 1 and i < len(shape) - 1
        if n == s and not b and (leading or mode == "constant"):
            # with a constant, an unpadded axis makes the steps of the one before it longer
            merged[-1] = [v * n for v in merged[-1]]
        else:
            merged.append([n, s, b])
    if len(merged) > 8:
        raise ValueError(f"pad: more than 8 padded axes in input {shape} are not supported")
    return tuple(tuple(column) for column in zip(*merged))


def forward(k, x, *, before, after, mode, value):
    size, flat, flat_size, flat_before = plan(x.shape, before, after, mode)
    y = k.empty(size)
    k.pad(x.reshape(flat), flat_before, MODES[mode], value, y.reshape(flat_size))
    return y


def backward_check(dy, *, size, before, after, mode):
    wanted = plan(size, before, after, mode)[0]
    if dy.shape != wanted:
        raise ValueError(f"pad_backward: the gradient {dy.shape} must have the padded shape {wanted}")


def backward(k, dy, *, size, before, after, mode):
    _, flat, flat_size, flat_before = plan(size, before, after, mode)
    dx = k.empty(size)
    k.pad_backward(dy.reshape(flat_size), flat_before, MODES[mode], dx.reshape(flat))
    return dx


def _gradient(g, ctx):
    before, after, mode = (ctx.attrs[name] for name in ("before", "after", "mode"))
    if mode == "constant":   # padding is cropped, what was cropped is zero
        return PAD(g, before=tuple(-b for b in before), after=tuple(-a for a in after), mode=mode, value=0.0)
    return PAD_BACKWARD(g, size=tuple(ctx.inputs[0].shape), before=before, after=after, mode=mode)


def _gradient_of_backward(g, ctx):
    return PAD(g, before=ctx.attrs["before"], after=ctx.attrs["after"], mode=ctx.attrs["mode"], value=0.0)


PAD_BACKWARD = Op("pad_backward", "r", backward, reference.pad_backward, per_input(_gradient_of_backward),
                  backward_check, kernels=("pad_backward",), tolerance=16)   # sums of one value a mirrored copy

PAD = Op(
    "pad", "r", forward, reference.pad, per_input(_gradient), check,
    kernels=("pad",), bytes=lambda x, *, before, after, **_: x.nbytes + x.itemsize * math.prod(
        n + b + a for n, b, a in zip(x.shape, before, after)),
    tolerance=16,   # forward copies; the gradient sums one value a copy
    shapes=lambda x, *, before, after, **_: (tuple(n + b + a for n, b, a in zip(x, before, after)),),
    per_sample=lambda shape, *, before, after, **_: len(shape) > 1 and not before[0] and not after[0],
)
