"""RetinaNet. Lin et al., "Focal Loss for Dense Object Detection" (2017), and the form of torchvision's
second version (Zhang et al., "Bridging the Gap", 2020), with torchvision's parameter names.

    image -> ResNet-50 -> pyramid P3..P7 -+-> 4 x 3x3 conv -> 3x3 conv: A x K classes, sigmoid
                                          +-> 4 x 3x3 conv -> 3x3 conv: A x 4 deltas
    both heads are shared by all levels; A = 9 anchors a place

Every anchor of every level is classified, a hundred thousand of them: the focal loss keeps the many
easy ones from outweighing the few that matter.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.tensor import Tensor
from ...detection.anchors import RETINANET, Anchors
from ...detection.coders import BoxCoder, clip
from ...detection.losses import giou_loss
from ...detection.maps import best, in_rows
from ...detection.matching import IGNORED, overlaps, threshold_match
from ...detection.targets import Target
from ..classification.resnet import resnet18, resnet50
from ..registry import network
from .pyramid import CHANNELS, PyramidBackbone, TwoLevels, convolution, resnet_pyramid
from .transform import Transform, TransformingDetector, scale_boxes

__all__ = ["RetinaNet", "retinanet_resnet18_fpn", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"]

PRIOR = 0.01   # of an anchor showing a class, before anything is learnt (section 4.1)


class Tower(nn.Module):
    """Four 3x3 convolutions with ReLU in front of a head."""

    def __init__(self, norm) -> None:
        self.conv = nn.Sequential(*(nn.Sequential(*convolution(CHANNELS, CHANNELS, 3, norm), nn.ReLU())
                                    for _ in range(4)))

    def initialise(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


class ClassificationHead(Tower):
    """Logits (N, anchors x classes, H, W) of each level."""

    def __init__(self, anchors: int, classes: int, norm=None) -> None:
        super().__init__(norm)
        self.cls_logits = nn.Conv2d(CHANNELS, anchors * classes, 3, padding=1)
        self.initialise()
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, levels: list[Any]) -> list[Any]:
        return [self.cls_logits(self.conv(level)) for level in levels]


class RegressionHead(Tower):
    """Deltas (N, anchors x 4, H, W) of each level."""

    def __init__(self, anchors: int, norm=None) -> None:
        super().__init__(norm)
        self.bbox_reg = nn.Conv2d(CHANNELS, anchors * 4, 3, padding=1)
        self.initialise()

    def forward(self, levels: list[Any]) -> list[Any]:
        return [self.bbox_reg(self.conv(level)) for level in levels]


class Heads(nn.Module):
    def __init__(self, anchors: int, classes: int, norm=None) -> None:
        self.classification_head = ClassificationHead(anchors, classes, norm)
        self.regression_head = RegressionHead(anchors, norm)

    def forward(self, levels: list[Any]) -> tuple[list[Any], list[Any]]:
        return self.classification_head(levels), self.regression_head(levels)


class RetinaNet(TransformingDetector):
    """images (N, 3, H, W) float in 0..1 or uint8, of any size. classes: labels are 0 to classes - 1.

    box_loss: "l1" of deltas, or "giou" of boxes. candidates: so many (anchor, class) pairs of each
    level go on to suppression. high, low: an anchor that overlaps an object by at least `high` is to
    find it, by less than `low` is background. min_size, max_size: see Transform.
    """

    def __init__(self, backbone: PyramidBackbone, classes: int = 91, norm=None, box_loss: str = "l1",
                 min_size: int = 800, max_size: int = 1333, score_threshold: float = 0.05,
                 iou_threshold: float = 0.5, max_detections: int = 300,
                 class_names: Sequence[str] | None = None, candidates: int = 1000, high: float = 0.5,
                 low: float = 0.4, anchors: Anchors | None = None) -> None:
        if box_loss not in ("l1", "giou"):
            raise ValueError(f"RetinaNet: box_loss must be 'l1' or 'giou', got {box_loss!r}")
        self.set_thresholds(score_threshold, iou_threshold, max_detections, class_names)
        self.backbone = backbone
        self.anchors = anchors or Anchors(*RETINANET)
        self.classes, self.box_loss, self.candidates = classes, box_loss, candidates
        self.high, self.low = high, low
        self.head = Heads(self.anchors.each[0], classes, norm)
        self.coder = BoxCoder()
        self.transform = Transform(min_size, max_size)

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        given = (int(x.shape[2]), int(x.shape[3]))
        x, size = self.transform(x)
        levels = self.backbone(x)
        logits, deltas = self.head(levels)
        found = [self.best(*level, size) for level in zip(logits, deltas, self.places(x, levels))]
        scores, boxes, labels = (F.cat(part, 1) for part in zip(*found))
        boxes, scores, labels, count = F.multiclass_nms(
            boxes, apart(scores, labels, self.classes), self.iou_threshold, self.score_threshold, self.max_detections)
        return scale_boxes(boxes, size, given), scores, labels, count

    def places(self, x: Any, levels: list[Any]) -> list[np.ndarray]:
        maps = [(int(level.shape[2]), int(level.shape[3])) for level in levels]
        return self.anchors((int(x.shape[2]), int(x.shape[3])), maps)

    def best(self, logits: Any, deltas: Any, anchors: np.ndarray, size: tuple[int, int]) -> tuple[Any, Any, Any]:
        """Scores (N, k), boxes (N, k, 4) and labels (N, k) of a level's best (anchor, class) pairs."""
        found = best(logits, deltas, anchors, self.classes, self.candidates)
        return F.sigmoid(found.logits), clip(self.coder.decode(found.deltas, found.references), size), found.labels

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """"classification", the focal loss over all anchors that are not ignored, and "boxes", that of
        the anchors with an object; each over the number of these, and over the images."""
        x, sizes, truth = self.training_batch(images, targets, 0, self.classes)
        levels = self.backbone(x)
        logits, deltas = (F.cat([in_rows(level, last) for level in of_levels], 1)
                          for of_levels, last in zip(self.head(levels), (self.classes, 4)))
        anchors = np.concatenate(self.places(x, levels)).astype(logits.dtype)
        matches = [threshold_match(overlaps(t.boxes, anchors), self.high, self.low, low_quality=True) for t in truth]
        return {"classification": self.classification_loss(logits, truth, matches),
                "boxes": self.boxes_loss(deltas, anchors, truth, matches)}

    def classification_loss(self, logits: Any, truth: list[Target], matches: list[np.ndarray]) -> Tensor:
        wanted = np.zeros(logits.shape, logits.dtype)
        weight = np.zeros((*logits.shape[:2], 1), logits.dtype)
        for i, (target, match) in enumerate(zip(truth, matches)):
            objects = np.flatnonzero(match >= 0)
            wanted[i, objects, target.labels[match[objects]]] = 1
            weight[i, match != IGNORED] = 1 / (max(1, len(objects)) * len(truth))
        return F.sum(F.mul(F.sigmoid_focal_loss(logits, wanted), weight))

    def boxes_loss(self, deltas: Any, anchors: np.ndarray, truth: list[Target], matches: list[np.ndarray]) -> Tensor:
        parts = []
        for i, (target, match) in enumerate(zip(truth, matches)):
            objects = np.flatnonzero(match >= 0)
            own, boxes = F.index_select(deltas[i], 0, objects), target.boxes[match[objects]].astype(anchors.dtype)
            if self.box_loss == "l1":
                loss = F.l1_loss(own, self.coder.encode(boxes, anchors[objects]), reduction="sum")
            else:
                loss = F.sum(giou_loss(self.coder.decode(own, anchors[objects]), boxes))
            parts.append(F.div(loss, max(1, len(objects)) * len(truth)))
        return F.sum(F.stack(parts))


def apart(scores: Any, labels: Any, classes: int) -> Any:
    """(N, k, classes): each pair's score in the column of its label, zeros elsewhere."""
    n, k = map(int, scores.shape)
    empty = np.zeros((n, k, classes), scores.dtype)
    return F.scatter(empty, 2, F.reshape(labels, (n, k, 1)), F.reshape(scores, (n, k, 1)))


@network(published=34_014_999, source="torchvision", image=(3, 480, 640))
def retinanet_resnet50_fpn(classes: int = 91, trainable_layers: int = 5, frozen_norm: bool = False,
                           norm_eps: float | None = None, **settings) -> RetinaNet:
    """The paper's over ResNet-50."""
    backbone = resnet_pyramid(resnet50(), (2, 3, 4), TwoLevels(CHANNELS), None, trainable_layers, frozen_norm, norm_eps)
    return RetinaNet(backbone, classes, **settings)


@network(image=(3, 480, 640))
def retinanet_resnet18_fpn(classes: int = 91, trainable_layers: int = 5, frozen_norm: bool = False,
                           norm_eps: float | None = None, **settings) -> RetinaNet:
    """The same over ResNet-18, to train on little."""
    backbone = resnet_pyramid(resnet18(), (2, 3, 4), TwoLevels(CHANNELS), None, trainable_layers, frozen_norm, norm_eps)
    return RetinaNet(backbone, classes, **settings)


@network(published=38_198_935, source="torchvision", image=(3, 480, 640))
def retinanet_resnet50_fpn_v2(classes: int = 91, trainable_layers: int = 5, **settings) -> RetinaNet:
    """With group norms in the heads, P6 from C5, and GIoU's loss."""
    backbone = resnet_pyramid(resnet50(), (2, 3, 4), TwoLevels(2048), None, trainable_layers)
    return RetinaNet(backbone, classes, partial(nn.GroupNorm, 32), **{"box_loss": "giou", **settings})
