"""Weights that make a network learn the thin ground between things that touch."""
from __future__ import annotations

import numpy as np

__all__ = ["border_weights"]


def border_weights(instances: np.ndarray, w0: float = 10.0, sigma: float = 5.0,
                   balance: bool = True) -> np.ndarray:
    """(H, W) float32: w_c + w0 exp(-(d1 + d2)^2 / (2 sigma^2)) on the ground, w_c on things, where
    d1 and d2 are the distances in pixels to the nearest and the second nearest thing.
    Ronneberger et al. (2015), section 3, equation 2.

    instances: (H, W) whole numbers, 0 for the ground and a number for each thing. balance: w_c
    makes ground and things weigh the same in sum; else it is 1. With fewer than two things there is
    nothing between them. Needs SciPy.
    """
    from scipy.ndimage import distance_transform_edt

    instances = np.asarray(instances)
    if instances.ndim != 2 or instances.dtype.kind not in "iub":
        raise ValueError(f"border_weights: instances must be (height, width) whole numbers, got "
                         f"{instances.shape} {instances.dtype}")
    if not sigma > 0:
        raise ValueError(f"border_weights: sigma must be positive, got {sigma!r}")
    things = instances != 0
    weights = np.ones(instances.shape)
    if balance and 0 < things.sum() < things.size:
        share = things.mean()
        weights = np.where(things, 0.5 / share, 0.5 / (1 - share))
    nearest = np.full((2, *instances.shape), np.inf)
    for number in np.unique(instances[things]):
        distance = distance_transform_edt(instances != number)
        nearest[1] = np.minimum(nearest[1], np.maximum(nearest[0], distance))
        nearest[0] = np.minimum(nearest[0], distance)
    between = w0 * np.exp(-nearest.sum(0) ** 2 / (2 * sigma ** 2))
    return (weights + np.where(things, 0, between)).astype(np.float32)
