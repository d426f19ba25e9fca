"""Losses of detectors that predict how good a box is and how its sides are distributed, as compositions of other
rows. Source: Li et al., "Generalized Focal Loss" (2020).

reduction is 'none', 'mean' or 'sum', as in sigmoid_focal_loss.
"""
from __future__ import annotations

import math

import numpy as np

from ..core.types import Arrays, Reduction
from .activation import relu
from .elementwise import abs as absolute, mul, neg, pow, sigmoid, sub
from .pointwise_loss import binary_cross_entropy_with_logits
from .reduction import mean, sum as sum_of
from .shape import unsqueeze
from .softmax import log_softmax
from .typed import dtype_of

__all__ = ["distribution_focal_loss", "quality_focal_loss"]


def quality_focal_loss(inputs: Arrays, targets: Arrays, beta: float = 2.0,
                       reduction: Reduction = "none") -> Arrays:
    """binary_cross_entropy_with_logits times |sigmoid(inputs) - targets|^beta, where targets are
    qualities in [0, 1], of inputs' shape: the overlap of a box with its object, 0 without one.

    float32 or float64. ValueError where shapes differ or beta is negative.
    """
    _reduces("quality_focal_loss", reduction)
    if tuple(inputs.shape) != tuple(targets.shape):
        raise ValueError(f"quality_focal_loss: inputs and targets must be of one shape, got {tuple(inputs.shape)} and "
                         f"{tuple(targets.shape)}")
    if not 0 <= beta < math.inf:
        raise ValueError(f"quality_focal_loss: beta must be finite and not negative, got {beta}")
    loss = binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    if beta:
        far = absolute(sub(sigmoid(inputs), targets))
        loss = mul(loss, mul(far, far) if beta == 2 else far if beta == 1 else pow(far, beta))
    return _reduced(loss, reduction)


def distribution_focal_loss(inputs: Arrays, targets: Arrays, reduction: Reduction = "none") -> Arrays:
    """Cross entropy of a distribution over 0, 1, ..., n - 1, by its logits (..., n), with targets
    (...), numbers in [0, n - 1], each shared by the two whole numbers beside it: their weights fall
    linearly. A target outside has what is left of a neighbour that is inside, one further away 0.

    float32 or float64; the gradient goes to inputs and targets. ValueError where shapes do not fit.
    """
    _reduces("distribution_focal_loss", reduction)
    if len(inputs.shape) < 1 or inputs.shape[-1] < 1 or tuple(inputs.shape[:-1]) != tuple(targets.shape):
        raise ValueError("distribution_focal_loss: takes inputs (..., n) and targets (...), got "
                         f"{tuple(inputs.shape)} and {tuple(targets.shape)}")
    bins = np.arange(inputs.shape[-1], dtype=np.dtype(dtype_of(inputs)))
    weights = relu(sub(1.0, absolute(sub(unsqueeze(targets, -1), bins))))
    return _reduced(neg(sum_of(mul(weights, log_softmax(inputs, -1)), -1)), reduction)


def _reduces(name: str, reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{name}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def _reduced(loss: Arrays, reduction: str) -> Arrays:
    return loss if reduction == "none" else mean(loss) if reduction == "mean" else sum_of(loss)
