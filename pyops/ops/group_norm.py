"""Group and instance normalisation: groups of channels of each sample."""
from __future__ import annotations

import math
from functools import lru_cache

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context, Tensor
from ..core.types import Arrays
from .batch_norm import BATCH_NORM, follow, plan as plan_channels, shape_of, writable_statistics

reference = LateFunctions("pyops.kernels.group_norm.reference")

__all__ = ["group_norm", "instance_norm"]


def group_norm(input: Arrays, num_groups: int, weight: Arrays | None = None, bias: Arrays | None = None,
               eps: float = 1e-5, *, out: Arrays | None = None) -> Arrays:
    """(x - mean) / sqrt(var + eps) * weight + bias; mean and biased variance over each of
    num_groups groups of channels of a sample.

    input: (N, C, ...), float32 or float64, C a multiple of num_groups; weight, bias: (C,) or None.
    Returns an array like input. Raises ValueError where shapes disagree. Source: Wu & He (2018).
    """
    return GROUP_NORM(input, weight, bias, groups=num_groups, eps=eps, out=out)[0]


def instance_norm(input: Arrays, running_mean: Arrays | None = None, running_var: Arrays | None = None,
                  weight: Arrays | None = None, bias: Arrays | None = None, use_input_stats: bool = True,
                  momentum: float = 0.1, eps: float = 1e-5, *, out: Arrays | None = None) -> Arrays:
    """(x - mean) / sqrt(var + eps) * weight + bias; mean and biased variance of each
    channel of each sample.

    input: (N, C, ...) with at least one axis after C, float32 or float64; the others: (C,) of
    the same dtype or None. Running arrays that are given move in place towards the average over
    the batch (momentum as in batch_norm, unbiased variance). use_input_stats=False normalises
    by them instead. Returns an array like input. Raises ValueError where shapes disagree,
    running arrays are read-only, or a channel of a sample has a single value. Source: Ulyanov,
    Vedaldi & Lempitsky (2016).
    """
    shape = tuple(input.shape)
    check_instances(shape, use_input_stats)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("instance_norm: use_input_stats=False needs running_mean and running_var")
        return BATCH_NORM(input, running_mean, running_var, weight, bias, eps=eps, out=out)
    statistics = writable_statistics("instance_norm", shape, input.dtype, running_mean, running_var)
    y, mean, var = GROUP_NORM(input, weight, bias, groups=max(shape[1], 1), eps=eps, out=out)
    values = math.prod(shape[2:])
    if shape[0] and values and any(v is not None for v in statistics):
        mean, var = ((v.data if isinstance(v, Tensor) else v).mean(0) for v in (mean, var))
        follow(statistics, mean, var, values, momentum)
    return y


@lru_cache(4096)
def check_instances(shape, use_input_stats):
    if len(shape) < 3:
        raise ValueError(
            f"instance_norm: input must be (N, C, ...) with at least three axes, got shape {shape}")
    if use_input_stats and math.prod(shape[2:]) == 1:
        raise ValueError(f"instance_norm: a channel of a sample needs more than one value, got input {shape}")


def check(x, weight, bias, *, groups, eps):
    plan(x.shape, shape_of(weight), shape_of(bias), groups, eps)


@lru_cache(4096)
def plan(x, weight, bias, groups, eps):
    plan_channels("group_norm", x, eps, weight=weight, bias=bias)
    if groups < 1 or x[1] % groups:
        raise ValueError(f"group_norm: num_groups {groups} must divide the {x[1]} channels of input {x}")


def forward(k, x, weight, bias, *, groups, eps):
    check(x, weight, bias, groups=groups, eps=eps)
    statistics = (x.shape[0], groups)
    y, mean, var = k.empty(x.shape), k.empty(statistics, k.acc), k.empty(statistics, k.acc)
    if x.size:
        k.group_norm(x, weight, bias, groups, eps, y, mean, var)
    else:
        mean[...], var[...] = 0, 0
    return y, mean, var


def gradient(ctx: Context):
    x, weight, _ = ctx.inputs
    _, mean, var = ctx.outputs
    return GROUP_NORM_BACKWARD(ctx.g, x, weight, mean, var, groups=ctx.attrs["groups"], eps=ctx.attrs["eps"])


def backward(k, dy, x, weight, mean, var, *, groups, eps):
    channels = x.shape[1:2]
    dx, dweight, dbias = k.empty(x.shape), k.empty(channels), k.empty(channels)
    if x.size:
        k.group_norm_backward(dy, x, weight, mean, var, groups, eps, dx, dweight, dbias)
    else:
        dweight[...], dbias[...] = 0, 0
    return dx, dweight, dbias


GROUP_NORM_BACKWARD = Op("group_norm_backward", "rrorr", backward, reference.group_norm_backward,
                         kernels=("group_norm_backward",))

GROUP_NORM = Op(
    "group_norm", "roo", forward, reference.group_norm, gradient, check,
    kernels=("group_norm",),
    tolerance=256,   # a group of few values divides by a small deviation
    flops=lambda x, *_, groups, eps: 8 * x.size,
    bytes=lambda x, *_, groups, eps: 2 * x.nbytes,
    per_sample=True,
)
