"""Anchors from a training set: k-means of the boxes' widths and heights by 1 - IoU.

Redmon & Farhadi, "YOLO9000: Better, Faster, Stronger" (2017), section 2, "Dimension Clusters".
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.random import default_generator

__all__ = ["kmeans_anchors", "size_overlap"]


def size_overlap(sizes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m): intersection over union of boxes of sizes (n, 2) and (m, 2) about one centre."""
    shared = np.minimum(sizes[:, None], others[None]).prod(-1)
    return shared / (sizes.prod(-1)[:, None] + others.prod(-1)[None] - shared)


def kmeans_anchors(sizes: Any, count: int, rounds: int = 100, generator: Any = None) -> tuple[np.ndarray, float]:
    """`count` anchors (count, 2), from small to large, for boxes of these sizes (n, 2), widths and
    heights in any unit; and the mean over the boxes of the overlap with their best anchor.

    Each round assigns a box to the anchor that it overlaps most and moves anchors to the mean of
    theirs, until nothing changes or after `rounds`. The first anchors are drawn far from each other
    (k-means++). ValueError for fewer different sizes than anchors, or sizes that are not positive
    and finite.
    """
    sizes = np.asarray(sizes, np.float64)
    if sizes.ndim != 2 or sizes.shape[1] != 2 or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(f"kmeans_anchors: sizes must be (n, 2), positive and finite, got shape {sizes.shape}")
    if count < 1 or len(np.unique(sizes, axis=0)) < count:
        raise ValueError(f"kmeans_anchors: {count} anchors need as many different sizes, got "
                         f"{len(np.unique(sizes, axis=0))}")
    rng = generator or default_generator()
    anchors = sizes[[rng.integers(len(sizes))]]
    while len(anchors) < count:
        far = np.maximum(1 - size_overlap(sizes, anchors).max(1), 0) ** 2
        anchors = np.concatenate([anchors, sizes[[rng.choice(len(sizes), p=far / far.sum())]]])
    nearest = None
    for _ in range(rounds):
        before, nearest = nearest, size_overlap(sizes, anchors).argmax(1)
        if before is not None and (before == nearest).all():
            break
        for k in range(count):
            if (nearest == k).any():
                anchors[k] = sizes[nearest == k].mean(0)
    anchors = anchors[np.argsort(anchors.prod(1), kind="stable")]
    return anchors.astype(np.float32), float(size_overlap(sizes, anchors).max(1).mean())
