"""Losses of margins between scores, distances or angles, as compositions of other rows.

reduction is 'none', 'mean' or 'sum', by keyword, as in pointwise_loss.py.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.types import Arrays, Reduction
from .activation import relu
from .comparison import eq, ge, logical_and, logical_not
from .distance import pairwise_distance
from .elementwise import add, div, minimum, mul, rsqrt, square, sub, where
from .gather import gather, index_select, scatter, scatter_reduce
from .order import cumprod
from .pointwise_loss import binary_cross_entropy_with_logits
from .reduction import mean, sum as sum_of
from .shape import BROADCAST_TO, reshape, unsqueeze
from .typed import as_type

__all__ = ["cosine_embedding_loss", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
           "triplet_margin_loss", "triplet_margin_with_distance_loss"]


def triplet_margin_loss(anchor: Arrays, positive: Arrays, negative: Arrays, margin: float = 1.0, p: float = 2,
                        eps: float = 1e-6, swap: bool = False, *, reduction: Reduction = "mean") -> Arrays:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), d the p-norm distance of
    pairwise_distance along the last axis.

    anchor, positive, negative: (N, D) or (D,), or shapes that broadcast, float32 or float64. swap:
    the lesser of d(anchor, negative) and d(positive, negative) counts. Raises ValueError for a
    margin that is not positive. Source: Balntas et al. (2016).
    """
    return _triplet("triplet_margin_loss", lambda a, b: pairwise_distance(a, b, p, eps), anchor, positive,
                    negative, margin, swap, reduction)


def triplet_margin_with_distance_loss(anchor: Arrays, positive: Arrays, negative: Arrays, *,
                                      distance_function: Callable[[Any, Any], Any] | None = None,
                                      margin: float = 1.0, swap: bool = False,
                                      reduction: Reduction = "mean") -> Arrays:
    """triplet_margin_loss by any distance, a function of two arrays; None: pairwise_distance."""
    return _triplet("triplet_margin_with_distance_loss", distance_function or pairwise_distance, anchor,
                    positive, negative, margin, swap, reduction)


def _triplet(name: str, distance: Any, anchor: Any, positive: Any, negative: Any, margin: float, swap: bool,
             reduction: str) -> Any:
    if not margin > 0:
        raise ValueError(f"{name}: margin must be positive, got {margin}")
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return _reduced(name, relu(add(sub(near, far), margin)), reduction)


def cosine_embedding_loss(input1: Arrays, input2: Arrays, target: Arrays, margin: float = 0.0, *,
                          reduction: Reduction = "mean") -> Arrays:
    """1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1, else 0.

    input1, input2: (N, D) with target (N,), or (D,) with (). 1e-12 is added to squared lengths, as
    in torch. Raises ValueError where axes do not fit.
    """
    axes = len(target.shape)
    if axes not in (0, 1) or len(input1.shape) != axes + 1 or len(input2.shape) != axes + 1:
        raise ValueError("cosine_embedding_loss: takes inputs (N, D) with target (N,), or (D,) with (), got "
                         f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}")
    lengths = mul(*(add(sum_of(square(x), -1), 1e-12) for x in (input1, input2)))
    cosine = mul(sum_of(mul(input1, input2), -1), rsqrt(lengths))
    apart = where(eq(target, -1), relu(sub(cosine, margin)), 0.0)
    return _reduced("cosine_embedding_loss", where(eq(target, 1), sub(1.0, cosine), apart), reduction)


def multi_margin_loss(input: Arrays, target: Arrays, p: int = 1, margin: float = 1.0,
                      weight: Arrays | None = None, *, reduction: Reduction = "mean") -> Arrays:
    """sum over classes i but y of w[y] max(0, margin - input[y] + input[i])^p, over the number of
    classes.

    input: (N, C) or (C,), float32 or float64; target: classes y, (N,) or (); p: 1 or 2; weight:
    (C,). Raises ValueError where they do not fit, IndexError for a target that is no class.
    """
    name = "multi_margin_loss"
    if p not in (1, 2):
        raise ValueError(f"{name}: p must be 1 or 2, got {p}")
    axes, classes = len(input.shape), input.shape[-1] if len(input.shape) else 0
    if axes not in (1, 2) or tuple(target.shape) not in ((tuple(input.shape[:-1]),) if axes == 2 else ((), (1,))) \
            or classes == 0 or weight is not None and tuple(weight.shape) != (classes,):
        raise ValueError(f"{name}: takes input (N, C) with target (N,), or (C,) with (), and weight (C,), got "
                         f"{tuple(input.shape)}, {tuple(target.shape)}"
                         f"{'' if weight is None else f', {tuple(weight.shape)}'}")
    place = reshape(target, (*input.shape[:-1], 1))
    over = relu(add(sub(input, gather(input, -1, place)), margin))
    if p == 2:
        over = square(over)
    if weight is not None:
        factor = index_select(weight, 0, reshape(target, (-1,)))
        over = mul(over, reshape(factor, tuple(place.shape)))
    loss = div(sum_of(scatter(over, -1, place, 0.0), -1), float(classes))
    return _reduced(name, loss, reduction)


def multilabel_margin_loss(input: Arrays, target: Arrays, *, reduction: Reduction = "mean") -> Arrays:
    """sum over labels y and classes i that are none of max(0, 1 - (input[y] - input[i])), over the
    number of classes.

    input: (N, C) or (C,), float32 or float64; target: the same shape, int64, the labels of a sample
    in front, then -1. Takes memory for N x labels x C values. Raises ValueError where shapes differ,
    IndexError for a label that is no class.
    """
    name = "multilabel_margin_loss"
    if len(input.shape) not in (1, 2) or tuple(input.shape) != tuple(target.shape) or 0 in input.shape[-1:]:
        raise ValueError(f"{name}: takes input and target (N, C) or (C,), got {tuple(input.shape)} and "
                         f"{tuple(target.shape)}")
    if isinstance(target, np.ndarray):   # no sample has more labels than that
        most = int(np.minimum.accumulate(target >= 0, -1).sum(-1).max(initial=0))
        target = target[..., :most]
    known = as_type(cumprod(as_type(ge(target, 0), "int64"), -1), bool)
    place = mul(target, as_type(known, target.dtype))
    labels = scatter_reduce(BROADCAST_TO(np.zeros((), np.int64), shape=tuple(input.shape)), -1, place,
                            as_type(known, "int64"), "amax")
    apart = relu(sub(add(unsqueeze(input, -2), 1.0), unsqueeze(gather(input, -1, place), -1)))
    counts = logical_and(unsqueeze(known, -1), unsqueeze(logical_not(labels), -2))
    loss = div(sum_of(where(counts, apart, 0.0), (-2, -1)), float(input.shape[-1]))
    return _reduced(name, loss, reduction)


def multilabel_soft_margin_loss(input: Arrays, target: Arrays, weight: Arrays | None = None, *,
                                reduction: Reduction = "mean") -> Arrays:
    """binary_cross_entropy_with_logits, the mean over the last axis. weight is broadcast to input."""
    each = binary_cross_entropy_with_logits(input, target, weight, reduction="none")
    return _reduced("multilabel_soft_margin_loss", mean(each, -1), reduction)


def _reduced(name: str, loss: Any, reduction: str) -> Any:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{name}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    return loss if reduction == "none" else mean(loss) if reduction == "mean" else sum_of(loss)
