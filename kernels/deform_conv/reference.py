"""Deformable convolution in NumPy: the definition, by its columns. Dai et al. (2017); with a mask Zhu et
al. (2019).

window: (kernel, stride, padding, dilation), each of two axes.
"""
import math

import numpy as np


def places(offset, window, groups):
    """h and w of every tap, (N, groups, taps, OH, OW)."""
    kernel, stride, padding, dilation = window
    oh, ow = offset.shape[2:]
    by = offset.reshape(offset.shape[0], groups, kernel[0] * kernel[1], 2, oh, ow)
    tap = np.arange(kernel[0] * kernel[1])[:, None, None]
    h = np.arange(oh)[:, None] * stride[0] - padding[0] + tap // kernel[1] * dilation[0]
    w = np.arange(ow) * stride[1] - padding[1] + tap % kernel[1] * dilation[1]
    return h + by[:, :, :, 0], w + by[:, :, :, 1]


def corners(offset, size, window, groups):
    """Yields (pixel, inside, weight, d weight / dh, d weight / dw) of the four around each place."""
    h, w = (np.clip(at, -2, n + 1) for at, n in zip(places(offset, window, groups), size))
    low_h, low_w = np.floor(h), np.floor(w)
    for i in (0, 1):
        for j in (0, 1):
            y, x = low_h + i, low_w + j
            inside = (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])
            index = np.where(inside, y * size[1] + x, 0).astype(np.int64)
            a, b = (h - low_h if i else 1 - (h - low_h)), (w - low_w if j else 1 - (w - low_w))
            yield index, inside, a * b, (2 * i - 1) * b, (2 * j - 1) * a


def taken(x, index, inside, groups):
    """(N, groups, channels, taps, OH, OW): x at a pixel of each tap, 0 outside."""
    n = x.shape[0]
    flat = x.reshape(n, groups, x.shape[1] // groups, x.shape[2] * x.shape[3])
    places_ = index.shape[2] * index.shape[3] * index.shape[4]
    at = np.broadcast_to(index.reshape(n, groups, 1, places_), (*flat.shape[:3], places_))
    values = np.take_along_axis(flat, at, -1).reshape(*flat.shape[:3], *index.shape[2:])
    return np.where(inside[:, :, None], values, 0)


def masked(mask, shape):
    return np.ones(shape) if mask is None else mask.reshape(shape)


def deform_columns(x, offset, mask, *, window, offset_groups):
    """(N, C taps, places)."""
    total = 0
    for index, inside, weight, _, _ in corners(offset, x.shape[2:], window, offset_groups):
        total = total + weight[:, :, None] * taken(x, index, inside, offset_groups)
    total = total * masked(mask, (*total.shape[:2], 1, *total.shape[3:]))
    return total.reshape(x.shape[0], x.shape[1] * total.shape[3], offset.shape[2] * offset.shape[3]).astype(x.dtype)


def deform_conv(x, offset, weight, bias, mask, *, window, groups, offset_groups):
    columns = deform_columns(x, offset, mask, window=window, offset_groups=offset_groups)
    n, places_ = columns.shape[0], columns.shape[-1]
    y = np.matmul(weight.reshape(groups, weight.shape[0] // groups, math.prod(weight.shape[1:])),
                  columns.reshape(n, groups, math.prod(weight.shape[1:]), places_))
    y = y.reshape(n, weight.shape[0], *offset.shape[2:])
    return y if bias is None else y + bias[:, None, None]


def deform_input_gradient(g, offset, mask, *, size, window, offset_groups):
    """d(sum of g columns) / dx."""
    n, taps = g.shape[0], window[0][0] * window[0][1]
    g = g.reshape(n, offset_groups, g.shape[1] // offset_groups // taps, taps, *offset.shape[2:])
    g = g * masked(mask, (n, offset_groups, 1, taps, *offset.shape[2:]))
    dx = np.zeros((n, offset_groups, g.shape[2], size[0] * size[1]), g.dtype)
    for index, inside, weight, _, _ in corners(offset, size, window, offset_groups):
        for at in np.ndindex(*dx.shape[:3]):
            group = at[:2]
            np.add.at(dx[at], index[group][inside[group]], (g[at] * weight[group])[inside[group]])
    return dx.reshape(n, dx.shape[1] * dx.shape[2], *size)


def deform_place_gradient(g, x, offset, mask, *, window, offset_groups):
    """d(sum of g columns) / d offset and d mask (of no values without one)."""
    n, taps, out = g.shape[0], window[0][0] * window[0][1], offset.shape[2:]
    g = g.reshape(n, offset_groups, g.shape[1] // offset_groups // taps, taps, *out)
    by_h = by_w = of_mask = 0
    for index, inside, weight, dh, dw in corners(offset, x.shape[2:], window, offset_groups):
        sums = (g * taken(x, index, inside, offset_groups)).sum(2)
        by_h, by_w, of_mask = by_h + sums * dh, by_w + sums * dw, of_mask + sums * weight
    m = masked(mask, by_h.shape)
    for by, at, size in ((by_h, 0, x.shape[2]), (by_w, 1, x.shape[3])):
        place = places(offset, window, offset_groups)[at]
        by *= m * ((place > -2) & (place < size + 1))
    doffset = np.stack([by_h, by_w], 3).reshape(offset.shape).astype(g.dtype)
    return doffset, np.zeros(0, g.dtype) if mask is None else of_mask.reshape(mask.shape).astype(g.dtype)
