"""LeNet-5's output layer and the loss it was trained with. LeCun, Bottou, Bengio & Haffner,
"Gradient-Based Learning Applied to Document Recognition" (1998), sections II.B and III.C."""
from __future__ import annotations

import math
from functools import lru_cache

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Arrays, Reduction
from .loss import JOINED
from .shape import transpose

reference = LateFunctions("pyops.kernels.rbf.reference")

__all__ = ["lenet5_loss", "squared_euclidean"]


def squared_euclidean(input: Arrays, weight: Arrays, *, out: Arrays | None = None) -> Arrays:
    """Squared distance of each input to each centre: (N, D) or (D,) and (K, D) -> (N, K) or (K,).
    LeNet-5's Euclidean RBF units (eq. 7).

    float32 or float64. Raises ValueError where the widths differ.
    """
    plan(tuple(input.shape), tuple(weight.shape))
    if len(input.shape) == 1:
        return SQUARED_EUCLIDEAN(input[None], weight, out=None if out is None else out[None])[0]
    return SQUARED_EUCLIDEAN(input, weight, out=out)


def lenet5_loss(input: Arrays, target: Arrays, j: float = 0.1, *, reduction: Reduction = "mean",
                out: Arrays | None = None) -> Arrays:
    """input[target] + log(e^-j + sum over classes of e^-input): the MAP criterion (eq. 9) on
    penalties, such as distances.

    input: (N, C), lower is likelier; target: class indices (N,). j > 0 is the penalty of a "none
    of these" class, which keeps already large penalties from being pushed further; the paper
    names no value. reduction: 'none', 'mean' or 'sum'. Raises ValueError where shapes disagree or
    a target is no class.
    """
    _reduction(tuple(input.shape), tuple(target.shape), j, reduction)
    return LENET5_LOSS(input, target, j=j, reduction=reduction, out=out)[0]


@lru_cache(4096)
def plan(x, w):
    if len(x) not in (1, 2) or len(w) != 2 or x[-1] != w[1]:
        raise ValueError(f"squared_euclidean: needs input (N, D) or (D,) and weight (K, D), got {x} and {w}")


@lru_cache(4096)
def _reduction(y, index, j, reduction):
    """Whether every sample keeps its loss, and what the sum is divided by."""
    if len(y) != 2 or index != y[:1] or y[1] == 0:
        raise ValueError(f"lenet5_loss: needs input (N, C) and target (N,), got {y} and {index}")
    if not 0 < j < math.inf:
        raise ValueError(f"lenet5_loss: j must be positive, got {j}")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"lenet5_loss: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    return reduction == "none", y[0] if reduction == "mean" else 1


def forward(k, x, w):
    y = k.empty((x.shape[0], w.shape[0]))
    k.squared_euclidean(x, w, y)
    return y


def gradient(ctx: Context):
    x, w = ctx.inputs
    dx = SQUARED_EUCLIDEAN_BACKWARD(ctx.g, x, w) if ctx.needs[0] else None
    dw = SQUARED_EUCLIDEAN_BACKWARD(transpose(ctx.g, 0, 1), w, x) if ctx.needs[1] else None
    return dx, dw


def backward(k, g, x, w):
    dx = k.empty(x.shape)
    k.squared_euclidean_backward(g, x, w, dx)
    return dx


def _refuse_labels(y, index, **_):
    wrong = index[(index < 0) | (index >= y.shape[1])]
    if wrong.size:
        raise ValueError(f"lenet5_loss: target {wrong[0]} is none of the {y.shape[1]} classes")


def loss_forward(k, y, index, *, j, reduction):
    each, count = _reduction(y.shape, index.shape, j, reduction)
    loss, divisor = k.empty(index.shape if each else ()), k.empty(())
    k.lenet5_loss(y, index, j, each, count, loss, divisor)
    if (loss != loss).any():
        _refuse_labels(y, index)
    return loss, divisor


def loss_gradient(ctx: Context):
    y, index = ctx.inputs
    return LENET5_LOSS_BACKWARD(ctx.g, y, index, ctx.outputs[1], j=ctx.attrs["j"]), None


def loss_backward(k, g, y, index, divisor, *, j):
    dy = k.empty(y.shape)
    k.lenet5_loss_backward(g, y, index, divisor, j, dy)
    return dy


SQUARED_EUCLIDEAN_BACKWARD = Op("squared_euclidean_backward", "rrr", backward,
                                reference.squared_euclidean_backward, kernels=("squared_euclidean_backward",))
SQUARED_EUCLIDEAN = Op(
    "squared_euclidean", "rr", forward, reference.squared_euclidean, gradient,
    kernels=("squared_euclidean",),
    flops=lambda x, w: 3 * x.shape[0] * w.size,
    bytes=lambda x, w: x.nbytes + w.nbytes + x.shape[0] * w.shape[0] * x.itemsize,
    per_sample=True,
)

LENET5_LOSS_BACKWARD = Op("lenet5_loss_backward", "rrir", loss_backward, reference.lenet5_loss_backward,
                          kernels=("lenet5_loss_backward",))
LENET5_LOSS = Op(
    "lenet5_loss", "ri", loss_forward, reference.lenet5_loss, loss_gradient, _refuse_labels,
    kernels=("lenet5_loss",), todo=JOINED)
