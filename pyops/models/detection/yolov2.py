"""YOLOv2. Redmon & Farhadi, "YOLO9000: Better, Faster, Stronger" (2017).

    Darknet-19 at stride 32 ----- 2 convolutions ---+
        at stride 16 -- 1x1 -- passthrough (reorg) -+-- convolution -- 5 anchors a cell

All convolutions, so that training changes the input's size every ten batches (sizes). Anchors are
k-means of the training set's boxes by 1 - IoU (pyops.detection.kmeans_anchors).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..registry import network
from .darknet import DarknetDetector
from .darknet_builder import Layers, checked_anchors, written

__all__ = ["YOLOv2", "yolov2", "yolov2_tiny"]

COCO = ((0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828))
MULTI_SCALE = tuple(range(320, 609, 32))


def darknet19(layers: Layers) -> int:
    """The trunk of 18 convolutions at stride 32 (table 6 without its classifier). Returns the last
    layer at stride 16."""
    layers.conv(32)
    layers.maxpool()
    layers.conv(64)
    for wide, convolutions in ((128, 3), (256, 3), (512, 5), (1024, 5)):
        stride16 = layers.last
        layers.maxpool()
        for i in range(convolutions):
            layers.conv(wide // (1 + i % 2), 3 - 2 * (i % 2))
    return stride16


def tiny_trunk(layers: Layers) -> None:
    for filters in (16, 32, 64, 128, 256, 512):
        layers.conv(filters)
        layers.maxpool(2, 1 if filters == 512 else 2)
    layers.conv(1024)
    layers.conv(512)


def passthrough(layers: Layers, stride16: int) -> None:
    """Two more convolutions, beside them the finer maps with their pixels stacked."""
    layers.conv(1024)
    coarse = layers.conv(1024)
    layers.route(stride16)
    layers.conv(64, 1)
    fine = layers.add("reorg", stride=2)
    layers.route(fine, coarse)
    layers.conv(1024)


def region(layers: Layers, classes: int, anchors: Sequence[tuple[float, float]], **options: Any) -> None:
    layers.numbers(len(anchors) * (5 + classes))
    layers.add("region", anchors=written(anchors), bias_match=1, classes=classes, coords=4, num=len(anchors),
               softmax=1, object_scale=5, noobject_scale=1, class_scale=1, coord_scale=1, thresh=0.6,
               **{"rescore": 1, **options})


class YOLOv2(DarknetDetector):
    """size: of the square input, a multiple of 32. anchors: five pairs of width and height in cells of
    32 pixels. sizes: of the inputs in training, YOLOv2's multi-scale training is MULTI_SCALE. The
    other settings are DarknetDetector's."""

    def __init__(self, variant: str, classes: int = 80, size: int = 416, anchors: Any = COCO,
                 sizes: Sequence[int] = (), width_mult: float = 1.0, fit: str = "letterbox",
                 score_threshold: float = 0.25, iou_threshold: float = 0.45, max_detections: int = 100,
                 class_names: Sequence[str] | None = None) -> None:
        layers = Layers(size, width_mult)
        if variant == "tiny":
            tiny_trunk(layers)
        else:
            passthrough(layers, darknet19(layers))
        region(layers, classes, checked_anchors("yolov2", anchors, 5), rescore=int(variant != "tiny"))
        super().__init__(layers.sections, fit, sizes, score_threshold, iou_threshold, max_detections, class_names)


@network(image=(3, 416, 416), smallest=(3, 64, 64))
def yolov2(**settings) -> YOLOv2:
    """Darknet-19 with a passthrough."""
    return YOLOv2("", **settings)


@network(image=(3, 416, 416), smallest=(3, 64, 64))
def yolov2_tiny(**settings) -> YOLOv2:
    """8 convolutions."""
    return YOLOv2("tiny", **settings)
