"""Losses over classes: cross_entropy and nll_loss. A loss returns its reduced value; what its
gradient needs is kept beside it.

reduction is 'none', 'mean' or 'sum' and, as everything behind `weight`, given by keyword: torch's
deprecated positional flags are not taken.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Arrays, Reduction
from ..kernels.loss import reference

__all__ = ["cross_entropy", "nll_loss"]

REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}


def cross_entropy(input: Arrays, target: Arrays, weight: Arrays | None = None, *, ignore_index: int = -100,
                  reduction: Reduction = "mean", label_smoothing: float = 0.0,
                  out: Arrays | None = None) -> Arrays:
    """-log softmax(input) at the target class, fused.

    input: logits (N, C), (C,) or (N, C, d1, ...), float32 or float64. target: class indices (N,),
    () or (N, d1, ...), any integer type, or class probabilities, shaped like input. weight: (C,),
    scales each class. Positions whose index is ignore_index count nothing. label_smoothing in [0,
    1] mixes the target with the uniform distribution. 'mean' divides by the sum of the targets'
    weights, for probabilities by the number of positions. Raises ValueError where shapes disagree
    or an index is no class.
    Source: torch.nn.functional.cross_entropy; Szegedy et al. (2016) for smoothing.
    """
    by_index = (np.dtype(target.dtype).kind in "iu" if not hasattr(target, "is_floating_point")
                else not target.is_floating_point())
    index, probabilities = (target, None) if by_index else (None, target)
    return CROSS_ENTROPY(input, index, probabilities, weight, ignore=ignore_index, smoothing=label_smoothing,
                         reduction=reduction, out=out)[0]


def nll_loss(input: Arrays, target: Arrays, weight: Arrays | None = None, *, ignore_index: int = -100,
             reduction: Reduction = "mean", out: Arrays | None = None) -> Arrays:
    """-input at the target class, for log-probabilities; arguments and errors as in
    cross_entropy, target by index."""
    return NLL_LOSS(input, target, weight, ignore=ignore_index, reduction=reduction, out=out)[0]


# ---- checks

@lru_cache(4096)
def plan(name, x, index, probabilities, weight, smoothing, reduction):
    """Validates shapes; returns the shape of the positions."""
    if not x or (len(x) == 1 and index and index != ()):
        raise ValueError(f"{name}: input {x} must be (C,), (N, C) or (N, C, d1, ...), target "
                         f"{index or probabilities} without C")
    classes, positions = (x[0], ()) if len(x) == 1 else (x[1], (x[0], *x[2:]))
    if classes == 0:
        raise ValueError(f"{name}: input {x} has no classes")
    if index is not False and index != positions:
        raise ValueError(f"{name}: target {index} must be {positions} for input {x}")
    if probabilities is not False and probabilities != x:
        raise ValueError(f"{name}: target probabilities {probabilities} must be shaped like input {x}")
    if weight is not False and weight != (classes,):
        raise ValueError(f"{name}: weight {weight} must be ({classes},) for input {x}")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing must be within [0, 1], got {smoothing}")
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    return positions


def _shape(a):
    return a is not None and a.shape


def refuse_labels(name, index, classes, ignore):
    wrong = index[((index < 0) | (index >= classes)) & (index != ignore)]
    if wrong.size:
        raise ValueError(f"{name}: target {wrong.flat[0]} is neither a class of 0 .. {classes - 1} nor "
                         f"ignore_index {ignore}")


def _check_labels(k, y, name, index, classes, ignore):
    """Refuses wrong labels where the result has a NaN, or cannot be looked into while the labels
    can, as in a program that is compiled."""
    seen, labels = k.host(y), k.host(index)
    if labels is None:
        return
    if seen is None:
        wrong = True
    elif seen.ndim:
        wrong = (seen != seen).any()
    else:   # a comparison of NumPy's takes as long as the loss
        value = seen.item()
        wrong = value != value
    if wrong:
        refuse_labels(name, labels, classes, ignore)


def _classes(x):
    return x.shape[reference.class_axis(x)]


# ---- rows. A wrong index makes its loss NaN, so indices are examined only when a NaN comes out.

def check(x, index, probabilities, weight, *, ignore, smoothing, reduction):
    plan("cross_entropy", x.shape, _shape(index), _shape(probabilities), _shape(weight), smoothing, reduction)
    if index is not None:
        refuse_labels("cross_entropy", index, _classes(x), ignore)


def forward(k, x, index, probabilities, weight, *, ignore, smoothing, reduction):
    positions = plan("cross_entropy", x.shape, _shape(index), _shape(probabilities), _shape(weight),
                     smoothing, reduction)
    y, divisor = k.empty(positions if reduction == "none" else ()), k.empty(())
    peak, logsum, mass = k.empty(positions), k.empty(positions), k.empty(positions)
    k.cross_entropy(x, index, probabilities, weight, ignore, smoothing, REDUCTIONS[reduction], y, divisor,
                    peak, logsum, mass)
    if index is not None:
        _check_labels(k, y, "cross_entropy", index, _classes(x), ignore)
    return y, divisor, peak, logsum, mass


def gradient(ctx: Context):
    x, index, probabilities, weight = ctx.inputs
    _, divisor, peak, logsum, mass = ctx.outputs
    smoothing = ctx.attrs["smoothing"]
    dx = dt = None
    if ctx.needs[0]:
        dx = CROSS_ENTROPY_BACKWARD(ctx.g, x, index, probabilities, weight, divisor, peak, logsum, mass,
                                    ignore=ctx.attrs["ignore"], smoothing=smoothing)
    if ctx.needs[2]:
        dt = CROSS_ENTROPY_TARGET_BACKWARD(ctx.g, x, weight, divisor, peak, logsum, smoothing=smoothing)
    return dx, None, dt, None


def backward(k, g, x, index, probabilities, weight, divisor, peak, logsum, mass, *, ignore, smoothing):
    dx = k.empty(x.shape)
    k.cross_entropy_backward(g, x, index, probabilities, weight, divisor, peak, logsum, mass, ignore,
                             smoothing, dx)
    return dx


def target_backward(k, g, x, weight, divisor, peak, logsum, *, smoothing):
    dt = k.empty(x.shape)
    k.cross_entropy_target_backward(g, x, weight, divisor, peak, logsum, smoothing, dt)
    return dt


def nll_check(x, index, weight, *, ignore, reduction):
    plan("nll_loss", x.shape, index.shape, False, _shape(weight), 0.0, reduction)
    refuse_labels("nll_loss", index, _classes(x), ignore)


def nll_forward(k, x, index, weight, *, ignore, reduction):
    positions = plan("nll_loss", x.shape, index.shape, False, _shape(weight), 0.0, reduction)
    y, divisor = k.empty(positions if reduction == "none" else ()), k.empty(())
    k.nll_loss(x, index, weight, ignore, REDUCTIONS[reduction], y, divisor)
    _check_labels(k, y, "nll_loss", index, _classes(x), ignore)
    return y, divisor


def nll_gradient(ctx: Context):
    x, index, weight = ctx.inputs
    return NLL_LOSS_BACKWARD(ctx.g, index, weight, ctx.outputs[1], ignore=ctx.attrs["ignore"],
                             shape=tuple(x.shape)), None, None


def nll_backward(k, g, index, weight, divisor, *, ignore, shape):
    dx = k.empty(shape)
    k.nll_loss_backward(g, index, weight, divisor, ignore, dx)
    return dx


CROSS_ENTROPY_BACKWARD = Op("cross_entropy_backward", "rrjoorrrr", backward, reference.cross_entropy_backward,
                            kernels=("cross_entropy_backward",))
CROSS_ENTROPY_TARGET_BACKWARD = Op("cross_entropy_target_backward", "rrorrr", target_backward,
                                   reference.cross_entropy_target_backward,
                                   kernels=("cross_entropy_target_backward",))


JOINED = {"per_sample": "the mean and the sum of a loss join samples"}
CROSS_ENTROPY = Op(
    "cross_entropy", "rjoo", forward, reference.cross_entropy, gradient, check,
    kernels=("cross_entropy",),
    flops=lambda x, *_, **__: 12 * x.size,
    bytes=lambda x, *_, **__: x.nbytes,
    todo=JOINED,
)

NLL_LOSS_BACKWARD = Op("nll_loss_backward", "rior", nll_backward, reference.nll_loss_backward,
                       kernels=("nll_loss_backward",))
NLL_LOSS = Op(
    "nll_loss", "rio", nll_forward, reference.nll_loss, nll_gradient, nll_check,
    kernels=("nll_loss",), todo=JOINED)
