"""What R-CNNs do with proposals: each is cut out of the maps, classified, and its box corrected for each
class. Girshick, "Fast R-CNN" (2015), figure 1, with torchvision's parameter names.

    maps, proposal -> 7x7 grid -> hidden layers -+-> K + 1 classes (0 is background)
                                                 +-> (K + 1) x 4 deltas
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core.tensor import Tensor
from ...detection.coders import BoxCoder
from ...detection.matching import BACKGROUND, balanced_sample, overlaps, threshold_match
from ...detection.targets import Target
from ...graph.counted_rows import of_present
from .detector import counted_labels
from .rpn import NONE, kept

__all__ = ["MapPool", "PlainHead", "PyramidPool", "RegionHeads", "RegionSettings"]

SMALLEST = 1e-2   # pixels of a side; a box with less is no detection
GRID = 7
Pool = Callable[[list[Any], Any, tuple[int, int]], Any]   # maps, regions (K, 5), size of the input -> (K, C, 7, 7)


@dataclass(frozen=True)
class RegionSettings:
    """high, low: overlaps from which a proposal is an object's, and below which it is background;
    batch: so many proposals of an image are trained on, at most a share `positive` with an object;
    weights: of deltas."""
    high: float = 0.5
    low: float = 0.5
    batch: int = 512
    positive: float = 0.25
    weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)


class PyramidPool:
    """RoI align of each region from the level for its size: a region of 224 x 224 pixels, as
    ImageNet's images, from the one of stride 16 (Lin et al., "Feature Pyramid Networks", 2017, equation
    1). The first `levels` maps are read, at a scale that is a power of two: torchvision works that out
    from the first image that it sees without its padding, this from the network's input."""

    def __init__(self, levels: int = 4, ratio: int = 2) -> None:
        self.levels, self.ratio = levels, ratio

    def __call__(self, maps: list[Any], regions: Any, input: tuple[int, int]) -> Any:
        maps = maps[:self.levels]
        scales = [2.0 ** round(math.log2(int(m.shape[2]) / input[0])) for m in maps]
        if len(maps) == 1:
            return F.roi_align(maps[0], regions, GRID, scales[0], self.ratio)
        return F.pyramid_roi_align(maps, regions, level_of(regions, scales), GRID, scales, self.ratio)


def level_of(regions: Any, scales: Sequence[float]) -> Any:
    """(K,) int64: places in scales. floor(4 + log2(sqrt(area) / 224)) is found by comparing areas; the small
    number keeps what lies on a boundary above it, as torchvision does."""
    area = F.mul(F.sub(regions[:, 3], regions[:, 1]), F.sub(regions[:, 4], regions[:, 2]))
    first, last = (-round(math.log2(scale)) for scale in (scales[0], scales[-1]))
    level = np.zeros(tuple(map(int, area.shape)), np.int64)
    for k in range(first + 1, last + 1):
        above = F.ge(area, float((224 * 2.0 ** (k - 4 - 1e-6)) ** 2))
        level = F.add(level, F.where(above, np.int64(1), np.int64(0)))
    return level


class MapPool:
    """RoI pooling (Girshick, "Fast R-CNN", 2015, section 2.1): the maximum of each cell of the grid, from
    one map."""

    def __call__(self, maps: list[Any], regions: Any, input: tuple[int, int]) -> Any:
        return F.roi_pool(maps[0], regions, GRID, int(maps[0].shape[2]) / input[0])


class PlainHead(nn.Module):
    """Two hidden linear layers over a grid, with dropout while training where it is not 0."""

    def __init__(self, channels: int, width: int = 1024, dropout: float = 0.0) -> None:
        self.fc6 = nn.Linear(channels * GRID * GRID, width)
        self.fc7 = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, input: Any) -> Any:
        x = F.dropout(F.relu(self.fc6(F.flatten(input, 1))), self.dropout, self.training)
        return F.dropout(F.relu(self.fc7(x)), self.dropout, self.training)


def convolved_head(channels: int, width: int = 1024) -> nn.Sequential:
    """Four normalised 3x3 convolutions and a hidden linear layer. torchvision's second version."""
    blocks = [nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
                            nn.ReLU()) for _ in range(4)]
    head = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels * GRID * GRID, width), nn.ReLU())
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return head


class Predictor(nn.Module):
    def __init__(self, width: int, outputs: int) -> None:
        self.cls_score = nn.Linear(width, outputs)
        self.bbox_pred = nn.Linear(width, outputs * 4)

    def forward(self, input: Any) -> tuple[Any, Any]:
        flat = F.flatten(input, 1)
        return self.cls_score(flat), self.bbox_pred(flat)


class RegionHeads(nn.Module):
    """outputs: classes and background. shift: a label and this are the output of its class: 1 where
    labels start at 0, 0 where they count the background."""

    def __init__(self, pool: Pool, head: nn.Module, width: int, outputs: int, shift: int,
                 settings: RegionSettings | None = None) -> None:
        self.pool, self.settings = pool, settings or RegionSettings()
        self.box_head = head
        self.box_predictor = Predictor(width, outputs)
        self.outputs, self.shift = outputs, shift
        self.coder = BoxCoder(self.settings.weights)

    def predictions(self, maps: list[Any], boxes: Any, input: tuple[int, int], real: Any = None) -> tuple[Any, Any]:
        """Logits (N P, K + 1) and deltas (N P, K + 1, 4) of boxes (N, P, 4); real (N, P): of those alone,
        zeros for the others."""
        n, p = int(boxes.shape[0]), int(boxes.shape[1])
        sample = np.repeat(np.arange(n, dtype=boxes.dtype), p)[:, None]
        regions = F.cat([sample, F.reshape(boxes, (n * p, 4))], 1)
        if real is None:
            return self.of_regions(maps, regions, input)
        return of_present(lambda rows: self.of_regions(maps, rows, input), F.reshape(real, (n * p,)), regions)

    def of_regions(self, maps: list[Any], regions: Any, input: tuple[int, int]) -> tuple[Any, Any]:
        logits, deltas = self.box_predictor(self.box_head(self.pool(maps, regions, input)))
        return logits, F.reshape(deltas, (-1, self.outputs, 4))

    def forward(self, maps: list[Any], boxes: Any, real: Any, input: tuple[int, int], image: tuple[int, int],
                iou: float, least: float, most: int) -> tuple[Any, Any, Any, Any]:
        """Detections in pixels of the network's input. boxes (N, P, 4), of which those are proposals
        that real (N, P) says; input: the size of that input, image: of what is image in it."""
        n, p = int(boxes.shape[0]), int(boxes.shape[1])
        logits, deltas = self.predictions(maps, boxes, input, real)
        scores = F.reshape(F.softmax(logits, 1), (n, p, self.outputs))[..., 1:]   # none for the background
        found = self.coder.decode(F.reshape(deltas, (n, p, self.outputs, 4))[:, :, 1:], F.reshape(boxes, (n, p, 1, 4)))
        h, w = image
        found = F.minimum(F.maximum(found, np.zeros((), found.dtype)), np.array([w, h, w, h], found.dtype))
        scores = F.where(F.reshape(real, (n, p, 1)), kept(found, scores, SMALLEST), np.array(NONE, scores.dtype))
        boxes, scores, labels, count = F.multiclass_nms(found, scores, iou, least, most)
        return boxes, scores, counted_labels(labels, count, 1 - self.shift), count

    def losses(self, maps: list[Any], proposals: list[np.ndarray], input: tuple[int, int],
               truth: list[Target]) -> dict[str, Tensor]:
        """"classification" and "boxes", of the proposals (P, 4) of each image that were drawn; objects'
        own boxes are proposals, too. input: the size of the network's input."""
        settings = self.settings
        regions, labels, wanted = [], [], []
        for i, (boxes, target) in enumerate(zip(proposals, truth)):
            own = target.boxes.astype(boxes.dtype)
            boxes = np.concatenate([boxes, own])
            match = threshold_match(overlaps(own, boxes), settings.high, settings.low)
            drawn = np.sort(np.concatenate(balanced_sample(match, settings.batch, settings.positive)))
            boxes, match = boxes[drawn], match[drawn]
            regions.append(np.concatenate([np.full((len(boxes), 1), i, boxes.dtype), boxes], 1))
            objects = match != BACKGROUND
            label = np.zeros(len(boxes), np.int64)
            label[objects] = target.labels[match[objects]] + self.shift
            labels.append(label)
            wanted.append(self.coder.encode(own[match[objects]], boxes[objects]))
        label = np.concatenate(labels)
        logits, deltas = self.of_regions(maps, np.concatenate(regions), input)
        objects = np.flatnonzero(label)
        own = F.index_select(F.reshape(deltas, (-1, 4)), 0, objects * self.outputs + label[objects])
        boxes = F.smooth_l1_loss(own, np.concatenate(wanted), reduction="sum", beta=1 / 9)
        return {"classification": F.cross_entropy(logits, label), "boxes": F.div(boxes, max(1, len(label)))}
