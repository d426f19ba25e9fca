"""Resampling in NumPy, axis by axis: the definition. Every mode is a table of taps, output o of an
axis = sum over k of weight[k, o] x[index[k, o]], computed in the element type: source positions are
rounded as the type rounds.

A spec of an axis is (size of input, size of output, mode, scale, align_corners, antialias). scale
is None or what a position is multiplied by instead of out / in. Keys (1981) for bicubic (a = -0.75;
with antialias -0.5). Mode "table" has the taps themselves, tuples of indices and of weights a tap,
in the place of scale.
"""
from functools import lru_cache

import numpy as np

ABSENT = -1   # index of a tap that an output does not have


@lru_cache(256)
def taps(spec, dtype):
    """index, weight of shape (taps, outputs), of int64 and `dtype`."""
    size, outputs, mode, scale, align_corners, antialias = spec
    if mode == "area":
        return area(size, outputs, dtype)
    if mode == "table":
        return (np.array(scale[0], np.int64).reshape(-1, outputs),
                np.array(scale[1], dtype).reshape(-1, outputs))
    step = source_step(size, outputs, scale, align_corners, dtype)
    if antialias:
        return filtered(size, outputs, mode, step, dtype)
    o = np.arange(outputs).astype(dtype)
    if mode.startswith("nearest"):
        at = np.floor(((o + dtype(0.5)) * step if mode == "nearest-exact" else o * step).astype(
            np.float32)).astype(np.int64)
        return np.minimum(at, size - 1)[None], np.ones((1, outputs), dtype)
    cubic = mode == "bicubic"
    at = o * step if align_corners else step * (o + dtype(0.5)) - dtype(0.5)
    if not cubic:
        at = np.maximum(at, dtype(0)) if outputs != size else o
    first = np.minimum(np.floor(at).astype(np.int64), size - 1)
    t = np.clip(at - first.astype(dtype), dtype(0), dtype(1))
    if cubic:
        index = np.clip(first + np.arange(-1, 3)[:, None], 0, size - 1)
        return index, np.stack([keys(t + 1, -0.75), keys(t, -0.75), keys(1 - t, -0.75),
                                keys(2 - t, -0.75)]).astype(dtype)
    return np.stack([first, np.minimum(first + 1, size - 1)]), np.stack([1 - t, t])


def source_step(size, outputs, scale, align_corners, dtype):
    """How far the source position moves from one output to the next."""
    if align_corners:
        return dtype(size - 1) / dtype(outputs - 1) if outputs > 1 else dtype(0)
    return dtype(1.0 / scale) if scale is not None and scale > 0 else dtype(size) / dtype(outputs)


def keys(distance, a):
    """Keys' cubic convolution kernel for distances in [0, 2]."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d < 1, near, np.where(d < 2, far, 0)).astype(d.dtype)


def windows(first, count):
    """Indices first .. first + count - 1 of every output as rows of taps."""
    k = np.arange(max(int(count.max()), 1))[:, None]
    return np.where(k < count, first + k, ABSENT)


def area(size, outputs, dtype):
    """The mean of inputs floor(o size / outputs) .. ceil((o + 1) size / outputs) - 1."""
    o = np.arange(outputs)
    first, end = o * size // outputs, -(-(o + 1) * size // outputs)
    index = windows(first, end - first)
    return index, np.where(index == ABSENT, 0, 1 / (end - first)).astype(dtype)


def filtered(size, outputs, mode, step, dtype):
    """A triangle or Keys' kernel (a = -0.5), stretched by the step where that is above one,
    weights normalised."""
    half = dtype(2 if mode == "bicubic" else 1)
    support, squeeze = (half * step, dtype(1) / step) if step >= 1 else (half, dtype(1))
    centre = step * (np.arange(outputs).astype(dtype) + dtype(0.5))
    first = np.maximum((centre - support + dtype(0.5)).astype(np.int64), 0)
    end = np.minimum((centre + support + dtype(0.5)).astype(np.int64), size)
    index = windows(first, end - first)
    distance = np.abs((index.astype(dtype) - centre + dtype(0.5)) * squeeze)
    w = keys(distance, -0.5) if mode == "bicubic" else np.maximum(1 - distance, 0)
    w = np.where(index == ABSENT, 0, w)
    return index, (w / w.sum(0)).astype(dtype)


def matrix(spec, dtype):
    """The axis as a matrix (outputs, inputs)."""
    index, weight = taps(spec, dtype)
    m = np.zeros((spec[1], spec[0]), dtype)
    k, o = np.nonzero(index != ABSENT)
    np.add.at(m, (o, index[k, o]), weight[k, o])
    return m


def resample(x, *, specs, transpose):
    """The last len(specs) axes of x resampled; with transpose by the transposed matrices, from
    outputs to inputs."""
    for axis, spec in enumerate(specs, x.ndim - len(specs)):
        if spec is not None:
            m = matrix(spec, x.dtype.type)
            x = np.moveaxis(np.tensordot(x, m if transpose else m.T, ((axis,), (0,))), -1, axis)
    return np.ascontiguousarray(x)
