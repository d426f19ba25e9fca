"""Losses of one element each, summed or averaged: regression, binary classification, likelihoods, margins.

reduction is 'none', 'mean' or 'sum' and, as everything that torch has behind its deprecated size_average and reduce, given by keyword.
Gradients go to input and target (and var, input2), not to weights.
"""
from __future__ import annotations

import math
import warnings
from functools import lru_cache

import numpy as np

from ..kernels.loss import reference
from ..core.registry import A, Array, Op, bad, case
from ..core.tensor import Context
from .shape import broadcast_to, unsqueeze

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div",
           "l1_loss", "margin_ranking_loss", "mse_loss", "poisson_nll_loss", "sigmoid_focal_loss", "smooth_l1_loss", "soft_margin_loss"]

NUMBERS = {name: i for i, name in enumerate(reference.FORMULAS)}


def mse_loss(input, target, *, reduction="mean", weight=None, out=None):
    """(input - target)^2. Shapes are broadcast with a warning; weight: input's shape, 'mean' then divides by its sum."""
    return _regression(MSE, input, target, weight, reduction, out=out)


def l1_loss(input, target, *, reduction="mean", weight=None, out=None):
    """|input - target|; arguments as in mse_loss."""
    return _regression(L1, input, target, weight, reduction, out=out)


def smooth_l1_loss(input, target, *, reduction="mean", beta=1.0, out=None):
    """d^2 / (2 beta) where d = |input - target| < beta, else d - beta / 2. beta = 0 is l1_loss. Source: Girshick (2015)."""
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if beta == 0:
        return _regression(L1, input, target, None, reduction, out=out)
    return _regression(SMOOTH_L1, input, target, None, reduction, p=beta, out=out)


def huber_loss(input, target, reduction="mean", delta=1.0, weight=None, *, out=None):
    """d^2 / 2 where d = |input - target| < delta, else delta (d - delta / 2); 'mean' divides by the count, also with a weight. Source: Huber (1964)."""
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    return _regression(HUBER, input, target, weight, reduction, p=delta, by_weight=False, out=out)


def binary_cross_entropy(input, target, weight=None, *, reduction="mean", out=None):
    """-(t log x + (1 - t) log(1 - x)) for probabilities x, logarithms bounded below by -100. weight is broadcast to target.

    Raises ValueError where shapes differ or input leaves [0, 1].
    """
    _same_shape("binary_cross_entropy", input, target)
    return _call(BCE, "binary_cross_entropy", input, target, None, _fit("binary_cross_entropy", "weight", weight, input), reduction, out=out)


def binary_cross_entropy_with_logits(input, target, weight=None, *, reduction="mean", pos_weight=None, out=None):
    """binary_cross_entropy of sigmoid(input) without its cancellation. weight and pos_weight (of the positive term) are broadcast to input."""
    name = "binary_cross_entropy_with_logits"
    _same_shape(name, input, target)
    return _call(BCE_WITH_LOGITS, name, input, target, _fit(name, "pos_weight", pos_weight, input), _fit(name, "weight", weight, input),
                 reduction, out=out)


def kl_div(input, target, *, reduction="mean", log_target=False, out=None):
    """target (log target - input) for log-probabilities input; log_target: target is a logarithm too. reduction also 'batchmean': the sum
    divided by the length of the first axis, which is what the divergence's definition asks for."""
    input, target = _broadcast("kl_div", input, target)
    return _call(KL_DIV_LOG if log_target else KL_DIV, "kl_div", input, target, None, None, reduction, out=out)


def sigmoid_focal_loss(inputs, targets, alpha=0.25, gamma=2.0, reduction="none", *, out=None):
    """binary_cross_entropy_with_logits times (1 - p_t)^gamma, p_t the probability of the true class, and alpha for positives or
    1 - alpha for negatives (alpha < 0: neither). torchvision's signature. Source: Lin et al. (2017)."""
    if not gamma >= 0:
        raise ValueError(f"sigmoid_focal_loss: gamma must not be negative, got {gamma}")
    if alpha > 1:
        raise ValueError(f"sigmoid_focal_loss: alpha must be at most 1, got {alpha}")
    _same_shape("sigmoid_focal_loss", inputs, targets)
    return _call(FOCAL, "sigmoid_focal_loss", inputs, targets, None, None, reduction, p=alpha, q=gamma, out=out)


def poisson_nll_loss(input, target, log_input=True, full=False, *, eps=1e-8, reduction="mean", out=None):
    """e^x - t x, or x - t log(x + eps) without log_input; full adds Stirling's log t! for t > 1."""
    input, target = _broadcast("poisson_nll_loss", input, target)
    return _call(POISSON_LOG if log_input else POISSON, "poisson_nll_loss", input, target, None, None, reduction, p=float(bool(full)), q=eps,
                 out=out)


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean", *, out=None):
    """(log v + (input - target)^2 / v) / 2 with v = max(var, eps); full adds log(2 pi) / 2. var: a number, input's shape, that shape
    without its last axis or with one axis of size one. Raises ValueError for a negative variance."""
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


def soft_margin_loss(input, target, *, reduction="mean", out=None):
    """log(1 + e^(-target input)) for targets of 1 and -1."""
    input, target = _broadcast("soft_margin_loss", input, target)
    return _call(SOFT_MARGIN, "soft_margin_loss", input, target, None, None, reduction, out=out)


def hinge_embedding_loss(input, target, margin=1.0, *, reduction="mean", out=None):
    """input where target is 1, max(0, margin - input) where it is -1."""
    input, target = _broadcast("hinge_embedding_loss", input, target)
    return _call(HINGE_EMBEDDING, "hinge_embedding_loss", input, target, None, None, reduction, p=margin, out=out)


def margin_ranking_loss(input1, input2, target, margin=0, *, reduction="mean", out=None):
    """max(0, margin - target (input1 - input2)) for targets of 1 and -1."""
    input1, input2, target = _broadcast("margin_ranking_loss", input1, input2, target)
    return _call(MARGIN_RANKING, "margin_ranking_loss", input1, target, input2, None, reduction, p=margin, out=out)


# ---- arguments

def _call(op, name, x, t, v, weight, reduction, p=0.0, q=0.0, by_weight=False, out=None):
    each, count = _reduction(name, reduction, tuple(x.shape), by_weight and weight is not None)
    return op(x, t, v, weight, p=p, q=q, each=each, count=count, out=out)[0]


@lru_cache(4096)
def _reduction(name, reduction, shape, by_weight):
    """Whether every element keeps its loss, and what the sum is divided by (-1: the weights' sum)."""
    if reduction == "none":
        return True, 1
    if reduction == "sum":
        return False, 1
    if reduction == "mean":
        return False, -1 if by_weight else math.prod(shape)
    if reduction == "batchmean" and name == "kl_div" and shape:
        return False, shape[0]
    raise ValueError(f"{name}: reduction must be 'none', 'mean' or 'sum'{', or batchmean' if name == 'kl_div' else ''}, got {reduction!r}")


def _regression(op, x, t, weight, reduction, p=0.0, by_weight=True, out=None):
    if weight is not None and tuple(weight.shape) != tuple(x.shape):
        raise ValueError(f"{op.name}: weight {tuple(weight.shape)} must have the shape of input {tuple(x.shape)}")
    shapes = tuple(x.shape), tuple(t.shape)
    x, t = _broadcast(op.name, x, t)
    if shapes[0] != shapes[1]:
        warnings.warn(f"{op.name}: input {shapes[0]} and target {shapes[1]} differ and are broadcast", stacklevel=3)
    return _call(op, op.name, x, t, None, _fit(op.name, "weight", weight, x), reduction, p=p, by_weight=by_weight, out=out)


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
        raise ValueError(f"{name}: {what} {tuple(value.shape)} cannot be broadcast to input {tuple(x.shape)}") from None


def _broadcast(name, *arrays):
    shapes = [tuple(a.shape) for a in arrays]
    if shapes.count(shapes[0]) == len(shapes):
        return arrays
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"{name}: shapes {', '.join(map(str, shapes))} cannot be broadcast together") from None
    return tuple(broadcast_to(a, shape) for a in arrays)


# ---- rows

def _pointwise(name, formula, refuse=None, **more):
    """The row of a formula. refuse(x, t, v) raises for values that the kernel turns into NaN; it is asked only when a NaN comes out."""
    number = NUMBERS[formula]

    def definition(*inputs, **attrs):
        if refuse is not None:
            refuse(*inputs[:3])
        return reference.pointwise_loss(*inputs, formula=formula, **attrs)

    def forward(k, x, t, v, weight, *, p, q, each, count):
        y, divisor = k.empty(x.shape if each else ()), k.empty(())
        k.pointwise_loss(x, t, v, weight, number, p, q, each, count, y, divisor)
        if refuse is not None and ((y != y).any() if each else y != y):
            refuse(x, t, v)
        return y, divisor

    def gradient(ctx: Context):
        x, t, v, weight = ctx.inputs
        rules = len(reference.FORMULAS[formula]) - 1
        attrs = {"formula": formula, "p": ctx.attrs["p"], "q": ctx.attrs["q"]}
        return *(POINTWISE_LOSS_BACKWARD(ctx.g, x, t, v, weight, ctx.outputs[1], of=i, **attrs) if ctx.needs[i] and i < rules else None
                 for i in range(3)), None
    return Op(name, "rroo", forward, definition, gradient, kernels=("pointwise_loss",), bytes=lambda x, *_, **__: 2 * x.nbytes, **more)


def _backward(k, g, x, t, v, weight, divisor, *, formula, p, q, of):
    dx = k.empty(x.shape)
    k.pointwise_loss_backward(g, x, t, v, weight, divisor, NUMBERS[formula], p, q, of, dx)
    return dx


POINTWISE_LOSS_BACKWARD = Op("pointwise_loss_backward", "rrroor", _backward, reference.pointwise_loss_backward,
                             kernels=("pointwise_loss_backward",))


def _refuse_probabilities(x, t, v):
    wrong = x[~((x >= 0) & (x <= 1))]
    if wrong.size:
        raise ValueError(f"binary_cross_entropy: input must be within [0, 1], got {wrong.flat[0]}")


def _refuse_variances(x, t, v):
    if (v < 0).any():
        raise ValueError(f"gaussian_nll_loss: var must not be negative, got {v[v < 0].flat[0]}")


class Signs(Array):
    """Targets of 1 and -1."""

    def make(self, dtype, rng):
        return np.asarray(2 * rng.integers(0, 2, self.shape) - 1, dtype)


def _signs(*shape):
    return Signs(shape, grad=False)


def _cases(name, x, t, **kwargs):
    """The shapes that every loss is tried on; x and t make an input and a target of a shape."""
    return [*(case(f"n{n}_{r}", name, x(n), t(n), reduction=r, **kwargs)
              for n, r in zip((1, 7, 8, 16, 17, 33, 1000), ("none", "mean", "sum") * 3)),
            case("each_by_batch", name, x(3, 5, 7), t(3, 5, 7), reduction="none", batch=True, batched=(0, 1), **kwargs),
            case("scalar", name, x(), t(), reduction="mean", **kwargs),
            case("several_chunks", name, x(5, 4099), t(5, 4099), reduction="mean", **kwargs),
            case("empty_each", name, x(0, 3), t(0, 3), reduction="none", **kwargs),
            case("empty_sum", name, x(0, 3), t(0, 3), reduction="sum", **kwargs)]


def _refusals(name, **kwargs):
    return [bad("other_shape", name, A(3, 4, **kwargs), A(3, 5, **kwargs), match=rf"{name}: .*\(3, 5\)|{name}: .*\(3, 4\)"),
            bad("unknown_reduction", name, A(3, **kwargs), A(3, **kwargs), reduction="max", match=f"{name}: reduction .*'max'")]


def _unit(*shape):
    return A(*shape, values="unit")


def _fixed(*shape):
    """Targets that torch has no gradient for."""
    return A(*shape, values="unit", grad=False)


def _positive(*shape):
    return A(*shape, values="positive")


def _torch_focal(torch, x, t, alpha=0.25, gamma=2.0, reduction="none"):
    """torchvision.ops.sigmoid_focal_loss's formula."""
    p = torch.sigmoid(x)
    ce = torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")
    loss = ce * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
    if alpha >= 0:
        loss = (alpha * t + (1 - alpha) * (1 - t)) * loss
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](loss)


L1 = _pointwise("l1_loss", "l1", refuses=_refusals("l1_loss") + [
    bad("weight_of_other_shape", "l1_loss", A(3), A(3), weight=A(1), match="weight")], cases=[
        *_cases("l1_loss", A, A), case("weighted_mean", "l1_loss", A(9), A(9), weight=A(9, values="positive", grad=False))])
MSE = _pointwise("mse_loss", "mse", refuses=_refusals("mse_loss"), cases=[
    *_cases("mse_loss", A, A),
    case("weighted_mean", "mse_loss", A(3, 7), A(3, 7), weight=A(3, 7, values="positive", grad=False)),
    case("weighted_sum", "mse_loss", A(3, 7), A(3, 7), weight=A(3, 7, values="positive", grad=False), reduction="sum"),
    case("mean_of_nothing", "mse_loss", A(0, 3), A(0, 3), gradient=False)])
SMOOTH_L1 = _pointwise("smooth_l1_loss", "smooth_l1", cases=[
    *_cases("smooth_l1_loss", A, A), case("narrow", "smooth_l1_loss", A(33), A(33), beta=0.3), case("none_of_it", "smooth_l1_loss", A(9), A(9), beta=0.0)],
    refuses=[*_refusals("smooth_l1_loss"), bad("beta_negative", "smooth_l1_loss", A(3), A(3), beta=-1.0, match="beta")])
HUBER = _pointwise("huber_loss", "huber", cases=[
    *_cases("huber_loss", A, A), case("narrow", "huber_loss", A(33), A(33), delta=0.3),
    case("weighted_mean", "huber_loss", A(9), A(9), weight=A(9, values="positive", grad=False))],
    refuses=[*_refusals("huber_loss"), bad("delta_zero", "huber_loss", A(3), A(3), delta=0.0, match="delta")])
BCE = _pointwise("binary_cross_entropy", "bce", _refuse_probabilities, cases=[
    *_cases("binary_cross_entropy", _unit, _fixed),
    case("class_weights", "binary_cross_entropy", _unit(4, 5), _fixed(4, 5), A(5, values="positive", grad=False))],
    refuses=[*_refusals("binary_cross_entropy", values="unit"),
             bad("above_one", "binary_cross_entropy", A(3, values="unit", offset=1.0), _unit(3), match=r"within \[0, 1\], got 1\."),
             bad("below_zero", "binary_cross_entropy", A(3, values="unit", offset=-1.0), _unit(3), reduction="none", match="got -0"),
             bad("weight_too_long", "binary_cross_entropy", _unit(3), _unit(3), A(4), match=r"weight \(4,\)")])
BCE_WITH_LOGITS = _pointwise("binary_cross_entropy_with_logits", "bce_with_logits", cases=[
    *_cases("binary_cross_entropy_with_logits", A, _unit),
    case("far_logits", "binary_cross_entropy_with_logits", A(9, offset=200.0), _unit(9)),
    case("far_negative_logits", "binary_cross_entropy_with_logits", A(9, offset=-200.0), _unit(9)),
    case("class_and_positive_weights", "binary_cross_entropy_with_logits", A(4, 5), _unit(4, 5), A(5, values="positive", grad=False),
         pos_weight=A(5, values="positive", grad=False))],
    refuses=[*_refusals("binary_cross_entropy_with_logits"),
             bad("pos_weight_too_long", "binary_cross_entropy_with_logits", A(3), _unit(3), pos_weight=A(4), match="pos_weight")])
KL_DIV = _pointwise("kl_div", "kl_div", refuses=_refusals("kl_div"), cases=[
    *_cases("kl_div", A, _unit), case("per_batch", "kl_div", A(3, 5), _unit(3, 5), reduction="batchmean"),
    case("broadcast_target", "kl_div", A(3, 5), _unit(5), reduction="sum")])
KL_DIV_LOG = _pointwise("kl_div_log_target", "kl_div_log", cases=_cases("kl_div", A, A, log_target=True))
FOCAL = _pointwise("sigmoid_focal_loss", "focal", cases=[
    *_cases("sigmoid_focal_loss", A, _unit, torch=_torch_focal),
    *(case(f"gamma{g}", "sigmoid_focal_loss", A(19), _unit(19), gamma=g, reduction="mean", torch=_torch_focal) for g in (0.0, 0.5, 1.0, 3.7)),
    case("no_alpha", "sigmoid_focal_loss", A(19), _unit(19), alpha=-1.0, torch=_torch_focal)],
    refuses=[*_refusals("sigmoid_focal_loss"), bad("gamma_negative", "sigmoid_focal_loss", A(3), _unit(3), gamma=-1.0, match="gamma"),
             bad("alpha_above_one", "sigmoid_focal_loss", A(3), _unit(3), alpha=1.5, match="alpha")])
POISSON_LOG = _pointwise("poisson_nll_loss", "poisson_log", refuses=_refusals("poisson_nll_loss"), cases=[
    *_cases("poisson_nll_loss", A, _positive), case("full", "poisson_nll_loss", A(33), _positive(33), full=True)])
POISSON = _pointwise("poisson_nll_loss_of_rate", "poisson", cases=[
    *_cases("poisson_nll_loss", _positive, _positive, log_input=False),
    case("full", "poisson_nll_loss", _positive(33), _positive(33), log_input=False, full=True)])
GAUSSIAN = _pointwise("gaussian_nll_loss", "gaussian", _refuse_variances, cases=[
    case("each", "gaussian_nll_loss", A(3, 17), A(3, 17), _positive(3, 17), reduction="none", batch=True, batched=(0, 1, 2)),
    case("full_mean", "gaussian_nll_loss", A(3, 17), A(3, 17), _positive(3, 17), full=True),
    case("variance_a_row", "gaussian_nll_loss", A(3, 5), A(3, 5), _positive(3)),
    case("variance_a_row_with_axis", "gaussian_nll_loss", A(3, 5), A(3, 5), _positive(3, 1), reduction="sum"),
    case("one_variance", "gaussian_nll_loss", A(3, 5), A(3, 5), 0.7)],
    refuses=[bad("variance_negative", "gaussian_nll_loss", A(3), A(3), A(3, values="unit", offset=-1.0), match="var must not be negative, got -"),
             bad("variance_of_other_shape", "gaussian_nll_loss", A(3, 4), A(3, 4), _positive(5), match="var"),
             bad("eps_zero", "gaussian_nll_loss", A(3), A(3), _positive(3), eps=0.0, match="eps")])
SOFT_MARGIN = _pointwise("soft_margin_loss", "soft_margin", refuses=_refusals("soft_margin_loss"), cases=_cases("soft_margin_loss", A, _signs))
HINGE_EMBEDDING = _pointwise("hinge_embedding_loss", "hinge_embedding", refuses=_refusals("hinge_embedding_loss"), cases=[
    *_cases("hinge_embedding_loss", A, _signs), case("margin", "hinge_embedding_loss", A(17), _signs(17), margin=0.3)])
MARGIN_RANKING = _pointwise("margin_ranking_loss", "margin_ranking", cases=[
    case("each", "margin_ranking_loss", A(3, 17), A(3, 17), _signs(3, 17), reduction="none", batch=True, batched=(0, 1, 2)),
    case("margin", "margin_ranking_loss", A(33), A(33), _signs(33), margin=0.5),
    case("sum", "margin_ranking_loss", A(7), A(7), _signs(7), reduction="sum")],
    refuses=[bad("other_shape", "margin_ranking_loss", A(3, 4), A(3, 4), A(3, 5), match="margin_ranking_loss: shapes")])
