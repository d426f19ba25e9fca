"""Losses of one element each, summed or averaged: regression, binary classification,
likelihoods, margins.

reduction is 'none', 'mean' or 'sum' and, as everything that torch has behind its deprecated
size_average and reduce, given by keyword. Gradients go to input and target (and var,
input2), not to weights.
"""
from __future__ import annotations

import math
import warnings
from functools import lru_cache

import numpy as np

from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Arrays, Reduction
from ..kernels.loss import reference
from .loss import JOINED
from .shape import broadcast_to, unsqueeze

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "gaussian_nll_loss",
           "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "margin_ranking_loss", "mse_loss",
           "poisson_nll_loss", "sigmoid_focal_loss", "smooth_l1_loss", "soft_margin_loss"]

NUMBERS = {name: i for i, name in enumerate(reference.FORMULAS)}


def mse_loss(input: Arrays, target: Arrays, *, reduction: Reduction = "mean", weight: Arrays | None = None,
             out: Arrays | None = None) -> Arrays:
    """(input - target)^2. Shapes are broadcast with a warning; weight: input's shape, 'mean' then
    divides by its sum."""
    return _regression(MSE, input, target, weight, reduction, out=out)


def l1_loss(input: Arrays, target: Arrays, *, reduction: Reduction = "mean", weight: Arrays | None = None,
            out: Arrays | None = None) -> Arrays:
    """|input - target|; arguments as in mse_loss."""
    return _regression(L1, input, target, weight, reduction, out=out)


def smooth_l1_loss(input: Arrays, target: Arrays, *, reduction: Reduction = "mean", beta: float = 1.0,
                   out: Arrays | None = None) -> Arrays:
    """d^2 / (2 beta) where d = |input - target| < beta, else d - beta / 2. beta = 0 is l1_loss.
    Source: Girshick (2015)."""
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if beta == 0:
        return _regression(L1, input, target, None, reduction, out=out)
    return _regression(SMOOTH_L1, input, target, None, reduction, p=beta, out=out)


def huber_loss(input: Arrays, target: Arrays, reduction: Reduction = "mean", delta: float = 1.0,
               weight: Arrays | None = None, *, out: Arrays | None = None) -> Arrays:
    """d^2 / 2 where d = |input - target| < delta, else delta (d - delta / 2); 'mean' divides by the
    count, also with a weight. Source: Huber (1964)."""
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    return _regression(HUBER, input, target, weight, reduction, p=delta, by_weight=False, out=out)


def binary_cross_entropy(input: Arrays, target: Arrays, weight: Arrays | None = None, *,
                         reduction: Reduction = "mean", out: Arrays | None = None) -> Arrays:
    """-(t log x + (1 - t) log(1 - x)) for probabilities x, logarithms bounded below by -100. weight
    is broadcast to target.

    Raises ValueError where shapes differ or input leaves [0, 1].
    """
    _same_shape("binary_cross_entropy", input, target)
    return _call(BCE, "binary_cross_entropy", input, target, None,
                 _fit("binary_cross_entropy", "weight", weight, input), reduction, out=out)


def binary_cross_entropy_with_logits(input: Arrays, target: Arrays, weight: Arrays | None = None, *,
                                     reduction: Reduction = "mean", pos_weight: Arrays | None = None,
                                     out: Arrays | None = None) -> Arrays:
    """binary_cross_entropy of sigmoid(input) without its cancellation. weight and pos_weight (of
    the positive term) are broadcast to input."""
    name = "binary_cross_entropy_with_logits"
    _same_shape(name, input, target)
    return _call(BCE_WITH_LOGITS, name, input, target, _fit(name, "pos_weight", pos_weight, input),
                 _fit(name, "weight", weight, input), reduction, out=out)


def kl_div(input: Arrays, target: Arrays, *, reduction: Reduction = "mean", log_target: bool = False,
           out: Arrays | None = None) -> Arrays:
    """target (log target - input) for log-probabilities input; log_target: target is a logarithm
    too. reduction also 'batchmean': the sum divided by the length of the first axis, which is what
    the divergence's definition asks for."""
    input, target = _broadcast("kl_div", input, target)
    return _call(KL_DIV_LOG if log_target else KL_DIV, "kl_div", input, target, None, None, reduction,
                 out=out)


def sigmoid_focal_loss(inputs: Arrays, targets: Arrays, alpha: float = 0.25, gamma: float = 2.0,
                       reduction: Reduction = "none", *, out: Arrays | None = None) -> Arrays:
    """binary_cross_entropy_with_logits times (1 - p_t)^gamma, p_t the probability of the true
    class, and alpha for positives or 1 - alpha for negatives (alpha < 0: neither). torchvision's
    signature. Source: Lin et al. (2017)."""
    if not gamma >= 0:
        raise ValueError(f"sigmoid_focal_loss: gamma must not be negative, got {gamma}")
    if alpha > 1:
        raise ValueError(f"sigmoid_focal_loss: alpha must be at most 1, got {alpha}")
    _same_shape("sigmoid_focal_loss", inputs, targets)
    return _call(FOCAL, "sigmoid_focal_loss", inputs, targets, None, None, reduction, p=alpha, q=gamma,
                 out=out)


def poisson_nll_loss(input: Arrays, target: Arrays, log_input: bool = True, full: bool = False, *,
                     eps: float = 1e-8, reduction: Reduction = "mean", out: Arrays | None = None) -> Arrays:
    """e^x - t x, or x - t log(x + eps) without log_input; full adds Stirling's log t! for t > 1."""
    input, target = _broadcast("poisson_nll_loss", input, target)
    return _call(POISSON_LOG if log_input else POISSON, "poisson_nll_loss", input, target, None, None,
                 reduction, p=float(bool(full)), q=eps, out=out)


def gaussian_nll_loss(input: Arrays, target: Arrays, var: Arrays, full: bool = False, eps: float = 1e-6,
                      reduction: Reduction = "mean", *, out: Arrays | None = None) -> Arrays:
    """(log v + (input - target)^2 / v) / 2 with v = max(var, eps); full adds log(2 pi) / 2. var: a
    number, input's shape, that shape without its last axis or with one axis of size one. Raises
    ValueError for a negative variance."""
    name = "gaussian_nll_loss"
    if not eps > 0:
        raise ValueError(f"{name}: eps must be positive, got {eps}")
    shape = tuple(input.shape)
    if isinstance(var, (int, float)):
        var = np.full(shape, var, input.dtype)
    if tuple(var.shape) != shape and tuple(var.shape) == shape[:-1]:
        var = unsqueeze(var, -1)
    input, target = _broadcast(name, input, target)
    return _call(GAUSSIAN, name, input, target, _fit(name, "var", var, input), None, reduction, p=eps,
                 q=0.5 * math.log(2 * math.pi) if full else 0.0, out=out)


def soft_margin_loss(input: Arrays, target: Arrays, *, reduction: Reduction = "mean",
                     out: Arrays | None = None) -> Arrays:
    """log(1 + e^(-target input)) for targets of 1 and -1."""
    input, target = _broadcast("soft_margin_loss", input, target)
    return _call(SOFT_MARGIN, "soft_margin_loss", input, target, None, None, reduction, out=out)


def hinge_embedding_loss(input: Arrays, target: Arrays, margin: float = 1.0, *,
                         reduction: Reduction = "mean", out: Arrays | None = None) -> Arrays:
    """input where target is 1, max(0, margin - input) where it is -1."""
    input, target = _broadcast("hinge_embedding_loss", input, target)
    return _call(HINGE_EMBEDDING, "hinge_embedding_loss", input, target, None, None, reduction, p=margin,
                 out=out)


def margin_ranking_loss(input1: Arrays, input2: Arrays, target: Arrays, margin: float = 0, *,
                        reduction: Reduction = "mean", out: Arrays | None = None) -> Arrays:
    """max(0, margin - target (input1 - input2)) for targets of 1 and -1."""
    input1, input2, target = _broadcast("margin_ranking_loss", input1, input2, target)
    return _call(MARGIN_RANKING, "margin_ranking_loss", input1, target, input2, None, reduction, p=margin,
                 out=out)


# ---- arguments

def _call(op, name, x, t, v, weight, reduction, p=0.0, q=0.0, by_weight=False, out=None):
    each, count = _reduction(name, reduction, tuple(x.shape), by_weight and weight is not None)
    return op(x, t, v, weight, p=p, q=q, each=each, count=count, out=out)[0]


@lru_cache(4096)
def _reduction(name, reduction, shape, by_weight):
    """Whether every element keeps its loss, and what the sum is divided by (-1: the weights'
    sum)."""
    if reduction == "none":
        return True, 1
    if reduction == "sum":
        return False, 1
    if reduction == "mean":
        return False, -1 if by_weight else math.prod(shape)
    if reduction == "batchmean" and name == "kl_div" and shape:
        return False, shape[0]
    raise ValueError(f"{name}: reduction must be 'none', 'mean' or "
                     f"'sum'{', or batchmean' if name == 'kl_div' else ''}, got {reduction!r}")


def _regression(op, x, t, weight, reduction, p=0.0, by_weight=True, out=None):
    if weight is not None and tuple(weight.shape) != tuple(x.shape):
        raise ValueError(
            f"{op.name}: weight {tuple(weight.shape)} must have the shape of input {tuple(x.shape)}")
    shapes = tuple(x.shape), tuple(t.shape)
    x, t = _broadcast(op.name, x, t)
    if shapes[0] != shapes[1]:
        warnings.warn(f"{op.name}: input {shapes[0]} and target {shapes[1]} differ and are broadcast",
                      stacklevel=3)
    return _call(op, op.name, x, t, None, _fit(op.name, "weight", weight, x), reduction, p=p,
                 by_weight=by_weight, out=out)


def _same_shape(name, x, t):
    if tuple(x.shape) != tuple(t.shape):
        raise ValueError(f"{name}: target {tuple(t.shape)} must have the shape of input {tuple(x.shape)}")


def _fit(name, what, value, x):
    """value broadcast to x, or None."""
    if value is None or tuple(value.shape) == tuple(x.shape):
        return value
    try:
        return broadcast_to(value, tuple(x.shape))
    except ValueError:
        raise ValueError(
            f"{name}: {what} {tuple(value.shape)} cannot be broadcast to input {tuple(x.shape)}") from None


def _broadcast(name, *arrays):
    shapes = [tuple(a.shape) for a in arrays]
    if shapes.count(shapes[0]) == len(shapes):
        return arrays
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"{name}: shapes {', '.join(map(str, shapes))} cannot be broadcast together") from None
    return tuple(broadcast_to(a, shape) for a in arrays)


# ---- rows

def _pointwise(name, formula, refuse=None, **more):
    """The row of a formula. refuse(x, t, v) raises for values that the kernel turns into NaN; it is
    asked only when a NaN comes out of a call whose result can be looked into: not on a GPU, nor in
    a compiled program."""
    number = NUMBERS[formula]

    def definition(*inputs, **attrs):
        if refuse is not None:
            refuse(*inputs[:3])
        return reference.pointwise_loss(*inputs, formula=formula, **attrs)

    def forward(k, x, t, v, weight, *, p, q, each, count):
        y, divisor = k.empty(x.shape if each else ()), k.empty(())
        k.pointwise_loss(x, t, v, weight, number, p, q, each, count, y, divisor)
        seen = k.host(y) if refuse is not None else None
        if seen is not None and (seen != seen).any():
            refuse(x, t, v)
        return y, divisor

    def gradient(ctx: Context):
        x, t, v, weight = ctx.inputs
        rules = len(reference.FORMULAS[formula]) - 1
        attrs = {"formula": formula, "p": ctx.attrs["p"], "q": ctx.attrs["q"]}
        return *(POINTWISE_LOSS_BACKWARD(ctx.g, x, t, v, weight, ctx.outputs[1], of=i, **attrs)
                 if ctx.needs[i] and i < rules else None for i in range(3)), None
    return Op(name, "rroo", forward, definition, gradient, kernels=("pointwise_loss",),
              bytes=lambda x, *_, **__: 2 * x.nbytes, todo=JOINED, **more)


def _backward(k, g, x, t, v, weight, divisor, *, formula, p, q, of):
    dx = k.empty(x.shape)
    k.pointwise_loss_backward(g, x, t, v, weight, divisor, NUMBERS[formula], p, q, of, dx)
    return dx


POINTWISE_LOSS_BACKWARD = Op("pointwise_loss_backward", "rrroor", _backward,
                             reference.pointwise_loss_backward, kernels=("pointwise_loss_backward",))


def _refuse_probabilities(x, t, v):
    wrong = x[~((x >= 0) & (x <= 1))]
    if wrong.size:
        raise ValueError(f"binary_cross_entropy: input must be within [0, 1], got {wrong.flat[0]}")


def _refuse_variances(x, t, v):
    if (v < 0).any():
        raise ValueError(f"gaussian_nll_loss: var must not be negative, got {v[v < 0].flat[0]}")


L1 = _pointwise("l1_loss", "l1")
MSE = _pointwise("mse_loss", "mse")
SMOOTH_L1 = _pointwise("smooth_l1_loss", "smooth_l1")
HUBER = _pointwise("huber_loss", "huber")
BCE = _pointwise("binary_cross_entropy", "bce", _refuse_probabilities)
BCE_WITH_LOGITS = _pointwise("binary_cross_entropy_with_logits", "bce_with_logits")
KL_DIV = _pointwise("kl_div", "kl_div")
KL_DIV_LOG = _pointwise("kl_div_log_target", "kl_div_log")
FOCAL = _pointwise("sigmoid_focal_loss", "focal")
POISSON_LOG = _pointwise("poisson_nll_loss", "poisson_log")
POISSON = _pointwise("poisson_nll_loss_of_rate", "poisson")
GAUSSIAN = _pointwise("gaussian_nll_loss", "gaussian", _refuse_variances)
SOFT_MARGIN = _pointwise("soft_margin_loss", "soft_margin")
HINGE_EMBEDDING = _pointwise("hinge_embedding_loss", "hinge_embedding")
MARGIN_RANKING = _pointwise("margin_ranking_loss", "margin_ranking")
