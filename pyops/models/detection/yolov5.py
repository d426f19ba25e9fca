"""YOLOv5 (G. Jocher, 2020; there is no paper, the sizes are those of its published table), written from
what is said of it: CSPNet's stages, one stem of 6x6, fast spatial pyramid pooling, PANet, anchors.

    image - stem - s2 - s3 -+- s4 -+- s5 - pooling -+
                            |      |                lateral5 ------------------------ + - out5 - head
                            |      + -- up4 ------- up                                down
                            |           lateral4 -----------------------+ - out4 -----+----- head
                            + --------- up - out3 ---------- down ------+
                                             '---------------------------------------------- head
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...detection.assignment import neighbours, ratio_match
from ..registry import network
from .darknet_builder import checked_anchors
from .framed import FramedDetector, joined
from .yolo_blocks import Bottleneck, ConvBlock, CrossStage, PyramidPooling, depth, width
from .yolo_head import cells
from .yolo_truth import Truth, corners

__all__ = ["YOLOv5", "yolov5l", "yolov5m", "yolov5n", "yolov5s", "yolov5x"]

# factors of width and depth
VARIANTS = {"n": (0.25, 0.33), "s": (0.5, 0.33), "m": (0.75, 0.67), "l": (1.0, 1.0), "x": (1.25, 1.33)}
COCO = ((10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326))
STRIDES = (8, 16, 32)
BALANCE = (4.0, 1.0, 0.4)   # of the objectness of the three heads
BOX, OBJECTNESS, CLASSES = 0.05, 1.0, 0.5   # parts of the loss, at 640 pixels and 80 classes

# what published files call the layers, by number, and the parts of each
LAYERS = {0: "stem", 1: "down2", 2: "stage2", 3: "down3", 4: "stage3", 5: "down4", 6: "stage4", 7: "down5", 8: "stage5",
          9: "pooling", 10: "lateral5", 13: "up4", 14: "lateral4", 17: "out3", 18: "down_out3", 20: "out4",
          21: "down_out4", 23: "out5", 24: "head"}


def own_name(key: str) -> str:
    """The name here of an array of a published state_dict; other names as they are."""
    found = re.match(r"(?:model\.)+(\d+)\.(.*)", key)
    if not found or int(found[1]) not in LAYERS:
        return key
    layer, rest = LAYERS[int(found[1])], found[2]
    if layer == "head":
        return "anchors" if rest == "anchors" else rest.replace("m.", "head.", 1)
    rest = re.sub(r"^m\.(\d+)\.cv(\d)\.", lambda m: f"blocks.{m[1]}.{('first', 'second')[int(m[2]) - 1]}.", rest)
    places = ("narrow", "merge") if layer == "pooling" else ("through", "past", "merge")
    rest = re.sub(r"^cv(\d)\.", lambda m: f"{places[int(m[1]) - 1]}.", rest)
    return f"{layer}.{rest.replace('bn.', 'norm.')}"


def stage(inputs: int, outputs: int, count: int, shortcut: bool = True) -> CrossStage:
    inner = outputs // 2
    return CrossStage(inputs, outputs, inner, nn.Sequential(*(Bottleneck(inner, shortcut) for _ in range(count))))


class YOLOv5(FramedDetector):
    """size: of the square input, a multiple of 32. anchors: nine pairs of width and height in pixels,
    from small to large. depth_mult, width_mult: factors beside the variant's own. The other settings
    are FramedDetector's and Detector's."""
    fill = 114 / 255
    align_corners = False
    own_name = staticmethod(own_name)

    def __init__(self, variant: str, classes: int = 80, size: int = 640, anchors: Any = COCO,
                 sizes: Sequence[int] = (), width_mult: float = 1.0, depth_mult: float = 1.0,
                 fit: str = "letterbox", score_threshold: float = 0.25, iou_threshold: float = 0.45,
                 max_detections: int = 300, class_names: Sequence[str] | None = None) -> None:
        if size < 32 or size % 32:
            raise ValueError(f"yolov5: size must be a multiple of 32, got {size}")
        self.set_thresholds(score_threshold, iou_threshold, max_detections, class_names)
        self.set_frame((size, size), fit, sizes)
        self.classes = classes
        w, d = VARIANTS[variant]
        c1, c2, c3, c4, c5 = (width(c, w * width_mult) for c in (64, 128, 256, 512, 1024))
        n3, n6, n9 = (depth(n, d * depth_mult) for n in (3, 6, 9))
        self.stem = ConvBlock(3, c1, 6, 2, 2)
        self.down2, self.stage2 = ConvBlock(c1, c2, 3, 2), stage(c2, c2, n3)
        self.down3, self.stage3 = ConvBlock(c2, c3, 3, 2), stage(c3, c3, n6)
        self.down4, self.stage4 = ConvBlock(c3, c4, 3, 2), stage(c4, c4, n9)
        self.down5, self.stage5 = ConvBlock(c4, c5, 3, 2), stage(c5, c5, n3)
        self.pooling = PyramidPooling(c5, c5)
        self.lateral5, self.up4 = ConvBlock(c5, c4), stage(2 * c4, c4, n3, False)
        self.lateral4, self.out3 = ConvBlock(c4, c3), stage(2 * c3, c3, n3, False)
        self.down_out3, self.out4 = ConvBlock(c3, c3, 3, 2), stage(2 * c3, c4, n3, False)
        self.down_out4, self.out5 = ConvBlock(c4, c4, 3, 2), stage(2 * c4, c5, n3, False)
        self.head = nn.ModuleList(nn.Conv2d(c, 3 * (5 + classes), 1) for c in (c3, c4, c5))
        pairs = np.array(checked_anchors("yolov5", anchors, 9), np.float32).reshape(3, 3, 2)
        # in strides, as published files have them
        self.register_buffer("anchors", pairs / np.array(STRIDES, np.float32)[:, None, None])
        for conv, stride in zip(self.head, STRIDES):
            prior(conv, stride, classes)

    def maps(self, x: Any) -> list[Any]:
        x = self.stage2(self.down2(self.stem(x)))
        s3 = self.stage3(self.down3(x))
        s4 = self.stage4(self.down4(s3))
        top5 = self.lateral5(self.pooling(self.stage5(self.down5(s4))))
        top4 = self.lateral4(self.up4(F.cat([doubled(top5), s4], 1)))
        out3 = self.out3(F.cat([doubled(top4), s3], 1))
        out4 = self.out4(F.cat([self.down_out3(out3), top4], 1))
        out5 = self.out5(F.cat([self.down_out4(out4), top5], 1))
        return [conv(out) for conv, out in zip(self.head, (out3, out4, out5))]

    # ---- from numbers to boxes

    def decoded(self, maps: list[Any]) -> tuple[Any, Any]:
        """Centres (2 s - 0.5 + cell) stride and sizes anchor (2 s)^2 of sigmoids s; scores are
        objectness times class."""
        boxes, scores = zip(*(self._decoded(one, anchors * stride, stride)
                              for one, anchors, stride in zip(maps, self.anchors, STRIDES)))
        return joined(list(boxes)), joined(list(scores))

    def _decoded(self, one: Any, anchors: np.ndarray, stride: int) -> tuple[Any, Any]:
        n, _, h, w = one.shape
        s = F.sigmoid(F.reshape(one, (n, 3, 5 + self.classes, h, w)))
        centre = s[:, :, :2] * np.float32(2 * stride) + (cells(h, w) - np.float32(0.5)) * np.float32(stride)
        half = F.square(s[:, :, 2:4]) * (anchors.reshape(3, 2, 1, 1) * np.float32(2))
        boxes, scores = F.cat([centre - half, centre + half], 2), s[:, :, 4:5] * s[:, :, 5:]
        return (F.reshape(F.permute(boxes, (0, 1, 3, 4, 2)), (n, -1, 4)),
                F.reshape(F.permute(scores, (0, 1, 3, 4, 2)), (n, -1, self.classes)))

    # ---- training

    def parts(self, maps: list[Any], truth: list[Truth], size: tuple[int, int]) -> dict[str, Any]:
        """box: the mean of 1 - CIoU over what is responsible; objectness: cross-entropy with that
        CIoU at all places; classes: mean cross-entropy over what is responsible."""
        total: dict[str, Any] = {}
        for one, anchors, stride, balance in zip(maps, self.anchors, STRIDES, BALANCE):
            for name, value in self._parts(one, anchors, truth, balance).items():
                total[name] = total[name] + value if name in total else value
        factors = {"box": BOX, "objectness": OBJECTNESS * size[0] * size[1] / 640 ** 2,
                   "classes": CLASSES * self.classes / 80}
        return {name: value * np.float32(factors[name]) for name, value in total.items()}

    def _parts(self, one: Any, anchors: np.ndarray, truth: list[Truth], balance: float) -> dict[str, Any]:
        n, _, h, w = one.shape
        rows = F.reshape(F.permute(F.reshape(one, (n, 3, 5 + self.classes, h, w)), (0, 1, 3, 4, 2)),
                         (-1, 5 + self.classes))
        place, boxes, labels, of_anchor = assigned(truth, anchors, (h, w))
        chosen = F.index_select(rows, 0, place)
        cell = np.stack([place % w, place // w % h], 1).astype(np.float32)
        centre = F.sigmoid(chosen[:, :2]) * 2 + (cell - np.float32(0.5))
        half = F.square(F.sigmoid(chosen[:, 2:4])) * (anchors[of_anchor] * np.float32(2))
        apart = F.complete_box_iou_loss(F.cat([centre - half, centre + half], 1), corners(boxes))
        objectness = np.zeros(n * 3 * h * w, np.float32)
        objectness[place] = np.clip(1 - np.asarray(getattr(apart, "data", apart)), 0, None)
        kinds = np.zeros((len(place), self.classes), np.float32)
        kinds[np.arange(len(place)), labels] = 1
        several = 0.0 if self.classes == 1 else 1.0   # with one class there is nothing to tell apart
        count = max(len(place), 1)
        return {"box": F.sum(apart) * np.float32(1 / count),
                "objectness": F.binary_cross_entropy_with_logits(rows[:, 4], objectness) * np.float32(balance),
                "classes": F.binary_cross_entropy_with_logits(chosen[:, 5:], kinds, reduction="sum")
                * np.float32(several / (count * self.classes))}


def assigned(truth: list[Truth], anchors: np.ndarray, grid: tuple[int, int]) -> Any:
    """Rows (n, anchor, y, x) that learn a box: those of anchors whose size is like the box's, at the
    cell of its centre and its nearest neighbours. Returns places (m,), boxes (m, 4) in cells, labels
    (m,) and anchors (m,)."""
    h, w = grid
    places, boxes, labels, of_anchor = [], [], [], []
    for image, one in enumerate(truth):
        inside = one.boxes * np.array([w, h, w, h], np.float32)
        for anchor, fits in enumerate(ratio_match(inside[:, 2:], anchors).T):
            kept = np.flatnonzero(fits)
            which, cell = neighbours(inside[kept, :2], grid)
            places.append(((image * len(anchors) + anchor) * h + cell[:, 1]) * w + cell[:, 0])
            boxes.append(inside[kept][which])
            labels.append(one.labels[kept][which])
            of_anchor.append(np.full(len(which), anchor))
    return tuple(np.concatenate(parts) for parts in (places, boxes, labels, of_anchor))


def doubled(x: Any) -> Any:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def prior(conv: nn.Conv2d, stride: int, classes: int) -> None:
    """Biases of a head as if 8 objects lay in an image of 640 pixels, and all classes were alike."""
    bias = conv.bias.data.reshape(3, -1)
    bias[:, 4] += log(8 / (640 / stride) ** 2)
    bias[:, 5:] += log(0.6 / (classes - 0.99)) if classes > 1 else 0


@network(image=(3, 640, 640), smallest=(3, 64, 64))
def yolov5n(**settings) -> YOLOv5:
    """1.9 million parameters."""
    return YOLOv5("n", **settings)


@network(image=(3, 640, 640), smallest=(3, 64, 64))
def yolov5s(**settings) -> YOLOv5:
    """7.2 million parameters."""
    return YOLOv5("s", **settings)


@network(image=(3, 640, 640), smallest=(3, 64, 64))
def yolov5m(**settings) -> YOLOv5:
    """21.2 million parameters."""
    return YOLOv5("m", **settings)


@network(image=(3, 640, 640), smallest=(3, 64, 64))
def yolov5l(**settings) -> YOLOv5:
    """46.5 million parameters."""
    return YOLOv5("l", **settings)


@network(image=(3, 640, 640), smallest=(3, 64, 64))
def yolov5x(**settings) -> YOLOv5:
    """86.7 million parameters."""
    return YOLOv5("x", **settings)
