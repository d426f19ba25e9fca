"""One object an image: its class and its box, beside any trunk. The first step of the course, before any
detector; Sermanet et al., "OverFeat" (2013), section 4.

    image -> trunk -> mean of the maps -+-> classes
                                        +-> (cx, cy, w, h), each between 0 and 1
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.tensor import Tensor
from ...detection.coders import centres, corners
from ...detection.losses import iou_loss
from ..registry import NETWORKS, network
from .transform import IMAGENET_MEAN, IMAGENET_STD, Transform, TransformingDetector

__all__ = ["Localiser", "localiser"]


class Localiser(TransformingDetector):
    """trunk: a classifier's name; size: of the images that it sees, whatever theirs is. box_loss: "l1" of
    the four numbers, or "iou". box_weight: what the box's loss counts beside the class's.

    forward returns one box an image (M = 1), whose score is its class's probability; below the
    threshold the count is 0.
    """

    def __init__(self, classes: int = 1000, trunk: str = "resnet18", size: int = 224, box_loss: str = "iou",
                 box_weight: float = 1.0, score_threshold: float = 0.0, iou_threshold: float = 0.5,
                 max_detections: int = 1, class_names: Sequence[str] | None = None) -> None:
        if box_loss not in ("l1", "iou"):
            raise ValueError(f"Localiser: box_loss must be 'l1' or 'iou', got {box_loss!r}")
        if trunk not in NETWORKS or NETWORKS[trunk].task != "classification":
            raise ValueError(f"Localiser: trunk must name a classifier of create_model, got {trunk!r}")
        if max_detections != 1:
            raise ValueError(f"Localiser: finds one object an image, so max_detections is 1, got {max_detections}")
        self.set_thresholds(score_threshold, iou_threshold, 1, class_names)
        self.classes, self.box_loss, self.box_weight = classes, box_loss, box_weight
        network = NETWORKS[trunk].make()
        self.trunk = network.without_top("avg")
        self.image = (3, size, size)
        self.classifier = nn.Linear(network.channels(), classes)
        self.regressor = nn.Linear(network.channels(), 4)
        self.transform = Transform(size, size, IMAGENET_MEAN, IMAGENET_STD, 1, (size, size))

    def heads(self, x: Any) -> tuple[Any, Any]:
        """Logits (N, K), and (cx, cy, w, h) (N, 4) as parts of the image."""
        features = self.trunk(x)
        return self.classifier(features), F.sigmoid(self.regressor(features))

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        n, height, width = int(x.shape[0]), int(x.shape[2]), int(x.shape[3])
        logits, numbers = self.heads(self.transform(x)[0])
        score, label = F.topk(F.softmax(logits, 1), 1)
        boxes = F.mul(corners(numbers), np.array([width, height] * 2, numbers.dtype))
        boxes = F.minimum(F.maximum(boxes, np.zeros((), boxes.dtype)), np.array([width, height] * 2, boxes.dtype))
        found = F.gt(score, self.score_threshold)
        count = F.where(found, np.int64(1), np.int64(0))
        nothing = np.zeros((), score.dtype)
        return (F.where(F.reshape(found, (n, 1, 1)), F.reshape(boxes, (n, 1, 4)), nothing),
                F.where(found, score, nothing), F.mul(label, count), F.reshape(count, (n,)))

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """"classification", the cross-entropy, and "boxes". Each target has one box; ValueError
        where it has not."""
        x, sizes, truth = self.training_batch(images, targets, 0, self.classes)
        for i, target in enumerate(truth):
            if len(target.boxes) != 1:
                raise ValueError(f"Localiser: every target has one box, target {i} has {len(target.boxes)}")
        logits, numbers = self.heads(x)
        boxes = np.concatenate([t.boxes / np.array([w, h] * 2) for t, (h, w) in zip(truth, sizes)])
        boxes = boxes.astype(numbers.dtype)
        loss = (F.l1_loss(numbers, centres(boxes)) if self.box_loss == "l1"
                else F.mean(iou_loss(corners(numbers), boxes)))
        return {"classification": F.cross_entropy(logits, np.concatenate([t.labels for t in truth])),
                "boxes": F.mul(loss, self.box_weight)}


@network(image=(3, 224, 224))
def localiser(**settings) -> Localiser:
    """settings: classes, trunk, size, box_loss, box_weight."""
    return Localiser(**settings)
