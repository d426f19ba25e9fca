"""Pooling."""
from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from .convolution import padded, padding_of
from .row import Unsupported, known, op, rank, real


def window_of(call):
    """kernel, stride, dilation, padding before and behind, and what ceil_mode adds behind: the last window that begins before the padding."""
    x = call[0]
    n = rank(x) - 2
    if n not in (1, 2, 3):
        raise Unsupported(f"pooling over {n} axes")
    kernel = call.attr("kernel_shape")
    stride, dilation = call.attr("strides") or [1] * n, call.attr("dilations") or [1] * n
    before, behind = padding_of(call, x.shape[2:], kernel, stride, dilation)
    more = [0] * n
    if call.attr("ceil_mode", 0):
        for i, (size, k, s, d) in enumerate(zip(x.shape[2:], kernel, stride, dilation)):
            room = size + before[i] + behind[i] - d * (k - 1) - 1
            count = -(-room // s) + 1
            count -= (count - 1) * s >= size + before[i]
            more[i] = max((count - 1) * s + d * (k - 1) + 1 - size - before[i] - behind[i], 0)
    return n, kernel, stride, dilation, before, behind, more


def usual(kernel, before, behind):
    return before == behind and all(2 * p <= k for p, k in zip(before, kernel))


@op("MaxPool")
def max_pool(call):
    n, kernel, stride, dilation, before, behind, more = window_of(call)
    x = call[0]
    narrow = not real(x)
    x = known(x, "x").astype(np.float32) if narrow else x
    pool = getattr(F, f"max_pool{n}d")
    ceil_mode = bool(call.attr("ceil_mode", 0))
    indices = call.wants(1)
    if usual(kernel, before, behind):
        y = pool(x, tuple(kernel), tuple(stride), tuple(before), tuple(dilation), ceil_mode, indices)
        offset, size = [0] * n, list(x.shape[2:])
    else:
        wide = padded(x, before, [b + m for b, m in zip(behind, more)], -math.inf)
        y = pool(wide, tuple(kernel), tuple(stride), 0, tuple(dilation), False, indices)
        offset, size = before, list(wide.shape[2:])
    if not indices:
        return y.astype(call[0].dtype) if narrow else y
    y, places = y
    at = [c - o for c, o in zip(np.unravel_index(places, size), offset)]
    if call.attr("storage_order", 0):
        flat = np.ravel_multi_index(at[::-1], x.shape[2:][::-1])
    else:
        flat = np.ravel_multi_index(at, x.shape[2:])
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * n) * math.prod(x.shape[2:])
    return y.astype(call[0].dtype), (flat + planes).astype(np.int64)


def window_sum(x, n, kernel, stride, dilation):
    """Sums over windows: an average times its count, or a convolution with ones where windows are dilated."""
    if max(dilation) == 1:
        return F.mul(getattr(F, f"avg_pool{n}d")(x, tuple(kernel), tuple(stride)), float(math.prod(kernel)))
    ones = np.ones((x.shape[1], 1, *kernel), np.float32 if x.dtype == np.float32 else x.dtype)
    return getattr(F, f"conv{n}d")(x, ones, None, tuple(stride), 0, tuple(dilation), x.shape[1])


@op("AveragePool")
def average_pool(call):
    n, kernel, stride, dilation, before, behind, more = window_of(call)
    x, count_padding, ceil_mode = call[0], bool(call.attr("count_include_pad", 0)), bool(call.attr("ceil_mode", 0))
    if usual(kernel, before, behind) and max(dilation) == 1:
        return getattr(F, f"avg_pool{n}d")(x, tuple(kernel), tuple(stride), tuple(before), ceil_mode, count_padding)
    end = [b + m for b, m in zip(behind, more)]
    ones = np.ones((1, 1, *x.shape[2:]), np.float32)
    counted = padded(padded(ones, before, behind, 1.0 if count_padding else 0.0), [0] * n, more)
    counts = np.round(window_sum(counted, n, kernel, stride, dilation))
    return F.mul(window_sum(padded(x, before, end), n, kernel, stride, dilation), (1 / counts).astype(x.dtype))


@op("LpPool")
def lp_pool(call):
    n, kernel, stride, dilation, before, behind, more = window_of(call)
    p = call.attr("p", 2)
    x = F.abs(call[0]) if p % 2 else call[0]
    wide = padded(x, before, [b + m for b, m in zip(behind, more)])
    return F.pow(window_sum(F.pow(wide, float(p)), n, kernel, stride, dilation), 1.0 / p)


@op("GlobalAveragePool")
def global_average_pool(call):
    return F.global_avg_pool(call[0], True) if 3 <= rank(call[0]) <= 5 else F.mean(call[0], tuple(range(2, rank(call[0]))), True)


@op("GlobalMaxPool")
def global_max_pool(call):
    return F.global_max_pool(call[0], True) if 3 <= rank(call[0]) <= 5 else F.amax(call[0], tuple(range(2, rank(call[0]))), True)


@op("GlobalLpPool")
def global_lp_pool(call):
    p = call.attr("p", 2)
    return F.vector_norm(call[0], p, tuple(range(2, rank(call[0]))), True)


@op("MaxUnpool")
def max_unpool(call):
    """Indices count through the whole tensor, of the size that kernel and strides give; output_shape adds zeros behind."""
    x, places = known(call[0], "x"), known(call[1], "the indices")
    n = rank(x) - 2
    kernel, stride, pads = call.attr("kernel_shape"), call.attr("strides") or [1] * n, call.attr("pads") or [0] * 2 * n
    size = [(i - 1) * s - a - b + k for i, s, k, a, b in zip(x.shape[2:], stride, kernel, pads[:n], pads[n:])]
    shape = (*x.shape[:2], *size)
    if np.any((places < 0) | (places >= math.prod(shape))):
        raise ValueError(f"indices must be in [0, {math.prod(shape)}), the positions of {shape}")
    y = np.zeros(math.prod(shape), x.dtype)
    y[places.reshape(-1)] = x.reshape(-1)
    y = y.reshape(shape)
    total = call.numbers(2, "output_shape") if call[2] is not None else shape
    if any(t < s for t, s in zip(total, shape)):
        raise ValueError(f"output_shape {total} is smaller than {shape}")
    return np.pad(y, [(0, t - s) for t, s in zip(total, shape)])
