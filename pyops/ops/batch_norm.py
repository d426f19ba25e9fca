"""Batch normalisation: per channel over the batch in training, by running statistics in
evaluation."""
from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ..core import dispatch
from ..core.backends import DTYPES, active
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context, Tensor
from ..core.types import Arrays
from .result_shapes import first

reference = LateFunctions("pyops.kernels.batch_norm.reference")

__all__ = ["batch_norm"]

REALS = {dtype: real for real, dtype in DTYPES.items()}


def batch_norm(input: Arrays, running_mean: Arrays | None, running_var: Arrays | None,
               weight: Arrays | None = None, bias: Arrays | None = None, training: bool = False,
               momentum: float = 0.1, eps: float = 1e-5, *, out: Arrays | None = None) -> Arrays:
    """(x - mean) / sqrt(var + eps) * weight + bias per channel.

    input: (N, C) or (N, C, ...), float32 or float64; the others: (C,) of the same dtype or None.
    With training, mean and biased variance are those of the batch, and the running arrays move
    towards them in place: running = (1 - momentum) * running + momentum * batch, with the unbiased
    variance. Otherwise the running arrays are the statistics and must be given.
    Returns an array like input. Raises ValueError where shapes disagree, running arrays are
    read-only, or a channel has a single value in training; nothing is written then. Source:
    Ioffe & Szegedy (2015).
    """
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: evaluation (training=False) needs running_mean and running_var")
        return BATCH_NORM(input, running_mean, running_var, weight, bias, eps=eps, out=out)
    shape = tuple(input.shape)
    running = writable_statistics("batch_norm", shape, input.dtype, running_mean, running_var)
    y, mean, var = BATCH_NORM_TRAINING(input, weight, bias, eps=eps, out=out)
    values = math.prod(shape) // shape[1] if shape[1] else 0
    if values:   # as torch, an empty batch teaches nothing
        follow(running, mean, var, values, momentum)
    return y


def writable_statistics(op, shape, dtype, running_mean, running_var):
    """The running arrays as NumPy arrays that share the caller's memory, or a ValueError or
    TypeError that says why not."""
    return tuple(None if v is None else _writable(op, name, v, shape, dtype)
                 for name, v in (("running_mean", running_mean), ("running_var", running_var)))


def _writable(op, name, value, shape, dtype):
    on_device = dispatch.on_device((value,))
    array = (dispatch.viewed(value) if on_device else value if type(value) is np.ndarray
             else value.data if isinstance(value, Tensor) else np.asarray(
                 value if isinstance(value, np.ndarray) or not hasattr(value, "__dlpack__")
                 else np.from_dlpack(value)))
    # torch's dtypes read torch.float32
    if array.dtype != dtype and str(array.dtype) != str(dtype).rpartition(".")[2]:
        raise TypeError(f"{op}: {name} is {array.dtype}, input {dtype}; they must be the same")
    if array.shape != shape[1:2]:
        raise ValueError(
            f"{op}: {name} {array.shape} must be {shape[1:2]}, one value a channel of input {shape}")
    if not on_device and not array.flags.writeable:
        raise ValueError(f"{op}: {name} is read-only, but statistics of the batch are to be added to it")
    return array


def follow(running, mean, var, values, momentum):
    """Moves the running arrays towards mean and the unbiased variance. values: how
    many a channel had."""
    sets = getattr(active.get(), "sets", None) or {}
    for array, batch, unbias in zip(running, (mean, var), (1, values / (values - 1))):
        if array is None:
            continue
        batch = (batch.data if isinstance(batch, Tensor)
                 else dispatch.viewed(batch) if dispatch.on_device((batch,)) else np.asarray(batch))
        native = (sets.get(REALS.get(array.dtype)) if isinstance(array, np.ndarray) and array.flags.carray
                  and batch.flags.carray else None)
        if native:
            native.move_towards(batch, 1 - momentum, momentum * unbias, array)
        else:
            array *= 1 - momentum
            array += batch * (momentum * unbias)


def check(x, mean, var, weight, bias, *, eps):
    plan("batch_norm", x.shape, eps, running_mean=mean.shape, running_var=var.shape, weight=shape_of(weight),
         bias=shape_of(bias))


def check_training(x, weight, bias, *, eps):
    plan("batch_norm", x.shape, eps, weight=shape_of(weight), bias=shape_of(bias))
    if x.size and x.size == x.shape[1]:
        raise ValueError(f"batch_norm: training needs more than one value per channel, got input {x.shape}")


def shape_of(v):
    return None if v is None else v.shape


@lru_cache(4096)
def plan(op, x, eps, **shapes):
    """Validates what is per channel."""
    if len(x) < 2:
        raise ValueError(f"{op}: input must be (N, C, ...), got shape {x}")
    for name, shape in shapes.items():
        if shape is not None and shape != x[1:2]:
            raise ValueError(f"{op}: {name} {shape} must be {x[1:2]}, one value a channel of input {x}")
    if not eps >= 0:
        raise ValueError(f"{op}: eps must not be negative, got {eps}")


def forward(k, x, mean, var, weight, bias, *, eps):
    check(x, mean, var, weight, bias, eps=eps)
    y = k.empty(x.shape)
    k.batch_norm(x, mean, var, weight, bias, eps, y)
    return y


def forward_training(k, x, weight, bias, *, eps):
    check_training(x, weight, bias, eps=eps)
    channels = x.shape[1:2]
    y, mean, var = k.empty(x.shape), k.empty(channels, k.acc), k.empty(channels, k.acc)
    if x.size:
        k.batch_norm_training(x, weight, bias, eps, y, mean, var)
    else:
        mean[...], var[...] = 0, 0
    return y, mean, var


def gradient(ctx: Context):
    x, mean, var, weight, _ = ctx.inputs
    dx, dweight, dbias = BATCH_NORM_BACKWARD(ctx.g, x, weight, mean, var, eps=ctx.attrs["eps"],
                                             training=False)
    return dx, None, None, dweight, dbias


def gradient_training(ctx: Context):
    x, weight, _ = ctx.inputs
    _, mean, var = ctx.outputs
    return BATCH_NORM_BACKWARD(ctx.g, x, weight, mean, var, eps=ctx.attrs["eps"], training=True)


def backward(k, dy, x, weight, mean, var, *, eps, training):
    channels = x.shape[1:2]
    dx, dweight, dbias = k.empty(x.shape), k.empty(channels), k.empty(channels)
    mean, var = (v.astype(k.acc, copy=False) for v in (mean, var))   # running ones have the type of x
    k.batch_norm_backward(dy, x, weight, mean, var, eps, training, dx, dweight, dbias)
    return dx, dweight, dbias


BATCH_NORM_BACKWARD = Op("batch_norm_backward", "rrorr", backward, reference.batch_norm_backward,
                         kernels=("batch_norm_backward",))

BATCH_NORM = Op(
    "batch_norm", "rrroo", forward, reference.batch_norm, gradient, check,
    kernels=("batch_norm",),
    tolerance=128,   # sums of 1e3 terms: the gradients of weight and bias
    flops=lambda x, *_, eps: 3 * x.size,
    bytes=lambda x, *_, eps: 2 * x.nbytes,
    applies=frozenset({"activation"}), per_sample=True, shapes=first,
)


BATCH_NORM_TRAINING = Op(
    # a channel of two samples divides by a small deviation
    "batch_norm_training", "roo", forward_training, reference.batch_norm_training, gradient_training,
    check_training, kernels=("batch_norm_training",), tolerance=256,
    flops=lambda x, *_, eps: 8 * x.size,
    bytes=lambda x, *_, eps: 2 * x.nbytes,
)
