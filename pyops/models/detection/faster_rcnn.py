"""Faster R-CNN. Ren, He, Girshick & Sun, "Faster R-CNN: Towards Real-Time Object Detection with Region
Proposal Networks" (2015), figure 2, over feature pyramids (Lin et al., 2017) with torchvision's
parameter names, and over VGG-16 as in the paper.

    image -> trunk -> maps -+-> region proposal network -> boxes
                            |                                |
                            +----------> RoI pooling <-------+  -> classes, corrected boxes

Proposals and detections share the maps: that is what made the proposals all but free.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.tensor import Tensor
from ...detection.anchors import RPN_PYRAMID, Anchors
from ..classification.resnet import resnet18, resnet50
from ..registry import network
from .pyramid import CHANNELS, mobilenet_pyramid, resnet_pyramid
from .roi_heads import MapPool, PlainHead, Pool, PyramidPool, RegionHeads, RegionSettings, convolved_head
from .rpn import Proposer, ProposerSettings
from .transform import Transform, TransformingDetector, scale_boxes
from .vgg_trunk import WIDTH, VGGTrunk

__all__ = ["FasterRCNN", "fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_mobilenet_v3_large_fpn",
           "fasterrcnn_resnet18_fpn", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_vgg16"]

COCO = 91   # outputs of torchvision's weights: background, and COCO's categories by their numbers


class FasterRCNN(TransformingDetector):
    """images (N, 3, H, W) float in 0..1 or uint8, of any size.

    classes: labels are 0 to classes - 1, and the head has one output more; None: torchvision's head
    of 91 outputs, whose labels 1 to 90 are COCO's. rpn_*, box_*: how many boxes go from step to step and
    which are trained on, under torchvision's names. min_size, max_size: see Transform.
    """

    def __init__(self, backbone: nn.Module, classes: int | None = None, head: nn.Module | None = None,
                 width: int = 1024, pool: Pool | None = None, anchors: Anchors | None = None, rpn_depth: int = 1,
                 channels: int = CHANNELS, min_size: int = 800, max_size: int = 1333, score_threshold: float = 0.05,
                 iou_threshold: float = 0.5, max_detections: int = 100, class_names: Sequence[str] | None = None,
                 rpn_pre_nms_top_n_train: int = 2000, rpn_pre_nms_top_n_test: int = 1000,
                 rpn_post_nms_top_n_train: int = 2000, rpn_post_nms_top_n_test: int = 1000, rpn_nms_thresh: float = 0.7,
                 rpn_fg_iou_thresh: float = 0.7, rpn_bg_iou_thresh: float = 0.3, rpn_batch_size_per_image: int = 256,
                 rpn_positive_fraction: float = 0.5, rpn_score_thresh: float = 0.0, box_fg_iou_thresh: float = 0.5,
                 box_bg_iou_thresh: float = 0.5,
                 box_batch_size_per_image: int = 512, box_positive_fraction: float = 0.25,
                 bbox_reg_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)) -> None:
        self.set_thresholds(score_threshold, iou_threshold, max_detections, class_names)
        self.backbone = backbone
        self.rpn = Proposer(channels, anchors or Anchors(*RPN_PYRAMID), ProposerSettings(
            (rpn_pre_nms_top_n_train, rpn_pre_nms_top_n_test), (rpn_post_nms_top_n_train, rpn_post_nms_top_n_test),
            rpn_nms_thresh, rpn_fg_iou_thresh, rpn_bg_iou_thresh, rpn_batch_size_per_image, rpn_positive_fraction,
            rpn_score_thresh), rpn_depth)
        settings = RegionSettings(box_fg_iou_thresh, box_bg_iou_thresh, box_batch_size_per_image,
                                  box_positive_fraction, tuple(bbox_reg_weights))
        outputs, shift = (COCO, 0) if classes is None else (classes + 1, 1)
        self.roi_heads = RegionHeads(pool or PyramidPool(), head or PlainHead(channels, width), width, outputs, shift,
                                     settings)
        self.transform = Transform(min_size, max_size)

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x = self.floats(images)
        given = (int(x.shape[2]), int(x.shape[3]))
        x, size = self.transform(x)
        levels = self.backbone(x)
        input = (int(x.shape[2]), int(x.shape[3]))
        proposals, some = self.rpn(levels, input, [size])
        real = F.lt(np.arange(int(proposals.shape[1]))[None], F.reshape(some, (-1, 1)))
        boxes, scores, labels, count = self.roi_heads(levels, proposals, real, input, size, self.iou_threshold,
                                                      self.score_threshold, self.max_detections)
        return scale_boxes(boxes, size, given), scores, labels, count

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """"objectness" and "proposals" of the proposal network, "classification" and "boxes" of the
        heads. The paper's equation 1 and Fast R-CNN's, as torchvision weighs them."""
        heads = self.roi_heads
        x, sizes, truth = self.training_batch(images, targets, 1 - heads.shift, heads.outputs - 1)
        levels = self.backbone(x)
        input = (int(x.shape[2]), int(x.shape[3]))
        boxes, count, parts = self.rpn.losses(levels, input, sizes, truth)
        return parts | heads.losses(levels, [b[:n] for b, n in zip(boxes, count)], input, truth)


@network(published=41_755_286, source="torchvision", image=(3, 480, 640))
def fasterrcnn_resnet50_fpn(classes: int | None = None, trainable_layers: int = 5, frozen_norm: bool = False,
                            norm_eps: float | None = None, **settings) -> FasterRCNN:
    """Over ResNet-50's pyramid."""
    return FasterRCNN(resnet_pyramid(resnet50(), trainable_layers=trainable_layers, frozen_norm=frozen_norm,
                                     norm_eps=norm_eps), classes, **settings)


@network(image=(3, 480, 640))
def fasterrcnn_resnet18_fpn(classes: int | None = None, trainable_layers: int = 5, frozen_norm: bool = False,
                            norm_eps: float | None = None, **settings) -> FasterRCNN:
    """The same over ResNet-18, to train on little."""
    return FasterRCNN(resnet_pyramid(resnet18(), trainable_layers=trainable_layers, frozen_norm=frozen_norm,
                                     norm_eps=norm_eps), classes, **settings)


@network(published=43_712_278, source="torchvision", image=(3, 480, 640))
def fasterrcnn_resnet50_fpn_v2(classes: int | None = None, trainable_layers: int = 5, **settings) -> FasterRCNN:
    """With norms in the pyramid, two convolutions in the proposal network and four in the head."""
    backbone = resnet_pyramid(resnet50(), norm=nn.BatchNorm2d, trainable_layers=trainable_layers)
    return FasterRCNN(backbone, classes, **{"head": convolved_head(CHANNELS), "rpn_depth": 2, **settings})


def over_mobilenet(classes: int | None, trainable_layers: int, frozen_norm: bool, settings: dict) -> FasterRCNN:
    sizes = ((32, 64, 128, 256, 512),) * 3
    return FasterRCNN(mobilenet_pyramid(trainable_layers, frozen_norm), classes, **{
        "anchors": Anchors(sizes, ((0.5, 1.0, 2.0),) * 3), "pool": PyramidPool(2), **settings})


@network(published=19_386_354, source="torchvision", image=(3, 480, 640))
def fasterrcnn_mobilenet_v3_large_fpn(classes: int | None = None, trainable_layers: int = 6, frozen_norm: bool = False,
                                      **settings) -> FasterRCNN:
    """Over MobileNetV3's pyramid."""
    return over_mobilenet(classes, trainable_layers, frozen_norm, {"rpn_score_thresh": 0.05, **settings})


@network(published=19_386_354, source="torchvision", image=(3, 480, 640))
def fasterrcnn_mobilenet_v3_large_320_fpn(classes: int | None = None, trainable_layers: int = 6,
                                          frozen_norm: bool = False, **settings) -> FasterRCNN:
    """Over MobileNetV3's pyramid, of images of 320 pixels and 150 proposals."""
    return over_mobilenet(classes, trainable_layers, frozen_norm, {
        "min_size": 320, "max_size": 640, "rpn_pre_nms_top_n_test": 150, "rpn_post_nms_top_n_test": 150,
        "rpn_score_thresh": 0.05, **settings})


@network(image=(3, 480, 640))
def fasterrcnn_vgg16(classes: int | None = None, trainable_layers: int = 5, dropout: float = 0.5,
                     **settings) -> FasterRCNN:
    """The paper's: VGG-16 to conv5_3, nine anchors a place, RoI pooling, and VGG's hidden layers for a
    head. classes: None for COCO's 91 outputs; the paper's are of Pascal VOC, 20."""
    trunk = VGGTrunk(trainable_layers)
    return FasterRCNN(trunk, classes, **{
        "head": PlainHead(trunk.channels, WIDTH, dropout), "width": WIDTH, "pool": MapPool(),
        "channels": trunk.channels, "anchors": Anchors(((128, 256, 512),), ((0.5, 1.0, 2.0),)), "min_size": 600,
        "max_size": 1000, "rpn_pre_nms_top_n_train": 12000, "rpn_pre_nms_top_n_test": 6000,
        "rpn_post_nms_top_n_test": 300, "iou_threshold": 0.3, **settings})
