"""The first steps: one object by regression, and a classifier of windows that slide over the
image."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyops import functional as F, nn
from pyops.models.detection.detector import Detector

from .boxes import crops, windows
from .trunk import CHANNELS, CropNet, Trunk


class Localiser(Detector):
    """A class and four numbers for the whole image: it can find one object, and is trained on the
    largest."""

    def __init__(self, trunk: Trunk, classes: int = 10, size: int = 64) -> None:
        self.set_thresholds(0.05, 0.5, 1)
        self.classes, self.image = classes, (3, size, size)
        self.trunk, self.pooled = trunk, 4
        self.hidden = nn.Linear(CHANNELS * self.pooled ** 2, 128)
        self.out = nn.Linear(128, classes + 4)

    def said(self, images: Any) -> tuple[Any, Any]:
        """Logits (N, classes) and boxes (N, 4), corners as shares of the image."""
        maps = F.adaptive_avg_pool2d(self.trunk(images), self.pooled)
        rows = self.out(F.relu(self.hidden(F.flatten(maps, 1))))
        numbers = F.sigmoid(rows[:, self.classes:])
        middle, half = numbers[:, :2], F.mul(numbers[:, 2:], np.float32(0.5))
        return rows[:, :self.classes], F.cat([F.sub(middle, half), F.add(middle, half)], 1)

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        logits, boxes = self.said(x)
        size = np.array([x.shape[3], x.shape[2]] * 2, np.float32)
        n = int(x.shape[0])
        return F.multiclass_nms(F.reshape(F.mul(boxes, size), (n, 1, 4)), F.reshape(F.softmax(logits, 1), (n, 1, -1)),
                                self.iou_threshold, self.score_threshold, 1)

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        x = self.floats(images)
        logits, boxes = self.said(x)
        size = np.array([x.shape[3], x.shape[2]] * 2, np.float32)
        there = [i for i, t in enumerate(targets) if len(t["boxes"])]
        largest = [int((t["boxes"][:, 2:] - t["boxes"][:, :2]).prod(1).argmax()) for t in (targets[i] for i in there)]
        labels = np.array([targets[i]["labels"][k] for i, k in zip(there, largest)], np.int64)
        wanted = np.array([targets[i]["boxes"][k] for i, k in zip(there, largest)], np.float32) / size
        chosen = np.array(there, np.int64)
        return {"classes": F.cross_entropy(F.index_select(logits, 0, chosen), labels),
                "boxes": F.mul(F.l1_loss(F.index_select(boxes, 0, chosen), wanted), np.float32(5))}


class Windows(Detector):
    """A classifier of crops, asked at every window. It is not trained any further."""

    def __init__(self, net: CropNet, size: int = 64) -> None:
        self.set_thresholds(0.3, 0.3, 50)
        self.net, self.image = net, (3, size, size)

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        n, boxes = int(x.shape[0]), windows((int(x.shape[2]), int(x.shape[3])))
        sample = np.repeat(np.arange(n, dtype=np.float32), len(boxes))[:, None]
        seen = crops(x, np.concatenate([sample, np.tile(boxes, (n, 1))], 1))
        scores = F.softmax(self.net(seen), 1)
        scores = F.reshape(scores, (n, len(boxes), int(scores.shape[1])))[:, :, :-1]
        return F.multiclass_nms(np.tile(boxes[None], (n, 1, 1)), scores, self.iou_threshold, self.score_threshold,
                                self.max_detections)
