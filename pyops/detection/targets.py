"""What a training step is told of its images, checked once before anything is computed."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Target", "checked_targets", "sizes_of"]


class Target(NamedTuple):
    """boxes (k, 4) floats, labels (k,) int64 of one image."""
    boxes: np.ndarray
    labels: np.ndarray


FARTHEST = float(1 << 24)   # from there on float32 does not tell pixels apart


def sizes_of(images: Any) -> list[tuple[int, int]]:
    """(height, width) of each of a batch of images (N, C, H, W)."""
    return [(int(images.shape[2]), int(images.shape[3]))] * int(images.shape[0])


def checked_targets(name: str, targets: Sequence[Mapping[str, Any]], sizes: Sequence[tuple[int, int]], first: int,
                    classes: int) -> list[Target]:
    """The targets of images of these sizes (height, width) as arrays; no boxes are right, and so are boxes that
    reach beyond their image. ValueError in one sentence for another number of targets, other shapes or types, boxes
    that are not finite or have no area, or none within their image, and labels outside first to
    first + classes - 1."""
    several = isinstance(targets, Sequence) and not isinstance(targets, str)
    if not several or len(targets) != len(sizes):
        raise ValueError(f"{name}: as many targets as images, got "
                         f"{len(targets) if several else f'a {type(targets).__name__}'} and {len(sizes)}")
    return [one(name, i, target, size, first, classes) for i, (target, size) in enumerate(zip(targets, sizes))]


def one(name: str, i: int, target: Mapping[str, Any], size: tuple[int, int], first: int, classes: int) -> Target:
    if not isinstance(target, Mapping):
        raise ValueError(f"{name}: target {i} is a {type(target).__name__}; wanted is a mapping of boxes and labels")
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
    if boxes.dtype.kind not in "iuf":
        raise ValueError(f"{name}: target {i} has boxes of {boxes.dtype}; they are numbers")
    boxes = boxes if boxes.dtype.kind == "f" else boxes.astype(np.float32)
    wrong = ~((np.abs(boxes) < FARTHEST).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1))   # NaN is not less
    if wrong.any():
        raise ValueError(f"{name}: target {i} has the box {boxes[wrong][0].tolist()}; a box (x1, y1, x2, y2) is "
                         "finite, within 2^24 pixels, with x1 < x2 and y1 < y2")
    beside = (boxes[:, :2] >= size[::-1]).any(1) | (boxes[:, 2:] <= 0).any(1)
    if beside.any():
        raise ValueError(f"{name}: target {i} has the box {boxes[beside][0].tolist()}, which has no area within its "
                         f"image of {size[1]}x{size[0]}")
    if not first <= labels.min() <= labels.max() < first + classes:
        raise ValueError(f"{name}: target {i} has labels from {labels.min()} to {labels.max()}; they are "
                         f"{first} to {first + classes - 1}")
    return Target(boxes, labels.astype(np.int64))
