"""Fast R-CNN. Girshick, "Fast R-CNN" (2015), figure 1.

    image -> VGG-16 -> one map -> RoI pooling of given proposals -> fc6 -> fc7 -+-> classes
                                                                               +-> deltas
The whole image is convolved once, whatever the number of proposals; before, each was convolved by itself.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.tensor import Tensor, no_grad
from ...detection.images import as_image
from ...detection.results import Detections
from ...detection.selective_search import selective_search
from ...graph.describe import evaluating
from ..registry import network
from .roi_heads import MapPool, PlainHead, Pool, RegionHeads, RegionSettings
from .transform import Transform, TransformingDetector, scale_boxes
from .vgg_trunk import WIDTH, VGGTrunk

__all__ = ["FastRCNN", "ProposalDetector", "fast_rcnn_vgg16"]

VOC = 20   # classes of the paper


class ProposalDetector(TransformingDetector):
    """A detector of given proposals: forward(images, proposals (N, P, 4)). Proposals are in pixels of
    the given images, and one without area is none, so that images may have fewer than P.

    detect() takes them as a list of arrays, or finds them by selective search.
    """
    proposals: int = 2000   # of an image, at most, where they are searched for

    def detect(self, images: Any, score: float | None = None, iou: float | None = None,
               proposals: Sequence[np.ndarray] | None = None) -> list[Detections]:
        """As Detector.detect, an image at a time. proposals: (P, 4) of each image; None: by selective
        search, which takes scikit-image."""
        if not isinstance(images, (list, tuple)):
            images = [images]
        ready = [as_image(image) for image in images]
        if proposals is None:
            proposals = [selective_search(image)[:self.proposals] for image in ready]
        if len(proposals) != len(ready):
            raise ValueError(f"{type(self).__name__}: as many arrays of proposals as images, got {len(proposals)} and "
                             f"{len(ready)}")
        found = []
        with self.thresholds(score, iou), evaluating(self), no_grad():
            for image, boxes in zip(ready, proposals):
                boxes = checked_proposals(type(self).__name__, boxes)
                found += (self.cut(*self(image[None], boxes[None])) if len(boxes)
                          else [Detections(boxes, [], [], self.class_names)])
        return found


def checked_proposals(name: str, boxes: Any) -> np.ndarray:
    boxes = np.asarray(boxes, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise ValueError(f"{name}: proposals of an image are (P, 4) finite numbers, got {boxes.shape}")
    return boxes


class FastRCNN(ProposalDetector):
    """backbone: gives a list of maps; classes: labels are 0 to classes - 1. box_*: as FasterRCNN."""

    def __init__(self, backbone: nn.Module, classes: int = VOC, head: nn.Module | None = None, width: int = WIDTH,
                 pool: Pool | None = None, channels: int = 512, min_size: int = 600, max_size: int = 1000,
                 score_threshold: float = 0.05, iou_threshold: float = 0.3, max_detections: int = 100,
                 class_names: Sequence[str] | None = None, box_fg_iou_thresh: float = 0.5,
                 box_bg_iou_thresh: float = 0.5, box_batch_size_per_image: int = 64,
                 box_positive_fraction: float = 0.25,
                 bbox_reg_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)) -> None:
        self.set_thresholds(score_threshold, iou_threshold, max_detections, class_names)
        self.backbone = backbone
        settings = RegionSettings(box_fg_iou_thresh, box_bg_iou_thresh, box_batch_size_per_image,
                                  box_positive_fraction, tuple(bbox_reg_weights))
        self.roi_heads = RegionHeads(pool or MapPool(), head or PlainHead(channels, width), width, classes + 1, 1,
                                     settings)
        self.transform = Transform(min_size, max_size)

    def forward(self, images: Any, proposals: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        given = (int(x.shape[2]), int(x.shape[3]))
        x, size = self.transform(x)
        real = with_area(proposals)
        boxes, scores, labels, count = self.roi_heads(
            self.backbone(x), scale_boxes(proposals, given, size), real, (int(x.shape[2]), int(x.shape[3])), size,
            self.iou_threshold, self.score_threshold, self.max_detections)
        return scale_boxes(boxes, size, given), scores, labels, count

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]],   # type: ignore[override]
               proposals: Sequence[Any]) -> dict[str, Tensor]:
        """"classification" and "boxes" of the proposals that are drawn: the multi-task loss of
        section 2.3. proposals: (P, 4) of each image."""
        name, heads = type(self).__name__, self.roi_heads
        given = [tuple(map(int, image.shape[-2:])) for image in images]
        x, sizes, truth = self.training_batch(images, targets, 0, heads.outputs - 1)
        if len(proposals) != len(sizes):
            raise ValueError(f"{name}: as many arrays of proposals as images, got {len(proposals)} and {len(sizes)}")
        scaled = [scale_boxes(checked_proposals(name, p).astype(x.dtype), g, size)
                  for p, g, size in zip(proposals, given, sizes)]
        return heads.losses(self.backbone(x), [b[with_area(b)] for b in scaled],
                            (int(x.shape[2]), int(x.shape[3])), truth)


def with_area(boxes: Any) -> Any:
    """(...) bool of boxes (..., 4)."""
    return F.gt(F.minimum(F.sub(boxes[..., 2], boxes[..., 0]), F.sub(boxes[..., 3], boxes[..., 1])), 0.0)


@network(image=(3, 480, 640))
def fast_rcnn_vgg16(classes: int = VOC, trainable_layers: int = 5, dropout: float = 0.5, **settings) -> FastRCNN:
    """The paper's: VGG-16 to conv5_3, and its hidden layers."""
    trunk = VGGTrunk(trainable_layers)
    return FastRCNN(trunk, classes, **{"head": PlainHead(trunk.channels, WIDTH, dropout), **settings})
