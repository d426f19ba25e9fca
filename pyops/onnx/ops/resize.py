"""Resize and Upsample: by our kernels where torch has the same, else a matrix an axis, whose rows are the weights of an output."""
from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from .row import Unsupported, known, op, rank, real, traced


@op("Upsample")
def upsample(call):
    scales = call.numbers(1, "scales") if call.version >= 9 else call.attr("scales")
    return resized(call, call[0], list(scales), None, call.attr("mode", "nearest"), "asymmetric", None)


@op("Resize")
def resize(call):
    x, n = call[0], rank(call[0])
    if call.version < 11:
        return resized(call, x, call.numbers(1, "scales"), None, call.attr("mode", "nearest"), "asymmetric", None)
    region = None if call[1] is None or np.size(call[1]) == 0 else call.numbers(1)
    scales, sizes = (None if call[i] is None or np.size(call[i]) == 0 else call.numbers(i, name) for i, name in ((2, "scales"), (3, "sizes")))
    axes = [a % n for a in call.attr("axes") or range(n)]
    if sizes is not None:
        policy = call.attr("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            pick = min if policy == "not_larger" else max
            scale = pick(s / x.shape[a] for s, a in zip(sizes, axes))
            scales, sizes = [scale] * len(axes), [math.floor(scale * x.shape[a] + 0.5) for a in axes]
        else:
            scales = [s / x.shape[a] for s, a in zip(sizes, axes)]
    full, out, around = [1.0] * n, list(x.shape), [(0.0, 1.0)] * n
    for i, a in enumerate(axes):
        full[a] = scales[i]
        out[a] = sizes[i] if sizes is not None else math.floor(x.shape[a] * scales[i])
        if region:
            around[a] = (region[i], region[i + len(axes)])
    return resized(call, x, full, out, call.attr("mode", "nearest"), call.attr("coordinate_transformation_mode", "half_pixel"), around)


def resized(call, x, scales, out, mode, where, around):
    out = [math.floor(s * i) for s, i in zip(scales, x.shape)] if out is None else out
    narrow = not real(x)
    y = known(x, "x").astype(np.float32) if narrow else x
    ours = by_kernel(call, y, scales, out, mode, where)
    if ours is None:
        for axis, (scale, size) in enumerate(zip(scales, out)):
            if size != x.shape[axis] or scale != 1:
                y = along(y, axis, matrix(call, x.shape[axis], size, scale, mode, where, (0.0, 1.0) if around is None else around[axis]))
        if where == "tf_crop_and_resize":
            y = outside(call, y, x.shape, out, around)
    else:
        y = ours
    return y.astype(x.dtype) if narrow else y


def by_kernel(call, x, scales, out, mode, where):
    """F.interpolate where it means the same: the last axes alone, sizes that are whole multiples by nearest, or linear by half pixels or corners."""
    n = rank(x) - 2
    if n not in (1, 2, 3) or out[:2] != list(x.shape[:2]) or call.attr("antialias", 0) or call.attr("exclude_outside", 0):
        return None
    exact = all(o == i * s for o, i, s in zip(out, x.shape, scales))
    nearest = call.attr("nearest_mode", "round_prefer_floor" if call.version >= 11 else "floor")
    whole = exact and all(s == int(s) and s >= 1 for s in scales)
    if mode == "nearest" and whole and (where == "asymmetric" and nearest == "floor" or where == "half_pixel" and nearest.startswith("round")):
        return F.interpolate(x, size=tuple(out[2:]), mode="nearest")
    if mode == "linear" and exact and (where == "half_pixel" or where == "pytorch_half_pixel" and min(out[2:]) > 1 or where == "align_corners" and min(out[2:]) > 1):
        return F.interpolate(x, size=tuple(out[2:]), mode=("linear", "bilinear", "trilinear")[n - 1], align_corners=where == "align_corners")
    return None


def along(x, axis, weights):
    """x with one axis multiplied by (out, in) weights."""
    if axis == rank(x) - 1:
        return F.linear(x, weights.astype(x.dtype))
    order = [a for a in range(rank(x)) if a != axis] + [axis]
    back = [order.index(a) for a in range(rank(x))]
    return F.permute(F.linear(F.permute(x, tuple(order)), weights.astype(x.dtype)), tuple(back))


def positions(size, count, scale, where, around):
    """Where each output lies among the inputs."""
    at, length = np.arange(count, dtype=np.float64), size * scale
    if where == "align_corners":
        return at * (size - 1) / (length - 1) if length != 1 else np.zeros(count)
    if where == "asymmetric":
        return at / scale
    if where == "pytorch_half_pixel" and length <= 1:
        return np.full(count, -0.5) * 0
    if where == "tf_half_pixel_for_nn":
        return (at + 0.5) / scale
    if where == "tf_crop_and_resize":
        start, end = around
        return start * (size - 1) + at * (end - start) * (size - 1) / (length - 1) if length > 1 else np.full(count, 0.5 * (start + end) * (size - 1))
    if where == "half_pixel_symmetric":
        adjust = count / length
        return size / 2 * (1 - adjust) + (at + 0.5) / scale - 0.5
    return (at + 0.5) / scale - 0.5


def matrix(call, size, count, scale, mode, where, around):
    at = positions(size, count, scale, where, around)
    weights = np.zeros((count, size))
    if mode == "nearest":
        rule = call.attr("nearest_mode", "round_prefer_floor" if call.version >= 11 else "floor")
        picked = {"round_prefer_floor": np.ceil(at - 0.5), "round_prefer_ceil": np.floor(at + 0.5), "floor": np.floor(at), "ceil": np.ceil(at)}[rule]
        weights[np.arange(count), np.clip(picked, 0, size - 1).astype(int)] = 1
        return weights
    if mode not in ("linear", "cubic"):
        raise Unsupported(f"mode {mode!r}")
    stretch = min(scale, 1.0) if call.attr("antialias", 0) else 1.0
    reach = (1 if mode == "linear" else 2) / stretch
    a = call.attr("cubic_coeff_a", -0.75)
    for row, p in zip(weights, at):
        taps = np.arange(math.floor(p - reach) + 1, math.ceil(p + reach) + (p + reach == math.ceil(p + reach) and 0))
        if not len(taps):
            taps = np.array([round(p)])
        d = np.abs(taps - p) * stretch
        w = np.maximum(1 - d, 0) if mode == "linear" else np.where(d <= 1, (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1, np.where(
            d < 2, a * d ** 3 - 5 * a * d ** 2 + 8 * a * d - 4 * a, 0))
        if call.attr("exclude_outside", 0):
            w = np.where((taps < 0) | (taps >= size), 0, w)
        if call.attr("antialias", 0) or call.attr("exclude_outside", 0):
            w = w / w.sum()
        np.add.at(row, np.clip(taps, 0, size - 1), w)
    return weights


def outside(call, y, shape, out, around):
    """What lies outside of the input is the extrapolation value."""
    if traced(y):
        raise Unsupported("tf_crop_and_resize")
    value = call.attr("extrapolation_value", 0.0)
    for axis, (size, count) in enumerate(zip(shape, out)):
        at = positions(size, count, count / size, "tf_crop_and_resize", around[axis])
        index = [slice(None)] * y.ndim
        index[axis] = (at < 0) | (at > size - 1)
        y[tuple(index)] = value
    return y
