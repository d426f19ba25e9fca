"""What the losses of all YOLOs begin with: checked targets, as fractions of the network's input."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...detection.letterbox import Placement


@dataclass
class Truth:
    """Of one image: boxes (k, 4) as (x, y, width, height), centre first, fractions of the network's
    input; labels (k,)."""
    boxes: np.ndarray
    labels: np.ndarray


def truths(name: str, targets: Sequence[Mapping[str, Any]], count: int, classes: int, placed: Placement,
           size: tuple[int, int]) -> list[Truth]:
    """targets of Detector.losses as Truths. ValueError for another number of them than images, a
    box that is not finite, empty or with its corners exchanged, or a label out of range.

    A box that reaches beyond its image is cut; one that lies outside of it is refused.
    """
    if len(targets) != count:
        raise ValueError(f"{name}.losses: {len(targets)} targets for {count} images")
    found = []
    for i, target in enumerate(targets):
        boxes = np.asarray(target["boxes"], np.float32).reshape(-1, 4)
        labels = np.asarray(target["labels"]).reshape(-1)
        if len(boxes) != len(labels):
            raise ValueError(f"{name}.losses: target {i} has {len(boxes)} boxes and {len(labels)} labels")
        if len(labels) and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes):
            raise ValueError(f"{name}.losses: target {i}: labels must be whole numbers from 0 to {classes - 1}, got "
                             f"{labels.tolist()}")
        cut = np.clip(boxes, 0, np.array([placed.width, placed.height] * 2, np.float32))
        wrong = np.flatnonzero(~((cut[:, 2:] > cut[:, :2]).all(1) & np.isfinite(boxes).all(1)))
        if len(wrong):
            raise ValueError(f"{name}.losses: target {i}: box {boxes[wrong[0]].tolist()} has no area within its "
                             f"image of {placed.width}x{placed.height}")
        inside = placed.there(cut) / np.array([size[1], size[0]] * 2, np.float32)
        found.append(Truth(np.concatenate([(inside[:, :2] + inside[:, 2:]) / 2, inside[:, 2:] - inside[:, :2]], 1),
                           labels.astype(np.int64)))
    return found


def corners(boxes: Any) -> np.ndarray:
    """(..., 4) of (x, y, width, height), centre first, as corners."""
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m): intersection over union of boxes (n, 4) and (m, 4), centre first."""
    a, b = corners(a), corners(b)
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.maximum(sides, 0).prod(-1)
    areas = [np.maximum(box[:, 2:] - box[:, :2], 0).prod(-1) for box in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, np.float32(1e-12))


def overlaps_of_sizes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m): intersection over union of boxes of widths and heights (n, 2) and (m, 2) about one
    centre."""
    shared = np.minimum(a[:, None], b[None]).prod(-1)
    return shared / (a.prod(-1)[:, None] + b.prod(-1)[None] - shared)


def best_overlap(boxes: np.ndarray, truth: Truth) -> np.ndarray:
    """(n,): of each predicted box the largest intersection over union with a true one, 0 without
    any."""
    return overlaps(boxes, truth.boxes).max(1) if len(truth.boxes) else np.zeros(len(boxes), np.float32)
