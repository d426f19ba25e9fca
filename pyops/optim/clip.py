"""Limits on gradients before a step."""
from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..core.tensor import Tensor


def _with_gradient(parameters: Any) -> Any:
    return [p for p in ([parameters] if isinstance(parameters, Tensor) else parameters) if p.grad is not None]


def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> float:
    """Scales all gradients by one factor so that their joint norm is at most max_norm.
    Returns the norm they had.

    Pascanu et al. (2013). ValueError where the norm is not finite and error_if_nonfinite.
    """
    held = _with_gradient(parameters)
    norms = [float(np.linalg.norm(np.ravel(p.grad), norm_type)) for p in held]
    total = float(np.linalg.norm(norms, norm_type)) if norms else 0.0
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"clip_grad_norm_: the norm of the gradients is {total}")
    factor = max_norm / (total + 1e-6)
    if not factor >= 1:   # NaN passes on, as in torch
        for p in held:
            # not in place: two leaves may share one gradient array
            p.grad = p.grad * p.data.dtype.type(factor)
    return total


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Clips every element of every gradient to [-clip_value, clip_value]."""
    for p in _with_gradient(parameters):
        p.grad = np.clip(p.grad, -clip_value, clip_value)
