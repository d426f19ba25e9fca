"""A detector without anchors: every cell of one map says which class is there and how far it is to
the four sides of its box (Tian et al. 2019, "FCOS"; YOLO v1's idea with a focal loss)."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyops import functional as F, nn
from pyops.detection.losses import giou_loss
from pyops.detection.targets import checked_targets, sizes_of
from pyops.models.detection.detector import Detector

from .trunk import CHANNELS, Trunk, layer

PRIOR = 0.01
CENTRAL = 0.3       # of a box's sides around its middle: the cells that are to find it


class Grid(Detector):
    """images (N, 3, H, W), sides multiples of 8. focal: the focal loss, else cross-entropy."""

    def __init__(self, trunk: Trunk, classes: int = 10, focal: bool = True, size: int = 64) -> None:
        self.set_thresholds(0.05, 0.45, 50)
        self.classes, self.focal, self.image = classes, focal, (3, size, size)
        self.trunk = trunk
        self.head = nn.Sequential(layer(CHANNELS, CHANNELS, 2), layer(CHANNELS, CHANNELS),
                                  nn.Conv2d(CHANNELS, classes + 4, 1))
        nn.init.normal_(self.head[2].weight, std=0.01)
        nn.init.constant_(self.head[2].bias, 0)
        self.head[2].bias.data[:classes] = -math.log((1 - PRIOR) / PRIOR)

    def rows(self, x: Any) -> tuple[Any, Any, np.ndarray]:
        """Logits (N, cells, classes), boxes (N, cells, 4) and the cells' middles (cells, 2)."""
        maps = self.head(self.trunk(x))
        n, channels, height, width = (int(v) for v in maps.shape)
        rows = F.reshape(F.permute(maps, (0, 2, 3, 1)), (n, height * width, channels))
        stride = int(x.shape[2]) // height
        y, at = np.divmod(np.arange(height * width), width)
        middles = (np.stack([at, y], 1).astype(np.float32) + np.float32(0.5)) * np.float32(stride)
        sides = F.mul(F.exp(F.clamp(rows[..., self.classes:], -4.0, 4.0)), np.float32(stride))
        boxes = F.cat([F.sub(middles, sides[..., :2]), F.add(middles, sides[..., 2:])], 2)
        return rows[..., :self.classes], boxes, middles

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        logits, boxes, _ = self.rows(x)
        size = np.array([x.shape[3], x.shape[2]] * 2, np.float32)
        boxes = F.minimum(F.maximum(boxes, np.float32(0)), size)
        return F.multiclass_nms(boxes, F.sigmoid(logits), self.iou_threshold, self.score_threshold,
                                self.max_detections)

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        x = self.floats(images)
        logits, boxes, middles = self.rows(x)
        truth = checked_targets("Grid", targets, sizes_of(x), 0, self.classes)
        wanted = np.zeros(logits.shape, np.float32)
        places, aims = [], []
        for i, target in enumerate(truth):
            for cell, number in responsible(target.boxes, middles):
                wanted[i, cell, target.labels[number]] = 1
                places.append(i * len(middles) + cell)
                aims.append(target.boxes[number])
        count = np.float32(max(1, len(places)))
        known = (F.sigmoid_focal_loss(logits, wanted, reduction="sum") if self.focal
                 else F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum"))
        own = F.index_select(F.reshape(boxes, (-1, 4)), 0, np.array(places, np.int64))
        return {"classes": F.div(known, count),
                "boxes": F.div(F.sum(giou_loss(own, np.array(aims, np.float32).reshape(-1, 4))), count)}


def responsible(boxes: np.ndarray, middles: np.ndarray) -> list[tuple[int, int]]:
    """(cell, box) of the cells near the middle of each box, at least the nearest one; of several
    boxes a cell has the smallest."""
    found: dict[int, int] = {}
    for number in np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(1), kind="stable").tolist():
        centre, half = (boxes[number, :2] + boxes[number, 2:]) / 2, (boxes[number, 2:] - boxes[number, :2]) / 2
        near = np.flatnonzero((np.abs(middles - centre) < CENTRAL * half).all(1)).tolist()
        for cell in {*near, int(np.abs(middles - centre).max(1).argmin())}:
            found[cell] = number
    return list(found.items())
