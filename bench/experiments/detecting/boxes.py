"""What several of the steps share: a batch of crops, windows that slide over an image, proposals by
colour, and how often a proposal hits."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyops import functional as F
from pyops.detection.matching import overlaps

CROP = 32


def crops(images: Any, regions: np.ndarray, side: int = CROP) -> np.ndarray:
    """(K, 3, side, side): each region (sample, x1, y1, x2, y2) warped to a square, as R-CNN
    does."""
    return np.asarray(F.roi_align(np.asarray(images, np.float32), regions.astype(np.float32), side, 1.0, 1, True))


def windows(size: tuple[int, int], sides: Sequence[int] = (13, 17, 22, 28), ratio: float = 1.7,
            stride: int = 4) -> np.ndarray:
    """(K, 4): boxes `ratio` times as high as wide, of heights sides * sqrt(ratio), every `stride`
    pixels."""
    found = []
    for side in sides:
        h, w = side * ratio ** 0.5, side / ratio ** 0.5
        y, x = np.meshgrid(np.arange(0, max(1, size[0] - h + 1), stride),
                           np.arange(0, max(1, size[1] - w + 1), stride), indexing="ij")
        corner = np.stack([x, y], -1).reshape(-1, 2)
        found.append(np.concatenate([corner, corner + [w, h]], 1))
    return np.concatenate(found).astype(np.float32)


def recall(proposals: Sequence[np.ndarray], truth: Sequence[np.ndarray], iou: float = 0.5) -> float:
    """The share of true boxes that some proposal overlaps by at least `iou`."""
    hit = [overlaps(np.asarray(boxes, np.float32), np.asarray(p, np.float32)).max(1, initial=0) >= iou
           for p, boxes in zip(proposals, truth)]
    return float(np.concatenate(hit).mean()) if hit else 0.0
