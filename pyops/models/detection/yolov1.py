"""YOLOv1. Redmon et al., "You Only Look Once: Unified, Real-Time Object Detection" (2016).

    448x448 image -> 24 convolutions -> 7x7 cells -> each: C class probabilities, B boxes

The whole image is looked at once: a cell finds the object whose centre it holds. The published
program has batch norm, and a layer of local filters in place of the paper's 4,096 hidden units.
"""
from __future__ import annotations

from collections.abc import Sequence

from ..registry import network
from .darknet import DarknetDetector
from .darknet_builder import Layers

__all__ = ["YOLOv1", "yolov1", "yolov1_tiny"]

# filters of 3x3 convolutions, each behind a 1x1 with half as many, between the poolings (figure 3)
STAGES = ((256, 512), (512, 512, 512, 512, 1024), (1024, 1024))


def trunk(layers: Layers) -> None:
    layers.conv(64, 7, 2)
    layers.maxpool()
    layers.conv(192)
    for filters in STAGES:
        layers.maxpool()
        for wide in filters:
            layers.convs(wide // 2, wide)
    layers.conv(1024)
    layers.conv(1024, 3, 2)
    layers.conv(1024)
    layers.conv(1024)


def tiny_trunk(layers: Layers) -> None:
    for filters in (16, 32, 64, 128, 256, 512):
        layers.conv(filters)
        layers.maxpool()
    layers.conv(1024)
    layers.conv(256)


class YOLOv1(DarknetDetector):
    """size: of the square input, a multiple of 64. side: cells along each axis, size / 64. boxes: of a
    cell. hidden: "local" or "connected", the paper's. The other settings are DarknetDetector's."""

    def __init__(self, variant: str, classes: int = 20, size: int = 448, boxes: int = 2, hidden: str = "local",
                 width_mult: float = 1.0, fit: str = "stretch", score_threshold: float = 0.25,
                 iou_threshold: float = 0.45, max_detections: int = 100,
                 class_names: Sequence[str] | None = None) -> None:
        if hidden not in ("local", "connected"):
            raise ValueError(f"yolov1: hidden must be local or connected, got {hidden!r}")
        if size < 64 or size % 64:
            raise ValueError(f"yolov1: size must be a multiple of 64, got {size}")
        layers = Layers(size, width_mult)
        if variant == "tiny":
            tiny_trunk(layers)
        else:
            trunk(layers)
            if hidden == "local":
                layers.add("local", size=3, stride=1, pad=1, filters=layers.wide(256), activation="leaky")
            else:
                layers.add("connected", output=layers.wide(4096), activation="leaky")
            layers.add("dropout", probability=0.5)
        side = size // 64
        layers.add("connected", output=side ** 2 * (classes + 5 * boxes), activation="linear")
        layers.add("detection", classes=classes, coords=4, rescore=1, side=side, num=boxes, softmax=0, sqrt=1,
                   object_scale=1, noobject_scale=0.5, class_scale=1, coord_scale=5)
        super().__init__(layers.sections, fit, (), score_threshold, iou_threshold, max_detections, class_names)


@network(image=(3, 448, 448), smallest=(3, 64, 64))
def yolov1(**settings) -> YOLOv1:
    """24 convolutions, a local layer and a linear one."""
    return YOLOv1("", **settings)


@network(image=(3, 448, 448), smallest=(3, 64, 64))
def yolov1_tiny(**settings) -> YOLOv1:
    """8 convolutions and a linear layer."""
    return YOLOv1("tiny", **settings)
