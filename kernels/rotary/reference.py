"""Rotary embedding in NumPy: the definition."""
import numpy as np


def rotary(x, cos, sin, *, interleaved, back):
    """The first 2 R features of x (..., T, E) in pairs (a, b) become (a cos - b sin, b cos + a sin),
    with cos and sin (..., T, R); pairs are features i and i + R, or 2 i and 2 i + 1. back: turned the
    other way, which is the gradient."""
    half = cos.shape[-1]
    sin = np.negative(sin) if back else sin
    y = x.copy()
    first, second = ((slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if interleaved
                     else (slice(0, half), slice(half, 2 * half)))
    a, b = x[..., first], x[..., second]
    y[..., first], y[..., second] = a * cos - b * sin, b * cos + a * sin
    return y
