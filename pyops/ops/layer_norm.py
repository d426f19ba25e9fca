"""Layer and root-mean-square normalisation over the trailing axes."""
from __future__ import annotations

import math
from functools import lru_cache

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Arrays, Sizes

reference = LateFunctions("pyops.kernels.layer_norm.reference")

__all__ = ["layer_norm", "rms_norm"]


def layer_norm(input: Arrays, normalized_shape: Sizes, weight: Arrays | None = None,
               bias: Arrays | None = None, eps: float = 1e-5, *, out: Arrays | None = None) -> Arrays:
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and biased variance over the last
    len(normalized_shape) axes.

    input: (..., *normalized_shape), float32 or float64; weight, bias: normalized_shape or
    None. Returns an array like input. Raises ValueError where shapes disagree. Source: Ba,
    Kiros & Hinton (2016).
    """
    normalised_axes("layer_norm", tuple(input.shape), tuple(normalized_shape))
    return LAYER_NORM(input, weight, bias, ndim=len(normalized_shape), eps=eps, out=out)[0]


def rms_norm(input: Arrays, normalized_shape: Sizes, weight: Arrays | None = None, eps: float | None = None,
             *, out: Arrays | None = None) -> Arrays:
    """x / sqrt(mean of x^2 + eps) * weight, the mean over the last len(normalized_shape) axes.

    input: (..., *normalized_shape), float32 or float64; weight: normalized_shape or None; eps None
    is the type's epsilon. Returns an array like input. Raises ValueError where shapes disagree.
    Source: Zhang & Sennrich (2019).
    """
    normalised_axes("rms_norm", tuple(input.shape), tuple(normalized_shape))
    return RMS_NORM(input, weight, ndim=len(normalized_shape), eps=eps, out=out)[0]


@lru_cache(4096)
def normalised_axes(op, x, normalized_shape):
    if not normalized_shape or x[len(x) - len(normalized_shape):] != normalized_shape:
        raise ValueError(f"{op}: normalized_shape {normalized_shape} must be the last axes of input {x}")


def check(x, weight, bias, *, ndim, eps):
    return plan(x.shape, weight is not None and weight.shape, bias is not None and bias.shape, ndim, eps)


@lru_cache(4096)
def plan(x, weight, bias, ndim, eps):
    """Validates; returns the number of rows."""
    normalised = x[len(x) - ndim:]
    if weight not in (False, normalised) or bias not in (False, normalised):
        raise ValueError(f"layer_norm: weight {weight or None} and bias {bias or None} must be {normalised}, "
                         f"the last axes of input {x}")
    if not eps >= 0:
        raise ValueError(f"layer_norm: eps must not be negative, got {eps}")
    return math.prod(x[:len(x) - ndim])


def forward(k, x, weight, bias, *, ndim, eps):
    rows = check(x, weight, bias, ndim=ndim, eps=eps)
    y, mean, rstd = k.empty(x.shape), k.empty((rows,), k.acc), k.empty((rows,), k.acc)
    k.layer_norm(x, weight, bias, eps, y, mean, rstd)
    return y, mean, rstd


def gradient(ctx: Context):
    x, weight, _ = ctx.inputs
    _, mean, rstd = ctx.outputs
    return LAYER_NORM_BACKWARD(ctx.g, x, weight, mean, rstd, ndim=ctx.attrs["ndim"])


def backward(k, dy, x, weight, mean, rstd, *, ndim):
    normalised = x.shape[x.ndim - ndim:]
    dx, dweight, dbias = k.empty(x.shape), k.empty(normalised), k.empty(normalised)
    k.layer_norm_backward(dy, x, weight, mean, rstd, dx, dweight, dbias)
    return dx, dweight, dbias


LAYER_NORM_BACKWARD = Op("layer_norm_backward", "rrorr", backward, reference.layer_norm_backward,
                         kernels=("layer_norm_backward",))

LAYER_NORM = Op(
    "layer_norm", "roo", forward, reference.layer_norm, gradient, check,
    kernels=("layer_norm",),
    flops=lambda x, *_, ndim, eps: 8 * x.size,
    bytes=lambda x, *_, ndim, eps: 2 * x.nbytes,
    per_sample=lambda shape, *, ndim, eps: len(shape) > ndim,
    shapes=lambda x, *_, ndim, eps: (x, (math.prod(x[:len(x) - ndim]),), (math.prod(x[:len(x) - ndim]),)),
)


def check_rms(x, weight, *, ndim, eps):
    return plan_rms(x.shape, weight is not None and weight.shape, ndim, eps)


@lru_cache(4096)
def plan_rms(x, weight, ndim, eps):
    """Validates; returns the number of rows."""
    normalised = x[len(x) - ndim:]
    if weight not in (False, normalised):
        raise ValueError(f"rms_norm: weight {weight} must be {normalised}, the last axes of input {x}")
    if eps is not None and not eps >= 0:
        raise ValueError(f"rms_norm: eps must not be negative, got {eps}")
    return math.prod(x[:len(x) - ndim])


def forward_rms(k, x, weight, *, ndim, eps):
    rows = check_rms(x, weight, ndim=ndim, eps=eps)
    y, rrms = k.empty(x.shape), k.empty((rows,), k.acc)
    k.rms_norm(x, weight, EPSILON[k.real] if eps is None else eps, y, rrms)
    return y, rrms


EPSILON = {"f32": 2.0 ** -23, "f64": 2.0 ** -52, "f16": 2.0 ** -10, "bf16": 2.0 ** -7}   # the types' own


def gradient_rms(ctx: Context):
    x, weight = ctx.inputs
    return RMS_NORM_BACKWARD(ctx.g, x, weight, ctx.outputs[1], ndim=ctx.attrs["ndim"])


def backward_rms(k, dy, x, weight, rrms, *, ndim):
    dx, dweight = k.empty(x.shape), k.empty(x.shape[x.ndim - ndim:])
    k.rms_norm_backward(dy, x, weight, rrms, dx, dweight)
    return dx, dweight


RMS_NORM_BACKWARD = Op("rms_norm_backward", "rror", backward_rms, reference.rms_norm_backward,
                       kernels=("rms_norm_backward",))

RMS_NORM = Op(
    "rms_norm", "ro", forward_rms, reference.rms_norm, gradient_rms, check_rms,
    kernels=("rms_norm",),
    flops=lambda x, *_, ndim, eps: 4 * x.size,
    shapes=lambda x, *_, ndim, eps: (x, (math.prod(x[:len(x) - ndim]),)),
    bytes=lambda x, *_, ndim, eps: 2 * x.nbytes,
    per_sample=lambda shape, *, ndim, eps: len(shape) > ndim,
)
