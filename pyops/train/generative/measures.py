"""How far made images are from real ones, by features of theirs: numbers (N, D) of each."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


def frechet_distance(real: Any, made: Any) -> float:
    """The Frechet distance of the normal distributions with the two sets' means and covariances
    (Heusel et al., 2017, there of Inception's features: FID). 0 for equal ones. ValueError for fewer
    than two of a set."""
    real, made = (checked(x) for x in (real, made))
    a, b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (real, made))
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # tr sqrt(A B) = tr sqrt(A^(1/2) B A^(1/2)), which is symmetric
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    away = ((real.mean(0) - made.mean(0)) ** 2).sum()
    return float(max(0.0, away + np.trace(a) + np.trace(b) - 2 * shared))


class PrecisionRecall(NamedTuple):
    """precision: the share of made images that lie among the real; recall: of real ones among the
    made."""
    precision: float
    recall: float


def precision_recall(real: Any, made: Any, k: int = 3) -> PrecisionRecall:
    """Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models"
    (2019): an image lies among a set where it is as near to one of it as that one's k-th neighbour.
    ValueError where a set has no more than k."""
    real, made = (checked(x, k + 1) for x in (real, made))
    across = distances(real, made)
    reach_real, reach_made = (np.sort(distances(x, x), 1)[:, k] for x in (real, made))   # 0 is itself
    return PrecisionRecall(float((across <= reach_real[:, None]).any(0).mean()),
                           float((across <= reach_made[None]).any(1).mean()))


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean, (len(a), len(b)), without the cancellation of |a|^2 + |b|^2 - 2 a b."""
    found = np.empty((len(a), len(b)))
    for i, one in enumerate(a):
        found[i] = np.sqrt(((b - one) ** 2).sum(1))
    return found


def checked(features: Any, least: int = 2) -> np.ndarray:
    found = np.asarray(features, np.float64)
    if found.ndim != 2 or len(found) < least:
        raise ValueError(f"features must be (N, D) with N at least {least}, got {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError("features must be finite numbers")
    return found


def nearest(images: Any, training: Any) -> tuple[np.ndarray, np.ndarray]:
    """The number of the nearest training image of each image, and how far it is: the root mean square
    of the pixels' differences."""
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (images, training))
    away = distances(a, b)
    at = away.argmin(1)
    return at, away[np.arange(len(a)), at] / np.sqrt(a.shape[1])


def memorised(made: Any, test: Any, training: Any) -> float:
    """The median distance of made images from their nearest training images, over that of test images,
    which nobody learnt: near 0 where training images are repeated."""
    mine, others = (np.median(nearest(x, training)[1]) for x in (made, test))
    return float(mine / max(others, 1e-12))
