"""Small detectors of the families' own parts, for images of 64x64 pixels: what trains within
minutes on two cores. The anchors are those of digits in pyops.train.detection.scenes.

    yolov3_small      residual blocks to strides 8 and 16, a head at each, the finer one told by
                      the coarser
    fasterrcnn_small  maps of stride 4, a proposal network, RoI align and two hidden layers
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ... import nn
from ...detection.anchors import Anchors
from ..registry import network
from .darknet import DarknetDetector
from .darknet_builder import Layers, checked_anchors
from .darknet_layers import Head
from .faster_rcnn import FasterRCNN
from .roi_heads import PyramidPool

__all__ = ["SMALL_RCNN", "SmallTrunk", "SmallYOLOv3", "fasterrcnn_small", "yolov3_small"]

SIDE = 64
PRIOR = 0.02      # of an anchor showing an object, before anything is learnt
# more anchors than the best one learn an object, by its overlap: a short training meets each more often
TRAINED = {"ignore_thresh": 0.6, "iou_thresh": 0.5, "iou_loss": "ciou", "iou_normalizer": 2}
# widths and heights: k-means of the scenes' boxes by 1 - IoU
DIGITS = ((7, 14), (9, 15), (11, 19), (14, 23), (17, 28), (20, 31))


class SmallYOLOv3(DarknetDetector):
    """size: of the square input, a multiple of 16. anchors: six pairs of width and height in pixels
    of it, from small to large. The other settings are DarknetDetector's."""

    def __init__(self, classes: int = 10, size: int = SIDE, anchors: Any = None, sizes: Sequence[int] = (),
                 width_mult: float = 1.0, fit: str = "letterbox", score_threshold: float = 0.05,
                 iou_threshold: float = 0.45, max_detections: int = 50,
                 class_names: Sequence[str] | None = None) -> None:
        layers = Layers(size, width_mult)
        pairs = checked_anchors("yolov3_small", DIGITS if anchors is None else anchors, len(DIGITS))
        ends = []
        for wide, blocks in ((32, 1), (64, 1), (128, 2), (192, 1)):
            layers.conv(wide, 3, 2)
            for _ in range(blocks):
                layers.residual(wide // 2, wide)
            ends.append(layers.last)
        branch = layers.conv(96, 1)
        layers.conv(192)
        layers.yolo((3, 4, 5), pairs, classes, **TRAINED)
        layers.route(branch)
        layers.conv(64, 1)
        layers.route(layers.add("upsample", stride=2), ends[2])
        layers.conv(96, 1)
        layers.conv(128)
        layers.yolo((0, 1, 2), pairs, classes, **TRAINED)
        super().__init__(layers.sections, fit, sizes, score_threshold, iou_threshold, max_detections, class_names)
        for layer, head in zip(self.network.layers, list(self.network.layers)[1:]):
            if isinstance(head, Head):
                empty_at_first(layer.conv, len(DIGITS) // 2)


def empty_at_first(conv: nn.Conv2d, anchors: int) -> None:
    """Has a head's last convolution say that there are few objects: nearly all places are empty,
    and that need not be learnt first (Lin et al. 2017, section 3.3)."""
    conv.bias.data.reshape(anchors, -1)[:, 4] = -math.log((1 - PRIOR) / PRIOR)


@network(image=(3, SIDE, SIDE))
def yolov3_small(**settings) -> SmallYOLOv3:
    """YOLOv3's form in 20 layers: residual blocks, two scales."""
    return SmallYOLOv3(**settings)


class SmallTrunk(nn.Sequential):
    """images -> one level: maps of 96 channels at stride 4."""

    def __init__(self, channels: int = 96) -> None:
        def layer(before: int, filters: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(before, filters, 3, stride, padding=1, bias=False),
                                 nn.BatchNorm2d(filters), nn.ReLU())
        super().__init__(layer(3, 16), layer(16, 32, 2), layer(32, 32), layer(32, 64, 2), layer(64, 64),
                         layer(64, channels), layer(channels, channels))

    def forward(self, input: Any) -> list[Any]:
        return [super().forward(input)]


# of 64x64 pixels a few dozen boxes are enough
SMALL_RCNN: dict[str, Any] = {
    "pool": PyramidPool(1), "width": 128, "anchors": Anchors(((12, 18, 26),), ((1.7,),)), "min_size": SIDE,
    "max_size": SIDE, "max_detections": 50, "rpn_pre_nms_top_n_train": 200, "rpn_pre_nms_top_n_test": 200,
    "rpn_post_nms_top_n_train": 60, "rpn_post_nms_top_n_test": 40, "rpn_batch_size_per_image": 64,
    "rpn_fg_iou_thresh": 0.6, "box_batch_size_per_image": 32}


@network(image=(3, SIDE, SIDE))
def fasterrcnn_small(classes: int = 10, **settings) -> FasterRCNN:
    """Faster R-CNN over seven convolutions."""
    return FasterRCNN(SmallTrunk(), classes, **{**SMALL_RCNN, "channels": 96, **settings})
