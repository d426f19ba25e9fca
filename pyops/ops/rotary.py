"""Rotary position embedding: features turned by angles that grow with the position."""
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Array, Arrays
from .broadcast import strides_in, sum_to
from .elementwise import add, mul, sub
from .result_shapes import first
from .shape import getitem

reference = LateFunctions("pyops.kernels.rotary.reference")

__all__ = ["rotary_embedding"]

MOST_LEADING = 8   # a kernel's Dims


def rotary_embedding(input: Arrays, cos: Arrays, sin: Arrays, interleaved: bool = False, *,
                     out: Arrays | None = None) -> Arrays:
    """Turns pairs of features (a, b) to (a cos - b sin, b cos + a sin).

    input: (..., T, E), float32 or float64. cos, sin: (..., T, R / 2), broadcast to input's leading
    axes, at most 8; the first R <= E features are turned, the others stay. Pairs are features i and
    i + R / 2 (GPT-NeoX), or, if interleaved, 2 i and 2 i + 1 (GPT-J). Returns an array like input.
    ValueError where shapes do not fit. Source: Su et al. (2021), "RoFormer".
    """
    return ROTARY(input, cos, sin, interleaved=bool(interleaved), back=False, out=out)


class Plan(NamedTuple):
    """Arguments of the kernel for contiguous arrays; features: of input, pairs: those that are turned."""
    lead: tuple[int, ...]
    strides: tuple[int, ...]
    table: tuple[int, ...]
    features: int
    pairs: int


@lru_cache(4096)
def plan(x: tuple[int, ...], cos: tuple[int, ...], sin: tuple[int, ...]) -> Plan:
    if not x or not cos or cos != sin or not 0 < 2 * cos[-1] <= x[-1]:
        raise ValueError(f"rotary_embedding: cos {cos} and sin {sin} must be of one shape, for at most half of the "
                         f"features of input {x}")
    lead = x[:-1]
    if len(lead) > MOST_LEADING or len(cos) > len(x) or any(
            a not in (1, b) for a, b in zip(cos[-2::-1], lead[::-1])):
        raise ValueError(f"rotary_embedding: cos and sin {cos} must broadcast to the leading axes of input {x}, of "
                         f"which there may be {MOST_LEADING}")
    strides, table = strides_in((*lead, x[-1]), len(x))[:-1], strides_in(cos, len(x))[:-1]
    return Plan(lead, tuple(strides), tuple(table), x[-1], cos[-1])


def check(x: Array, cos: Array, sin: Array, *, interleaved: bool, back: bool) -> None:
    plan(x.shape, cos.shape, sin.shape)


def forward(k: Any, x: Array, cos: Array, sin: Array, *, interleaved: bool, back: bool) -> Array:
    p = plan(x.shape, cos.shape, sin.shape)
    y: Array = k.empty(x.shape)
    k.rotary(x, cos, sin, *p, interleaved, back, y)
    return y


def gradient(ctx: Context) -> tuple[Any, ...]:
    _, cos, sin = ctx.inputs
    turns, back = ctx.attrs["interleaved"], ctx.attrs["back"]
    dx = ROTARY(ctx.g, cos, sin, interleaved=turns, back=not back) if ctx.needs[0] else None
    return dx, *(table_gradients(ctx) if any(ctx.needs[1:]) else (None, None))


def table_gradients(ctx: Context) -> tuple[Any, Any]:
    """Of (a cos - b sin, b cos + a sin) with slopes (p, q): a p + b q, and a q - b p."""
    x, cos, _ = ctx.inputs
    half = cos.shape[-1]
    parts = ((slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if ctx.attrs["interleaved"]
             else (slice(0, half), slice(half, 2 * half)))
    (a, b), (p, q) = ([getitem(of, (..., part)) for part in parts] for of in (x, ctx.g))
    if ctx.attrs["back"]:
        a, b, p, q = b, a, q, p   # the same with the two exchanged
    return (sum_to(add(mul(a, p), mul(b, q)), cos.shape) if ctx.needs[1] else None,
            sum_to(sub(mul(a, q), mul(b, p)), cos.shape) if ctx.needs[2] else None)


ROTARY = Op(
    "rotary", "rrr", forward, reference.rotary, gradient, check, kernels=("rotary",), shapes=first,
    flops=lambda x, cos, sin, **_: 6 * math.prod(x.shape[:-1]) * cos.shape[-1],
    bytes=lambda x, *_, **__: 2 * x.nbytes,
    todo={"per_sample": "tables may be each sample's own", "pointwise": "features are turned in pairs"})
