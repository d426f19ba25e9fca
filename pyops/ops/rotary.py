"""Rotary position embedding: features turned by angles that grow with the position."""
from __future__ import annotations

from ..core.types import Arrays
from .elementwise import add, mul, sub
from .shape import cat, getitem, reshape, stack

__all__ = ["rotary_embedding"]


def rotary_embedding(input: Arrays, cos: Arrays, sin: Arrays, interleaved: bool = False) -> Arrays:
    """Turns pairs of features (a, b) to (a cos - b sin, b cos + a sin).

    input: (..., T, E), float32 or float64. cos, sin: (..., T, R / 2), broadcast to input's leading
    axes; the first R <= E features are turned, the others stay. Pairs are features i and i + R / 2
    (GPT-NeoX), or, if interleaved, 2 i and 2 i + 1 (GPT-J). Returns an array like input. ValueError
    where shapes do not fit. Source: Su et al. (2021), "RoFormer".
    """
    half, width = cos.shape[-1], input.shape[-1]
    if tuple(cos.shape) != tuple(sin.shape) or 2 * half > width or not half:
        raise ValueError(f"rotary_embedding: cos {tuple(cos.shape)} and sin {tuple(sin.shape)} must be of one "
                         f"shape, for at most half of the features of input {tuple(input.shape)}")
    turned = input if 2 * half == width else getitem(input, (..., slice(0, 2 * half)))
    if interleaved:
        pairs = reshape(turned, (*turned.shape[:-1], half, 2))
        a, b = getitem(pairs, (..., 0)), getitem(pairs, (..., 1))
    else:
        a, b = getitem(turned, (..., slice(0, half))), getitem(turned, (..., slice(half, 2 * half)))
    first, second = sub(mul(a, cos), mul(b, sin)), add(mul(b, cos), mul(a, sin))
    parts = [reshape(stack([first, second], -1), turned.shape)] if interleaved else [first, second]
    if 2 * half < width:
        parts.append(getitem(input, (..., slice(2 * half, width))))
    return parts[0] if len(parts) == 1 else cat(parts, -1)
