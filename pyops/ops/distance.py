"""Vectors along an axis: their length made 1, angles and distances between them."""
from __future__ import annotations

import numpy as np

from ..core.types import Arrays, Dims
from .elementwise import add, clamp, div, mul, sub
from .reduction import sum as sum_of, vector_norm
from .shape import broadcast_to, getitem

__all__ = ["cosine_similarity", "normalize", "pairwise_distance", "pdist"]


def normalize(input: Arrays, p: float = 2.0, dim: Dims = 1, eps: float = 1e-12) -> Arrays:
    """input / max(its p-norm over `dim`, eps). float32 or float64, of any shape that has `dim`."""
    return div(input, clamp(vector_norm(input, p, dim, True), eps))


def cosine_similarity(x1: Arrays, x2: Arrays, dim: int = 1, eps: float = 1e-8) -> Arrays:
    """The cosine of the angle between vectors along `dim` of the broadcast shape, which the result
    lacks; a vector shorter than eps counts as of length eps."""
    try:
        shape = np.broadcast_shapes(tuple(x1.shape), tuple(x2.shape))
    except ValueError:
        raise ValueError(f"cosine_similarity: shapes {tuple(x1.shape)} and {tuple(x2.shape)} cannot be broadcast "
                         "together") from None
    one, other = (x if tuple(x.shape) == shape else broadcast_to(x, shape) for x in (x1, x2))
    return sum_of(mul(normalize(one, 2.0, dim, eps), normalize(other, 2.0, dim, eps)), dim)


def pairwise_distance(x1: Arrays, x2: Arrays, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Arrays:
    """The p-norm of x1 - x2 + eps along the last axis of the broadcast shape."""
    return vector_norm(add(sub(x1, x2), eps), p, -1, keepdim)


def pdist(input: Arrays, p: float = 2.0) -> Arrays:
    """The p-norm distances of all pairs of rows, (0, 1), (0, 2), ..., (1, 2), ...: (N, M) to (N (N - 1) / 2,)."""
    if len(input.shape) != 2:
        raise ValueError(f"pdist: input must be (N, M), got shape {tuple(input.shape)}")
    first, second = np.triu_indices(input.shape[0], 1)
    return vector_norm(sub(getitem(input, first), getitem(input, second)), p, -1)
