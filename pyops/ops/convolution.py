"""Convolution and transposed convolution over one to three axes, with gradients that
are convolutions again.

The rows carry the spatial `size` of their result, so that output_padding, 'same' and the
gradients need nothing more: the gradient of conv for its input is conv_transpose with the input's
size, and the other way round.
"""
from __future__ import annotations

import math
from functools import lru_cache

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context, per_input
from ..core.types import Arrays, Sizes
from .shape import broadcast_to, reshape
from .spatial import axes, ints, three

reference = LateFunctions("pyops.kernels.convolution.reference")

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


def conv1d(input: Arrays, weight: Arrays, bias: Arrays | None = None, stride: Sizes = 1,
           padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1, *,
           out: Arrays | None = None) -> Arrays:
    """Convolution over (N, C, W) or (C, W); see conv2d."""
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups, out)


def conv2d(input: Arrays, weight: Arrays, bias: Arrays | None = None, stride: Sizes = 1,
           padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1, *,
           out: Arrays | None = None) -> Arrays:
    """y[n, k] = bias[k] + sum over c of weight[k, c] cross-correlated with x[n, c].

    input: (N, C, H, W) or (C, H, W), float32 or float64; weight: (K, C / groups, R, S); bias: (K,)
    or None. stride and dilation: an int or one per axis; padding: the same, or 'valid' or 'same'
    (stride 1; an odd remainder goes behind). What is padded are zeros, of which an infinite weight
    makes NaN, as in torch; conv_transpose2d has nothing beside its input. Returns (N, K, H', W')
    with H' = (H + 2 padding - dilation (R - 1) - 1) // stride + 1. Raises ValueError where shapes
    or parameters do not fit. Source: LeCun et al. (1998); Dumoulin & Visin (2016).
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups, out)


def conv3d(input: Arrays, weight: Arrays, bias: Arrays | None = None, stride: Sizes = 1,
           padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1, *,
           out: Arrays | None = None) -> Arrays:
    """Convolution over (N, C, D, H, W) or (C, D, H, W); see conv2d."""
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups, out)


def conv_transpose1d(input: Arrays, weight: Arrays, bias: Arrays | None = None, stride: Sizes = 1,
                     padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1, *,
                     out: Arrays | None = None) -> Arrays:
    """Transposed convolution over (N, C, W) or (C, W); see conv_transpose2d."""
    return _conv_transpose("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding,
                           groups, dilation, out)


def conv_transpose2d(input: Arrays, weight: Arrays, bias: Arrays | None = None, stride: Sizes = 1,
                     padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1, *,
                     out: Arrays | None = None) -> Arrays:
    """The gradient of conv2d for its input, as an op of its own ("deconvolution"), plus a bias.

    input: (N, C, H, W) or (C, H, W); weight: (C, K / groups, R, S); bias: (K,) or None.
    Returns (N, K, H', W') with
    H' = (H - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1. output_padding must be
    smaller than stride or dilation. Raises ValueError where shapes or parameters do not fit.
    Source: Dumoulin & Visin (2016), chapter 4.
    """
    return _conv_transpose("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding,
                           groups, dilation, out)


def conv_transpose3d(input: Arrays, weight: Arrays, bias: Arrays | None = None, stride: Sizes = 1,
                     padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1, *,
                     out: Arrays | None = None) -> Arrays:
    """Transposed convolution over (N, C, D, H, W) or (C, D, H, W); see conv_transpose2d."""
    return _conv_transpose("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding,
                           groups, dilation, out)


def _conv(name, n, x, weight, bias, stride, padding, dilation, groups, out):
    attrs = _conv_attrs(name, n, tuple(x.shape), tuple(weight.shape), bias is not None and tuple(bias.shape),
                        ints(stride, name, "stride"), ints(padding, name, "padding"),
                        ints(dilation, name, "dilation"), ints(groups, name, "groups"))
    return CONV(x, weight, bias, out=out, **attrs)


def _conv_transpose(name, n, x, weight, bias, stride, padding, output_padding, groups, dilation, out):
    attrs = _conv_transpose_attrs(name, n, tuple(x.shape), tuple(weight.shape),
                                  bias is not None and tuple(bias.shape),
                                  ints(stride, name, "stride"), ints(padding, name, "padding"),
                                  ints(output_padding, name, "output_padding"),
                                  ints(dilation, name, "dilation"), ints(groups, name, "groups"))
    return CONV_TRANSPOSE(x, weight, bias, out=out, **attrs)


@lru_cache(4096, typed=True)
def _conv_attrs(name, n, x, weight, bias, stride, padding, dilation, groups):
    stride, dilation = axes(stride, n, name, "stride", 1), axes(dilation, n, name, "dilation", 1)
    _check_rank(name, n, x, weight)
    _check_groups(name, groups, x, weight, channels=x[-n - 1], filters=weight[0])
    if weight[1] * groups != x[-n - 1]:
        raise ValueError(f"{name}: weight {weight} with groups={groups} needs {weight[1] * groups} input "
                         f"channels, input {x} has {x[-n - 1]}" + _channels_last(n, x, weight[1] * groups))
    _check_bias(name, bias, weight[0], weight)
    before, total = _padding(name, n, padding, weight[2:], stride, dilation)
    size = tuple((i + t - d * (k - 1) - 1) // s + 1
                 for i, t, d, k, s in zip(x[-n:], total, dilation, weight[2:], stride))
    if any(i < 1 for i in size):
        raise ValueError(f"{name}: input {x} with padding {padding} is smaller than the filter of weight "
                         f"{weight}, dilation {dilation}")
    return {"stride": stride, "padding": before, "dilation": dilation, "groups": groups, "size": size}


@lru_cache(4096, typed=True)
def _conv_transpose_attrs(name, n, x, weight, bias, stride, padding, output_padding, dilation, groups):
    stride, dilation = axes(stride, n, name, "stride", 1), axes(dilation, n, name, "dilation", 1)
    padding, extra = axes(padding, n, name, "padding"), axes(output_padding, n, name, "output_padding")
    _check_rank(name, n, x, weight)
    _check_groups(name, groups, x, weight, channels=x[-n - 1], filters=weight[1] * groups)
    if weight[0] != x[-n - 1]:
        raise ValueError(f"{name}: weight {weight} needs {weight[0]} input channels, input {x} has "
                         f"{x[-n - 1]}" + _channels_last(n, x, weight[0]))
    _check_bias(name, bias, weight[1] * groups, weight)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(
            f"{name}: output_padding {extra} must be smaller than stride {stride} or dilation {dilation}")
    size = tuple((i - 1) * s - 2 * p + d * (k - 1) + e + 1
                 for i, s, p, d, k, e in zip(x[-n:], stride, padding, dilation, weight[2:], extra))
    if any(i < 1 for i in (*size, *x[-n:])):
        raise ValueError(
            f"{name}: input {x} with weight {weight} and padding {padding} gives the empty output {size}")
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "size": size}


def _check_rank(name, n, x, weight):
    if len(x) not in (n + 1, n + 2) or len(weight) != n + 2:
        plane = ("; a plane and a filter without channels are input[None, None] and weight[None, None]"
                 if n in (len(x), len(weight)) else "")
        raise ValueError(
            f"{name}: input must have {n + 1} or {n + 2} axes, (N, C, {', '.join('DHW'[3 - n:])}) or without "
            f"N, and weight {n + 2}, got input {x} and weight {weight}{plane}")
    if min(weight[2:]) < 1:
        raise ValueError(f"{name}: the filter of weight {weight} is empty")


def _channels_last(n, x, channels):
    """A hint where the last axis has as many entries as there should be channels."""
    axes = list(range(len(x)))
    order = tuple(axes[:-n - 1] + axes[-1:] + axes[-n - 1:-1])
    return ("; channels come before the spatial axes: if they are the last axis here, give "
            f"input.transpose({order})" if x[-1] == channels else "")


def _check_groups(name, groups, x, weight, channels, filters):
    if not isinstance(groups, int) or groups < 1 or channels % groups or filters % groups:
        raise ValueError(f"{name}: groups={groups} must divide the {channels} channels of input {x} and the "
                         f"{filters} of the result, weight {weight}")


def _check_bias(name, bias, filters, weight):
    if bias and bias != (filters,) or bias == ():
        raise ValueError(f"{name}: bias {bias} must be ({filters},) for weight {weight}")


def _padding(name, n, padding, kernel, stride, dilation):
    """Padding before each axis, and before and behind together."""
    if not isinstance(padding, str):
        before = axes(padding, n, name, "padding")
        return before, tuple(2 * p for p in before)
    if padding == "valid":
        return (0,) * n, (0,) * n
    if padding != "same":
        raise ValueError(f"{name}: padding must be ints, 'valid' or 'same', got {padding!r}")
    if max(stride) > 1:
        raise ValueError(f"{name}: padding='same' needs stride 1, got stride {stride}")
    total = tuple(d * (k - 1) for d, k in zip(dilation, kernel))
    return tuple(t // 2 for t in total), total


# ---- rows

def _native(x, n):
    """x with a batch axis, as kernels take it."""
    return x if x.ndim == n + 2 else x[None]


@lru_cache(4096)
def _kernel_dims(stride, padding, dilation):
    return three(stride, 1), three(padding, 0), three(dilation, 1)


def conv_forward(k, x, weight, bias, *, stride, padding, dilation, groups, size):
    n = len(stride)
    y = k.empty((*x.shape[:-n - 1], weight.shape[0], *size))
    if x.ndim == n + 2:
        k.conv(x, weight, bias, *_kernel_dims(stride, padding, dilation), groups, y)
    else:
        k.conv(x[None], weight, bias, *_kernel_dims(stride, padding, dilation), groups, y[None])
    return y


def conv_transpose_forward(k, x, weight, bias, *, stride, padding, dilation, groups, size):
    n = len(stride)
    y = k.empty((*x.shape[:-n - 1], weight.shape[1] * groups, *size))
    k.conv_transpose(_native(x, n), weight, bias, *_kernel_dims(stride, padding, dilation), groups,
                     _native(y, n))
    return y


def conv_weight_gradient_forward(k, x, dy, *, stride, padding, dilation, groups, kernel):
    n = len(stride)
    x, dy = _native(x, n), _native(dy, n)
    dw = k.empty((dy.shape[1], x.shape[1] // groups, *kernel))
    k.conv_weight_gradient(x, dy, *_kernel_dims(stride, padding, dilation), groups, dw)
    return dw


def channel_sum_forward(k, dy, *, axes):
    dy = _native(dy, axes)
    total = k.empty((dy.shape[1],))
    k.channel_sum(dy, total)
    return total


def _spatial(array, ctx: Context):
    return tuple(array.shape[-len(ctx.attrs["stride"]):])


def _window(ctx: Context, **more):
    """The attributes that a convolution shares with its gradients."""
    return {name: ctx.attrs[name] for name in ("stride", "padding", "dilation", "groups")} | more


def _bias_gradient(g, ctx):
    return CHANNEL_SUM(g, axes=len(ctx.attrs["stride"]))


conv_gradient = per_input(
    lambda g, ctx: CONV_TRANSPOSE(g, ctx.inputs[1], None, **_window(ctx, size=_spatial(ctx.inputs[0], ctx))),
    lambda g, ctx: CONV_WEIGHT_GRADIENT(ctx.inputs[0], g,
                                        **_window(ctx, kernel=_spatial(ctx.inputs[1], ctx))),
    _bias_gradient,)
conv_transpose_gradient = per_input(
    lambda g, ctx: CONV(g, ctx.inputs[1], None, **_window(ctx, size=_spatial(ctx.inputs[0], ctx))),
    lambda g, ctx: CONV_WEIGHT_GRADIENT(g, ctx.inputs[0],
                                        **_window(ctx, kernel=_spatial(ctx.inputs[1], ctx))),
    _bias_gradient,)
conv_weight_gradient_gradient = per_input(
    lambda g, ctx: CONV_TRANSPOSE(ctx.inputs[1], g, None, **_window(ctx, size=_spatial(ctx.inputs[0], ctx))),
    lambda g, ctx: CONV(ctx.inputs[0], g, None, **_window(ctx, size=_spatial(ctx.inputs[1], ctx))),
)


def channel_sum_gradient(ctx: Context):
    by_channel = reshape(ctx.g, (-1,) + (1,) * ctx.attrs["axes"])
    return (broadcast_to(by_channel, tuple(ctx.inputs[0].shape)),)


def conv_macs(x, weight, bias, *, size, **_):
    batch = x.shape[0] if x.ndim == len(size) + 2 else 1
    return batch * math.prod(size) * weight.size


def conv_bytes(x, weight, bias, *, size, **_):
    batch = x.shape[0] if x.ndim == len(size) + 2 else 1
    return x.nbytes + weight.nbytes + batch * weight.shape[0] * math.prod(size) * x.itemsize


def conv_transpose_macs(x, weight, bias, *, size, **_):
    batch = x.shape[0] if x.ndim == len(size) + 2 else 1
    return batch * math.prod(x.shape[-len(size):]) * weight.size


def conv_transpose_bytes(x, weight, bias, *, size, groups, **_):
    batch = x.shape[0] if x.ndim == len(size) + 2 else 1
    return x.nbytes + weight.nbytes + batch * weight.shape[1] * groups * math.prod(size) * x.itemsize


IN_PROGRAMS = {"applies": frozenset({"activation", "residual"}), "per_sample": True}

# A dot product of n terms in sequence errs by up to n eps of the sum of magnitudes; random signs
# make it about sqrt(n).
CHANNEL_SUM = Op("channel_sum", "r", channel_sum_forward, reference.channel_sum, channel_sum_gradient,
                 kernels=("channel_sum",))

CONV_WEIGHT_GRADIENT = Op("conv_weight_gradient", "rr", conv_weight_gradient_forward,
                          reference.conv_weight_gradient,
                          conv_weight_gradient_gradient, kernels=("conv_weight_gradient",))

CONV = Op(
    "conv", "rro", conv_forward, reference.conv, conv_gradient,
    kernels=("conv",), macs=conv_macs, bytes=conv_bytes, **IN_PROGRAMS, filter_axis=0,
    shapes=lambda x, w, b, *, size, **_: ((*x[:-len(size) - 1], w[0], *size),))

CONV_TRANSPOSE = Op("conv_transpose", "rro", conv_transpose_forward, reference.conv_transpose,
                    conv_transpose_gradient, kernels=("conv_transpose",), macs=conv_transpose_macs,
                    bytes=conv_transpose_bytes, **IN_PROGRAMS, filter_axis=1,
                    shapes=lambda x, w, b, *, size, groups, **_: (
                        (*x[:-len(size) - 1], w[1] * groups, *size),))
