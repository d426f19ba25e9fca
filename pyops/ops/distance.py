"""Vectors along an axis: their length made 1, angles and distances between them."""
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ..core import dispatch
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Array, Arrays, Dims
from .elementwise import add, clamp, div, mul, sub
from .reduction import sum as sum_of, vector_norm
from .shape import broadcast_to, getitem, reshape, transpose
from .typed import NO_CUDA

reference = LateFunctions("pyops.kernels.distance.reference")

__all__ = ["cdist", "cosine_similarity", "normalize", "pairwise_distance", "pdist"]


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


MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


def cdist(x1: Arrays, x2: Arrays, p: float = 2.0, compute_mode: str = MODES[0], *, out: Arrays | None = None) -> Arrays:
    """The p-norm distances of all pairs of rows: y[..., i, j] = |x1[..., i] - x2[..., j]|.

    x1: (..., P, M), x2: (..., R, M), leading axes broadcast, float32 or float64. p: not negative; inf
    is the greatest difference, 0 counts those that are not 0. compute_mode: torch's; here distances
    are always of differences, which do not cancel. Returns (..., P, R). The gradient is 0 where a
    distance is. Raises ValueError where shapes do not fit.
    """
    if compute_mode not in MODES:
        raise ValueError(f"cdist: compute_mode must be one of {', '.join(MODES)}, got {compute_mode!r}")
    if not p >= 0:
        raise ValueError(f"cdist: p must not be negative, got {p}")
    lead = leading(tuple(x1.shape), tuple(x2.shape))
    a, b = (x if tuple(x.shape[:-2]) == lead else broadcast_to(x, (*lead, *x.shape[-2:])) for x in (x1, x2))
    if len(lead) == 1:
        return CDIST(a, b, p=float(p), out=out)
    a, b = (reshape(x, (math.prod(lead), *x.shape[-2:])) for x in (a, b))
    return reshape(CDIST(a, b, p=float(p)), (*lead, a.shape[1], b.shape[1]))


@lru_cache(4096)
def leading(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The broadcast axes before the last two."""
    if len(a) >= 2 and len(b) >= 2 and a[-1] == b[-1]:
        try:
            return tuple(np.broadcast_shapes(a[:-2], b[:-2]))
        except ValueError:
            pass
    raise ValueError(f"cdist: takes x1 (..., P, M) and x2 (..., R, M), leading axes that broadcast, got {a} and {b}")


def pdist(input: Arrays, p: float = 2.0) -> Arrays:
    """The p-norm distances of all pairs of rows, (0, 1), (0, 2), ..., (1, 2), ...: (N, M) to (N (N - 1) / 2,)."""
    if len(input.shape) != 2:
        raise ValueError(f"pdist: input must be (N, M), got shape {tuple(input.shape)}")
    if not p >= 0:
        raise ValueError(f"pdist: p must not be negative, got {p}")
    if dispatch.on_device((input,)):   # the row is for CPUs
        first, second = np.triu_indices(input.shape[0], 1)
        return vector_norm(sub(getitem(input, first), getitem(input, second)), p, -1)
    return PDIST(input, p=float(p))


# ---- the rows

def check(a: Array, b: Array, *, p: float) -> None:
    if len(a.shape) != 3 or len(b.shape) != 3 or a.shape[::2] != b.shape[::2]:
        raise ValueError(f"cdist: takes (N, P, M) and (N, R, M), got {a.shape} and {b.shape}")


def forward(k: Any, a: Array, b: Array, *, p: float) -> Array:
    check(a, b, p=p)
    y: Array = k.empty((a.shape[0], a.shape[1], b.shape[1]))
    k.cdist(a, b, p, y)
    return y


def backward(k: Any, g: Array, a: Array, b: Array, y: Array, *, p: float) -> Array:
    da: Array = k.empty(a.shape)
    k.cdist_backward(g, a, b, y, p, da)
    return da


def gradient(ctx: Context) -> tuple[Any, Any]:
    """Of the second, too, by exchanging them."""
    (a, b), (y,), p = ctx.inputs, ctx.outputs, ctx.attrs["p"]
    return (CDIST_BACKWARD(ctx.g, a, b, y, p=p) if ctx.needs[0] else None,
            CDIST_BACKWARD(transpose(ctx.g, 1, 2), b, a, transpose(y, 1, 2), p=p) if ctx.needs[1] else None)


CDIST_BACKWARD = Op("cdist_backward", "rrrr", backward, reference.cdist_backward, kernels=("cdist_backward",),
                    todo=NO_CUDA)
CDIST = Op("cdist", "rr", forward, reference.cdist, gradient, check, kernels=("cdist",), per_sample=True,
           tolerance=256, todo=NO_CUDA,   # of small p: roots of sums
           bytes=lambda a, b, **_: a.nbytes + b.nbytes + a.shape[1] * b.nbytes // max(b.shape[2], 1))


def pairs_forward(k: Any, x: Array, *, p: float) -> Array:
    n = x.shape[0]
    y: Array = k.empty((n * (n - 1) // 2,))
    k.pdist(x, p, y)
    return y


def pairs_backward(k: Any, g: Array, x: Array, y: Array, *, p: float) -> Array:
    dx: Array = k.empty(x.shape)
    k.pdist_backward(g, x, y, p, dx)
    return dx


def pairs_gradient(ctx: Context) -> tuple[Any]:
    return (PDIST_BACKWARD(ctx.g, ctx.inputs[0], ctx.outputs[0], p=ctx.attrs["p"]),)


PDIST_BACKWARD = Op("pdist_backward", "rrr", pairs_backward, reference.pdist_backward, kernels=("pdist_backward",),
                    todo=NO_CUDA)
PDIST = Op("pdist", "r", pairs_forward, reference.pdist, pairs_gradient, kernels=("pdist",), tolerance=256,
           todo=NO_CUDA)
