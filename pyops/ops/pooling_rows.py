"""The rows of pooling. Each takes a Window; its gradients take the same one.

max_pool's gradient scans its windows again; where the caller asked for indices it uses them.
"""
from __future__ import annotations

import math

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context, per_input

reference = LateFunctions("pyops.kernels.pooling.reference")


def spatial_sizes(array, window):
    return tuple(array.shape[-window.axes:])


def max_pool_forward(k, x, *, window):
    y = k.empty(window.result_shape(x.shape))
    k.max_pool(x, *window[1:], y)
    return y


def max_pool_indices_forward(k, x, *, window):
    y = k.empty(window.result_shape(x.shape))
    indices = k.empty(y.shape, np.int64)
    k.max_pool_indices(x, *window[1:], y, indices)
    return y, indices


def max_pool_backward(k, dy, x, *, window):
    dx = k.empty(x.shape)
    k.max_pool_backward(dy, x, *window[1:], dx)
    return dx


def avg_pool_forward(k, x, *, window, count_include_pad, divisor):
    y = k.empty(window.result_shape(x.shape))
    k.avg_pool(x, *window[1:], count_include_pad, divisor, y)
    return y


def avg_pool_backward(k, dy, *, window, count_include_pad, divisor):
    dx = k.empty(window.input_shape(dy.shape))
    k.avg_pool_backward(dy, *window[1:], count_include_pad, divisor, dx)
    return dx


def lp_pool_forward(k, x, *, window, norm):
    y = k.empty(window.result_shape(x.shape))
    k.lp_pool(x, *window[1:], norm, y)
    return y


def lp_pool_backward(k, dy, x, y, *, window, norm):
    dx = k.empty(x.shape)
    k.lp_pool_backward(dy, x, y, *window[1:], norm, dx)
    return dx


def max_unpool_forward(k, x, indices, *, size):
    y, outside = k.empty((*x.shape[:-len(size)], *size)), k.empty((1,), np.int64)
    try:
        k.max_unpool(x, indices, math.prod(size), y, outside)
    except IndexError as why:   # of CPU kernels, since a program has no glue that could look
        refuse_positions(size, str(why))
    seen = k.host(outside)
    if seen is not None and seen[0]:
        refuse_positions(size, f"{seen[0]} are not")
    return y


def refuse_positions(size, why: str) -> None:
    raise ValueError(f"max_unpool: indices must be in [0, {math.prod(size)}), the positions of a plane of size "
                     f"{size}; {why}") from None


def pool_scatter_forward(k, dy, indices, *, size):
    dx = k.empty((*dy.shape[:-len(size)], *size))
    k.pool_scatter(dy, indices, math.prod(size), dx)
    return dx


def pool_gather_forward(k, x, indices, *, size):
    y = k.empty(indices.shape)
    k.pool_gather(x, indices, math.prod(size), y)
    return y


def max_pool_flops(x, *, window, **_):
    return x.size // math.prod(window.input) * math.prod(window.output) * math.prod(window.kernel)


def pool_bytes(x, *, window, **_):
    """What any method must move: every input once and every output once."""
    return x.nbytes + x.nbytes // math.prod(window.input) * math.prod(window.output)


POOL_GATHER = Op("pool_gather", "ri", pool_gather_forward, reference.pool_gather, kernels=("pool_gather",),
                 gradient=per_input(lambda g, ctx: POOL_SCATTER(g, ctx.inputs[1], **ctx.attrs), None))
POOL_SCATTER = Op("pool_scatter", "ri",
                  pool_scatter_forward, reference.pool_scatter, kernels=("pool_scatter",),
                  gradient=per_input(lambda g, ctx: POOL_GATHER(g, ctx.inputs[1], **ctx.attrs), None))


def _gather_maxima(g, ctx):
    x, window = ctx.inputs[1], ctx.attrs["window"]
    return POOL_GATHER(g, MAX_POOL_INDICES(x, window=window)[1], size=spatial_sizes(x, window))


MAX_POOL_BACKWARD = Op("max_pool_backward", "rr", max_pool_backward, reference.max_pool_backward,
                       per_input(_gather_maxima, None), kernels=("max_pool_backward",))
AVG_POOL_BACKWARD = Op("avg_pool_backward", "r", avg_pool_backward, reference.avg_pool_backward,
                       per_input(lambda g, ctx: AVG_POOL(g, **ctx.attrs)), kernels=("avg_pool_backward",))
LP_POOL_BACKWARD = Op("lp_pool_backward", "rrr", lp_pool_backward, reference.lp_pool_backward,
                      kernels=("lp_pool_backward",))


def lp_pool_gradient(ctx: Context):
    return (LP_POOL_BACKWARD(ctx.g, ctx.inputs[0], ctx.outputs[0], **ctx.attrs),)


def of_batches(shape, *, window, **_):
    """Whether images are not alone: then the first axis is the batch."""
    return len(shape) == window.axes + 2


def of_window(x, *, window, **_):
    return (window.result_shape(x),)


MAX_POOL = Op(
    "max_pool", "r", max_pool_forward, reference.max_pool,
    per_input(lambda g, ctx: MAX_POOL_BACKWARD(g, ctx.inputs[0], **ctx.attrs)),
    kernels=("max_pool",), flops=max_pool_flops, bytes=pool_bytes,
    tolerance=64,   # of the gradient, which sums; the maximum itself is exact
    per_sample=of_batches, shapes=of_window,
)

MAX_POOL_INDICES = Op("max_pool_indices", "r", max_pool_indices_forward, reference.max_pool_indices,
                      lambda ctx: (POOL_SCATTER(ctx.g, ctx.outputs[1],
                                                size=spatial_sizes(ctx.inputs[0], ctx.attrs["window"])),),
                      kernels=("max_pool_indices",), flops=max_pool_flops, per_sample=of_batches)


AVG_POOL = Op("avg_pool", "r", avg_pool_forward, reference.avg_pool,
              per_input(lambda g, ctx: AVG_POOL_BACKWARD(g, **ctx.attrs)),
              kernels=("avg_pool",), flops=max_pool_flops, bytes=pool_bytes, per_sample=of_batches,
              shapes=of_window)

LP_POOL = Op(
    "lp_pool", "r", lp_pool_forward, reference.lp_pool, lp_pool_gradient,
    kernels=("lp_pool",), bytes=pool_bytes,
    flops=lambda x, *, window, norm: 2 * max_pool_flops(x, window=window),
    # y^(1 - p) of a small y multiplies the error of y
    tolerance=256, per_sample=of_batches, shapes=of_window)

MAX_UNPOOL = Op(
    "max_unpool", "ri", max_unpool_forward, reference.max_unpool,
    per_input(lambda g, ctx: POOL_GATHER(g, ctx.inputs[1], **ctx.attrs), None), kernels=("max_unpool",),
    checks_indices=True, per_sample=lambda shape, *, size: len(shape) == len(size) + 2)
