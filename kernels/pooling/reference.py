"""Pooling in NumPy: the definition. Max and average pooling: LeCun et al. (1998), Ranzato et al.
(2007); lp: Gulcehre et al. (2014).

A window is a pyops.ops.pooling_window.Window: sizes, kernel, stride, padding and dilation of three
axes, those that are missing being of size 1. A kernel of 0 is adaptive: output i covers the inputs
floor(i in / out) .. ceil((i + 1) in / out) - 1.
"""
import itertools
import math

import numpy as np


def taps(window, axis):
    """The inputs, padding left out, that each output of an axis covers."""
    size, out, k, s, p, d = (v[axis] for v in (window.input, window.output, window.kernel, window.stride,
                                               window.padding, window.dilation))
    if k == 0:
        return [list(range(i * size // out, -(-(i + 1) * size // out))) for i in range(out)]
    starts = (i * s - p for i in range(out))
    return [list(range(start - min(start, 0) // d * d, min(start + d * k, size), d)) for start in starts]


def counts(window, axis, count_include_pad):
    """How many elements the average of each output divides by: never those that ceil_mode reaches
    beyond the padding."""
    if not count_include_pad or window.kernel[axis] == 0:
        return [len(t) for t in taps(window, axis)]
    limit = window.input[axis] + window.padding[axis]
    starts = [i * window.stride[axis] - window.padding[axis] for i in range(window.output[axis])]
    return [min(s + window.kernel[axis], limit) - s for s in starts]


def windows(window):
    """For each output in memory order, the positions in the plane that it covers."""
    _, height, width = window.input
    for d, h, w in itertools.product(*(taps(window, axis) for axis in range(3))):
        yield np.array([(i * height + j) * width + k for i in d for j in h for k in w], np.int64)


def one_axis(x, count):
    """x with its last `count` axes as one; not by reshape(-1), which empty arrays cannot."""
    lead = x.shape[:x.ndim - count]
    return x.reshape(*lead, math.prod(x.shape[len(lead):]))


def planes(x, window):
    """x with its spatial axes as one."""
    return one_axis(x, window.axes)


def max_pool_indices(x, *, window):
    """Maximum of each window and its position in the plane: the first of equal ones, the last NaN
    where there is one."""
    flat, shape = planes(x, window), window.result_shape(x.shape)
    indices = np.zeros((*flat.shape[:-1], math.prod(window.output)), np.int64)
    for o, covered in enumerate(windows(window)):
        v = flat[..., covered]
        nan = np.isnan(v)
        last_nan = len(covered) - 1 - nan[..., ::-1].argmax(-1)
        indices[..., o] = covered[np.where(nan.any(-1), last_nan, np.where(nan, -np.inf, v).argmax(-1))]
    return np.take_along_axis(flat, indices, -1).reshape(shape), indices.reshape(shape)


def max_pool(x, *, window):
    return max_pool_indices(x, window=window)[0]


def max_pool_backward(dy, x, *, window):
    return pool_scatter(dy, max_pool_indices(x, window=window)[1], size=window.input[3 - window.axes:])


def sum_pool(x, window):
    flat = planes(x, window)
    sums = [flat[..., covered].sum(-1) for covered in windows(window)]
    return (np.stack(sums, -1).reshape(window.result_shape(x.shape)) if sums
            else np.empty(window.result_shape(x.shape), x.dtype))


def spread(dy, window):
    """The transpose of sum_pool."""
    flat = planes(dy, window)
    dx = np.zeros((*flat.shape[:-1], math.prod(window.input)), dy.dtype)
    for o, covered in enumerate(windows(window)):
        dx[..., covered] += flat[..., o, None]
    return dx.reshape(window.input_shape(dy.shape))


def divisors(window, count_include_pad, divisor):
    if divisor:
        return divisor
    d, h, w = (np.array(counts(window, axis, count_include_pad), np.float64) for axis in range(3))
    return (d[:, None, None] * h[:, None] * w).reshape(window.output[3 - window.axes:])


def avg_pool(x, *, window, count_include_pad, divisor):
    return (sum_pool(x, window) / divisors(window, count_include_pad, divisor)).astype(x.dtype)


def avg_pool_backward(dy, *, window, count_include_pad, divisor):
    return spread((dy / divisors(window, count_include_pad, divisor)).astype(dy.dtype), window)


def lp_scale(window):
    """volume / inputs covered: 1, but for windows that ceil_mode lets reach beyond the input."""
    return math.prod(window.kernel) / divisors(window, False, 0)


def lp_pool(x, *, window, norm):
    with np.errstate(invalid="ignore"):
        return (sum_pool(x ** norm, window) * lp_scale(window)).astype(x.dtype) ** (1 / norm)


def lp_pool_backward(dy, x, y, *, window, norm):
    weighted = np.where(y == 0, 0, dy * np.where(y == 0, 1, y) ** (1 - norm))
    return (x ** (norm - 1) * spread(weighted * lp_scale(window), window)).astype(x.dtype)


def pool_scatter(dy, indices, *, size):
    """Zeros of spatial `size`, to which dy is added at its positions in the plane."""
    lead = dy.shape[:dy.ndim - len(size)]
    dx = np.zeros((math.prod(lead), math.prod(size)), dy.dtype)
    at, v = (one_axis(a, len(size)).reshape(len(dx), math.prod(dy.shape[len(lead):])) for a in (indices, dy))
    np.add.at(dx, (np.arange(len(dx))[:, None], at), v)
    return dx.reshape(*lead, *size)


def pool_gather(x, indices, *, size):
    """x at its positions in the plane of spatial `size`."""
    return np.take_along_axis(one_axis(x, len(size)), one_axis(indices, len(size)), -1).reshape(indices.shape)


def max_unpool(x, indices, *, size):
    """Zeros of spatial `size` with x at its positions in the plane; of equal
    positions the last stays."""
    lead = x.shape[:x.ndim - len(size)]
    y = np.zeros((math.prod(lead), math.prod(size)), x.dtype)
    if indices.size and (indices.min() < 0 or indices.max() >= y.shape[1]):
        raise ValueError(f"max_unpool: indices must be in [0, {y.shape[1]}), the positions of a plane of "
                         f"size {tuple(size)}")
    at, v = (one_axis(a, len(size)).reshape(len(y), math.prod(x.shape[len(lead):])) for a in (indices, x))
    for o in range(v.shape[1]):
        y[np.arange(len(y)), at[:, o]] = v[:, o]
    return y.reshape(*lead, *size)
