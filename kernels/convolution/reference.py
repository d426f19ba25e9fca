"""Convolution in NumPy, over one to three spatial axes: the definition. Dumoulin & Visin, "A guide
to convolution arithmetic" (2016).

Every function walks the taps of the filter; for one tap, the input positions that meet the outputs
are a strided slice of the padded input. padding is what lies before each axis; `size`, the spatial
size of the result, says how much is needed behind. Inputs may lack the batch axis.
"""
import itertools

import numpy as np


def batched(x, axes):
    """x with a batch axis."""
    return x if x.ndim == axes + 2 else x[None]


def tap_slices(kernel, stride, dilation, outputs):
    """(tap, slice of the padded input that it meets at all outputs), for every tap."""
    for tap in itertools.product(*map(range, kernel)):
        yield tap, tuple(slice(t * d, t * d + s * (o - 1) + 1, s) if o else slice(0, 0)
                         for t, d, s, o in zip(tap, dilation, stride, outputs))


def padded_size(kernel, stride, dilation, outputs, inputs, padding):
    """Spatial size of an input padded so that every tap at every output lies inside it."""
    return [max(s * (o - 1) + d * (k - 1) + 1, p + i)
            for k, s, d, o, i, p in zip(kernel, stride, dilation, outputs, inputs, padding)]


def inside(padding, inputs):
    return (Ellipsis, *(slice(p, p + i) for p, i in zip(padding, inputs)))


def conv(x, weight, bias, *, stride, padding, dilation, groups, size):
    """y[n, k, o] = bias[k] + sum over c, tap of weight[k, c, tap] x[n, c, o stride + tap dilation -
    padding], c within k's group."""
    axes = len(stride)
    xb = batched(x, axes)
    n, channels, *inputs = xb.shape
    filters, per_group, *kernel = weight.shape
    xp = np.zeros((n, groups, channels // groups,
                   *padded_size(kernel, stride, dilation, size, inputs, padding)),
                  x.dtype)
    xp[inside(padding, inputs)] = xb.reshape(n, groups, channels // groups, *inputs)
    w = weight.reshape(groups, filters // groups, per_group, *kernel)
    y = np.zeros((n, groups, filters // groups, *size), x.dtype)
    for tap, window in tap_slices(kernel, stride, dilation, size):
        y += np.einsum("gkc,ngc...->ngk...", w[(..., *tap)], xp[(..., *window)])
    y = y.reshape(n, filters, *size)
    if bias is not None:
        y = y + bias.reshape(-1, *(1,) * axes)
    return y if x.ndim == xb.ndim else y[0]


def conv_transpose(x, weight, bias, *, stride, padding, dilation, groups, size):
    """The adjoint of conv for its input, plus a bias: weight is (channels of x, channels of y
    / groups, *kernel)."""
    axes = len(stride)
    xb = batched(x, axes)
    n, channels, *inputs = xb.shape
    _, per_group, *kernel = weight.shape
    yp = np.zeros((n, groups, per_group, *padded_size(kernel, stride, dilation, inputs, size, padding)),
                  x.dtype)
    xg = xb.reshape(n, groups, channels // groups, *inputs)
    w = weight.reshape(groups, channels // groups, per_group, *kernel)
    for tap, window in tap_slices(kernel, stride, dilation, inputs):
        yp[(..., *window)] += np.einsum("gck,ngc...->ngk...", w[(..., *tap)], xg)
    y = yp[inside(padding, size)].reshape(n, groups * per_group, *size)
    if bias is not None:
        y = y + bias.reshape(-1, *(1,) * axes)
    return y if x.ndim == xb.ndim else y[0]


def conv_weight_gradient(x, dy, *, stride, padding, dilation, groups, kernel):
    """The adjoint of conv for its weight: (channels of dy, channels of x / groups, *kernel)."""
    axes = len(stride)
    x, dy = batched(x, axes), batched(dy, axes)
    n, channels, *inputs = x.shape
    filters, outputs = dy.shape[1], dy.shape[2:]
    xp = np.zeros((n, groups, channels // groups,
                   *padded_size(kernel, stride, dilation, outputs, inputs, padding)),
                  x.dtype)
    xp[inside(padding, inputs)] = x.reshape(n, groups, channels // groups, *inputs)
    g = dy.reshape(n, groups, filters // groups, *outputs)
    dw = np.zeros((groups, filters // groups, channels // groups, *kernel), x.dtype)
    letters = "xyz"[:axes]
    for tap, window in tap_slices(kernel, stride, dilation, outputs):
        dw[(..., *tap)] = np.einsum(f"ngk{letters},ngc{letters}->gkc", g, xp[(..., *window)])
    return dw.reshape(filters, channels // groups, *kernel)


def channel_sum(dy, *, axes):
    """The sum over everything but the channel: a bias's gradient."""
    dy = batched(dy, axes)
    return dy.sum((0, *range(2, dy.ndim)))
