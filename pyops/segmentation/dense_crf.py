"""Dense CRFs: labels that agree with the image's edges."""
from __future__ import annotations

import math
from numbers import Real

import numpy as np

from .. import functional as F
from .lattice import Lattice

__all__ = ["dense_crf"]

LEAST = 1e-8   # of a probability, so that nothing is impossible


def dense_crf(probabilities: np.ndarray, image: np.ndarray, steps: int = 10, *, smooth: float = 3.0,
              smooth_sigma: float = 3.0, bilateral: float = 10.0, place_sigma: float = 80.0,
              colour_sigma: float = 13.0, compatibility: np.ndarray | None = None) -> np.ndarray:
    """Mean-field inference in a CRF that joins every two pixels: Krähenbühl & Koltun, "Efficient
    Inference in Fully Connected CRFs with Gaussian Edge Potentials" (2011), as DeepLab uses it.

    probabilities: (C, H, W), a network's softmax. image: (H, W, 3) uint8. Two pixels of different
    labels cost smooth times a Gaussian of their distance (deviation smooth_sigma, pixels) and
    bilateral times one of distance and colour (place_sigma pixels, colour_sigma of 0 .. 255), each
    normalised symmetrically by its sums; compatibility: (C, C), what labels i beside j cost instead
    of 1 (Potts). A pixel is its own neighbour, as in the authors' program. Returns (C, H, W)
    float32, probabilities after `steps` rounds. ValueError for sizes that differ, NaN, or numbers
    that are not positive.
    """
    probabilities, image = np.asarray(probabilities, np.float32), np.asarray(image)
    check(probabilities, image, steps, smooth, smooth_sigma, bilateral, place_sigma, colour_sigma)
    classes, height, width = probabilities.shape
    cost = None if compatibility is None else np.asarray(compatibility, np.float32)
    if cost is not None and (cost.shape != (classes, classes) or not np.isfinite(cost).all()):
        raise ValueError(f"dense_crf: compatibility must be finite numbers {(classes, classes)}, got {cost.shape}")
    unary = np.ascontiguousarray(np.log(np.maximum(probabilities.reshape(classes, -1), LEAST)).T)
    kernels = [Kernel(features, weight) for features, weight in (
        (places(height, width) / np.float32(smooth_sigma), smooth),
        (np.concatenate([places(height, width) / np.float32(place_sigma),
                         image.reshape(-1, 3).astype(np.float32) / np.float32(colour_sigma)], 1), bilateral))
        if weight]
    q, energy = F.softmax(unary, 1), np.empty_like(unary)
    # Potts: every label costs the sum of all messages less its own, and softmax sees no sum
    before = unary if cost is None else np.zeros_like(unary)
    for _ in range(steps if kernels else 0):
        for i, kernel in enumerate(kernels):
            kernel.add_message(energy, q, energy if i else before)
        q = F.softmax(energy if cost is None else unary - energy @ cost.T, 1, out=q)
    return np.ascontiguousarray(q.T).reshape(classes, height, width)


class Kernel:
    """A Gaussian of features, symmetrically normalised: D^-1/2 K D^-1/2, D the sums of K's rows."""

    def __init__(self, features: np.ndarray, weight: float):
        lattice = Lattice(features)
        sums = lattice.filter(np.ones((len(features), 1), np.float32))[:, 0]
        scale = 1 / np.sqrt(np.maximum(sums, 1e-20))
        # (result, q, base): result = base + the weighted sums of all pixels' probabilities, (n, classes) all
        self.add_message = lattice.scaled(scale, np.float32(weight) * scale)


def places(height: int, width: int) -> np.ndarray:
    """(H W, 2) float32: each pixel's column and row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns.ravel(), rows.ravel()], 1).astype(np.float32)


def check(probabilities, image, steps, smooth, smooth_sigma, bilateral, place_sigma, colour_sigma) -> None:
    if probabilities.ndim != 3 or 0 in probabilities.shape:
        raise ValueError(f"dense_crf: probabilities must be (classes, height, width), got {probabilities.shape}")
    if image.shape != (*probabilities.shape[1:], 3) or image.dtype != np.uint8:
        raise ValueError(f"dense_crf: image must be uint8 {(*probabilities.shape[1:], 3)}, got {image.shape} "
                         f"{image.dtype}")
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all()):
        raise ValueError("dense_crf: probabilities must be finite and not negative")
    if isinstance(steps, bool) or not hasattr(steps, "__index__") or steps < 0:
        raise ValueError(f"dense_crf: steps must be an int of at least 0, got {steps!r}")
    for name, value in (("smooth", smooth), ("smooth_sigma", smooth_sigma), ("bilateral", bilateral),
                        ("place_sigma", place_sigma), ("colour_sigma", colour_sigma)):
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"dense_crf: {name} must be a finite number, got {value!r}")
    if min(smooth_sigma, place_sigma, colour_sigma) <= 0 or min(smooth, bilateral) < 0:
        raise ValueError("dense_crf: deviations must be positive and weights not negative, got smooth "
                         f"{smooth} of {smooth_sigma}, bilateral {bilateral} of {place_sigma} and {colour_sigma}")
