"""Pooling."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...ops.typed import as_type
from .convolution import ints_of, padded, padding_of, window_of
from .row import Unsupported, known, op, rank, real, traced


def pooling_of(call):
    """kernel, stride, dilation, padding before and behind, and what ceil_mode adds behind: the last
    window that begins before the padding.
    """
    x = call[0]
    n, kernel, stride, dilation = window_of(call, None)
    before, behind = padding_of(call, x.shape[2:], kernel, stride, dilation)
    more, size = [0] * n, []
    for i, (length, k, s, d) in enumerate(zip(x.shape[2:], kernel, stride, dilation)):
        room = length + before[i] + behind[i] - d * (k - 1) - 1
        count = room // s + 1
        if call.attr("ceil_mode", 0):
            count = -(-room // s) + 1
            count -= (count - 1) * s >= length + before[i]
            more[i] = max((count - 1) * s + d * (k - 1) + 1 - length - before[i] - behind[i], 0)
        size.append(count)
    if any(s < 1 for s in size) or 0 in x.shape[1:]:
        raise ValueError(
            f"a kernel of {kernel} with dilations {dilation} does not fit into {list(x.shape[2:])} "
            f"padded by {before}, {behind}"
        )
    shape = call.room((*x.shape[:2], *size), x.dtype, copies=2)
    call.work(math.prod(shape) * math.prod(kernel))
    return n, kernel, stride, dilation, before, behind, more


def usual(kernel, before, behind):
    return before == behind and all(2 * p <= k for p, k in zip(before, kernel))


@op("MaxPool")
def max_pool(call):
    n, kernel, stride, dilation, before, behind, more = pooling_of(call)
    x, indices = call[0], call.wants(1)
    if indices and traced(x):
        raise Unsupported("indices of a maximum depend on the model's input; programs compute in float32")
    narrow = np.dtype(x.dtype).kind in "iu" or not real(x)
    x = as_type(x, np.float32) if narrow else x  # which holds bytes and halves as they are
    pool = getattr(F, f"max_pool{n}d")
    if usual(kernel, before, behind) and (call.attr("ceil_mode", 0) or not any(more)):
        y = pool(x, tuple(kernel), tuple(stride), tuple(before), tuple(dilation), any(more), indices)
        offset, size = [0] * n, list(x.shape[2:])
    else:
        wide = padded(call, x, before, [b + m for b, m in zip(behind, more)], -math.inf)
        y = pool(wide, tuple(kernel), tuple(stride), 0, tuple(dilation), False, indices)
        offset, size = before, list(wide.shape[2:])
    if not indices:
        return as_type(y, call[0].dtype) if narrow else y
    y, places = y
    at = [np.clip(c - o, 0, s - 1) for c, o, s in zip(np.unravel_index(places, size), offset, x.shape[2:])]
    turned = slice(None, None, -1 if call.attr("storage_order", 0) else 1)  # columns first
    flat = np.ravel_multi_index(at[turned], x.shape[2:][turned])
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * n) * math.prod(x.shape[2:])
    return y.astype(call[0].dtype), (flat + planes).astype(np.int64)


def window_sum(x, n, kernel, stride, dilation):
    """Sums over windows: an average times its count, or a convolution with ones where windows are
    dilated.
    """
    if max(dilation) == 1:
        return F.mul(getattr(F, f"avg_pool{n}d")(x, tuple(kernel), tuple(stride)), float(math.prod(kernel)))
    ones = np.ones((x.shape[1], 1, *kernel), np.float32 if x.dtype == np.float32 else x.dtype)
    return getattr(F, f"conv{n}d")(x, ones, None, tuple(stride), 0, tuple(dilation), x.shape[1])


@op("AveragePool")
def average_pool(call):
    n, kernel, stride, dilation, before, behind, more = pooling_of(call)
    x, count_padding, ceil_mode = (
        call[0],
        bool(call.attr("count_include_pad", 0)),
        bool(call.attr("ceil_mode", 0)),
    )
    if usual(kernel, before, behind) and max(dilation) == 1 and (not any(more) or not count_padding):
        return getattr(F, f"avg_pool{n}d")(
            x, tuple(kernel), tuple(stride), tuple(before), ceil_mode, count_padding
        )
    end = [b + m for b, m in zip(behind, more)]
    ones = np.ones((1, 1, *x.shape[2:]), np.float32)
    counted = padded(call, padded(call, ones, before, behind, 1.0 if count_padding else 0.0), [0] * n, more)
    counts = np.round(window_sum(counted, n, kernel, stride, dilation))
    return F.mul(
        window_sum(padded(call, x, before, end), n, kernel, stride, dilation), (1 / counts).astype(x.dtype)
    )


@op("LpPool")
def lp_pool(call):
    n, kernel, stride, dilation, before, behind, more = pooling_of(call)
    p = call.attr("p", 2)
    if p < 1:
        raise ValueError(f"p must be at least 1, got {p}")
    x = F.abs(call[0]) if p % 2 else call[0]
    wide = padded(call, x, before, [b + m for b, m in zip(behind, more)])
    return F.pow(window_sum(F.pow(wide, float(p)), n, kernel, stride, dilation), 1.0 / p)


@op("GlobalAveragePool")
def global_average_pool(call):
    return (
        F.global_avg_pool(call[0], True)
        if 3 <= rank(call[0]) <= 5
        else F.mean(call[0], tuple(range(2, rank(call[0]))), True)
    )


@op("GlobalMaxPool")
def global_max_pool(call):
    return (
        F.global_max_pool(call[0], True)
        if 3 <= rank(call[0]) <= 5
        else F.amax(call[0], tuple(range(2, rank(call[0]))), True)
    )


@op("GlobalLpPool")
def global_lp_pool(call):
    p = call.attr("p", 2)
    return F.vector_norm(call[0], p, tuple(range(2, rank(call[0]))), True)


@op("MaxUnpool")
def max_unpool(call):
    """Indices count through the whole tensor, of the size that kernel and strides give;
    output_shape adds zeros behind.
    """
    x, places = known(call[0], "x"), known(call[1], "the indices")
    n, kernel, stride, _ = window_of(call, None)
    pads = ints_of(call, "pads", 2 * n, 0, 0)
    size = [(i - 1) * s - a - b + k for i, s, k, a, b in zip(x.shape[2:], stride, kernel, pads[:n], pads[n:])]
    shape = call.room((*x.shape[:2], *size), x.dtype)
    if places.shape != x.shape or np.any((places < 0) | (places >= math.prod(shape))):
        raise ValueError(
            f"indices must be of shape {x.shape} and in [0, {math.prod(shape)}), the positions of {shape}"
        )
    y = np.zeros(math.prod(shape), x.dtype)
    y[places.reshape(-1)] = x.reshape(-1)
    y = y.reshape(shape)
    total = call.numbers(2, "output_shape") if call[2] is not None else shape
    if len(total) != len(shape) or any(t < s for t, s in zip(total, shape)):
        raise ValueError(f"output_shape {total[:8]} is smaller than {shape}")
    call.room(total, x.dtype, copies=2)
    return np.pad(y, [(0, t - s) for t, s in zip(total, shape)])
