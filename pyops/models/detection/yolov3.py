"""YOLOv3. Redmon & Farhadi, "YOLOv3: An Incremental Improvement" (2018).

    Darknet-53 ---- stride 32: 5 convolutions -+- 3x3 -- 1x1: 3 large anchors
                                               | 1x1, upsample
               ---- stride 16: ----------------+ 5 convolutions -+- 3x3 -- 1x1: 3 middle anchors
                                                                 | 1x1, upsample
               ---- stride 8:  ----------------------------------+ 5 convolutions -- 3x3 -- 1x1: 3 small
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..registry import network
from .darknet import DarknetDetector
from .darknet_builder import Layers, checked_anchors

__all__ = ["YOLOv3", "yolov3", "yolov3_spp", "yolov3_tiny"]

COCO = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
TINY_COCO = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))


def darknet53(layers: Layers) -> list[int]:
    """52 convolutions (table 1 without its classifier). Returns the last layers at strides 8, 16
    and 32."""
    layers.conv(32)
    ends = []
    for wide, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        layers.conv(wide, 3, 2)
        for _ in range(blocks):
            layers.residual(wide // 2, wide)
        ends.append(layers.last)
    return ends[2:]


def pyramid(layers: Layers, classes: int, anchors: Sequence[tuple[float, float]], spp: bool) -> None:
    """The trunk and its three heads, the coarsest first."""
    stride8, stride16, _ = darknet53(layers)
    for wide, finer, mask in ((1024, stride16, (6, 7, 8)), (512, stride8, (3, 4, 5)), (256, None, (0, 1, 2))):
        narrow = wide // 2
        layers.convs(narrow, wide, narrow)
        if spp and wide == 1024:
            layers.pyramid_pooling()
            layers.conv(narrow, 1)
        layers.conv(wide, 3)
        branch = layers.conv(narrow, 1)
        layers.conv(wide, 3)
        yolo(layers, mask, anchors, classes)
        if finer is not None:
            layers.route(branch)
            layers.conv(narrow // 2, 1)
            layers.route(layers.add("upsample", stride=2), finer)


def tiny(layers: Layers, classes: int, anchors: Sequence[tuple[float, float]]) -> None:
    """7 convolutions and two heads."""
    for filters in (16, 32, 64, 128):
        layers.conv(filters)
        layers.maxpool()
    finer = layers.conv(256)
    layers.maxpool()
    layers.conv(512)
    layers.maxpool(2, 1)
    layers.conv(1024)
    branch = layers.conv(256, 1)
    layers.conv(512)
    yolo(layers, (3, 4, 5), anchors, classes)
    layers.route(branch)
    layers.conv(128, 1)
    layers.route(layers.add("upsample", stride=2), finer)
    layers.conv(256)
    yolo(layers, (0, 1, 2), anchors, classes)


def yolo(layers: Layers, mask: Sequence[int], anchors: Any, classes: int) -> None:
    # as the published program has it; the paper says 0.5
    layers.yolo(mask, anchors, classes, ignore_thresh=0.7, truth_thresh=1)


class YOLOv3(DarknetDetector):
    """size: of the square input, a multiple of 32. anchors: nine pairs (tiny: six) of width and height
    in pixels of it, from small to large. The other settings are DarknetDetector's."""

    def __init__(self, variant: str, classes: int = 80, size: int = 416, anchors: Any = None,
                 sizes: Sequence[int] = (), width_mult: float = 1.0, fit: str = "letterbox",
                 score_threshold: float = 0.25, iou_threshold: float = 0.45, max_detections: int = 100,
                 class_names: Sequence[str] | None = None) -> None:
        layers = Layers(size, width_mult)
        usual = TINY_COCO if variant == "tiny" else COCO
        pairs = checked_anchors("yolov3", usual if anchors is None else anchors, len(usual))
        if variant == "tiny":
            tiny(layers, classes, pairs)
        else:
            pyramid(layers, classes, pairs, variant == "spp")
        super().__init__(layers.sections, fit, sizes, score_threshold, iou_threshold, max_detections, class_names)


@network(image=(3, 416, 416), smallest=(3, 64, 64))
def yolov3(**settings) -> YOLOv3:
    """Darknet-53 and three scales."""
    return YOLOv3("", **settings)


@network(image=(3, 416, 416), smallest=(3, 64, 64))
def yolov3_tiny(**settings) -> YOLOv3:
    """13 convolutions and two scales."""
    return YOLOv3("tiny", **settings)


@network(image=(3, 608, 608), smallest=(3, 64, 64))
def yolov3_spp(size: int = 608, **settings) -> YOLOv3:
    """YOLOv3 with spatial pyramid pooling."""
    return YOLOv3("spp", size=size, **settings)
