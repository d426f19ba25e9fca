"""YOLOv4. Bochkovskiy, Wang & Liao, "YOLOv4: Optimal Speed and Accuracy of Object Detection" (2020).

    CSPDarknet-53 (Mish) -- stride 32: SPP ------ A ----------------------- C -- large anchors
                                                  | up                down  |
                         -- stride 16: --- 1x1 -- A --------------- B ------+
                                                  | up        down  |  '----- middle anchors
                         -- stride 8:  --- 1x1 -- A ----------------+
                                                  '-------------------------- small anchors

A, B, C: five convolutions; the way down after the way up is PANet's (Liu et al., 2018). Centres reach
beyond their cells by scale_x_y, boxes are learned by CIoU.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..registry import network
from .darknet import DarknetDetector
from .darknet_builder import Layers, checked_anchors
from .yolov3 import TINY_COCO

__all__ = ["YOLOv4", "yolov4", "yolov4_tiny"]

COCO = ((12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401))
BOX = {"iou_loss": "ciou", "iou_normalizer": 0.07, "cls_normalizer": 1.0}


def cross_stage(layers: Layers, wide: int, blocks: int) -> int:
    """Half the channels go past the residual blocks (Wang et al., "CSPNet", 2020)."""
    narrow = wide // 2 if wide > 64 else wide
    start = layers.conv(wide, 3, 2)
    past = layers.conv(narrow, 1)
    layers.route(start)
    layers.conv(narrow, 1)
    for _ in range(blocks):
        layers.residual(narrow if wide > 64 else 32, narrow)
    through = layers.conv(narrow, 1)
    layers.route(through, past)
    return layers.conv(wide, 1)


def full(layers: Layers, classes: int, anchors: Sequence[tuple[float, float]]) -> None:
    layers.activation = "mish"
    layers.conv(32)
    stages = [cross_stage(layers, wide, blocks)
              for wide, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))]
    layers.activation = "leaky"
    layers.convs(512, 1024, 512)
    layers.pyramid_pooling()
    ways = [layers.convs(512, 1024, 512)]
    for wide, stage in ((256, stages[3]), (128, stages[2])):   # up
        layers.conv(wide, 1)
        coarse = layers.add("upsample", stride=2)
        layers.route(stage)
        layers.route(layers.conv(wide, 1), coarse)
        ways.append(layers.convs(wide, 2 * wide, wide, 2 * wide, wide))
    branch = layers.last
    for wide, mask, scale, way in ((256, (0, 1, 2), 1.2, None), (512, (3, 4, 5), 1.1, ways[1]),
                                   (1024, (6, 7, 8), 1.05, ways[0])):   # down
        if way is not None:
            layers.route(branch)
            layers.route(layers.conv(wide // 2, 3, 2), way)
            branch = layers.convs(wide // 2, wide, wide // 2, wide, wide // 2)
        layers.conv(wide, 3)
        layers.yolo(mask, anchors, classes, scale_x_y=scale, ignore_thresh=0.7, iou_thresh=0.213, **BOX)


def tiny(layers: Layers, classes: int, anchors: Sequence[tuple[float, float]]) -> None:
    layers.conv(32, 3, 2)
    layers.conv(64, 3, 2)
    for wide in (64, 128, 256):
        start = layers.conv(wide)
        layers.route(start, groups=2, group_id=1)
        first = layers.conv(wide // 2)
        layers.route(layers.conv(wide // 2), first)
        finer = layers.conv(wide, 1)
        layers.route(start, finer)
        layers.maxpool()
    layers.conv(512)
    branch = layers.conv(256, 1)
    layers.conv(512)
    layers.yolo((3, 4, 5), anchors, classes, scale_x_y=1.05, ignore_thresh=0.7, **BOX)
    layers.route(branch)
    layers.conv(128, 1)
    layers.route(layers.add("upsample", stride=2), finer)
    layers.conv(256)
    # the published weights were trained so: the second smallest anchor serves both heads, the smallest none
    layers.yolo((1, 2, 3), anchors, classes, scale_x_y=1.05, ignore_thresh=0.7, **BOX)


class YOLOv4(DarknetDetector):
    """size: of the square input, a multiple of 32. anchors: nine pairs (tiny: six) of width and height
    in pixels of it, from small to large. The other settings are DarknetDetector's."""

    def __init__(self, variant: str, classes: int = 80, size: int = 416, anchors: Any = None,
                 sizes: Sequence[int] = (), width_mult: float = 1.0, fit: str = "stretch",
                 score_threshold: float = 0.25, iou_threshold: float = 0.45, max_detections: int = 100,
                 class_names: Sequence[str] | None = None) -> None:
        layers = Layers(size, width_mult)
        usual = TINY_COCO if variant == "tiny" else COCO
        pairs = checked_anchors("yolov4", usual if anchors is None else anchors, len(usual))
        (tiny if variant == "tiny" else full)(layers, classes, pairs)
        super().__init__(layers.sections, fit, sizes, score_threshold, iou_threshold, max_detections, class_names)


@network(image=(3, 608, 608), smallest=(3, 64, 64))
def yolov4(size: int = 608, **settings) -> YOLOv4:
    """CSPDarknet-53, SPP and PANet."""
    return YOLOv4("", size=size, **settings)


@network(image=(3, 416, 416), smallest=(3, 64, 64))
def yolov4_tiny(**settings) -> YOLOv4:
    """21 convolutions and two scales."""
    return YOLOv4("tiny", **settings)
