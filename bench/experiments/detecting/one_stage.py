"""One look: SSD (Liu et al. 2016) and RetinaNet (Lin et al. 2017) in small. Both classify every
anchor of two maps; they differ in what keeps the many empty ones from outweighing the others, and
RetinaNet's finer map is told by the coarser."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyops import functional as F, nn
from pyops.detection.anchors import Anchors
from pyops.detection.coders import BoxCoder
from pyops.detection.matching import IGNORED, bipartite_match, hard_negatives, overlaps, threshold_match
from pyops.detection.targets import checked_targets, sizes_of
from pyops.models.detection.detector import Detector

from .trunk import CHANNELS, Trunk, layer

LOSSES = ("focal", "cross-entropy", "hard negatives")
PRIOR = 0.01
SIZES, RATIOS = ((10, 14), (19, 25)), ((1.7,), (1.7,))


class OneStage(Detector):
    """loss: "focal" and "cross-entropy" of sigmoids over all anchors, "hard negatives" of a softmax
    with background over those of SSD's choice. pyramid: the finer map gets the coarser one, too."""

    def __init__(self, trunk: Trunk, classes: int = 10, loss: str = "focal", pyramid: bool = True,
                 size: int = 64) -> None:
        if loss not in LOSSES:
            raise ValueError(f"OneStage: loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        self.set_thresholds(0.05, 0.45, 50)
        self.classes, self.loss, self.image = classes, loss, (3, size, size)
        self.trunk, self.fine, self.coarse = trunk, layer(CHANNELS, CHANNELS, 2), layer(CHANNELS, CHANNELS, 2)
        self.lateral = nn.Conv2d(CHANNELS, CHANNELS, 1) if pyramid else None
        self.anchors, self.coder = Anchors(SIZES, RATIOS), BoxCoder()
        self.outputs = classes + (loss == "hard negatives")
        each = self.anchors.each[0]
        self.head = nn.Sequential(layer(CHANNELS, CHANNELS), nn.Conv2d(CHANNELS, each * (self.outputs + 4), 1))
        nn.init.normal_(self.head[1].weight, std=0.01)
        bias = np.zeros((each, self.outputs + 4), np.float32)
        if loss != "hard negatives":
            bias[:, :classes] = -math.log((1 - PRIOR) / PRIOR)
        self.head[1].bias.data[:] = bias.reshape(-1)

    def rows(self, x: Any) -> tuple[Any, Any, np.ndarray]:
        """Logits (N, anchors, outputs), deltas (N, anchors, 4), and the anchors (K, 4)."""
        fine = self.fine(self.trunk(x))
        coarse = self.coarse(fine)
        if self.lateral is not None:
            fine = F.add(fine, F.interpolate(self.lateral(coarse), tuple(fine.shape[2:]), mode="nearest"))
        found = []
        for maps in (self.head(fine), self.head(coarse)):
            n, _, height, width = (int(v) for v in maps.shape)
            split = F.reshape(maps, (n, -1, self.outputs + 4, height, width))
            found.append(F.reshape(F.permute(split, (0, 3, 4, 1, 2)), (n, -1, self.outputs + 4)))
        every = F.cat(found, 1)
        anchors = self.anchors((int(x.shape[2]), int(x.shape[3])),
                               [tuple(int(v) for v in maps.shape[2:]) for maps in (fine, coarse)])
        return every[..., :self.outputs], every[..., self.outputs:], np.concatenate(anchors)

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        logits, deltas, anchors = self.rows(x)
        size = np.array([x.shape[3], x.shape[2]] * 2, np.float32)
        boxes = F.minimum(F.maximum(self.coder.decode(deltas, anchors), np.float32(0)), size)
        scores = F.softmax(logits, 2)[..., 1:] if self.loss == "hard negatives" else F.sigmoid(logits)
        return F.multiclass_nms(boxes, scores, self.iou_threshold, self.score_threshold, self.max_detections)

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        x = self.floats(images)
        logits, deltas, anchors = self.rows(x)
        truth = checked_targets("OneStage", targets, sizes_of(x), 0, self.classes)
        quality = [overlaps(t.boxes, anchors) for t in truth]
        match = np.stack([bipartite_match(q, 0.5) if self.loss == "hard negatives"
                          else threshold_match(q, 0.5, 0.4, low_quality=True) for q in quality])
        sample, place = np.nonzero(match >= 0)
        labels = np.array([truth[i].labels[match[i, k]] for i, k in zip(sample, place)], np.int64)
        boxes = np.array([truth[i].boxes[match[i, k]] for i, k in zip(sample, place)], np.float32).reshape(-1, 4)
        count = np.float32(max(1, len(place)))
        own = F.index_select(F.reshape(deltas, (-1, 4)), 0, sample * len(anchors) + place)
        boxes_loss = F.smooth_l1_loss(own, self.coder.encode(boxes, anchors[place]), reduction="sum", beta=1 / 9)
        known = (self.softmax_loss if self.loss == "hard negatives" else self.sigmoid_loss)(
            logits, match, sample, place, labels)
        # the focal loss weighs objects by a quarter: here all three kinds weigh them alike beside boxes
        return {"classes": F.div(known, count / 4 if self.loss == "focal" else count),
                "boxes": F.div(boxes_loss, count)}

    def sigmoid_loss(self, logits: Any, match: np.ndarray, sample, place, labels) -> Any:
        wanted = np.zeros(logits.shape, np.float32)
        wanted[sample, place, labels] = 1
        counted = np.broadcast_to((match != IGNORED)[..., None], wanted.shape).astype(np.float32)
        each = (F.sigmoid_focal_loss if self.loss == "focal" else F.binary_cross_entropy_with_logits)(
            logits, wanted, reduction="none")
        return F.sum(F.mul(each, counted))

    def softmax_loss(self, logits: Any, match: np.ndarray, sample, place, labels) -> Any:
        wanted = np.zeros(match.shape, np.int64)
        wanted[sample, place] = labels + 1
        each = F.reshape(F.cross_entropy(F.reshape(logits, (-1, self.outputs)), wanted.reshape(-1), reduction="none"),
                         match.shape)
        counted = (match >= 0) | hard_negatives(np.asarray(each.data), match)
        return F.sum(F.mul(each, counted.astype(np.float32)))
