"""The fully connected layer whose weights are whole numbers of 8 bits."""
from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Arrays
from .elementwise import mul
from .matmul import ROW_SUM

reference = LateFunctions("pyops.kernels.gemm.reference")

__all__ = ["linear_int8"]


def linear_int8(input: Arrays, weight: Arrays, scale: Arrays, bias: Arrays | None = None, *,
                out: Arrays | None = None) -> Arrays:
    """input @ (weight * scale[:, None]).T + bias, whose weights take a quarter of the memory of floats.

    input: (..., features), float32 or float64; weight: (outputs, features), int8; scale: (outputs,), the
    step of each output's weights (symmetric: no zero point); bias: (outputs,) or None. Weights are
    widened in registers, sums are of the input's type. Gradients of input, scale and bias. What
    `pyops.compile(weights="int8")` makes of linear layers. ValueError where these do not fit.
    """
    return LINEAR_INT8(input, weight, scale, bias, out=out)


def check(x, weight, scale, bias):
    if str(weight.dtype).rpartition(".")[2] != "int8":
        raise ValueError(f"linear_int8: weight must be int8, got {weight.dtype}")
    return plan(tuple(x.shape), tuple(weight.shape), tuple(scale.shape), None if bias is None else tuple(bias.shape))


@lru_cache(4096)
def plan(x, weight, scale, bias):
    """Validates; returns the result's shape."""
    if len(weight) != 2 or not x or x[-1] != weight[-1]:
        raise ValueError(f"linear_int8: input {x} and weight {weight} do not fit: the last axes must be equal, "
                         "weight (outputs, features)")
    for name, found in (("scale", scale), ("bias", bias)):
        if found is not None and found != weight[:1]:
            raise ValueError(f"linear_int8: {name} {found} must be {weight[:1]} for weight {weight}")
    return x[:-1] + weight[:1]


def forward(k, x, weight, scale, bias):
    y = k.empty(check(x, weight, scale, bias))
    k.linear_int8(x, weight, scale, bias, y)
    return y


def input_gradient(k, dy, weight, scale):
    dx = k.empty((*dy.shape[:-1], weight.shape[1]))
    k.linear_int8_input_gradient(dy, weight, scale, dx)
    return dx


def gradient(ctx: Context):
    x, weight, scale, bias = ctx.inputs
    need_x, _, need_scale, need_bias = ctx.needs
    return (LINEAR_INT8_INPUT_GRADIENT(ctx.g, weight, scale) if need_x else None, None,
            scale_gradient(ctx.g, x, weight) if need_scale else None,
            ROW_SUM(ctx.g, axes=1) if need_bias else None)


def scale_gradient(dy, x, weight):
    """Of each output the sum of dy times what the layer gives with a scale of 1."""
    plain = LINEAR_INT8(x, weight, np.ones(weight.shape[0], dy.dtype), None)
    return ROW_SUM(mul(dy, plain), axes=1)


def input_gradient_gradient(ctx: Context):
    """Of dx, which is linear in dy and in the scale."""
    dy, weight, scale = ctx.inputs
    return (LINEAR_INT8(ctx.g, weight, scale, None) if ctx.needs[0] else None, None,
            scale_gradient(dy, ctx.g, weight) if ctx.needs[2] else None)


ON_CPU = dict.fromkeys(("cuda", "cuda-emulated"), "int8 weights are for steps of decoding on a CPU")
LINEAR_INT8_INPUT_GRADIENT = Op("linear_int8_input_gradient", "rar", input_gradient,
                                reference.linear_int8_input_gradient, input_gradient_gradient,
                                kernels=("linear_int8_input_gradient",), todo=ON_CPU)
LINEAR_INT8 = Op(
    "linear_int8", "raro", forward, reference.linear_int8, gradient, check, kernels=("linear_int8",),
    macs=lambda x, w, scale, bias: x.size * w.shape[0],
    shapes=lambda x, w, scale, bias: ((*x[:-1], w[0]),), applies=frozenset({"activation"}),
    bytes=lambda x, w, scale, bias: x.nbytes + w.nbytes + math.prod(x.shape[:-1]) * w.shape[0] * x.itemsize,
    todo={"per_sample": "programs widen the weights for many rows, which rounds otherwise", **ON_CPU})
