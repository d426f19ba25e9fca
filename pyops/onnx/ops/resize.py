"""Resize and Upsample: a table of taps an axis, as for F.interpolate, with ONNX's positions and
weights.

Where onnx's text leaves a choice, onnxruntime's is taken, which is torch's: the length of a result
is the product with a scale in float32, and positions that depend on the resized length take it as
the whole number that it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...core.symbolic import decided, formula, plain, symbolic
from .row import axis_of, known, op, rank, real, traced
from .select import ABSENT, Table, combined, tabled, taken

WHERE = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
NEAREST = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@op("Upsample")
def upsample(call):
    scales = call.numbers(1, "scales") if call.version >= 9 else call.attr("scales")
    return scaled(call, range(rank(call[0])), scales, "asymmetric", {})


@op("Resize")
def resize(call):
    x, n = call[0], rank(call[0])
    if call.version < 11:
        return scaled(call, range(n), call.numbers(1, "scales"), "asymmetric", {})
    region, scales, sizes = (
        None if call[i] is None or np.size(call[i]) == 0 else call.numbers(i, name)
        for i, name in ((1, "roi"), (2, "scales"), (3, "sizes"))
    )
    axes = [axis_of(a, n) for a in call.attr("axes") or range(n)]
    where = call.attr("coordinate_transformation_mode", "half_pixel")
    if (scales is None) == (sizes is None):
        raise ValueError(f"takes either scales or sizes, got scales {scales} and sizes {sizes}")
    if where == "tf_crop_and_resize" and (region is None or len(region) != 2 * len(axes)):
        raise ValueError(f"tf_crop_and_resize needs a region of {2 * len(axes)} numbers, got {region}")
    around = (
        {a: (region[i], region[i + len(axes)]) for i, a in enumerate(axes)}
        if where == "tf_crop_and_resize"
        else {}
    )
    if scales is not None:
        return scaled(call, axes, scales, where, around)
    check_count(axes, sizes, "sizes")
    if min(sizes, default=0) < 0:
        raise ValueError(f"sizes {sizes} are not all positive")
    ratios = [s / max(x.shape[a], 1) for s, a in zip(sizes, axes)]
    policy = call.attr("keep_aspect_ratio_policy", "stretch")
    if policy not in ("stretch", "not_larger", "not_smaller"):
        raise ValueError(
            f"keep_aspect_ratio_policy must be stretch, not_larger or not_smaller, got {policy!r}"
        )
    if policy != "stretch":
        ratio = (min if policy == "not_larger" else max)(ratios)
        ratios, sizes = [ratio] * len(axes), [math.floor(ratio * x.shape[a] + 0.5) for a in axes]
    return resized(call, list(zip(axes, ratios, sizes)), where, around)


def check_count(axes, values, name):
    if len(values) != len(axes):
        raise ValueError(f"{name} are {len(values)} numbers for {len(axes)} axes")


def scaled(call, axes, scales, where, around):
    """By scales: an axis becomes floor(length x scale), the product in float32 as torch and
    onnxruntime have it.
    """
    check_count(axes, scales, "scales")
    if not all(math.isfinite(s) and s > 0 for s in scales):
        raise ValueError(f"scales must be positive and finite, got {scales}")
    scales = [np.float32(s) for s in scales]
    return resized(
        call,
        [(a, s, formula(length, call[0].shape[a], s)) for a, s in zip(axes, scales)],
        where,
        around,
    )


def length(size: int, scale) -> int:
    return int(np.floor(np.float32(size) * scale))


def resized(call, plan, where, around):
    """plan: (axis, scale, length of the result). around: axis -> (start, end), of
    tf_crop_and_resize.
    """
    x, mode = call[0], call.attr("mode", "nearest")
    mode = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}.get(
        mode, mode
    )  # as operator sets before 9 have them
    if mode not in ("nearest", "linear", "cubic") or where not in WHERE:
        raise ValueError(
            f"mode {mode!r} by {where!r} is none of nearest, linear, cubic by {', '.join(WHERE)}"
        )
    shape = list(x.shape)
    for axis, _, size in plan:
        shape[axis] = size
    if 0 not in shape and 0 in x.shape:
        raise ValueError(f"an input of shape {tuple(x.shape)} cannot become {tuple(shape)}")
    if 0 in shape:
        return np.zeros(call.room(shape, x.dtype), x.dtype)
    call.room(shape, x.dtype if mode == "nearest" else np.float64, copies=2)
    y = x if real(x) or mode == "nearest" else known(x, "x").astype(np.float64)
    for axis, scale, size in plan:
        how = how_of(call, mode, where, around.get(axis, (0.0, 1.0)))
        n = x.shape[axis]
        if decided(unchanged, how, scale, n, size):
            continue
        if symbolic((n, size, scale)) and where != "tf_crop_and_resize":
            y = tabled(y, axis, size, formula(table, how, scale, n, size))
            continue
        n, size, scale = plain(n), plain(size), plain(scale)
        at = positions(how, scale, n, size)
        if mode == "nearest":
            y = taken(y, axis, nearest(how, at, n))
        else:
            call.room((len(at), 2 * math.ceil(reach(how, scale)) + 1), np.float64, copies=8)
            y = combined(y, axis, *taps(how, scale, at, n))
        outside = (at < 0) | (at > n - 1)
        if where == "tf_crop_and_resize" and outside.any():
            y = filled(y, axis, outside, call.attr("extrapolation_value", 0.0))
    if y.dtype == x.dtype:
        return y
    if x.dtype.kind in "iu":
        limits = np.iinfo(x.dtype)
        y = np.clip(y, limits.min, limits.max)  # a cubic may overshoot
    return y.astype(x.dtype)


class How(NamedTuple):
    """How an axis is resized, but for its lengths."""

    mode: str
    where: str
    around: tuple[float, float]
    rule: str  # which of two is nearest
    antialias: bool
    inside: bool
    cubic: float


def how_of(call, mode, where, around) -> How:
    rule = call.attr("nearest_mode", "round_prefer_floor" if call.version >= 11 else "floor")
    if mode == "nearest" and rule not in NEAREST:
        raise ValueError(f"nearest_mode must be one of {', '.join(NEAREST)}, got {rule!r}")
    return How(mode, where, tuple(around), rule, bool(call.attr("antialias", 0)),
               bool(call.attr("exclude_outside", 0)), call.attr("cubic_coeff_a", -0.75))


def unchanged(how: How, scale, size: int, count: int) -> bool:
    return size == count and np.array_equal(positions(how, scale, size, count), np.arange(count))


def table(how: How, scale, size: int, count: int) -> Table:
    """The taps of an axis, also of what is nearest."""
    at = positions(how, scale, size, count)
    if how.mode == "nearest":
        index = nearest(how, at, size)[None]
        return Table(index, np.ones(index.shape))
    return Table(*taps(how, scale, at, size))


def positions(how: How, scale, size, count):
    """Where each output lies among the inputs; what is nearest, rounded as float32 rounds."""
    where = how.where
    real_of = np.float32 if how.mode == "nearest" and isinstance(scale, np.float32) else np.float64
    at, scale = np.arange(count, dtype=real_of), real_of(scale)
    if where == "align_corners":
        return at * real_of(size - 1) / real_of(count - 1) if count > 1 else np.zeros(count)
    if where == "asymmetric":
        return at / scale
    if where == "pytorch_half_pixel" and count <= 1:
        return np.zeros(count)
    if where == "tf_half_pixel_for_nn":
        return (at + real_of(0.5)) / scale
    if where == "tf_crop_and_resize":
        start, end = how.around
        return (
            start * (size - 1) + at * (end - start) * (size - 1) / (count - 1)
            if count > 1
            else np.full(count, 0.5 * (start + end) * (size - 1))
        )
    middle = (at + real_of(0.5)) / scale - real_of(0.5)
    if where == "half_pixel_symmetric" and count and size:
        return size / 2 * (1 - count / (float(scale) * size)) + middle
    return middle


def nearest(how: How, at, size):
    return np.clip(NEAREST[how.rule](at), 0, size - 1).astype(np.int64)


def stretch(how: How, scale) -> float:
    """With antialias the filter is stretched by what the axis shrinks."""
    return min(float(scale), 1.0) if how.antialias else 1.0


def reach(how: How, scale) -> float:
    return (1 if how.mode == "linear" else 2) / stretch(how, scale)


def taps(how: How, scale, at, size):
    """index, weight of (taps, outputs). Keys (1981) for cubic."""
    wide = math.ceil(reach(how, scale))
    index = np.floor(at).astype(np.int64) + np.arange(-wide, wide + 1)[:, None]
    distance = np.abs(index - at) * stretch(how, scale)
    weight = np.maximum(1 - distance, 0) if how.mode == "linear" else cubic(distance, how.cubic)
    if how.inside:
        weight = np.where((index < 0) | (index >= size), 0, weight)
    if how.antialias or how.inside:
        total = weight.sum(0)
        weight = weight / np.where(total == 0, 1, total)
    return gathered(np.where(weight == 0, ABSENT, np.clip(index, 0, size - 1)), weight)


def cubic(distance, a):
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def gathered(index, weight):
    """The taps that outputs have, in order, without rows that none has."""
    order = np.argsort(index == ABSENT, axis=0, kind="stable")
    index, weight = np.take_along_axis(index, order, 0), np.take_along_axis(weight, order, 0)
    most = max(int((index != ABSENT).sum(0).max(initial=0)), 1)
    return index[:most], weight[:most]


def filled(y, axis, places, value):
    """y with `value` in the places of an axis, of (length,) booleans."""
    from ... import functional as F

    mask = places.reshape([-1 if i == axis else 1 for i in range(rank(y))])
    if traced(y):
        return F.where(np.broadcast_to(mask, y.shape), np.full((1,) * rank(y), value, np.float32), y)
    return np.where(mask, y.dtype.type(value), y)
