"""What a training step is told of its images, checked once before anything is computed."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Target", "checked_targets"]


class Target(NamedTuple):
    """boxes (k, 4) floats, labels (k,) int64 of one image."""
    boxes: np.ndarray
    labels: np.ndarray


def checked_targets(name: str, targets: Sequence[Mapping[str, Any]], images: int, first: int,
                    classes: int) -> list[Target]:
    """The targets of so many images as arrays; no boxes are right. ValueError in one sentence for
    another number of targets, other shapes, boxes that are not finite or have no area, and labels
    outside first to first + classes - 1."""
    if len(targets) != images:
        raise ValueError(f"{name}: as many targets as images, got {len(targets)} and {images}")
    return [one(name, i, target, first, classes) for i, target in enumerate(targets)]


def one(name: str, i: int, target: Mapping[str, Any], first: int, classes: int) -> Target:
    missing = {"boxes", "labels"} - set(target)
    if missing:
        raise ValueError(f"{name}: target {i} has no {' and no '.join(sorted(missing))}; it has "
                         f"{', '.join(map(str, target)) or 'nothing'}")
    boxes, labels = (np.asarray(getattr(target[key], "data", target[key]) if hasattr(target[key], "node")
                                else target[key]) for key in ("boxes", "labels"))
    if not boxes.size and not labels.size:
        return Target(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
        raise ValueError(f"{name}: target {i} has boxes {boxes.shape} and labels {labels.shape}; wanted are (k, 4) "
                         "and (k,)")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{name}: target {i} has labels of {labels.dtype}; they are whole numbers")
    boxes = boxes if boxes.dtype.kind == "f" else boxes.astype(np.float32)
    wrong = ~(np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1))
    if wrong.any():
        raise ValueError(f"{name}: target {i} has the box {boxes[wrong][0].tolist()}; a box (x1, y1, x2, y2) is finite "
                         "with x1 < x2 and y1 < y2")
    if not first <= labels.min() <= labels.max() < first + classes:
        raise ValueError(f"{name}: target {i} has labels from {labels.min()} to {labels.max()}; they are "
                         f"{first} to {first + classes - 1}")
    return Target(boxes, labels.astype(np.int64))
