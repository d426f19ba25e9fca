"""Normalisation."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from .row import Unsupported, axes_of, axis_of, known, op, rank, real, traced


@op("BatchNormalization")
def batch_norm(call):
    x, scale, shift, mean, var = call.inputs[:5]
    eps, momentum = call.attr("epsilon", 1e-5), call.attr("momentum", 0.9)
    if call.version < 7 and not call.attr("is_test", 0):
        raise Unsupported("training by operator sets before 7")
    if not call.attr("training_mode", 0):
        return F.batch_norm(x, mean, var, scale, shift, False, 0.1, eps)
    if traced(x):
        raise Unsupported("training_mode")
    axes = tuple(i for i in range(x.ndim) if i != 1)
    y = F.batch_norm(x, None, None, scale, shift, True, 0.1, eps)
    return y, *(
        momentum * old + (1 - momentum) * new
        for old, new in ((mean, x.mean(axes, dtype=x.dtype)), (var, x.var(axes, dtype=x.dtype)))
    )


@op("InstanceNormalization")
def instance_norm(call):
    x, eps = call[0], call.attr("epsilon", 1e-5)
    if math.prod(x.shape[2:]) == 1:  # torch refuses a channel of one value; its mean is itself
        return F.group_norm(x, x.shape[1], call[1], call[2], eps)
    return F.instance_norm(x, None, None, call[1], call[2], True, 0.1, eps)


@op("LayerNormalization")
def layer_norm(call):
    x, axis, eps = call[0], axis_of(call.attr("axis", -1), rank(call[0])), call.attr("epsilon", 1e-5)
    shape = tuple(x.shape[axis:])
    scale, shift = (
        None if v is None else v if tuple(v.shape) == shape else F.broadcast_to(v, shape)
        for v in (call[1], call[2])
    )
    y = F.layer_norm(x, shape, scale, shift, eps)
    if not call.wants(1) and not call.wants(2):
        return y
    axes = tuple(range(axis, rank(x)))
    mean = F.mean(x, axes, True)
    return y, mean, F.rsqrt(F.add(F.mean(F.square(F.sub(x, mean)), axes, True), eps))


@op("RMSNormalization")
def rms_norm(call):
    x, axis = call[0], axis_of(call.attr("axis", -1), rank(call[0]))
    shape = tuple(x.shape[axis:])
    scale = call[1] if tuple(call[1].shape) == shape else F.broadcast_to(call[1], shape)
    if not real(x, scale):
        raise Unsupported(f"types {x.dtype} and {scale.dtype}")
    return F.rms_norm(x, shape, scale, call.attr("epsilon", 1e-5))


@op("GroupNormalization")
def group_norm(call):
    x, groups = call[0], call.attr("num_groups")
    scale, shift = call[1], call[2]
    if scale.shape[0] == groups != x.shape[1]:  # a number a group, before operator set 21
        scale, shift = (np.repeat(known(v, "the scale"), x.shape[1] // groups) for v in (scale, shift))
    return F.group_norm(x, groups, scale, shift, call.attr("epsilon", 1e-5))


@op("LRN")
def lrn(call):
    x, size = call[0], call.attr("size")
    numbers = size, call.attr("alpha", 1e-4), call.attr("beta", 0.75), call.attr("bias", 1.0)
    if size % 2:
        return F.local_response_norm(x, *numbers)
    return F.flip(
        F.local_response_norm(F.flip(x, [1]), *numbers), [1]
    )  # an even window has one more channel behind, torch's in front


@op("LpNormalization")
def lp_norm(call):
    axis, p = axis_of(call.attr("axis", -1), rank(call[0])), call.attr("p", 2)
    size = F.vector_norm(call[0], p, axis, True)
    return F.div(call[0], F.maximum(size, np.float32(1e-38).astype(size.dtype)))  # zero stays zero


@op("MeanVarianceNormalization")
def mean_variance_norm(call):
    x, axes = call[0], axes_of(call.attr("axes") or (0, 2, 3), rank(call[0]))
    shifted = F.sub(x, F.mean(x, axes, True))
    return F.div(shifted, F.add(F.sqrt(F.mean(F.square(shifted), axes, True)), 1e-9))
