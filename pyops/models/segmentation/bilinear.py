"""Transposed convolutions that start as bilinear interpolation."""
from __future__ import annotations

import numpy as np


def bilinear_(weight):
    """Fills weights (classes, classes, k, k) of a transposed convolution in place: each class is
    interpolated by itself, by the triangle that k = 2 * stride pixels (or 2 * stride - 1) hold.
    Long et al., section 3.3."""
    inputs, outputs, height, width = weight.shape
    weight.data[...] = 0
    same = np.arange(min(inputs, outputs))
    weight.data[same, same] = np.outer(triangle(height), triangle(width))
    return weight


def triangle(size: int) -> np.ndarray:
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    return 1 - np.abs(np.arange(size) - centre) / factor
