"""What the losses of all YOLOs begin with: checked targets, as fractions of the network's input."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...detection.letterbox import Placement
from ...detection.matching import overlaps as of_corners
from ...detection.targets import checked_targets


@dataclass
class Truth:
    """Of one image: boxes (k, 4) as (x, y, width, height), centre first, fractions of the network's
    input; labels (k,)."""
    boxes: np.ndarray
    labels: np.ndarray


def truths(name: str, targets: Sequence[Mapping[str, Any]], count: int, classes: int, placed: Placement,
           size: tuple[int, int]) -> list[Truth]:
    """targets of Detector.losses as Truths; what checked_targets refuses is refused. A box that
    reaches beyond its image is cut."""
    found = []
    given = [(placed.height, placed.width)] * count
    for boxes, labels in checked_targets(f"{name}.losses", targets, given, 0, classes):
        cut = np.clip(boxes, 0, np.array([placed.width, placed.height] * 2, np.float32))
        inside = placed.there(cut) / np.array([size[1], size[0]] * 2, np.float32)
        found.append(Truth(np.concatenate([(inside[:, :2] + inside[:, 2:]) / 2, inside[:, 2:] - inside[:, :2]], 1),
                           labels))
    return found


def corners(boxes: Any) -> np.ndarray:
    """(..., 4) of (x, y, width, height), centre first, as corners."""
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m): intersection over union of boxes (n, 4) and (m, 4), centre first."""
    return of_corners(corners(a), corners(b))


def overlaps_of_sizes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m): intersection over union of boxes of widths and heights (n, 2) and (m, 2) about one
    centre."""
    shared = np.minimum(a[:, None], b[None]).prod(-1)
    return shared / (a.prod(-1)[:, None] + b.prod(-1)[None] - shared)


def best_overlap(boxes: np.ndarray, truth: Truth) -> np.ndarray:
    """(n,): of each predicted box the largest intersection over union with a true one, 0 without
    any."""
    return overlaps(boxes, truth.boxes).max(1) if len(truth.boxes) else np.zeros(len(boxes), np.float32)
