"""L1 and L2 penalties on weights.

Weights are parameters of two axes and more; biases and the scales of normalisation are
left alone, as is usual.
"""
from __future__ import annotations

import numpy as np


def weights(model) -> list:
    return [p for p in model.parameters() if p.data.ndim > 1 and p.requires_grad]


def penalty(model, l1: float = 0.0, l2: float = 0.0) -> float:
    """l1 * sum |w| + l2 / 2 * sum w^2, in float64."""
    total = 0.0
    for p in weights(model):
        w = p.data.astype(np.float64)
        total += l1 * float(np.abs(w).sum()) + l2 / 2 * float(np.square(w).sum())
    return total


def add_gradients(model, l1: float = 0.0, l2: float = 0.0) -> None:
    """Adds the penalty's gradient, l1 * sign(w) + l2 * w, to the weights that have one."""
    for p in weights(model):
        if p.grad is None:
            continue
        if l1:
            p.grad = p.grad + p.data.dtype.type(l1) * np.sign(p.data)
        if l2:
            p.grad = p.grad + p.data.dtype.type(l2) * p.data
