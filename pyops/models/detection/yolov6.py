"""YOLOv6. Li et al., "YOLOv6: A Single-Stage Object Detection Framework for Industrial Applications"
(2022), and "YOLOv6 v3.0: A Full-Scale Reloading" (2023).

    image - stem - s2 - s3 - s4 - s5 - pooling: RepVGG blocks, in m and l within CSP stages
              s2, s3, s4 --- joined on the way up (3.0: three maps at once, BiC) --- PANet's way down
              three heads, one 3x3 for classes and one for boxes each; no anchors: distances to the sides

RepVGG blocks have three branches in training and are one convolution at inference. m and l learn a
distribution over each distance (DFL).
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...detection.assignment import Aligned, task_aligned
from ...detection.matching import adaptive_match, overlaps
from ..registry import network
from .framed import FramedDetector, joined
from .yolo_blocks import ConvBlock, CrossStage, PyramidPooling, RepVGG, depth, pooled, width
from .yolo_head import cells
from .yolo_truth import Truth, corners

__all__ = ["YOLOv6", "yolov6l", "yolov6m", "yolov6n", "yolov6s"]

# width, depth, and of m and l the share of a stage's channels that goes through its blocks
VARIANTS = {"n": (0.25, 0.33, None), "s": (0.5, 0.33, None), "m": (0.75, 0.6, 2 / 3), "l": (1.0, 1.0, 1 / 2)}
STRIDES = (8, 16, 32)
REACH = 16   # strides that DFL's distributions reach
CLASSES, BOX, DISTANCES = 1.0, 2.5, 0.5   # weights of the parts of the loss

# published names, part by part
PLACES = {"backbone.stem": "stem", **{f"backbone.ERBlock_{i}.0": f"down{i}" for i in range(2, 6)},
          **{f"backbone.ERBlock_{i}.1": f"stage{i}" for i in range(2, 6)}, "backbone.ERBlock_5.2": "pooling",
          "neck.reduce_layer0": "lateral5", "neck.reduce_layer1": "lateral4", "neck.Bifusion0": "join4",
          "neck.Bifusion1": "join3", "neck.upsample0": "join4.up", "neck.upsample1": "join3.up", "neck.Rep_p4": "up4",
          "neck.Rep_p3": "out3", "neck.downsample2": "down_out3", "neck.Rep_n3": "out4",
          "neck.downsample1": "down_out4", "neck.Rep_n4": "out5"}
HEADS = {"stems": "stem", "cls_convs": "for_classes", "reg_convs": "for_boxes", "cls_preds": "classes",
         "reg_preds": "boxes"}
INNER = ((r"rbr_dense\.conv", "dense"), (r"rbr_dense\.bn", "dense_norm"), (r"rbr_1x1\.conv", "point"),
         (r"rbr_1x1\.bn", "point_norm"), (r"rbr_identity", "identity"), (r"rbr_reparam", "folded"),
         (r"upsample\.upsample_transpose|upsample_transpose", "up"), (r"(^|\.)downsample\.", r"\1down."),
         (r"\.?block\.(conv|bn)", r".\1"), (r"\bbn\b", "norm"))
PARTS = {"join": ("wide", "fine", "merge"), "pooling": ("narrow", "merge"), "cspsppf": (
    "narrow", "past", "widen", "again", "gather", "smooth", "merge"), "stage": ("through", "past", "merge")}


def own_name(key: str) -> str | None:
    """The name here of an array of a published state_dict; None for constants that are no weights;
    other names as they are."""
    if key in ("detect.proj", "detect.proj_conv.weight"):
        return None
    if found := re.match(r"detect\.(\w+)\.(\d)\.(.*)", key):
        if found[1] not in HEADS:
            return key
        return f"heads.{found[2]}.{HEADS[found[1]]}.{inner(found[3])}"
    for theirs, ours in PLACES.items():
        if key.startswith(f"{theirs}."):
            return f"{ours}.{stacked(inner(key[len(theirs) + 1:]), ours)}"
    return key


def inner(rest: str) -> str:
    for pattern, replacement in INNER:
        rest = re.sub(pattern, replacement, rest)
    return rest.lstrip(".")


def stacked(rest: str, place: str) -> str:
    """Names within a stage: blocks in a row, and the convolutions of what is around them."""
    kind = "join" if place.startswith("join") else "pooling" if place == "pooling" else "stage"
    if rest.startswith(("sppf.", "cspsppf.")):
        kind, rest = ("cspsppf" if rest.startswith("csp") else "pooling"), rest.partition(".")[2]
    rest = re.sub(r"^cv(\d)\.", lambda m: f"{PARTS[kind][int(m[1]) - 1]}.", rest)
    if kind != "stage":
        return rest
    # of blocks: the first by itself, then a list; each a RepVGG block, or two of them and a weight
    inside = "blocks." if rest.startswith("m.") else ""
    rest = rest.removeprefix("m.")
    rest = re.sub(r"^conv1\.", "0.", rest)
    rest = re.sub(r"^block\.(\d+)\.", lambda m: f"{int(m[1]) + 1}.", rest)
    rest = re.sub(r"^(\d+)\.conv([12])\.", lambda m: f"{m[1]}.{('first', 'second')[int(m[2]) - 1]}.", rest)
    return inside + rest


class RepBottleneck(nn.Module):
    """Two RepVGG blocks, and what came in on top, weighted."""

    def __init__(self, channels: int, make: Any) -> None:
        self.first, self.second = make(channels, channels), make(channels, channels)
        self.alpha = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x: Any) -> Any:
        return self.second(self.first(x)) + x * self.alpha


class CrossPooling(nn.Module):
    """Pyramid pooling within a CSP stage (3.0, n and s)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        half = outputs // 2
        self.narrow, self.past = (ConvBlock(inputs, half, activation=nn.ReLU) for _ in range(2))
        self.widen = ConvBlock(half, half, 3, activation=nn.ReLU)
        self.again = ConvBlock(half, half, activation=nn.ReLU)
        self.gather = ConvBlock(4 * half, half, activation=nn.ReLU)
        self.smooth = ConvBlock(half, half, 3, activation=nn.ReLU)
        self.merge = ConvBlock(2 * half, outputs, activation=nn.ReLU)

    def forward(self, x: Any) -> Any:
        through = self.smooth(self.gather(pooled(self.again(self.widen(self.narrow(x))))))
        return self.merge(F.cat([self.past(x), through], 1))


class Join(nn.Module):
    """Coarse maps doubled beside those of the stage (2.0)."""

    def __init__(self, coarse: int) -> None:
        self.up = nn.ConvTranspose2d(coarse, coarse, 2, 2)

    def forward(self, coarse: Any, wide: Any, fine: Any) -> Any:
        return F.cat([self.up(coarse), wide], 1)


class ThreeWayJoin(nn.Module):
    """Bidirectional concatenation: coarse maps doubled, those of the stage, and finer ones halved
    (3.0, section 2.1)."""

    def __init__(self, channels: int, wide: int, fine: int) -> None:
        self.wide, self.fine = (ConvBlock(c, channels, activation=nn.ReLU) for c in (wide, fine))
        self.merge = ConvBlock(3 * channels, channels, activation=nn.ReLU)
        self.up = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.down = ConvBlock(channels, channels, 3, 2, activation=nn.ReLU)

    def forward(self, coarse: Any, wide: Any, fine: Any) -> Any:
        return self.merge(F.cat([self.up(coarse), self.wide(wide), self.down(self.fine(fine))], 1))


class Head(nn.Module):
    """What one scale says: classes (N, C, H, W) and distances (N, numbers, H, W)."""

    def __init__(self, channels: int, classes: int, numbers: int) -> None:
        self.stem = ConvBlock(channels, channels)
        self.for_classes, self.for_boxes = (ConvBlock(channels, channels, 3) for _ in range(2))
        self.classes, self.boxes = nn.Conv2d(channels, classes, 1), nn.Conv2d(channels, numbers, 1)
        self.classes.weight.data[...], self.classes.bias.data[...] = 0, -log((1 - 0.01) / 0.01)
        self.boxes.weight.data[...], self.boxes.bias.data[...] = 0, 1

    def forward(self, x: Any) -> tuple[Any, Any]:
        x = self.stem(x)
        return self.classes(self.for_classes(x)), self.boxes(self.for_boxes(x))


class YOLOv6(FramedDetector):
    """size: of the square input, a multiple of 32. version: 3 (v3.0), or 2, the first paper's. fused:
    with one convolution in each RepVGG block from the start, for files of weights that were written
    so; fuse() makes the same of a trained one. assigner: "task", or "nearest" (ATSS), with which a
    training may begin. depth_mult, width_mult: factors beside the variant's own. The other settings
    are FramedDetector's and Detector's."""
    fill = 114 / 255
    align_corners = False
    own_name = staticmethod(own_name)

    def __init__(self, variant: str, classes: int = 80, size: int = 640, version: int = 3, fused: bool = False,
                 assigner: str = "task", sizes: Sequence[int] = (), width_mult: float = 1.0, depth_mult: float = 1.0,
                 fit: str = "letterbox", score_threshold: float = 0.25, iou_threshold: float = 0.45,
                 max_detections: int = 300, class_names: Sequence[str] | None = None) -> None:
        if size < 32 or size % 32:
            raise ValueError(f"yolov6: size must be a multiple of 32, got {size}")
        if version not in (2, 3):
            raise ValueError(f"yolov6: version must be 2 or 3, got {version!r}")
        if assigner not in ("task", "nearest"):
            raise ValueError(f"yolov6: assigner must be task or nearest, got {assigner!r}")
        self.set_thresholds(score_threshold, iou_threshold, max_detections, class_names)
        self.set_frame((size, size), fit, sizes)
        self.classes, self.assigner = classes, assigner
        w, d, share = VARIANTS[variant]
        self.distributions = share is not None
        c1, c2, c3, c4, c5 = (width(c, w * width_mult) for c in (64, 128, 256, 512, 1024))
        n5, n4, n3, d3, o4, d4, o5 = (width(c, w * width_mult) for c in (256, 128, 128, 128, 256, 256, 512))
        r2, r3, r4, r5 = (depth(n, d * depth_mult) for n in (6, 12, 18, 6))
        rn = depth(12, d * depth_mult)
        silu = variant == "l"   # plain convolutions, whose training costs less memory

        def block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            return ConvBlock(inputs, outputs, 3, stride) if silu else RepVGG(inputs, outputs, stride, fused)

        def stage(inputs: int, outputs: int, count: int) -> nn.Module:
            if share is None:
                return nn.Sequential(*(block(inputs if i == 0 else outputs, outputs) for i in range(count)))
            inside = int(outputs * share)
            blocks = (RepBottleneck(inside, block) for _ in range(max(count // 2, 1)))
            return CrossStage(inputs, outputs, inside, nn.Sequential(*blocks), nn.SiLU if silu else nn.ReLU)

        def narrow(inputs: int, outputs: int, size: int = 1, stride: int = 1) -> ConvBlock:
            return ConvBlock(inputs, outputs, size, stride, activation=nn.ReLU)

        self.stem = block(3, c1, 2)
        self.down2, self.stage2 = block(c1, c2, 2), stage(c2, c2, r2)
        self.down3, self.stage3 = block(c2, c3, 2), stage(c3, c3, r3)
        self.down4, self.stage4 = block(c3, c4, 2), stage(c4, c4, r4)
        self.down5, self.stage5 = block(c4, c5, 2), stage(c5, c5, r5)
        self.pooling = (CrossPooling(c5, c5) if version == 3 and share is None else
                        PyramidPooling(c5, c5, nn.SiLU if silu else nn.ReLU))
        three = version == 3
        self.lateral5, self.join4 = narrow(c5, n5), ThreeWayJoin(n5, c4, c3) if three else Join(n5)
        self.up4 = stage(n5 if three else n5 + c4, n5, rn)
        self.lateral4, self.join3 = narrow(n5, n4), ThreeWayJoin(n4, c3, c2) if three else Join(n4)
        self.out3 = stage(n4 if three else n4 + c3, n3, rn)
        self.down_out3, self.out4 = narrow(n3, d3, 3, 2), stage(d3 + n4, o4, rn)
        self.down_out4, self.out5 = narrow(o4, d4, 3, 2), stage(d4 + n5, o5, rn)
        numbers = 4 * (REACH + 1) if self.distributions else 4
        self.heads = nn.ModuleList(Head(c, classes, numbers) for c in (n3, o4, o5))

    def fuse(self) -> YOLOv6:
        """Puts one convolution in the place of each RepVGG block's branches, for good: what is left is
        for inference."""
        for module in list(self.modules()):
            if isinstance(module, RepVGG):
                module.fuse()
        return self

    def current_settings(self) -> dict[str, Any]:
        fused = any(isinstance(m, RepVGG) and m.folded is not None for m in self.modules())
        return super().current_settings() | ({"fused": True} if fused else {})

    def maps(self, x: Any) -> list[Any]:
        s2 = self.stage2(self.down2(self.stem(x)))
        s3 = self.stage3(self.down3(s2))
        s4 = self.stage4(self.down4(s3))
        top5 = self.lateral5(self.pooling(self.stage5(self.down5(s4))))
        top4 = self.lateral4(self.up4(self.join4(top5, s4, s3)))
        out3 = self.out3(self.join3(top4, s3, s2))
        out4 = self.out4(F.cat([self.down_out3(out3), top4], 1))
        out5 = self.out5(F.cat([self.down_out4(out4), top5], 1))
        return [head(out) for head, out in zip(self.heads, (out3, out4, out5))]

    # ---- from numbers to boxes

    def decoded(self, maps: list[Any]) -> tuple[Any, Any]:
        kinds, distances, points, strides = self.said(maps)
        return self._boxes(distances, points, strides), F.sigmoid(kinds)

    def said(self, maps: list[Any]) -> tuple[Any, Any, np.ndarray, np.ndarray]:
        """Of all places: class scores (N, K, C) before their sigmoid, distances (N, K, numbers), and
        the places' points (K, 2) and strides (K, 1) in pixels."""
        kinds = joined([flat(k) for k, _ in maps])
        distances = joined([flat(b) for _, b in maps])
        grids = [(cells(*k.shape[2:]).reshape(2, -1).T + np.float32(0.5), s) for (k, _), s in zip(maps, STRIDES)]
        points = np.concatenate([grid * np.float32(s) for grid, s in grids])
        return kinds, distances, points, np.concatenate([np.full((len(g), 1), s, np.float32) for g, s in grids])

    def _boxes(self, distances: Any, points: np.ndarray, strides: np.ndarray) -> Any:
        """Corners in pixels: the point less and plus the distances, in strides; of a distribution the
        mean."""
        if self.distributions:
            n, k = distances.shape[:2]
            shares = F.softmax(F.reshape(distances, (n, k, 4, REACH + 1)), 3)
            distances = F.sum(shares * np.arange(REACH + 1, dtype=np.float32), 3)
        away = distances * (strides * np.array([-1, -1, 1, 1], np.float32))
        return away + np.concatenate([points, points], 1)

    # ---- training

    def parts(self, maps: list[Any], truth: list[Truth], size: tuple[int, int]) -> dict[str, Any]:
        """classes: varifocal loss; box: 1 - GIoU; with distributions distances: cross-entropy with the
        two strides around a distance. All are weighted by what a place's score should be and divided
        by the sum of these scores."""
        kinds, distances, points, strides = self.said(maps)
        boxes = self._boxes(distances, points, strides)
        true = [corners(one.boxes) * np.array([size[1], size[0]] * 2, np.float32) for one in truth]
        found = [self._aligned(*values, points, t, one.labels, [k.shape[2] * k.shape[3] for k, _ in maps])
                 for *values, t, one in zip(numbers(F.sigmoid(kinds)), numbers(boxes), true, truth)]
        score = np.stack([f.score for f in found])
        image, place = np.nonzero(np.stack([f.match for f in found]) >= 0)
        which = np.array([found[i].match[p] for i, p in zip(image, place)], np.int64)
        wanted = np.array([true[i][m] for i, m in zip(image, which)], np.float32).reshape(-1, 4)
        target = np.zeros(tuple(kinds.shape), np.float32)
        target[image, place, [truth[i].labels[m] for i, m in zip(image, which)]] = score[image, place]
        whole, row = max(float(score.sum()), 1.0), image * len(points) + place
        weight = score[image, place]
        chosen = F.index_select(F.reshape(boxes, (-1, 4)), 0, row)
        apart = F.generalized_box_iou_loss(chosen, wanted)
        parts = {"classes": varifocal(kinds, target) * (CLASSES / whole),
                 "box": F.sum(apart * weight) * (BOX / whole)}
        if self.distributions:
            reach = np.concatenate([points[place] - wanted[:, :2], wanted[:, 2:] - points[place]], 1) / strides[place]
            rows = F.index_select(F.reshape(distances, (-1, 4 * (REACH + 1))), 0, row)
            learned = distribution_focal(F.reshape(rows, (-1, 4, REACH + 1)), reach)
            parts["distances"] = F.sum(learned * weight) * (DISTANCES / whole)
        return parts

    def _aligned(self, scores: np.ndarray, boxes: np.ndarray, points: np.ndarray, truth: np.ndarray,
                 labels: np.ndarray, counts: list[int]) -> Aligned:
        if self.assigner == "task" or not len(truth):
            return task_aligned(scores, boxes, points, truth, labels)
        half = np.repeat(np.array(STRIDES, np.float32) * 2.5, counts)[:, None]
        anchors = np.split(np.concatenate([points - half, points + half], 1), np.cumsum(counts)[:-1])
        match = adaptive_match(truth, anchors)
        known = np.flatnonzero(match >= 0)
        score = np.zeros(len(points), np.float32)
        score[known] = overlaps(boxes[known], truth)[np.arange(len(known)), match[known]]
        return Aligned(np.where(match >= 0, match, -1), score)


def flat(maps: Any) -> Any:
    """(N, H W, C) of (N, C, H, W)."""
    n, c = maps.shape[:2]
    return F.permute(F.reshape(maps, (n, c, -1)), (0, 2, 1))


def numbers(x: Any) -> np.ndarray:
    return np.asarray(getattr(x, "data", x))


def varifocal(logits: Any, target: Any, alpha: float = 0.75, gamma: float = 2.0) -> Any:
    """Cross-entropy with scores q, weighted by q where there is one and by alpha p^gamma elsewhere.
    Zhang et al., "VarifocalNet" (2021), equation 2, summed."""
    weight = F.pow(F.sigmoid(logits), gamma) * (alpha * (target == 0)).astype(np.float32) + target
    return F.sum(weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none"))


def distribution_focal(logits: Any, distance: np.ndarray) -> Any:
    """(m,): the mean over sides of the cross-entropy of (m, 4, R + 1) with the two whole numbers
    around each distance (m, 4), by how near they are. Li et al., "Generalized Focal Loss" (2020),
    equation 6."""
    most = logits.shape[2] - 1
    distance = np.clip(distance, 0, most - 0.01)
    low = distance.astype(np.int64)
    near = (distance - low).astype(np.float32)
    target = np.zeros(tuple(logits.shape), np.float32)
    np.put_along_axis(target, low[..., None], 1 - near[..., None], 2)
    np.put_along_axis(target, low[..., None] + 1, near[..., None], 2)
    return F.sum(F.log_softmax(logits, 2) * target, (1, 2)) * -0.25


@network(image=(3, 640, 640), smallest=(3, 64, 64))
def yolov6n(**settings) -> YOLOv6:
    """RepVGG blocks; 4.7 million parameters at inference, 4.3 in version 2."""
    return YOLOv6("n", **settings)


@network(image=(3, 640, 640), smallest=(3, 64, 64))
def yolov6s(**settings) -> YOLOv6:
    """RepVGG blocks; 18.5 million parameters at inference, 17.2 in version 2."""
    return YOLOv6("s", **settings)


@network(image=(3, 640, 640), smallest=(3, 64, 64))
def yolov6m(**settings) -> YOLOv6:
    """RepVGG blocks in CSP stages; 34.9 million parameters at inference, 34.3 in version 2."""
    return YOLOv6("m", **settings)


@network(image=(3, 640, 640), smallest=(3, 64, 64))
def yolov6l(**settings) -> YOLOv6:
    """Convolutions in CSP stages; 59.6 million parameters, 58.5 in version 2."""
    return YOLOv6("l", **settings)
