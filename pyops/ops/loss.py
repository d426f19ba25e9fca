"""Losses over classes: cross_entropy and nll_loss. A loss returns its reduced value; what its gradient needs is kept beside it.

reduction is 'none', 'mean' or 'sum' and, as everything behind `weight`, given by keyword: torch's deprecated positional flags are not taken.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..kernels.loss import reference
from ..core.registry import A, I, Op, bad, case
from ..core.tensor import Context

__all__ = ["cross_entropy", "nll_loss"]

REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}


def cross_entropy(input, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0, out=None):
    """-log softmax(input) at the target class, fused.

    input: logits (N, C), (C,) or (N, C, d1, ...), float32 or float64. target: class indices (N,), () or (N, d1, ...), any integer type,
    or class probabilities, shaped like input. weight: (C,), scales each class. Positions whose index is ignore_index count nothing.
    label_smoothing in [0, 1] mixes the target with the uniform distribution. 'mean' divides by the sum of the targets' weights, for
    probabilities by the number of positions. Raises ValueError where shapes disagree or an index is no class.
    Source: torch.nn.functional.cross_entropy; Szegedy et al. (2016) for smoothing.
    """
    by_index = np.dtype(target.dtype).kind in "iu" if not hasattr(target, "is_floating_point") else not target.is_floating_point()
    index, probabilities = (target, None) if by_index else (None, target)
    return CROSS_ENTROPY(input, index, probabilities, weight, ignore=ignore_index, smoothing=label_smoothing, reduction=reduction, out=out)[0]


def nll_loss(input, target, weight=None, *, ignore_index=-100, reduction="mean", out=None):
    """-input at the target class, for log-probabilities; arguments and errors as in cross_entropy, target by index."""
    return NLL_LOSS(input, target, weight, ignore=ignore_index, reduction=reduction, out=out)[0]


# ---- checks

@lru_cache(4096)
def plan(name, x, index, probabilities, weight, smoothing, reduction):
    """Validates shapes; returns the shape of the positions."""
    if not x or (len(x) == 1 and index and index != ()):
        raise ValueError(f"{name}: input {x} must be (C,), (N, C) or (N, C, d1, ...), target {index or probabilities} without C")
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
        raise ValueError(f"{name}: target {wrong.flat[0]} is neither a class of 0 .. {classes - 1} nor ignore_index {ignore}")


def _any_nan(y):
    return y is not None and ((y != y).any() if y.ndim else y != y)


def _classes(x):
    return x.shape[reference.class_axis(x)]


# ---- rows. A wrong index makes its loss NaN, so indices are examined only when a NaN comes out.

def check(x, index, probabilities, weight, *, ignore, smoothing, reduction):
    plan("cross_entropy", x.shape, _shape(index), _shape(probabilities), _shape(weight), smoothing, reduction)
    if index is not None:
        refuse_labels("cross_entropy", index, _classes(x), ignore)


def forward(k, x, index, probabilities, weight, *, ignore, smoothing, reduction):
    positions = plan("cross_entropy", x.shape, _shape(index), _shape(probabilities), _shape(weight), smoothing, reduction)
    y, divisor = k.empty(positions if reduction == "none" else ()), k.empty(())
    peak, logsum, mass = k.empty(positions), k.empty(positions), k.empty(positions)
    k.cross_entropy(x, index, probabilities, weight, ignore, smoothing, REDUCTIONS[reduction], y, divisor, peak, logsum, mass)
    if index is not None and _any_nan(k.host(y)):
        refuse_labels("cross_entropy", index, _classes(x), ignore)
    return y, divisor, peak, logsum, mass


def gradient(ctx: Context):
    x, index, probabilities, weight = ctx.inputs
    _, divisor, peak, logsum, mass = ctx.outputs
    smoothing = ctx.attrs["smoothing"]
    dx = dt = None
    if ctx.needs[0]:
        dx = CROSS_ENTROPY_BACKWARD(ctx.g, x, index, probabilities, weight, divisor, peak, logsum, mass, ignore=ctx.attrs["ignore"],
                                    smoothing=smoothing)
    if ctx.needs[2]:
        dt = CROSS_ENTROPY_TARGET_BACKWARD(ctx.g, x, weight, divisor, peak, logsum, smoothing=smoothing)
    return dx, None, dt, None


def backward(k, g, x, index, probabilities, weight, divisor, peak, logsum, mass, *, ignore, smoothing):
    dx = k.empty(x.shape)
    k.cross_entropy_backward(g, x, index, probabilities, weight, divisor, peak, logsum, mass, ignore, smoothing, dx)
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
    if _any_nan(k.host(y)):
        refuse_labels("nll_loss", index, _classes(x), ignore)
    return y, divisor


def nll_gradient(ctx: Context):
    x, index, weight = ctx.inputs
    return NLL_LOSS_BACKWARD(ctx.g, index, weight, ctx.outputs[1], ignore=ctx.attrs["ignore"], shape=tuple(x.shape)), None, None


def nll_backward(k, g, index, weight, divisor, *, ignore, shape):
    dx = k.empty(shape)
    k.nll_loss_backward(g, index, weight, divisor, ignore, dx)
    return dx


CROSS_ENTROPY_BACKWARD = Op("cross_entropy_backward", "rrjoorrrr", backward, reference.cross_entropy_backward,
                            kernels=("cross_entropy_backward",))
CROSS_ENTROPY_TARGET_BACKWARD = Op("cross_entropy_target_backward", "rrorrr", target_backward, reference.cross_entropy_target_backward,
                                   kernels=("cross_entropy_target_backward",))


def _index_cases(name, **kwargs):
    w = {"grad": False}
    return [
        *(case(f"classes{c}_{r}", name, A(5, c), I(5, high=c), reduction=r, **kwargs)
          for c, r in zip((1, 7, 8, 10, 16, 17, 33, 1000), ("none", "mean", "sum") * 3)),
        case("each_position", name, A(6, 11), I(6, high=11), batch=True, batched=(0, 1), reduction="none", **kwargs),
        case("one_sample", name, A(10), I(high=10), **kwargs),
        case("one_sample_each", name, A(10), I(high=10), A(10, values="positive", **w), reduction="none", **kwargs),
        case("batch_of_one", name, A(1, 10), I(1, high=10), reduction="none", **kwargs),
        case("weights_with_ignored", name, A(40, 5), I(40, high=5), A(5, values="positive", **w), ignore_index=2, **kwargs),
        case("pixels", name, A(2, 5, 3, 19), I(2, 3, 19, high=5), A(5, values="positive", **w), **kwargs),
        case("pixels_each", name, A(2, 5, 3, 7), I(2, 3, 7, high=5), ignore_index=0, batch=True, batched=(0, 1), reduction="none", **kwargs),
        case("sequence", name, A(3, 4, 6), I(3, 6, high=4), reduction="sum", **kwargs),
        case("one_position_an_image", name, A(4, 6, 1, 1), I(4, 1, 1, high=6), **kwargs),
        case("many_rows", name, A(1500, 10), I(1500, high=10), **kwargs),
        case("many_pixels", name, A(2, 21, 40, 33), I(2, 40, 33, high=21), **kwargs),
        case("no_rows_each", name, A(0, 5), I(0, high=5), reduction="none", **kwargs),
        case("no_rows_sum", name, A(0, 5), I(0, high=5), reduction="sum", **kwargs),
        case("no_pixels_each", name, A(2, 5, 0), I(2, 0, high=5), reduction="none", **kwargs),
        case("mean_of_no_rows", name, A(0, 5), I(0, high=5), gradient=False, **kwargs),
        case("all_ignored", name, A(3, 1), I(3, high=1), ignore_index=0, gradient=False, **kwargs),
    ]


def _refusals(name):
    return [
        bad("label_too_large", name, A(3, 4), I(3, high=5, low=4), match=f"{name}: target 4 "),
        bad("label_negative", name, A(3, 4), I(3, high=-1, low=-2), match="target -2 "),
        bad("label_too_large_pixels", name, A(2, 4, 3), I(2, 3, high=10**12 + 1, low=10**12), reduction="none", match="target 1000000000000 "),
        bad("fewer_labels", name, A(3, 4), I(2, high=4), match=r"target \(2,\) must be \(3,\)"),
        bad("labels_with_class_axis", name, A(3, 4), I(3, 1, high=4), match=r"target \(3, 1\)"),
        bad("scalar_input", name, A(), I(high=1), match=r"input \(\)"),
        bad("no_classes", name, A(3, 0), I(3, high=1), match="no classes"),
        bad("weight_of_other_width", name, A(3, 4), I(3, high=4), A(5), match=r"weight \(5,\)"),
        bad("unknown_reduction", name, A(3, 4), I(3, high=4), reduction="max", match="'max'"),
    ]


CROSS_ENTROPY = Op(
    "cross_entropy", "rjoo", forward, reference.cross_entropy, gradient, check,
    kernels=("cross_entropy",),
    cases=[*_index_cases("cross_entropy"),
           case("smoothed", "cross_entropy", A(7, 9), I(7, high=9), label_smoothing=0.1),
           case("smoothed_weighted_ignored", "cross_entropy", A(40, 5), I(40, high=5), A(5, values="positive", grad=False), ignore_index=1,
                label_smoothing=0.2),
           case("smoothed_pixels", "cross_entropy", A(2, 5, 3, 7), I(2, 3, 7, high=5), A(5, values="positive", grad=False), ignore_index=1,
                label_smoothing=0.2),
           case("smoothed_wholly", "cross_entropy", A(7, 9), I(7, high=9), label_smoothing=1.0),
           case("probabilities", "cross_entropy", A(7, 9), A(7, 9, values="unit")),
           case("probabilities_each", "cross_entropy", A(7, 19), A(7, 19, values="unit"), reduction="none", batch=True, batched=(0, 1)),
           case("probabilities_one_sample", "cross_entropy", A(9), A(9, values="unit"), label_smoothing=0.1),
           case("probabilities_smoothed_weighted", "cross_entropy", A(7, 9), A(7, 9, values="unit"), A(9, values="positive", grad=False),
                label_smoothing=0.3, reduction="sum"),
           case("probabilities_of_pixels", "cross_entropy", A(2, 5, 3, 7), A(2, 5, 3, 7, values="unit"),
                A(5, values="positive", grad=False), label_smoothing=0.3),
           # float32 keeps 1e4 to 1e-3: logits are as rounded, the loss of their differences is exact
           case("logits_far_from_zero", "cross_entropy", A(7, 9, offset=1e4), I(7, high=9)),
           ],
    refuses=[*_refusals("cross_entropy"),
             bad("probabilities_of_other_shape", "cross_entropy", A(3, 4), A(3, 5), match=r"\(3, 5\)"),
             bad("smoothing_beyond_one", "cross_entropy", A(3, 4), I(3, high=4), label_smoothing=1.5, match="label_smoothing.*1.5")],
    flops=lambda x, *_, **__: 12 * x.size,
    bytes=lambda x, *_, **__: x.nbytes,
)

NLL_LOSS_BACKWARD = Op("nll_loss_backward", "rior", nll_backward, reference.nll_loss_backward, kernels=("nll_loss_backward",))
NLL_LOSS = Op(
    "nll_loss", "rio", nll_forward, reference.nll_loss, nll_gradient, nll_check,
    kernels=("nll_loss",), cases=_index_cases("nll_loss"), refuses=_refusals("nll_loss"),
)
